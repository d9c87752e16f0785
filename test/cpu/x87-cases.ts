/** Random and corner-case x87 instructions as records for the processor, and the same on the model. */
import { X87_ENCODINGS } from '../../src/cpu/tables/x87-encodings.ts';
import type { X87Encoding } from '../../src/cpu/tables/x87-encodings.ts';
import {
  FPU_CONDITION,
  FPU_ENVIRONMENT,
  FPU_OPERAND,
  FPU_OPERAND_POINTER,
  FPU_RFLAGS,
  FPU_RIP,
  FPU_SIZE,
  FPU_STORE,
} from '../../src/cpu/fpu/state.ts';
import { X87 } from '../../src/cpu/fpu/x87.ts';
import { completeStore, execute, waits, X87_OPERATIONS, x87OperationNumber } from '../../src/cpu/fpu/x87-operations.ts';
import { fxrstor, fxsave } from '../../src/cpu/fpu/x87-control.ts';
import { RECORD } from './native-fpu.ts';
import type { Random } from './lockstep/random.ts';

const SPECIAL_80: readonly bigint[] = [
  0n,
  1n << 79n,
  0x3fff8000000000000000n,
  0xbfff8000000000000000n,
  0x7fff8000000000000000n,
  0xffff8000000000000000n,
  0x7fffc000000000000000n,
  0xffffc000000000000000n,
  0x7fff8000000000000001n,
  0xffffa000000000000000n,
  0x7fffffffffffffffffffn,
  0x00000000000000000001n,
  0x80000000000000000001n,
  0x00007fffffffffffffffn,
  0x00008000000000000000n,
  0x0000c000000000000000n,
  0x00018000000000000000n,
  0x7ffeffffffffffffffffn,
  0xfffeffffffffffffffffn,
  0x3ffeffffffffffffffffn,
  0x40008000000000000000n,
  0x3ffe8000000000000000n,
  0x7fff0000000000000000n,
  0x7fff4000000000000000n,
  0x3fff4000000000000000n,
  0x00010000000000000000n,
  0x403e8000000000000000n,
  0x403dfffffffffffffffen,
  0xc03e8000000000000000n,
  0x403effffffffffffffffn,
];

function randomFloat80(random: Random): bigint {
  const fraction = random.bits(64);
  const sign = random.bits(1) << 79n;
  switch (random.below(10)) {
    case 0:
    case 1:
      return SPECIAL_80[random.below(SPECIAL_80.length)]!;
    case 2:
      return sign | random.bits(79); // anything at all
    case 3:
      return sign | (BigInt(0x3fff - 70 + random.below(140)) << 64n) | (1n << 63n) | fraction;
    case 4:
      return sign | (BigInt(random.below(70)) << 64n) | (1n << 63n) | fraction;
    case 5:
      return sign | (BigInt(0x7ffe - random.below(70)) << 64n) | (1n << 63n) | fraction;
    case 6:
      return sign | (BigInt(0x3fff - 3 + random.below(6)) << 64n) | (1n << 63n) | (fraction & (~0n << BigInt(random.below(64))));
    case 7:
      return sign | (BigInt(0x3fff + random.below(66)) << 64n) | (1n << 63n) | (fraction & (~0n << BigInt(random.below(64))));
    case 8:
      return sign | (BigInt(0x3fff + random.below(3) * 1024 - 1024 + random.below(60) - 30) << 64n) | (1n << 63n) | fraction;
    default:
      return sign | (BigInt(1 + random.below(0x7ffe)) << 64n) | (1n << 63n) | fraction;
  }
}

export interface X87Case {
  readonly row: X87Encoding;
  readonly i: number;
  readonly hasMemory: boolean;
  readonly opcode: number;
}

const TRANSCENDENTAL = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fpatan', 'fsin', 'fcos', 'fptan', 'fsincos']);
export const isTranscendental = (c: X87Case): boolean => TRANSCENDENTAL.has(c.row.operation);

