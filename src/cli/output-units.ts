/** Where a file that is written in pieces may be cut so that its readers find it whole. */

export interface Units {
  /** Every byte of the file is shown once, in order. Offset in `data` behind the first unit that ends at `from` or later; -1: none ends in it. */
  endAfter(data: Uint8Array, from: number): number;
  /** What a later file of the same kind must begin with, as far as it was seen. */
  readonly head: Uint8Array;
}

const NEWLINE = 10;

/** Lines; the first `headLines` are repeated. */
export class LineUnits implements Units {
  private readonly headLines: number;
  private readonly headParts: number[] = [];
  private seen = 0;

  constructor(headLines = 0) {
    this.headLines = headLines;
  }

  get head(): Uint8Array {
    return Uint8Array.from(this.headParts);
  }

  endAfter(data: Uint8Array, from: number): number {
    for (let i = 0; this.seen < this.headLines && i < data.length; i++) {
      this.headParts.push(data[i]!);
      if (data[i] === NEWLINE) this.seen++;
    }
    const at = data.indexOf(NEWLINE, Math.max(0, from - 1));
    return at < 0 ? -1 : at + 1;
  }
}

/** Units that say their length in their first bytes; the first `headUnits` are repeated. */
export class FramedUnits implements Units {
  private readonly headBytes: number;
  private readonly headUnits: number;
  private readonly lengthOf: (head: DataView) => number;
  private readonly start: DataView;
  private readonly headParts: number[] = [];
  private units = 0;
  /** Bytes of the present unit that were seen, and all it has, which is known once its start is there. */
  private seen = 0;
  private length = Infinity;

  /** @param lengthOf bytes of a unit, from the first `headBytes` of it */
  constructor(headBytes: number, lengthOf: (head: DataView) => number, headUnits = 0) {
    this.headBytes = headBytes;
    this.lengthOf = lengthOf;
    this.headUnits = headUnits;
    this.start = new DataView(new ArrayBuffer(headBytes));
  }

  get head(): Uint8Array {
    return Uint8Array.from(this.headParts);
  }

  endAfter(data: Uint8Array, from: number): number {
    let found = -1;
    for (let at = 0; at < data.length; ) {
      const from0 = at;
      if (this.seen < this.headBytes) {
        this.start.setUint8(this.seen++, data[at++]!);
        if (this.seen === this.headBytes) this.length = Math.max(this.headBytes, this.lengthOf(this.start));
      } else {
        const step = Math.min(this.length - this.seen, data.length - at);
        this.seen += step;
        at += step;
      }
      if (this.units < this.headUnits) for (let i = from0; i < at; i++) this.headParts.push(data[i]!);
      if (this.seen < this.length) continue;
      this.units++;
      this.seen = 0;
      this.length = Infinity;
      if (found < 0 && at >= from) found = at;
    }
    return found;
  }
}

/** Windows of an xentrace file: a record of 12 bytes, whose last word is the bytes behind it. */
export const traceUnits = (): Units => new FramedUnits(12, (head) => 12 + head.getUint32(8, true));
/** Blocks of a pcapng file; section and interface come first. */
export const pcapngUnits = (): Units => new FramedUnits(8, (head) => head.getUint32(4, true), 2);
/** A device model's log, whose first line tells its clock. */
export const logUnits = (): Units => new LineUnits(1);
