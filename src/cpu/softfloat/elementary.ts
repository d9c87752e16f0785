/**
 * Elementary functions in fixed point with FRACTION fractional bits. Arguments and results are exact rationals with a
 * sticky lowest bit; the relative error stays below 2^-150, so that after rounding to 64 bits it is far under one ulp.
 */
import { integerSqrt } from './arith.ts';
import { bitLength } from './format.ts';
import type { Float } from './format.ts';

/** sign × significand × 2^exponent; the significand's lowest bit is sticky. Zero significand: exact zero. */
export interface Real {
  readonly negative: boolean;
  readonly significand: bigint;
  readonly exponent: number;
}

const FRACTION = 320;
const F = BigInt(FRACTION);
const ONE = 1n << F;
/** Below 2^-TINY the second term of a series is under the last place of any format. */
const TINY = 70;

/** Arguments at or beyond 2^63 are out of range for sine, cosine and tangent. */
export const TRIGONOMETRIC_LIMIT = 63;

/** π with the 66 significant bits the processor reduces by (SDM vol. 1, 8.3.8), in units of 2^-64. */
const PI_66 = 0x3243f6a8885a308d3n;

const approximate = (negative: boolean, fixed: bigint): Real => ({
  negative,
  significand: (fixed << 1n) | 1n,
  exponent: -FRACTION - 1,
});

/** Σ ± t^(2k+1)/(2k+1): arctangent or its hyperbolic kin. */
function oddSeries(t: bigint, alternate: boolean): bigint {
  const square = (t * t) >> F;
  let power = t;
  let sum = t;
  for (let n = 3n; power !== 0n; n += 2n) {
    power = (power * square) >> F;
    const term = power / n;
    sum += alternate && n % 4n === 3n ? -term : term;
  }
  return sum;
}

const LN2 = 2n * oddSeries(ONE / 3n, false);
const PI = 16n * oddSeries(ONE / 5n, true) - 4n * oddSeries(ONE / 239n, true);

const fixedSqrt = (value: bigint): bigint => integerSqrt(value << F);

/** Position of the leading bit: |x| is in [2^n, 2^(n+1)). */
export const leadingBit = (x: Float): number => x.exponent + bitLength(x.significand) - 1;

/** Magnitude × 2^FRACTION; exact while the unit is not below 2^-FRACTION. */
const toFixed = (x: Float): bigint =>
  x.exponent + FRACTION >= 0 ? x.significand << BigInt(x.exponent + FRACTION) : x.significand >> BigInt(-x.exponent - FRACTION);

/** The value moved a little towards zero or away: what a first-order approximation leaves out. */
function nudged(negative: boolean, significand: bigint, exponent: number, away: boolean): Real {
  return { negative, significand: (significand << 80n) + (away ? 1n : -1n), exponent: exponent - 80 };
}

/** Sine and cosine of a finite non-zero |x| < 2^63. */
export function sineCosine(x: Float): { sine: Real; cosine: Real } {
  if (leadingBit(x) < -TINY) {
    return { sine: nudged(x.negative, x.significand, x.exponent, false), cosine: nudged(false, 1n, 0, false) };
  }
  const { quadrant, sine, cosine } = reducedSineCosine(x);
  const [s, c] = [
    [sine, cosine],
    [cosine, -sine],
    [-sine, -cosine],
    [-cosine, sine],
  ][quadrant]!;
  const signed = (value: bigint, flip: boolean) => approximate(value < 0n !== flip, value < 0n ? -value : value);
  return { sine: signed(s!, x.negative), cosine: signed(c!, false) };
}

export function tangent(x: Float): Real {
  if (leadingBit(x) < -TINY) return nudged(x.negative, x.significand, x.exponent, true);
  const { quadrant, sine, cosine } = reducedSineCosine(x);
  const [above, below] = quadrant & 1 ? [-cosine, sine] : [sine, cosine];
  const negative = above! < 0n !== below! < 0n;
  const magnitude = ((above! < 0n ? -above! : above!) << F) / (below! < 0n ? -below! : below!);
  return approximate(negative !== x.negative, magnitude);
}

/** |x| less a multiple of π/2, its sine and cosine, and the multiple modulo 4. */
function reducedSineCosine(x: Float): { quadrant: number; sine: bigint; cosine: bigint } {
  const unit = Math.min(x.exponent, -65);
  const argument = x.significand << BigInt(x.exponent - unit);
  const half = PI_66 << BigInt(-65 - unit);
  const multiple = (2n * argument + half) / (2n * half);
  const rest = (argument - multiple * half) << BigInt(FRACTION + unit);
  const square = (rest * rest) >> F;
  let sine = rest;
  let cosine = ONE;
  let term = rest;
  let cosineTerm = ONE;
  for (let n = 1n; term !== 0n && cosineTerm !== 0n; n += 2n) {
    cosineTerm = -((cosineTerm * square) >> F) / (n * (n + 1n));
    cosine += cosineTerm;
    term = -((term * square) >> F) / ((n + 1n) * (n + 2n));
    sine += term;
  }
  return { quadrant: Number(multiple & 3n), sine, cosine };
}

