/** x87, MMX and SSE state as emitters reach it: cells of the control block's FPU area, checks before an instruction. */
import { CB_FPU, CB_FPU_TRAP } from '../memory/control-block.ts';
import { FPU_FSW, FPU_FTW, Fsw } from '../fpu/state.ts';
import { i32, i64, seq, v128, when, type I32, type I64, type Stmt, type V128 } from '../wasm/expr.ts';
import type { EmitContext, Operand } from './context.ts';
import { fromHalves } from './simd.ts';

const ZERO = i32.const(0);

/** Offsets from the control block. */
export const load16 = (c: EmitContext, offset: number): I32 => i32.load16U(ZERO, c.cb + offset);
const store16 = (c: EmitContext, offset: number, value: I32): Stmt => i32.store16(ZERO, value, c.cb + offset);
export const store8 = (c: EmitContext, offset: number, value: I32): Stmt => i32.store8(ZERO, value, c.cb + offset);
export const loadVectorCell = (c: EmitContext, offset: number): V128 => v128.load(ZERO, c.cb + offset);
export const storeVectorCell = (c: EmitContext, offset: number, value: V128): Stmt => v128.store(ZERO, value, c.cb + offset);

/** x87 may not run, or an unmasked x87 exception is pending. */
const x87Blocked = (c: EmitContext): I32 =>
  i32.or(i32.and(c.load32(CB_FPU_TRAP), i32.const(1)), i32.and(load16(c, CB_FPU + FPU_FSW), i32.const(Fsw.summary)));

/** #NM or #MF before a waiting x87 instruction. */
export const checkX87 = (c: EmitContext): Stmt => when(x87Blocked(c), c.helper('x87NotAvailable'));
/** #UD, #NM or #MF before an MMX instruction. */
export const checkMmx = (c: EmitContext): Stmt => when(x87Blocked(c), c.helper('mmxNotAvailable'));

/** The checks, then the change to MMX state: TOP 0, every register valid (SDM vol. 1, 9.6.2). */
export function enterMmx(c: EmitContext): Stmt {
  return seq(
    checkMmx(c),
    store16(c, CB_FPU + FPU_FSW, i32.and(load16(c, CB_FPU + FPU_FSW), i32.const(~Fsw.top & 0xffff))),
    store8(c, CB_FPU + FPU_FTW, i32.const(0xff)),
  );
}

/** A write to an MMX register sets the 16 bits above to ones (exponent and sign of the x87 register). */
export const writeMmx = (dst: Operand, value: I64): Stmt => dst.writeVector(fromHalves(value, i64.const(0xffff)));
