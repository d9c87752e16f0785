/**
 * Small inputs that were once read wrongly, as people send them (test/cases), and their siblings: other packings and other ways
 * in. What a mail layer does to a text is tested beside it (src/analyze/sources/text-layer.spec.ts).
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { runProgram } from '../src/cli/program.ts';
import { openSevenZip } from '../src/machine/archive.ts';

const folder = mkdtempSync(join(tmpdir(), 'xenolith-cases-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());
const caseFile = (name: string): string => join(import.meta.dirname, 'cases', name);
const caseText = (name: string): string => readFileSync(caseFile(name), 'utf8');
const put = (name: string, data: Uint8Array | string): string => {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, data);
  return path;
};

interface Outcome {
  out: string;
  err: string;
  status: number;
}

/** Runs a command in this process. */
async function run(...args: string[]): Promise<Outcome> {
  const outcome = { out: '', err: '', status: 0 };
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    outcome.out += String(text);
    return true;
  });
  vi.spyOn(console, 'log').mockImplementation((text: string) => void (outcome.out += `${text}\n`));
  vi.spyOn(console, 'error').mockImplementation((text: string) => void (outcome.err += `${text}\n`));
  try {
    await runProgram(args);
    return { ...outcome, status: Number(process.exitCode ?? 0) };
  } finally {
    process.exitCode = undefined;
    vi.restoreAllMocks();
  }
}

/** The same with standard input. */
async function piped(input: Uint8Array | string, ...args: string[]): Promise<Outcome> {
  const stdin = Object.getOwnPropertyDescriptor(process, 'stdin')!;
  Object.defineProperty(process, 'stdin', { configurable: true, value: Readable.from([Buffer.from(input)]) });
  try {
    return await run(...args);
  } finally {
    Object.defineProperty(process, 'stdin', stdin);
  }
}

/** A file packed by 7-Zip, in the format that its name ends in. */
async function packed(name: string, files: Readonly<Record<string, Uint8Array | string>>): Promise<Uint8Array> {
  const zip = await openSevenZip();
  zip.fs.mkdir('/in');
  zip.fs.chdir('/in');
  for (const [file, data] of Object.entries(files)) zip.fs.writeFile(`/in/${file}`, data as never);
  zip.run(['a', `/${name}`, ...Object.keys(files)]);
  return zip.fs.readFile(`/${name}`);
}

const DOORBELL = /^ +3\.100200300 d5v0 +0xf40210d9 W TxPoll <- 0x40 NPQ +sync proven +53\.7 +3\.2\+3\.5\+43\.0\+3\.0\+1\.0/m;

describe('a text as somebody sends it', () => {
  it.each([
    'mail-quoted/mail.txt',
    'mail-quoted-half/mail.txt',
    'html-entities/page.txt',
    'hard-wrapped/mail.txt',
    'line-numbers/paste.txt',
  ])('%s is read as without its layer', async (name) => {
    const { out, err, status } = await run('trace', 'io', caseFile(name), '--register', 'TxPoll');
    expect(out).toMatch(DOORBELL);
    expect(out).toContain('1 of 1 accesses paired with 1 requests of the log');
    expect({ err, status }).toEqual({ err: '', status: 0 });
  });

  it('cut before its data: the next line has it', async () => {
    const { out } = await run('trace', 'io', caseFile('cut-before-data/mail.txt'));
    expect(out).toMatch(/W TxAddr0 <- 0xa1b2c00 /);
    expect(out).toContain('1 of 1 accesses paired');
  });

  it('cut before its data for good: the data is unknown, and the line is named', async () => {
    const text = caseText('cut-before-data/mail.txt').replace('\ndata 0a1b2c00\n', '\n\n');
    const { out, err } = await run('trace', 'io', put('cut.txt', text));
    expect(out).toMatch(/W TxAddr0 <- \(unknown\)/);
    expect(out).not.toContain('pointer');
    expect(err).toMatch(/note: a line looks like a record cut before its end; the missing part is unknown: text:4/);
  });
});

describe('a device-model log of another form', () => {
  it('with the stamps of newer QEMU is joined as with older ones', async () => {
    const { out } = await run(
      'trace',
      'io',
      caseFile('qemu-iso-timestamps/trace.txt'),
      '--dm-log',
      caseFile('qemu-iso-timestamps/dm-log.txt'),
      '--stats',
    );
    expect(out).toContain('18 of 18 accesses paired with 19 requests of the log');
    expect(out).toMatch(/clocks: trace .* from 1\d pairs/);
  });

  it('without request lines is called what it is', async () => {
    const { err, status } = await run('trace', 'io', '--dm-log', caseFile('region-lines-only/dm-log.txt'));
    expect(err).toMatch(/its lines are trace events \(memory_region_ops.*\), but no request line \(handle_ioreq\) is among them/);
    expect(status).toBe(1);
  });
});

