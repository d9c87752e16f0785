/** Guests of a few instructions: a plain 32-bit ELF around assembled code. */
import { assemble } from '../src/machine/tiny-guest/assembler.ts';

export const PLAIN_ENTRY = 0x100000;
const HEADERS = 52 + 2 * 32;
const NOTE_PHYS32_ENTRY = 18;

/** A 32-bit ELF whose code begins at 1 MiB; `pvhSource` is entered by a PVH note and lies a page further on. */
export function plainGuest(source: string, pvhSource?: string): Uint8Array {
  const code = assemble(32, PLAIN_ENTRY, source);
  const other = pvhSource === undefined ? new Uint8Array(0) : assemble(32, PLAIN_ENTRY + 0x1000, pvhSource);
  if (code.length > 0x1000) throw new Error('plain guest: more than a page of code');
  const file = new Uint8Array(0x1000 + 0x1000 + other.length);
  file.set(code, 0x1000);
  file.set(other, 0x2000);
  const view = new DataView(file.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((value, i) => view.setUint32(at + i * 4, value, true));
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  words(20, 1, PLAIN_ENTRY, 52, 0, 0);
  [52, 32, pvhSource === undefined ? 1 : 2].forEach((value, i) => view.setUint16(40 + i * 2, value, true));
  words(52, 1, 0x1000, PLAIN_ENTRY, PLAIN_ENTRY, file.length - 0x1000, file.length - 0x1000, 7, 0x1000);
  if (pvhSource !== undefined) {
    words(84, 4, HEADERS, 0, 0, 20, 20, 4, 4);
    words(HEADERS, 4, 4, NOTE_PHYS32_ENTRY, 0x006e6558, PLAIN_ENTRY + 0x1000);
  }
  return file;
}

/** Print a character to a port, and power off by PM1a control. */
export const print = (text: string, port = 0xe9): string => [...text].map((c) => `mov al, ${c.charCodeAt(0)}\nmov edx, ${port}\nout dx, al\n`).join('');
export const powerOff = 'mov edx, 0xb004\nmov eax, 0x2000\nout dx, ax\nhlt\n';
