/** Near jumps, calls and returns. */

import { i32, i64, nop, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import type { EmitContext, IntSize } from './context.ts';
import { condition } from './flags.ts';
import type { Emit } from './integer.ts';
import { pop, push } from './stack.ts';

/** IP wraps at the operand size outside 64-bit mode. */
const wrapIp = (c: EmitContext, target: I64, size: number): I64 =>
  c.mode === 'long' ? target : i64.and(target, i64.const(size === 2 ? 0xffff : 0xffffffff));

/** Target of a relative branch: REC_AUX holds the distance from the next instruction. */
const relativeTarget = (c: EmitContext, size: number): I64 => wrapIp(c, i64.add(c.nextRip(), i64.extendS(c.site.aux())), size);

/** Both ways inside this code page: records chain directly. Else: through the jump cache. */
const branch =
  (chained: boolean, taken: (c: EmitContext) => I32): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    const fallThrough = wrapIp(c, c.nextRip(), sized!.size);
    return chained
      ? when(taken(c), c.site.jumpChained('taken', target), c.site.jumpChained('notTaken', fallThrough))
      : when(taken(c), c.site.jumpTo(target), c.site.jumpTo(fallThrough));
  };

export const jcc = (cc: number, chained: boolean): Emit => branch(chained, (c) => condition(c, cc));

export const jmp =
  (chained: boolean): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    return chained ? c.site.jumpChained('taken', target) : c.site.jumpTo(target);
  };

export const call =
  (chained: boolean): Emit =>
  (c, sized) => {
    const target = relativeTarget(c, sized!.size);
    return seq(
      push(c, sized!.size as IntSize, c.nextRip()),
      chained ? c.site.jumpChained('taken', target) : c.site.jumpTo(target),
    );
  };

/** A 64-bit target that is not canonical is #GP(0) at the branch itself, before anything changes (SDM vol. 2, JMP, CALL, RET). */
const checkCanonical = (c: EmitContext, to: I64): Stmt =>
  c.mode === 'long' ? when(i64.ne(i64.shrS(i64.shl(to, i64.const(16)), i64.const(16)), to), c.helper('notCanonical')) : nop;

export const jmpIndirect: Emit = (c, target) => {
  const to = c.i64();
  return seq(to.set(target!.read()), checkCanonical(c, to.get), c.site.jumpTo(to.get));
};

export const callIndirect: Emit = (c, target) => {
  const to = c.i64();
  const size = target!.size as IntSize;
  return seq(to.set(target!.read()), push(c, size, c.nextRip(), size, checkCanonical(c, to.get)), c.site.jumpTo(to.get));
};

export const ret: Emit = (c, sized) => {
  const top = pop(c, sized!.size as IntSize);
  return seq(top.read, checkCanonical(c, top.value.get), top.commit(), c.site.jumpTo(top.value.get));
};

/** RET imm16: drops the immediate's bytes of parameters too. */
export const retImmediate: Emit = (c, sized, bytes) => {
  const top = pop(c, sized!.size as IntSize);
  return seq(
    top.read,
    checkCanonical(c, top.value.get),
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
    const body = branch(chained, (ctx) => (cc === undefined ? more : i32.and(more, condition(ctx, cc))));
    const mask = counter!.size === 8 ? -1n : (1n << BigInt(counter!.size * 8)) - 1n;
    return seq(
      left.set(i64.and(i64.sub(counter!.read(), i64.const(1)), i64.const(BigInt.asIntN(64, mask)))),
      counter!.write(left.get),
      body(c, sized!),
    );
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
