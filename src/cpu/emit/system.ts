/**
 * Instructions whose meaning is long and rare: the emitter hands the operand over and calls the helper that holds the
 * meaning (helpers.ts lists them). What is frequent in a kernel (CLI, STI, MOV from a segment register …) is here in full.
 */
import {
  CB_BUDGET,
  CB_RFLAGS,
  CB_SEG,
  CB_SHADOW,
  CB_SHADOW_RIP,
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  CB_WINDOW,
  Flag,
  SEG_SELECTOR,
  SEG_SIZE,
} from '../memory/control-block.ts';
import type { HelperName } from './helpers.ts';
import { Reg } from '../interface.ts';
import { drop, i32, i64, seq, when, type I32, type Stmt } from '../wasm/expr.ts';
import type { EmitContext, Operand } from './context.ts';
import type { Emit } from './integer.ts';

/** A helper and nothing else. */
export const call =
  (name: HelperName, argument = 0): Emit =>
  (c) =>
    c.helper(name, argument);
/** The helper gets the operand's size. */
export const callSized =
  (name: HelperName): Emit =>
  (c, sized) =>
    c.helper(name, sized!.size);
/** The helper finds the operand's linear address in CB_SLOW_VA; argument: operand size. */
export const withAddress =
  (name: HelperName): Emit =>
  (c, operand, sized) =>
    seq(c.store64(CB_SLOW_VA, operand!.address()), c.helper(name, (sized ?? operand)!.size));
/** The helper finds the operand's value in CB_SLOW_VALUE; argument: operand size, or the number given. */
export const withValue =
  (name: HelperName, argument?: number): Emit =>
  (c, operand) =>
    seq(c.store64(CB_SLOW_VALUE, operand!.read()), c.helper(name, argument ?? operand!.size));
/** The helper leaves the result in CB_SLOW_VALUE. */
export const toOperand =
  (name: HelperName): Emit =>
  (c, operand) =>
    seq(c.helper(name, operand!.size), operand!.write(c.load64(CB_SLOW_VALUE)));
/** The helper gets the source's value and leaves a result. */
export const through =
  (name: HelperName): Emit =>
  (c, dst, src) =>
    seq(c.store64(CB_SLOW_VALUE, src!.read()), c.helper(name, dst!.size), dst!.write(c.load64(CB_SLOW_VALUE)));

/** IF may be changed here: CPL <= IOPL (and not virtual-8086 mode, where CPL is 3 and IOPL decides too). */
const mayChangeIf = (c: EmitContext): I32 => i32.leU(i32.shl(c.cpl(), i32.const(12)), i32.and(c.rflags(), i32.const(Flag.iopl)));

export const cli: Emit = (c) =>
  when(mayChangeIf(c), c.store32(CB_RFLAGS, i32.and(c.rflags(), i32.const(~Flag.if))), c.helper('ifRefused'));

/** STI holds interrupts off for one more instruction (SDM vol. 2, STI), unless IF was set already. */
export const sti: Emit = (c) =>
  when(
    mayChangeIf(c),
    seq(
      when(
        i32.eqz(i32.and(c.rflags(), i32.const(Flag.if))),
        seq(c.store64(CB_SHADOW_RIP, c.nextRip()), c.store32(CB_SHADOW, i32.const(1))),
      ),
      c.store32(CB_RFLAGS, i32.or(c.rflags(), i32.const(Flag.if))),
      when(c.load32(CB_WINDOW), c.helper('stopAfter')),
    ),
    c.helper('ifRefused'),
  );

export const cld: Emit = (c) => c.store32(CB_RFLAGS, i32.and(c.rflags(), i32.const(~Flag.df)));
export const std: Emit = (c) => c.store32(CB_RFLAGS, i32.or(c.rflags(), i32.const(Flag.df)));

/** MOV Ev, Sw: the record's A field is the segment number. Memory takes 16 bits, a register its operand size. */
export const movFromSegment: Emit = (c, dst) =>
  dst!.write(i64.load32U(i32.shl(c.site.fieldA(), i32.const(5)), c.cb + CB_SEG + SEG_SELECTOR));
/** PUSH of a segment register writes the selector zero-extended. */
export const segmentSelector = (c: EmitContext, seg: number) => i64.extendU(c.load32(CB_SEG + seg * SEG_SIZE + SEG_SELECTOR));

/** `$v` comes second when the first operand is the far pointer. */
export const callSized2 =
  (name: HelperName): Emit =>
  (c, _pointer, sized) =>
    c.helper(name, sized!.size);

/** POP of a segment register: argument = segment | size << 4. */
export const popSegment =
  (seg: number): Emit =>
  (c, sized) =>
    c.helper('popSegment', seg | (sized!.size << 4));

/** LDS and kin: the helper loads the segment and the general register; argument = segment | size << 4. */
export const loadFarPointer =
  (seg: number): Emit =>
  (c, dst, pointer) =>
    seq(c.store64(CB_SLOW_VA, pointer!.address()), c.helper('loadFarPointer', seg | (dst!.size << 4)));

/** The helper gets a number; its result goes to the operand. */
export const toOperandWith =
  (name: HelperName, argument: number): Emit =>
  (c, operand) =>
    seq(c.helper(name, argument), operand!.write(c.load64(CB_SLOW_VALUE)));

/** ARPL: the source's value goes above the destination's, 16 bits each; the helper leaves the adjusted selector. */
export const arpl: Emit = (c, dst, src) => {
  const fresh = c.i64();
  return seq(
    c.store64(CB_SLOW_VALUE, i64.or(dst!.read(), i64.shl(src!.read(), i64.const(16)))),
    c.helper('arpl'),
    fresh.set(c.load64(CB_SLOW_VALUE)),
    dst!.write(fresh.get),
  );
};

/** CLFLUSH: faults like a load, does nothing (memory is coherent). */
export const touch = (operand: Operand): Stmt => drop(operand.read());
export const nothing: Emit = () => seq();

/** Port I/O: CB_SLOW_VALUE holds the port, the argument the size. */
export const portImmediate =
  (name: 'in' | 'out', size: number): Emit =>
  (c, first, second) => {
    const port = name === 'in' ? second! : first!;
    return seq(c.store64(CB_SLOW_VALUE, i64.and(port.read(), i64.const(0xff))), c.helper(name, size));
  };
export const portImmediateSized =
  (name: 'in' | 'out'): Emit =>
  (c, port, sized) =>
    seq(c.store64(CB_SLOW_VALUE, i64.and(port!.read(), i64.const(0xff))), c.helper(name, sized!.size));
export const portDx =
  (name: 'in' | 'out', size: number): Emit =>
  (c) =>
    seq(c.store64(CB_SLOW_VALUE, c.gpr(Reg.rdx, 2)), c.helper(name, size));
export const portDxSized =
  (name: 'in' | 'out'): Emit =>
  (c, sized) =>
    seq(c.store64(CB_SLOW_VALUE, c.gpr(Reg.rdx, 2)), c.helper(name, sized!.size));

/** RDTSC: the helper works out how many instructions this run has retired. */
export const timestamp =
  (name: HelperName): Emit =>
  (c) =>
    seq(c.store32(CB_BUDGET, c.site.budget()), c.helper(name));
