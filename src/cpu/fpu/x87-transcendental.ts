/** x87 transcendental instructions (SDM vol. 1, 8.3.7 to 8.3.9; special operands: SDM vol. 2, each instruction's table). */
import {
  arctangent,
  exponentialMinusOne,
  leadingBit,
  multipliedLogarithm,
  multipliedLogarithmPlusOne,
  piQuarters,
  sineCosine,
  tangent,
  TRIGONOMETRIC_LIMIT,
} from '../softfloat/elementary.ts';
import type { Real } from '../softfloat/elementary.ts';
import { FloatFlag } from '../softfloat/env.ts';
import { extended80, pack, packInfinity, packZero } from '../softfloat/format.ts';
import type { Float } from '../softfloat/format.ts';
import { Fsw } from './state.ts';
import { INDEFINITE } from './x87.ts';
import type { X87 } from './x87.ts';

/** Round; as on the processor a result counts as inexact even where it happens to be exact. */
function round(f: X87, value: Real): bigint {
  const bits = f.env.round(extended80, value.negative, value.significand, value.exponent);
  f.env.raise(FloatFlag.precision | (isTiny(bits) ? FloatFlag.underflow : 0));
  return bits;
}

const isTiny = (bits: bigint): boolean => BigInt.asUintN(79, bits) >> 63n === 0n;

const ONE_BITS = 0x3fff8000000000000000n;
const MINUS_ONE_BITS = 0xbfff8000000000000000n;
const MINUS_HALF_BITS = 0xbffe8000000000000000n;
const infinity = (negative: boolean) => packInfinity(extended80, negative);
const zero = (negative: boolean) => packZero(extended80, negative);

type Trigonometric = 'fsin' | 'fcos' | 'fptan' | 'fsincos';

/** FSIN, FCOS, FPTAN, FSINCOS. Results in the order of pushing; C2 when the argument is out of range, C0 and C3 stay. */
export function trigonometric(f: X87, which: Trigonometric): number {
  const kept = f.fsw & (Fsw.c0 | Fsw.c3);
  return kept | (trigonometricResult(f, which) ? 0 : Fsw.c2);
}

/** False when the argument is out of range. */
function trigonometricResult(f: X87, which: Trigonometric): boolean {
  const pushes = which === 'fptan' || which === 'fsincos';
  if (f.isEmpty(0) || (pushes && !f.isEmpty(7))) {
    const masked = f.isEmpty(0) ? f.stackUnderflow() : f.stackOverflow();
    if (masked) {
      f.write(0, INDEFINITE);
      if (pushes) f.push(INDEFINITE);
    }
    return true;
  }
  const { env } = f;
  const x = f.value(0);
  if (x.kind === 'finite' && leadingBit(x) >= TRIGONOMETRIC_LIMIT) return false;
  const special = env.nanResult(extended80, x) ?? (x.kind === 'infinity' ? env.invalid(extended80) : undefined);
  if (special !== undefined) {
    if (env.blocked) return true;
    f.write(0, special);
    if (pushes) f.push(special);
    return true;
  }
  env.noteDenormal(x);
  if (env.blocked) return true;
  const sineOf = () => (x.kind === 'zero' ? zero(x.negative) : round(f, sineCosine(x).sine));
  const cosineOf = () => (x.kind === 'zero' ? ONE_BITS : round(f, sineCosine(x).cosine));
  switch (which) {
    case 'fsin':
      f.write(0, sineOf());
      break;
    case 'fcos':
      f.write(0, cosineOf());
      break;
    case 'fptan':
      f.write(0, x.kind === 'zero' ? zero(x.negative) : round(f, tangent(x)));
      f.push(ONE_BITS);
      break;
    case 'fsincos': {
      f.write(0, sineOf());
      const bits = cosineOf();
      f.push(bits);
    }
  }
  return true;
}

