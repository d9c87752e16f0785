/**
 * IEEE 754 binary formats as data. Encodings are bigints; an unpacked value is sign × significand × 2^exponent
 * with an integer significand, so that every operation is exact until it is rounded.
 * Source: IEEE 754-2008 §3.4; SDM vol. 1 §4.8 (NaNs, denormals), §8.2.2 (double-extended, unsupported encodings).
 */

export interface FloatFormat {
  readonly name: string;
  /** Significand bits, integer bit included. */
  readonly precision: number;
  /** Exponent bias, also the largest exponent of a finite number. */
  readonly bias: number;
  /** Exponent field with all bits set. */
  readonly exponentMask: number;
  /** Double-extended stores its integer bit. */
  readonly explicitInteger: boolean;
  /** Bit number of the sign. */
  readonly signBit: bigint;
  /** Width of the stored significand field. */
  readonly fieldBits: number;
}

function format(name: string, width: number, precision: number, explicitInteger: boolean): FloatFormat {
  const fieldBits = explicitInteger ? precision : precision - 1;
  const exponentBits = width - 1 - fieldBits;
  return {
    name,
    precision,
    bias: 2 ** (exponentBits - 1) - 1,
    exponentMask: 2 ** exponentBits - 1,
    explicitInteger,
    signBit: BigInt(width - 1),
    fieldBits,
  };
}

export const binary32 = format('binary32', 32, 24, false);
export const binary64 = format('binary64', 64, 53, false);
export const extended80 = format('double-extended', 80, 64, true);

/** unsupported: pseudo-infinity, pseudo-NaN and unnormal of the double-extended format: invalid as an operand. */
type FloatKind = 'zero' | 'finite' | 'infinity' | 'quietNan' | 'signalingNan' | 'unsupported';

export interface Float {
  readonly kind: FloatKind;
  readonly negative: boolean;
  /** Finite: of the significand's unit. */
  readonly exponent: number;
  /** Finite: integer, not necessarily normalized. NaN: aligned to 64 bits (integer bit 63, quiet bit 62). */
  readonly significand: bigint;
  /** Exponent field was zero (a pseudo-denormal counts as one). */
  readonly denormal: boolean;
}

const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;

const double = new Float64Array(1);
const doubleWords = new Uint32Array(double.buffer);

/** Number of bits up to the leading one; 0 for 0. */
export function bitLength(value: bigint): number {
  if (value === 0n) return 0;
  double[0] = Number(value);
  const high = doubleWords[1]!;
  const exponent = (high >>> 20) - 1023;
  if (exponent > 1023) {
    const digits = value.toString(16);
    return digits.length * 4 - Math.clz32(parseInt(digits[0]!, 16)) + 28;
  }
  // A power of two may be what a value just below it was rounded to.
  const isPower = (high & 0xfffff) === 0 && doubleWords[0] === 0;
  return isPower && exponent > 52 && value >> BigInt(exponent) === 0n ? exponent : exponent + 1;
}

export function isNan(value: Float): boolean {
  return value.kind === 'quietNan' || value.kind === 'signalingNan';
}

export function unpack(fmt: FloatFormat, bits: bigint): Float {
  const negative = ((bits >> fmt.signBit) & 1n) === 1n;
  const field = BigInt.asUintN(fmt.fieldBits, bits);
  const exponentField = Number(bits >> BigInt(fmt.fieldBits)) & fmt.exponentMask;
  if (exponentField === 0) {
    if (field === 0n) return { kind: 'zero', negative, exponent: 0, significand: 0n, denormal: false };
    return { kind: 'finite', negative, exponent: 2 - fmt.bias - fmt.precision, significand: field, denormal: true };
  }
  if (fmt.explicitInteger && field < INTEGER_BIT)
    return { kind: 'unsupported', negative, exponent: 0, significand: 0n, denormal: false };
  const significand = fmt.explicitInteger ? field : field | (1n << BigInt(fmt.fieldBits));
  if (exponentField === fmt.exponentMask) {
    const aligned = significand << BigInt(64 - fmt.precision);
    const kind = aligned === INTEGER_BIT ? 'infinity' : aligned & QUIET_BIT ? 'quietNan' : 'signalingNan';
    return { kind, negative, exponent: 0, significand: aligned, denormal: false };
  }
  return { kind: 'finite', negative, exponent: exponentField - fmt.bias - fmt.precision + 1, significand, denormal: false };
}

function assemble(fmt: FloatFormat, negative: boolean, exponentField: number, significand: bigint): bigint {
  return (
    ((negative ? 1n : 0n) << fmt.signBit) |
    (BigInt(exponentField) << BigInt(fmt.fieldBits)) |
    BigInt.asUintN(fmt.fieldBits, significand)
  );
}

export function packZero(fmt: FloatFormat, negative: boolean): bigint {
  return assemble(fmt, negative, 0, 0n);
}

export function packInfinity(fmt: FloatFormat, negative: boolean): bigint {
  return assemble(fmt, negative, fmt.exponentMask, 1n << BigInt(fmt.precision - 1));
}

/** The largest finite number that has `precision` significand bits. */
export function packMax(fmt: FloatFormat, negative: boolean, precision: number): bigint {
  const ones = ((1n << BigInt(precision)) - 1n) << BigInt(fmt.precision - precision);
  return assemble(fmt, negative, fmt.exponentMask - 1, ones);
}

/** A NaN made quiet, its payload cut on the right to fit. */
export function packNan(fmt: FloatFormat, value: Float): bigint {
  return assemble(fmt, value.negative, fmt.exponentMask, (value.significand | QUIET_BIT) >> BigInt(64 - fmt.precision));
}

/** The quiet NaN of a masked invalid operation ("real indefinite"). */
export function packIndefinite(fmt: FloatFormat): bigint {
  return assemble(fmt, true, fmt.exponentMask, 3n << BigInt(fmt.precision - 2));
}

/**
 * A finite number whose significand already fits: at most `fmt.precision` bits with the leading one at `leading`
 * (power of two), or a denormal with significand in units of the smallest denormal when leading < the least normal exponent.
 */
export function packFinite(fmt: FloatFormat, negative: boolean, leading: number, significand: bigint): bigint {
  return assemble(fmt, negative, leading < 1 - fmt.bias ? 0 : leading + fmt.bias, significand);
}

/** Encode exactly: for values that came out of `unpack` of the same format. */
export function pack(fmt: FloatFormat, value: Float): bigint {
  switch (value.kind) {
    case 'zero':
      return packZero(fmt, value.negative);
    case 'infinity':
      return packInfinity(fmt, value.negative);
    case 'finite': {
      const length = bitLength(value.significand);
      const leading = value.exponent + length - 1;
      const unit = Math.max(leading, 1 - fmt.bias) - fmt.precision + 1;
      return packFinite(fmt, value.negative, leading, value.significand << BigInt(value.exponent - unit));
    }
    case 'quietNan':
    case 'signalingNan':
      return assemble(fmt, value.negative, fmt.exponentMask, value.significand >> BigInt(64 - fmt.precision));
    case 'unsupported':
      throw new Error('unsupported double-extended encodings have no unpacked form');
  }
}
