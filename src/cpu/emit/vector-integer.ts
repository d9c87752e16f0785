/**
 * Integer operations on vectors, each once for MMX (64 bits) and SSE2 (128 bits). An MMX operand is handled as a
 * vector with both halves alike or with the operands' halves side by side, and the low half of the result counts.
 * Source: SDM vol. 2; wasm operations of the same meaning where there is one.
 */
import { CB_FPU } from '../memory/control-block.ts';
import { FPU_SHIFT } from '../fpu/state.ts';
import { i32, i64, select, seq, v128, type I32, type I64, type V128 } from '../wasm/expr.ts';
import { after, type EmitContext, type Operand } from './context.ts';
import { checkMmx, enterMmx, loadVectorCell, storeVectorCell, writeMmx } from './fpu-state.ts';
import type { Emit } from './integer.ts';
import {
  bits,
  fromHalves,
  fromLow64,
  i16x8,
  i32x4,
  i64x2,
  i8x16,
  laneI64,
  pick,
  repeat32,
  repeat64,
  zero128,
  type VectorBinary,
} from './simd.ts';

const mmxOperand = (operand: Operand): V128 => i64x2.splat(operand.read());

export interface VectorOperation {
  /** Of 16-byte vectors. */
  readonly wide: VectorBinary;
  /** Of MMX operands when their halves cannot simply be doubled. */
  readonly narrow?: (a: I64, b: I64) => V128;
}

/** dst = op(dst, src) in both register files. Stores of memory operands come last, so there is nothing to undo. */
export const sse =
  (operation: VectorBinary): Emit =>
  (c, dst, src) =>
    seq(c.checkFpu(2), dst!.writeVector(operation(dst!.readVector(), src!.readVector())));

export const mmx =
  (operation: VectorOperation): Emit =>
  (c, dst, src) => {
    const a = c.i64();
    const b = c.i64();
    const { wide, narrow } = operation;
    return seq(
      checkMmx(c),
      b.set(src!.read()),
      enterMmx(c),
      a.set(dst!.read()),
      writeMmx(dst!, laneI64(narrow ? narrow(a.get, b.get) : wide(i64x2.splat(a.get), i64x2.splat(b.get)), 0)),
    );
  };

const plain = (wide: VectorBinary): VectorOperation => ({ wide });

/** Interleave the lower (or upper) halves' lanes of `width` bytes. */
function unpack(width: number, high: boolean): VectorOperation {
  const lanes = 16 / width;
  const order = (from: number, count: number) => Array.from({ length: count }, (_, i) => [from + i, lanes + from + i]).flat();
  return {
    wide: (a, b) => pick(width, order(high ? lanes / 2 : 0, lanes / 2), a, b),
    narrow: (a, b) =>
      pick(width, [...order(high ? lanes / 4 : 0, lanes / 4), ...order(0, lanes / 4)], i64x2.splat(a), i64x2.splat(b)),
  };
}
const packed = (wide: VectorBinary): VectorOperation => ({
  wide,
  narrow: (a, b) => {
    const both = fromHalves(a, b);
    return wide(both, both);
  },
});

/** High 16 bits of 32-bit products. */
const multiplyHigh =
  (low: VectorBinary, high: VectorBinary): VectorBinary =>
  (a, b) =>
    pick(2, [1, 3, 5, 7, 9, 11, 13, 15], low(a, b), high(a, b));

const lowDwords = repeat64(0xffffffffn);
const sumOfDifferences: VectorBinary = (a, b) => {
  const difference = bits.or(i8x16.subSatU(a, b), i8x16.subSatU(b, a));
  const sums = i32x4.pairsOfWordsU(i16x8.pairsOfBytesU(difference));
  return i64x2.add(bits.and(sums, lowDwords), i64x2.shrU(sums, i32.const(32)));
};

