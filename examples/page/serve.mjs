// Serves the page on this machine: its own folder, and the package's built files under xenolith/. Without COOP and COEP headers: the
// machine then works without shared memory.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const TYPES = { html: 'text/html', js: 'text/javascript', elf: 'application/octet-stream' };
const own = new URL('.', import.meta.url);
const built = new URL('..', import.meta.resolve('xenolith'));

const server = createServer(async (request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname.replace(/\/$/, '/index.html').slice(1);
  const root = path.startsWith('xenolith/') ? built : own;
  const file = new URL(path.replace(/^xenolith\//, ''), root);
  try {
    if (!file.href.startsWith(root.href)) throw new Error('outside');
    const body = await readFile(fileURLToPath(file));
    response.writeHead(200, { 'content-type': TYPES[path.split('.').at(-1)] ?? 'text/plain' }).end(body);
  } catch {
    response.writeHead(404).end('not found');
  }
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/`));
