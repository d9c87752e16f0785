/**
 * SSE and SSE2 floating-point operations, exactly, with every flag: the way taken when the native wasm operation is not
 * known to give the same. By name, apart from encodings (emit/sse*.ts). Source: SDM vol. 1 chapters 10, 11, appendix E.
 */
import { add, divide, multiply, squareRoot } from '../softfloat/arith.ts';
import { compare, convert, fromInteger, minMax, Relation, toInteger } from '../softfloat/convert.ts';
import { ALL_FLAGS, FloatEnv, PRE_COMPUTATION, Rounding } from '../softfloat/env.ts';
import { binary32, binary64 } from '../softfloat/format.ts';
import type { FloatFormat } from '../softfloat/format.ts';
import { approximateReciprocal, approximateReciprocalRoot } from './sse-approximate.ts';
import { FPU_MXCSR, FPU_RFLAGS, FPU_SSE_A, FPU_SSE_B, FPU_SSE_RESULT } from './state.ts';

const Mxcsr = { denormalsAreZero: 1 << 6, masks: 0x1f80, maskShift: 7, roundingShift: 13, flushToZero: 1 << 15 } as const;

export interface SseOperation {
  readonly name: string;
  readonly lanes: number;
  /** Bits of a lane of B, and of A and the result. */
  readonly sourceBits: 32 | 64;
  readonly resultBits: 32 | 64;
  /** Bits of the result above the lanes come from A; otherwise they are zero. */
  readonly keepsUpper: boolean;
  readonly lane: (env: FloatEnv, a: bigint, b: bigint) => bigint;
  /** COMISS and kin: the lane gives a Relation for RFLAGS, no vector. */
  readonly setsFlags: boolean;
}

const operations: SseOperation[] = [];

type Suffix = 'ps' | 'pd' | 'ss' | 'sd';
const FORMS: readonly { suffix: Suffix; fmt: FloatFormat; bits: 32 | 64; lanes: number }[] = [
  { suffix: 'ps', fmt: binary32, bits: 32, lanes: 4 },
  { suffix: 'pd', fmt: binary64, bits: 64, lanes: 2 },
  { suffix: 'ss', fmt: binary32, bits: 32, lanes: 1 },
  { suffix: 'sd', fmt: binary64, bits: 64, lanes: 1 },
];

type FormatLane = (env: FloatEnv, fmt: FloatFormat, a: bigint, b: bigint) => bigint;
function arithmetic(name: string, lane: FormatLane): void {
  for (const { suffix, fmt, bits, lanes } of FORMS) {
    operations.push({
      name: name + suffix,
      lanes,
      sourceBits: bits,
      resultBits: bits,
      keepsUpper: lanes === 1,
      setsFlags: false,
      lane: (env, a, b) => lane(env, fmt, a, b),
    });
  }
}
arithmetic('add', (env, fmt, a, b) => add(env, fmt, env.operand(fmt, a), env.operand(fmt, b)));
arithmetic('sub', (env, fmt, a, b) => add(env, fmt, env.operand(fmt, a), env.operand(fmt, b), true));
arithmetic('mul', (env, fmt, a, b) => multiply(env, fmt, env.operand(fmt, a), env.operand(fmt, b)));
arithmetic('div', (env, fmt, a, b) => divide(env, fmt, env.operand(fmt, a), env.operand(fmt, b)));
arithmetic('sqrt', (env, fmt, _a, b) => squareRoot(env, fmt, env.operand(fmt, b)));
arithmetic('min', (env, fmt, a, b) => minMax(env, fmt, a, b, false));
arithmetic('max', (env, fmt, a, b) => minMax(env, fmt, a, b, true));

