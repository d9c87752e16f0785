/**
 * WebAssembly instructions as typed expressions. An expression is a closure that writes itself into an encoder,
 * so that emitters compose like formulas: `i64.add(a.get, i64.const(1))`.
 * Opcodes: WebAssembly core specification 2.0, chapter 5.4; threads proposal for atomics.
 */
import type { Encoder, Label } from './encoder.ts';

export type ValType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export const VAL_TYPE_CODE: Record<ValType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

export interface Expr<T extends ValType> {
  readonly type: T;
  /** Its value, where that is known: of an i32, or of an i64 that a double holds exactly. */
  readonly constant?: number;
  readonly write: (out: Encoder) => void;
}
export type I32 = Expr<'i32'>;
export type I64 = Expr<'i64'>;
export type F32 = Expr<'f32'>;
export type F64 = Expr<'f64'>;
export type V128 = Expr<'v128'>;
/** An instruction sequence that leaves nothing on the stack. */
export type Stmt = (out: Encoder) => void;

function op<T extends ValType>(type: T, code: number, ...operands: Expr<ValType>[]): Expr<T> {
  return {
    type,
    write(out) {
      for (const operand of operands) operand.write(out);
      out.byte(code);
    },
  };
}

function prefixed<T extends ValType>(type: T, prefix: number, code: number, operands: Expr<ValType>[], tail?: Stmt): Expr<T> {
  return {
    type,
    write(out) {
      for (const operand of operands) operand.write(out);
      out.byte(prefix);
      out.u32(code);
      tail?.(out);
    },
  };
}

function memory<T extends ValType>(type: T, code: number, align: number) {
  return (address: I32, offset = 0): Expr<T> => ({
    type,
    write(out) {
      address.write(out);
      out.byte(code);
      out.u32(align);
      out.u32(offset);
    },
  });
}

function memoryStore<T extends ValType>(code: number, align: number) {
  return (address: I32, value: Expr<T>, offset = 0): Stmt =>
    (out) => {
      address.write(out);
      value.write(out);
      out.byte(code);
      out.u32(align);
      out.u32(offset);
    };
}

function atomicLoad<T extends ValType>(type: T, code: number, align: number) {
  return (address: I32, offset = 0): Expr<T> =>
    prefixed(type, 0xfe, code, [address], (out) => {
      out.u32(align);
      out.u32(offset);
    });
}

function atomicRmw<T extends ValType>(type: T, code: number, align: number) {
  return (address: I32, value: Expr<T>, offset = 0): Expr<T> =>
    prefixed(type, 0xfe, code, [address, value], (out) => {
      out.u32(align);
      out.u32(offset);
    });
}

function atomicCmpxchg<T extends ValType>(type: T, code: number, align: number) {
  return (address: I32, expected: Expr<T>, value: Expr<T>, offset = 0): Expr<T> =>
    prefixed(type, 0xfe, code, [address, expected, value], (out) => {
      out.u32(align);
      out.u32(offset);
    });
}

/**
 * An i64 operation of two operands: worked out where both are known and `fold` gives the exact result, one operand where the other
 * changes nothing.
 */
const folded =
  (code: number, fold: (a: number, b: number) => number, neutral: number, onLeft: boolean) =>
  (a: I64, b: I64): I64 => {
    if (b.constant === neutral) return a;
    if (onLeft && a.constant === neutral) return b;
    if (a.constant !== undefined && b.constant !== undefined) {
      const value = fold(a.constant, b.constant);
      if (Number.isSafeInteger(value)) return i64.const(value);
    }
    return op('i64', code, a, b);
  };
/** Bitwise, of numbers that 31 bits hold. */
const narrow =
  (fold: (a: number, b: number) => number) =>
  (a: number, b: number): number =>
    a >= 0 && b >= 0 && a < 2 ** 31 && b < 2 ** 31 ? fold(a, b) : NaN;

/** An i64 constant as a number, where a double holds it. */
const exactly = (value: number | bigint): { constant?: number } => {
  const number = typeof value === 'bigint' ? Number(value) : value;
  return Number.isSafeInteger(number) ? { constant: number } : {};
};
/** The low 32 bits of an integer, signed. */
const low32 = (value: number): number => (value - Math.floor(value / 2 ** 32) * 2 ** 32) | 0;

