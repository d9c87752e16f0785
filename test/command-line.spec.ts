/** The command line as a stranger meets it: what is wrong gives one line and a status, examples work when pasted, files outlive signals. Needs dist/. */
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { runProgram } from '../src/cli/program.ts';
import { assembleTinyGuest, tinyGuestCommandLine } from '../src/machine/tiny-guest/image.ts';
import { entry as cli, lackOf, PATIENCE_MS, until } from './needs.ts';
import { plainGuest, powerOff } from './plain-guest.ts';

const root = resolve(import.meta.dirname, '..');
const qtest = join(root, 'dist/cli/qtest.js');
const lack = await lackOf('built', 'bash');

const folder = mkdtempSync(join(tmpdir(), 'xenolith-command-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const put = (name: string, data: Uint8Array | string): void => {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), data);
};

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}
/** One command in the test's folder, as a process without a terminal. */
const run = (program: string, args: readonly string[], stdio: { input?: string; stdout?: number } = {}): Outcome =>
  spawnSync(process.execPath, [program, ...args], {
    cwd: folder,
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 28,
    env: { ...process.env, FORCE_COLOR: undefined },
    ...(stdio.stdout === undefined ? { input: stdio.input ?? '' } : { stdio: ['ignore', stdio.stdout, 'pipe'] }),
  });
const xenolith = (...args: string[]): Outcome => run(cli, args);
/** The same in this process: hundreds of milliseconds less. */
async function here(...args: string[]): Promise<Outcome> {
  const written = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += String(text);
      return true;
    }),
  );
  const consoles = (['log', 'error'] as const).map((name) =>
    vi.spyOn(console, name).mockImplementation((text: string) => {
      written[name === 'log' ? 'stdout' : 'stderr'] += `${text}\n`;
    }),
  );
  const before = process.cwd();
  process.chdir(folder);
  try {
    await runProgram(args);
    return { ...written, status: Number(process.exitCode ?? 0) };
  } finally {
    process.chdir(before);
    process.exitCode = undefined;
    for (const spy of [...spies, ...consoles]) spy.mockRestore();
  }
}
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

const tiny = (extra: string): string =>
  `name = 'tiny'\nmemory = 8\nkernel = 'tiny.elf'\nextra = '${extra}'\nvif = ['type=ioemu,model=rtl8139,mac=00:16:3e:01:02:03']\n`;
/** A disk that is always full. */
const full = await lackOf('/dev/full');
const RUN_FILES = [
  '--trace',
  'out/trace.trc',
  '--dm-log',
  'out/qemu-dm.log',
  '--pcap',
  'out/net.pcapng',
  '--console',
  'out/console.log',
];

/** ELF64 whose one segment says these things of itself. */
function elf64(field: {
  entry?: bigint;
  phoff?: bigint;
  phnum?: number;
  phentsize?: number;
  paddr?: bigint;
  offset?: bigint;
  filesz?: bigint;
  memsz?: bigint;
  type?: number;
}): Uint8Array {
  const file = new Uint8Array(0x2000);
  const v = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  v.setUint16(16, 2, true);
  v.setUint16(18, 62, true);
  v.setBigUint64(24, field.entry ?? 0x100000n, true);
  v.setBigUint64(32, field.phoff ?? 64n, true);
  v.setUint16(54, field.phentsize ?? 56, true);
  v.setUint16(56, field.phnum ?? 1, true);
  v.setUint32(64, field.type ?? 1, true);
  v.setBigUint64(64 + 8, field.offset ?? 0x1000n, true);
  v.setBigUint64(64 + 24, field.paddr ?? 0x100000n, true);
  v.setBigUint64(64 + 32, field.filesz ?? 0x1000n, true);
  v.setBigUint64(64 + 40, field.memsz ?? 0x1000n, true);
  return file;
}

/** The start of a bzImage: protocol, and a payload of this length, of which the file holds `there` bytes. `xloadflags` 1: with a 64-bit entry. */
function bzImage(protocol: number, length: number, there: number, payload: readonly number[] = [], xloadflags = 0): Uint8Array {
  const file = new Uint8Array(1024 + there);
  const v = new DataView(file.buffer);
  file[0x1f1] = 1;
  file[0x201] = 0x6a;
  file[0x211] = 1;
  v.setUint32(0x214, 0x100000, true);
  v.setUint32(0x202, 0x53726448, true);
  v.setUint16(0x206, protocol, true);
  v.setUint16(0x236, xloadflags, true);
  v.setUint32(0x24c, length, true);
  file.set(payload, 1024);
  return file;
}