/** By name, as in the opcode map; the MMX form's meaning follows from the same row. */
export const VECTOR = {
  punpcklbw: unpack(1, false),
  punpcklwd: unpack(2, false),
  punpckldq: unpack(4, false),
  punpcklqdq: unpack(8, false),
  punpckhbw: unpack(1, true),
  punpckhwd: unpack(2, true),
  punpckhdq: unpack(4, true),
  punpckhqdq: unpack(8, true),
  packsswb: packed(i8x16.narrowS),
  packuswb: packed(i8x16.narrowU),
  packssdw: packed(i16x8.narrowS),
  pcmpgtb: plain(i8x16.gtS),
  pcmpgtw: plain(i16x8.gtS),
  pcmpgtd: plain(i32x4.gtS),
  pcmpeqb: plain(i8x16.eq),
  pcmpeqw: plain(i16x8.eq),
  pcmpeqd: plain(i32x4.eq),
  paddb: plain(i8x16.add),
  paddw: plain(i16x8.add),
  paddd: plain(i32x4.add),
  paddq: plain(i64x2.add),
  psubb: plain(i8x16.sub),
  psubw: plain(i16x8.sub),
  psubd: plain(i32x4.sub),
  psubq: plain(i64x2.sub),
  paddsb: plain(i8x16.addSatS),
  paddsw: plain(i16x8.addSatS),
  paddusb: plain(i8x16.addSatU),
  paddusw: plain(i16x8.addSatU),
  psubsb: plain(i8x16.subSatS),
  psubsw: plain(i16x8.subSatS),
  psubusb: plain(i8x16.subSatU),
  psubusw: plain(i16x8.subSatU),
  pmullw: plain(i16x8.mul),
  pmulhw: plain(multiplyHigh(i32x4.extmulLowI16x8S, i32x4.extmulHighI16x8S)),
  pmulhuw: plain(multiplyHigh(i32x4.extmulLowI16x8U, i32x4.extmulHighI16x8U)),
  pmaddwd: plain(i32x4.dotI16x8S),
  pmuludq: plain((a, b) => i64x2.mul(bits.and(a, lowDwords), bits.and(b, lowDwords))),
  pand: plain(bits.and),
  pandn: plain((a, b) => bits.andnot(b, a)),
  por: plain(bits.or),
  pxor: plain(bits.xor),
  pminub: plain(i8x16.minU),
  pmaxub: plain(i8x16.maxU),
  pminsw: plain(i16x8.minS),
  pmaxsw: plain(i16x8.maxS),
  pavgb: plain(i8x16.avgrU),
  pavgw: plain(i16x8.avgrU),
  psadbw: plain(sumOfDifferences),
} as const satisfies Record<string, VectorOperation>;

type VectorShift = { readonly shift: (a: V128, count: I32) => V128; readonly width: number; readonly arithmetic?: true };
export const SHIFTS = {
  psllw: { shift: i16x8.shl, width: 16 },
  pslld: { shift: i32x4.shl, width: 32 },
  psllq: { shift: i64x2.shl, width: 64 },
  psrlw: { shift: i16x8.shrU, width: 16 },
  psrld: { shift: i32x4.shrU, width: 32 },
  psrlq: { shift: i64x2.shrU, width: 64 },
  psraw: { shift: i16x8.shrS, width: 16, arithmetic: true },
  psrad: { shift: i32x4.shrS, width: 32, arithmetic: true },
} as const satisfies Record<string, VectorShift>;

/** A count of the width and more gives zeros, or signs; wasm takes counts modulo the width. */
function shifted(c: EmitContext, { shift, width, arithmetic }: VectorShift, value: V128, count: I64): V128 {
  const n = c.i64();
  const inRange = i64.ltU(n.get, i64.const(width));
  if (arithmetic) return after(n.set(count), shift(value, select(inRange, i32.wrap(n.get), i32.const(width - 1))));
  return after(n.set(count), select(inRange, shift(value, i32.wrap(n.get)), zero128));
}

/** The count is the low 64 bits of a vector operand, or an immediate byte. */
const shiftCount = (src: Operand, immediate: boolean): I64 => {
  if (immediate) return i64.and(src.read(), i64.const(0xff));
  return src.size === 16 ? laneI64(src.readVector(), 0) : src.read();
};

export const sseShift =
  (shift: VectorShift, immediate: boolean): Emit =>
  (c, dst, src) =>
    seq(c.checkFpu(2), dst!.writeVector(shifted(c, shift, dst!.readVector(), shiftCount(src!, immediate))));

export const mmxShift =
  (shift: VectorShift, immediate: boolean): Emit =>
  (c, dst, src) => {
    const count = c.i64();
    return seq(
      checkMmx(c),
      count.set(shiftCount(src!, immediate)),
      enterMmx(c),
      writeMmx(dst!, laneI64(shifted(c, shift, mmxOperand(dst!), count.get), 0)),
    );
  };

/** PSLLDQ, PSRLDQ: bytes out of a buffer with zeros on both sides. */
export const shiftBytes =
  (left: boolean): Emit =>
  (c, dst, count) => {
    const n = c.i32();
    const at = CB_FPU + FPU_SHIFT;
    return seq(
      c.checkFpu(2),
      n.set(i32.and(i32.wrap(count!.read()), i32.const(0xff))),
      n.set(select(i32.gtU(n.get, i32.const(16)), i32.const(16), n.get)),
      storeVectorCell(c, at, zero128),
      storeVectorCell(c, at + 32, zero128),
      storeVectorCell(c, at + 16, dst!.readVector()),
      dst!.writeVector(v128.load(left ? i32.sub(i32.const(16), n.get) : n.get, c.cb + at + (left ? 0 : 16))),
    );
  };

