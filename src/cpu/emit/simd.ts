/** Names for the SIMD opcodes of WebAssembly (core specification 2.0, 5.4.8) that the MMX and SSE emitters use. */
import { v128, type Expr, type F32, type F64, type I32, type I64, type V128, type ValType } from '../wasm/expr.ts';

export type VectorBinary = (a: V128, b: V128) => V128;
export type VectorUnary = (a: V128) => V128;
const two =
  (code: number): VectorBinary =>
  (a, b) =>
    v128.op(code, a, b);
const one =
  (code: number): VectorUnary =>
  (a) =>
    v128.op(code, a);
const shift =
  (code: number) =>
  (a: V128, count: I32): V128 =>
    v128.op(code, a, count as Expr<ValType>);
const toMask =
  (code: number) =>
  (a: V128): I32 =>
    v128.toI32(code, a);

export const i8x16 = {
  swizzle: two(0x0e),
  eq: two(0x23),
  gtS: two(0x27),
  bitmask: toMask(0x64),
  narrowS: two(0x65),
  narrowU: two(0x66),
  add: two(0x6e),
  addSatS: two(0x6f),
  addSatU: two(0x70),
  sub: two(0x71),
  subSatS: two(0x72),
  subSatU: two(0x73),
  minU: two(0x77),
  maxU: two(0x79),
  avgrU: two(0x7b),
};
export const i16x8 = {
  eq: two(0x2d),
  gtS: two(0x31),
  narrowS: two(0x85),
  shl: shift(0x8b),
  shrS: shift(0x8c),
  shrU: shift(0x8d),
  add: two(0x8e),
  addSatS: two(0x8f),
  addSatU: two(0x90),
  sub: two(0x91),
  subSatS: two(0x92),
  subSatU: two(0x93),
  mul: two(0x95),
  minS: two(0x96),
  maxS: two(0x98),
  avgrU: two(0x9b),
  pairsOfBytesU: one(0x7d),
  splat: (value: I32): V128 => v128.op(0x10, value),
};
export const i32x4 = {
  eq: two(0x37),
  ne: two(0x38),
  ltU: two(0x3a),
  gtS: two(0x3b),
  geU: two(0x40),
  allTrue: toMask(0xa3),
  bitmask: toMask(0xa4),
  shl: shift(0xab),
  shrS: shift(0xac),
  shrU: shift(0xad),
  add: two(0xae),
  sub: two(0xb1),
  mul: two(0xb5),
  dotI16x8S: two(0xba),
  extmulLowI16x8S: two(0xbc),
  extmulHighI16x8S: two(0xbd),
  extmulLowI16x8U: two(0xbe),
  extmulHighI16x8U: two(0xbf),
  pairsOfWordsU: one(0x7f),
  convertToF32: one(0xfa),
  convertLowToF64: one(0xfe),
  truncateF32: one(0xf8),
  truncateF64: one(0xfc),
  splat: (value: I32): V128 => v128.op(0x11, value),
};
export const i64x2 = {
  bitmask: toMask(0xc4),
  shl: shift(0xcb),
  shrU: shift(0xcd),
  add: two(0xce),
  sub: two(0xd1),
  mul: two(0xd5),
  eq: two(0xd6),
  allTrue: toMask(0xc3),
  gtS: two(0xd9),
  splat: (value: I64): V128 => v128.op(0x12, value),
};
export const f32x4 = {
  eq: two(0x41),
  ne: two(0x42),
  lt: two(0x43),
  le: two(0x45),
  sqrt: one(0xe3),
  add: two(0xe4),
  sub: two(0xe5),
  mul: two(0xe6),
  div: two(0xe7),
  pmin: two(0xea),
  pmax: two(0xeb),
  nearest: one(0x6a),
  demoteF64: one(0x5e),
};
export const f64x2 = {
  eq: two(0x47),
  ne: two(0x48),
  lt: two(0x49),
  le: two(0x4b),
  sqrt: one(0xef),
  add: two(0xf0),
  sub: two(0xf1),
  mul: two(0xf2),
  div: two(0xf3),
  pmin: two(0xf6),
  pmax: two(0xf7),
  nearest: one(0x94),
  promoteLowF32: one(0x5f),
};
export const bits = { not: one(0x4d), and: two(0x4e), andnot: two(0x4f), or: two(0x50), xor: two(0x51), anyTrue: toMask(0x53) };

export const zero128: V128 = v128.const(0n, 0n);

export const laneI32 = (a: V128, lane: number): I32 => v128.extractLane('i32', 0x1b, lane, a);
export const laneI64 = (a: V128, lane: number): I64 => v128.extractLane('i64', 0x1d, lane, a);
export const laneF32 = (a: V128, lane: number): F32 => v128.extractLane('f32', 0x1f, lane, a);
export const laneF64 = (a: V128, lane: number): F64 => v128.extractLane('f64', 0x21, lane, a);
export const withI32 = (a: V128, lane: number, value: I32): V128 => v128.replaceLane(0x1c, lane, a, value);
export const withI64 = (a: V128, lane: number, value: I64): V128 => v128.replaceLane(0x1e, lane, a, value);
export const withF32 = (a: V128, lane: number, value: F32): V128 => v128.replaceLane(0x20, lane, a, value);
export const withF64 = (a: V128, lane: number, value: F64): V128 => v128.replaceLane(0x22, lane, a, value);

/** 64 bits with zeros above. */
export const fromLow64 = (value: I64): V128 => withI64(zero128, 0, value);
/** Two halves of 64 bits. */
export const fromHalves = (lo: I64, hi: I64): V128 => withI64(i64x2.splat(lo), 1, hi);

/** A constant vector of equal 32-bit or 64-bit lanes. */
export function repeat32(value: number): V128 {
  const lane = BigInt(value >>> 0);
  return v128.const(lane | (lane << 32n), lane | (lane << 32n));
}
export const repeat64 = (value: bigint): V128 => v128.const(value, value);

/** Two vectors' bytes by number (0–15 of a, 16–31 of b), in lanes of `width` bytes. */
export const pick = (width: number, lanes: readonly number[], a: V128, b: V128): V128 =>
  v128.shuffle(
    lanes.flatMap((lane) => Array.from({ length: width }, (_, i) => lane * width + i)),
    a,
    b,
  );
