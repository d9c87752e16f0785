/**
 * SSE and SSE2 floating point. The native wasm operation is used when it is known to give result and flags of the
 * processor: rounding to nearest, all exceptions masked, no DAZ or FTZ, the precision flag already set, operands and
 * result such that no other flag can be raised. Otherwise operands go to the exact way (fpu/sse-operations.ts).
 */
import { CB_FPU } from '../memory/control-block.ts';
import { sseOperationNumber } from '../fpu/sse-operations.ts';
import { FPU_CONDITION, FPU_MXCSR, FPU_RFLAGS, FPU_SSE_A, FPU_SSE_B, FPU_SSE_RESULT } from '../fpu/state.ts';
import { choose, f32, f64, i32, i64, nop, seq, when, type F64, type I32, type Stmt, type V128 } from '../wasm/expr.ts';
import { after, type EmitContext, type Operand } from './context.ts';
import { setStatus } from './flags.ts';
import { checkMmx, enterMmx, loadVectorCell, storeVectorCell, writeMmx } from './fpu-state.ts';
import type { Emit } from './integer.ts';
import {
  bits,
  f32x4,
  f64x2,
  fromLow64,
  i32x4,
  i64x2,
  laneF32,
  laneF64,
  laneI64,
  repeat32,
  repeat64,
  withF32,
  withF64,
  zero128,
  type VectorBinary,
  type VectorUnary,
} from './simd.ts';

const PRECISION_FLAG = 0x20;
const FLAGS = 0x3f;
const controlBits = (c: EmitContext, flags: number): I32 => i32.and(c.load32(CB_FPU + FPU_MXCSR), i32.const(0xffff & ~flags));
/** All exceptions masked, round to nearest, no FTZ, no DAZ. */
const plainControl = (c: EmitContext): I32 => i32.eq(controlBits(c, FLAGS), i32.const(0x1f80));
const precisionSet = (c: EmitContext): I32 => i32.and(c.load32(CB_FPU + FPU_MXCSR), i32.const(PRECISION_FLAG));
/** And PE set: an inexact result changes nothing. */
const quiet = (c: EmitContext): I32 => i32.eq(controlBits(c, FLAGS & ~PRECISION_FLAG), i32.const(0x1f80 | PRECISION_FLAG));

/** The exact way: result in FPU_SSE_RESULT; leaves the instruction on an unmasked exception. */
function exactly(c: EmitContext, name: string, a: V128, b: V128): Stmt {
  return seq(
    storeVectorCell(c, CB_FPU + FPU_SSE_A, a),
    storeVectorCell(c, CB_FPU + FPU_SSE_B, b),
    c.helper('sseExact', sseOperationNumber(name)),
  );
}
const exactVector = (c: EmitContext, name: string, a: V128, b: V128): V128 =>
  after(exactly(c, name, a, b), loadVectorCell(c, CB_FPU + FPU_SSE_RESULT));

// Tests on encodings. Magnitude: the bits without the sign.

const magnitude32 = (x: V128): V128 => bits.and(x, repeat32(0x7fffffff));
/** No lane is denormal (infinities and NaNs pass). */
const noDenormal32 = (x: V128): V128 => i32x4.geU(i32x4.sub(magnitude32(x), repeat32(1)), repeat32(0x7fffff));
const finite32 = (x: V128): V128 => i32x4.ltU(magnitude32(x), repeat32(0x7f800000));
/** Finite and above the least normal number, which a tiny result can round up to. */
const normal32 = (x: V128): V128 => i32x4.ltU(i32x4.sub(magnitude32(x), repeat32(0x800001)), repeat32(0x7effffff));
const isZero32 = (x: V128): V128 => i32x4.eq(magnitude32(x), zero128);

// 64-bit lanes have only signed comparisons: magnitudes are not negative.
const SMALLEST_NORMAL_64 = 1n << 52n;
const INFINITY_64 = 0x7ffn << 52n;
const magnitude64 = (x: V128): V128 => bits.and(x, repeat64((1n << 63n) - 1n));
const isZero64 = (x: V128): V128 => i64x2.eq(magnitude64(x), zero128);
const noDenormal64 = (x: V128): V128 => bits.or(i64x2.gtS(magnitude64(x), repeat64(SMALLEST_NORMAL_64 - 1n)), isZero64(x));
const finite64 = (x: V128): V128 => i64x2.gtS(repeat64(INFINITY_64), magnitude64(x));
const normal64 = (x: V128): V128 => bits.and(i64x2.gtS(magnitude64(x), repeat64(SMALLEST_NORMAL_64)), finite64(x));

