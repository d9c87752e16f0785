/** Shifts and rotates. Source: Intel SDM vol. 2. Flags that the SDM leaves undefined are noted where a choice is made. */
import { Flag } from '../memory/control-block.ts';
import { choose, i32, i64, select, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import { signExtend, zeroExtend, type EmitContext, type Operand } from './context.ts';
import { carry, changeStatus, setShift } from './flags.ts';
import { asI64, bitAt, bits, width, type Emit } from './integer.ts';

const countMask = (dst: Operand) => i64.const(dst.size === 8 ? 63 : 31);
const topBit = (dst: Operand, value: I64): I32 => bitAt(value, i64.const(bits(dst) - 1));

/** A shift: flags change only when the masked count is not zero. OF is defined for a count of 1 only. */
function shift(
  work: (v: I64, count: I64, n: number) => { value: I64; cf: I64; of: (r: I64, cf: I32) => I32 },
  signed: boolean,
): Emit {
  return (c, dst, by) => {
    const n = width(dst!);
    const count = c.i64();
    const v = c.i64();
    const r = c.i64();
    const cf = c.i32();
    const { value, cf: carryBit, of } = work(v.get, count.get, bits(dst!));
    return seq(
      count.set(i64.and(by!.read(), countMask(dst!))),
      dst!.update(
        (old) => ({ prepare: seq(v.set(signed ? old.get : zeroExtend(n, old.get)), r.set(signExtend(n, value))), value: r.get }),
        when(
          i64.ne(count.get, i64.const(0)),
          seq(cf.set(i32.and(i32.wrap(carryBit), i32.const(1))), setShift(c, r.get, cf.get, of(r.get, cf.get))),
        ),
      ),
    );
  };
}

const isNegative = (value: I64): I32 => i64.ltS(value, i64.const(0));

export const shl = shift(
  (v, count, n) => ({
    value: i64.shl(v, count),
    cf: n === 64 ? i64.shrU(v, i64.sub(i64.const(64), count)) : i64.shrU(i64.shl(v, count), i64.const(n)),
    of: (r, cf) => i32.xor(isNegative(r), cf),
  }),
  false,
);
export const shr = shift(
  (v, count, n) => ({
    value: i64.shrU(v, count),
    cf: i64.shrU(v, i64.sub(count, i64.const(1))),
    of: () => bitAt(v, i64.const(n - 1)),
  }),
  false,
);
export const sar = shift(
  (v, count) => ({ value: i64.shrS(v, count), cf: i64.shrS(v, i64.sub(count, i64.const(1))), of: () => i32.const(0) }),
  true,
);

/** Set CF and OF, keep the rest, when the count is not zero. */
const rotateFlags = (c: EmitContext, count: I64, cf: I32, of: I32): Stmt =>
  when(
    i64.ne(count, i64.const(0)),
    changeStatus(c, (f) => i32.or(i32.and(f, i32.const(~(Flag.cf | Flag.of))), i32.or(cf, i32.shl(of, i32.const(11))))),
  );

function rotate(left: boolean): Emit {
  return (c, dst, by) => {
    const n = width(dst!);
    const count = c.i64();
    const v = c.i64();
    const r = c.i64();
    const turn = i64.and(count.get, i64.const(bits(dst!) - 1));
    const back = i64.sub(i64.const(bits(dst!)), turn);
    const value =
      n === 8
        ? (left ? i64.rotl : i64.rotr)(v.get, count.get)
        : left
          ? i64.or(i64.shl(v.get, turn), i64.shrU(v.get, back))
          : i64.or(i64.shrU(v.get, turn), i64.shl(v.get, back));
    const cf = left ? bitAt(r.get, i64.const(0)) : topBit(dst!, r.get);
    const of = left ? i32.xor(topBit(dst!, r.get), cf) : i32.xor(topBit(dst!, r.get), bitAt(r.get, i64.const(bits(dst!) - 2)));
    return seq(
      count.set(i64.and(by!.read(), countMask(dst!))),
      dst!.update(
        (old) => ({ prepare: seq(v.set(zeroExtend(n, old.get)), r.set(value)), value: r.get }),
        rotateFlags(c, count.get, cf, of),
      ),
    );
  };
}
export const rol = rotate(true);
export const ror = rotate(false);

/** RCL, RCR: a rotate of operand and CF together, one bit wider than the operand. */
function rotateThroughCarry(left: boolean): Emit {
  return (c, dst, by) => {
    const n = width(dst!);
    const w = bits(dst!) + 1;
    const count = c.i64();
    const turn = c.i64();
    const v = c.i64();
    const r = c.i64();
    const cin = c.i64();
    const cf = c.i32();
    const x = c.i64();
    let work: Stmt;
    if (n === 8) {
      // 65 bits do not fit: put the pieces together, for turn 1..63.
      const one = i64.const(1);
      const far = (shiftFn: typeof i64.shl) =>
        choose(i64.gtU(turn.get, one), shiftFn(v.get, i64.sub(i64.const(65), turn.get)), i64.const(0));
      const value = left
        ? i64.or(i64.or(i64.shl(v.get, turn.get), i64.shl(cin.get, i64.sub(turn.get, one))), far(i64.shrU))
        : i64.or(i64.or(i64.shrU(v.get, turn.get), i64.shl(cin.get, i64.sub(i64.const(64), turn.get))), far(i64.shl));
      work = when(
        i64.eqz(turn.get),
        seq(r.set(v.get), cf.set(i32.wrap(cin.get))),
        seq(r.set(value), cf.set(left ? bitAt(v.get, i64.sub(i64.const(64), turn.get)) : bitAt(v.get, i64.sub(turn.get, one)))),
      );
    } else {
      const back = i64.sub(i64.const(w), turn.get);
      work = seq(
        x.set(i64.or(v.get, i64.shl(cin.get, i64.const(w - 1)))),
        r.set(
          left
            ? i64.or(i64.shl(x.get, turn.get), i64.shrU(x.get, back))
            : i64.or(i64.shrU(x.get, turn.get), i64.shl(x.get, back)),
        ),
        cf.set(bitAt(r.get, i64.const(w - 1))),
      );
    }
    const of = left
      ? i32.xor(topBit(dst!, r.get), cf.get)
      : i32.xor(topBit(dst!, r.get), bitAt(r.get, i64.const(bits(dst!) - 2)));
    return seq(
      count.set(i64.and(by!.read(), countMask(dst!))),
      turn.set(n <= 2 ? i64.remU(count.get, i64.const(w)) : count.get),
      cin.set(asI64(carry(c))),
      dst!.update(
        (old) => ({ prepare: seq(v.set(zeroExtend(n, old.get)), work), value: r.get }),
        rotateFlags(c, count.get, cf.get, of),
      ),
    );
  };
}
export const rcl = rotateThroughCarry(true);
export const rcr = rotateThroughCarry(false);

/** SHLD, SHRD. For 16-bit operands with counts past 16 the result is undefined; it is what a wide shift gives. */
function doubleShift(left: boolean): Emit {
  return (c, dst, src, by) => {
    const n = width(dst!);
    const w = bits(dst!);
    const count = c.i64();
    const a = c.i64();
    const b = c.i64();
    const r = c.i64();
    const cf = c.i32();
    const back = i64.sub(i64.const(w), count.get);
    const fill = i64.ne(count.get, i64.const(0));
    const value = left
      ? i64.or(i64.shl(a.get, count.get), select(fill, i64.shrU(b.get, back), i64.const(0)))
      : i64.or(i64.shrU(a.get, count.get), select(fill, i64.shl(b.get, back), i64.const(0)));
    const carryBit = left ? bitAt(a.get, back) : bitAt(a.get, i64.sub(count.get, i64.const(1)));
    return seq(
      count.set(i64.and(by!.read(), countMask(dst!))),
      b.set(src!.read()),
      dst!.update(
        (old) => ({ prepare: seq(a.set(zeroExtend(n, old.get)), r.set(signExtend(n, value))), value: r.get }),
        when(fill, seq(cf.set(carryBit), setShift(c, r.get, cf.get, i32.xor(isNegative(r.get), topBit(dst!, a.get))))),
      ),
    );
  };
}
export const shld = doubleShift(true);
export const shrd = doubleShift(false);
