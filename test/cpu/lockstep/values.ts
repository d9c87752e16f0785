/**
 * Operand values that find mistakes: borders of every width, special floating-point numbers of every format.
 * The memory image of a seed must stay as it is for ever: saved regression cases name the seed only.
 */
import { CODE_SIZE, DATA_SIZE } from './case.ts';
import type { Random } from './random.ts';
import { Random as Generator } from './random.ts';

const integers = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  0xfn,
  0x10n,
  0x1fn,
  0x20n,
  0x3fn,
  0x40n,
  0x7fn,
  0x80n,
  0x81n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffff80000000n,
  0xfffffffffffffffen,
  0xffffffffffffffffn,
];

/** 64 bits for a general register or a quadword of memory. */
export function integer64(random: Random): bigint {
  switch (random.below(5)) {
    case 0:
      return random.pick(integers);
    case 1:
      return BigInt(random.below(256));
    case 2:
      return BigInt.asUintN(64, -BigInt(random.below(1024)));
    default:
      return random.u64() >> BigInt(random.below(random.chance(0.5) ? 1 : 64));
  }
}

const float32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x3f800001, 0x40490fdb, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001,
  0xffbfffff, 0x7f7fffff, 0xff7fffff, 0x00800000, 0x80800000, 0x007fffff, 0x00000001, 0x80000001, 0x4b000000, 0x4f000000,
  0xcf000000, 0x5f000000, 0xdf000000, 0x3f000000, 0x3effffff,
];

export function binary32(random: Random): number {
  switch (random.below(4)) {
    case 0:
      return random.pick(float32);
    case 1: // near one
      return ((random.chance(0.5) ? 0x80000000 : 0) | ((120 + random.below(16)) << 23) | (random.u32() & 0x7fffff)) >>> 0;
    case 2: // few significant bits: exact results and ties
      return (
        ((random.chance(0.5) ? 0x80000000 : 0) |
          ((124 + random.below(32)) << 23) |
          (random.u32() & 0x7fffff & -(1 << random.below(23)))) >>>
        0
      );
    default:
      return random.u32();
  }
}

const float64 = [
  0n,
  0x8000000000000000n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x3ff0000000000001n,
  0x400921fb54442d18n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff0000000000001n,
  0xfff7ffffffffffffn,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x0010000000000000n,
  0x8010000000000000n,
  0x000fffffffffffffn,
  1n,
  0x8000000000000001n,
  0x4330000000000000n,
  0x41dfffffffc00000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0xc1e0000000200000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x3fe0000000000000n,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x47effffff0000000n,
  0x3810000000000000n,
  0x380fffffffffffffn,
  0x36a0000000000000n,
  0x3690000000000001n,
];

export function binary64(random: Random): bigint {
  const sign = random.chance(0.5) ? 0x8000000000000000n : 0n;
  switch (random.below(5)) {
    case 0:
      return random.pick(float64);
    case 1:
      return sign | (BigInt(1016 + random.below(16)) << 52n) | (random.u64() >> 12n);
    case 2:
      return (
        sign |
        (BigInt(1020 + random.below(64)) << 52n) |
        ((random.u64() >> 12n) & -(1n << BigInt(random.below(52))) & 0xfffffffffffffn)
      );
    case 3: // around the ranges of binary32
      return sign | (BigInt(random.pick([1023 - 150, 1023 - 127, 1023 + 126]) + random.below(4)) << 52n) | (random.u64() >> 12n);
    default:
      return random.u64();
  }
}

/** Sign and exponent (16 bits), significand (64 bits) of a double extended value: also the encodings nobody should produce. */
export function extended80(random: Random): { exponent: number; significand: bigint } {
  const sign = random.chance(0.5) ? 0x8000 : 0;
  const top = 1n << 63n;
  switch (random.below(14)) {
    case 0:
      return { exponent: sign, significand: 0n };
    case 1:
      return { exponent: sign | 0x3fff, significand: top };
    case 2:
      return { exponent: sign | 0x7fff, significand: top };
    case 3: // NaN, quiet or signalling
      return { exponent: sign | 0x7fff, significand: top | (random.u64() >> (random.chance(0.5) ? 1n : 2n)) | 1n };
    case 4: // denormal, pseudo-denormal
      return {
        exponent: sign,
        significand: random.chance(0.3) ? top | random.u64() : random.u64() >> BigInt(1 + random.below(62)),
      };
    case 5: // unnormal, pseudo-infinity, pseudo-NaN
      return random.chance(0.3)
        ? { exponent: sign | random.pick([0x7fff, 0x3fff, 1]), significand: random.u64() >> 1n }
        : { exponent: sign | 0x3fff, significand: top | random.u64() };
    case 6: // border of overflow and of underflow
      return {
        exponent: sign | random.pick([1, 2, 0x7ffe, 0x7ffd]),
        significand: random.pick([top, 0xffffffffffffffffn, top | random.u64()]),
      };
    case 7: // integers
      return {
        exponent: sign | (0x3fff + random.below(66)),
        significand: top | (random.u64() & -(1n << BigInt(random.below(64))) & 0xffffffffffffffffn),
      };
    case 8: // borders of the integer formats
      return {
        exponent: sign | (0x3fff + random.pick([14, 15, 30, 31, 62, 63])),
        significand: random.pick([
          top,
          top | 1n,
          0xffffffffffffffffn,
          0xffff800000000000n,
          0xffffffff00000000n,
          0xfffffffe00000000n,
        ]),
      };
    case 9: // around binary64's and binary32's ranges
      return {
        exponent: sign | (0x3fff + random.pick([-1075, -1023, 1022, -150, -127, 126]) + random.below(4)),
        significand: top | random.u64(),
      };
    default:
      return {
        exponent: sign | (0x3fff - 20 + random.below(40)),
        significand:
          top | ((random.chance(0.5) ? random.u64() : random.u64() & -(1n << BigInt(random.below(63)))) & 0xffffffffffffffffn),
      };
  }
}

/** Offset in the data area of 16 packed BCD numbers, 16 bytes apart: the only memory FBLD reads (other digits are undefined). */
export const BCD_OFFSET = DATA_SIZE - 256;

/** The memory of a seed: 16-byte slots of one kind each. */
export function memoryImage(seed: number): Uint8Array {
  const random = new Generator(seed ^ 0x5eed);
  const image = new Uint8Array(DATA_SIZE);
  const view = new DataView(image.buffer);
  for (let at = 0; at < DATA_SIZE; at += 16) {
    const kind = random.below(8);
    for (let i = 0; i < 16; i += 4) view.setUint32(at + i, random.u32(), true);
    if (kind < 2) for (let i = 0; i < 16; i += 4) view.setUint32(at + i, binary32(random), true);
    else if (kind < 4) for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, binary64(random), true);
    else if (kind === 4) {
      const { exponent, significand } = extended80(random);
      view.setBigUint64(at, BigInt.asUintN(64, significand), true);
      view.setUint16(at + 8, exponent, true);
    } else if (kind < 7) for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, integer64(random), true);
  }
  for (let at = BCD_OFFSET; at < DATA_SIZE; at += 16) {
    for (let i = 0; i < 9; i++) image[at + i] = (random.below(10) << 4) | random.below(10);
    image[at + 9] = random.chance(0.5) ? 0x80 : 0;
  }
  return image;
}

/** What the code pages hold around a snippet: INT3. */
export const codePages = (): Uint8Array => new Uint8Array(CODE_SIZE).fill(0xcc);
