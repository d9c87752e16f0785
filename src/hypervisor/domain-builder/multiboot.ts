/**
 * Multiboot 1 images: a header within the first 8 KiB says where a flat binary goes; a 32-bit ELF with such a header goes where its
 * program headers say. And the information structure that the image is handed. The file is not trusted.
 * Source: Multiboot Specification 0.6.96, chapter 3.
 */
import { type Gpa, gpa, PAGE_SIZE } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import { type ElfImage, isElf, readElf } from './elf.ts';
import type { E820Entry } from './layout.ts';

const MAGIC = 0x1badb002;
/** What EAX holds at the entry. */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;
/** The header lies within this many bytes of the file, at a multiple of four. */
const SEARCH = 8192;

/** Header flags. Bits 0 to 15 ask for what a loader must know; bit 16: the address fields count. */
const HeaderFlag = { pageAlign: 1 << 0, memoryInfo: 1 << 1, videoMode: 1 << 2, addresses: 1 << 16 } as const;
const KNOWN_REQUIREMENTS = HeaderFlag.pageAlign | HeaderFlag.memoryInfo | HeaderFlag.videoMode;

/** Offsets in the header. */
const Header = {
  flags: 4,
  checksum: 8,
  headerAddr: 12,
  loadAddr: 16,
  loadEndAddr: 20,
  bssEndAddr: 24,
  entryAddr: 28,
  size: 32,
} as const;

export interface MultibootImage {
  readonly segments: readonly { readonly address: Gpa; readonly data: Uint8Array; readonly memorySize: number }[];
  readonly entry: number;
  /** First word of the command line, as boot loaders give it. */
  readonly name: string;
  /** The image is an ELF file, and this is what its headers say. */
  readonly elf?: ElfImage;
}

/** Offset of a Multiboot header in the file; undefined when it has none. */
function findHeader(file: Uint8Array): number | undefined {
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at + 12 <= Math.min(file.length, SEARCH); at += 4) {
    if (v.getUint32(at, true) !== MAGIC) continue;
    const sum = MAGIC + v.getUint32(at + Header.flags, true) + v.getUint32(at + Header.checksum, true);
    if (sum >>> 0 === 0) return at;
  }
  return undefined;
}

/** A 64-bit ELF is none: it has an entry of its own. */
export function isMultiboot(file: Uint8Array): boolean {
  return !(isElf(file) && file[4] === 2) && findHeader(file) !== undefined;
}

/** Throws UserError where the header asks for what cannot be given or points outside the file. */
export function readMultiboot(file: Uint8Array, name: string): MultibootImage {
  const at = findHeader(file);
  if (at === undefined) throw new UserError(`${name}: no Multiboot header in its first ${SEARCH} bytes`);
  const word = name.split(/[\\/]/).pop()!;
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const flags = v.getUint32(at + Header.flags, true);
  const unknown = flags & 0xffff & ~KNOWN_REQUIREMENTS;
  if (unknown)
    throw new UserError(
      `${name}: its Multiboot header requires features 0x${unknown.toString(16)}; expected none but bits 0 to 2 of the flags`,
    );
  if (!(flags & HeaderFlag.addresses)) {
    if (!isElf(file))
      throw new UserError(
        `${name}: its Multiboot header has no addresses, and the file is not an ELF image; set bit 16 of the header's flags`,
      );
    const elf = readElf(file, name);
    return { segments: elf.segments, entry: elf.entry, name: word, elf };
  }
  if (at + Header.size > file.length)
    throw new UserError(`${name}: its Multiboot header is outside the file of ${file.length} bytes; the file is cut short`);
  const field = (offset: number): number => v.getUint32(at + offset, true);
  const [headerAddr, loadAddr] = [field(Header.headerAddr), field(Header.loadAddr)];
  const start = at - (headerAddr - loadAddr);
  const loadEnd = field(Header.loadEndAddr) || loadAddr + (file.length - start);
  const bssEnd = field(Header.bssEndAddr) || loadEnd;
  if (headerAddr < loadAddr || start < 0 || loadEnd < loadAddr || start + (loadEnd - loadAddr) > file.length || bssEnd < loadEnd)
    throw new UserError(
      `${name}: its Multiboot header wants 0x${loadAddr.toString(16)} to 0x${loadEnd.toString(16)} loaded from offset ${start} of a file of ${file.length} bytes, ` +
        `and memory up to 0x${bssEnd.toString(16)}; expected rising addresses and all of it in the file`,
    );
  const data = file.subarray(start, start + loadEnd - loadAddr);
  return {
    segments: [{ address: gpa(loadAddr), data, memorySize: bssEnd - loadAddr }],
    entry: field(Header.entryAddr),
    name: word,
  };
}

