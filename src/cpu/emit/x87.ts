/**
 * x87 instructions: operands to and from memory here, everything else in the operation's TypeScript
 * (fpu/x87-operations.ts). A store changes no register before its memory write is through.
 */
import { CB_FPU, CB_FPU_TRAP, CB_SLOW_VA } from '../memory/control-block.ts';
import {
  FPU_CONDITION,
  FPU_ENVIRONMENT,
  FPU_FCW,
  FPU_FSW,
  FPU_FXSAVE,
  FPU_IMAGE_SIZE,
  FPU_OPERAND,
  FPU_OPERAND_POINTER,
  FPU_RFLAGS,
  FPU_STORE,
} from '../fpu/state.ts';
import { waits, X87_OPERATIONS, x87OperationNumber } from '../fpu/x87-operations.ts';
import { Reg } from '../interface.ts';
import { Label } from '../wasm/encoder.ts';
import { brIf, drop, i32, i64, loop, nop, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';
import type { EmitContext, IntSize, Operand } from './context.ts';
import { condition, setStatus } from './flags.ts';
import { checkX87, load16 } from './fpu-state.ts';
import type { Emit } from './integer.ts';

/** #NM only: instructions that do not wait for exceptions. */
const checkAvailable = (c: EmitContext): Stmt => when(i32.and(c.load32(CB_FPU_TRAP), i32.const(1)), c.helper('x87NotAvailable'));

/** A helper's argument: operation number, and the low three bits of the escape opcode for FOP. */
const x87Argument = (operation: number, escape: number): number => operation | ((escape & 7) << 16);

/** Copy bytes between memory at a linear address and a buffer of the control block, `unit` bytes at a time. */
function copy(c: EmitContext, address: Local<'i64'>, buffer: number, size: number, unit: IntSize, toMemory: boolean): Stmt {
  const at = c.i32();
  const again = new Label();
  const linear = (): I64 => i64.add(address.get, i64.extendU(at.get));
  const cell = c.cb + CB_FPU + buffer;
  const step =
    unit === 8
      ? toMemory
        ? c.storeMemory(8, linear(), i64.load(at.get, cell))
        : i64.store(at.get, c.loadMemory(8, linear()), cell)
      : toMemory
        ? c.storeMemory(2, linear(), i64.load16U(at.get, cell))
        : i64.store16(at.get, c.loadMemory(2, linear()), cell);
  return seq(
    at.set(i32.const(0)),
    loop(again, seq(step, at.set(i32.add(at.get, i32.const(unit))), brIf(again, i32.ltU(at.get, i32.const(size))))),
  );
}

/** A register operation, or one without operands. */
export const register =
  (name: string, escape: number, cc?: number): Emit =>
  (c) => {
    const number = x87OperationNumber(name);
    const operation = X87_OPERATIONS[number]!;
    return seq(
      waits(operation) ? checkX87(c) : checkAvailable(c),
      cc === undefined ? nop : c.store32(CB_FPU + FPU_CONDITION, condition(c, cc)),
      c.helper('x87', x87Argument(number, escape)),
      operation.setsFlags ? setStatus(c, c.load32(CB_FPU + FPU_RFLAGS)) : nop,
    );
  };

const loadOperand = (c: EmitContext, address: I64, size: number): Stmt =>
  size === 10
    ? seq(
        c.store64(CB_FPU + FPU_OPERAND, c.loadMemory(8, address)),
        c.store64(CB_FPU + FPU_OPERAND + 8, c.loadMemory(2, i64.add(address, i64.const(8)))),
      )
    : c.store64(CB_FPU + FPU_OPERAND, c.loadMemory(size as IntSize, address));

const storeOperand = (c: EmitContext, address: I64, size: number): Stmt =>
  size === 10
    ? seq(
        c.storeMemory(8, address, c.load64(CB_FPU + FPU_OPERAND)),
        c.storeMemory(2, i64.add(address, i64.const(8)), c.load64(CB_FPU + FPU_OPERAND + 8)),
      )
    : c.storeMemory(size as IntSize, address, c.load64(CB_FPU + FPU_OPERAND));

/** An operation with a memory operand of up to 10 bytes. */
export const memory =
  (name: string, escape: number): Emit =>
  (c, operand) => {
    const number = x87OperationNumber(name);
    const operation = X87_OPERATIONS[number]!;
    const address = c.i64();
    const argument = x87Argument(number, escape);
    return seq(
      waits(operation) ? checkX87(c) : checkAvailable(c),
      address.set(operand!.address()),
      c.store64(CB_FPU + FPU_OPERAND_POINTER, address.get),
      operation.load ? loadOperand(c, address.get, operation.load) : nop,
      c.helper('x87', argument),
      operation.store
        ? seq(when(c.load32(CB_FPU + FPU_STORE), storeOperand(c, address.get, operation.store)), c.helper('x87Stored', argument))
        : nop,
    );
  };

/** FNSTCW, FNSTSW: nothing changes, so no TypeScript is needed. */
const storeWord =
  (value: (c: EmitContext) => I32): Emit =>
  (c, dst) =>
    seq(checkAvailable(c), dst!.write(i64.extendU(value(c))));
export const fnstcw = storeWord((c) => load16(c, CB_FPU + FPU_FCW));
export const fnstsw = storeWord((c) => load16(c, CB_FPU + FPU_FSW));
export const fnstswAx: Emit = (c) => seq(checkAvailable(c), c.setGpr(Reg.rax, 2, i64.extendU(load16(c, CB_FPU + FPU_FSW))));

/** FWAIT: helper only when an exception is pending, or MP and TS may forbid it. */
export const fwait: Emit = (c) =>
  when(i32.or(c.load32(CB_FPU_TRAP), i32.and(load16(c, CB_FPU + FPU_FSW), i32.const(0x80))), c.helper('fwait'));

/**
 * FNSTENV, FLDENV, FNSAVE, FRSTOR. In legacy modes the layout is that of real-address mode when PE is clear or VM set:
 * the helper decides by CR0 and RFLAGS, and the operation's number is that of the protected form.
 */
export const environment =
  (name: 'fnstenv' | 'fldenv' | 'fnsave' | 'frstor', escape: number): Emit =>
  (c, operand, sized) => {
    const wide = sized!.size !== 2;
    const number = x87OperationNumber(`${name} protected${wide ? 32 : 16}`);
    const { load, store } = X87_OPERATIONS[number]!;
    const address = c.i64();
    const argument = x87Argument(number, escape);
    return seq(
      waits(X87_OPERATIONS[number]!) ? checkX87(c) : checkAvailable(c),
      address.set(operand!.address()),
      load ? copy(c, address, FPU_ENVIRONMENT, load, 2, false) : nop,
      c.helper('x87Environment', argument),
      store ? seq(copy(c, address, FPU_ENVIRONMENT, store, 2, true), c.helper('x87Stored', argument)) : nop,
    );
  };

/** Bytes of an FXSAVE image that are written: without the reserved end, and XMM8 to XMM15 in 64-bit mode only. */
const fxsaveBytes = (c: EmitContext): number => (c.mode === 'long' ? 416 : 288);
const checkFxsave = (c: EmitContext, address: Local<'i64'>, operand: Operand): Stmt =>
  seq(
    checkAvailable(c),
    address.set(operand.address()),
    when(
      i64.ne(i64.and(address.get, i64.const(15)), i64.const(0)),
      seq(c.store64(CB_SLOW_VA, address.get), c.helper('fxsaveMisaligned')),
    ),
  );
/** Argument bits of the FXSAVE helpers: REX.W; 64-bit mode. */
const fxsaveArgument = (c: EmitContext, sized: Operand): number => (sized.size === 8 ? 1 : 0) | (c.mode === 'long' ? 2 : 0);

/** The whole image of 512 bytes must be accessible, and its end is looked at first, though not all of it is used. */
const lastByte = (address: Local<'i64'>): I64 => i64.add(address.get, i64.const(FPU_IMAGE_SIZE - 1));

export const fxsave: Emit = (c, operand, sized) => {
  const address = c.i64();
  return seq(
    checkFxsave(c, address, operand!),
    c.updateMemory(1, lastByte(address), (old) => ({ value: old.get }), nop),
    c.helper('fxsave', fxsaveArgument(c, sized!)),
    copy(c, address, FPU_FXSAVE, fxsaveBytes(c), 8, true),
  );
};
export const fxrstor: Emit = (c, operand, sized) => {
  const address = c.i64();
  return seq(
    checkFxsave(c, address, operand!),
    drop(c.loadMemory(1, lastByte(address))),
    copy(c, address, FPU_FXSAVE, fxsaveBytes(c), 8, false),
    c.helper('fxrstor', fxsaveArgument(c, sized!)),
  );
};