/** A multiple of π/4, rounded by the caller. */
export const piQuarters = (negative: boolean, quarters: number): Real => approximate(negative, (PI * BigInt(quarters)) >> 2n);

/** Arctangent of y/x with the quadrant of both, finite and not zero. */
export function arctangent(y: Float, x: Float): Real {
  const distance = leadingBit(y) - leadingBit(x);
  if (distance < -TINY) {
    if (x.negative) return approximate(y.negative, PI - 1n);
    const shift = 200n;
    const quotient = (y.significand << shift) / x.significand;
    return nudged(y.negative, quotient, y.exponent - x.exponent - Number(shift), false);
  }
  const swap = distance > 0 || (distance === 0 && toFixedRatio(y, x) > ONE);
  const angle = distance > TINY ? 1n : arctangentFixed(swap ? toFixedRatio(x, y) : toFixedRatio(y, x));
  const first = swap ? (PI >> 1n) - angle : angle;
  return approximate(y.negative, x.negative ? PI - first : first);
}

function toFixedRatio(a: Float, b: Float): bigint {
  const exponent = a.exponent - b.exponent + FRACTION;
  return exponent >= 0
    ? (a.significand << BigInt(exponent)) / b.significand
    : a.significand / (b.significand << BigInt(-exponent));
}

function arctangentFixed(t: bigint): bigint {
  let reduced = t;
  for (let i = 0; i < 3; i++) reduced = (reduced << F) / (ONE + fixedSqrt(ONE + ((reduced * reduced) >> F)));
  return oddSeries(reduced, true) << 3n;
}

/** 2^x − 1 for 0 < |x| < 1. */
export function exponentialMinusOne(x: Float): Real {
  if (leadingBit(x) < -TINY) return nudged(x.negative, x.significand * LN2, x.exponent - FRACTION, !x.negative);
  const magnitude = (toFixed(x) * LN2) >> F;
  const t = x.negative ? -magnitude : magnitude;
  let term = t;
  let sum = t;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    term = ((term * t) >> F) / n;
    sum += term;
  }
  return approximate(sum < 0n, sum < 0n ? -sum : sum);
}

/** y × log2 x for finite x > 0 and finite y, neither zero. Exact for powers of two. */
export function multipliedLogarithm(y: Float, x: Float): Real {
  const length = bitLength(x.significand);
  let power = leadingBit(x);
  // Mantissa in [1/√2, √2): 0xb505 / 2^15 is near enough to √2.
  let mantissa = x.significand << BigInt(FRACTION - length + 1);
  if (mantissa >> (F - 15n) >= 0xb505n) {
    mantissa >>= 1n;
    power++;
  }
  const whole = BigInt(power) << F;
  if (mantissa === ONE)
    return { negative: power < 0 !== y.negative, significand: y.significand * BigInt(Math.abs(power)), exponent: y.exponent };
  return times(y, whole + logarithm(mantissa - ONE));
}

/** y × log2(1 + x) for finite x > −1 and finite y, neither zero. */
export function multipliedLogarithmPlusOne(y: Float, x: Float): Real {
  if (leadingBit(x) < -TINY) {
    const quotient = ((y.significand * x.significand) << (F + 64n)) / LN2;
    return nudged(x.negative !== y.negative, quotient, y.exponent + x.exponent - 64, x.negative);
  }
  if (leadingBit(x) >= 0) {
    const unit = Math.min(x.exponent, 0);
    const sum = (x.significand << BigInt(x.exponent - unit)) + (1n << BigInt(-unit));
    return multipliedLogarithm(y, { ...x, negative: false, significand: sum, exponent: unit });
  }
  return times(y, logarithm(x.negative ? -toFixed(x) : toFixed(x)));
}

/** log2(1 + d), −1 < d, by 2 artanh(d / (2 + d)); quick for |d| < 1/2. */
function logarithm(d: bigint): bigint {
  const t = (d << F) / (2n * ONE + d);
  const magnitude = 2n * oddSeries(t < 0n ? -t : t, false);
  const result = (magnitude << F) / LN2;
  return t < 0n ? -result : result;
}

function times(y: Float, fixed: bigint): Real {
  const magnitude = fixed < 0n ? -fixed : fixed;
  return {
    negative: fixed < 0n !== y.negative,
    significand: ((y.significand * magnitude) << 1n) | 1n,
    exponent: y.exponent - FRACTION - 1,
  };
}