/** A command in a process of its own: `dump` and `summary` write to the file descriptor. */
function spawned(args: readonly string[], shell?: string): { status: number | null; stdout: string; stderr: string } {
  const tsx = join(import.meta.dirname, '../node_modules/tsx/dist/cli.mjs');
  const main = join(import.meta.dirname, '../src/cli/main.ts');
  const command = [process.execPath, tsx, main, ...args];
  return shell === undefined
    ? spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', timeout: 60_000 })
    : spawnSync('sh', ['-c', `${shell} ${command.map((word) => `'${word}'`).join(' ')}`], { encoding: 'utf8', timeout: 60_000 });
}

it('a port access without data shows none', () => {
  const { stdout } = spawned(['trace', 'dump', caseFile('pio-without-data/t.trc')]);
  expect(stdout).toContain('d1v0 io write port 1f0 (no data)\n');
});

describe('a compressed trace', () => {
  const plain = readFileSync(caseFile('pio-without-data/t.trc'));

  it('is read as the plain one', async () => {
    const text = caseText('qemu-iso-timestamps/trace.txt');
    const told = (...args: string[]): Promise<Outcome> => run('trace', 'io', ...args, '--stats');
    const expected = await told(put('t.txt', text));
    expect(expected).toMatchObject({ status: 0, err: '' });
    for (const name of ['t.xz', 't.bz2', 't.zip', 't.7z', 't.tar'])
      expect(await told(put(name, await packed(name, { 't.txt': text })))).toEqual(expected);
    expect(await told(put('twice.gz', gzipSync(await packed('t.xz', { 't.txt': text }))))).toEqual(expected);
    expect(await told(put('no-name', gzipSync(text)))).toEqual(expected);
    expect(await piped(gzipSync(text), 'trace', 'io', '-', '--stats')).toEqual(expected);
  });

  it('is summarized as the plain one, also from a pipe', () => {
    const expected = spawned(['trace', 'summary', caseFile('pio-without-data/t.trc')]);
    expect(expected).toMatchObject({ status: 0, stderr: '' });
    expect(spawned(['trace', 'summary', caseFile('compressed-trace/t.trc.gz')]).stdout).toBe(expected.stdout);
    expect(spawned(['trace', 'summary', '-'], `cat '${caseFile('compressed-trace/t.trc.gz')}' |`).stdout).toBe(expected.stdout);
  });

  it.each([
    ['cut', gzipSync(plain).subarray(0, 60), /cut: the compressed data is damaged/],
    ['bomb.gz', gzipSync(new Uint8Array(80 << 20)), /bomb\.gz: unpacks to more than 64 MiB; unpack it yourself if you trust it/],
    ['noise.gz', gzipSync('no trace at all'), /noise is text, no trace/],
    ['empty.gz', gzipSync(''), /empty is empty: expected an xentrace file/],
    ['lz4', Uint8Array.of(4, 0x22, 0x4d, 0x18, 0, 0), /lz4 is an lz4 file; unpack it first: expected/],
    ['zeros', new Uint8Array(1000), /zeros is a file of zero bytes/],
  ])('%s: one line says what is wrong', async (name, data, message) => {
    const { out, err, status } = await run('trace', 'summary', put(`bad/${name}`, data));
    expect(err).toMatch(message);
    expect(err.trim().split('\n')).toHaveLength(1);
    expect({ out, status }).toEqual({ out: '', status: 1 });
  });
});