interface Lanes {
  readonly noDenormal: VectorUnary;
  readonly finite: VectorUnary;
  readonly normal: VectorUnary;
  readonly isZero: VectorUnary;
  readonly isNumber: VectorUnary;
  readonly allTrue: (x: V128) => I32;
  /** Low half of the significand is zero. */
  readonly shortSignificand: VectorUnary;
  readonly f: typeof f32x4 | typeof f64x2;
}
const LANES32: Lanes = {
  noDenormal: noDenormal32,
  finite: finite32,
  normal: normal32,
  isZero: isZero32,
  isNumber: (x) => f32x4.eq(x, x),
  allTrue: i32x4.allTrue,
  shortSignificand: (x) => i32x4.eq(bits.and(x, repeat32(0xfff)), zero128),
  f: f32x4,
};
const LANES64: Lanes = {
  noDenormal: noDenormal64,
  finite: finite64,
  normal: normal64,
  isZero: isZero64,
  isNumber: (x) => f64x2.eq(x, x),
  allTrue: i64x2.allTrue,
  shortSignificand: (x) => i64x2.eq(bits.and(x, repeat64(0x7ffffffn)), zero128),
  f: f64x2,
};

/** When a native result r of a, b raises nothing but precision. */
type Safe = (l: Lanes, r: V128, a: V128, b: V128) => V128;
/** A sum that is denormal or zero is exact. */
const safeSum: Safe = (l, r, a, b) => bits.and(l.finite(r), bits.and(l.noDenormal(a), l.noDenormal(b)));
const safeProduct: Safe = (l, r, a, b) =>
  bits.and(
    bits.or(l.normal(r), bits.and(l.isZero(r), bits.or(l.isZero(a), l.isZero(b)))),
    bits.and(l.noDenormal(a), l.noDenormal(b)),
  );
const safeQuotient: Safe = (l, r, a, b) =>
  bits.and(
    bits.or(l.normal(r), bits.and(bits.and(l.isZero(r), l.isZero(a)), l.finite(b))),
    bits.and(l.noDenormal(a), l.noDenormal(b)),
  );
const safeRoot: Safe = (l, r, _a, b) => bits.and(l.finite(r), l.noDenormal(b));

/** Lanes where a native result r of a, b is exact, so that it raises nothing even with PE clear; false when in doubt. */
type Exact = (l: Lanes, r: V128, a: V128, b: V128) => V128;
/** The rounding error of a sum, found by Knuth's sequence, is zero. */
const exactSum: Exact = ({ f }, r, a, b) => {
  const part = f.sub(r, a);
  return f.eq(f.add(f.sub(a, f.sub(r, part)), f.sub(b, part)), zero128);
};
const exactDifference: Exact = ({ f }, r, a, b) => {
  const part = f.sub(r, a);
  return f.eq(f.sub(f.sub(a, f.sub(r, part)), f.add(b, part)), zero128);
};
/** Both factors have at most half the significand's bits. */
const exactProduct: Exact = (l, _r, a, b) => l.shortSignificand(bits.or(a, b));
const exactQuotient: Exact = (l, r, a, b) => bits.and(l.f.eq(l.f.mul(r, b), a), l.shortSignificand(bits.or(r, b)));
const exactRoot: Exact = (l, r, _a, b) => bits.and(l.f.eq(l.f.mul(r, r), b), l.shortSignificand(r));

type Suffix = 'ps' | 'pd' | 'ss' | 'sd';
interface Native {
  readonly f32: VectorBinary;
  readonly f64: VectorBinary;
  readonly safe: Safe;
  readonly exact: Exact;
}
const ARITHMETIC: Record<'add' | 'sub' | 'mul' | 'div' | 'sqrt', Native> = {
  add: { f32: f32x4.add, f64: f64x2.add, safe: safeSum, exact: exactSum },
  sub: { f32: f32x4.sub, f64: f64x2.sub, safe: safeSum, exact: exactDifference },
  mul: { f32: f32x4.mul, f64: f64x2.mul, safe: safeProduct, exact: exactProduct },
  div: { f32: f32x4.div, f64: f64x2.div, safe: safeQuotient, exact: exactQuotient },
  sqrt: { f32: (_a, b) => f32x4.sqrt(b), f64: (_a, b) => f64x2.sqrt(b), safe: safeRoot, exact: exactRoot },
};