describe.skipIf(lack.skip)(lack.title('the command line'), () => {
  beforeAll(() => {
    put('tiny.elf', assembleTinyGuest());
    put('guest.cfg', tiny(tinyGuestCommandLine({ mode: 'ping' })));
    put('busy.cfg', tiny(tinyGuestCommandLine({ mode: 'exits', reads: 100_000_000 })));
    put('off.elf', plainGuest(powerOff));
    put('idle.elf', plainGuest('top:\nsti\nhlt\njmp top\n'));
    put('loud.elf', plainGuest('top:\nmov al, 10\nmov edx, 0xe9\nout dx, al\njmp top\n'));
    put('empty', '');
    put('damaged/6.1/manifest.json', '{');
    put('hollow/6.1/manifest.json', 'null');
    put('noise', 'no kernel at all\n'.repeat(100));
    symlinkSync(join(root, 'test'), at('test'));
    linkSync(at('off.elf'), at('off-too.elf'));
    symlinkSync('guest.cfg', at('also.cfg'));
    expect(xenolith('run', 'guest.cfg', ...RUN_FILES)).toMatchObject({ status: 0, stdout: '' });
    put('cut.pcapng', readFileSync(at('out/net.pcapng')).subarray(0, 300));
    put('cut.trc', readFileSync(at('out/trace.trc')).subarray(0, 100_002));
    for (const [name, text] of Object.entries({
      twice: 'memory = 8\nmemory = ',
      unclosed: "name = 'a\n",
      vcpus: 'memory = 8\n\nvcpus = 4\n',
      type: "type = 'pv'\n",
      negative: 'memory = -1\n',
      huge: 'memory = 99999999999999999999\n',
      number: 'kernel = 3\n',
      'no-kernel': "kernel = 'nowhere'\n",
      ramdisk: "ramdisk = 'initrd'\n",
      comments: '# nothing\n\n# here\n',
      list: "vif = [ 'a'\n\n",
      rest: "name = 'a' 'b'\n",
      e1000: "memory = 8\nvif = ['model=e1000']\n",
      mac: "vif = ['mac=00:16:3e:01:02']\n",
      group: "vif = ['mac=01:00:5e:00:00:01']\n",
      vif: "vif = ['type=vif']\n",
      many: `vif = [${"'', ".repeat(9)}]\n`,
      word: "vif = 'rtl8139'\n",
    }))
      put(`cfg/${name}`, text);
    put('kernel/cut-header', bzImage(0x020f, 4096, 4096).subarray(0, 0x300));
    put('kernel/cut', bzImage(0x020f, 1 << 20, 4096));
    const real = bzImage(0x0207, 4096, 4096);
    real.fill(0, 0x214, 0x218);
    put('kernel/real-mode', real);
    put('kernel/old', bzImage(0x0200, 4096, 4096).fill(0, 0x211, 0x212));
    const xz = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 9, 9, 9];
    put('kernel/damaged', bzImage(0x020f, 4096, 4096, xz));
    put('kernel/damaged-64', bzImage(0x020f, 4096, 4096, xz, 1));
    put(
      'kernel/arm',
      assembleTinyGuest().map((byte, i) => (i === 18 ? 40 : byte)),
    );
    const huge = 0xffff_ffff_ffff_f000n;
    for (const [name, field] of Object.entries({
      'table-far': { phoff: huge },
      'no-table': { phnum: 0 },
      'many-segments': { phnum: 0xffff },
      'thin-table': { phentsize: 1 },
      'segment-far': { paddr: huge },
      'file-far': { offset: huge },
      'file-long': { filesz: huge, memsz: huge },
      'memory-long': { memsz: huge },
      'memory-short': { memsz: 1n },
      'entry-far': { entry: huge },
      'entry-virtual': { entry: 0x7fff_ffff_0000n },
      'segment-low': { paddr: 0n },
      'no-segment': { type: 7 },
    }))
      put(`kernel/${name}`, elf64(field));
  });

  const small = ['--memory', '8', '--console', 'console'];
  it.each<[string, string[], RegExp]>([
    // The command line itself.
    ['no such command', ['boot'], /unknown command 'boot'; see npx xenolith --help/],
    [
      'no such command in a group',
      ['trace', 'dumb'],
      /unknown command 'dumb' \(did you mean dump\?\); see npx xenolith trace --help/,
    ],
    ['no such option', ['run', '--trac', 'x'], /unknown option '--trac' \(did you mean --trace\?\); see npx xenolith run --help/],
    ['an option without its value', ['run', '--trace'], /'--trace <file>' argument missing; see/],
    ['one file too many', ['run', 'guest.cfg', 'also.cfg'], /too many arguments/],
    ['no file where one is needed', ['trace', 'dump'], /missing required argument 'file'; see npx xenolith trace dump --help/],
    [
      'memory: too little',
      ['run', '--memory', '3'],
      /'--memory <MiB>' argument '3' is invalid. expected a whole number from 4 to 3840/,
    ],
    ['memory: too much', ['run', '--memory', '3841'], /expected a whole number from 4 to 3840/],
    ['memory: nothing', ['run', '--memory', ''], /expected a whole number from 4 to 3840/],
    ['memory: words', ['run', '--memory', '128M'], /expected a whole number from 4 to 3840/],
    ['a seed of 33 bits', ['run', '--seed', '4294967296'], /expected a whole number from 0 to 4294967295/],
    ['a negative seed', ['run', '--seed', '-1'], /expected a whole number from 0 to 4294967295/],
    ['no time', ['run', '--timeout', '0'], /expected a whole number from 1/],
    ['a clock that is none', ['run', '--clock', 'sun'], /expected virtual or host/],
    ['a driver that is none', ['run', '--driver', 'e1000'], /expected 8139cp or 8139too/],
    [
      'a mask that is none',
      ['run', '--trace', 't', '-e', '0x1ffffffff'],
      /-e 0x1ffffffff: expected a 32-bit number or one of all, gen/,
    ],
    ['a mask without a trace', ['run', '-e', 'hvm'], /-e: it is the mask of a trace; give --trace FILE too/],
    ['a story without its files', ['run', '--story', '--trace', 't'], /--story needs --trace, --dm-log and --pcap/],
    ['a worker in virtual time', ['run', '--device-model', 'worker', '--clock', 'virtual'], /add --clock host/],
    ['a network address that is none', ['run', '--netdev', 'eth0'], /'eth0': expected unix:PATH or tcp:HOST:PORT/],
    ['a port that is none', ['run', '--netdev', 'tcp:localhost:99999'], /expected unix:PATH or tcp:HOST:PORT/],
    [
      'nobody behind the socket',
      ['run', '--kernel', 'off.elf', ...small, '--netdev', 'unix:nowhere'],
      /network peer at nowhere: .*; start the peer first/,
    ],
    [
      'an initrd without a kernel',
      ['run', '--initrd', 'noise'],
      /--initrd: it goes with a kernel of your own; give --kernel too/,
    ],
    // Configurations.
    [
      'no such configuration',
      ['run', 'nowhere.cfg'],
      /nowhere\.cfg: no such file; expected a guest configuration, for example guest\.cfg/,
    ],
    ['a folder for a configuration', ['run', '.'], /\.: a directory; expected a guest configuration/],
    ['an empty configuration', ['run', 'empty'], /empty: empty; expected a guest configuration/],
    ['a configuration of comments', ['run', 'cfg/comments'], /cfg\/comments: it has no settings; expected .* like memory = 128/],
    ['a kernel for a configuration', ['run', 'tiny.elf'], /tiny\.elf:1: expected a key, like memory = 128/],
    ['cfg: no value', ['run', 'cfg/twice'], /cfg\/twice:2: expected a value: a number, a string in quotes, or a list/],
    ['cfg: an open string', ['run', 'cfg/unclosed'], /cfg\/unclosed:1: the string is not closed/],
    ['cfg: an open list', ['run', 'cfg/list'], /cfg\/list:3: expected ',' or '\]' in the list/],
    ['cfg: more on the line', ['run', 'cfg/rest'], /cfg\/rest:1: expected the end of the line after the value of 'name'/],
    ['cfg: vCPUs', ['run', 'cfg/vcpus'], /cfg\/vcpus:3: vcpus = 4: only one vCPU is supported; write vcpus = 1/],
    ['cfg: type', ['run', 'cfg/type'], /cfg\/type:1: type = 'pv': a paravirtual guest, .* expected type = 'hvm' or 'pvh'/],
    [
      'cfg: negative memory',
      ['run', 'cfg/negative'],
      /cfg\/negative:1: memory = -1: expected a whole number of MiB from 4 to 3840/,
    ],
    [
      'cfg: memory beyond every number',
      ['run', 'cfg/huge'],
      /cfg\/huge:1: memory = 100000000000000000000: expected a whole number of MiB/,
    ],
    ['cfg: a number for a kernel', ['run', 'cfg/number'], /cfg\/number:1: kernel: expected a string in quotes/],
    ['cfg: a kernel that is not there', ['run', 'cfg/no-kernel'], /nowhere: no such file; expected the guest's kernel/],
    ['cfg: a ramdisk without a kernel', ['run', 'cfg/ramdisk'], /ramdisk = 'initrd': it goes with a kernel/],
    ['cfg: a NIC model unknown', ['run', 'cfg/e1000'], /cfg\/e1000:2: vif: model=e1000: expected rtl8139/],
    ['cfg: a MAC malformed', ['run', 'cfg/mac'], /cfg\/mac:1: vif: mac=00:16:3e:01:02: expected six hexadecimal bytes/],
    ['cfg: the MAC of a group', ['run', 'cfg/group'], /cfg\/group:1: vif: mac=01:00:5e:00:00:01: the address of a group/],
    ['cfg: a paravirtual NIC', ['run', 'cfg/vif'], /cfg\/vif:1: vif: type=vif: expected ioemu/],
    ['cfg: too many NICs', ['run', 'cfg/many'], /cfg\/many:1: vif: 9 interfaces; expected at most 8/],
    ['cfg: no list of NICs', ['run', 'cfg/word'], /cfg\/word:1: vif: expected a list of strings/],
    // Kernels and ramdisks.
    ['no such kernel', ['run', '--kernel', 'nowhere'], /nowhere: no such file; expected the guest's kernel/],
    ['a folder for a kernel', ['run', '--kernel', 'kernel'], /kernel: a directory; expected the guest's kernel/],
    ['an empty kernel', ['run', '--kernel', 'empty'], /empty: empty; expected the guest's kernel/],
    [
      'a kernel without end',
      ['run', '--kernel', '/dev/zero'],
      /\/dev\/zero: does not end after 1024 MiB; expected the guest's kernel/,
    ],
    [
      'text for a kernel',
      ['run', '--kernel', 'noise'],
      /noise: not a kernel image; expected an ELF image \(vmlinux\), a bzImage/,
    ],
    [
      'a program of this system',
      ['run', '--kernel', process.execPath, ...small],
      /wants guest-physical .* but RAM for it is from 0x100000 to 0x800000; give the guest more memory or link the kernel elsewhere/,
    ],
    ['a bzImage cut in its header', ['run', '--kernel', 'kernel/cut-header'], /cut-header: .*the file is cut short/],
    [
      'a bzImage cut short',
      ['run', '--kernel', 'kernel/cut'],
      /cut: the payload .* is outside the file of 5120 bytes; the file is cut short/,
    ],
    [
      'a zImage',
      ['run', '--kernel', 'kernel/old'],
      /boot protocol 2\.00, to be loaded below 640 KiB and entered in real mode \(a zImage\)/,
    ],
    ['a bzImage of real mode alone', ['run', '--kernel', 'kernel/real-mode'], /its only entry is in real mode/],
    [
      'a bzImage damaged',
      ['run', '--kernel', 'kernel/damaged'],
      /kernel\/damaged: the compressed data is damaged or of an unknown format \(7-Zip could not unpack \/stream/,
    ],
    ['a bzImage damaged, which could unpack itself', ['run', '--kernel', 'kernel/damaged-64'], /the compressed data is damaged/],
    [
      'a kernel for another processor',
      ['run', '--kernel', 'kernel/arm'],
      /ELF machine 40; expected i386 or x86-64, little-endian/,
    ],
    ['ELF: program headers far away', ['run', '--kernel', 'kernel/table-far', ...small], /program headers are outside the file/],
    ['ELF: no program headers', ['run', '--kernel', 'kernel/no-table', ...small], /program headers are outside the file/],
    [
      'ELF: more program headers than file',
      ['run', '--kernel', 'kernel/many-segments', ...small],
      /program headers are outside the file/,
    ],
    [
      'ELF: program headers of one byte',
      ['run', '--kernel', 'kernel/thin-table', ...small],
      /program headers are outside the file/,
    ],
    [
      'ELF: a segment beyond all memory',
      ['run', '--kernel', 'kernel/segment-far', ...small],
      /but RAM for it is from 0x100000 to 0x800000/,
    ],
    [
      'ELF: a segment over the BIOS',
      ['run', '--kernel', 'kernel/segment-low', ...small],
      /but RAM for it is from 0x100000 to 0x800000/,
    ],
    [
      'ELF: a segment outside the file',
      ['run', '--kernel', 'kernel/file-far', ...small],
      /is outside the file of 8192 bytes; the file is cut short/,
    ],
    [
      'ELF: a segment longer than numbers',
      ['run', '--kernel', 'kernel/file-long', ...small],
      /is outside the file of 8192 bytes/,
    ],
    [
      'ELF: a segment of 16 EiB',
      ['run', '--kernel', 'kernel/memory-long', ...small],
      /but RAM for it is from 0x100000 to 0x800000/,
    ],
    [
      'ELF: less memory than file',
      ['run', '--kernel', 'kernel/memory-short', ...small],
      /has 4096 bytes in the file and 1 in memory/,
    ],
    [
      'ELF: an entry outside everything',
      ['run', '--kernel', 'kernel/entry-far', ...small],
      /its entry, .* is in none of its segments/,
    ],
    [
      'ELF: an entry in virtual memory',
      ['run', '--kernel', 'kernel/entry-virtual', ...small],
      /its entry, 0x7fffffff0000, is in none of its segments/,
    ],
    ['ELF: nothing to load', ['run', '--kernel', 'kernel/no-segment', ...small], /no loadable ELF segment/],
    [
      'an empty initrd',
      ['run', '--kernel', 'off.elf', '--initrd', 'empty', ...small],
      /empty: empty; expected the guest's ramdisk/,
    ],
    [
      'a folder for an initrd',
      ['run', '--kernel', 'off.elf', '--initrd', '.', ...small],
      /\.: a directory; expected the guest's ramdisk/,
    ],
    // Outputs.
    [
      'one file for two outputs',
      ['run', 'guest.cfg', '--trace', 't', '--dm-log', './t'],
      /\.\/t: named for two outputs; give each its own file/,
    ],
    [
      'standard output twice',
      ['run', 'guest.cfg', '--console', '-', '--console', '-'],
      /--console -: named for two outputs; give it once/,
    ],
    [
      'a trace on standard output',
      ['run', 'guest.cfg', '--trace', '-'],
      /--trace -: only the console goes to standard output; name a file/,
    ],
    [
      'the configuration as output',
      ['run', 'guest.cfg', '--console', 'also.cfg'],
      /also\.cfg: the run reads this file; name another one/,
    ],
    [
      'the kernel as output, under another name',
      ['run', '--kernel', 'off.elf', '--memory', '8', '--trace', 'off-too.elf'],
      /off-too\.elf: the run reads this file/,
    ],
    ['a folder as output', ['run', 'guest.cfg', '--trace', 'out'], /out: cannot be written: EISDIR.*; name a file in a folder/],
    [
      'a file as a folder',
      ['run', 'guest.cfg', '--trace', 'noise/t'],
      /noise\/t: cannot be written: ENOTDIR.*; name a file in a folder/,
    ],
    [
      'an output under /proc',
      ['run', 'guest.cfg', '--trace', '/proc/xenolith/trace'],
      /\/proc\/xenolith\/trace: cannot be written: /,
    ],
    // Traces.
    ['no such trace', ['trace', 'dump', 'nowhere'], /cannot open nowhere: no such file/],
    ['an empty trace', ['trace', 'dump', 'empty'], /empty is empty: expected what xentrace writes/],
    ['an empty trace, summed up', ['trace', 'summary', 'empty', '--json'], /empty is empty: expected what xentrace writes/],
    ['an empty trace, its I/O', ['trace', 'io', 'empty'], /empty is empty: expected an xentrace file/],
    ['a folder for a trace', ['trace', 'summary', '.'], /\. is not a regular file; give a trace file, or - for standard input/],
    ['a rate that is none', ['trace', 'dump', 'out/trace.trc', '--cpu-hz', 'fast'], /'fast' is not a TSC rate; expected hertz/],
    [
      'a vCPU that is none',
      ['trace', 'io', 'out/trace.trc', '--vcpu', '1'],
      /--vcpu 1: expected a domain and a vCPU, for example d1v0/,
    ],
    ['nothing to explain', ['trace', 'explain'], /no file given: expected an xentrace file, xenalyze text, or --dm-log FILE/],
    [
      'a packet that is none',
      ['trace', 'explain', 'out/trace.trc', '--packet', 'last'],
      /--packet last: expected a number from 1 on/,
    ],
    [
      'a packet that is not there',
      ['trace', 'explain', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log', '--pcap', 'out/net.pcapng', '--packet', '99'],
      /--packet 99: the capture has frames 1 to/,
    ],
    [
      'a log that is not there',
      ['trace', 'explain', 'out/trace.trc', '--dm-log', 'nowhere'],
      /cannot read nowhere: no such file/,
    ],
    [
      'an empty capture',
      ['trace', 'explain', 'out/trace.trc', '--pcap', 'empty'],
      /empty: 0 bytes are too short for a capture: expected pcap or pcapng/,
    ],
    [
      'a log for a capture',
      ['trace', 'explain', 'out/trace.trc', '--pcap', 'out/qemu-dm.log'],
      /which is neither pcap nor pcapng/,
    ],
    [
      'a device that is none',
      ['trace', 'explain', 'out/trace.trc', '--device', 'rtl8139'],
      /--device rtl8139: expected CHIP@BASE/,
    ],
    // The rest.
    ['no transcript', ['conformance', 'nowhere'], /nowhere: cannot be read: ENOENT/],
    ['text for a transcript', ['conformance', 'noise'], /noise:1: not JSON; expected one object a line/],
    [
      'a file for a cache',
      ['guest', 'build', '--cache', 'empty'],
      /empty: no directory; expected where packages and images are kept/,
    ],
    ['a cache under /proc', ['guest', 'build', '--cache', '/proc/xenolith/cache'], /\/proc\/xenolith\/cache: cannot be made: E/],
    [
      'a cache with a damaged manifest, offline',
      ['guest', 'build', '--offline', '--cache', 'damaged'],
      /no Debian kernel in the cache/,
    ],
    [
      'a cache with an empty manifest, offline',
      ['guest', 'build', '--offline', '--cache', 'hollow'],
      /no Debian kernel in the cache/,
    ],
    [
      'a cache that holds nothing, offline',
      ['guest', 'build', '--offline', '--cache', 'nothing'],
      /no Debian kernel in the cache; run `xenolith guest build` with a network/,
    ],
  ])('%s: one line and status 1', async (_, args, message) => {
    const { status, stdout, stderr } = await here(...args);
    expect(lines(stderr)).toHaveLength(1);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^xenolith: /);
    expect([status, stdout]).toEqual([1, '']);
  });

  it.each<[string, string[], RegExp]>([
    ['an empty trace on standard input', ['trace', 'dump', '-'], /^xenolith: .* is empty: expected what xentrace writes/],
    ['a shell for nobody', ['run', '--shell'], /^xenolith: --shell needs a terminal on standard input/],
    ['what is wrong, as a process', ['run', '--kernel', 'noise'], /^xenolith: noise: not a kernel image/],
  ])('%s: one line and status 1', (_, args, message) => {
    const { status, stdout, stderr } = xenolith(...args);
    expect([status, stdout, lines(stderr).length]).toEqual([1, '', 1]);
    expect(stderr).toMatch(message);
  });

  it('a run with a story says what it will do, what it left, and three commands that work', () => {
    const { status, stdout, stderr } = xenolith('run', 'guest.cfg', '--story', ...RUN_FILES);
    expect([status, lines(stderr)[0]]).toEqual([0, "This boots the virtual machine 'ping' and records every step of its I/O:"]);
    const end = stdout.slice(stdout.indexOf('\nFiles that this run left:'));
    for (const file of RUN_FILES.filter((word) => word.startsWith('out/'))) {
      expect(stderr).toMatch(new RegExp(`^ {2}writes +${file.replaceAll('.', '\\.')} \\(`, 'm'));
      expect(end).toMatch(new RegExp(`^ {2}${file.replaceAll('.', '\\.')} +[\\d.]+ (?:bytes|KiB|MiB) +\\w`, 'm'));
    }
    const commands = lines(end.slice(end.indexOf('Three commands to try:'))).slice(1);
    expect(commands).toHaveLength(3);
    for (const command of commands) {
      const result = spawnSync('bash', ['-c', command], {
        cwd: folder,
        encoding: 'utf8',
        timeout: PATIENCE_MS,
        maxBuffer: 1 << 28,
      });
      expect([command, result.status, result.stderr]).toEqual([command, 0, '']);
      expect(result.stdout.length).toBeGreaterThan(200);
    }
  });

  it('a run whose story cannot be told says so, and keeps its status', () => {
    const files = RUN_FILES.slice(0, 6).map((word) => word.replace('out/', 'mute/'));
    const told = xenolith('run', 'guest.cfg', '--story', ...RUN_FILES);
    expect([told.status, told.stdout]).toEqual([0, expect.stringMatching(/^\nPacket 3 of the capture: ICMP echo request/)]);
    const silent = xenolith('run', '--kernel', 'off.elf', ...small, '--story', ...files);
    expect([silent.status, silent.stdout, lines(silent.stderr).at(-1)]).toEqual([
      1,
      '',
      expect.stringMatching(/^xenolith: no story: /),
    ]);
    const late = xenolith('run', '--kernel', 'idle.elf', ...small, '--story', '--timeout', '1', ...files);
    expect([late.status, lines(late.stderr).at(-1)]).toEqual([13, expect.stringMatching(/^xenolith: no story: /)]);
  });

  it('a guest has all the memory that is allowed, wherever its frames lie', () => {
    expect(xenolith('run', 'guest.cfg', '--memory', '3840')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('3 packets transmitted, 3 packets received') as string,
    });
  });

  it('--debug adds the stack trace', () => {
    expect(xenolith('run', 'nowhere.cfg', '--debug').stderr).toMatch(/nowhere\.cfg: no such file.*\n +at /);
  });

  it('warns of what has no effect, and runs', () => {
    put('cfg/warned', `${tiny('ping=1')}memory = 9\nvif = ['rate=1Mb/s,model=rtl8139']\ndisk = []\n`);
    const { status, stderr } = xenolith('run', 'cfg/warned');
    expect(status).toBe(0);
    expect(lines(stderr).slice(0, -1)).toEqual([
      "xenolith: cfg/warned:6: 'memory' was given in line 2 already; this one counts",
      "xenolith: cfg/warned:7: 'vif' was given in line 5 already; this one counts",
      "xenolith: cfg/warned:7: vif: 'rate' is not understood here and has no effect",
      "xenolith: cfg/warned:8: 'disk' is not understood here and has no effect",
    ]);
  });

  it('leaves the outputs of an earlier run alone when another one cannot be opened', () => {
    put('kept', 'of yesterday');
    expect(xenolith('run', 'guest.cfg', '--trace', 'kept', '--dm-log', 'out').status).toBe(1);
    expect(readFileSync(at('kept'), 'utf8')).toBe('of yesterday');
  });

  it('/dev/null takes any number of outputs', () => {
    expect(
      xenolith(
        'run',
        'guest.cfg',
        '--trace',
        '/dev/null',
        '--dm-log',
        '/dev/null',
        '--pcap',
        '/dev/null',
        '--console',
        '/dev/null',
      ),
    ).toMatchObject({ status: 0, stdout: '' });
  });

  it('damaged files are read as far as they go; the damage is told, and in the exit status', () => {
    const files = ['--dm-log', 'out/qemu-dm.log', '--pcap', 'cut.pcapng'];
    for (const args of [
      ['trace', 'explain', 'out/trace.trc', ...files],
      ['trace', 'explain', 'out/trace.trc', ...files, '--json'],
      ['trace', 'io', 'out/trace.trc', ...files],
    ]) {
      const { status, stdout, stderr } = xenolith(...args);
      expect([status, lines(stderr).length]).toEqual([1, 1]);
      expect(stderr).toMatch(/^xenolith: capture damaged at offset \d+: .*; the frames before it were used/);
      expect(stdout.length).toBeGreaterThan(500);
    }
    for (const args of [
      ['trace', 'dump', 'cut.trc'],
      ['trace', 'summary', 'cut.trc'],
    ]) {
      const { status, stdout, stderr } = xenolith(...args);
      expect([status, lines(stderr).length]).toEqual([1, 1]);
      expect(stderr).toMatch(/^xenolith: trace damaged at offset 0x[0-9a-f]+: /);
      expect(stdout.length).toBeGreaterThan(500);
    }
  });

  it.skipIf(full.skip).each(['--trace', '--dm-log', '--pcap', '--console'])(
    full.title('a full disk for %s: the run ends there, with one line and status 1'),
    (output) => {
      const others = output === '--console' ? [] : ['--console', 'console'];
      for (const clock of ['virtual', 'host']) {
        const { status, stdout, stderr } = xenolith('run', 'guest.cfg', ...others, output, '/dev/full', '--clock', clock);
        expect([status, stdout, stderr]).toEqual([
          1,
          '',
          expect.stringMatching(/^xenolith: \/dev\/full: cannot be written: ENOSPC.*; the run ended there\n$/),
        ]);
      }
    },
  );

  describe('standard output', () => {
    it.skipIf(full.skip).each<[string, string[]]>([
      ['help', ['run', '--help']],
      ['run', ['run', 'guest.cfg']],
      ['run --json', ['run', 'guest.cfg', '--console', 'console', '--json']],
      ['trace dump', ['trace', 'dump', 'out/trace.trc']],
      ['trace dump --json', ['trace', 'dump', 'out/trace.trc', '--json']],
      ['trace summary', ['trace', 'summary', 'out/trace.trc']],
      ['trace io', ['trace', 'io', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log']],
      ['trace explain', ['trace', 'explain', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log']],
    ])(full.title('full under %s: one line and status 1'), (_, args) => {
      const stdout = openSync('/dev/full', 'w');
      const { status, stderr } = run(cli, args, { stdout });
      closeSync(stdout);
      expect(status).toBe(1);
      expect(lines(stderr).filter((line) => line.includes('ENOSPC'))).toHaveLength(1);
      expect(stderr).not.toMatch(/\n +at /);
    });

    const shell = (script: string): Outcome =>
      spawnSync('bash', ['-c', `xenolith() { ${process.execPath} ${cli} "$@"; }\n${script}`], {
        cwd: folder,
        encoding: 'utf8',
        timeout: PATIENCE_MS,
      });

    it('whose reader leaves ends a printing command without a word', () => {
      for (const args of ['trace dump out/trace.trc', 'trace io out/trace.trc --dm-log out/qemu-dm.log']) {
        expect(shell(`xenolith ${args} | head -1; exit \${PIPESTATUS[0]}`)).toMatchObject({ status: 0, stderr: '' });
      }
    });

    it('whose reader leaves stops a run as a signal does, and its files are whole', () => {
      const { status, stdout, stderr } = shell(
        `xenolith run --kernel loud.elf --memory 8 ${RUN_FILES.slice(0, 6).join(' ').replaceAll('out/', 'left/')} | head -1; exit \${PIPESTATUS[0]}`,
      );
      expect(stdout).toBe('\n');
      expect([status, stderr]).toEqual([141, expect.stringMatching(/^xenolith: interrupted/)]);
      expect(xenolith('trace', 'summary', 'left/trace.trc')).toMatchObject({ status: 0, stderr: '' });
    });

    it('closed from the start is no trouble', () => {
      expect(shell('xenolith run guest.cfg >&-').status).toBe(0);
    });

    it('carries no escapes without a terminal or with NO_COLOR, and what a program reads is JSON', () => {
      const commands = [
        ['--help'],
        ['run', '--help'],
        ['run', 'guest.cfg', '--json', '--console', 'console'],
        ['trace', 'summary', 'out/trace.trc', '--json'],
        ['trace', 'explain', 'out/trace.trc', '--dm-log', 'out/qemu-dm.log', '--pcap', 'out/net.pcapng'],
        ['conformance', 'test/transcripts/rtl8139-eeprom.jsonl.gz'],
      ];
      for (const args of commands) {
        const { stdout, stderr } = xenolith(...args);
        expect(stdout + stderr).not.toMatch(/\x1b/);
        if (args.includes('--json')) expect(JSON.parse(stdout)).toBeTypeOf('object');
      }
    });
  });

  describe('a signal', () => {
    const start = (name: string, ...args: string[]) => {
      const files = RUN_FILES.map((word) => word.replace('out/', `${name}/`));
      const child = spawn(process.execPath, [cli, 'run', 'busy.cfg', ...files, ...args], {
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let stderr = '';
      child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const ended = new Promise<{ status: number | null; signal: string | null }>((resolve) =>
        child.on('close', (status, signal) => resolve({ status, signal })),
      );
      const grown = async (): Promise<void> => {
        await until(
          'a megabyte of trace',
          () => existsSync(at(`${name}/trace.trc`)) && statSync(at(`${name}/trace.trc`)).size >= 1_000_000,
        );
      };
      return { child, ended, grown, stderr: () => stderr };
    };

    it.each<[NodeJS.Signals, number, string[]]>([
      ['SIGINT', 130, []],
      ['SIGTERM', 143, ['--clock', 'host']],
      ['SIGHUP', 129, []],
    ])('%s ends a run with status %d, every file whole', async (signal, expected, args) => {
      const { child, ended, grown, stderr } = start(signal, ...args);
      await grown();
      child.kill(signal);
      expect(await ended).toEqual({ status: expected, signal: null });
      expect(lines(stderr())).toEqual([expect.stringMatching(/^xenolith: interrupted \(\d+ million instructions/)]);
      expect(xenolith('trace', 'summary', `${signal}/trace.trc`)).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(at(`${signal}/qemu-dm.log`), 'utf8').endsWith('\n')).toBe(true);
      expect(readFileSync(at(`${signal}/console.log`), 'utf8')).toContain('tiny guest: long mode');
    });

    it('that cannot be caught leaves a trace which can be read to where it stopped', async () => {
      const { child, ended, grown } = start('SIGKILL');
      await grown();
      child.kill('SIGKILL');
      expect(await ended).toEqual({ status: null, signal: 'SIGKILL' });
      const { stdout, stderr } = xenolith('trace', 'summary', 'SIGKILL/trace.trc', '--json');
      expect((JSON.parse(stdout) as { records: number }).records).toBeGreaterThan(20_000);
      expect(lines(stderr).length).toBeLessThanOrEqual(1);
      expect(stderr).toMatch(/^$|^xenolith: trace damaged at offset 0x[0-9a-f]+: the file ends /);
    });
  });

  describe('--help', () => {
    const commands = [
      [],
      ['run'],
      ['guest'],
      ['guest', 'build'],
      ['conformance'],
      ['explain'],
      ['trace'],
      ['trace', 'dump'],
      ['trace', 'summary'],
      ['trace', 'io'],
      ['trace', 'explain'],
    ];

    it('names every command there is', async () => {
      const below = async (...path: string[]): Promise<string[]> =>
        [...(await here(...path, '--help')).stdout.matchAll(/^ {2}(\w+)(?: \[options\].*| <.*| {2,}.*)$/gm)]
          .map(([, name]) => name!)
          .filter((name) => name !== 'help' && name !== 'npx');
      expect(
        new Set([
          ...(await below()),
          ...(await below('guest')).map((c) => `guest ${c}`),
          ...(await below('trace')).map((c) => `trace ${c}`),
        ]),
      ).toEqual(new Set(commands.filter((c) => c.length > 0).map((c) => c.join(' '))));
    });

    it.each(commands.map((path) => [['xenolith', ...path].join(' '), path]))(
      '%s: its examples work when pasted',
      async (_, path) => {
        const { status, stdout } = await here(...path, '--help');
        expect(status).toBe(0);
        const examples = [...stdout.slice(stdout.indexOf('\nExample')).matchAll(/^ {2}npx xenolith (.*)$/gm)].map(
          ([, rest]) => rest!,
        );
        expect(examples.length).toBeGreaterThan(0);
        for (const example of examples) {
          const offline = example.startsWith('guest build') ? ' --offline' : '';
          const result = spawnSync(
            'bash',
            ['-c', `${process.execPath} ${cli} ${example.replace(/^guest build/, `guest build${offline}`)}`],
            { cwd: folder, encoding: 'utf8', timeout: PATIENCE_MS, maxBuffer: 1 << 28 },
          );
          // Without a Debian kernel in the cache that one says so.
          if (offline !== '' && result.status === 1) expect(result.stderr).toMatch(/no Debian kernel in the cache/);
          else expect([example, result.status]).toEqual([example, 0]);
          if (offline === '') expect(result.stdout.length).toBeGreaterThan(50);
        }
      },
    );

    it('xenolith-system-x86_64: its example works too', () => {
      const { stdout } = run(qtest, ['--help']);
      const [, input, args] = /^ {2}echo '(.*)' \| npx xenolith-system-x86_64 (.*)$/m.exec(stdout)!;
      expect(run(qtest, args!.split(' '), { input: `${input}\n` })).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^OK/),
      });
    });

    it('knows every option that README.md and docs/ use', async () => {
      const pages = [
        'README.md',
        'docs/trace.md',
        'docs/platform.md',
        'docs/device-model.md',
        'docs/bench.md',
        'docs/xenalyze.md',
        'docs/architecture.md',
        'guest/README.md',
      ];
      const used = pages.flatMap((page) =>
        [...readFileSync(join(root, page), 'utf8').matchAll(/xenolith ((?:run|guest|conformance|explain|trace)\b[^`\n#]*)/g)].map(
          ([, words]) => ({ page, words: words!.trim().split(/\s+/) }),
        ),
      );
      expect(used.length).toBeGreaterThan(10);
      const helps = new Map<string, string>();
      for (const { page, words } of used) {
        const path = words.slice(0, words[0] === 'trace' || words[0] === 'guest' ? 2 : 1);
        if (!commands.some((c) => c.join(' ') === path.join(' '))) continue;
        const key = path.join(' ');
        if (!helps.has(key)) helps.set(key, (await here(...path, '--help')).stdout);
        for (const option of words.filter((word) => /^--?[a-z]/.test(word)))
          expect([page, key, helps.get(key)!.includes(`${option} `) ? option : `no ${option}`]).toEqual([page, key, option]);
      }
    });
  });
});
