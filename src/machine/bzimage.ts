/**
 * The Linux/x86 boot image (bzImage): its setup header, and the ELF kernel inside its compressed payload.
 * Source: Documentation/arch/x86/boot.rst (the Linux/x86 boot protocol), arch/x86/boot/header.S.
 */
import { UserError } from '../base/errors.ts';
import { compressionOf, decompress } from './archive.ts';

const HDRS = 0x53726448; // "HdrS"
const LOADED_HIGH = 1;

/** Offsets of the setup header's fields from the start of the file (boot.rst, "The Real-Mode Kernel Header"). */
export const SetupHeader = {
  start: 0x1f1,
  setupSects: 0x1f1,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  loadflags: 0x211,
  code32Start: 0x214,
  relocatable: 0x234,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  xloadflags: 0x236,
  initSize: 0x260,
  prefAddress: 0x258,
} as const;

interface BzImage {
  /** Boot protocol version, e.g. 0x020f. */
  protocol: number;
  /** What `uname -r` and the build line will say. */
  version: string;
  /** The setup header, to copy into boot_params at the same offset (0x1f1). */
  setupHeader: Uint8Array;
  /** Protected-mode part: loaded at loadAddress, entered at +0x200 in 64-bit mode when has64bitEntry, else at its start in 32-bit mode. */
  kernel: Uint8Array;
  has64bitEntry: boolean;
  loadAddress: number;
  /** Bytes of RAM from loadAddress the kernel needs before it looks at the memory map. */
  initSize: number;
  /** Compressed kernel; empty when the image holds none. Its last four bytes are the size of the plain one for every format but gzip (which has it itself). */
  payload: Uint8Array;
}

/** True when the bytes start like a bzImage. */
export function isBzImage(file: Uint8Array): boolean {
  return file.length > 0x264 && view(file).getUint32(SetupHeader.magic, true) === HDRS;
}

/**
 * Read the setup header. Throws UserError when the file is no bzImage, is cut short, or has no entry but the real-mode one.
 */
export function readBzImage(file: Uint8Array, name = 'kernel'): BzImage {
  if (!isBzImage(file)) throw new UserError(`${name}: no "HdrS" at 0x202; expected a Linux bzImage (vmlinuz)`);
  const v = view(file);
  const protocol = v.getUint16(SetupHeader.version, true);
  const code32Start = v.getUint32(SetupHeader.code32Start, true);
  const modes = 'this machine enters a kernel in 32-bit or 64-bit mode';
  if (protocol < 0x0200 || (file[SetupHeader.loadflags]! & LOADED_HIGH) === 0)
    throw new UserError(
      `${name}: boot protocol ${hexVersion(protocol)}, to be loaded below 640 KiB and entered in real mode (a zImage); ${modes}`,
    );
  if (code32Start === 0)
    throw new UserError(`${name}: its only entry is in real mode (code32_start is 0, as in iPXE's image); ${modes}`);
  const setupBytes = ((file[SetupHeader.setupSects] || 4) + 1) * 512;
  const headerEnd = SetupHeader.magic + file[0x201]!;
  const hasPayload = protocol >= 0x0208;
  const offset = setupBytes + (hasPayload ? v.getUint32(SetupHeader.payloadOffset, true) : 0);
  const length = hasPayload ? v.getUint32(SetupHeader.payloadLength, true) : 0;
  // No payload: a program that is booted like a kernel, and is not compressed (memtest86+).
  if (headerEnd > file.length || offset + length > file.length || (length < 8 && length !== 0)) {
    throw new UserError(
      `${name}: the payload (offset ${offset}, ${length} bytes) is outside the file of ${file.length} bytes; the file is cut short`,
    );
  }
  // Others lie where they were linked to.
  const movable = protocol >= 0x020a && file[SetupHeader.relocatable] !== 0;
  const has64bitEntry = protocol >= 0x020c && (v.getUint16(SetupHeader.xloadflags, true) & 1) !== 0;
  return {
    protocol,
    version: versionString(file, v.getUint16(SetupHeader.kernelVersion, true) + 0x200),
    setupHeader: file.slice(SetupHeader.start, headerEnd),
    kernel: file.subarray(setupBytes),
    has64bitEntry,
    loadAddress: movable || has64bitEntry ? Number(v.getBigUint64(SetupHeader.prefAddress, true)) : code32Start,
    initSize: protocol >= 0x020a ? v.getUint32(SetupHeader.initSize, true) : file.length - setupBytes,
    payload: file.subarray(offset, offset + length),
  };
}

/** No kernel is larger, nor would it fit a guest. */
export const LARGEST_KERNEL = 512 << 20;

/** Take the ELF kernel (vmlinux) out of a bzImage. Throws UserError when its compression has no decoder here (lz4, lzo). */
export async function extractVmlinux(file: Uint8Array, name = 'kernel'): Promise<Uint8Array> {
  const { payload } = readBzImage(file, name);
  const format = compressionOf(payload);
  if (format === undefined)
    throw new UserError(`${name}: the kernel is compressed by a method not decoded here (lz4 or lzo); give its vmlinux instead`);
  const promised = view(payload).getUint32(payload.length - 4, true);
  if (promised > LARGEST_KERNEL)
    throw new UserError(
      `${name}: its header promises a kernel of ${Math.ceil(promised / (1 << 20))} MiB; expected at most ${LARGEST_KERNEL >> 20} MiB`,
    );
  const stream = format === 'gzip' ? payload : payload.subarray(0, payload.length - 4);
  // A little more than was promised tells a payload that gives more from one that ends there.
  const plain = await decompress(stream, name, promised + 1);
  if (promised !== plain.length)
    throw new UserError(`${name}: the payload gave ${plain.length} bytes, its header promised ${promised}`);
  if (plain.length < 4 || view(plain).getUint32(0, false) !== 0x7f454c46)
    throw new UserError(`${name}: the payload holds no ELF image`);
  return plain;
}

/** Whether the payload's compression has a decoder here, by its first bytes. */
export const isDecoded = ({ payload }: Pick<BzImage, 'payload'>): boolean => compressionOf(payload) !== undefined;

function versionString(file: Uint8Array, at: number): string {
  let end = at;
  while (end < file.length && end < at + 256 && file[end] !== 0) end++;
  return new TextDecoder().decode(file.subarray(at, end));
}

const hexVersion = (version: number): string => `${version >> 8}.${String(version & 0xff).padStart(2, '0')}`;
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
