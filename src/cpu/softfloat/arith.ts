/** Add, subtract, multiply, divide, square root, remainder. Results are encodings of `fmt`; flags go to the environment. */
import { bitLength, pack, packInfinity, packZero } from './format.ts';
import type { Float, FloatFormat } from './format.ts';
import { FloatFlag, Rounding } from './env.ts';
import type { FloatEnv } from './env.ts';

/** Spare low bits of an inexact intermediate: more than any precision needs below the last kept bit. */
const GUARD = 70n;
/** Beyond this distance of leading bits the smaller addend is only a sticky bit. */
const FAR = 140;

/** a + b, or a − b. `precision`: significand bits kept (the x87's precision control). */
export function add(env: FloatEnv, fmt: FloatFormat, a: Float, b: Float, subtract = false, precision = fmt.precision): bigint {
  const nan = env.nanResult(fmt, a, b);
  if (nan !== undefined) return nan;
  const bNegative = b.negative !== subtract;
  if (a.kind === 'infinity' && b.kind === 'infinity' && a.negative !== bNegative) return env.invalid(fmt);
  env.noteDenormal(a, b);
  if (env.blocked) return 0n;
  if (a.kind === 'infinity') return packInfinity(fmt, a.negative);
  if (b.kind === 'infinity') return packInfinity(fmt, bNegative);
  if (a.kind === 'zero' && b.kind === 'zero')
    return packZero(fmt, a.negative === bNegative ? a.negative : env.rounding === Rounding.down);
  if (b.kind === 'zero') return env.round(fmt, a.negative, a.significand, a.exponent, precision);
  if (a.kind === 'zero') return env.round(fmt, bNegative, b.significand, b.exponent, precision);
  const distance = a.exponent + bitLength(a.significand) - b.exponent - bitLength(b.significand);
  if (distance > FAR) return addTail(env, fmt, a, a.negative, a.negative === bNegative, precision);
  if (distance < -FAR) return addTail(env, fmt, b, bNegative, a.negative === bNegative, precision);
  const exponent = Math.min(a.exponent, b.exponent);
  const left = a.significand << BigInt(a.exponent - exponent);
  const right = b.significand << BigInt(b.exponent - exponent);
  const sum = (a.negative ? -left : left) + (bNegative ? -right : right);
  if (sum === 0n) return packZero(fmt, env.rounding === Rounding.down);
  return env.round(fmt, sum < 0n, sum < 0n ? -sum : sum, exponent, precision);
}

function addTail(env: FloatEnv, fmt: FloatFormat, large: Float, negative: boolean, away: boolean, precision: number): bigint {
  const wide = large.significand << GUARD;
  return env.round(fmt, negative, away ? wide + 1n : wide - 1n, large.exponent - Number(GUARD), precision);
}

export function multiply(env: FloatEnv, fmt: FloatFormat, a: Float, b: Float, precision = fmt.precision): bigint {
  const nan = env.nanResult(fmt, a, b);
  if (nan !== undefined) return nan;
  const negative = a.negative !== b.negative;
  if ((a.kind === 'infinity' && b.kind === 'zero') || (a.kind === 'zero' && b.kind === 'infinity')) return env.invalid(fmt);
  env.noteDenormal(a, b);
  if (env.blocked) return 0n;
  if (a.kind === 'infinity' || b.kind === 'infinity') return packInfinity(fmt, negative);
  if (a.kind === 'zero' || b.kind === 'zero') return packZero(fmt, negative);
  return env.round(fmt, negative, a.significand * b.significand, a.exponent + b.exponent, precision);
}

