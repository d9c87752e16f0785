/** RFLAGS status bits: lazily recorded, worked out when asked. */
import {
  CB_LF_CF,
  CB_LF_KIND,
  CB_LF_OF,
  CB_LF_RESULT,
  CB_LF_SRC1,
  CB_LF_SRC2,
  CB_STATUS,
  Flag,
  LazyKind,
} from '../memory/control-block.ts';
import { choose, i32, i64, ret, select, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import type { FunctionBuilder } from '../wasm/module.ts';
import type { EmitContext } from './context.ts';

/** Condition codes as encoded in Jcc, SETcc, CMOVcc (SDM vol. 2, B.1.4.7). */
export const CONDITION_NAMES = ['o', 'no', 'b', 'ae', 'z', 'nz', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'] as const;

type Cell = { load32(offset: number): I32; load64(offset: number): I64 };

/** All values sign-extended to 64 bits. */
export const setLogic = (c: EmitContext, result: I64): Stmt =>
  seq(c.store64(CB_LF_RESULT, result), c.store32(CB_LF_KIND, i32.const(LazyKind.logic)));

const setOperands = (c: EmitContext, kind: number, result: I64, src1: I64, src2: I64): Stmt =>
  seq(
    c.store64(CB_LF_RESULT, result),
    c.store64(CB_LF_SRC1, src1),
    c.store64(CB_LF_SRC2, src2),
    c.store32(CB_LF_KIND, i32.const(kind)),
  );

export const setAdd = (c: EmitContext, result: I64, src1: I64, src2: I64): Stmt =>
  setOperands(c, LazyKind.add, result, src1, src2);
export const setSub = (c: EmitContext, result: I64, src1: I64, src2: I64): Stmt =>
  setOperands(c, LazyKind.sub, result, src1, src2);

/** Like an addition or subtraction but with CF given (0 or 1): INC, DEC, ADC, SBB. */
export const setAddKeepCf = (c: EmitContext, result: I64, src1: I64, src2: I64, cf: I32): Stmt =>
  seq(c.store32(CB_LF_CF, cf), setOperands(c, LazyKind.addKeepCf, result, src1, src2));
export const setSubKeepCf = (c: EmitContext, result: I64, src1: I64, src2: I64, cf: I32): Stmt =>
  seq(c.store32(CB_LF_CF, cf), setOperands(c, LazyKind.subKeepCf, result, src1, src2));

/** Shifts: ZF, SF, PF of the result; CF and OF given; AF clear. */
export const setShift = (c: EmitContext, result: I64, cf: I32, of: I32): Stmt =>
  seq(
    c.store64(CB_LF_RESULT, result),
    c.store32(CB_LF_CF, cf),
    c.store32(CB_LF_OF, of),
    c.store32(CB_LF_KIND, i32.const(LazyKind.shift)),
  );

/** All six bits, in RFLAGS positions. */
export const setStatus = (c: EmitContext, bits: I32): Stmt =>
  seq(c.store32(CB_STATUS, bits), c.store32(CB_LF_KIND, i32.const(LazyKind.explicit)));

/** Change some bits, keep the others: `change` gets the present bits. */
export function changeStatus(c: EmitContext, change: (bits: I32) => I32): Stmt {
  const bits = c.i32();
  return seq(bits.set(c.runtime.statusFlags.call('i32')), setStatus(c, change(bits.get)));
}

/** CF as 0 or 1. */
export function carry(c: EmitContext): I32 {
  switch (c.flagsFrom) {
    case 'sub':
      return subCarry(c);
    case 'logic':
      return i32.const(0);
    case 'add':
      return addCarry(c);
    default:
      return c.runtime.carryFlag.call('i32');
  }
}

const result = (c: Cell) => c.load64(CB_LF_RESULT);
const src1 = (c: Cell) => c.load64(CB_LF_SRC1);
const src2 = (c: Cell) => c.load64(CB_LF_SRC2);
const subCarry = (c: Cell) => i64.ltU(src1(c), src2(c));
const addCarry = (c: Cell) => i64.ltU(result(c), src1(c));
const negative = (value: I64) => i64.ltS(value, i64.const(0));

/** PF: even number of ones in the low byte. */
const parity = (c: Cell): I32 => i32.eqz(i32.and(i32.popcnt(i32.and(i32.wrap(result(c)), i32.const(0xff))), i32.const(1)));
const addOverflow = (c: Cell) => negative(i64.and(i64.xor(result(c), src1(c)), i64.xor(result(c), src2(c))));
const subOverflow = (c: Cell) => negative(i64.and(i64.xor(src1(c), src2(c)), i64.xor(src1(c), result(c))));

/** Conditions right after a subtraction or comparison: comparisons of its operands. */
const AFTER_SUB: ((c: Cell) => I32)[] = [
  (c) => subOverflow(c),
  (c) => i32.eqz(subOverflow(c)),
  subCarry,
  (c) => i64.geU(src1(c), src2(c)),
  (c) => i64.eq(src1(c), src2(c)),
  (c) => i64.ne(src1(c), src2(c)),
  (c) => i64.leU(src1(c), src2(c)),
  (c) => i64.gtU(src1(c), src2(c)),
  (c) => negative(result(c)),
  (c) => i64.geS(result(c), i64.const(0)),
  parity,
  (c) => i32.eqz(parity(c)),
  (c) => i64.ltS(src1(c), src2(c)),
  (c) => i64.geS(src1(c), src2(c)),
  (c) => i64.leS(src1(c), src2(c)),
  (c) => i64.gtS(src1(c), src2(c)),
];

/** Conditions right after AND, OR, XOR, TEST: CF = OF = 0. */
const AFTER_LOGIC: ((c: Cell) => I32)[] = [
  () => i32.const(0),
  () => i32.const(1),
  () => i32.const(0),
  () => i32.const(1),
  (c) => i64.eqz(result(c)),
  (c) => i64.ne(result(c), i64.const(0)),
  (c) => i64.eqz(result(c)),
  (c) => i64.ne(result(c), i64.const(0)),
  (c) => negative(result(c)),
  (c) => i64.geS(result(c), i64.const(0)),
  parity,
  (c) => i32.eqz(parity(c)),
  (c) => negative(result(c)),
  (c) => i64.geS(result(c), i64.const(0)),
  (c) => i64.leS(result(c), i64.const(0)),
  (c) => i64.gtS(result(c), i64.const(0)),
];

/** Conditions that the result alone decides: ZF, SF, PF. */
const BY_RESULT = new Set([4, 5, 8, 9, 10, 11]);

/** Condition code cc as 0 or 1. */
export function condition(c: EmitContext, cc: number): I32 {
  switch (c.flagsFrom) {
    case 'sub':
      return AFTER_SUB[cc]!(c);
    case 'logic':
      return AFTER_LOGIC[cc]!(c);
    case 'add':
      if (cc === 2) return addCarry(c);
      if (cc === 3) return i32.eqz(addCarry(c));
      break;
    case 'result':
      break;
    case 'any':
      return c.runtime.condition[cc]!.call('i32');
  }
  return BY_RESULT.has(cc) ? AFTER_LOGIC[cc]!(c) : c.runtime.condition[cc]!.call('i32');
}

const kind = (c: Cell) => c.load32(CB_LF_KIND);
const isKind = (c: Cell, value: number) => i32.eq(kind(c), i32.const(value));

/** Body of Runtime.carryFlag. */
export function carryFlagBody(c: Cell): Stmt {
  return seq(
    when(isKind(c, LazyKind.sub), ret(subCarry(c))),
    when(isKind(c, LazyKind.logic), ret(i32.const(0))),
    when(isKind(c, LazyKind.add), ret(addCarry(c))),
    when(isKind(c, LazyKind.explicit), ret(i32.and(c.load32(CB_STATUS), i32.const(1)))),
    ret(c.load32(CB_LF_CF)),
  );
}

const bit = (condition: I32, flag: number): I32 => select(condition, i32.const(flag), i32.const(0));

/** Body of Runtime.statusFlags. */
export function statusFlagsBody(c: Cell, carryFlag: () => I32): Stmt {
  const isAdd = i32.or(isKind(c, LazyKind.add), isKind(c, LazyKind.addKeepCf));
  const isSub = i32.or(isKind(c, LazyKind.sub), isKind(c, LazyKind.subKeepCf));
  const overflow = choose(
    isAdd,
    addOverflow(c),
    choose(isSub, subOverflow(c), choose(isKind(c, LazyKind.shift), c.load32(CB_LF_OF), i32.const(0))),
  );
  const adjust = select(
    i32.or(isAdd, isSub),
    i32.and(i32.wrap(i64.xor(i64.xor(result(c), src1(c)), src2(c))), i32.const(Flag.af)),
    i32.const(0),
  );
  return seq(
    when(isKind(c, LazyKind.explicit), ret(c.load32(CB_STATUS))),
    ret(
      [
        carryFlag(),
        bit(parity(c), Flag.pf),
        adjust,
        bit(i64.eqz(result(c)), Flag.zf),
        bit(negative(result(c)), Flag.sf),
        bit(overflow, Flag.of),
      ].reduce((a, b) => i32.or(a, b)),
    ),
  );
}

/** Body of Runtime.condition[cc]. */
export function conditionBody(c: Cell, cc: number, statusFlags: () => I32, fb: FunctionBuilder): Stmt {
  const f = fb.local('i32');
  const has = (flag: number) => i32.ne(i32.and(f.get, i32.const(flag)), i32.const(0));
  const less = () => i32.ne(has(Flag.sf), has(Flag.of));
  const positive = [
    () => has(Flag.of),
    () => has(Flag.cf),
    () => has(Flag.zf),
    () => has(Flag.cf | Flag.zf),
    () => has(Flag.sf),
    () => has(Flag.pf),
    less,
    () => i32.or(has(Flag.zf), less()),
  ][cc >> 1]!();
  return seq(
    BY_RESULT.has(cc)
      ? when(i32.ne(kind(c), i32.const(LazyKind.explicit)), ret(AFTER_LOGIC[cc]!(c)))
      : seq(when(isKind(c, LazyKind.sub), ret(AFTER_SUB[cc]!(c))), when(isKind(c, LazyKind.logic), ret(AFTER_LOGIC[cc]!(c)))),
    f.set(statusFlags()),
    ret(cc & 1 ? i32.eqz(positive) : positive),
  );
}
