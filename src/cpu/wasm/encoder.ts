/** Bytes of a WebAssembly binary (core specification, chapter 5): a growing buffer with LEB128 and label depths. */
export class Encoder {
  private bytes = new Uint8Array(1 << 12);
  private length = 0;
  /** Structured blocks open now. */
  private depth = 0;

  byte(value: number): void {
    if (this.length === this.bytes.length) this.grow(1);
    this.bytes[this.length++] = value;
  }

  raw(source: Uint8Array): void {
    if (this.length + source.length > this.bytes.length) this.grow(source.length);
    this.bytes.set(source, this.length);
    this.length += source.length;
  }

  u32(value: number): void {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  s32(value: number): void {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && !(low & 0x40)) || (rest === -1 && low & 0x40)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  s64(value: bigint | number): void {
    if (typeof value === 'number') {
      if ((value | 0) === value) {
        this.s32(value);
        return;
      }
      value = BigInt(value);
    }
    let rest = BigInt.asIntN(64, value);
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && !(low & 0x40)) || (rest === -1n && low & 0x40)) {
        this.byte(low);
        return;
      }
      this.byte(low | 0x80);
    }
  }

  name(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.u32(encoded.length);
    this.raw(encoded);
  }

  /** A length-prefixed part: section, function body. */
  sized(part: Encoder): void {
    this.u32(part.length);
    this.raw(part.finish());
  }

  open(label: Label | undefined): void {
    if (label) label.level = this.depth;
    this.depth++;
  }

  close(label: Label | undefined): void {
    this.depth--;
    if (label) label.level = -1;
  }

  /** How many blocks out a branch to this label goes. */
  depthOf(label: Label): number {
    if (label.level < 0) throw new Error('wasm encoder: branch to a label that is not open here');
    return this.depth - 1 - label.level;
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  private grow(need: number): void {
    const bigger = new Uint8Array(Math.max(this.bytes.length * 2, this.length + need));
    bigger.set(this.bytes);
    this.bytes = bigger;
  }
}

/** Target of branches; one object per block or loop. */
export class Label {
  /** Blocks open around it while it is open; -1 otherwise. */
  level = -1;
}
