/** ELF images of kernels: what to load where, and the PVH entry of their notes. The file is not trusted. Source: System V ABI, chapter 5. */
import { XEN_ELFNOTE_PHYS32_ENTRY } from '../../abi/start-info.ts';
import { type Gpa, gpa } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';

interface ElfSegment {
  /** Guest-physical address (p_paddr). */
  address: Gpa;
  data: Uint8Array;
  /** Bytes in memory; what is beyond `data` is zero. */
  memorySize: number;
}

export interface ElfImage {
  /** 32 or 64, from the file's class. */
  bits: 32 | 64;
  /** e_entry: a physical address for a kernel that is linked low, or an offset the loader maps. */
  entry: number;
  /** Lowest first. */
  segments: ElfSegment[];
  /** Entry of the PVH note, if there is one. */
  pvhEntry?: Gpa;
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const EM_386 = 3;
const EM_X86_64 = 62;

export const isElf = (file: Uint8Array): boolean => file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;

/** Read an executable's headers. Throws UserError when it is no x86 executable or points outside itself. */
export function readElf(file: Uint8Array, name = 'kernel'): ElfImage {
  if (file.length < 64 || !isElf(file))
    throw new UserError(`${name}: not an ELF image; expected a vmlinux or a 32-bit ELF executable`);
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bits = file[4] === 2 ? 64 : 32;
  const machine = v.getUint16(18, true);
  if (file[5] !== 1 || (machine !== EM_386 && machine !== EM_X86_64))
    throw new UserError(`${name}: ELF machine ${machine}; expected i386 or x86-64, little-endian`);
  const wide = (at: number): number => {
    const value = v.getBigUint64(at, true);
    // Virtual addresses of kernels are not used; any other value this large points outside the file or the guest.
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Infinity : Number(value);
  };
  const entry = bits === 64 ? wide(24) : v.getUint32(24, true);
  const table = bits === 64 ? wide(32) : v.getUint32(28, true);
  const entrySize = v.getUint16(bits === 64 ? 54 : 42, true);
  const count = v.getUint16(bits === 64 ? 56 : 44, true);
  if (count === 0 || entrySize < (bits === 64 ? 56 : 32) || table + count * entrySize > file.length)
    throw new UserError(`${name}: its ELF program headers are outside the file of ${file.length} bytes`);

  const segments: ElfSegment[] = [];
  let pvhEntry: Gpa | undefined;
  for (let i = 0; i < count; i++) {
    const at = table + i * entrySize;
    const type = v.getUint32(at, true);
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    const [offset, address, fileSize, memorySize] =
      bits === 64
        ? [wide(at + 8), wide(at + 24), wide(at + 32), wide(at + 40)]
        : [v.getUint32(at + 4, true), v.getUint32(at + 12, true), v.getUint32(at + 16, true), v.getUint32(at + 20, true)];
    if (type === PT_LOAD && memorySize < fileSize)
      throw new UserError(
        `${name}: ELF segment ${i} has ${fileSize} bytes in the file and ${memorySize} in memory; expected no fewer in memory`,
      );
    if (offset + fileSize > file.length)
      throw new UserError(
        `${name}: ELF segment ${i} (${fileSize} bytes at ${offset}) is outside the file of ${file.length} bytes; the file is cut short`,
      );
    const data = file.subarray(offset, offset + fileSize);
    if (type === PT_LOAD && memorySize > 0) segments.push({ address: gpa(address), data, memorySize });
    if (type === PT_NOTE) pvhEntry ??= findPvhEntry(data);
  }
  if (segments.length === 0) throw new UserError(`${name}: no loadable ELF segment`);
  segments.sort((a, b) => a.address - b.address);
  return { bits, entry, segments, ...(pvhEntry === undefined ? {} : { pvhEntry }) };
}

/** Walk the notes: name size, descriptor size, type, then both padded to four bytes. */
function findPvhEntry(notes: Uint8Array): Gpa | undefined {
  const v = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = v.getUint32(at, true);
    const descriptorSize = v.getUint32(at + 4, true);
    const type = v.getUint32(at + 8, true);
    const name = at + 12;
    const descriptor = name + Math.ceil(nameSize / 4) * 4;
    const end = descriptor + Math.ceil(descriptorSize / 4) * 4;
    if (descriptor + descriptorSize > notes.length) return undefined;
    const isXen = nameSize === 4 && v.getUint32(name, true) === 0x006e6558;
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY && descriptorSize >= 4) return gpa(v.getUint32(descriptor, true));
    at = end;
  }
  return undefined;
}
