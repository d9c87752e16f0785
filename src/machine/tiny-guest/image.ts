/** The tiny guest as an ELF32 image: entered at e_entry in flat 32-bit protected mode, or by its PVH note at the same place. */
import { assemble } from './assembler.ts';
import { faultHandlerAt, layOutData, nicHandlerAt, spuriousHandlerAt } from './data.ts';
import { TinyGuest } from './layout.ts';
import { code64, entry32 } from './program.ts';
export { type TinyGuestMode, tinyGuestCommandLine } from './command-line.ts';
import { faultHandler, nicHandler, spuriousHandler } from './handlers.ts';

const HEADERS = 0x1000;
const NOTE_PHYS32_ENTRY = 18; // XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h

/** Assemble the guest. Gives the ELF file, the same bytes each time. */
export function assembleTinyGuest(): Uint8Array {
  const data = layOutData();
  const blocks: [number, Uint8Array, number][] = [
    [TinyGuest.entry, assemble(32, TinyGuest.entry, entry32(data.symbols)), TinyGuest.code],
    [TinyGuest.code, assemble(64, TinyGuest.code, code64(data.symbols)), TinyGuest.handlers],
    [nicHandlerAt, assemble(64, nicHandlerAt, nicHandler()), spuriousHandlerAt],
    [spuriousHandlerAt, assemble(64, spuriousHandlerAt, spuriousHandler()), faultHandlerAt],
    [faultHandlerAt, assemble(64, faultHandlerAt, faultHandler(data.symbols)), TinyGuest.data],
    [TinyGuest.data, data.bytes, TinyGuest.bss],
  ];
  const loaded = TinyGuest.data + TinyGuest.dataSize - TinyGuest.entry;
  const file = new Uint8Array(HEADERS + loaded);
  for (const [at, bytes, end] of blocks) {
    if (at + bytes.length > end) throw new Error(`tiny guest: code at 0x${at.toString(16)} runs into 0x${end.toString(16)}`);
    file.set(bytes, HEADERS + at - TinyGuest.entry);
  }
  const view = new DataView(file.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((value, i) => view.setUint32(at + i * 4, value, true));
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 3, true); // EM_386
  words(20, 1, TinyGuest.entry, 52, 0, 0);
  [52, 32, 2].forEach((value, i) => view.setUint16(40 + i * 2, value, true));
  const note = 52 + 2 * 32;
  words(52, 1, HEADERS, TinyGuest.entry, TinyGuest.entry, loaded, TinyGuest.end - TinyGuest.entry, 7, 0x1000);
  words(84, 4, note, 0, 0, 20, 20, 4, 4);
  words(note, 4, 4, NOTE_PHYS32_ENTRY, 0x006e6558, TinyGuest.entry); // name "Xen"
  return file;
}
