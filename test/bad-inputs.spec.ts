/**
 * Some 450 things that people give a program: wrong numbers, wrong files, endless files, bombs. Each gives one line that says what is
 * wrong and what was expected, status 1, and takes no memory to speak of. Needs dist/ for the run whose files it spoils.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putBadFiles, putGuests } from './bad-inputs/files.ts';
import { badInputs, partlyRead } from './bad-inputs/table.ts';
import { runHere } from './in-process.ts';
import { lackOf } from './needs.ts';
import { measured, startMeasured } from './peak-memory.ts';

const lack = await lackOf('built');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-bad-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** Megabytes that a command may grow by over one that only says what it is. */
const MORE = 150;
/** Those that have to look at much before they can refuse it. */
const HEAVY: readonly (readonly string[])[] = [
  ['run', '/dev/zero'],
  ['run', 'huge'],
  ['run', '--kernel', '/dev/zero'],
  ['run', '--kernel', 'huge'],
  ['run', '--kernel', 'kernel/bomb-payload', '--memory', '8'],
  ['run', '--kernel', 'off.elf', '--initrd', 'huge', '--memory', '8'],
  ['trace', 'dump', 'packed/bomb.gz'],
  ['trace', 'dump', 'packed/bomb-twice.gz'],
  ['trace', 'dump', 'packed/bomb.zip'],
  ['trace', 'dump', 'packed/lie.zip'],
  ['trace', 'dump', 'huge'],
  ['trace', 'io', 'text/line'],
  ['trace', 'io', 'huge'],
  ['trace', 'io', 'out/trace.trc', '--dm-log', '/dev/zero'],
  ['trace', 'io', 'out/trace.trc', '--dm-log', 'huge'],
  ['trace', 'io', 'out/trace.trc', '--pcap', 'huge'],
  ['trace', 'io', 'out/trace.trc', '--console', 'huge'],
  ['conformance', 'packed/bomb.gz'],
  ['conformance', 'text/line'],
  ['conformance', 'text/json-deep'],
];

describe.skipIf(lack.skip)(lack.title('bad input'), () => {
  let quiet = 0;
  beforeAll(() => {
    putGuests(folder);
    const files = ['--trace', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log', '--pcap', 'out/net.pcapng'];
    expect(measured(folder, ['run', 'guest.cfg', ...files, '--console', 'out/console.log'])).toMatchObject({
      status: 0,
      stdout: '',
    });
    putBadFiles(folder, resolve(import.meta.dirname, '..'));
    quiet = measured(folder, ['trace', 'summary', 'out/trace.trc']).peak;
  });

  it('has every kind in the table, each once', () => {
    expect(badInputs.length).toBeGreaterThan(300);
    expect(new Set(badInputs.map(([title]) => title)).size).toBe(badInputs.length);
  });

  it.each(badInputs.map(([title, args, message]) => [title, args, message] as const))(
    '%s: one line and status 1',
    async (_, args, message) => {
      const { status, stdout, stderr } = await runHere(folder, args);
      expect(lines(stderr)).toHaveLength(1);
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/^xenolith: /);
      expect(stderr).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
      expect([status, stdout]).toEqual([1, '']);
    },
  );

  it.each(partlyRead.map(([title, args, message]) => [title, args, message] as const))(
    '%s: what there is is shown, one line and status 1',
    async (_, args, message) => {
      const { status, stdout, stderr } = await runHere(folder, args);
      expect([status, lines(stderr).length]).toEqual([1, 1]);
      expect(stderr).toMatch(message);
      expect(stdout.length).toBeGreaterThan(80);
    },
  );

  it.each(HEAVY.map((args) => [args.join(' '), args] as const))('%s: takes no memory to speak of', (_, args) => {
    const { status, peak, stderr } = measured(folder, args);
    expect([status, lines(stderr).length]).toEqual([1, 1]);
    expect(peak).toBeLessThan(quiet + MORE);
  });

  it.each<[string, readonly string[], string]>([
    ['a configuration', ['run', '-'], '/dev/zero'],
    ['a kernel', ['run', '--kernel', '-', '--memory', '8'], '/dev/zero'],
    ['an initrd', ['run', '--kernel', 'off.elf', '--initrd', '-', '--memory', '8'], '/dev/zero'],
    ['a trace', ['trace', 'dump', '-'], '/dev/zero'],
    ['a trace or a text', ['trace', 'io', '-'], '/dev/zero'],
    ['a log', ['trace', 'io', 'out/trace.trc', '--dm-log', '-'], '/dev/zero'],
    ['a capture', ['trace', 'io', 'out/trace.trc', '--pcap', '-'], '/dev/zero'],
    ['a console', ['trace', 'io', 'out/trace.trc', '--console', '-'], '/dev/zero'],
    ['a transcript', ['conformance', '-'], '/dev/zero'],
    ['a trace that is random', ['trace', 'dump', '-'], '/dev/urandom'],
    ['a configuration that is random', ['run', '-'], '/dev/urandom'],
  ])('%s that does not end, in a pipe: one line, status 1, no memory to speak of', async (_, args, endless) => {
    const source = spawn('cat', [endless], { stdio: ['ignore', 'pipe', 'ignore'] });
    source.stdout.on('error', () => {});
    const { child, ended } = startMeasured(folder, args, 'pipe');
    child.stdin!.on('error', () => source.kill());
    child.on('exit', () => source.kill());
    source.stdout.pipe(child.stdin!);
    const { status, stderr, peak } = await ended;
    expect([status, lines(stderr).length]).toEqual([1, 1]);
    expect(stderr).toMatch(/^xenolith: .*expected|^xenolith: .*of no use here/);
    expect(peak).toBeLessThan(quiet + MORE);
  });
});