/** Relations for which the predicate holds, by its low two bits; bit 2 negates (SDM vol. 2, CMPPS). */
const PREDICATES: readonly (readonly Relation[])[] = [
  [Relation.equal],
  [Relation.less],
  [Relation.less, Relation.equal],
  [Relation.unordered],
];
/** CMPccPS …: `cmp0ps` to `cmp7sd`; those of one form are SSE_PREDICATE_STEP apart. */
export const SSE_PREDICATE_STEP = FORMS.length;
for (let predicate = 0; predicate < 8; predicate++) {
  const holds = PREDICATES[predicate & 3]!;
  const signaling = (predicate & 3) === 1 || (predicate & 3) === 2;
  arithmetic(`cmp${predicate}`, (env, fmt, a, b) => {
    const relation = compare(env, env.operand(fmt, a), env.operand(fmt, b), signaling);
    return holds.includes(relation) !== predicate > 3 ? (fmt === binary32 ? 0xffffffffn : 0xffffffffffffffffn) : 0n;
  });
}
for (const [name, signaling] of [
  ['comi', true],
  ['ucomi', false],
] as const) {
  for (const { suffix, fmt, bits } of FORMS.slice(2)) {
    operations.push({
      name: name + suffix,
      lanes: 1,
      sourceBits: bits,
      resultBits: bits,
      keepsUpper: false,
      setsFlags: true,
      lane: (env, a, b) => BigInt(compare(env, env.operand(fmt, a), env.operand(fmt, b), signaling)),
    });
  }
}

function conversion(
  name: string,
  lanes: number,
  sourceBits: 32 | 64,
  resultBits: 32 | 64,
  keepsUpper: boolean,
  lane: (env: FloatEnv, b: bigint) => bigint,
): void {
  operations.push({ name, lanes, sourceBits, resultBits, keepsUpper, setsFlags: false, lane: (env, _a, b) => lane(env, b) });
}
const floatOf = (bits: 32 | 64): FloatFormat => (bits === 32 ? binary32 : binary64);
const toFloat = (from: 32 | 64, to: 32 | 64) => (env: FloatEnv, b: bigint) =>
  convert(env, floatOf(to), env.operand(floatOf(from), b));
const integerToFloat = (from: 32 | 64, to: 32 | 64) => (env: FloatEnv, b: bigint) =>
  fromInteger(env, floatOf(to), BigInt.asIntN(from, b));
const floatToInteger = (from: 32 | 64, to: 32 | 64, truncate: boolean) => (env: FloatEnv, b: bigint) =>
  BigInt.asUintN(
    to,
    toInteger(env, env.operand(floatOf(from), b), to, truncate ? Rounding.towardZero : env.rounding) ?? 1n << BigInt(to - 1),
  );

conversion('cvtps2pd', 2, 32, 64, false, toFloat(32, 64));
conversion('cvtpd2ps', 2, 64, 32, false, toFloat(64, 32));
conversion('cvtss2sd', 1, 32, 64, true, toFloat(32, 64));
conversion('cvtsd2ss', 1, 64, 32, true, toFloat(64, 32));
conversion('cvtdq2ps', 4, 32, 32, false, integerToFloat(32, 32));
conversion('cvtpi2ps', 2, 32, 32, true, integerToFloat(32, 32));
for (const t of ['', 't'] as const) {
  conversion(`cvt${t}ps2dq`, 4, 32, 32, false, floatToInteger(32, 32, t === 't'));
  conversion(`cvt${t}pd2dq`, 2, 64, 32, false, floatToInteger(64, 32, t === 't'));
  conversion(`cvt${t}ps2pi`, 2, 32, 32, false, floatToInteger(32, 32, t === 't'));
  conversion(`cvt${t}pd2pi`, 2, 64, 32, false, floatToInteger(64, 32, t === 't'));
  for (const [suffix, from] of [
    ['ss', 32],
    ['sd', 64],
  ] as const) {
    for (const to of [32, 64] as const)
      conversion(`cvt${t}${suffix}2si${to}`, 1, from, to, false, floatToInteger(from, to, t === 't'));
  }
}
for (const from of [32, 64] as const) {
  conversion(`cvtsi${from}2ss`, 1, from, 32, true, integerToFloat(from, 32));
  conversion(`cvtsi${from}2sd`, 1, from, 64, true, integerToFloat(from, 64));
}

