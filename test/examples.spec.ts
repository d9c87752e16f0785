/** The package as others get it: packed, installed into an empty folder, and every example run against it. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openChromium } from './chromium.ts';
import { lackOf, PATIENCE_MS } from './needs.ts';

const root = join(import.meta.dirname, '..');
const MOST_BYTES = 3_000_000;
const lack = await lackOf('built');
const noBrowser = await lackOf('chromium', 'built');

describe.skipIf(lack.skip)(lack.title('the packed library'), () => {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-packed-'));
  const npm = (cwd: string, ...args: string[]): string =>
    execFileSync('npm', args, { cwd, encoding: 'utf8', timeout: PATIENCE_MS, stdio: ['ignore', 'pipe', 'inherit'] });
  let tarball = '';

  beforeAll(() => {
    // npm test has built what is packed; building it here would pull it from under other specs.
    const [packed] = JSON.parse(npm(root, 'pack', '--ignore-scripts', '--json', '--pack-destination', folder)) as {
      filename: string;
    }[];
    tarball = join(folder, packed!.filename);
    writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
    npm(folder, 'install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', tarball);
    cpSync(join(root, 'examples'), join(folder, 'examples'), { recursive: true });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const example = (name: string): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join('examples', name)], {
      cwd: folder,
      encoding: 'utf8',
      timeout: PATIENCE_MS,
    });
    expect([status, stderr]).toEqual([0, '']);
    return stdout.replaceAll('\r', '');
  };

  it(`is smaller than ${MOST_BYTES / 1e6} MB, runs nothing at installation and needs what it names alone`, () => {
    expect(statSync(tarball).size).toBeLessThan(MOST_BYTES);
    const { scripts, dependencies } = JSON.parse(readFileSync(join(folder, 'node_modules/xenolith/package.json'), 'utf8')) as {
      scripts: Record<string, string>;
      dependencies: Record<string, string>;
    };
    expect(['preinstall', 'install', 'postinstall', 'prepare'].filter((name) => name in scripts)).toEqual([]);
    const absent = (name: string): boolean => !existsSync(join(folder, 'node_modules', name));
    expect(Object.keys(dependencies).filter(absent)).toEqual([]);
    expect(['typescript', 'vitest', 'playwright-core'].filter((name) => !absent(name))).toEqual([]);
  });

  it('has types that a strict compiler takes, as Node and as a bundler reads them', () => {
    for (const [module, resolution] of [
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ]) {
      const work = join(folder, `types-${resolution}`);
      mkdirSync(work);
      writeFileSync(
        join(work, 'use.mts'),
        `import { Machine, tinyGuest, type Story } from 'xenolith';
const machine = new Machine({ ...tinyGuest(), nics: [{ model: 'rtl8139' }] });
machine.on('exit', ({ reasonName, rip }) => console.log(reasonName.length, rip + 1n));
export const title = async (): Promise<string> => (await machine.stories(1)).map(({ title }: Story) => title).join();
// @ts-expect-error: no such event
machine.on('exits', () => {});
`,
      );
      const { status, stdout } = spawnSync(
        join(root, 'node_modules/.bin/tsc'),
        [
          '--noEmit',
          '--strict',
          '--skipLibCheck',
          'false',
          '--target',
          'es2023',
          '--lib',
          'es2024,dom,dom.iterable,dom.asynciterable',
          '--types',
          'node',
          '--typeRoots',
          join(root, 'node_modules/@types'),
          '--module',
          module!,
          '--moduleResolution',
          resolution!,
          'use.mts',
        ],
        { cwd: work, encoding: 'utf8', timeout: PATIENCE_MS },
      );
      expect([status, stdout]).toEqual([0, '']);
    }
  });

  it('boots and pings', () => {
    const text = example('boot-and-ping.mjs');
    expect(text).toContain('3 packets transmitted, 3 packets received');
    expect(text).toContain('the guest powered off after');
  });

  it('tests a driver under vitest', () => {
    // A dependency of whoever writes such a test.
    symlinkSync(join(root, 'node_modules/vitest'), join(folder, 'node_modules/vitest'));
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        join(root, 'node_modules/vitest/vitest.mjs'),
        'run',
        '--root',
        folder,
        '--testTimeout',
        String(PATIENCE_MS),
        'examples/driver.spec.mjs',
      ],
      { cwd: folder, encoding: 'utf8', timeout: PATIENCE_MS, env: { ...process.env, NO_COLOR: '1' } },
    );
    expect(stdout).toMatch(/Tests +2 passed/);
    expect(status).toBe(0);
  });

  it('joins two machines by a hub', () => {
    expect(example('two-machines.mjs')).toContain('3 packets transmitted, 3 packets received');
  });

  it('takes a device of its own', () => {
    const text = example('custom-device.mjs');
    expect(text).toContain('write 0x5004: 42');
    expect(text).toContain('the guest answered 42');
  });

  it('generates frames', () => {
    expect(example('frame-generator.mjs')).toBe('20 requests sent, 20 answers came back\n');
  });

  it('reads a trace', () => {
    expect(example('read-a-trace.mjs')).toMatch(/^ +\d+ EPT_VIOLATION$/m);
  });

  it('tells the story of a packet as JSON', () => {
    const { title, hops } = JSON.parse(example('packet-story.mjs')) as { title: string; hops: { refs: unknown[] }[] };
    expect(title).toContain('ICMP echo request');
    expect(hops.length).toBeGreaterThan(8);
    expect(hops[0]!.refs.length).toBeGreaterThan(0);
  });

  it('serves its page, with the 7-Zip that the package has once only', async () => {
    const server = spawn(process.execPath, ['node_modules/xenolith/dist/cli/main.js', 'page'], { cwd: folder });
    try {
      const said = await new Promise<string>((done) => server.stdout.once('data', (data: Buffer) => done(String(data))));
      const url = /http:\S+/.exec(said)![0];
      for (const [path, type, size] of [
        ['', 'text/html; charset=utf-8', 500],
        ['assets/7zz.wasm', 'application/wasm', 1_000_000],
      ] as const) {
        const answer = await fetch(url + path);
        expect([path, answer.status, answer.headers.get('content-type')]).toEqual([path, 200, type]);
        expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(size);
      }
      expect(existsSync(join(folder, 'node_modules/xenolith/dist/page/assets/7zz.wasm'))).toBe(false);
    } finally {
      server.kill();
    }
  });

  it.skipIf(noBrowser.skip)(noBrowser.title('runs in a page without shared memory'), async () => {
    const server = spawn(process.execPath, [join(folder, 'examples/page/serve.mjs')], { cwd: folder });
    try {
      const url = await new Promise<string>((done) => server.stdout.once('data', (data: Buffer) => done(String(data).trim())));
      const context = await openChromium();
      try {
        const page = await context.newPage();
        const problems: string[] = [];
        page.on('pageerror', (error) => problems.push(error.message));
        await page.goto(url);
        expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
        await page.click('#run');
        await page.waitForFunction(() => document.querySelector('#console')!.textContent!.includes('the guest powered off'));
        expect(await page.textContent('#console')).toContain('3 packets transmitted, 3 packets received');
        expect(problems).toEqual([]);
      } finally {
        await context.close();
      }
    } finally {
      server.kill();
    }
  });
});