export function divide(env: FloatEnv, fmt: FloatFormat, a: Float, b: Float, precision = fmt.precision): bigint {
  const nan = env.nanResult(fmt, a, b);
  if (nan !== undefined) return nan;
  const negative = a.negative !== b.negative;
  if (a.kind === b.kind && a.kind !== 'finite') return env.invalid(fmt);
  if (b.kind === 'zero' && a.kind === 'finite') {
    env.raise(FloatFlag.zeroDivide);
    return packInfinity(fmt, negative);
  }
  env.noteDenormal(a, b);
  if (env.blocked) return 0n;
  if (a.kind === 'infinity' || b.kind === 'zero') return packInfinity(fmt, negative);
  if (a.kind === 'zero' || b.kind === 'infinity') return packZero(fmt, negative);
  const shift = 2n * GUARD;
  const numerator = a.significand << shift;
  const quotient = numerator / b.significand;
  const sticky = quotient * b.significand === numerator ? 0n : 1n;
  return env.round(fmt, negative, (quotient << 1n) | sticky, a.exponent - b.exponent - Number(shift) - 1, precision);
}

export function squareRoot(env: FloatEnv, fmt: FloatFormat, a: Float, precision = fmt.precision): bigint {
  const nan = env.nanResult(fmt, a);
  if (nan !== undefined) return nan;
  if (a.kind === 'zero') return packZero(fmt, a.negative);
  if (a.negative) return env.invalid(fmt);
  env.noteDenormal(a);
  if (env.blocked) return 0n;
  if (a.kind === 'infinity') return packInfinity(fmt, false);
  const shift = 2 * Number(GUARD) + (a.exponent & 1);
  const radicand = a.significand << BigInt(shift);
  const root = integerSqrt(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return env.round(fmt, false, (root << 1n) | sticky, (a.exponent - shift) / 2 - 1, precision);
}

/** Largest integer whose square is not above `value`. */
export function integerSqrt(value: bigint): bigint {
  if (value < 2n) return value;
  let guess = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (guess + value / guess) >> 1n;
    if (next >= guess) return guess;
    guess = next;
  }
}

/** What FPREM and FPREM1 give. */
export interface Remainder {
  readonly bits: bigint;
  /** Low bits of the quotient's magnitude; meaningful when complete. */
  readonly quotient: number;
  /** False: only a partial reduction, C2 is to be set. */
  readonly complete: boolean;
}

/**
 * a − b × q with q the quotient truncated (FPREM) or rounded to nearest even (FPREM1). A distance of exponents of
 * 64 and more is reduced by 32..63 per step, as the processor does.
 */
export function remainder(env: FloatEnv, fmt: FloatFormat, a: Float, b: Float, nearest: boolean): Remainder {
  const done = (bits: bigint): Remainder => ({ bits, quotient: 0, complete: true });
  const nan = env.nanResult(fmt, a, b);
  if (nan !== undefined) return done(nan);
  if (a.kind === 'infinity' || b.kind === 'zero') return done(env.invalid(fmt));
  env.noteDenormal(a, b);
  if (env.blocked) return done(0n);
  if (a.kind === 'zero') return done(packZero(fmt, a.negative));
  if (b.kind === 'infinity') return done(pack(fmt, a));
  const distance = a.exponent + bitLength(a.significand) - b.exponent - bitLength(b.significand);
  const exponent = Math.min(a.exponent, b.exponent);
  const divisor = b.significand << BigInt(b.exponent - exponent);
  if (distance < 0 && !nearest) return done(env.round(fmt, a.negative, a.significand, a.exponent));
  const dividend = a.significand << BigInt(a.exponent - exponent);
  if (distance >= 64) {
    const step = BigInt(distance - ((distance & 31) | 32));
    const part = dividend % (divisor << step);
    return { bits: exact(env, fmt, a.negative, part, exponent), quotient: 0, complete: false };
  }
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let negative = a.negative;
  if (nearest && (2n * rest > divisor || (2n * rest === divisor && (quotient & 1n) === 1n))) {
    quotient += 1n;
    rest = divisor - rest;
    negative = !negative;
  }
  const bits = rest === 0n ? packZero(fmt, a.negative) : exact(env, fmt, negative, rest, exponent);
  return { bits, quotient: Number(quotient & 7n), complete: true };
}

function exact(env: FloatEnv, fmt: FloatFormat, negative: boolean, significand: bigint, exponent: number): bigint {
  return significand === 0n ? packZero(fmt, negative) : env.round(fmt, negative, significand, exponent);
}