for (const [name, lane] of [
  ['rcp', approximateReciprocal],
  ['rsqrt', approximateReciprocalRoot],
] as const) {
  for (const { suffix, lanes } of [FORMS[0]!, FORMS[2]!]) {
    operations.push({
      name: name + suffix,
      lanes,
      sourceBits: 32,
      resultBits: 32,
      keepsUpper: lanes === 1,
      setsFlags: false,
      lane: (_env, _a, b) => BigInt(lane(Number(b))),
    });
  }
}

export const SSE_OPERATIONS: readonly SseOperation[] = operations;
const numbers = new Map(operations.map((operation, index) => [operation.name, index]));
/** Index into SSE_OPERATIONS. Throws on an unknown name. */
export function sseOperationNumber(name: string): number {
  const index = numbers.get(name);
  if (index === undefined) throw new Error(`sse: no operation '${name}'`);
  return index;
}

/** RFLAGS of COMISS by Relation: CF 1, PF 4, ZF 64. */
const COMPARE_FLAGS: readonly number[] = [1, 64, 0, 69];

export class SseUnit {
  readonly view: DataView;
  /** Address of the FPU area. */
  readonly base: number;
  private readonly env = new FloatEnv('sse');

  constructor(view: DataView, base: number) {
    this.view = view;
    this.base = base;
  }

  /**
   * A, B → result, all in the FPU area; MXCSR's flags are set. False: an unmasked exception (#XM); no result then.
   */
  execute(operation: SseOperation): boolean {
    const { view, base, env } = this;
    const { lanes, sourceBits, resultBits } = operation;
    const mxcsr = view.getUint32(base + FPU_MXCSR, true);
    env.masks = (mxcsr & Mxcsr.masks) >> Mxcsr.maskShift;
    env.rounding = ((mxcsr >> Mxcsr.roundingShift) & 3) as Rounding;
    env.denormalsAreZero = (mxcsr & Mxcsr.denormalsAreZero) !== 0;
    env.flushToZero = (mxcsr & Mxcsr.flushToZero) !== 0;
    const results: bigint[] = [];
    let flags = 0;
    let before = 0;
    for (let i = 0; i < lanes; i++) {
      env.begin();
      results.push(operation.lane(env, this.lane(FPU_SSE_A, resultBits, i), this.lane(FPU_SSE_B, sourceBits, i)));
      flags |= env.flags;
      before |= env.flags & PRE_COMPUTATION;
    }
    // An unmasked exception found before the computation of any lane stops all of them.
    if (before & ~env.masks) flags = before;
    view.setUint32(base + FPU_MXCSR, mxcsr | flags, true);
    if (flags & ~env.masks & ALL_FLAGS) return false;
    if (operation.setsFlags) {
      view.setInt32(base + FPU_RFLAGS, COMPARE_FLAGS[Number(results[0])]!, true);
      return true;
    }
    for (let i = 0; i < 16; i += 8) {
      view.setBigUint64(
        base + FPU_SSE_RESULT + i,
        operation.keepsUpper ? view.getBigUint64(base + FPU_SSE_A + i, true) : 0n,
        true,
      );
    }
    results.forEach((bits, i) => {
      if (resultBits === 32) view.setUint32(base + FPU_SSE_RESULT + i * 4, Number(bits), true);
      else view.setBigUint64(base + FPU_SSE_RESULT + i * 8, bits, true);
    });
    return true;
  }

  private lane(offset: number, bits: 32 | 64, i: number): bigint {
    return bits === 32
      ? BigInt(this.view.getUint32(this.base + offset + i * 4, true))
      : this.view.getBigUint64(this.base + offset + i * 8, true);
  }
}