const i32un =
  (code: number) =>
  (a: I32): I32 =>
    op('i32', code, a);
const i32bin =
  (code: number) =>
  (a: I32, b: I32): I32 =>
    op('i32', code, a, b);
const i64un =
  (code: number) =>
  (a: I64): I64 =>
    op('i64', code, a);
const i64bin =
  (code: number) =>
  (a: I64, b: I64): I64 =>
    op('i64', code, a, b);
const i64cmp =
  (code: number) =>
  (a: I64, b: I64): I32 =>
    op('i32', code, a, b);

export const i32 = {
  const: (value: number): I32 => ({
    type: 'i32',
    constant: value,
    write(out) {
      out.byte(0x41);
      out.s32(value);
    },
  }),
  eqz: (a: I32): I32 => (a.constant === undefined ? op('i32', 0x45, a) : i32.const(a.constant === 0 ? 1 : 0)),
  eq: i32bin(0x46),
  ne: i32bin(0x47),
  ltS: i32bin(0x48),
  ltU: i32bin(0x49),
  gtS: i32bin(0x4a),
  gtU: (a: I32, b: I32): I32 =>
    a.constant !== undefined && b.constant !== undefined
      ? i32.const(a.constant >>> 0 > b.constant >>> 0 ? 1 : 0)
      : op('i32', 0x4b, a, b),
  leS: i32bin(0x4c),
  leU: i32bin(0x4d),
  geS: i32bin(0x4e),
  geU: i32bin(0x4f),
  clz: i32un(0x67),
  ctz: i32un(0x68),
  popcnt: i32un(0x69),
  add: i32bin(0x6a),
  sub: i32bin(0x6b),
  mul: i32bin(0x6c),
  divS: i32bin(0x6d),
  divU: i32bin(0x6e),
  remS: i32bin(0x6f),
  remU: i32bin(0x70),
  and: (a: I32, b: I32): I32 =>
    a.constant !== undefined && b.constant !== undefined ? i32.const(a.constant & b.constant) : op('i32', 0x71, a, b),
  or: i32bin(0x72),
  xor: i32bin(0x73),
  shl: i32bin(0x74),
  shrS: i32bin(0x75),
  shrU: i32bin(0x76),
  rotl: i32bin(0x77),
  rotr: i32bin(0x78),
  wrap: (a: I64): I32 => (a.constant === undefined ? op('i32', 0xa7, a) : i32.const(low32(a.constant))),
  extend8S: i32un(0xc0),
  extend16S: i32un(0xc1),
  reinterpretF32: (a: F32): I32 => op('i32', 0xbc, a),
  truncSatF32S: (a: F32): I32 => prefixed('i32', 0xfc, 0, [a]),
  truncSatF64S: (a: F64): I32 => prefixed('i32', 0xfc, 2, [a]),
  load: memory('i32', 0x28, 2),
  load8S: memory('i32', 0x2c, 0),
  load8U: memory('i32', 0x2d, 0),
  load16S: memory('i32', 0x2e, 1),
  load16U: memory('i32', 0x2f, 1),
  store: memoryStore<'i32'>(0x36, 2),
  store8: memoryStore<'i32'>(0x3a, 0),
  store16: memoryStore<'i32'>(0x3b, 1),
  atomicLoad: atomicLoad('i32', 0x10, 2),
  atomicLoad8U: atomicLoad('i32', 0x12, 0),
  atomicLoad16U: atomicLoad('i32', 0x13, 1),
  atomicRmwAdd: atomicRmw('i32', 0x1e, 2),
  atomicRmwAnd: atomicRmw('i32', 0x2c, 2),
  atomicRmwOr: atomicRmw('i32', 0x33, 2),
  atomicRmwXor: atomicRmw('i32', 0x3a, 2),
  atomicRmwXchg: atomicRmw('i32', 0x41, 2),
  atomicCmpxchg: atomicCmpxchg('i32', 0x48, 2),
};

