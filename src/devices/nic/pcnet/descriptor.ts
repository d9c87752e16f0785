/** A receive or transmit descriptor in memory, in the three layouts of BCR20.SWSTYLE. */
import { R, SWS_SSIZE32, SWS_STYLE, type ChipPort } from './port.ts';

const SIZE16 = 8;
const SIZE32 = 16;
/** BCNT is a negative number of 12 bits; the bits above it must be ones. */
const BCNT = 0x0fff;
const ONES = 0xf000;
/** Bits of RMD2 above the message byte count, which must be zeros. */
const ZEROS = 0xf000;
/** The style that has buffer address and third word change places. */
const STYLE_SWAPPED = 3;
/** What the shorter layout has of status, and of addresses. */
const STATUS16 = 0xff00;
const ADDRESS16 = 0xff_ffff;

export type Ring = 'receive' | 'transmit';

/** Bytes from one descriptor to the next. */
export const descriptorSize = (values: Uint32Array): number => (values[R.BCR20]! & SWS_STYLE ? SIZE32 : SIZE16);

export class Descriptor {
  /** Buffer address, as the descriptor has it. */
  buffer = 0;
  /** Second word: BCNT with its ones, and status. */
  length = 0;
  status = 0;
  /** RMD2: message byte count and more. TMD2: errors. */
  misc = 0;
  reserved = 0;
  private readonly chip: ChipPort;
  private readonly ring: Ring;
  private readonly bytes = new Uint8Array(SIZE32);
  private readonly view = new DataView(this.bytes.buffer);

  constructor(chip: ChipPort, ring: Ring) {
    this.chip = chip;
    this.ring = ring;
  }

  /** Reads the descriptor at `gpa`, in one DMA access. */
  load(gpa: number): void {
    const { chip, view } = this;
    const { values } = chip.regs;
    chip.descriptorReads++;
    if (!(values[R.BCR20]! & SWS_SSIZE32)) {
      chip.dmaRead(gpa, this.bytes, 0, SIZE16);
      const first = view.getUint32(0, true);
      const last = view.getUint16(6, true);
      this.buffer = first & ADDRESS16;
      this.length = view.getUint16(4, true);
      this.status = (first >>> 16) & STATUS16;
      this.misc = this.ring === 'transmit' ? (last << 16) >>> 0 : last;
      this.reserved = 0;
      return;
    }
    chip.dmaRead(gpa, this.bytes, 0, SIZE32);
    const swapped = (values[R.BCR20]! & SWS_STYLE) === STYLE_SWAPPED;
    this.buffer = view.getUint32(swapped ? 8 : 0, true);
    this.length = view.getUint16(4, true);
    this.status = view.getUint16(6, true);
    this.misc = view.getUint32(swapped ? 0 : 8, true);
    this.reserved = view.getUint32(12, true);
  }

  /** Writes the descriptor back to `gpa`, in one DMA access. */
  store(gpa: number): void {
    const { chip, view } = this;
    const { values } = chip.regs;
    if (!(values[R.BCR20]! & SWS_SSIZE32)) {
      view.setUint32(0, (this.buffer & ADDRESS16) | ((this.status & STATUS16) << 16), true);
      view.setUint16(4, this.length, true);
      view.setUint16(6, this.ring === 'transmit' ? this.misc >>> 16 : this.misc, true);
      chip.dmaWrite(gpa, this.bytes, 0, SIZE16);
      return;
    }
    const swapped = (values[R.BCR20]! & SWS_STYLE) === STYLE_SWAPPED;
    view.setUint32(swapped ? 8 : 0, this.buffer, true);
    view.setUint16(4, this.length, true);
    view.setUint16(6, this.status, true);
    view.setUint32(swapped ? 0 : 8, this.misc, true);
    view.setUint32(12, this.reserved, true);
    chip.dmaWrite(gpa, this.bytes, 0, SIZE32);
  }

  /** BCNT as it stands, 12 bits. */
  get count(): number {
    return this.length & BCNT;
  }

  /** Bytes of the buffer, 1 … 4096. */
  get bufferSize(): number {
    return 4096 - this.count;
  }

  /** Are the bits that must be ones and zeros so? */
  get wellFormed(): boolean {
    return (this.length & ONES) === ONES && (this.ring === 'transmit' || (this.misc & ZEROS) === 0);
  }
}
