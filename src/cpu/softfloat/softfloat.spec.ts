import { describe, expect, it } from 'vitest';
import { add, divide, integerSqrt, multiply, squareRoot } from './arith.ts';
import { compare, convert, fromInteger, Relation, toInteger } from './convert.ts';
import { FloatEnv, FloatFlag, Rounding } from './env.ts';
import { binary32, binary64, bitLength, extended80, pack, unpack } from './format.ts';

const scratch = new DataView(new ArrayBuffer(8));
const bitsOf = (x: number): bigint => {
  scratch.setFloat64(0, x);
  return scratch.getBigUint64(0);
};
const numberOf = (bits: bigint): number => {
  scratch.setBigUint64(0, bits);
  return scratch.getFloat64(0);
};
const bits32 = (x: number): bigint => {
  scratch.setFloat32(0, x);
  return BigInt(scratch.getUint32(0));
};

let state = 12345;
const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
function randomDouble(): number {
  const kind = next() % 4;
  if (kind === 0) return numberOf((BigInt(next()) << 32n) | BigInt(next()));
  const x = (next() / 2 ** 31 - 1) * 2 ** ((next() % 60) - 30);
  return kind === 1 ? Math.round(x) : kind === 2 ? x * 2 ** -1040 : x;
}
const same = (a: number, b: number) => Object.is(a, b);

describe('binary64 in round-to-nearest against the host', () => {
  const env = new FloatEnv('sse');
  const operations: [string, (a: bigint, b: bigint) => bigint, (a: number, b: number) => number][] = [
    ['add', (a, b) => add(env, binary64, unpack(binary64, a), unpack(binary64, b)), (a, b) => a + b],
    ['subtract', (a, b) => add(env, binary64, unpack(binary64, a), unpack(binary64, b), true), (a, b) => a - b],
    ['multiply', (a, b) => multiply(env, binary64, unpack(binary64, a), unpack(binary64, b)), (a, b) => a * b],
    ['divide', (a, b) => divide(env, binary64, unpack(binary64, a), unpack(binary64, b)), (a, b) => a / b],
    ['square root', (a) => squareRoot(env, binary64, unpack(binary64, a)), (a) => Math.sqrt(a)],
  ];
  it.each(operations)('%s', (_name, ours, host) => {
    for (let i = 0; i < 2000; i++) {
      const [a, b] = [randomDouble(), randomDouble()];
      const mine = numberOf(ours(bitsOf(a), bitsOf(b)));
      expect(same(mine, host(a, b)), `${a}, ${b}: ${mine}`).toBe(true);
    }
  });
  it('to binary32', () => {
    for (let i = 0; i < 2000; i++) {
      const a = randomDouble();
      if (Number.isNaN(a)) continue;
      expect(convert(env, binary32, unpack(binary64, bitsOf(a)))).toBe(bits32(a));
    }
  });
});

describe('rounding', () => {
  const third = (rounding: Rounding, negative = false) => {
    const env = new FloatEnv('sse');
    env.rounding = rounding;
    return numberOf(divide(env, binary64, unpack(binary64, bitsOf(negative ? -1 : 1)), unpack(binary64, bitsOf(3))));
  };
  it('goes where the mode says', () => {
    const down = numberOf(bitsOf(1 / 3));
    const up = numberOf(bitsOf(1 / 3) + 1n);
    expect([third(Rounding.nearest), third(Rounding.down), third(Rounding.up), third(Rounding.towardZero)]).toEqual([
      down,
      down,
      up,
      down,
    ]);
    expect([
      third(Rounding.nearest, true),
      third(Rounding.down, true),
      third(Rounding.up, true),
      third(Rounding.towardZero, true),
    ]).toEqual([-down, -up, -down, -down]);
  });
  it('detects tininess after rounding', () => {
    const env = new FloatEnv('sse');
    // The largest denormal plus half a unit, times one: rounds up to the least normal, and is tiny at 53 bits.
    const least = unpack(binary64, 1n << 52n);
    const scale = unpack(binary64, bitsOf(1 - 2 ** -53));
    expect(multiply(env, binary64, least, scale)).toBe(1n << 52n);
    expect(env.flags).toBe(FloatFlag.underflow | FloatFlag.precision);
  });
  it('gives unmasked x87 overflow with its exponent moved by 24576', () => {
    const env = new FloatEnv('x87');
    env.masks &= ~FloatFlag.overflow;
    const huge = unpack(extended80, 0x7ffe8000000000000000n);
    expect(multiply(env, extended80, huge, huge)).toBe(0x5ffd8000000000000000n);
    expect(env.flags).toBe(FloatFlag.overflow);
  });
});

describe('conversions and comparison', () => {
  const env = new FloatEnv('sse');
  it('integers', () => {
    expect(toInteger(env, unpack(binary64, bitsOf(2.5)), 32)).toBe(2n);
    expect(toInteger(env, unpack(binary64, bitsOf(-2147483648)), 32)).toBe(-2147483648n);
    expect(toInteger(env, unpack(binary64, bitsOf(2 ** 31)), 32)).toBeUndefined();
    expect(toInteger(env, unpack(binary64, bitsOf(-2147483648.5)), 32)).toBe(-2147483648n);
    expect(numberOf(fromInteger(env, binary64, -9223372036854775808n))).toBe(-9223372036854775808);
  });
  it('relations', () => {
    const values = [-Infinity, -1e300, -1, -5e-324, 0, 5e-324, 1, 1.5, 1e300, Infinity];
    for (const a of values) {
      for (const b of values) {
        expect(compare(env, unpack(binary64, bitsOf(a)), unpack(binary64, bitsOf(b)), true)).toBe(
          a < b ? Relation.less : a > b ? Relation.greater : Relation.equal,
        );
      }
    }
    expect(compare(env, unpack(binary64, bitsOf(NaN)), unpack(binary64, bitsOf(1)), false)).toBe(Relation.unordered);
  });
  it('pack undoes unpack', () => {
    for (const bits of [
      0n,
      1n,
      0x7ff0000000000000n,
      0x7ff8000000000001n,
      0x8000000000000000n,
      0x3ff123456789abcdn,
      0x000fffffffffffffn,
    ]) {
      expect(pack(binary64, unpack(binary64, bits))).toBe(bits);
    }
  });
  it('bit length and integer square root', () => {
    for (const i of [1023, 1024, 1025, 5000])
      expect([bitLength(1n << BigInt(i)), bitLength((1n << BigInt(i)) - 1n)]).toEqual([i + 1, i]);
    for (let i = 0; i < 200; i++) {
      expect(bitLength((1n << BigInt(i)) - 1n)).toBe(i);
      expect(bitLength(1n << BigInt(i))).toBe(i + 1);
      expect(bitLength((1n << BigInt(i)) | 1n)).toBe(i === 0 ? 1 : i + 1);
      const root = (1n << BigInt(i)) + 12345n;
      expect(integerSqrt(root * root)).toBe(root);
      expect(integerSqrt(root * root - 1n)).toBe(root - 1n);
    }
  });
});
