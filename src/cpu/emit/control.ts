/** Near jumps, calls and returns. */

import { i32, i64, nop, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import { Seg } from '../interface.ts';
import { CB_SEG, SEG_LIMIT, SEG_SIZE } from '../memory/control-block.ts';
import type { EmitContext, IntSize } from './context.ts';
import { condition } from './flags.ts';
import type { Emit } from './integer.ts';
import { pop, push } from './stack.ts';

/** IP wraps at the operand size outside 64-bit mode. */
const wrapIp = (c: EmitContext, target: I64, size: number): I64 =>
  c.mode === 'long' ? target : i64.and(target, i64.const(size === 2 ? 0xffff : 0xffffffff));

/** Target of a relative branch: REC_AUX holds the distance from the next instruction. */
const relativeTarget = (c: EmitContext, size: number): I64 => wrapIp(c, i64.add(c.nextRip(), i64.extendS(c.site.aux())), size);

/**
 * A target that is not canonical, or behind the code segment's limit, is #GP(0) at the branch itself, before anything changes (SDM
 * vol. 2, Jcc, JMP, CALL, RET). A relative branch in 64-bit mode needs no check: the fetch finds what is not canonical.
 */
const checkTarget = (c: EmitContext, to: I64, relative = false): Stmt => {
  if (c.mode === 'long')
    return relative ? nop : when(i64.ne(i64.shrS(i64.shl(to, i64.const(16)), i64.const(16)), to), c.helper('targetRefused'));
  return when(i32.gtU(i32.wrap(to), c.load32(CB_SEG + Seg.cs * SEG_SIZE + SEG_LIMIT)), c.helper('targetRefused'));
};

/**
 * Both ways inside this code page: records chain directly. Else: through the jump cache. `commit`: what the instruction changes
 * besides RIP, once nothing can fail.
 */
const branch =
  (chained: boolean, taken: (c: EmitContext) => I32, commit: Stmt = nop): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    // What follows lies behind the branch, even where 16-bit code comes to its end: only a taken branch wraps at 64 KiB.
    const fallThrough = wrapIp(c, c.nextRip(), 4);
    return chained
      ? seq(commit, when(taken(c), c.site.jumpChained('taken', target), c.site.jumpChained('notTaken', fallThrough)))
      : when(taken(c), seq(checkTarget(c, target, true), commit, c.site.jumpTo(target)), seq(commit, c.site.jumpTo(fallThrough)));
  };

export const jcc = (cc: number, chained: boolean): Emit => branch(chained, (c) => condition(c, cc));

export const jmp =
  (chained: boolean): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    return chained ? c.site.jumpChained('taken', target) : seq(checkTarget(c, target, true), c.site.jumpTo(target));
  };

export const call =
  (chained: boolean): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    return seq(
      checkTarget(c, target, true),
      push(c, sized!.size as IntSize, c.nextRip()),
      chained ? c.site.jumpChained('taken', target) : c.site.jumpTo(target),
    );
  };

export const jmpIndirect: Emit = (c, target) => {
  const to = c.i64();
  return seq(to.set(target!.read()), checkTarget(c, to.get), c.site.jumpComputed(to.get));
};

export const callIndirect: Emit = (c, target) => {
  const to = c.i64();
  const size = target!.size as IntSize;
  return seq(to.set(target!.read()), push(c, size, c.nextRip(), size, checkTarget(c, to.get)), c.site.jumpTo(to.get));
};

export const ret: Emit = (c, sized) => {
  const top = pop(c, sized!.size as IntSize);
  return seq(top.read, checkTarget(c, top.value.get), top.commit(), c.site.jumpTo(top.value.get));
};

/** RET imm16: drops the immediate's bytes of parameters too. */
export const retImmediate: Emit = (c, sized, bytes) => {
  const top = pop(c, sized!.size as IntSize);
  return seq(
    top.read,
    checkTarget(c, top.value.get),
    top.commit(i64.and(bytes!.read(), i64.const(0xffff))),
    c.site.jumpTo(top.value.get),
  );
};

/** LOOP, LOOPE, LOOPNE: counts in rCX of the address size. `cc` undefined: plain LOOP. */
export const loopcc =
  (cc: number | undefined, chained: boolean): Emit =>
  (c, sized, _size, counter) => {
    const left = c.i64();
    const more = i64.ne(left.get, i64.const(0));
    const taken = (ctx: EmitContext): I32 => (cc === undefined ? more : i32.and(more, condition(ctx, cc)));
    const body = branch(chained, taken, counter!.write(left.get));
    const mask = counter!.size === 8 ? -1n : (1n << BigInt(counter!.size * 8)) - 1n;
    return seq(left.set(i64.and(i64.sub(counter!.read(), i64.const(1)), i64.const(BigInt.asIntN(64, mask)))), body(c, sized!));
  };

export const jcxz =
  (chained: boolean): Emit =>
  (c, sized, _size, counter) =>
    branch(chained, () => i64.eqz(counter!.read()))(c, sized!);

/** The end of a block that runs into the next one without a branch. */
export const fallThrough =
  (chained: boolean): Emit =>
  (c) =>
    chained ? c.site.jumpChained('taken', c.site.rip()) : c.site.jumpTo(c.site.rip());
