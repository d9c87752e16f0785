/** A guest of one's own machine code: the smallest kernel. */

/** Where the code lies and is entered, in guest-physical memory. */
const ENTRY = 0x100000;
const HEADERS = 52 + 32;

/**
 * An ELF kernel around machine code, which lies at 1 MiB and is entered at its first byte in flat 32-bit protected mode, paging off,
 * interrupts off, EBX holding the address of Xen's hvm_start_info. For Machine's option `kernel`.
 */
export function codeKernel(code: Uint8Array): Uint8Array {
  const file = new Uint8Array(0x1000 + code.length);
  file.set(code, 0x1000);
  const view = new DataView(file.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((value, i) => view.setUint32(at + i * 4, value, true));
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 3, true); // EM_386
  words(20, 1, ENTRY, 52, 0, 0);
  [52, 32, 1].forEach((value, i) => view.setUint16(40 + i * 2, value, true));
  words(HEADERS - 32, 1, 0x1000, ENTRY, ENTRY, code.length, code.length, 7, 0x1000);
  return file;
}
