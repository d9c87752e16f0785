/** PUSH, POP and their kin. In legacy modes every access passes the stack segment's limits. */
import { CB_SEG, CB_SLOW_VALUE, Flag, Rights, SEG_ACCESS, SEG_SIZE } from '../memory/control-block.ts';
import { Reg, Seg } from '../interface.ts';
import { choose, i32, i64, nop, seq, when, type I64, type Stmt } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';
import { SLOW_STACK, type EmitContext, type IntSize } from './context.ts';
import type { Emit } from './integer.ts';

/** Stack pointer mask in legacy modes. */
const stackMask = (c: EmitContext): I64 =>
  choose(
    i32.and(c.load32(CB_SEG + Seg.ss * SEG_SIZE + SEG_ACCESS), i32.const(Rights.big)),
    i64.const(0xffffffff),
    i64.const(0xffff),
  );

/** rSP becomes `value`: the whole register, or as much as the stack segment's size says. */
const setStackPointer = (c: EmitContext, value: I64): Stmt => {
  if (c.mode === 'long') return c.setGpr(Reg.rsp, 8, value);
  return when(
    i32.and(c.load32(CB_SEG + Seg.ss * SEG_SIZE + SEG_ACCESS), i32.const(Rights.big)),
    c.setGpr(Reg.rsp, 4, value),
    c.setGpr(Reg.rsp, 2, value),
  );
};

/** Linear address of a stack slot at offset `offset` (already wrapped), or a stack fault. */
function stackAddress(c: EmitContext, offset: I64, size: number, write: boolean): { prepare: Stmt; address: Local<'i64'> } {
  const address = c.i64();
  if (c.mode === 'long') return { prepare: address.set(offset), address };
  const call = c.runtime.legacyAddress.call('i64', i32.const(Seg.ss), offset, i32.const(size | (write ? 0x100 : 0)));
  return {
    prepare: seq(address.set(call), when(i64.eq(address.get, i64.const(-1)), c.helper('segmentFault', Seg.ss))),
    address,
  };
}

const wrapStack = (c: EmitContext, value: I64): I64 => (c.mode === 'long' ? value : i64.and(value, stackMask(c)));

/** Push the low `size` bytes; registers change only after the store. `stored`: bytes written, where fewer than the slot has. `between` runs after the store, before rSP moves. */
export function push(c: EmitContext, size: IntSize, value: I64, stored = size, between: Stmt = nop): Stmt {
  const data = c.i64();
  const top = c.i64();
  const slot = stackAddress(c, top.get, stored, true);
  return seq(
    data.set(value),
    top.set(wrapStack(c, i64.sub(c.gpr(Reg.rsp, 8), i64.const(size)))),
    slot.prepare,
    c.storeMemory(stored, slot.address.get, data.get, SLOW_STACK),
    between,
    setStackPointer(c, top.get),
  );
}

/** PUSH of a segment register: a 32-bit slot gets only its low half written, as Intel's processors do (SDM vol. 2, PUSH). */
export const pushSegment = (c: EmitContext, size: IntSize, selector: I64): Stmt => push(c, size, selector, size === 4 ? 2 : size);

/** Read the top of the stack into a local; `commit` then moves rSP past it (and `extra` bytes more). */
export function pop(c: EmitContext, size: IntSize): { read: Stmt; value: Local<'i64'>; commit: (extra?: I64) => Stmt } {
  const value = c.i64();
  const top = c.i64();
  const slot = stackAddress(c, top.get, size, false);
  return {
    read: seq(
      top.set(wrapStack(c, c.gpr(Reg.rsp, 8))),
      slot.prepare,
      value.set(c.loadMemory(size, slot.address.get, false, SLOW_STACK)),
    ),
    value,
    commit: (extra) => setStackPointer(c, i64.add(i64.add(top.get, i64.const(size)), extra ?? i64.const(0))),
  };
}

export const pushOperand: Emit = (c, src) => push(c, src!.size as IntSize, src!.read());

/** An immediate has no size of its own here: the operand size comes in a second, unused operand. */
export const pushImmediate: Emit = (c, imm, sized) => push(c, sized!.size as IntSize, imm!.read());

/** POP: rSP has moved already when a memory destination's address is formed (the decoder corrects the displacement). */
export const popOperand: Emit = (c, dst) => {
  const top = pop(c, dst!.size as IntSize);
  // POP rSP: the value popped wins over the increment.
  return dst!.isMemory
    ? seq(top.read, dst!.write(top.value.get), top.commit())
    : seq(top.read, top.commit(), dst!.write(top.value.get));
};

export const leave: Emit = (c, sized) => {
  const size = sized!.size as IntSize;
  const value = c.i64();
  const frame = c.i64();
  const slot = stackAddress(c, frame.get, size, false);
  return seq(
    frame.set(wrapStack(c, c.gpr(Reg.rbp, 8))),
    slot.prepare,
    value.set(c.loadMemory(size, slot.address.get, false, SLOW_STACK)),
    setStackPointer(c, i64.add(frame.get, i64.const(size))),
    c.setGpr(Reg.rbp, size, value.get),
  );
};

/** PUSHF: VM and RF read as zero. IOPL matters in virtual-8086 mode only, which the helper handles. */
export const pushf: Emit = (c, sized) => {
  const value = i32.or(c.runtime.statusFlags.call('i32'), i32.and(c.rflags(), i32.const(~(Flag.vm | Flag.rf))));
  const body = push(c, sized!.size as IntSize, i64.extendU(value));
  return c.mode === 'long' ? body : seq(when(i32.and(c.rflags(), i32.const(Flag.vm)), c.helper('checkVm86Iopl')), body);
};

/** POPF: what may change depends on privilege; ends the block, because IF, TF and AC may. */
export const popf: Emit = (c, sized) => {
  const top = pop(c, sized!.size as IntSize);
  return seq(
    top.read,
    c.store64(CB_SLOW_VALUE, top.value.get),
    c.helper('popfCheck', sized!.size),
    top.commit(),
    c.helper('popf', sized!.size),
  );
};

/** PUSHA, POPA. */
export const pusha: Emit = (c, sized) => c.helper('pusha', sized!.size);
export const popa: Emit = (c, sized) => c.helper('popa', sized!.size);
