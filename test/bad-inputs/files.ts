/** Files that are not what they are given for: the inputs that the table beside this one names. */
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { deflateRawSync, gzipSync } from 'node:zlib';
import { assembleTinyGuest, tinyGuestCommandLine } from '../../src/machine/tiny-guest/image.ts';
import { plainGuest, powerOff } from '../plain-guest.ts';

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

/** Bytes without any order, the same each time. */
function noise(length: number, seed: string): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0, n = 0; at < length; at += 32, n++)
    out.set(
      createHash('sha256')
        .update(`${seed}${n}`)
        .digest()
        .subarray(0, Math.min(32, length - at)),
      at,
    );
  return out;
}

/** A zip archive of one file, deflated, whose headers say these sizes. */
function zip(name: string, data: Uint8Array, promised = data.length): Uint8Array {
  const packed = deflateRawSync(data);
  const local = Buffer.alloc(30 + name.length);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(20, 4);
  local.writeUInt16LE(8, 8);
  local.writeUInt32LE(packed.length, 18);
  local.writeUInt32LE(promised, 22);
  local.writeUInt16LE(name.length, 26);
  local.write(name, 30);
  const central = Buffer.alloc(46 + name.length);
  central.writeUInt32LE(0x02014b50, 0);
  central.writeUInt16LE(20, 6);
  central.writeUInt16LE(8, 10);
  central.writeUInt32LE(packed.length, 20);
  central.writeUInt32LE(promised, 24);
  central.writeUInt16LE(name.length, 28);
  central.write(name, 46);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(local.length + packed.length, 16);
  return Buffer.concat([local, packed, central, end]);
}

/** Little-endian words of 32 bits. */
const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values, (value) => value >>> 0).buffer);

/** Writes the files that `makeRun` needs, which leaves `out/`. */
export function putGuests(folder: string): void {
  const put = putter(folder);
  put('tiny.elf', assembleTinyGuest());
  put(
    'guest.cfg',
    `name = 'tiny'\ntype = 'hvm'\nmemory = 8\nkernel = 'tiny.elf'\nextra = '${tinyGuestCommandLine({ mode: 'ping' })}'\nvif = ['type=ioemu,model=rtl8139,mac=00:16:3e:01:02:03']\n`,
  );
  put('off.elf', plainGuest(powerOff));
}

const putter =
  (folder: string) =>
  (name: string, data: Uint8Array | string): void => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), data);
  };

