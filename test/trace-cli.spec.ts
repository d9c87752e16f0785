/** The commands as a shell runs them: output, one-line errors, exit statuses. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dumpTrace, memorySource, summarizeTrace } from '../src/trace/index.ts';
import { Generator, generateTrace } from '../src/trace/testing/generator.ts';
import { entry as main, lackOf } from './needs.ts';

const lack = await lackOf('built');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-trace-cli-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  out: Buffer;
  err: string;
}
function xenolith(args: string[], input?: Uint8Array): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'trace', ...args], { input, maxBuffer: 1 << 29 });
  return { status, out: stdout, err: stderr.toString() };
}
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

describe.skipIf(lack.skip)(lack.title('trace commands'), () => {
  const good = join(folder, 'good.bin');
  const bytes = generateTrace({ seed: 3, cpus: 2, steps: 400, svm: true });
  beforeAll(() => writeFileSync(good, bytes));

  it('dump, from a file and from standard input, is what the library writes', async () => {
    const parts: Buffer[] = [];
    await dumpTrace(memorySource(bytes), { cpuHz: 1e9, svm: true, exact: false }, (text) => void parts.push(Buffer.from(text)));
    const text = Buffer.concat(parts);
    for (const outcome of [xenolith(['dump', good, '--cpu-hz', '1G']), xenolith(['dump', '-', '--cpu-hz', '1G'], bytes)]) {
      expect(outcome.status).toBe(0);
      expect(outcome.out.equals(text)).toBe(true);
    }
  });

  const large = join(folder, 'large.bin');
  beforeAll(() => {
    const fd = openSync(large, 'w');
    const generator = new Generator({ seed: 5, cpus: 3, steps: 0 }, (part) => void writeSync(fd, part));
    while (generator.bytesWritten < 18e6) generator.step();
    generator.finish();
    closeSync(fd);
  });

  it('a large file, written by two threads in turns, gives the same text', async () => {
    const one: Buffer[] = [];
    await dumpTrace(
      memorySource(readFileSync(large)),
      { cpuHz: 2.4e9, svm: false, exact: true },
      (text) => void one.push(Buffer.from(text)),
    );
    const two = xenolith(['dump', '--xenalyze', large]);
    expect(two.status).toBe(0);
    expect(two.out.equals(Buffer.concat(one))).toBe(true);
  });

  it('a large file, merged by a second thread, gives the same summary; a damaged one is read by one thread', async () => {
    const expected = async (bytes: Uint8Array): Promise<unknown> =>
      JSON.parse(
        JSON.stringify(await summarizeTrace(memorySource(bytes), 2.4e9, false), (_, v: unknown) =>
          typeof v === 'bigint' ? `0x${v.toString(16)}` : v,
        ),
      );
    const bytes = readFileSync(large);
    expect(JSON.parse(xenolith(['summary', large, '--json']).out.toString())).toMatchObject((await expected(bytes)) as object);
    const path = join(folder, 'large-damaged.bin');
    bytes.fill(0xee, 9_000_000, 9_000_400);
    writeFileSync(path, bytes);
    const { status, out } = xenolith(['summary', path, '--json']);
    expect(status).toBe(1);
    expect(JSON.parse(out.toString())).toMatchObject((await expected(bytes)) as object);
  });

  it('dump --json: one object a record', () => {
    const { status, out } = xenolith(['dump', good, '--json']);
    expect(status).toBe(0);
    const records = lines(out.toString()).map(
      (line) => JSON.parse(line) as { kind: string; offset: number; ns: number; event: string },
    );
    expect(records.length).toBeGreaterThan(500);
    const exit = records.find((r) => r.kind === 'vmexit');
    expect(exit).toMatchObject({
      class: 'hvm',
      vendor: 'svm',
      event: expect.stringMatching(/^0x81[01]02$/) as string,
      rip: expect.stringMatching(/^0x/) as string,
    });
  });

  it('summary, as tables and as JSON', () => {
    const table = xenolith(['summary', good]);
    expect(table.status).toBe(0);
    expect(table.out.toString()).toMatch(/exit reasons/);
    for (const line of lines(table.out.toString())) expect(line.length).toBeLessThanOrEqual(220);
    const summary = JSON.parse(xenolith(['summary', good, '--json']).out.toString()) as {
      vendor: string;
      domains: { id: number }[];
      records: number;
    };
    expect(summary.vendor).toBe('svm');
    expect(summary.domains.map((d) => d.id)).toContain(32767);
  });

  it.each([
    ['a file that is not there', ['dump', join(folder, 'absent')], 'cannot read'],
    ['a folder', ['summary', folder], 'files in it'],
    ['a rate that is none', ['dump', good, '--cpu-hz', 'fast'], 'expected hertz'],
    ['a release that is none', ['dump', good, '--xen-version', '5.0'], 'expected 4.4 to 4.22'],
    ['two forms at once', ['dump', good, '--json', '--xenalyze'], 'exclude each other'],
  ])('%s: one line and status 1', (_, args, message) => {
    const { status, err } = xenolith(args);
    expect(status).toBe(1);
    expect(lines(err)).toHaveLength(1);
    expect(err).toContain(message);
  });

  it('a damaged file: everything readable, the offset on stderr, status 1', () => {
    const path = join(folder, 'damaged.bin');
    const damaged = bytes.slice();
    damaged.fill(0xee, 600, 640);
    writeFileSync(path, damaged);
    for (const args of [
      ['dump', path],
      ['summary', path],
      ['dump', path, '--json'],
    ]) {
      const { status, out, err } = xenolith(args);
      expect(status).toBe(1);
      expect(out.length).toBeGreaterThan(1000);
      expect(err).toMatch(/damaged at offset 0x2[0-9a-f]{2}: .*everything readable is shown/);
    }
  });

  it('what is no trace at all: text, nothing, or bytes without a record', () => {
    const path = join(folder, 'other.bin');
    const noise = Buffer.from('this is no trace\0'.repeat(100));
    for (const [content, message] of [
      ['this is no trace\n'.repeat(100), 'other.bin is text, no trace: expected an xentrace file'],
      ['', 'other.bin is empty: expected'],
      [noise, 'other.bin is a binary file of an unknown kind: expected an xentrace file'],
    ] as const) {
      writeFileSync(path, content);
      for (const args of [
        ['dump', path],
        ['dump', path, '--json'],
        ['summary', path],
      ]) {
        const { status, err } = xenolith(args);
        expect(status).toBe(1);
        expect(lines(err)).toHaveLength(1);
        expect(err).toContain(message);
      }
    }
    writeFileSync(path, '');
    for (const args of [
      ['dump', '--xenalyze', path],
      ['io', path],
      ['explain', path],
    ])
      expect(xenolith(args)).toMatchObject({ status: 1, err: expect.stringContaining('is empty: expected') as string });
    expect(xenolith(['dump', '-'], new Uint8Array(0))).toMatchObject({
      status: 1,
      err: expect.stringContaining('standard input is empty') as string,
    });
  });

  it('an end of xenalyze: its text up to there and status 1', () => {
    const { status, out, err } = xenolith(['dump', '--xenalyze', good]);
    expect(status).toBe(1);
    expect(out.toString()).toContain('exit_reason_max');
    expect(err).toContain('xenalyze ends here');
  });
});
