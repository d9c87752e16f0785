/** The device model on a thread of its own gives the guest what the inline one gives it (built files in dist/). */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assembleTinyGuest } from '../src/machine/tiny-guest/image.ts';

const root = join(import.meta.dirname, '..');
const entry = join(root, 'dist/cli/main.js');
const builtAt = existsSync(entry) ? statSync(entry).mtimeMs : 0;
const built = ['machine', 'hypervisor', 'device-model'].every((room) =>
  readdirSync(join(root, 'src', room)).every((file) => statSync(join(root, 'src', room, file)).mtimeMs <= builtAt),
);
if (!built)
  console.warn('dist/ is missing or older than src/ (npm run build): the test with the device model in a Worker is skipped');
const xenalyze = spawnSync('/usr/bin/xenalyze', ['--help']).error === undefined;

const directory = mkdtempSync(join(tmpdir(), 'xenolith-'));

function run(name: string, ...options: string[]) {
  const kernel = join(directory, 'tiny.elf');
  writeFileSync(kernel, assembleTinyGuest());
  const file = (what: string): string => join(directory, `${name}.${what}`);
  const { status, stderr } = spawnSync(
    process.execPath,
    [
      entry,
      'run',
      '--kernel',
      kernel,
      '--memory',
      '16',
      '--console',
      file('console'),
      '--trace',
      file('trc'),
      '--dm-log',
      file('log'),
      '--pcap',
      file('pcapng'),
      ...options,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  const text = (what: string): string => (existsSync(file(what)) ? readFileSync(file(what), 'latin1') : '');
  return { status, stderr, console: text('console'), log: text('log'), trace: file('trc') };
}

describe.skipIf(!built)('a device model in a Worker', () => {
  it('serves the same guest with the same requests and answers as inline', () => {
    const inline = run('inline');
    const worker = run('worker', '--clock', 'host', '--device-model', 'worker');
    expect([inline.status, worker.status]).toEqual([0, 0]);
    expect(worker.console).toBe(inline.console);
    expect(worker.console).toContain('3 packets transmitted, 3 packets received');
    // The NIC's registers as the guest wrote them: polls of time aside, the same in the same order.
    const writes = (log: string): string[] =>
      [...log.matchAll(/cpu_ioreq_move .*dir=0.*port=0xf00000[0-9a-f]{2} .*$/gm)].map(([line]) =>
        line.replace(/^.*?I\/O=\S+/, ''),
      );
    expect(writes(inline.log).length).toBeGreaterThan(10);
    expect(writes(worker.log)).toEqual(writes(inline.log));
    if (!xenalyze) return;
    const { stdout } = spawnSync('/usr/bin/xenalyze', ['--cpu-hz=1G', '--dump-all', worker.trace], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    expect(
      stdout.split('\n').filter((line) => /skew|Not updating|returned -|WARNING|unexpected exit|First schedule/.test(line)),
    ).toEqual([]);
  });

  it('needs real time', () => {
    const { status, stderr } = run('virtual', '--clock', 'virtual', '--device-model', 'worker');
    expect(status).toBe(1);
    expect(stderr).toMatch(/add --clock host/);
  });
});