/** Offsets in the information structure, and its flags. */
const Info = {
  flags: 0,
  memLower: 4,
  memUpper: 8,
  cmdline: 16,
  modsCount: 20,
  modsAddr: 24,
  mmapLength: 44,
  mmapAddr: 48,
  bootLoaderName: 64,
  size: 116,
} as const;
const InfoFlag = { memory: 1 << 0, cmdline: 1 << 2, mods: 1 << 3, mmap: 1 << 6, bootLoaderName: 1 << 9 } as const;
const MODULE_SIZE = 16;
const MMAP_ENTRY_SIZE = 24;

export interface MultibootInfoInput {
  /** Where the structure and what it points to lie. */
  readonly address: Gpa;
  /** First word and all. */
  readonly commandLine: string;
  readonly module?: { readonly address: Gpa; readonly size: number };
  readonly e820: readonly E820Entry[];
  /** KiB of memory from 0, and from 1 MiB up to the first hole. */
  readonly lowerKiB: number;
  readonly upperKiB: number;
}

/** The information structure with its module list, memory map and strings behind it. */
export function multibootInfo(input: MultibootInfoInput): Uint8Array {
  const { address, e820, module } = input;
  const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);
  const [commandLine, loader, moduleName] = [text(input.commandLine), text('xenolith'), text('ramdisk')];
  const modules = Info.size + (-Info.size & 3);
  const map = modules + (module ? MODULE_SIZE : 0);
  const strings = map + e820.length * MMAP_ENTRY_SIZE;
  const info = new Uint8Array(strings + commandLine.length + loader.length + moduleName.length);
  const v = new DataView(info.buffer);
  const u32 = (at: number, value: number): void => v.setUint32(at, value, true);
  const put = (at: number, bytes: Uint8Array): number => {
    info.set(bytes, at);
    return address + at;
  };
  const flags = InfoFlag.memory | InfoFlag.cmdline | InfoFlag.mmap | InfoFlag.bootLoaderName | (module ? InfoFlag.mods : 0);
  u32(Info.flags, flags);
  u32(Info.memLower, input.lowerKiB);
  u32(Info.memUpper, input.upperKiB);
  u32(Info.cmdline, put(strings, commandLine));
  u32(Info.bootLoaderName, put(strings + commandLine.length, loader));
  if (module) {
    u32(Info.modsCount, 1);
    u32(Info.modsAddr, address + modules);
    u32(modules, module.address);
    u32(modules + 4, module.address + module.size);
    u32(modules + 8, put(strings + commandLine.length + loader.length, moduleName));
  }
  u32(Info.mmapLength, e820.length * MMAP_ENTRY_SIZE);
  u32(Info.mmapAddr, address + map);
  e820.forEach((entry, i) => {
    const at = map + i * MMAP_ENTRY_SIZE;
    u32(at, MMAP_ENTRY_SIZE - 4); // the size field does not count itself
    v.setBigUint64(at + 4, BigInt(entry.address), true);
    v.setBigUint64(at + 12, BigInt(entry.size), true);
    u32(at + 20, entry.type);
  });
  return info;
}

/** The first page boundary at or behind `address`. */
export const pageUp = (address: number): Gpa => gpa(Math.ceil(address / PAGE_SIZE) * PAGE_SIZE);
