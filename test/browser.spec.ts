/**
 * The same machine in a tab: the tiny guest pings in headless Chromium, from the built files, served cross-origin isolated, so that
 * memory is shared and the device model has a thread of its own in real time. (examples.spec.ts has a tab without.)
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openChromium } from './chromium.ts';
import { lackOf } from './needs.ts';

const dist = join(import.meta.dirname, '../dist');
const lack = await lackOf('chromium', 'built');

interface TabResult {
  console: string;
  outcome: string;
  frames: number;
}

/** What an embedder's page does: a machine on threads of its own, events. */
const PAGE = `<!doctype html><title>Xenolith</title><script type="module">
import { Machine, tinyGuest } from '/library/index.js';
window.run = async (clock) => {
  const machine = new Machine({ ...tinyGuest(), clock, nics: [{ model: 'rtl8139' }], records: { capture: true } });
  let frames = 0;
  machine.on('frame', () => frames++);
  await machine.run();
  const { outcome } = await machine.ended;
  return { console: machine.console, outcome, frames };
};
</script>`;
const TYPES: Readonly<Record<string, string>> = { js: 'text/javascript', html: 'text/html', elf: 'application/octet-stream' };

describe.skipIf(lack.skip)(lack.title('in a browser'), () => {
  let server: Server | undefined;
  afterAll(() => {
    server?.close();
  });

  it.each(['virtual', 'host'])('the tiny guest pings in a tab (clock %s)', async (clock) => {
    server?.close();
    server = createServer((request, response) => {
      const path = normalize(new URL(request.url!, 'http://localhost').pathname);
      const body = path === '/' ? PAGE : existsSync(join(dist, path)) ? readFileSync(join(dist, path)) : undefined;
      response.writeHead(body === undefined ? 404 : 200, {
        'content-type': TYPES[path === '/' ? 'html' : path.split('.').at(-1)!] ?? 'text/plain',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      });
      response.end(body);
    });
    await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    const context = await openChromium();
    try {
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${port}/`);
      expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
      await page.waitForFunction(() => 'run' in globalThis);
      const result = await page
        .evaluate((kind) => (globalThis as unknown as { run(clock: string): Promise<TabResult> }).run(kind), clock)
        // The page's stack means nothing to the test runner.
        .catch((error: Error) => expect.fail(error.message));
      expect(result.console).toContain('3 packets transmitted, 3 packets received');
      expect(result.outcome).toBe('poweroff');
      expect(result.frames).toBe(8);
    } finally {
      await context.close();
    }
  });
});
