/** x87 arithmetic, comparison and examination (SDM vol. 1, 8.3.4 to 8.3.6). Each leaves the end to X87.finish. */
import { add, divide, multiply, remainder, squareRoot } from '../softfloat/arith.ts';
import { compare, roundToIntegral, Relation } from '../softfloat/convert.ts';
import { FloatFlag } from '../softfloat/env.ts';
import { bitLength, extended80, isNan, packInfinity, packZero } from '../softfloat/format.ts';
import type { Float } from '../softfloat/format.ts';
import { Fsw } from './state.ts';
import { INDEFINITE } from './x87.ts';
import type { X87 } from './x87.ts';

/** Condition codes to put into the status word; undefined: unchanged. */
export type Conditions = number | undefined;

/** By the reg field of the opcode: x is ST(0), y the other operand. */
const ARITHMETIC = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const;
export type Arithmetic = Exclude<(typeof ARITHMETIC)[number], 'fcom' | 'fcomp'>;

function compute(f: X87, which: Arithmetic, x: Float, y: Float): bigint {
  const { env, precision } = f;
  switch (which) {
    case 'fadd':
      return add(env, extended80, x, y, false, precision);
    case 'fmul':
      return multiply(env, extended80, x, y, precision);
    case 'fsub':
      return add(env, extended80, x, y, true, precision);
    case 'fsubr':
      return add(env, extended80, y, x, true, precision);
    case 'fdiv':
      return divide(env, extended80, x, y, precision);
    case 'fdivr':
      return divide(env, extended80, y, x, precision);
  }
}

/** ST(0) op ST(i) into ST(destination), which is 0 or i. */
export function arithmeticRegister(f: X87, which: Arithmetic, i: number, destination: number, pops: number): void {
  if (f.isEmpty(0) || f.isEmpty(i)) {
    if (f.stackUnderflow()) f.settle(destination, INDEFINITE, pops);
    return;
  }
  f.settle(destination, compute(f, which, f.value(0), f.value(i)), pops);
}

export function arithmeticMemory(f: X87, which: Arithmetic, source: Float): void {
  if (f.isEmpty(0)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return;
  }
  f.settle(0, compute(f, which, f.value(0), source));
}

const RELATION_BITS: Record<Relation, number> = {
  [Relation.greater]: 0,
  [Relation.less]: Fsw.c0,
  [Relation.equal]: Fsw.c3,
  [Relation.unordered]: Fsw.c0 | Fsw.c2 | Fsw.c3,
};

/** FCOM, FUCOM and kin. `other`: undefined when its register is empty. An unmasked exception only stops the pops. */
export function compareWith(f: X87, other: Float | undefined, signaling: boolean, pops: number): number {
  let bits: number = Fsw.c0 | Fsw.c2 | Fsw.c3;
  if (f.isEmpty(0) || !other) f.stackUnderflow();
  else bits = RELATION_BITS[compare(f.env, f.value(0), other, signaling)];
  if (!f.env.blocked) for (let n = pops; n > 0; n--) f.pop();
  return bits;
}

export const registerOrEmpty = (f: X87, i: number): Float | undefined => (f.isEmpty(i) ? undefined : f.value(i));

/** FCOMI, FUCOMI: CF, PF, ZF as 1, 4, 64. */
export function compareToFlags(f: X87, i: number, signaling: boolean, pops: number): number {
  const bits = compareWith(f, registerOrEmpty(f, i), signaling, pops);
  return (bits & Fsw.c0 ? 1 : 0) | (bits & Fsw.c2 ? 4 : 0) | (bits & Fsw.c3 ? 64 : 0);
}

const ZERO: Float = { kind: 'zero', negative: false, exponent: 0, significand: 0n, denormal: false };
export const test = (f: X87): Conditions => compareWith(f, ZERO, true, 0);

/** FXAM: class in C3, C2, C0; the sign in C1 comes through `sign`. */
export function examine(f: X87): { conditions: number; negative: boolean } {
  const value = f.value(0);
  const negative = f.bits(0) >> 79n === 1n;
  if (f.isEmpty(0)) return { conditions: Fsw.c3 | Fsw.c0, negative };
  const conditions =
    value.kind === 'unsupported'
      ? 0
      : isNan(value)
        ? Fsw.c0
        : value.kind === 'infinity'
          ? Fsw.c2 | Fsw.c0
          : value.kind === 'zero'
            ? Fsw.c3
            : value.denormal
              ? Fsw.c3 | Fsw.c2
              : Fsw.c2;
  return { conditions, negative };
}

