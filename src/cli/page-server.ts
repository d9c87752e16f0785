/** Serves one folder over HTTP: nothing outside it, nothing but reading, with the headers that let a page share memory. */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join, sep } from 'node:path';
import { pipeline } from 'node:stream';
import { UserError } from '../base/errors.ts';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  wasm: 'application/wasm',
  elf: 'application/octet-stream',
  json: 'application/json',
};

/** What is served beside the folder: by its path, a file of the host or a text. */
export type ServedBeside = ReadonlyMap<string, { readonly file: string } | { readonly text: string }>;

const HEADERS: Readonly<Record<string, string>> = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/**
 * The file of `folder` that a request's path names; undefined: none.
 * @param folder its real path
 */
async function fileOf(folder: string, url: string): Promise<string | undefined> {
  let path: string;
  try {
    path = decodeURIComponent(new URL(url, 'http://localhost').pathname);
  } catch {
    return undefined;
  }
  if (path.includes('\0') || path.includes('\\')) return undefined;
  try {
    const file = await realpath(join(folder, path.endsWith('/') ? `${path}index.html` : path));
    // A link that leads out of the folder is none of its files.
    return file.startsWith(folder + sep) ? file : undefined;
  } catch {
    return undefined;
  }
}

async function respond(folder: string, beside: ServedBeside, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const refuse = (status: number, text: string, headers: Record<string, string> = {}): void =>
    void response.writeHead(status, { 'content-type': 'text/plain', ...HEADERS, ...headers }).end(`${text}\n`);
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405, 'only GET and HEAD', { allow: 'GET, HEAD' });
  const url = request.url ?? '/';
  const own = beside.get(url);
  if (own !== undefined && 'text' in own) {
    response.writeHead(200, { 'content-type': TYPES['json'], 'content-length': Buffer.byteLength(own.text), ...HEADERS });
    response.end(request.method === 'HEAD' ? undefined : own.text);
    return;
  }
  const file = own?.file ?? (await fileOf(folder, url));
  const found = file === undefined ? undefined : await stat(file).catch(() => undefined);
  if (file === undefined || !found?.isFile()) return refuse(404, 'not found');
  const type = TYPES[file.slice(file.lastIndexOf('.') + 1)] ?? (own === undefined ? 'text/plain' : TYPES['elf']);
  response.writeHead(200, { 'content-type': type, 'content-length': found.size, ...HEADERS });
  if (request.method === 'HEAD') response.end();
  // Whoever asked may go away meanwhile.
  else pipeline(createReadStream(file), response, () => {});
}

/**
 * Serves `folder` at an address of this machine.
 * @param port 0: one that is free
 * @param beside what is served beside it
 * @throws UserError when the folder is none or the port is taken
 */
export async function servePage(
  folder: string,
  host: string,
  port: number,
  beside: ServedBeside = new Map(),
): Promise<{ server: Server; url: string }> {
  let real: string;
  try {
    real = await realpath(folder);
  } catch {
    throw new UserError(`${folder}: the page is not built; run npm run build:page`);
  }
  const server = createServer((request, response) => {
    respond(real, beside, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new UserError(
          `${host}:${port} cannot be listened at: ${error.code === 'EADDRINUSE' ? 'it is taken' : error.message}; choose another --port`,
        ),
      ),
    );
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const at = typeof address === 'object' && address !== null ? address.port : port;
  return { server, url: `http://${host.includes(':') ? `[${host}]` : host}:${at}/` };
}
