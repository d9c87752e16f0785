/** Random and corner-case SSE floating-point instructions as records for the processor, and the same on the exact model. */
import {
  FPU_IMAGE_SIZE,
  FPU_MXCSR,
  FPU_RFLAGS,
  FPU_SIZE,
  FPU_SSE_A,
  FPU_SSE_B,
  FPU_SSE_RESULT,
  FPU_XMM,
} from '../../src/cpu/fpu/state.ts';
import { SSE_OPERATIONS, SseUnit } from '../../src/cpu/fpu/sse-operations.ts';
import type { SseOperation } from '../../src/cpu/fpu/sse-operations.ts';
import { RECORD } from './native-fpu.ts';
import type { Random } from './lockstep/random.ts';

const PREFIX = { ps: [], pd: [0x66], ss: [0xf3], sd: [0xf2] } as const;
const OPCODES: Record<string, number> = { add: 0x58, mul: 0x59, sub: 0x5c, min: 0x5d, div: 0x5e, max: 0x5f, sqrt: 0x51 };
const CONVERSIONS: Record<string, readonly number[]> = {
  cvtps2pd: [0x0f, 0x5a],
  cvtpd2ps: [0x66, 0x0f, 0x5a],
  cvtss2sd: [0xf3, 0x0f, 0x5a],
  cvtsd2ss: [0xf2, 0x0f, 0x5a],
  cvtdq2ps: [0x0f, 0x5b],
  cvtps2dq: [0x66, 0x0f, 0x5b],
  cvttps2dq: [0xf3, 0x0f, 0x5b],
  cvtpd2dq: [0xf2, 0x0f, 0xe6],
  cvttpd2dq: [0x66, 0x0f, 0xe6],
  rcpps: [0x0f, 0x53],
  rcpss: [0xf3, 0x0f, 0x53],
  rsqrtps: [0x0f, 0x52],
  rsqrtss: [0xf3, 0x0f, 0x52],
  comiss: [0x0f, 0x2f],
  comisd: [0x66, 0x0f, 0x2f],
  ucomiss: [0x0f, 0x2e],
  ucomisd: [0x66, 0x0f, 0x2e],
};

/** xmm1 (A), [rbx] (B). Operations with a general or MMX register have other forms. */
function encode(name: string): number[] | undefined {
  const compare = /^cmp(\d)(..)$/.exec(name);
  if (compare) return [...PREFIX[compare[2] as 'ps'], 0x0f, 0xc2, 0x0b, Number(compare[1])];
  const arithmetic = /^(add|mul|sub|min|div|max|sqrt)(..)$/.exec(name);
  if (arithmetic) return [...PREFIX[arithmetic[2] as 'ps'], 0x0f, OPCODES[arithmetic[1]!]!, 0x0b];
  if (name in CONVERSIONS) return [...CONVERSIONS[name]!, 0x0b];
  const fromInteger = /^cvtsi(32|64)2(ss|sd)$/.exec(name);
  if (fromInteger) return [...PREFIX[fromInteger[2] as 'ss'], ...(fromInteger[1] === '64' ? [0x48] : []), 0x0f, 0x2a, 0x0b];
  const toInteger = /^cvt(t?)(ss|sd)2si(32|64)$/.exec(name);
  if (toInteger)
    return [...PREFIX[toInteger[2] as 'ss'], ...(toInteger[3] === '64' ? [0x48] : []), 0x0f, toInteger[1] ? 0x2c : 0x2d, 0x03];
  return undefined;
}