function unary(f: X87, operation: (x: Float) => bigint): void {
  if (f.isEmpty(0)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return;
  }
  f.settle(0, operation(f.value(0)));
}

export const fsqrt = (f: X87): void => unary(f, (x) => squareRoot(f.env, extended80, x, f.precision));
export const frndint = (f: X87): void => unary(f, (x) => roundToIntegral(f.env, extended80, x));

const SIGN = 1n << 79n;
/** FCHS, FABS work on the bits of any operand. */
export function changeSign(f: X87, absolute: boolean): void {
  if (f.isEmpty(0)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return;
  }
  const bits = f.bits(0);
  f.write(0, absolute ? bits & ~SIGN : bits ^ SIGN);
}

/** FPREM, FPREM1. */
export function partialRemainder(f: X87, nearest: boolean): number {
  const kept = f.fsw & (Fsw.c0 | Fsw.c3);
  if (f.isEmpty(0) || f.isEmpty(1)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return kept;
  }
  const x = f.value(0);
  const y = f.value(1);
  const result = remainder(f.env, extended80, x, y, nearest);
  if (f.env.blocked) return kept;
  f.settle(0, result.bits);
  if (f.env.flags & FloatFlag.invalid || isNan(x) || isNan(y)) return kept;
  if (!result.complete) return Fsw.c2;
  const q = result.quotient;
  return (q & 4 ? Fsw.c0 : 0) | (q & 2 ? Fsw.c3 : 0) | (q & 1 ? Fsw.c1 : 0);
}

/** FSCALE: ST(0) × 2^trunc(ST(1)). */
export function fscale(f: X87): void {
  if (f.isEmpty(0) || f.isEmpty(1)) {
    if (f.stackUnderflow()) f.settle(0, INDEFINITE);
    return;
  }
  f.settle(0, scale(f, f.value(0), f.value(1)));
}

function scale(f: X87, x: Float, by: Float): bigint {
  const { env } = f;
  const nan = env.nanResult(extended80, x, by);
  if (nan !== undefined) return nan;
  if (by.kind === 'infinity' && ((x.kind === 'zero' && !by.negative) || (x.kind === 'infinity' && by.negative)))
    return env.invalid(extended80);
  env.noteDenormal(x, by);
  if (env.blocked) return 0n;
  if (x.kind === 'infinity' || (by.kind === 'infinity' && !by.negative)) return packInfinity(extended80, x.negative);
  if (x.kind === 'zero' || by.kind === 'infinity') return packZero(extended80, x.negative);
  let power = 0;
  if (by.kind === 'finite') {
    // A distance beyond 2^17 overflows or underflows whatever ST(0) is.
    const leading = by.exponent + bitLength(by.significand);
    const shift = BigInt(-by.exponent);
    power = leading > 17 ? 1 << 17 : Number(shift >= 0n ? by.significand >> shift : by.significand << -shift);
    if (by.negative) power = -power;
  }
  return env.round(extended80, x.negative, x.significand, x.exponent + power);
}

/** FXTRACT: exponent into ST(0), significand pushed. */
export function fxtract(f: X87): void {
  if (f.isEmpty(0) || !f.isEmpty(7)) {
    const masked = f.isEmpty(0) ? f.stackUnderflow() : f.stackOverflow();
    if (masked) {
      f.write(0, INDEFINITE);
      f.push(INDEFINITE);
    }
    return;
  }
  const { env } = f;
  const x = f.value(0);
  const nan = env.nanResult(extended80, x);
  let exponent = nan ?? 0n;
  let significand = nan ?? 0n;
  if (nan === undefined) {
    if (x.kind === 'zero') {
      env.raise(FloatFlag.zeroDivide);
      exponent = packInfinity(extended80, true);
      significand = packZero(extended80, x.negative);
    } else if (x.kind === 'infinity') {
      exponent = packInfinity(extended80, false);
      significand = packInfinity(extended80, x.negative);
    } else {
      env.noteDenormal(x);
      const length = bitLength(x.significand);
      const leading = x.exponent + length - 1;
      significand = env.round(extended80, x.negative, x.significand, 1 - length);
      exponent = leading === 0 ? packZero(extended80, false) : env.round(extended80, leading < 0, BigInt(Math.abs(leading)), 0);
    }
  }
  if (env.blocked) return;
  f.write(0, exponent);
  f.push(significand);
}
