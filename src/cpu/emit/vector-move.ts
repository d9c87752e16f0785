/** Moves between XMM, MMX and general registers and memory (SDM vol. 2). */
import { CB_FPU } from '../memory/control-block.ts';
import { FPU_FTW, FPU_MXCSR, FPU_SSE_A, FPU_SSE_B, MXCSR_MASK } from '../fpu/state.ts';
import { i32, i64, nop, seq, when, type I64, type V128 } from '../wasm/expr.ts';
import { checkMmx, enterMmx, store8, storeVectorCell, writeMmx } from './fpu-state.ts';
import type { Emit } from './integer.ts';
import { fromLow64, laneI32, laneI64, pick, withI32, withI64 } from './simd.ts';

/** 16 bytes, either way. */
export const moveVector: Emit = (c, dst, src) => seq(c.checkFpu(2), dst!.writeVector(src!.readVector()));

/** Into the low part of an XMM register with zeros above: MOVD, MOVQ, MOVSS and MOVSD from memory. */
export const loadLow: Emit = (c, dst, src) => seq(c.checkFpu(2), dst!.writeVector(fromLow64(src!.read())));
/** The low 4 or 8 bytes of an XMM register out, as many as the destination has. */
export const storeLow: Emit = (c, dst, src) => seq(c.checkFpu(2), dst!.write(laneI64(src!.readVector(), 0)));
/** MOVQ W, V: a register destination gets zeros above. */
export const movqStore: Emit = (c, dst, src) =>
  seq(
    c.checkFpu(2),
    dst!.isMemory ? dst!.write(laneI64(src!.readVector(), 0)) : dst!.writeVector(fromLow64(laneI64(src!.readVector(), 0))),
  );
/** MOVSS, MOVSD between registers: the rest of the destination stays. */
const mergeLow =
  (bytes: 4 | 8): Emit =>
  (c, dst, src) =>
    seq(
      c.checkFpu(2),
      dst!.writeVector(
        bytes === 4
          ? withI32(dst!.readVector(), 0, laneI32(src!.readVector(), 0))
          : withI64(dst!.readVector(), 0, laneI64(src!.readVector(), 0)),
      ),
    );
/** MOVSS, MOVSD with either kind of operand on the other side. */
export const movScalarLoad =
  (bytes: 4 | 8): Emit =>
  (c, dst, src) =>
    (src!.isMemory ? loadLow : mergeLow(bytes))(c, dst!, src!);
export const movScalarStore =
  (bytes: 4 | 8): Emit =>
  (c, dst, src) =>
    (dst!.isMemory ? storeLow : mergeLow(bytes))(c, dst!, src!);

/** MOVLPS, MOVHPS and their double forms from memory; MOVHLPS, MOVLHPS between registers. */
const half =
  (value: (dst: V128, src: I64) => V128): Emit =>
  (c, dst, src) => {
    const loaded = c.i64();
    return seq(c.checkFpu(2), loaded.set(src!.read()), dst!.writeVector(value(dst!.readVector(), loaded.get)));
  };
export const loadLowHalf = half((dst, src) => withI64(dst, 0, src));
export const loadHighHalf = half((dst, src) => withI64(dst, 1, src));
export const storeHighHalf: Emit = (c, dst, src) => seq(c.checkFpu(2), dst!.write(laneI64(src!.readVector(), 1)));
const movhlps: Emit = (c, dst, src) =>
  seq(c.checkFpu(2), dst!.writeVector(withI64(dst!.readVector(), 0, laneI64(src!.readVector(), 1))));
/** MOVLPS (memory) and MOVHLPS (register) share an opcode, as do MOVHPS and MOVLHPS. */
export const movlpsLoad: Emit = (c, dst, src) => (src!.isMemory ? loadLowHalf : movhlps)(c, dst!, src!);

/** UNPCKLPS and kin: the same interleaving as the integer forms. */
export const interleave =
  (width: number, lanes: readonly number[]): Emit =>
  (c, dst, src) =>
    seq(c.checkFpu(2), dst!.writeVector(pick(width, lanes, dst!.readVector(), src!.readVector())));

// MMX

export const loadMmx: Emit = (c, dst, src) => {
  const value = c.i64();
  return seq(checkMmx(c), value.set(src!.read()), enterMmx(c), writeMmx(dst!, value.get));
};
/** To memory, to a general register, or to an MMX register. */
export const storeMmx: Emit = (c, dst, src) =>
  seq(checkMmx(c), dst!.isMemory ? seq(dst!.write(src!.read()), enterMmx(c)) : seq(enterMmx(c), dst!.write(src!.read())));
export const storeMmxRegister: Emit = (c, dst, src) =>
  dst!.isMemory ? storeMmx(c, dst!, src!) : seq(enterMmx(c), writeMmx(dst!, src!.read()));
export const movdq2q: Emit = (c, dst, src) => seq(c.checkFpu(2), enterMmx(c), writeMmx(dst!, laneI64(src!.readVector(), 0)));
export const movq2dq: Emit = (c, dst, src) => seq(c.checkFpu(2), enterMmx(c), dst!.writeVector(fromLow64(src!.read())));
export const emms: Emit = (c) => seq(enterMmx(c), store8(c, CB_FPU + FPU_FTW, i32.const(0)));

// Control register

export const ldmxcsr: Emit = (c, src) => {
  const value = c.i32();
  return seq(
    c.checkFpu(2),
    value.set(i32.wrap(src!.read())),
    when(i32.and(value.get, i32.const(~MXCSR_MASK)), c.helper('mxcsrReserved')),
    c.store32(CB_FPU + FPU_MXCSR, value.get),
  );
};
export const stmxcsr: Emit = (c, dst) => seq(c.checkFpu(2), dst!.write(i64.extendU(c.load32(CB_FPU + FPU_MXCSR))));

/** MASKMOVDQU, MASKMOVQ: bytes whose mask byte is negative, to DS:rDI. The helper gets data and mask, and stores. */
export const maskedStore =
  (bytes: 8 | 16): Emit =>
  (c, data, mask) =>
    seq(
      c.checkFpu(2),
      bytes === 8 ? checkMmx(c) : nop,
      storeVectorCell(c, CB_FPU + FPU_SSE_A, data!.readVector()),
      storeVectorCell(c, CB_FPU + FPU_SSE_B, mask!.readVector()),
      c.helper('maskedStore', bytes),
      bytes === 8 ? enterMmx(c) : nop,
    );
