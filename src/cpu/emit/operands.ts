/** The kinds of operand an instruction can have, over an EmitContext. */
import { i32, i64, seq, type I32, type I64, type Stmt, type V128 } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';
import type { EmitContext, IntSize, Operand } from './context.ts';

const refuse = (what: string) => (): never => {
  throw new Error(`emitter: ${what}`);
};

/** A register (general, MMX or XMM) by its offset in the control block. */
export function registerOperand(c: EmitContext, offset: I32, size: number): Operand {
  const n = size as IntSize;
  const operand: Operand = {
    size,
    isMemory: false,
    read: () => c.readRegister(offset, n, false),
    readSigned: () => c.readRegister(offset, n, true),
    write: (value) => c.storeRegister(offset, 0, n, value),
    readVector: () => c.readVectorRegister(offset),
    writeVector: (value) => c.storeVectorRegister(offset, value),
    address: refuse('a register has no address'),
    update(compute, commit) {
      const old = c.i64();
      const { prepare, value } = compute(old);
      return seq(old.set(operand.readSigned()), prepare ?? (() => {}), operand.write(value), commit);
    },
  };
  return operand;
}

/**
 * A memory operand. Its address is worked out at each use: emitters that use it twice keep it in a local first.
 * `aligned`: 16-byte accesses must be aligned (legacy SSE).
 */
export function memoryOperand(c: EmitContext, address: () => I64, size: number, aligned: boolean, slowFlags: number): Operand {
  const n = size as IntSize;
  return {
    size,
    isMemory: true,
    read: () => c.loadMemory(n, address(), false, slowFlags),
    readSigned: () => c.loadMemory(n, address(), true, slowFlags),
    write: (value) => c.storeMemory(n, address(), value, slowFlags),
    readVector: () => c.loadVector(address(), aligned),
    writeVector: (value) => c.storeVector(address(), value, aligned),
    address,
    update: (compute: (old: Local<'i64'>) => { prepare?: Stmt; value: I64 }, commit: Stmt) =>
      c.updateMemory(n, address(), compute, commit),
  };
}

/** An immediate, sign-extended to 64 bits by the decoder. */
export function immediateOperand(value: () => I64, size: number): Operand {
  const fixed = refuse('an immediate cannot be written');
  return {
    size,
    isMemory: false,
    read: value,
    readSigned: value,
    write: fixed,
    readVector: (): V128 => refuse('an immediate is not a vector')(),
    writeVector: fixed,
    address: fixed,
    update: fixed,
  };
}

export const fixedRegister = (c: EmitContext, index: number, size: number): Operand =>
  registerOperand(c, i32.const(index * 8), size);
export const constantOperand = (value: number): Operand => immediateOperand(() => i64.const(value), 1);