const isScalar = (suffix: Suffix) => suffix === 'ss' || suffix === 'sd';
const isSingle = (suffix: Suffix) => suffix === 'ps' || suffix === 'ss';

/** Source of a scalar operation as a vector: its lane repeated, so that every lane computes the same. */
const scalarSource = (suffix: Suffix, src: Operand): V128 =>
  suffix === 'ss' ? i32x4.splat(i32.wrap(src.read())) : i64x2.splat(src.read());
const scalarDestination = (suffix: Suffix, v: V128): V128 =>
  suffix === 'ss' ? i32x4.splat(i32.wrap(laneI64(v, 0))) : i64x2.splat(laneI64(v, 0));
const mergeScalar = (suffix: Suffix, into: V128, from: V128): V128 =>
  suffix === 'ss' ? withF32(into, 0, laneF32(from, 0)) : withF64(into, 0, laneF64(from, 0));

/** dst = op(dst, src) with the native operation where safe. `exact`: how to tell, when the result may be inexact. */
function binary(name: string, suffix: Suffix, native: VectorBinary, safe: Safe, exact?: Exact): Emit {
  const lanes = isSingle(suffix) ? LANES32 : LANES64;
  return (c, dst, src) => {
    const old = c.v128();
    const a = c.v128();
    const b = c.v128();
    const r = c.v128();
    const scalar = isScalar(suffix);
    const fits = lanes.allTrue(safe(lanes, r.get, a.get, b.get));
    return seq(
      c.checkFpu(2),
      b.set(scalar ? scalarSource(suffix, src!) : src!.readVector()),
      old.set(dst!.readVector()),
      a.set(scalar ? scalarDestination(suffix, old.get) : old.get),
      r.set(native(a.get, b.get)),
      when(
        exact
          ? i32.and(
              i32.and(plainControl(c), fits),
              choose(precisionSet(c), i32.const(1), lanes.allTrue(exact(lanes, r.get, a.get, b.get))),
            )
          : fits,
        dst!.writeVector(scalar ? mergeScalar(suffix, old.get, r.get) : r.get),
        dst!.writeVector(exactVector(c, name + suffix, old.get, b.get)),
      ),
    );
  };
}

export const arithmetic = (name: keyof typeof ARITHMETIC, suffix: Suffix): Emit =>
  binary(
    name,
    suffix,
    isSingle(suffix) ? ARITHMETIC[name].f32 : ARITHMETIC[name].f64,
    ARITHMETIC[name].safe,
    ARITHMETIC[name].exact,
  );

/** Comparisons and MIN, MAX raise nothing for operands that are neither NaN nor denormal, whatever MXCSR says. */
const safeComparison: Safe = (l, _r, a, b) =>
  bits.and(bits.and(l.isNumber(a), l.isNumber(b)), bits.and(l.noDenormal(a), l.noDenormal(b)));

/** MINPS gives the second operand unless the first is less; pmin(x, y) gives x unless y is less. */
export const minimum = (suffix: Suffix): Emit =>
  binary('min', suffix, (a, b) => (isSingle(suffix) ? f32x4 : f64x2).pmin(b, a), safeComparison);
export const maximum = (suffix: Suffix): Emit =>
  binary('max', suffix, (a, b) => (isSingle(suffix) ? f32x4 : f64x2).pmax(b, a), safeComparison);