const scaled = (value: Operand): V128 => i32x4.splat(i32.wrap(value.read()));
/** Byte numbers for a shuffle of dwords by two bits each. */
const dwordControl = (order: Operand): V128 => {
  // Each lane's two bits to bits 7:6, then down; lane × 4 in every byte, plus 3, 2, 1, 0.
  const fields = i32x4.shrU(i32x4.mul(scaled(order), v128.const(64n | (16n << 32n), 4n | (1n << 32n))), i32.const(6));
  return i32x4.add(i32x4.mul(bits.and(fields, repeat32(3)), repeat32(0x04040404)), repeat32(0x03020100));
};
const wordControl = (order: Operand, high: boolean): V128 => {
  const factors = 64n | (16n << 16n) | (4n << 32n) | (1n << 48n);
  const fields = i16x8.shrU(
    i16x8.mul(i16x8.splat(i32.wrap(order.read())), high ? v128.const(0n, factors) : v128.const(factors, 0n)),
    i32.const(6),
  );
  const identityLow = 0x0706050403020100n;
  const identityHigh = 0x0f0e0d0c0b0a0908n;
  const bytes = i16x8.mul(bits.and(fields, repeat32(0x00030003)), repeat32(0x02020202));
  return i16x8.add(bytes, high ? v128.const(identityLow, 0x0908090809080908n) : v128.const(0x0100010001000100n, identityHigh));
};

export const pshufd: Emit = (c, dst, src, order) =>
  seq(c.checkFpu(2), dst!.writeVector(i8x16.swizzle(src!.readVector(), dwordControl(order!))));
export const pshufWords =
  (high: boolean): Emit =>
  (c, dst, src, order) =>
    seq(c.checkFpu(2), dst!.writeVector(i8x16.swizzle(src!.readVector(), wordControl(order!, high))));
export const pshufw: Emit = (c, dst, src, order) => {
  const b = c.i64();
  return seq(
    checkMmx(c),
    b.set(src!.read()),
    enterMmx(c),
    writeMmx(dst!, laneI64(i8x16.swizzle(fromLow64(b.get), wordControl(order!, false)), 0)),
  );
};
export const shufps: Emit = (c, dst, src, order) => {
  const control = c.v128();
  const b = c.v128();
  return seq(
    c.checkFpu(2),
    b.set(src!.readVector()),
    control.set(dwordControl(order!)),
    dst!.writeVector(pick(8, [0, 3], i8x16.swizzle(dst!.readVector(), control.get), i8x16.swizzle(b.get, control.get))),
  );
};
export const shufpd: Emit = (c, dst, src, order) => {
  const a = c.v128();
  const b = c.v128();
  const imm = c.i32();
  const chosen = (v: V128, bit: number) => select(i32.and(imm.get, i32.const(bit)), laneI64(v, 1), laneI64(v, 0));
  return seq(
    c.checkFpu(2),
    b.set(src!.readVector()),
    a.set(dst!.readVector()),
    imm.set(i32.wrap(order!.read())),
    dst!.writeVector(fromHalves(chosen(a.get, 1), chosen(b.get, 2))),
  );
};

/** PINSRW, PEXTRW through a buffer: the lane is known only when the instruction runs. */
const laneOffset = (lane: Operand, mask: number): I32 => i32.shl(i32.and(i32.wrap(lane.read()), i32.const(mask)), i32.const(1));

export const pinsrw: Emit = (c, dst, src, lane) => {
  const value = c.i64();
  const at = CB_FPU + FPU_SHIFT;
  const isMmx = dst!.size === 8;
  return seq(
    isMmx ? checkMmx(c) : c.checkFpu(2),
    value.set(src!.read()),
    ...(isMmx ? [enterMmx(c)] : []),
    storeVectorCell(c, at, dst!.readVector()),
    i32.store16(laneOffset(lane!, isMmx ? 3 : 7), i32.wrap(value.get), c.cb + at),
    isMmx ? writeMmx(dst!, c.load64(at)) : dst!.writeVector(loadVectorCell(c, at)),
  );
};
export const pextrw: Emit = (c, dst, src, lane) => {
  const at = CB_FPU + FPU_SHIFT;
  const isMmx = src!.size === 8;
  return seq(
    isMmx ? enterMmx(c) : c.checkFpu(2),
    storeVectorCell(c, at, src!.readVector()),
    dst!.write(i64.load16U(laneOffset(lane!, isMmx ? 3 : 7), c.cb + at)),
  );
};

/** PMOVMSKB, MOVMSKPS, MOVMSKPD: sign bits into a general register. */
export const signMask =
  (mask: (a: V128) => I32): Emit =>
  (c, dst, src) =>
    seq(c.checkFpu(2), dst!.write(i64.extendU(mask(src!.readVector()))));
export const pmovmskbMmx: Emit = (c, dst, src) =>
  seq(enterMmx(c), dst!.write(i64.extendU(i8x16.bitmask(fromLow64(src!.read())))));