/** A function of ST(0) and ST(1) into ST(1), then a pop. */
function binary(f: X87, compute: (y: Float, x: Float) => bigint): void {
  if (f.isEmpty(0) || f.isEmpty(1)) {
    if (f.stackUnderflow()) f.settle(1, INDEFINITE, 1);
    return;
  }
  const x = f.value(0);
  const y = f.value(1);
  f.settle(1, f.env.nanResult(extended80, x, y) ?? compute(y, x), 1);
}

export const fpatan = (f: X87): void =>
  binary(f, (y, x) => {
    f.env.noteDenormal(x, y);
    if (f.env.blocked) return 0n;
    const quarters = (n: number) => round(f, piQuarters(y.negative, n));
    if (y.kind === 'infinity') return quarters(x.kind !== 'infinity' ? 2 : x.negative ? 3 : 1);
    if (y.kind === 'zero' || x.kind === 'infinity') return x.negative ? quarters(4) : zero(y.negative);
    if (x.kind === 'zero') return quarters(2);
    return round(f, arctangent(y, x));
  });

export const fyl2x = (f: X87): void =>
  binary(f, (y, x) => {
    const { env } = f;
    if (x.kind === 'zero') {
      if (y.kind === 'zero') return env.invalid(extended80);
      if (y.kind === 'finite') env.raise(FloatFlag.zeroDivide);
      return infinity(!y.negative);
    }
    if (x.negative) return env.invalid(extended80);
    const isOne = x.kind === 'finite' && pack(extended80, x) === ONE_BITS;
    if ((x.kind === 'infinity' && y.kind === 'zero') || (isOne && y.kind === 'infinity')) return env.invalid(extended80);
    env.noteDenormal(x, y);
    if (env.blocked) return 0n;
    const below = x.kind === 'finite' && leadingBit(x) < 0;
    if (x.kind === 'infinity' || y.kind === 'infinity') return infinity(y.negative !== below);
    if (isOne) return zero(y.negative);
    if (y.kind === 'zero') return zero(y.negative !== below);
    return round(f, multipliedLogarithm(y, x));
  });

/** Below −(1 − √½) and above √2 − 1 the result is undefined by the manual; at −1 and below ST(0) becomes the result. */
export const fyl2xp1 = (f: X87): void =>
  binary(f, (y, x) => {
    const { env } = f;
    if (x.negative && x.kind === 'infinity') return env.invalid(extended80);
    if ((x.kind === 'zero' && y.kind === 'infinity') || (y.kind === 'zero' && x.kind === 'infinity'))
      return env.invalid(extended80);
    env.noteDenormal(x, y);
    if (env.blocked) return 0n;
    const negative = x.negative !== y.negative;
    if (x.kind === 'infinity' || y.kind === 'infinity') return infinity(negative);
    if (x.kind === 'zero' || y.kind === 'zero') return zero(negative);
    if (x.negative && leadingBit(x) >= 0) {
      env.raise(FloatFlag.precision);
      return pack(extended80, x);
    }
    return round(f, multipliedLogarithmPlusOne(y, x));
  });

/** Outside −1 … +1 the result is undefined by the manual; the operand stays then. */
export function f2xm1(f: X87): void {
  if (f.isEmpty(0)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return;
  }
  const { env } = f;
  const x = f.value(0);
  let bits = env.nanResult(extended80, x);
  if (bits === undefined) {
    env.noteDenormal(x);
    if (env.blocked) return;
    if (x.kind === 'infinity') bits = x.negative ? MINUS_ONE_BITS : infinity(false);
    else if (x.kind === 'zero') bits = f.bits(0);
    else if (leadingBit(x) >= 0) {
      env.raise(FloatFlag.precision);
      bits = f.bits(0) === MINUS_ONE_BITS ? MINUS_HALF_BITS : f.bits(0);
    } else bits = round(f, exponentialMinusOne(x));
  }
  f.settle(0, bits);
}