const PREDICATES: readonly ((f: typeof f32x4 | typeof f64x2, a: V128, b: V128) => V128)[] = [
  (f, a, b) => f.eq(a, b),
  (f, a, b) => f.lt(a, b),
  (f, a, b) => f.le(a, b),
  () => zero128,
  (f, a, b) => f.ne(a, b),
  (f, a, b) => bits.not(f.lt(a, b)),
  (f, a, b) => bits.not(f.le(a, b)),
  () => repeat32(-1),
];
/** CMPPS and kin: the predicate is an immediate (bits 7:3 are reserved and ignored). */
export const comparePredicate =
  (suffix: Suffix): Emit =>
  (c, dst, src, immediate) => {
    const predicate = c.i32();
    const b = c.v128();
    const lanes = isSingle(suffix) ? LANES32 : LANES64;
    const f = isSingle(suffix) ? f32x4 : f64x2;
    const scalar = isScalar(suffix);
    const old = c.v128();
    const a = c.v128();
    const r = c.v128();
    const is = (n: number) => i32.eq(predicate.get, i32.const(n));
    const native = PREDICATES.reduceRight(
      (otherwise: V128, make, n) => (n === 7 ? make(f, a.get, b.get) : choose(is(n), make(f, a.get, b.get), otherwise)),
      zero128,
    );
    return seq(
      c.checkFpu(2),
      b.set(scalar ? scalarSource(suffix, src!) : src!.readVector()),
      predicate.set(i32.and(i32.wrap(immediate!.read()), i32.const(7))),
      old.set(dst!.readVector()),
      a.set(scalar ? scalarDestination(suffix, old.get) : old.get),
      when(
        lanes.allTrue(safeComparison(lanes, a.get, a.get, b.get)),
        seq(r.set(native), dst!.writeVector(scalar ? mergeScalar(suffix, old.get, r.get) : r.get)),
        seq(
          storeVectorCell(c, CB_FPU + FPU_SSE_A, old.get),
          storeVectorCell(c, CB_FPU + FPU_SSE_B, b.get),
          c.store32(CB_FPU + FPU_CONDITION, predicate.get),
          c.helper('sseCompare', sseOperationNumber(`cmp0${suffix}`)),
          dst!.writeVector(loadVectorCell(c, CB_FPU + FPU_SSE_RESULT)),
        ),
      ),
    );
  };

/** COMISS, UCOMISS …: flags by comparison of numbers; anything else takes the exact way. */
export const compareFlags =
  (name: 'comi' | 'ucomi', suffix: 'ss' | 'sd'): Emit =>
  (c, left, right) => {
    const lanes = isSingle(suffix) ? LANES32 : LANES64;
    const f = isSingle(suffix) ? f32x4 : f64x2;
    const a = c.v128();
    const b = c.v128();
    const flagIf = (mask: V128, flag: number) => i32.and(i32.wrap(laneI64(mask, 0)), i32.const(flag));
    return seq(
      c.checkFpu(2),
      b.set(scalarSource(suffix, right!)),
      a.set(scalarDestination(suffix, left!.readVector())),
      when(
        lanes.allTrue(safeComparison(lanes, a.get, a.get, b.get)),
        setStatus(c, i32.or(flagIf(f.lt(a.get, b.get), 1), flagIf(f.eq(a.get, b.get), 0x40))),
        seq(exactly(c, name + suffix, a.get, b.get), setStatus(c, c.load32(CB_FPU + FPU_RFLAGS))),
      ),
    );
  };

// Conversions

/** CVTDQ2PD, CVTPI2PD: every 32-bit integer is a double. */
export const cvtdq2pd: Emit = (c, dst, src) =>
  seq(c.checkFpu(2), dst!.writeVector(i32x4.convertLowToF64(fromLow64(src!.read()))));
export const cvtpi2pd: Emit = (c, dst, src) => {
  const value = c.i64();
  const convert = dst!.writeVector(i32x4.convertLowToF64(fromLow64(value.get)));
  // A memory operand does not change to MMX state.
  return src!.isMemory
    ? seq(c.checkFpu(2), value.set(src!.read()), convert)
    : seq(c.checkFpu(2), checkMmx(c), value.set(src!.read()), enterMmx(c), convert);
};

/** Always the exact way: RCPPS, RSQRTPS. */
export const approximate =
  (name: string): Emit =>
  (c, dst, src) => {
    const b = c.v128();
    return seq(
      c.checkFpu(2),
      b.set(src!.size === 16 ? src!.readVector() : fromLow64(src!.read())),
      dst!.writeVector(exactVector(c, name, dst!.readVector(), b.get)),
    );
  };

/** A packed conversion that fills the destination: r the native result of b; safe and exact as for arithmetic. */
const convertPacked =
  (name: string, native: VectorUnary, safe: (r: V128, b: V128) => I32, exact: (r: V128, b: V128) => I32): Emit =>
  (c, dst, src) => {
    const b = c.v128();
    const r = c.v128();
    return seq(
      c.checkFpu(2),
      b.set(src!.size === 16 ? src!.readVector() : fromLow64(src!.read())),
      r.set(native(b.get)),
      dst!.writeVector(
        choose(i32.or(exact(r.get, b.get), i32.and(quiet(c), safe(r.get, b.get))), r.get, exactVector(c, name, zero128, b.get)),
      ),
    );
  };

