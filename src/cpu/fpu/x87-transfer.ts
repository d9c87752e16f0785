/** x87 loads, stores, constants, conditional moves, exchanges (SDM vol. 1, 8.3.1 to 8.3.3). */
import { fromInteger, roundTo, toInteger } from '../softfloat/convert.ts';
import { binary32, binary64, extended80, packIndefinite } from '../softfloat/format.ts';
import { BCD_INDEFINITE, INDEFINITE, MEMORY_SIZE } from './x87.ts';
import type { MemoryType, X87 } from './x87.ts';

/** FLD, FILD, FBLD from memory. */
export function loadMemory(f: X87, type: MemoryType): void {
  const { env } = f;
  let bits: bigint;
  if (type === 'm80fp') bits = f.operandBits(10);
  else if (type === 'm80bcd') bits = fromBcd(f);
  else if (!f.isEmpty(7)) bits = 0n;
  else {
    const x = f.operand(type);
    env.noteDenormal(x);
    bits = env.nanResult(extended80, x) ?? roundTo(env, extended80, x);
  }
  f.settlePush(bits);
}

export function loadRegister(f: X87, i: number): void {
  if (f.isEmpty(i)) {
    if (f.stackUnderflow()) f.push(INDEFINITE);
  } else f.settlePush(f.bits(i));
}

/** FST and FSTP to memory, FIST and FISTP, FBSTP: value into the operand; memory is written by the caller. */
export function storeMemory(f: X87, type: MemoryType, pops: number): void {
  if (f.isEmpty(0)) {
    f.stackUnderflow();
    return f.prepareStore(indefinite(type), pops);
  }
  f.prepareStore(storeBits(f, type), pops);
}

function indefinite(type: MemoryType): bigint {
  switch (type) {
    case 'm32fp':
      return packIndefinite(binary32);
    case 'm64fp':
      return packIndefinite(binary64);
    case 'm80fp':
      return INDEFINITE;
    case 'm80bcd':
      return BCD_INDEFINITE;
    default:
      return 1n << BigInt(MEMORY_SIZE[type] * 8 - 1);
  }
}

function storeBits(f: X87, type: MemoryType): bigint {
  const { env } = f;
  if (type === 'm80fp') return f.bits(0);
  const x = f.value(0);
  if (type === 'm32fp' || type === 'm64fp') {
    const to = type === 'm32fp' ? binary32 : binary64;
    // A store does not look at its operand's denormality (SDM vol. 1, 8.5.2).
    return env.nanResult(to, x) ?? roundTo(env, to, x);
  }
  if (type === 'm80bcd') return toBcd(f);
  const integer = toInteger(env, x, MEMORY_SIZE[type] * 8);
  return integer === undefined ? indefinite(type) : BigInt.asUintN(MEMORY_SIZE[type] * 8, integer);
}

const BCD_LIMIT = 10n ** 18n;

function fromBcd(f: X87): bigint {
  const bits = f.operandBits(10);
  let magnitude = 0n;
  for (let digit = 17n; digit >= 0n; digit--) magnitude = magnitude * 10n + ((bits >> (digit * 4n)) & 15n);
  const negative = bits >> 79n === 1n;
  const positive = fromInteger(f.env, extended80, magnitude);
  return negative ? positive | (1n << 79n) : positive;
}

function toBcd(f: X87): bigint {
  const { env } = f;
  const x = f.value(0);
  const before = env.flags;
  const integer = toInteger(env, x, 64);
  if (integer === undefined) return BCD_INDEFINITE;
  let magnitude = integer < 0n ? -integer : integer;
  if (magnitude >= BCD_LIMIT) {
    env.flags = before;
    env.roundedUp = false;
    env.invalid(extended80);
    return BCD_INDEFINITE;
  }
  let bits = x.negative ? 1n << 79n : 0n;
  for (let digit = 0n; magnitude > 0n; digit++, magnitude /= 10n) bits |= (magnitude % 10n) << (digit * 4n);
  return bits;
}

/** D9 D8+i: FSTP that pops an empty ST(0) without a fault. */
export function storeRegisterNoFault(f: X87, i: number): void {
  if (f.isEmpty(0)) f.pop();
  else f.settle(i, f.bits(0), 1);
}

/** FST, FSTP to a register. */
export function storeRegister(f: X87, i: number, pops: number): void {
  if (!f.isEmpty(0)) f.settle(i, f.bits(0), pops);
  else if (f.stackUnderflow()) f.settle(i, INDEFINITE, pops);
}

export function exchange(f: X87, i: number): void {
  let first = f.bits(0);
  let second = f.bits(i);
  if (f.isEmpty(0) || f.isEmpty(i)) {
    const emptyFirst = f.isEmpty(0);
    const emptySecond = f.isEmpty(i);
    if (!f.stackUnderflow()) return;
    if (emptyFirst) first = INDEFINITE;
    if (emptySecond) second = INDEFINITE;
  }
  f.write(0, second);
  f.write(i, first);
}

/** FCMOVcc, with the condition already known. */
export function conditionalMove(f: X87, i: number, condition: boolean): void {
  if (f.isEmpty(0) || f.isEmpty(i)) {
    if (f.stackUnderflow()) f.write(0, INDEFINITE);
    return;
  }
  if (condition) f.write(0, f.bits(i));
}

/**
 * Constants of FLDL2T … FLDLN2 to 80 significand bits, truncated: what is beyond is not zero. The unit is 2^exponent.
 * D9 E8 to EE in order: 1, log2 10, log2 e, pi, log10 2, ln 2, 0.
 */
const CONSTANTS: readonly { significand: bigint; exponent: number }[] = [
  { significand: 1n, exponent: 0 },
  { significand: 0xd49a784bcd1b8afe492bn, exponent: -78 },
  { significand: 0xb8aa3b295c17f0bbbe87n, exponent: -79 },
  { significand: 0xc90fdaa22168c234c4c6n, exponent: -78 },
  { significand: 0x9a209a84fbcff7988f89n, exponent: -81 },
  { significand: 0xb17217f7d1cf79abc9e3n, exponent: -80 },
  { significand: 0n, exponent: 0 },
];

/** FLD1 … FLDZ: rounded as the control word says, no exception but of the stack. */
export function loadConstant(f: X87, index: number): void {
  const { significand, exponent } = CONSTANTS[index]!;
  const bits = significand === 0n ? 0n : f.env.round(extended80, false, significand, exponent);
  f.env.begin();
  f.settlePush(bits);
}
