/**
 * Floating-point environment: rounding control, exception masks and flags, and the one place that rounds.
 * Flag bits are those of the x87 status word and of MXCSR (SDM vol. 1 §8.1.3, §10.2.3).
 */
import { bitLength, packFinite, packIndefinite, packInfinity, packMax, packNan, packZero, isNan, unpack } from './format.ts';
import type { Float, FloatFormat } from './format.ts';

export const FloatFlag = { invalid: 1, denormal: 2, zeroDivide: 4, overflow: 8, underflow: 16, precision: 32 } as const;
export const ALL_FLAGS = 0x3f;
/** Found before the operation: when one of them is unmasked there is no result and no flag of rounding. */
export const PRE_COMPUTATION = FloatFlag.invalid | FloatFlag.denormal | FloatFlag.zeroDivide;

/** Rounding control as encoded in FCW and MXCSR. */
export const Rounding = { nearest: 0, down: 1, up: 2, towardZero: 3 } as const;
export type Rounding = (typeof Rounding)[keyof typeof Rounding];

/** Which operand's NaN survives, and what an unmasked overflow or underflow leaves: SDM vol. 1 tables 4-7, §8.5, §11.5. */
export type FloatUnit = 'x87' | 'sse';

export class FloatEnv {
  readonly unit: FloatUnit;
  rounding: Rounding = Rounding.nearest;
  /** A set bit masks the exception. */
  masks = ALL_FLAGS;
  flushToZero = false;
  denormalsAreZero = false;
  /** Exceptions of the operation, masked or not. */
  flags = 0;
  /** The last rounding went away from zero (C1 of the x87). */
  roundedUp = false;

  constructor(unit: FloatUnit) {
    this.unit = unit;
  }

  begin(): void {
    this.flags = 0;
    this.roundedUp = false;
  }

  raise(flags: number): void {
    this.flags |= flags;
  }

  /** An unmasked exception stops the operation before it computes. */
  get blocked(): boolean {
    return (this.flags & ~this.masks & PRE_COMPUTATION) !== 0;
  }

  /** Unpack an operand; DAZ makes a denormal a zero of its sign. */
  operand(fmt: FloatFormat, bits: bigint): Float {
    const value = unpack(fmt, bits);
    return value.denormal && this.denormalsAreZero ? { ...value, kind: 'zero', significand: 0n, denormal: false } : value;
  }

  invalid(fmt: FloatFormat): bigint {
    this.raise(FloatFlag.invalid);
    return packIndefinite(fmt);
  }

  noteDenormal(a: Float, b?: Float): void {
    if (a.denormal || b?.denormal) this.raise(FloatFlag.denormal);
  }

  /** The result when an operand is a NaN or unsupported, with the invalid flag where due; undefined otherwise. */
  nanResult(fmt: FloatFormat, a: Float, b: Float = a): bigint | undefined {
    if (a.kind === 'unsupported' || b.kind === 'unsupported') return this.invalid(fmt);
    if (!isNan(a) && !isNan(b)) return undefined;
    if (a.kind === 'signalingNan' || b.kind === 'signalingNan') this.raise(FloatFlag.invalid);
    return packNan(fmt, this.unit === 'sse' ? (isNan(a) ? a : b) : x87Nan(a, b));
  }

  /**
   * Round sign × significand × 2^exponent (significand > 0; a lost tail must be ored into its lowest bit and at least
   * two bits below `precision` present) into the format with `precision` bits.
   * Tininess is detected after rounding. Unmasked overflow and underflow of the x87 leave the result with its
   * exponent moved by 3 × 2^13, or a zero or infinity when that is still out of range; SSE then has no result.
   */
  round(fmt: FloatFormat, negative: boolean, significand: bigint, exponent: number, precision = fmt.precision): bigint {
    const bias = fmt.bias;
    const wrap = 0x6000;
    const length = bitLength(significand);
    let unit = exponent + length - precision;
    let kept = this.cut(negative, significand, unit - exponent);
    let inexact = this.inexact;
    let leading = unit + bitLength(kept) - 1;
    if (leading < 1 - bias) {
      if (!(this.masks & FloatFlag.underflow)) {
        this.raise(FloatFlag.underflow | (inexact ? FloatFlag.precision : 0));
        if (fmt.explicitInteger && leading + wrap >= 1 - bias) return this.place(fmt, negative, kept, unit + wrap);
        if (fmt.explicitInteger) this.raise(FloatFlag.precision);
        this.roundedUp = false;
        return packZero(fmt, negative);
      }
      if (this.flushToZero && this.masks & FloatFlag.underflow) {
        this.raise(FloatFlag.underflow | FloatFlag.precision);
        return packZero(fmt, negative);
      }
      unit = 2 - bias - precision;
      kept = this.cut(negative, significand, unit - exponent);
      inexact = this.inexact;
      if (inexact) this.raise(FloatFlag.underflow | FloatFlag.precision);
      return kept === 0n ? packZero(fmt, negative) : this.place(fmt, negative, kept, unit);
    }
    if (leading > bias) {
      const unmasked = !(this.masks & FloatFlag.overflow);
      this.raise(FloatFlag.overflow);
      if (unmasked && !(fmt.explicitInteger && leading - wrap > bias)) {
        if (inexact) this.raise(FloatFlag.precision);
        return fmt.explicitInteger ? this.place(fmt, negative, kept, unit - wrap) : packInfinity(fmt, negative);
      }
      this.raise(FloatFlag.precision);
      const toInfinity =
        (unmasked && fmt.explicitInteger) ||
        this.rounding === Rounding.nearest ||
        this.rounding === (negative ? Rounding.down : Rounding.up);
      this.roundedUp = toInfinity;
      return toInfinity ? packInfinity(fmt, negative) : packMax(fmt, negative, precision);
    }
    if (inexact) this.raise(FloatFlag.precision);
    leading = unit + bitLength(kept) - 1;
    return this.place(fmt, negative, kept, unit);
  }

  /** Round to an integer multiple of 2^drop: gives significand / 2^drop rounded; sets `inexact` and `roundedUp`. */
  cut(negative: boolean, significand: bigint, drop: number): bigint {
    this.roundedUp = false;
    this.inexact = false;
    if (drop <= 0) return significand << BigInt(-drop);
    const shift = BigInt(drop);
    const kept = significand >> shift;
    const rest = significand - (kept << shift);
    if (rest === 0n) return kept;
    this.inexact = true;
    const half = 1n << (shift - 1n);
    const up =
      this.rounding === Rounding.nearest
        ? rest > half || (rest === half && (kept & 1n) === 1n)
        : this.rounding === Rounding.up
          ? !negative
          : this.rounding === Rounding.down && negative;
    this.roundedUp = up;
    return up ? kept + 1n : kept;
  }

  /** The last `cut` dropped something. */
  inexact = false;

  private place(fmt: FloatFormat, negative: boolean, significand: bigint, unit: number): bigint {
    const leading = unit + bitLength(significand) - 1;
    const fieldUnit = Math.max(leading, 1 - fmt.bias) - fmt.precision + 1;
    const shift = unit - fieldUnit;
    return packFinite(fmt, negative, leading, shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(-shift));
  }
}

/** SDM vol. 1 table 4-7: the larger significand wins, a quiet NaN beats a signaling one. */
function x87Nan(a: Float, b: Float): Float {
  if (!isNan(b)) return a;
  if (!isNan(a)) return b;
  if (a.kind !== b.kind) return a.kind === 'quietNan' ? a : b;
  if (a.significand !== b.significand) return a.significand > b.significand ? a : b;
  return a.negative ? b : a;
}