export const i64 = {
  const: (value: number | bigint): I64 => ({
    type: 'i64',
    ...exactly(value),
    write(out) {
      out.byte(0x42);
      out.s64(value);
    },
  }),
  eqz: (a: I64): I32 => op('i32', 0x50, a),
  eq: i64cmp(0x51),
  ne: i64cmp(0x52),
  ltS: i64cmp(0x53),
  ltU: i64cmp(0x54),
  gtS: i64cmp(0x55),
  gtU: i64cmp(0x56),
  leS: i64cmp(0x57),
  leU: i64cmp(0x58),
  geS: i64cmp(0x59),
  geU: i64cmp(0x5a),
  clz: i64un(0x79),
  ctz: i64un(0x7a),
  popcnt: i64un(0x7b),
  add: folded(0x7c, (a, b) => a + b, 0, true),
  sub: folded(0x7d, (a, b) => a - b, 0, false),
  mul: i64bin(0x7e),
  divS: i64bin(0x7f),
  divU: i64bin(0x80),
  remS: i64bin(0x81),
  remU: i64bin(0x82),
  and: folded(
    0x83,
    narrow((a, b) => a & b),
    -1,
    true,
  ),
  or: folded(
    0x84,
    narrow((a, b) => a | b),
    0,
    true,
  ),
  xor: folded(
    0x85,
    narrow((a, b) => a ^ b),
    0,
    true,
  ),
  shl: folded(0x86, (a, b) => (b >= 0 && b < 64 && a >= 0 ? a * 2 ** b : NaN), 0, false),
  shrS: folded(0x87, (a, b) => (b >= 0 && b < 64 ? Math.floor(a / 2 ** b) : NaN), 0, false),
  shrU: folded(0x88, (a, b) => (b >= 0 && b < 64 && a >= 0 ? Math.floor(a / 2 ** b) : NaN), 0, false),
  rotl: i64bin(0x89),
  rotr: i64bin(0x8a),
  extendS: (a: I32): I64 => (a.constant === undefined ? op('i64', 0xac, a) : i64.const(a.constant | 0)),
  extendU: (a: I32): I64 => (a.constant === undefined ? op('i64', 0xad, a) : i64.const(a.constant >>> 0)),
  extend8S: i64un(0xc2),
  extend16S: i64un(0xc3),
  extend32S: i64un(0xc4),
  reinterpretF64: (a: F64): I64 => op('i64', 0xbd, a),
  truncSatF32S: (a: F32): I64 => prefixed('i64', 0xfc, 4, [a]),
  truncSatF64S: (a: F64): I64 => prefixed('i64', 0xfc, 6, [a]),
  load: memory('i64', 0x29, 3),
  load8S: memory('i64', 0x30, 0),
  load8U: memory('i64', 0x31, 0),
  load16S: memory('i64', 0x32, 1),
  load16U: memory('i64', 0x33, 1),
  load32S: memory('i64', 0x34, 2),
  load32U: memory('i64', 0x35, 2),
  store: memoryStore<'i64'>(0x37, 3),
  store8: memoryStore<'i64'>(0x3c, 0),
  store16: memoryStore<'i64'>(0x3d, 1),
  store32: memoryStore<'i64'>(0x3e, 2),
  atomicLoad: atomicLoad('i64', 0x11, 3),
};

/** The atomic read-modify-write family, by operand size in bytes; all take and give i64 zero-extended. */
const RMW_SIZES = { 1: 0, 2: 1, 4: 2, 8: 3 } as const;
const rmwFamily = (code64: number, code8: number) => (size: 1 | 2 | 4 | 8) =>
  atomicRmw('i64', size === 8 ? code64 : code8 + RMW_SIZES[size], RMW_SIZES[size]);
export const atomic64 = {
  add: rmwFamily(0x1f, 0x22),
  sub: rmwFamily(0x26, 0x29),
  and: rmwFamily(0x2d, 0x30),
  or: rmwFamily(0x34, 0x37),
  xor: rmwFamily(0x3b, 0x3e),
  xchg: rmwFamily(0x42, 0x45),
  cmpxchg: (size: 1 | 2 | 4 | 8) => atomicCmpxchg('i64', size === 8 ? 0x49 : 0x4c + RMW_SIZES[size], RMW_SIZES[size]),
};

const f32un =
  (code: number) =>
  (a: F32): F32 =>
    op('f32', code, a);
