/** The device model on a thread of its own gives the guest what the inline one gives it (built files in dist/). */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assembleTinyGuest } from '../src/machine/tiny-guest/image.ts';
import { entry, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('built');
const xenalyze = await lackOf('xenalyze');

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
    { encoding: 'utf8', timeout: PATIENCE_MS },
  );
  const text = (what: string): string => (existsSync(file(what)) ? readFileSync(file(what), 'latin1') : '');
  return { status, stderr, console: text('console'), log: text('log'), trace: file('trc') };
}

describe.skipIf(lack.skip)(lack.title('a device model in a Worker'), () => {
  let made: ReturnType<typeof run> | undefined;
  const inWorker = (): ReturnType<typeof run> => (made ??= run('worker', '--clock', 'host', '--device-model', 'worker'));

  it('serves the same guest with the same requests and answers as inline', () => {
    const inline = run('inline');
    const worker = inWorker();
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
  });

  it.skipIf(xenalyze.skip)(xenalyze.title('leaves a trace that xenalyze reads without a complaint'), () => {
    const { stdout } = spawnSync('xenalyze', ['--cpu-hz=1G', '--dump-all', inWorker().trace], {
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
