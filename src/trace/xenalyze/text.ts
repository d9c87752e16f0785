/** Room that one record's text may take without a check: callers that print in loops call reserve(). */
const SLACK = 16 * 1024;
const HEX = new TextEncoder().encode('0123456789abcdef');
/** Decimal digits of 0 to 999, three bytes each. */
const THREE = new Uint8Array(3000);
for (let n = 0; n < 1000; n++) {
  THREE[n * 3] = 48 + Math.floor(n / 100);
  THREE[n * 3 + 1] = 48 + (Math.floor(n / 10) % 10);
  THREE[n * 3 + 2] = 48 + (n % 10);
}

/** ASCII text under construction, in one growing buffer: the conversions of C's printf that xenalyze uses. */
export class TextBuffer {
  bytes: Uint8Array<ArrayBuffer>;
  length = 0;
  private readonly scratch = new Uint8Array(24);

  constructor(capacity = 1 << 14) {
    this.bytes = new Uint8Array(capacity + SLACK);
  }

  /** Make room for a record's text, or for `more` bytes. */
  reserve(more = SLACK): void {
    if (this.length + more <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.length + more));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }

  clear(): void {
    this.length = 0;
  }

  /** What was written since the last clear(); valid until the next write. */
  view(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  toString(): string {
    return new TextDecoder('latin1').decode(this.view());
  }

  byte(code: number): void {
    this.bytes[this.length++] = code;
  }

  /** ASCII only. */
  str(text: string): void {
    const bytes = this.bytes;
    let at = this.length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  raw(source: Uint8Array, count: number): void {
    const bytes = this.bytes;
    let at = this.length;
    for (let i = 0; i < count; i++) bytes[at++] = source[i]!;
    this.length = at;
  }

  /** %u of any integer from 0 to 2^53. */
  u(value: number): void {
    const bytes = this.bytes;
    let at = this.length;
    if (value < 10) {
      bytes[at] = 48 + value;
      this.length = at + 1;
      return;
    }
    if (value > 0xffffffff) {
      this.str(String(value));
      return;
    }
    let n = value >>> 0;
    let digits =
      n < 100
        ? 2
        : n < 1000
          ? 3
          : n < 10000
            ? 4
            : n < 100000
              ? 5
              : n < 1000000
                ? 6
                : n < 10000000
                  ? 7
                  : n < 100000000
                    ? 8
                    : n < 1000000000
                      ? 9
                      : 10;
    at += digits;
    this.length = at;
    while (digits-- > 0) {
      const q = (n / 10) >>> 0;
      bytes[--at] = 48 + (n - q * 10);
      n = q;
    }
  }

  /** %d */
  d(value: number): void {
    if (value < 0) {
      this.bytes[this.length++] = 45;
      this.u(-value);
    } else {
      this.u(value);
    }
  }

  /** %x of a 32-bit word. */
  x(word: number): void {
    const bytes = this.bytes;
    let shift = word === 0 ? 0 : 28 - (Math.clz32(word) & ~3);
    let at = this.length;
    for (; shift >= 0; shift -= 4) bytes[at++] = HEX[(word >>> shift) & 15]!;
    this.length = at;
  }

  /** %0<digits>x of a 32-bit word, never cut. */
  x0(word: number, digits: number): void {
    for (let need = word === 0 ? 1 : 8 - (Math.clz32(word) >> 2); need < digits; digits--) this.bytes[this.length++] = 48;
    this.x(word);
  }

  /** %<width>x: blanks on the left. */
  xPadded(word: number, width: number): void {
    for (let need = word === 0 ? 1 : 8 - (Math.clz32(word) >> 2); need < width; width--) this.bytes[this.length++] = 32;
    this.x(word);
  }

  /** %llx */
  x64(low: number, high: number): void {
    if (high === 0) {
      this.x(low);
      return;
    }
    this.x(high);
    const bytes = this.bytes;
    let at = this.length;
    for (let shift = 28; shift >= 0; shift -= 4) bytes[at++] = HEX[(low >>> shift) & 15]!;
    this.length = at;
  }

  /** %8llx */
  x64Padded8(low: number, high: number): void {
    if (high === 0) this.xPadded(low, 8);
    else this.x64(low, high);
  }

  /** %llu */
  u64(low: number, high: number): void {
    if (high === 0) this.u(low >>> 0);
    else if (high >>> 0 < 0x200000) this.u((high >>> 0) * 0x100000000 + (low >>> 0));
    else this.str(String((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)));
  }

  /** %lld */
  d64(low: number, high: number): void {
    if (high < 0) this.str(String(BigInt.asIntN(64, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0))));
    else this.u64(low, high);
  }

  /** %3u.%09u of nanoseconds: seconds and the rest. */
  time(ns: number): void {
    const seconds = Math.floor(ns / 1_000_000_000);
    const rest = ns - seconds * 1_000_000_000;
    if (seconds < 1000) {
      const bytes = this.bytes;
      const at = this.length;
      const i = seconds * 3;
      bytes[at] = seconds < 100 ? 32 : THREE[i]!;
      bytes[at + 1] = seconds < 10 ? 32 : THREE[i + 1]!;
      bytes[at + 2] = THREE[i + 2]!;
      this.length = at + 3;
    } else {
      this.u(seconds % 0x100000000);
    }
    const millions = (rest / 1_000_000) | 0;
    const below = rest - millions * 1_000_000;
    const thousands = (below / 1000) | 0;
    this.bytes[this.length++] = 46;
    this.three(millions);
    this.three(thousands);
    this.three(below - thousands * 1000);
  }

  private three(n: number): void {
    const bytes = this.bytes;
    const at = this.length;
    const i = n * 3;
    bytes[at] = THREE[i]!;
    bytes[at + 1] = THREE[i + 1]!;
    bytes[at + 2] = THREE[i + 2]!;
    this.length = at + 3;
  }

  /** %4.3f of a number that is not negative, ties to even as in C. */
  f3(value: number): void {
    if (value >= 2 ** 53) {
      this.str(`${BigInt(value)}.000`);
      return;
    }
    // Large values have few fraction bits, small ones few whole bits: either product is exact where ties can be.
    const base = value >= 2 ** 20 ? Math.floor(value) : 0;
    const scaled = (value - base) * 1000;
    let n = Math.floor(scaled);
    const rest = scaled - n;
    if (rest > 0.5 || (rest === 0.5 && n % 2 === 1)) n++;
    const whole = Math.floor(n / 1000);
    this.u(base + whole);
    this.bytes[this.length++] = 46;
    this.three(n - whole * 1000);
  }

  /** Decimal digits with zeros to `width` on the left: %0<width>lu. */
  u64Zero(low: number, high: number, width: number): void {
    const from = this.length;
    this.u64(low, high);
    const digits = this.length - from;
    if (digits >= width) return;
    this.scratch.set(this.bytes.subarray(from, this.length));
    this.length = from;
    for (let i = digits; i < width; i++) this.bytes[this.length++] = 48;
    this.raw(this.scratch, digits);
  }
}