export function randomFloat(random: Random, wide: boolean): bigint {
  const [width, fraction, bias] = wide ? [64, 52, 1023] : [32, 23, 127];
  const bits = random.bits(width);
  const low = bits & ((1n << BigInt(fraction)) - 1n);
  const sign = bits & (1n << BigInt(width - 1));
  const at = (exponent: number, value: bigint) => sign | (BigInt(exponent) << BigInt(fraction)) | value;
  switch (random.below(12)) {
    case 0:
      return at(0, random.below(2) ? low : BigInt(random.below(3)));
    case 1:
      return at(bias * 2 + 1, random.below(3) ? low : 0n);
    case 2:
      return sign;
    case 3:
    case 4:
      return at(bias - 3 + random.below(6), low);
    case 5:
      return at(bias - 3 + random.below(6), low & (~0n << BigInt(random.below(fraction))));
    case 6:
      return at(bias + random.below(66), low & (~0n << BigInt(random.below(fraction))));
    case 7:
      return at(1 + random.below(40), low);
    case 8:
      return at(bias * 2 - random.below(40), low);
    case 9:
      return at((bias >> 1) + random.below(8) - 4, low);
    case 10:
      return at(bias + random.below(60), random.below(2) ? 0n : (1n << BigInt(fraction)) - 1n);
    default:
      return bits;
  }
}

const NATIVE_SSE: readonly SseOperation[] = SSE_OPERATIONS.filter((operation) => encode(operation.name));

export function makeSseCase(random: Random, record: DataView, operations: readonly SseOperation[] = NATIVE_SSE): SseOperation {
  const operation = operations[random.below(operations.length)]!;
  const code = encode(operation.name)!;
  code.forEach((byte, i) => record.setUint8(RECORD.code + i, byte));
  record.setUint32(RECORD.length, code.length, true);
  record.setUint16(0, 0x37f, true);
  const masks = random.below(4) ? 0x3f : random.below(64);
  const mxcsr =
    (random.below(4) ? random.below(2) * 32 : random.below(64)) |
    (masks << 7) |
    (random.below(4) << 13) |
    (random.below(4) ? 0 : 0x8000) |
    (random.below(4) ? 0 : 0x40);
  record.setUint32(FPU_MXCSR, mxcsr, true);
  const fill = (at: number, bits: 32 | 64) => {
    const common = randomFloat(random, bits === 64);
    for (let i = 0; i < 16; i += bits / 8) {
      const value = random.below(8) ? randomFloat(random, bits === 64) : common;
      if (bits === 64) record.setBigUint64(at + i, value, true);
      else record.setUint32(at + i, Number(value), true);
    }
  };
  fill(FPU_XMM + 16, operation.resultBits);
  fill(RECORD.memory, operation.sourceBits);
  if (random.below(10) === 0)
    for (let i = 0; i < 16; i += 8) record.setBigUint64(RECORD.memory + i, record.getBigUint64(FPU_XMM + 16 + i, true), true);
  record.setBigUint64(RECORD.rax, random.bits(64), true);
  record.setBigUint64(RECORD.rflags, 0x202n | BigInt(random.below(2) * 0x11) | BigInt(random.below(2) * 0x880), true);
  return operation;
}

export function runSseModel(operation: SseOperation, record: DataView): void {
  const state = new DataView(new ArrayBuffer(FPU_SIZE));
  for (let i = 0; i < FPU_IMAGE_SIZE; i++) state.setUint8(i, record.getUint8(i));
  for (let i = 0; i < 16; i++) {
    state.setUint8(FPU_SSE_A + i, record.getUint8(FPU_XMM + 16 + i));
    state.setUint8(FPU_SSE_B + i, record.getUint8(RECORD.memory + i));
  }
  const done = new SseUnit(state, 0).execute(operation);
  record.setUint32(FPU_MXCSR, state.getUint32(FPU_MXCSR, true), true);
  record.setUint32(RECORD.signal, done ? 0 : 8, true);
  if (!done) return;
  if (operation.setsFlags) {
    const flags = record.getBigUint64(RECORD.rflags, true) & ~0x8d5n;
    record.setBigUint64(RECORD.rflags, flags | BigInt(state.getInt32(FPU_RFLAGS, true)), true);
  } else if (/2si/.test(operation.name)) {
    record.setBigUint64(RECORD.rax, state.getBigUint64(FPU_SSE_RESULT, true), true);
  } else {
    for (let i = 0; i < 16; i++) record.setUint8(FPU_XMM + 16 + i, state.getUint8(FPU_SSE_RESULT + i));
  }
}
