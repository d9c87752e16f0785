/**
 * Writes protocol buffers (wire format of protobuf.dev) into one growing buffer that is used again. Nested messages are
 * opened and closed; their lengths are written as four-byte varints, so that nothing has to be moved.
 */
const LENGTH_BYTES = 4;

export class ProtoWriter {
  private bytes = new Uint8Array(1 << 17);
  private view = new DataView(this.bytes.buffer);
  private readonly encoder = new TextEncoder();
  length = 0;

  /** What is written; valid until the next write. */
  written(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }

  private room(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.length + bytes));
    larger.set(this.written());
    this.bytes = larger;
    this.view = new DataView(larger.buffer);
  }

  /** A varint of a whole number from 0 to 2^53. */
  private varint(value: number): void {
    this.room(10);
    while (value >= 0x80) {
      this.bytes[this.length++] = (value % 0x80) | 0x80;
      value = Math.floor(value / 0x80);
    }
    this.bytes[this.length++] = value;
  }

  private tag(field: number, wire: 0 | 1 | 2): void {
    this.varint(field * 8 + wire);
  }

  /** uint32, uint64, int32, int64, bool and enum: 0 to 2^53. */
  uint(field: number, value: number): void {
    this.tag(field, 0);
    this.varint(value);
  }

  /** uint64 of any size. */
  uint64(field: number, value: bigint): void {
    if (value < 0x20000000000000n) {
      this.uint(field, Number(value));
      return;
    }
    this.tag(field, 0);
    this.room(10);
    let rest = BigInt.asUintN(64, value);
    while (rest >= 0x80n) {
      this.bytes[this.length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.bytes[this.length++] = Number(rest);
  }

  /** fixed64: 0 to 2^53. */
  fixed64(field: number, value: number): void {
    this.tag(field, 1);
    this.room(8);
    this.view.setUint32(this.length, value % 0x100000000, true);
    this.view.setUint32(this.length + 4, Math.floor(value / 0x100000000), true);
    this.length += 8;
  }

  double(field: number, value: number): void {
    this.tag(field, 1);
    this.room(8);
    this.view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  string(field: number, text: string): void {
    this.tag(field, 2);
    this.room(10 + text.length * 3);
    const at = this.length;
    const { written } = this.encoder.encodeInto(text, this.bytes.subarray(at + LENGTH_BYTES));
    this.length = at + LENGTH_BYTES + written;
    this.close(at);
  }

  /** Begin a nested message. @returns what `close` needs */
  open(field: number): number {
    this.tag(field, 2);
    this.room(LENGTH_BYTES);
    const at = this.length;
    this.length += LENGTH_BYTES;
    return at;
  }

  /** End the message that `open` began. At most 256 MiB. */
  close(at: number): void {
    let size = this.length - at - LENGTH_BYTES;
    for (let i = 0; i < LENGTH_BYTES; i++) {
      this.bytes[at + i] = (size & 0x7f) | (i < LENGTH_BYTES - 1 ? 0x80 : 0);
      size >>>= 7;
    }
  }
}