/** Neither saturated nor the integer indefinite. */
const inRange32 = (r: V128): V128 => bits.and(i32x4.ne(r, repeat32(0x7fffffff)), i32x4.ne(r, repeat32(0x80000000)));
const singlesToIntegers = (name: string, round: VectorUnary): Emit =>
  convertPacked(
    name,
    (b) => i32x4.truncateF32(round(b)),
    (r, b) => i32x4.allTrue(bits.and(LANES32.isNumber(b), inRange32(r))),
    (r, b) => i32x4.allTrue(bits.and(f32x4.eq(i32x4.convertToF32(r), b), i32x4.ne(r, repeat32(0x7fffffff)))),
  );
export const cvttps2dq = singlesToIntegers('cvttps2dq', (b) => b);
export const cvtps2dq = singlesToIntegers('cvtps2dq', f32x4.nearest);

/** The upper two integers are zero, and in range. */
const doublesToIntegers = (name: string, round: VectorUnary): Emit =>
  convertPacked(
    name,
    (b) => i32x4.truncateF64(round(b)),
    (r, b) => i32.and(i64x2.allTrue(LANES64.isNumber(b)), i32x4.allTrue(inRange32(r))),
    (r, b) => i64x2.allTrue(f64x2.eq(i32x4.convertLowToF64(r), b)),
  );
export const cvttpd2dq = doublesToIntegers('cvttpd2dq', (b) => b);
export const cvtpd2dq = doublesToIntegers('cvtpd2dq', f64x2.nearest);

/** Exact but for NaNs and denormals; the upper half of b is zero. */
export const cvtps2pd = convertPacked(
  'cvtps2pd',
  f64x2.promoteLowF32,
  () => i32.const(0),
  (_r, b) => i32x4.allTrue(bits.and(LANES32.isNumber(b), noDenormal32(b))),
);

/** Least normal binary32 number and its infinity, as doubles. */
const LEAST_32 = 0x3810000000000000n;
const BEYOND_32 = 0x47f0000000000000n;
export const cvtpd2ps = convertPacked(
  'cvtpd2ps',
  f32x4.demoteF64,
  (r, b) => {
    const magnitude = magnitude64(f64x2.promoteLowF32(r));
    const normal = bits.and(i64x2.gtS(magnitude, repeat64(LEAST_32)), i64x2.gtS(repeat64(BEYOND_32), magnitude));
    return i64x2.allTrue(bits.or(normal, isZero64(b)));
  },
  (r, b) => i64x2.allTrue(bits.and(f64x2.eq(f64x2.promoteLowF32(r), b), noDenormal64(b))),
);

/** CVTPI2PS: from MMX; a memory operand is no concern of the MMX unit. */
export const cvtpi2ps: Emit = (c, dst, src) => {
  const b = c.i64();
  return seq(
    c.checkFpu(2),
    src!.isMemory ? nop : enterMmx(c),
    b.set(src!.read()),
    exactly(c, 'cvtpi2ps', dst!.readVector(), fromLow64(b.get)),
    dst!.writeVector(loadVectorCell(c, CB_FPU + FPU_SSE_RESULT)),
  );
};
/** CVTPS2PI, CVTPD2PI and their truncating forms: to MMX. */
export const convertToMmx =
  (name: string): Emit =>
  (c, dst, src) => {
    const b = c.v128();
    return seq(
      c.checkFpu(2),
      checkMmx(c),
      b.set(src!.size === 16 ? src!.readVector() : fromLow64(src!.read())),
      // The change to MMX state stays even when an exception is raised.
      enterMmx(c),
      exactly(c, name, zero128, b.get),
      writeMmx(dst!, c.load64(CB_FPU + FPU_SSE_RESULT)),
    );
  };

/** CVTDQ2PS: inexact above 2^24 only. */
export const cvtdq2ps: Emit = (c, dst, src) => {
  const b = c.v128();
  return seq(
    c.checkFpu(2),
    b.set(src!.readVector()),
    dst!.writeVector(choose(quiet(c), i32x4.convertToF32(b.get), exactVector(c, 'cvtdq2ps', zero128, b.get))),
  );
};