describe('files of a run', () => {
  const trace = caseText('qemu-iso-timestamps/trace.txt');
  const log = caseText('qemu-iso-timestamps/dm-log.txt');
  const host = 'release                : 6.1.0\nxen_version            : 4.17.3\ncpu_mhz                : 2596.090\n';

  it('are told apart by content, in any order, in a folder and in an archive', async () => {
    const expected = await run('trace', 'io', put('run/a', trace), '--dm-log', put('run/b', log), '--stats');
    expect(expected.out).toContain('18 of 18 accesses paired with 19 requests');
    const text = (o: Outcome): string => o.out.replace(/^note: .*\n/gm, '');
    expect(text(await run('trace', 'io', join(folder, 'run/b'), join(folder, 'run/a'), '--stats'))).toBe(text(expected));
    expect(text(await run('trace', 'io', join(folder, 'run'), '--stats'))).toBe(text(expected));
    put('run/xl-info', host);
    put('run/notes', 'what I did that day\n');
    put('run/picture.png', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10));
    const mixed = await run('trace', 'io', join(folder, 'run'), '--stats');
    expect(text(mixed)).toBe(text(expected));
    expect(mixed.out).toMatch(/note: .*notes is text without a record .*: left out/);
    expect(mixed.out).toMatch(/note: .*picture\.png is a picture \(PNG\).*: left out/);
    expect(mixed.out).toMatch(/note: TSC rate 2596090000 Hz, from .*xl-info/);
    const zip = put('run.zip', await packed('run.zip', { trace, log }));
    expect(text(await run('trace', 'io', zip, '--stats'))).toBe(text(expected));
    const tgz = put('run.tgz', gzipSync(await packed('run.tar', { trace, log })));
    expect(text(await run('trace', 'io', tgz, '--stats'))).toBe(text(expected));
    expect(text(await run('trace', 'io', put('t.gz', gzipSync(trace)), '--dm-log', put('l.gz', gzipSync(log)), '--stats'))).toBe(
      text(expected),
    );
    expect(text(await piped(trace, 'trace', 'io', '-', join(folder, 'run/b'), '--stats'))).toBe(text(expected));
    expect(text(await piped(log, 'trace', 'io', join(folder, 'run/a'), '--dm-log', '-', '--stats'))).toBe(text(expected));
    const utf16 = Buffer.concat([Uint8Array.of(0xff, 0xfe), Buffer.from(trace.replaceAll('\n', '\r\n'), 'utf16le')]);
    expect(text(await run('trace', 'io', put('utf16', utf16), join(folder, 'run/b'), '--stats'))).toBe(text(expected));
  });

  it('a mail on standard input is read as from its file', async () => {
    const { out } = await piped(caseText('stdin-for-text/mail.txt'), 'trace', 'io', '-', '--register', 'TxPoll');
    expect(out).toMatch(DOORBELL);
  });

  it.each([
    ['a program', ['trace', 'io', process.execPath], /is a program or a core dump \(ELF\): expected an xentrace file/],
    [
      'a log as a capture',
      ['trace', 'io', 'TRACE', '--pcap', 'LOG'],
      /--pcap .*: a device-model log; expected a capture .* so give it with --dm-log/,
    ],
    [
      'a capture as a log',
      ['trace', 'io', 'TRACE', '--dm-log', 'PCAP'],
      /--dm-log .*: a pcap capture; expected a device-model log, so give it with --pcap/,
    ],
    ['a capture as a trace', ['trace', 'summary', 'PCAP'], /is a pcap capture: expected an xentrace file/],
    ['a configuration', ['trace', 'io', 'CFG'], /is a guest configuration \(xl\.cfg\): expected/],
    ['JSON', ['trace', 'io', 'JSON'], /is JSON: expected/],
    ['a device', ['trace', 'io', '/dev/zero'], /\/dev\/zero is not a regular file but a device; expected/],
    ['a device as a log', ['trace', 'io', 'TRACE', '--dm-log', '/dev/zero'], /not a regular file but a device/],
    ['a device as a capture', ['trace', 'io', 'TRACE', '--pcap', '/dev/zero'], /not a regular file but a device/],
    ['a device as a console', ['trace', 'io', 'TRACE', '--console', '/dev/zero'], /not a regular file but a device/],
    ['an empty log', ['trace', 'io', 'TRACE', '--dm-log', 'EMPTY'], /--dm-log .*: empty; expected a device-model log/],
    ['an empty console', ['trace', 'io', 'TRACE', '--console', 'EMPTY'], /--console .*: empty; expected a guest's console/],
    [
      'a junk console',
      ['trace', 'io', 'TRACE', '--console', 'JUNK'],
      /--console .*: a binary file of an unknown kind; expected a guest's console/,
    ],
    ['an empty capture', ['trace', 'io', 'TRACE', '--pcap', 'EMPTY'], /--pcap .*: empty; expected a capture/],
  ])('%s is called what it is', async (_, args, message) => {
    const files: Record<string, string> = {
      TRACE: put('kinds/trace', trace),
      LOG: put('kinds/log', log),
      PCAP: put('kinds/pcap', Uint8Array.of(0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0)),
      CFG: put('kinds/guest.cfg', "memory = 5\nvif = ['']\n"),
      JSON: put('kinds/json', '{"a": 1}\n'),
      EMPTY: put('kinds/empty', ''),
      JUNK: put(
        'kinds/junk',
        Uint8Array.from({ length: 1000 }, (__, i) => (i * 37) & 255),
      ),
    };
    const { err, status } = await run(...args.map((arg) => files[arg] ?? arg));
    expect(err).toMatch(message);
    expect(err.trim().split('\n')).toHaveLength(1);
    expect(status).toBe(1);
  });
});

it('a stream without end is given up early', () => {
  const { status, stderr } = spawned(['trace', 'io', '-'], 'cat /dev/zero |');
  expect(stderr).toBe('xenolith: standard input is a file of zero bytes, which is of no use here\n');
  expect(status).toBe(1);
});
