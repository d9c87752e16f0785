/**
 * Integer instructions: meaning of each, once. Rows of the definition tables name these emitters.
 * Source: Intel SDM vol. 2. Flags that the SDM leaves undefined are noted where a choice is made.
 */
import { CB_SLOW_VALUE, Flag } from '../memory/control-block.ts';
import { Reg } from '../interface.ts';
import { i32, i64, nop, select, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import { signExtend, type EmitContext, type IntSize, type Operand } from './context.ts';
import {
  carry,
  changeStatus,
  condition,
  setAdd,
  setAddKeepCf,
  setLogic,
  setShift,
  setStatus,
  setSub,
  setSubKeepCf,
} from './flags.ts';

export type Emit = (c: EmitContext, ...operands: Operand[]) => Stmt;

export const width = (operand: Operand) => operand.size as IntSize;
export const bits = (operand: Operand) => operand.size * 8;
export const asI64 = (flag: I32) => i64.extendU(flag);
/** Bit number `position` of a value, as 0 or 1. */
export const bitAt = (value: I64, position: I64): I32 => i32.and(i32.wrap(i64.shrU(value, position)), i32.const(1));
const low8 = (value: I64) => i32.wrap(value);

/** Two-operand arithmetic: dst = op(dst, src), both sign-extended; flags once the write is through. */
function arithmetic(result: (a: I64, b: I64) => I64, flags: (c: EmitContext, r: I64, a: I64, b: I64) => Stmt): Emit {
  return (c, dst, src) => {
    const a = c.i64();
    const b = c.i64();
    const r = c.i64();
    return seq(
      b.set(src!.readSigned()),
      dst!.update(
        (old) => ({ prepare: seq(a.set(old.get), r.set(signExtend(width(dst!), result(a.get, b.get)))), value: r.get }),
        flags(c, r.get, a.get, b.get),
      ),
    );
  };
}

export const add = arithmetic(i64.add, setAdd);
export const sub = arithmetic(i64.sub, setSub);
export const and = arithmetic(i64.and, (c, r) => setLogic(c, r));
export const or = arithmetic(i64.or, (c, r) => setLogic(c, r));
export const xor = arithmetic(i64.xor, (c, r) => setLogic(c, r));

/** ADC, SBB: with carry in, the result wraps also when it equals the first operand (or the operands are equal). */
function withCarry(subtract: boolean): Emit {
  return (c, dst, src) => {
    const a = c.i64();
    const b = c.i64();
    const r = c.i64();
    const cin = c.i32();
    const out = c.i32();
    const sum = subtract ? i64.sub(i64.sub(a.get, b.get), asI64(cin.get)) : i64.add(i64.add(a.get, b.get), asI64(cin.get));
    const carryOut = subtract
      ? select(cin.get, i64.leU(a.get, b.get), i64.ltU(a.get, b.get))
      : select(cin.get, i64.leU(r.get, a.get), i64.ltU(r.get, a.get));
    return seq(
      b.set(src!.readSigned()),
      cin.set(carry(c)),
      dst!.update(
        (old) => ({ prepare: seq(a.set(old.get), r.set(signExtend(width(dst!), sum))), value: r.get }),
        seq(out.set(carryOut), (subtract ? setSubKeepCf : setAddKeepCf)(c, r.get, a.get, b.get, out.get)),
      ),
    );
  };
}
export const adc = withCarry(false);
export const sbb = withCarry(true);

export const cmp: Emit = (c, left, right) => {
  const a = c.i64();
  const b = c.i64();
  return seq(
    a.set(left!.readSigned()),
    b.set(right!.readSigned()),
    setSub(c, signExtend(width(left!), i64.sub(a.get, b.get)), a.get, b.get),
  );
};

export const test: Emit = (c, left, right) => {
  const a = c.i64();
  return seq(a.set(left!.readSigned()), setLogic(c, i64.and(a.get, right!.readSigned())));
};

function step(delta: 1 | -1): Emit {
  return (c, dst) => {
    const a = c.i64();
    const r = c.i64();
    const cf = c.i32();
    return seq(
      cf.set(carry(c)),
      dst!.update(
        (old) => ({
          prepare: seq(a.set(old.get), r.set(signExtend(width(dst!), i64.add(a.get, i64.const(delta))))),
          value: r.get,
        }),
        (delta > 0 ? setAddKeepCf : setSubKeepCf)(c, r.get, a.get, i64.const(1), cf.get),
      ),
    );
  };
}
export const inc = step(1);
export const dec = step(-1);

export const neg: Emit = (c, dst) => {
  const a = c.i64();
  const r = c.i64();
  return dst!.update(
    (old) => ({ prepare: seq(a.set(old.get), r.set(signExtend(width(dst!), i64.sub(i64.const(0), a.get)))), value: r.get }),
    setSub(c, r.get, i64.const(0), a.get),
  );
};

export const not: Emit = (_c, dst) => dst!.update((old) => ({ value: i64.xor(old.get, i64.const(-1)) }), nop);

export const mov: Emit = (_c, dst, src) => dst!.write(src!.read());
export const movzx: Emit = (_c, dst, src) => dst!.write(src!.read());
export const movsx: Emit = (_c, dst, src) => dst!.write(src!.readSigned());

export const xchg: Emit = (c, dst, src) => {
  const b = c.i64();
  const a = c.i64();
  return seq(
    b.set(src!.readSigned()),
    dst!.update((old) => ({ prepare: a.set(old.get), value: b.get }), src!.write(a.get)),
  );
};

export const xadd: Emit = (c, dst, src) => {
  const a = c.i64();
  const b = c.i64();
  const r = c.i64();
  const flags = setAdd(c, r.get, a.get, b.get);
  const sum = r.set(signExtend(width(dst!), i64.add(a.get, b.get)));
  if (!dst!.isMemory) {
    // The source takes the old value first: with one register for both, the sum stays.
    return seq(a.set(dst!.readSigned()), b.set(src!.readSigned()), sum, src!.write(a.get), dst!.write(r.get), flags);
  }
  return seq(
    b.set(src!.readSigned()),
    dst!.update((old) => ({ prepare: seq(a.set(old.get), sum), value: r.get }), seq(src!.write(a.get), flags)),
  );
};

export const cmpxchg: Emit = (c, dst, src) => {
  const n = width(dst!);
  const acc = c.i64();
  const seen = c.i64();
  const fresh = c.i64();
  const equal = i64.eq(acc.get, seen.get);
  const compare = setSub(c, signExtend(n, i64.sub(acc.get, seen.get)), acc.get, seen.get);
  const operands = seq(acc.set(c.gprSigned(Reg.rax, n)), fresh.set(src!.readSigned()));
  // Memory is written either way (SDM: "a write cycle without regard to the result"); a register is not: its upper half stays.
  if (!dst!.isMemory)
    return seq(
      operands,
      seen.set(dst!.readSigned()),
      compare,
      when(equal, dst!.write(fresh.get), c.setGpr(Reg.rax, n, seen.get)),
    );
  return seq(
    operands,
    dst!.update(
      (old) => ({ prepare: seen.set(old.get), value: select(equal, fresh.get, seen.get) }),
      seq(compare, when(i64.ne(acc.get, seen.get), c.setGpr(Reg.rax, n, seen.get))),
    ),
  );
};

export const cmpxchg8b: Emit = (c, dst) => {
  const pair = (lo: number, hi: number) => i64.or(c.gpr(lo, 4), i64.shl(c.gpr(hi, 4), i64.const(32)));
  const expected = c.i64();
  const fresh = c.i64();
  const seen = c.i64();
  const equal = i64.eq(expected.get, seen.get);
  return seq(
    expected.set(pair(Reg.rax, Reg.rdx)),
    fresh.set(pair(Reg.rbx, Reg.rcx)),
    dst!.update(
      (old) => ({ prepare: seen.set(old.get), value: select(equal, fresh.get, seen.get) }),
      seq(
        changeStatus(c, (f) => select(equal, i32.or(f, i32.const(Flag.zf)), i32.and(f, i32.const(~Flag.zf)))),
        when(i32.eqz(equal), seq(c.setGpr(Reg.rax, 4, seen.get), c.setGpr(Reg.rdx, 4, i64.shrU(seen.get, i64.const(32))))),
      ),
    ),
  );
};

// Multiplication and division

/** High 64 bits of an unsigned 64 × 64 product, from 32-bit parts. */
function multiplyHigh(c: EmitContext, a: I64, b: I64): { prepare: Stmt; value: I64 } {
  const [al, ah, bl, bh, mid, high] = [c.i64(), c.i64(), c.i64(), c.i64(), c.i64(), c.i64()];
  const lowHalf = (v: I64) => i64.and(v, i64.const(0xffffffff));
  const highHalf = (v: I64) => i64.shrU(v, i64.const(32));
  return {
    prepare: seq(
      al.set(lowHalf(a)),
      ah.set(highHalf(a)),
      bl.set(lowHalf(b)),
      bh.set(highHalf(b)),
      mid.set(i64.add(i64.mul(ah.get, bl.get), highHalf(i64.mul(al.get, bl.get)))),
      high.set(i64.add(i64.mul(al.get, bh.get), lowHalf(mid.get))),
    ),
    value: i64.add(i64.add(i64.mul(ah.get, bh.get), highHalf(mid.get)), highHalf(high.get)),
  };
}

/** MUL and one-operand IMUL. SF, ZF, AF, PF are undefined: they follow the low half here. */
function multiply(signed: boolean): Emit {
  return (c, src) => {
    const n = width(src!);
    const a = c.i64();
    const b = c.i64();
    const lo = c.i64();
    const hi = c.i64();
    const over = c.i32();
    const finish = (overflow: I32) => seq(over.set(overflow), setShift(c, signExtend(n, lo.get), over.get, over.get));
    if (n === 8) {
      const { prepare, value } = multiplyHigh(c, a.get, b.get);
      const sign = (v: I64) => i64.shrS(v, i64.const(63));
      const high = signed ? i64.sub(i64.sub(value, i64.and(sign(a.get), b.get)), i64.and(sign(b.get), a.get)) : value;
      return seq(
        b.set(src!.read()),
        a.set(c.gpr(Reg.rax, 8)),
        prepare,
        lo.set(i64.mul(a.get, b.get)),
        hi.set(high),
        c.setGpr(Reg.rax, 8, lo.get),
        c.setGpr(Reg.rdx, 8, hi.get),
        finish(signed ? i64.ne(hi.get, sign(lo.get)) : i64.ne(hi.get, i64.const(0))),
      );
    }
    const product = i64.mul(a.get, b.get);
    const store =
      n === 1
        ? c.setGpr(Reg.rax, 2, lo.get)
        : seq(c.setGpr(Reg.rax, n, lo.get), c.setGpr(Reg.rdx, n, i64.shrU(lo.get, i64.const(n * 8))));
    return seq(
      b.set(signed ? src!.readSigned() : src!.read()),
      a.set(signed ? c.gprSigned(Reg.rax, n) : c.gpr(Reg.rax, n)),
      lo.set(product),
      store,
      finish(signed ? i64.ne(lo.get, signExtend(n, lo.get)) : i64.ne(i64.shrU(lo.get, i64.const(n * 8)), i64.const(0))),
    );
  };
}
export const mul = multiply(false);
export const imul1 = multiply(true);

/** IMUL with a truncated product. */
const truncatedMultiply = (c: EmitContext, dst: Operand, left: Operand, right: Operand): Stmt => {
  const n = width(dst);
  const a = c.i64();
  const b = c.i64();
  const lo = c.i64();
  const over = c.i32();
  let overflow: I32;
  let prepare: Stmt = nop;
  if (n === 8) {
    const high = multiplyHigh(c, a.get, b.get);
    const sign = (v: I64) => i64.shrS(v, i64.const(63));
    prepare = high.prepare;
    overflow = i64.ne(i64.sub(i64.sub(high.value, i64.and(sign(a.get), b.get)), i64.and(sign(b.get), a.get)), sign(lo.get));
  } else {
    overflow = i64.ne(lo.get, signExtend(n, lo.get));
  }
  return seq(
    a.set(left.readSigned()),
    b.set(right.readSigned()),
    prepare,
    lo.set(i64.mul(a.get, b.get)),
    dst.write(lo.get),
    over.set(overflow),
    setShift(c, signExtend(n, lo.get), over.get, over.get),
  );
};
export const imul2: Emit = (c, dst, src) => truncatedMultiply(c, dst!, dst!, src!);
export const imul3: Emit = (c, dst, src, imm) => truncatedMultiply(c, dst!, src!, imm!);

/** DIV and IDIV: quotients that fit wasm's division here, 128-bit dividends and #DE in the helper. */
function divide(signed: boolean): Emit {
  return (c, src) => {
    const n = width(src!);
    const divisor = c.i64();
    const dividend = c.i64();
    const quotient = c.i64();
    const divisorRead = divisor.set(signed ? src!.readSigned() : src!.read());
    const over = signed
      ? (q: I64) => i64.ne(q, signExtend(n, q))
      : (q: I64) => i64.ne(i64.shrU(q, i64.const(n * 8)), i64.const(0));
    const remainder = (signed ? i64.remS : i64.remU)(dividend.get, divisor.get);
    const fault = c.helper('divideError');
    if (n === 8) {
      const rax = c.gpr(Reg.rax, 8);
      const simple = signed
        ? i32.and(
            i64.eq(c.gpr(Reg.rdx, 8), i64.shrS(rax, i64.const(63))),
            i32.eqz(i32.or(i64.eqz(divisor.get), i64.eq(divisor.get, i64.const(-1)))),
          )
        : i32.and(i64.eqz(c.gpr(Reg.rdx, 8)), i64.ne(divisor.get, i64.const(0)));
      return seq(
        divisorRead,
        dividend.set(rax),
        when(
          simple,
          seq(
            quotient.set((signed ? i64.divS : i64.divU)(dividend.get, divisor.get)),
            c.setGpr(Reg.rdx, 8, remainder),
            c.setGpr(Reg.rax, 8, quotient.get),
          ),
          seq(c.store64(CB_SLOW_VALUE, divisor.get), c.helper('divide128', signed ? 1 : 0)),
        ),
      );
    }
    const wide =
      n === 1
        ? signed
          ? c.gprSigned(Reg.rax, 2)
          : c.gpr(Reg.rax, 2)
        : i64.or(c.gpr(Reg.rax, n), i64.shl(c.gpr(Reg.rdx, n), i64.const(n * 8)));
    const store =
      n === 1
        ? c.setGpr(
            Reg.rax,
            2,
            i64.or(i64.and(quotient.get, i64.const(0xff)), i64.shl(i64.and(remainder, i64.const(0xff)), i64.const(8))),
          )
        : seq(c.setGpr(Reg.rdx, n, remainder), c.setGpr(Reg.rax, n, quotient.get));
    return seq(
      divisorRead,
      when(i64.eqz(divisor.get), fault),
      dividend.set(n === 2 && signed ? i64.extend32S(wide) : wide),
      // The one quotient that overflows 64 bits would trap: -2^63 / -1.
      n === 4 && signed
        ? when(i32.and(i64.eq(divisor.get, i64.const(-1)), i64.eq(dividend.get, i64.const(-(1n << 63n)))), fault)
        : nop,
      quotient.set((signed ? i64.divS : i64.divU)(dividend.get, divisor.get)),
      when(over(quotient.get), fault),
      store,
    );
  };
}
export const div = divide(false);
export const idiv = divide(true);

// Bits

const setCarry = (c: EmitContext, cf: I32): Stmt => changeStatus(c, (f) => i32.or(i32.and(f, i32.const(~Flag.cf)), cf));

/**
 * BT, BTS, BTR, BTC. With a register index a memory operand is a bit string: the index, signed, picks the word too.
 * `dst.address` is asked for, so the definition's memory form is M with an explicit size.
 */
function bitTest(change: ((old: I64, mask: I64) => I64) | undefined, byRegister: boolean): Emit {
  return (c, dst, index, sized) => {
    const n = width(dst!);
    const position = c.i64();
    const cf = c.i32();
    const at = i64.and(position.get, i64.const(bits(dst!) - 1));
    const mask = i64.shl(i64.const(1), at);
    const isBit = (v: I64) => cf.set(bitAt(v, at));
    if (dst!.isMemory && byRegister) {
      const log = { 2: 4, 4: 5, 8: 6 }[n as 2 | 4 | 8]!;
      const sum = i64.add(dst!.address(), i64.mul(i64.shrS(position.get, i64.const(log)), i64.const(n)));
      // Addresses of 32 bits wrap; the segment bases that count in 64-bit mode are far above only with a wider address.
      const address = sized!.size === 8 ? sum : i64.and(sum, i64.const(0xffffffff));
      const body = change
        ? c.updateMemory(n, address, (old) => ({ prepare: isBit(old.get), value: change(old.get, mask) }), setCarry(c, cf.get))
        : seq(isBit(c.loadMemory(n, address)), setCarry(c, cf.get));
      return seq(position.set(index!.readSigned()), body);
    }
    return seq(
      position.set(index!.readSigned()),
      change
        ? dst!.update((old) => ({ prepare: isBit(old.get), value: change(old.get, mask) }), setCarry(c, cf.get))
        : seq(isBit(dst!.read()), setCarry(c, cf.get)),
    );
  };
}
const complement = (v: I64) => i64.xor(v, i64.const(-1));
export const bt = (byRegister: boolean) => bitTest(undefined, byRegister);
export const bts = (byRegister: boolean) => bitTest((old, mask) => i64.or(old, mask), byRegister);
export const btr = (byRegister: boolean) => bitTest((old, mask) => i64.and(old, complement(mask)), byRegister);
export const btc = (byRegister: boolean) => bitTest((old, mask) => i64.xor(old, mask), byRegister);

/** BSF, BSR: a zero source sets ZF and leaves the destination. Other flags are undefined: those of the source here. */
const bitScan =
  (find: (v: I64) => I64): Emit =>
  (c, dst, src) => {
    const v = c.i64();
    return seq(v.set(src!.read()), when(i64.ne(v.get, i64.const(0)), dst!.write(find(v.get))), setLogic(c, v.get));
  };
export const bsf = bitScan((v) => i64.ctz(v));
export const bsr = bitScan((v) => i64.sub(i64.const(63), i64.clz(v)));

export const bswap: Emit = (_c, dst) => {
  const n = width(dst!);
  const byte = (v: I64, from: number, to: number) =>
    i64.shl(i64.and(i64.shrU(v, i64.const(from * 8)), i64.const(0xff)), i64.const(to * 8));
  return dst!.update(
    (old) => ({ value: Array.from({ length: n }, (_, i) => byte(old.get, i, n - 1 - i)).reduce((a, b) => i64.or(a, b)) }),
    nop,
  );
};

// Conditions

export const setcc =
  (cc: number): Emit =>
  (c, dst) =>
    dst!.write(asI64(condition(c, cc)));

/** SALC: AL becomes FF or 00 with CF (condition 2, B). */
export const salc: Emit = (c, al) => al!.write(i64.sub(i64.const(0), asI64(condition(c, 2))));

/** CMOVcc: the source is read whatever the condition; a 32-bit destination loses its upper half either way. */
export const cmovcc =
  (cc: number): Emit =>
  (c, dst, src) => {
    const v = c.i64();
    return seq(v.set(src!.read()), dst!.write(select(condition(c, cc), v.get, dst!.read())));
  };

// Sign extensions of the accumulator

/** CBW, CWDE, CDQE: rAX of the operand size from its lower half. */
export const cbw: Emit = (c, acc) => acc!.write(c.gprSigned(Reg.rax, (acc!.size / 2) as IntSize));
/** CWD, CDQ, CQO. */
export const cwd: Emit = (c, acc) => c.setGpr(Reg.rdx, width(acc!), i64.shrS(acc!.readSigned(), i64.const(63)));

// Flags

export const cmc: Emit = (c) => changeStatus(c, (f) => i32.xor(f, i32.const(Flag.cf)));
export const clc: Emit = (c) => changeStatus(c, (f) => i32.and(f, i32.const(~Flag.cf)));
export const stc: Emit = (c) => changeStatus(c, (f) => i32.or(f, i32.const(Flag.cf)));
const LAHF_BITS = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf;
export const sahf: Emit = (c) => {
  const f = c.i32();
  return seq(
    f.set(c.runtime.statusFlags.call('i32')),
    setStatus(
      c,
      i32.or(i32.and(f.get, i32.const(Flag.of)), i32.and(low8(i64.shrU(c.gpr(Reg.rax, 2), i64.const(8))), i32.const(LAHF_BITS))),
    ),
  );
};
export const lahf: Emit = (c) =>
  c.storeRegister(
    i32.const(1),
    0,
    1,
    asI64(i32.or(i32.and(c.runtime.statusFlags.call('i32'), i32.const(LAHF_BITS)), i32.const(Flag.one))),
  );
