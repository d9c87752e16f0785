/**
 * The Microwire EEPROM behind EECD and EERD: 64 words of 16 bits. A start bit, two bits of operation code, six of address, each on a
 * rising clock; then a falling clock brings out the next bit, most significant first, word after word. Data out is high while
 * nothing is read. Write commands are taken and change nothing, as in QEMU: no driver may rewrite the card's address.
 */
import { E1000_DEVICE_ID, E1000_VENDOR_ID, fieldMask } from './registers.ts';

const EEPROM_WORDS = 64;
const EEPROM_CHECKSUM_WORD = 0x3f;
/** What the words add up to. */
const EEPROM_SUM = 0xbaba;

/** Words that are not 0xffff, from the manual's table 5-2 ("Ethernet Controller Address Map") with the values that QEMU's card has. */
const image: readonly (readonly [first: number, ...words: number[]])[] = [
  // Address (put in below), compatibility, PBA number.
  [0x00, 0, 0, 0, 0, 0xffff, 0, 0, 0, 0x3000, 0x1000],
  // Initialization control 1, subsystem, subsystem vendor, device, vendor, initialization control 2.
  [0x0a, 0x6403, E1000_DEVICE_ID, E1000_VENDOR_ID, E1000_DEVICE_ID, E1000_VENDOR_ID, 0x3040],
  // PHY registers, OEM settings.
  [0x10, 0x0008, 0x2000, 0x7e14, 0x0048, 0x1000, 0x00d8, 0x0000, 0x2700],
  [0x18, 0x6cc9, 0x3150, 0x0722, 0x040b, 0x0984, 0x0000, 0xc000, 0x0706],
  // Software defined pins, LEDs, management.
  [0x20, 0x1008, 0x0000, 0x0f04, 0x7fff, 0x4d01],
  // PXE.
  [0x30, 0x0100, 0x4000, 0x121c],
];

/** The words of a card with this station address. */
function eepromWords(mac: Uint8Array): Uint16Array {
  const words = new Uint16Array(EEPROM_WORDS).fill(0xffff);
  for (const [first, ...values] of image) words.set(values, first);
  for (let i = 0; i < 3; i++) words[i] = mac[2 * i]! | (mac[2 * i + 1]! << 8);
  words[EEPROM_CHECKSUM_WORD] = EEPROM_SUM - words.subarray(0, EEPROM_CHECKSUM_WORD).reduce((sum, w) => sum + w, 0);
  return words;
}

/** All that the EEPROM's wires remember. */
export interface EepromState {
  /** EECD's bits as software wrote them last. */
  wires: number;
  /** Bits that came in since it was selected, and how many. */
  input: number;
  bitsIn: number;
  /** Bit that goes out: 16 × word + place from the most significant. */
  bitOut: number;
  reading: boolean;
}

const SK = fieldMask('EECD', 'SK');
const CS = fieldMask('EECD', 'CS');
const DI = fieldMask('EECD', 'DI');
const DO = fieldMask('EECD', 'DO');
const PRESENT = fieldMask('EECD', 'PRES') | fieldMask('EECD', 'GNT');
const KEPT = SK | CS | DI | fieldMask('EECD', 'FWE') | fieldMask('EECD', 'REQ');

/** Start bit and operation code of a read. */
const READ = 0b110;
export const EEPROM_COMMAND_BITS = 9;
const EERD_START = 1;
export const EERD_DONE = 0x10;

export class Eeprom {
  readonly words: Uint16Array;
  readonly state: EepromState = { wires: 0, input: 0, bitsIn: 0, bitOut: 0, reading: false };

  constructor(mac: Uint8Array) {
    this.words = eepromWords(mac);
  }

  /** EECD as it reads. */
  get eecd(): number {
    const s = this.state;
    const bit = (this.words[(s.bitOut >> 4) & (EEPROM_WORDS - 1)]! >> (~s.bitOut & 0xf)) & 1;
    return s.wires | PRESENT | (!s.reading || bit ? DO : 0);
  }

  /** Software writes EECD. */
  setWires(value: number): void {
    const s = this.state;
    const changed = value ^ s.wires;
    s.wires = value & KEPT;
    if (!(value & CS)) return;
    if (changed & CS) {
      s.input = 0;
      s.bitsIn = 0;
      s.bitOut = 0;
      s.reading = false;
    }
    if (!(changed & SK)) return;
    if (!(value & SK)) {
      s.bitOut = (s.bitOut + 1) & 0xffff;
      return;
    }
    s.input = (s.input << 1) | (value & DI ? 1 : 0);
    s.bitsIn = (s.bitsIn + 1) & 0xffff;
    if (s.bitsIn !== EEPROM_COMMAND_BITS || s.reading) return;
    // The falling clock that follows brings the first bit out.
    s.bitOut = (((s.input & (EEPROM_WORDS - 1)) << 4) - 1) & 0xffff;
    s.reading = ((s.input >> 6) & 7) === READ;
  }

  /** EERD as it reads when software has written `value` into it. */
  eerd(value: number): number {
    if (!(value & EERD_START)) return value;
    const done = ((value & ~EERD_START) | EERD_DONE) >>> 0;
    // As in QEMU the bits above the address count as part of it.
    const word = value >>> 8;
    return word >= EEPROM_WORDS ? done : (done | (this.words[word]! << 16)) >>> 0;
  }
}