const f32bin =
  (code: number) =>
  (a: F32, b: F32): F32 =>
    op('f32', code, a, b);
const f64un =
  (code: number) =>
  (a: F64): F64 =>
    op('f64', code, a);
const f64bin =
  (code: number) =>
  (a: F64, b: F64): F64 =>
    op('f64', code, a, b);
export const f32 = {
  abs: f32un(0x8b),
  neg: f32un(0x8c),
  sqrt: f32un(0x91),
  add: f32bin(0x92),
  sub: f32bin(0x93),
  mul: f32bin(0x94),
  div: f32bin(0x95),
  nearest: f32un(0x90),
  eq: (a: F32, b: F32): I32 => op('i32', 0x5b, a, b),
  lt: (a: F32, b: F32): I32 => op('i32', 0x5d, a, b),
  gt: (a: F32, b: F32): I32 => op('i32', 0x5e, a, b),
  convertI32S: (a: I32): F32 => op('f32', 0xb2, a),
  convertI64S: (a: I64): F32 => op('f32', 0xb4, a),
  demote: (a: F64): F32 => op('f32', 0xb6, a),
  reinterpretI32: (a: I32): F32 => op('f32', 0xbe, a),
  load: memory('f32', 0x2a, 2),
  store: memoryStore<'f32'>(0x38, 2),
};
export const f64 = {
  abs: f64un(0x99),
  neg: f64un(0x9a),
  sqrt: f64un(0x9f),
  add: f64bin(0xa0),
  sub: f64bin(0xa1),
  mul: f64bin(0xa2),
  div: f64bin(0xa3),
  nearest: f64un(0x9e),
  eq: (a: F64, b: F64): I32 => op('i32', 0x61, a, b),
  lt: (a: F64, b: F64): I32 => op('i32', 0x63, a, b),
  gt: (a: F64, b: F64): I32 => op('i32', 0x64, a, b),
  convertI32S: (a: I32): F64 => op('f64', 0xb7, a),
  convertI64S: (a: I64): F64 => op('f64', 0xb9, a),
  promote: (a: F32): F64 => op('f64', 0xbb, a),
  reinterpretI64: (a: I64): F64 => op('f64', 0xbf, a),
  load: memory('f64', 0x2b, 3),
  store: memoryStore<'f64'>(0x39, 3),
};

/** SIMD by opcode number: the SSE emitters name the ones they use. */
export const v128 = {
  load: (address: I32, offset = 0): V128 =>
    prefixed('v128', 0xfd, 0, [address], (out) => {
      out.u32(0);
      out.u32(offset);
    }),
  store:
    (address: I32, value: V128, offset = 0): Stmt =>
    (out) => {
      address.write(out);
      value.write(out);
      out.byte(0xfd);
      out.u32(11);
      out.u32(0);
      out.u32(offset);
    },
  /** Any operation of v128 operands that gives a v128. */
  op: (code: number, ...operands: Expr<ValType>[]): V128 => prefixed('v128', 0xfd, code, operands),
  /** An operation that gives a scalar (bitmask, any_true). */
  toI32: (code: number, ...operands: Expr<ValType>[]): I32 => prefixed('i32', 0xfd, code, operands),
  extractLane: <T extends ValType>(type: T, code: number, lane: number, a: V128): Expr<T> =>
    prefixed(type, 0xfd, code, [a], (out) => out.byte(lane)),
  replaceLane: (code: number, lane: number, a: V128, value: Expr<ValType>): V128 =>
    prefixed('v128', 0xfd, code, [a, value], (out) => out.byte(lane)),
  shuffle: (lanes: readonly number[], a: V128, b: V128): V128 =>
    prefixed('v128', 0xfd, 13, [a, b], (out) => {
      for (const lane of lanes) out.byte(lane);
    }),
  const: (lo: bigint, hi: bigint): V128 =>
    prefixed('v128', 0xfd, 12, [], (out) => {
      for (const half of [lo, hi]) for (let i = 0n; i < 64n; i += 8n) out.byte(Number((half >> i) & 0xffn));
    }),
};