/** CVTSI2SS, CVTSI2SD: from 32 bits to double nothing can be lost; otherwise the operand must come back unchanged, or PE be set. */
export const convertFromInteger =
  (suffix: 'ss' | 'sd'): Emit =>
  (c, dst, src) => {
    const value = c.i64();
    const old = c.v128();
    const wide = src!.size === 8;
    const merged =
      suffix === 'ss' ? withF32(old.get, 0, f32.convertI64S(value.get)) : withF64(old.get, 0, f64.convertI64S(value.get));
    const common = seq(c.checkFpu(2), value.set(src!.readSigned()), old.set(dst!.readVector()));
    if (suffix === 'sd' && !wide) return seq(common, dst!.writeVector(merged));
    const limit = suffix === 'ss' ? 24 : 53;
    const small = i64.leU(i64.add(value.get, i64.const(1n << BigInt(limit))), i64.const(1n << BigInt(limit + 1)));
    return seq(
      common,
      dst!.writeVector(
        choose(
          i32.or(small, quiet(c)),
          merged,
          exactVector(c, `cvtsi${wide ? 64 : 32}2${suffix}`, old.get, fromLow64(value.get)),
        ),
      ),
    );
  };

/** CVTSS2SI … CVTTSD2SI. An exact conversion raises nothing; an inexact one in range only PE. */
export const convertToInteger =
  (suffix: 'ss' | 'sd', truncate: boolean): Emit =>
  (c, dst, src) => {
    const x = c.f64();
    const source = c.i64();
    const result = c.i64();
    const wide = dst!.size === 8;
    const asDouble = suffix === 'ss' ? f64.promote(f32.reinterpretI32(i32.wrap(source.get))) : f64.reinterpretI64(source.get);
    const rounded = truncate ? x.get : f64.nearest(x.get);
    const inRange = wide ? i64.ne(result.get, i64.const(1n << 63n)) : i64.eq(i64.extend32S(result.get), result.get);
    // NaN gives 0, which does not convert back to it.
    const isExact = f64.eq(f64.convertI64S(result.get), x.get);
    const isNumber = f64.eq(x.get, x.get);
    // The largest integers do not convert back exactly where saturation happened.
    const belowLimit = wide ? i64.ne(result.get, i64.const((1n << 63n) - 1n)) : i32.const(1);
    return seq(
      c.checkFpu(2),
      source.set(src!.read()),
      x.set(asDouble),
      result.set(i64.truncSatF64S(rounded)),
      when(
        i32.eqz(i32.and(i32.and(inRange, belowLimit), i32.or(isExact, i32.and(isNumber, quiet(c))))),
        seq(
          exactly(c, `cvt${truncate ? 't' : ''}${suffix}2si${wide ? 64 : 32}`, zero128, fromLow64(source.get)),
          result.set(c.load64(CB_FPU + FPU_SSE_RESULT)),
        ),
      ),
      dst!.write(result.get),
    );
  };

/** CVTSS2SD: exact; only NaN and denormal operands raise a flag. */
export const cvtss2sd: Emit = (c, dst, src) => {
  const source = c.i32();
  const old = c.v128();
  const magnitude = i32.and(source.get, i32.const(0x7fffffff));
  const plain = i32.or(i32.eqz(magnitude), i32.ltU(i32.sub(magnitude, i32.const(0x800000)), i32.const(0x7f800001 - 0x800000)));
  const promoted: F64 = f64.promote(f32.reinterpretI32(source.get));
  return seq(
    c.checkFpu(2),
    source.set(i32.wrap(src!.read())),
    old.set(dst!.readVector()),
    dst!.writeVector(
      choose(plain, withF64(old.get, 0, promoted), exactVector(c, 'cvtss2sd', old.get, fromLow64(i64.extendU(source.get)))),
    ),
  );
};

/** CVTSD2SS: a normal result, inexact only when that is quiet. */
export const cvtsd2ss: Emit = (c, dst, src) => {
  const source = c.i64();
  const old = c.v128();
  const demoted = c.f32();
  const magnitude: I32 = i32.and(i32.reinterpretF32(demoted.get), i32.const(0x7fffffff));
  const normal = i32.ltU(i32.sub(magnitude, i32.const(0x800001)), i32.const(0x7effffff));
  const isZero = i64.eqz(i64.shl(source.get, i64.const(1)));
  const exact = f64.eq(f64.promote(demoted.get), f64.reinterpretI64(source.get));
  return seq(
    c.checkFpu(2),
    source.set(src!.read()),
    old.set(dst!.readVector()),
    demoted.set(f32.demote(f64.reinterpretI64(source.get))),
    dst!.writeVector(
      choose(
        i32.or(isZero, i32.and(normal, i32.or(exact, quiet(c)))),
        withF32(old.get, 0, demoted.get),
        exactVector(c, 'cvtsd2ss', old.get, fromLow64(source.get)),
      ),
    ),
  );
};