/** Writes all others. The run's files lie in `out/` already. */
export function putBadFiles(folder: string, root: string): void {
  const put = putter(folder);
  const at = (name: string): string => join(folder, name);
  const out = (name: string): Uint8Array => readFileSync(at(`out/${name}`));
  put('empty', '');
  put('damaged/6.1/manifest.json', '{');
  put('hollow/6.1/manifest.json', 'null');
  put('noise', 'no kernel at all\n'.repeat(100));
  symlinkSync(join(root, 'test'), at('test'));
  linkSync(at('off.elf'), at('off-too.elf'));
  symlinkSync('guest.cfg', at('also.cfg'));
  symlinkSync('loop-b', at('loop-a'));
  symlinkSync('loop-a', at('loop-b'));
  put('cut.pcapng', out('net.pcapng').subarray(0, 300));
  put('cut.trc', out('trace.trc').subarray(0, 100_002));
  for (const [name, text] of Object.entries({
    twice: 'memory = 8\nmemory = ',
    unclosed: "name = 'a\n",
    vcpus: 'memory = 8\n\nvcpus = 4\n',
    type: "type = 'pv'\n",
    negative: 'memory = -1\n',
    huge: 'memory = 99999999999999999999\n',
    number: 'kernel = 3\n',
    'no-kernel': "kernel = 'nowhere'\ntype = 'hvm'\n",
    ramdisk: "ramdisk = 'initrd'\ntype = 'hvm'\n",
    comments: '# nothing\n\n# here\n',
    list: "vif = [ 'a'\n\n",
    rest: "name = 'a' 'b'\n",
    model: "memory = 8\nvif = ['model=virtio-net']\n",
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
  putPacked(put, out);
  putTexts(put);
  putCaptures(put);
  put('huge', '');
  truncateSync(at('huge'), 3 * 2 ** 30);
}

type Put = ReturnType<typeof putter>;

function putPacked(put: Put, out: (name: string) => Uint8Array): void {
  const trace = out('trace.trc');
  const zeros = gzipSync(new Uint8Array(100 << 20));
  put('packed/bomb.gz', zeros);
  put('packed/bomb-twice.gz', gzipSync(zeros));
  put('packed/bomb.zip', zip('trace.trc', new Uint8Array(100 << 20)));
  put('packed/lie.zip', zip('trace.trc', new Uint8Array(100 << 20), 1000));
  put('packed/cut.gz', gzipSync(trace).subarray(0, 2000));
  put(
    'packed/flipped.gz',
    gzipSync(trace).map((byte, i) => (i === 5000 ? byte ^ 0xff : byte)),
  );
  put('packed/empty.gz', gzipSync(''));
  put('packed/text.gz', gzipSync('no trace'));
  put('packed/head.gz', Uint8Array.of(0x1f, 0x8b, 8, 0));
  put('packed/cut.xz', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 4, 0xe6, 0xd6));
  put('packed/cut.zst', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 4, 0));
  put('packed/cut.7z', Uint8Array.of(0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c, 0, 4, 1, 2, 3));
  put('packed/cut.zip', zip('trace.trc', trace).subarray(0, 500));
  put('packed/none.zip', zip('notes.pdf', new TextEncoder().encode('%PDF-1.4 and so on')));
  put('packed/escape.zip', zip('../../escaped.trc', trace.slice(0, 4096)));
  let nested: Uint8Array = gzipSync(trace.slice(0, 4096));
  for (let i = 0; i < 9; i++) nested = gzipSync(nested);
  put('packed/nested.gz', nested);
  put('two/a.pcapng', out('net.pcapng'));
  put('two/b.pcapng', out('net.pcapng'));
  put('two/trace.trc', trace);
  put('other/picture.png', Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10));
  put('kernel/text.gz', gzipSync('text'.repeat(1000)));
  const payload = gzipSync(new Uint8Array(64 << 20));
  new DataView(payload.buffer, payload.byteOffset).setUint32(payload.length - 4, 4096, true);
  put('kernel/bomb-payload', bzImage(0x020f, payload.length, payload.length, [...payload], 1));
  const vast = payload.slice();
  new DataView(vast.buffer).setUint32(vast.length - 4, 0xffffffff, true);
  put('kernel/vast-payload', bzImage(0x020f, vast.length, vast.length, [...vast], 1));
  const disc = new Uint8Array(0x9000);
  disc.set(new TextEncoder().encode('CD001'), 0x8001);
  put('kernel/disc', disc);
  const sector = new Uint8Array(1024);
  sector.set([0x55, 0xaa], 510);
  put('kernel/sector', sector);
  put('kernel/initrd', '070701'.padEnd(2000));
  put('kernel/efi', 'MZ'.padEnd(2000));
  put('kernel/u-boot', Uint8Array.of(0x27, 5, 0x19, 0x56, ...new Uint8Array(2000)));
  put('kernel/multiboot', words(0x1badb002, 0x10003, -(0x1badb002 + 0x10003), 0, 0x100000, 0, 0, 0x100000));
  put('kernel/multiboot-wants', words(0x1badb002, 8, -(0x1badb002 + 8), 0, 0, 0, 0, 0));
  put('kernel/short', Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
}

function putTexts(put: Put): void {
  put('text/line', 'x'.repeat(8 << 20));
  put('text/json', '{"v":1}\n');
  put('text/json-deep', '['.repeat(100_000));
  put('text/json-list', '[1, 2, 3]\n');
  put('text/json-step', '{"v":1,"name":"a","chip":"rtl8139","steps":7}\n');
  put('text/json-cut', '{"v":1,"name":');
  put('text/bytes', noise(100_000, 'bytes'));
  put('text/zeros', new Uint8Array(100_000));
  put('text/prose', 'Nothing here is a record. '.repeat(2000));
  put('text/escapes', '\x1b[2J\x1b]0;title\x07 not a record \x9b31m\n'.repeat(50));
  put('text/utf16', Buffer.from('\ufeffno record in UTF-16\n', 'utf16le'));
  put('text/events', 'handle_ioreq\nxen_map_cache\n');
  put('text/summary', 'Total time: 1.0 seconds\n|-- Domain 1 --|\n');
  put('text/cfg', "memory = 8\nvif = ['']\n");
  put('text/pdf', '%PDF-1.7\n');
  put('text/elf', elf64({}));
  put('text/simple', Uint8Array.of(...new Uint8Array(8).fill(0xff), 0xb4, 0x29, 0xa4, 0x0a, 0xcb, 0x77, 0xb1, 0xf2));
  put('text/lz4', Uint8Array.of(4, 0x22, 0x4d, 0x18, 0, 0));
  for (const [name, text] of Object.entries({
    'no-equals': 'memory 8\n',
    'bare-word': 'memory = eight\n',
    'lone-quote': "'\n",
    'bad-escape': "name = 'a\\x'\n",
    'octal-nine': 'memory = 09\n',
    'hex-none': 'memory = 0x\n',
    'nul-byte': 'memory = 8\0\n',
    'memory-zero': 'memory = 0\n',
    'memory-string': "memory = 'much'\n",
    'memory-list': 'memory = [8]\n',
    'vcpus-zero': 'vcpus = 0\n',
    'vcpus-word': "vcpus = 'two'\n",
    builder: "builder = 'linux'\n",
    'type-number': 'type = 1\n',
    'type-pvm': "type = 'pvm'\n",
    'vif-nested': "vif = [['a']]\n",
    'vif-number': 'vif = [1]\n',
    'mac-long': "vif = ['mac=00:16:3e:01:02:03:04']\n",
    'mac-word': "vif = ['mac=random']\n",
    'long-line': `extra = '${'x'.repeat(70_000)}'\nkernel = 'off.elf'\nmemory = 8\ntype = 'hvm'\n`,
    'kernel-empty': "kernel = ''\ntype = 'hvm'\n",
    'kernel-folder': "kernel = 'kernel'\ntype = 'hvm'\n",
    'unclosed-double': 'name = "a\n',
    'unclosed-list-string': "vif = ['a\n']\n",
    deep: `vif = ${'['.repeat(100_000)}\n`,
  }))
    put(`cfg/${name}`, text);
}

function putCaptures(put: Put): void {
  const section = words(0x0a0d0d0a, 28, 0x1a2b3c4d, 1, -1, -1, 28);
  const both = (a: Uint8Array, b: Uint8Array): Uint8Array => Uint8Array.of(...a, ...b);
  put('pcap/magic', Uint8Array.of(0xd4, 0xc3, 0xb2, 0xa1));
  put('pcap/header', words(0xa1b2c3d4, 0x00040002, 0, 0, 65535));
  put('pcap/wifi', words(0xa1b2c3d4, 0x00040002, 0, 0, 65535, 105, 0, 0, 4, 4, 0));
  put('pcap/huge-frame', words(0xa1b2c3d4, 0x00040002, 0, 0, 65535, 1, 0, 0, 0x7fffffff, 0x7fffffff));
  put('pcap/version', words(0xa1b2c3d4, 0x00630063, 0, 0, 65535, 1));
  put('pcap/ng-magic', words(0x0a0d0d0a, 28));
  put('pcap/ng-order', words(0x0a0d0d0a, 28, 0x12345678, 1, -1, -1, 28));
  put('pcap/ng-length', words(0x0a0d0d0a, 0xfffffff0, 0x1a2b3c4d, 1, -1, -1, 28));
  put('pcap/ng-tiny-block', both(section, words(6, 0)));
  put('pcap/ng-odd-block', both(section, words(6, 13, 0, 0)));
  put('pcap/ng-no-interface', both(section, words(6, 36, 0, 0, 0, 4, 4, 0x01020304, 36)));
  put('pcap/zeros', new Uint8Array(4096));
}