export function select<T extends ValType>(condition: I32, whenTrue: Expr<T>, whenFalse: Expr<T>): Expr<T> {
  return {
    type: whenTrue.type,
    write(out) {
      whenTrue.write(out);
      whenFalse.write(out);
      condition.write(out);
      if (whenTrue.type === 'v128') {
        out.byte(0x1c);
        out.u32(1);
        out.byte(VAL_TYPE_CODE.v128);
      } else out.byte(0x1b);
    },
  };
}

export const seq =
  (...statements: Stmt[]): Stmt =>
  (out) => {
    for (const statement of statements) statement(out);
  };
export const nop: Stmt = () => {};
export const unreachable: Stmt = (out) => out.byte(0x00);
export const drop =
  (value: Expr<ValType>): Stmt =>
  (out) => {
    value.write(out);
    out.byte(0x1a);
  };

export const when =
  (condition: I32, then: Stmt, otherwise?: Stmt): Stmt =>
  (out) => {
    if (condition.constant !== undefined) {
      if (condition.constant) then(out);
      else otherwise?.(out);
      return;
    }
    condition.write(out);
    out.byte(0x04);
    out.byte(0x40);
    out.open(undefined);
    then(out);
    if (otherwise) {
      out.byte(0x05);
      otherwise(out);
    }
    out.close(undefined);
    out.byte(0x0b);
  };

export function choose<T extends ValType>(condition: I32, then: Expr<T>, otherwise: Expr<T>): Expr<T> {
  if (condition.constant !== undefined) return condition.constant ? then : otherwise;
  return {
    type: then.type,
    write(out) {
      condition.write(out);
      out.byte(0x04);
      out.byte(VAL_TYPE_CODE[then.type]);
      out.open(undefined);
      then.write(out);
      out.byte(0x05);
      otherwise.write(out);
      out.close(undefined);
      out.byte(0x0b);
    },
  };
}

export const block = (label: Label, body: Stmt): Stmt => structured(0x02, label, body);
export const loop = (label: Label, body: Stmt): Stmt => structured(0x03, label, body);

function structured(code: number, label: Label, body: Stmt): Stmt {
  return (out) => {
    out.byte(code);
    out.byte(0x40);
    out.open(label);
    body(out);
    out.close(label);
    out.byte(0x0b);
  };
}

/** memory.fill: `length` bytes at `address` become `value`. */
export const memoryFill =
  (address: I32, value: I32, length: I32): Stmt =>
  (out) => {
    for (const operand of [address, value, length]) operand.write(out);
    for (const byte of [0xfc, 11, 0]) out.byte(byte);
  };
/** memory.copy: as memmove. */
export const memoryCopy =
  (to: I32, from: I32, length: I32): Stmt =>
  (out) => {
    for (const operand of [to, from, length]) operand.write(out);
    for (const byte of [0xfc, 10, 0, 0]) out.byte(byte);
  };

export const br =
  (label: Label): Stmt =>
  (out) => {
    out.byte(0x0c);
    out.u32(out.depthOf(label));
  };
export const brIf =
  (label: Label, condition: I32): Stmt =>
  (out) => {
    condition.write(out);
    out.byte(0x0d);
    out.u32(out.depthOf(label));
  };
export const brTable =
  (index: I32, labels: readonly Label[], fallback: Label): Stmt =>
  (out) => {
    index.write(out);
    out.byte(0x0e);
    out.u32(labels.length);
    for (const label of labels) out.u32(out.depthOf(label));
    out.u32(out.depthOf(fallback));
  };
/**
 * The cases of a br_table: control goes to cases[index], falling through to the next unless a case leaves. Written out
 * flat: thousands of nested closures would not fit a small stack.
 */
export const switchOver =
  (index: I32, labels: readonly Label[], cases: readonly Stmt[], fallback: Label): Stmt =>
  (out) => {
    for (let i = labels.length - 1; i >= 0; i--) {
      out.byte(0x02);
      out.byte(0x40);
      out.open(labels[i]);
    }
    brTable(index, labels, fallback)(out);
    cases.forEach((body, i) => {
      out.close(labels[i]);
      out.byte(0x0b);
      body(out);
    });
  };
export const ret =
  (...values: Expr<ValType>[]): Stmt =>
  (out) => {
    for (const value of values) value.write(out);
    out.byte(0x0f);
  };
