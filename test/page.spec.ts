/** The page in headless Chromium, as it is built and served. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { createServer as createHttpServer, type Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { guestsAtHand } from '../src/cli/page.ts';
import { servePage } from '../src/cli/page-server.ts';
import { captureFile } from '../src/trace/testing/fixtures.ts';
import { openChromium } from './chromium.ts';
import { lackOf, PATIENCE_MS } from './needs.ts';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'dist/page');
const lack = await lackOf('chromium', 'built');
const noCaptures = await lackOf('captures');
const noGuest = await lackOf('chromium', 'built', 'guest');

/** What the address bar says. */
const hashOf = (page: Page): Record<string, string> => Object.fromEntries(new URLSearchParams(new URL(page.url()).hash.slice(1)));

/** The newest file of a folder, by its time. */
const newest = (path: string): number =>
  Math.max(...readdirSync(path, { recursive: true }).map((name) => statSync(join(path, String(name))).mtimeMs));

describe.skipIf(lack.skip)(lack.title('the page'), () => {
  let server: Server;
  let url = '';
  let context: BrowserContext;

  beforeAll(async () => {
    const index = join(folder, 'index.html');
    if (
      !existsSync(index) ||
      statSync(index).mtimeMs < Math.max(newest(join(root, 'src/web')), newest(join(root, 'dist/library')))
    )
      execFileSync('npm', ['run', '-s', 'build:page'], { cwd: root, stdio: 'ignore', timeout: PATIENCE_MS });
    ({ server, url } = await servePage(folder, '127.0.0.1', 0));
    context = await openChromium();
  });
  afterAll(async () => {
    await context?.close();
    server?.close();
    server?.closeAllConnections();
  });

  /** A page with all that goes wrong in it, and every address that it asks for. */
  async function open(at = url): Promise<{ page: Page; problems: string[]; requests: string[] }> {
    const page = await context.newPage();
    const problems: string[] = [];
    const requests: string[] = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(at);
    return { page, problems, requests };
  }

  it('runs the tiny guest, tells the story of its first echo request, and asks nobody else for anything', async () => {
    const { page, problems, requests } = await open();
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await page.waitForSelector('.hops li');
    expect(await page.textContent('.story h3')).toContain('ICMP echo request 10.0.2.15 > 10.0.2.2');
    expect(await page.locator('.packets li').count()).toBe(8);
    expect(await page.textContent('.live')).toContain('3 packets transmitted, 3 packets received');
    expect(hashOf(page)).toEqual({ guest: 'ping', packet: '3' });
    expect(requests.every((address) => new URL(address).origin === new URL(url).origin || address.startsWith('data:'))).toBe(
      true,
    );
    expect(problems).toEqual([]);
    await page.close();
  });

  it('goes with every pane to what is selected', async () => {
    const { page } = await open();
    await page.waitForSelector('.hops li');
    await page.click('.hops li:nth-child(2) .step');
    await page.waitForFunction(() => document.querySelector('.bytes h3')?.textContent?.includes('mmio'));
    expect(await page.textContent('.bytes dl')).toContain('0xf00000d9');
    await page.click('.hops .refs button:has-text("log:") >> nth=0');
    await page.waitForFunction(() => document.querySelector('.bytes h3')?.textContent?.startsWith('Line '));
    await page.click('.packets li:nth-child(5) button');
    await page.waitForFunction(() => document.querySelector('.story h3')?.textContent?.startsWith('Packet 5'));
    await page.waitForFunction(() => document.querySelector('.bytes h3')?.textContent?.startsWith('Frame 5'));
    expect(await page.textContent('.addresses')).toContain('none: mmio_dm');
    expect(hashOf(page)['packet']).toBe('5');
    await page.close();
  });

  it('pauses, steps and shows registers that change', async () => {
    const { page } = await open();
    await page.waitForSelector('.hops li');
    await page.click('text=Step 20');
    await page.waitForSelector('.live .state.paused');
    await page.waitForSelector('.registers tbody tr');
    const rows = await page.locator('.registers tbody tr').count();
    expect(rows).toBeGreaterThan(40);
    for (let i = 0; i < 30 && (await page.locator('.registers tr.changed').count()) === 0; i++) {
      const before = await page.textContent('.live .head small');
      await page.click('text=Step 20');
      await page.waitForFunction((old) => document.querySelector('.live .head small')?.textContent !== old, before);
    }
    expect(await page.locator('.registers tr.changed').count()).toBeGreaterThan(0);
    await page.click('role=tab[name="vCPU"]');
    expect(await page.textContent('.registers dl')).toMatch(/rip\s*0x/);
    await page.close();
  });

  it('shows the registers of any moment of the run, and who wrote what before it', async () => {
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    const exit = async (): Promise<number> => Number(/exit (\d+)/.exec((await page.textContent('.moment'))!)![1]);
    // The story begins with the doorbell selected.
    await page.waitForSelector('.moment');
    const doorbell = await exit();
    await page.locator('.hops .step', { hasText: 'reads IntrStatus' }).first().click();
    await page.waitForFunction((old) => !document.querySelector('.moment')?.textContent?.includes(`exit ${old},`), doorbell);
    expect(await exit()).toBeGreaterThan(doorbell);
    await page.getByRole('button', { name: 'back by one exit' }).click();
    await page.locator('.addresses li', { hasText: 'descriptor' }).getByText('who wrote this?').click();
    await page.waitForSelector('.who');
    expect(await page.textContent('.who')).toMatch(/Who wrote descriptor 0 at 0x[0-9a-f]+\?\s*The (guest|device model): /);
    await page.locator('.registers tr', { hasText: 'ChipCmd' }).getByText('who?').click();
    await page.waitForFunction(() => document.querySelector('.who')?.textContent?.includes('ChipCmd'));
    expect(problems).toEqual([]);
    await page.close();
  });

  it('puts two packets side by side, finds texts, plots, and keeps steps as Markdown', async () => {
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    await page.click('[title="Compare packet 5 with packet 3"]');
    await page.waitForSelector('.compare tbody tr');
    expect(await page.textContent('.compare thead')).toMatch(/Packet 3 .*Packet 5 /);
    expect(await page.locator('.compare tbody tr').count()).toBeGreaterThan(10);
    await page.keyboard.press('Escape');
    await page.locator('h1').click();
    await page.keyboard.press('/');
    await page.keyboard.type('TxPoll');
    await page.keyboard.press('Enter');
    await page.locator('.hits button', { hasText: 'trace+' }).first().click();
    await page.waitForFunction(() => document.querySelector('.bytes h3')?.textContent?.startsWith('Record'));
    expect(hashOf(page)['at']).toMatch(/^trace\+0x/);
    await page.locator('.numbers td button', { hasText: 'TxPoll' }).click();
    await page.waitForSelector('.plot canvas');
    await page.locator('.hops .step', { hasText: 'fills slot' }).click();
    await page.click('text=keep in the notebook');
    expect(await page.inputValue('.notebook textarea')).toMatch(/^## Packet 3 [^]*- .*\*\*Xen\*\* fills slot 0 .*trace\+0x/);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('goes to what its address names', async () => {
    const { page, problems } = await open(`${url}#guest=ping&packet=5&at=log:3`);
    await page.waitForSelector('.hops li');
    await page.waitForFunction(() => document.querySelector('.bytes h3')?.textContent === 'Line 3');
    expect(await page.textContent('.story h3')).toMatch(/^Packet 5 /);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('has a tour that goes through the panes to its end', async () => {
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    await page.click('text=Tour');
    const titles: string[] = [];
    while ((await page.locator('.tour').count()) > 0) {
      titles.push((await page.textContent('.tour h2'))!);
      await page.waitForSelector('.spot');
      if (titles.at(-1)!.includes('mmio_dm')) expect(await page.textContent('.hops [aria-current]')).toContain('mmio_dm');
      await page.click('.tour .main');
      await page.waitForFunction((old) => document.querySelector('.tour h2')?.textContent !== old, titles.at(-1));
    }
    expect(titles.length).toBeGreaterThan(8);
    expect(problems).toEqual([]);
    await page.close();
  });

  it('boots a kernel that is dropped, and text of a guest stays text', async () => {
    const { codeKernel } = (await import(
      '../dist/library/index-node.js' as string
    )) as typeof import('../src/library/index-node.ts');
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    const said = '<img src=x onerror=alert(1)>\x1b]0;title\x07\r\n';
    // For each character: mov al, c; out 0xe9, al. Then a write to the ACPI port powers off.
    const code = [...said].flatMap((c) => [0xb0, c.charCodeAt(0), 0xe6, 0xe9]);
    const off = [0x66, 0xba, 0x04, 0xb0, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xf4];
    await page.setInputFiles('input[type=file]', {
      name: 'kernel',
      mimeType: 'application/octet-stream',
      buffer: Buffer.from(codeKernel(Uint8Array.from([...code, ...off]))),
    });
    await page.waitForFunction(() => document.querySelector('.console')?.textContent?.includes('<img src=x'));
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.title()).toBe('Xenolith: see an I/O happen');
    // What a page's policy forbids.
    expect(
      await page.evaluate(() => {
        const script = document.createElement('script');
        script.textContent = 'globalThis.injected = true';
        document.body.append(script);
        return 'injected' in globalThis;
      }),
    ).toBe(false);
    expect(problems.filter((problem) => !problem.includes('Content Security Policy'))).toEqual([]);
    await page.close();
  });

  it.skipIf(noGuest.skip)(noGuest.title('boots Debian to the ping, with the driver that is chosen'), async () => {
    const served = await servePage(folder, '127.0.0.1', 0, await guestsAtHand({}));
    const { page, problems } = await open(`${served.url}#guest=debian-ping&nic=8139cp`);
    await page.waitForFunction(() => document.querySelector('.live .state')?.textContent === 'ended');
    await page.waitForFunction(() =>
      [...document.querySelectorAll('.packets li')].some(
        (li) => li.textContent?.includes('IPv6') || li.textContent?.includes('ICMPv6'),
      ),
    );
    await page.waitForFunction(() => document.querySelector('.story h3')?.textContent?.includes('ICMP echo request'));
    expect(await page.textContent('.addresses')).toContain('none: mmio_dm');
    expect(hashOf(page)).toMatchObject({ guest: 'debian-ping', nic: '8139cp' });
    expect(problems).toEqual([]);
    await page.close();
    served.server.close();
    served.server.closeAllConnections();
  });

  it('says in one line what is wrong with a file, and shows names and texts of files as text', async () => {
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    const hostile = '<img src=x onerror=alert(1)>';
    await page.setInputFiles('input[type=file]', {
      name: `${hostile}.trc`,
      mimeType: 'application/octet-stream',
      buffer: Buffer.from([0, 1, 2, 3, 0, 0, 0, 0]),
    });
    await page.waitForSelector('.error');
    const text = (await page.textContent('.error'))!;
    expect(text).toContain(hostile);
    expect(text.split('\n')).toHaveLength(1);
    await page.setInputFiles('input[type=file]', [
      { name: 'a.log', mimeType: 'text/plain', buffer: Buffer.from(LOG.replace('rtl8139', `rtl${hostile}`)) },
    ]);
    await page.waitForFunction(() => document.querySelector('progress') === null);
    expect(await page.locator('main img, .status img').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.close();
  });

  it.skipIf(noCaptures.skip)(noCaptures.title('tells the second echo request of a real host from dropped files'), async () => {
    const { page, problems } = await open();
    await page.waitForSelector('.hops li');
    const place = mkdtempSync(join(tmpdir(), 'xenolith-dropped-'));
    try {
      const files = ['trace.bin', 'qemu-dm.log', 'bridge.pcap'].map((name, i) => {
        // Names say nothing: the files are known by their content.
        const path = join(place, String(i));
        writeFileSync(path, captureFile('rtl8139-8139cp-ping', name));
        return path;
      });
      await page.setInputFiles('input[type=file]', files);
      const requests = page.locator('.packets button', { hasText: 'ICMP echo request' });
      await page.waitForFunction(() => document.querySelectorAll('.packets li').length > 8);
      await requests.nth(1).click();
      const number = (await requests.nth(1).locator('.number').textContent())!;
      await page.waitForFunction(
        (n) => document.querySelector('.story h3')?.textContent?.startsWith(`Packet ${n} of the capture: ICMP echo request`),
        number,
      );
      const evidence = async (hop: string, what: string): Promise<string> => {
        await page.locator('.hops li', { hasText: hop }).first().locator('.refs button', { hasText: what }).first().click();
        await page.waitForFunction(
          (unit) => document.querySelector('.bytes h3')?.textContent?.startsWith(unit),
          { 'trace+': 'Record', 'log:': 'Line', 'pcap#': 'Frame' }[what]!,
        );
        return (await page.textContent('.bytes'))!;
      };
      expect(await evidence('leaves the guest', 'trace+')).toContain('vmexit');
      expect(await evidence('device model takes the request', 'log:')).toContain('cpu_ioreq_move');
      expect(await evidence('wire carries', 'pcap#')).toContain(`Frame ${number}: ICMP echo request`);
      expect(await page.textContent('.addresses')).toContain('none: mmio_dm');
      expect(problems).toEqual([]);
    } finally {
      rmSync(place, { recursive: true, force: true });
      await page.close();
    }
  });

  it('works without shared memory and under a path of any server', async () => {
    const plain = createHttpServer((request, response) => {
      const path = new URL(request.url!, 'http://localhost').pathname;
      const file = path.startsWith('/some/where/') ? join(folder, path.slice('/some/where/'.length) || 'index.html') : undefined;
      const types: Record<string, string> = { html: 'text/html', js: 'text/javascript', css: 'text/css' };
      (file === undefined ? Promise.reject(new Error('none')) : readFile(file)).then(
        (body) =>
          response.writeHead(200, { 'content-type': types[file!.split('.').at(-1)!] ?? 'application/octet-stream' }).end(body),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((done) => plain.listen(0, '127.0.0.1', done));
    const { port } = plain.address() as AddressInfo;
    const { page, problems } = await open(`http://127.0.0.1:${port}/some/where/`);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
    await page.waitForSelector('.hops li');
    expect(await page.textContent('.story h3')).toContain('ICMP echo request');
    expect(problems).toEqual([]);
    await page.close();
    plain.close();
    plain.closeAllConnections();
  });
});

/** One line of a device-model log, enough for it to be known as one. */
const LOG = '1@0.000001:cpu_ioreq_move I/O=0x7f dir: 0 df: 0 ptr: 0 port: 0xf00000d9 data: 0x40 count: 1 size: 1 rtl8139\n';

describe('the server of the page', () => {
  /** The whole answer to a request as it goes over the wire. */
  const raw = (port: number, request: string): Promise<string> =>
    new Promise((done, failed) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(request));
      let text = '';
      socket.on('data', (data) => (text += data.toString('latin1')));
      socket.on('end', () => done(text));
      socket.on('error', failed);
    });

  it('gives files of its folder alone, to GET and HEAD alone, and shares nothing with other origins', async () => {
    const place = mkdtempSync(join(tmpdir(), 'xenolith-served-'));
    const own = join(place, 'own');
    execFileSync('mkdir', [own]);
    writeFileSync(join(own, 'index.html'), 'the page');
    writeFileSync(join(place, 'secret.html'), 'a secret');
    symlinkSync(join(place, 'secret.html'), join(own, 'link.html'));
    const { server, url } = await servePage(own, '127.0.0.1', 0);
    const port = Number(new URL(url).port);
    try {
      const get = (path: string, method = 'GET'): Promise<string> =>
        raw(port, `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const page = await get('/');
      expect(page).toMatch(/^HTTP\/1.1 200 /);
      expect(page).toContain('the page');
      expect(page.toLowerCase()).toContain('cross-origin-embedder-policy: require-corp');
      expect(page).toContain("script-src 'self' 'wasm-unsafe-eval'");
      expect(page).not.toContain("script-src 'self' 'unsafe-inline'");
      const head = await get('/', 'HEAD');
      expect(head).toMatch(/^HTTP\/1.1 200 /);
      expect(head).not.toContain('the page');
      for (const path of [
        '/../secret.html',
        '/%2e%2e/secret.html',
        '/..%2fsecret.html',
        '/link.html',
        '/%00',
        '/%ff',
        '/none',
        '//etc/passwd',
        '/..\\secret.html',
      ])
        expect(await get(path)).toMatch(/^HTTP\/1.1 40[04] [^]*(?<!secret)$/);
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) expect(await get('/', method)).toMatch(/^HTTP\/1.1 405 /);
    } finally {
      server.close();
      server.closeAllConnections();
      rmSync(place, { recursive: true, force: true });
    }
  });

  it('says when the port is taken and when there is no page', async () => {
    const taken = createServer();
    await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done));
    const { port } = taken.address() as AddressInfo;
    await expect(servePage(tmpdir(), '127.0.0.1', port)).rejects.toThrow(/taken; choose another --port/);
    taken.close();
    await expect(servePage('/nowhere/at/all', '127.0.0.1', 0)).rejects.toThrow(/npm run build:page/);
  });
});
