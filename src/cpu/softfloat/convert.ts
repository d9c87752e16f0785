/** Conversions among formats and integers, rounding to an integral value, comparison, minimum and maximum. */
import { bitLength, isNan, pack, packInfinity, packZero } from './format.ts';
import type { Float, FloatFormat } from './format.ts';
import { FloatFlag } from './env.ts';
import type { FloatEnv, Rounding } from './env.ts';

/** To another format, rounded. */
export function convert(env: FloatEnv, to: FloatFormat, a: Float): bigint {
  const nan = env.nanResult(to, a);
  if (nan !== undefined) return nan;
  env.noteDenormal(a);
  if (env.blocked) return 0n;
  return roundTo(env, to, a);
}

/** The same without looking for NaNs and denormals: a value already known to be a number. */
export function roundTo(env: FloatEnv, to: FloatFormat, a: Float): bigint {
  if (a.kind === 'infinity') return packInfinity(to, a.negative);
  if (a.kind === 'zero') return packZero(to, a.negative);
  return env.round(to, a.negative, a.significand, a.exponent);
}

/** From a signed integer. */
export function fromInteger(env: FloatEnv, to: FloatFormat, value: bigint): bigint {
  if (value === 0n) return packZero(to, false);
  return env.round(to, value < 0n, value < 0n ? -value : value, 0);
}

/**
 * To a signed integer of `width` bits. NaN, infinity and what does not fit: invalid, and undefined (the caller
 * stores the integer indefinite, 1 << (width − 1)).
 */
export function toInteger(env: FloatEnv, a: Float, width: number, rounding: Rounding = env.rounding): bigint | undefined {
  if (a.kind === 'zero') return 0n;
  if (a.kind === 'finite' && a.exponent + bitLength(a.significand) <= width + 1) {
    const value = roundedInteger(env, a, rounding);
    if (value >= -(1n << BigInt(width - 1)) && value < 1n << BigInt(width - 1)) {
      if (env.inexact) env.raise(FloatFlag.precision);
      return value;
    }
  }
  env.roundedUp = false;
  env.raise(FloatFlag.invalid);
  return undefined;
}

/** Finite value to the nearest integer in the direction asked; env.inexact and env.roundedUp tell about it. */
function roundedInteger(env: FloatEnv, a: Float, rounding: Rounding): bigint {
  const saved = env.rounding;
  env.rounding = rounding;
  const magnitude = env.cut(a.negative, a.significand, -a.exponent);
  env.rounding = saved;
  return a.negative ? -magnitude : magnitude;
}

/** FRNDINT: an integral value in the same format. */
export function roundToIntegral(env: FloatEnv, fmt: FloatFormat, a: Float): bigint {
  const nan = env.nanResult(fmt, a);
  if (nan !== undefined) return nan;
  env.noteDenormal(a);
  if (env.blocked) return 0n;
  if (a.kind !== 'finite' || a.exponent >= 0) return pack(fmt, a);
  const magnitude = env.cut(a.negative, a.significand, -a.exponent);
  if (env.inexact) env.raise(FloatFlag.precision);
  const roundedUp = env.roundedUp;
  const bits = magnitude === 0n ? packZero(fmt, a.negative) : env.round(fmt, a.negative, magnitude, 0);
  env.roundedUp = roundedUp;
  return bits;
}

export const Relation = { less: 0, equal: 1, greater: 2, unordered: 3 } as const;
export type Relation = (typeof Relation)[keyof typeof Relation];

/** Compare; a quiet NaN is invalid only when `signaling`. */
export function compare(env: FloatEnv, a: Float, b: Float, signaling: boolean): Relation {
  if (a.kind === 'unsupported' || b.kind === 'unsupported') {
    env.raise(FloatFlag.invalid);
    return Relation.unordered;
  }
  if (isNan(a) || isNan(b)) {
    if (signaling || a.kind === 'signalingNan' || b.kind === 'signalingNan') env.raise(FloatFlag.invalid);
    return Relation.unordered;
  }
  env.noteDenormal(a, b);
  const order = orderOf(a, b);
  return order < 0 ? Relation.less : order > 0 ? Relation.greater : Relation.equal;
}

function orderOf(a: Float, b: Float): number {
  if (a.kind === 'zero' && b.kind === 'zero') return 0;
  if (a.kind === 'zero') return b.negative ? 1 : -1;
  if (b.kind === 'zero' || a.negative !== b.negative) return a.negative ? -1 : 1;
  return a.negative ? -magnitudeOrder(a, b) : magnitudeOrder(a, b);
}

function magnitudeOrder(a: Float, b: Float): number {
  if (a.kind === 'infinity' || b.kind === 'infinity') return Number(a.kind === 'infinity') - Number(b.kind === 'infinity');
  const distance = a.exponent + bitLength(a.significand) - b.exponent - bitLength(b.significand);
  if (distance !== 0) return distance;
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.significand << BigInt(a.exponent - exponent);
  const right = b.significand << BigInt(b.exponent - exponent);
  return left < right ? -1 : left > right ? 1 : 0;
}

/** MINPS and its kin: the second operand for a NaN (invalid even when quiet) and for two zeros; bits unchanged but for DAZ. */
export function minMax(env: FloatEnv, fmt: FloatFormat, aBits: bigint, bBits: bigint, max: boolean): bigint {
  const a = env.operand(fmt, aBits);
  const b = env.operand(fmt, bBits);
  const second = b.kind === 'zero' ? packZero(fmt, b.negative) : bBits;
  if (isNan(a) || isNan(b)) {
    env.raise(FloatFlag.invalid);
    return second;
  }
  const relation = compare(env, a, b, true);
  const first = a.kind === 'zero' ? packZero(fmt, a.negative) : aBits;
  return relation === (max ? Relation.greater : Relation.less) ? first : second;
}
