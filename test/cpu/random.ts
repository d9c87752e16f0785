/** Seeded generator (xorshift128) for reproducible cases. */
export class Random {
  private state: [number, number, number, number];

  constructor(seed: number) {
    this.state = [seed | 1, 0x9e3779b9 ^ seed, 0x243f6a88, 0xb7e15162];
    for (let i = 0; i < 16; i++) this.next();
  }

  /** 32 random bits. */
  next(): number {
    const [a, , , d] = this.state;
    let t = d ^ (d << 11);
    t ^= t >>> 8;
    this.state = [t ^ a ^ (a >>> 19), a, this.state[1], this.state[2]];
    return this.state[0] >>> 0;
  }
  below(limit: number): number { return Math.floor((this.next() / 2 ** 32) * limit); }
  bits(count: number): bigint {
    let value = 0n;
    for (let have = 0; have < count; have += 32) value = (value << 32n) | BigInt(this.next());
    return BigInt.asUintN(count, value);
  }
}
