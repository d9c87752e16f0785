/** The same machine in a tab: the tiny guest pings in headless Chromium, from the built files, served cross-origin isolated. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { chromium } from 'playwright-core';
import { afterAll, describe, expect, it } from 'vitest';
import { assembleTinyGuest, tinyGuestCommandLine } from '../src/machine/tiny-guest/image.ts';
import { chromium as browser, lackOf, PATIENCE_MS } from './needs.ts';

const dist = join(import.meta.dirname, '../dist');
const lack = await lackOf('chromium', 'built');

interface TabResult {
  console: string;
  outcome: string;
  frames: number;
}

/** What an embedder's page does: a Worker, one job, messages. */
const PAGE = `<!doctype html><title>Xenolith</title><script type="module">
import { readElf } from '/hypervisor/domain-builder/elf.js';
window.run = async (commandLine) => {
  const elf = readElf(new Uint8Array(await (await fetch('/tiny.elf')).arrayBuffer()));
  const worker = new Worker('/web/machine-worker.js', { type: 'module' });
  const result = { console: '', outcome: '', frames: 0 };
  return new Promise((done, failed) => {
    worker.onerror = (event) => failed(new Error(event.message));
    worker.onmessage = ({ data }) => {
      if (data.kind === 'console') result.console += new TextDecoder().decode(data.bytes);
      if (data.kind === 'pcap') result.frames++;
      if (data.kind === 'failed') failed(new Error(data.message));
      if (data.kind === 'ended') result.outcome = data.report.outcome;
      if (data.kind === 'served') done(result);
    };
    worker.postMessage({ part: 'machine', job: {
      name: 'tab', clock: 'virtual', deviceModel: 'inline', seed: 1, capture: true, untilNs: 60e9, nics: [{ model: 'rtl8139', mac: new Uint8Array([0, 0x16, 0x3e, 0, 0, 1]) }],
      domain: { memoryMiB: 32, vcpus: 1, type: 'hvm', hpet: true, commandLine, kernel: { kind: 'elf', elf } },
    } });
  });
};
</script>`;
const TYPES: Readonly<Record<string, string>> = { js: 'text/javascript', html: 'text/html', elf: 'application/octet-stream' };

describe.skipIf(lack.skip)(lack.title('in a browser'), () => {
  let server: Server | undefined;
  const profile = mkdtempSync(join(tmpdir(), 'xenolith-chromium-'));
  afterAll(() => {
    server?.close();
    rmSync(profile, { recursive: true, force: true });
  });

  it('the tiny guest pings in a tab', async () => {
    server = createServer((request, response) => {
      const path = normalize(new URL(request.url!, 'http://localhost').pathname);
      const body =
        path === '/'
          ? PAGE
          : path === '/tiny.elf'
            ? assembleTinyGuest()
            : existsSync(join(dist, path))
              ? readFileSync(join(dist, path))
              : undefined;
      response.writeHead(body === undefined ? 404 : 200, {
        'content-type': TYPES[path === '/' ? 'html' : path.split('.').at(-1)!] ?? 'text/plain',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      });
      response.end(body);
    });
    await new Promise<void>((done) => server!.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: browser,
      headless: true,
      timeout: PATIENCE_MS,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    try {
      context.setDefaultTimeout(PATIENCE_MS);
      const page = await context.newPage();
      await page.goto(`http://127.0.0.1:${port}/`);
      expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
      await page.waitForFunction(() => 'run' in globalThis);
      const result = await page
        .evaluate(
          (commandLine) => (globalThis as unknown as { run(line: string): Promise<TabResult> }).run(commandLine),
          tinyGuestCommandLine({ mode: 'ping', count: 3 }),
        )
        // The page's stack means nothing to the test runner.
        .catch((error: Error) => expect.fail(error.message));
      expect(result.console).toContain('3 packets transmitted, 3 packets received');
      expect(result.outcome).toBe('poweroff');
      expect(result.frames).toBeGreaterThan(0);
    } finally {
      await context.close();
    }
  });
});