/** Fill one record with a random case. */
export function makeCase(random: Random, record: DataView, rows: readonly X87Encoding[] = X87_ENCODINGS): X87Case {
  const row = rows[random.below(rows.length)]!;
  const [escape, form] = row.encoding.split(' ') as [string, string];
  const hasMemory = form.startsWith('/');
  const i = form.endsWith('+i') ? random.below(8) : 0;
  // [rbx] for memory.
  const modrm = hasMemory ? (Number(form.slice(1)) << 3) | 3 : parseInt(form, 16) + i;
  record.setUint8(RECORD.code, parseInt(escape, 16));
  record.setUint8(RECORD.code + 1, modrm);
  record.setUint32(RECORD.length, 2, true);
  const opcode = ((parseInt(escape, 16) & 7) << 8) | modrm;

  const unmasked = random.below(4) === 0 ? random.below(64) : 0;
  const fcw = 0x40 | (0x3f & ~unmasked) | (random.below(4) << 10) | ([0, 2, 3, 3, 3][random.below(5)]! << 8);
  const pending = random.below(16) === 0 ? 0 : unmasked;
  record.setUint16(0, fcw, true);
  record.setUint16(
    2,
    (random.below(8) << 11) | (random.below(64) & ~pending) | (random.below(8) << 8) | (random.below(2) << 14),
    true,
  );
  record.setUint8(4, random.below(3) === 0 ? random.below(256) : [0xff, 0xff, 0x0f, 0x7e, 0xf0, 0xc3][random.below(6)]!);
  record.setUint16(6, random.below(0x800), true);
  record.setUint32(8, 0x1234, true);
  record.setUint32(24, 0x1f80, true);
  for (let r = 0; r < 8; r++) {
    const bits = randomFloat80(random);
    record.setBigUint64(32 + r * 16, BigInt.asUintN(64, bits), true);
    record.setBigUint64(40 + r * 16, bits >> 64n, true);
  }
  for (let at = 0; at < 128; at += 8) record.setBigUint64(RECORD.memory + at, random.bits(64), true);
  fillOperand(random, record, row.operation);
  record.setBigUint64(RECORD.rflags, BigInt(0x202 | (random.below(2) << 6) | (random.below(2) << 2) | random.below(2)), true);
  return { row, i, hasMemory, opcode };
}

function fillOperand(random: Random, record: DataView, operation: string): void {
  const at = RECORD.memory;
  const type = operation.split(' ')[1];
  if (type === 'm80fp') {
    const bits = randomFloat80(random);
    record.setBigUint64(at, BigInt.asUintN(64, bits), true);
    record.setUint16(at + 8, Number(bits >> 64n), true);
  } else if (type === 'm64fp' || type === 'm32fp') {
    const wide = type === 'm64fp';
    const [width, fraction, bias] = wide ? [64, 52, 1023] : [32, 23, 127];
    let bits = random.bits(width);
    const keep = (1n << BigInt(fraction)) - 1n;
    const sign = random.bits(1) << BigInt(width - 1);
    const pick = random.below(5);
    if (pick === 0) bits = sign | (bits & keep);
    else if (pick === 1) bits = sign | (BigInt(bias * 2 + 1) << BigInt(fraction)) | (random.below(3) === 0 ? 0n : bits & keep);
    else if (pick === 2) bits = sign | (BigInt(bias - 5 + random.below(10)) << BigInt(fraction)) | (bits & keep);
    else if (pick === 3) bits = sign;
    record.setBigUint64(at, bits, true);
  } else if (type === 'm80bcd') {
    let bits = random.bits(1) << 79n;
    for (let digit = 0; digit < 18; digit++) bits |= BigInt(random.below(10)) << BigInt(digit * 4);
    record.setBigUint64(at, BigInt.asUintN(64, bits), true);
    record.setUint16(at + 8, Number(bits >> 64n), true);
  } else if (type === 'm16') {
    record.setUint16(at, (random.below(0x10000) & 0x1f3f) | 0x40, true);
  }
}

/** Run the record's case on the model, in place. */
export function runModel(c: X87Case, record: DataView): void {
  const state = new DataView(new ArrayBuffer(FPU_SIZE));
  const f = new X87(state, 0);
  fxrstor(f, record, 0, true, 16);
  const pendingBefore = (f.fsw & ~f.fcw & 0x3f) !== 0;
  const name = c.row.sized ? `${c.row.operation} protected32` : c.row.operation;
  const operation = X87_OPERATIONS[x87OperationNumber(name)]!;
  const flags = Number(record.getBigUint64(RECORD.rflags, true));
  if (pendingBefore && waits(operation)) {
    record.setUint32(RECORD.signal, 8, true);
  } else {
    record.setUint32(RECORD.signal, 0, true);
    const at = c.row.sized ? FPU_ENVIRONMENT : FPU_OPERAND;
    for (let i = 0; i < (operation.load ?? 0); i++) state.setUint8(at + i, record.getUint8(RECORD.memory + i));
    state.setBigUint64(FPU_OPERAND_POINTER, 0xaaaan, true);
    state.setBigUint64(FPU_RIP, 0xbbbbn, true);
    state.setInt32(FPU_STORE, 1, true);
    if (c.row.condition !== undefined) state.setInt32(FPU_CONDITION, Number(condition(c.row.condition, flags)), true);
    execute(f, operation, c.i, c.opcode);
    if (operation.store && state.getInt32(FPU_STORE, true)) {
      for (let i = 0; i < operation.store; i++) record.setUint8(RECORD.memory + i, state.getUint8(at + i));
    }
    if (operation.store) completeStore(f, operation, c.opcode);
    if (operation.setsFlags) {
      record.setBigUint64(RECORD.rflags, BigInt((flags & ~0x8d5) | state.getInt32(FPU_RFLAGS, true)), true);
    }
  }
  fxsave(f, record, 0, true, 16);
}

function condition(code: number, flags: number): boolean {
  const value = [flags & 1, flags & 1, flags & 64, flags & 65, 0, flags & 4][code >> 1]! !== 0;
  return value !== ((code & 1) === 1);
}
