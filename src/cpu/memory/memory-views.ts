/** Typed views of machine memory, and registers of one control block in it. Little-endian, as WebAssembly is. */
import { CB_GPR } from './control-block.ts';

export class MemoryViews {
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly u64: BigUint64Array;

  constructor(memory: WebAssembly.Memory) {
    const { buffer } = memory;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
  }
}

/**
 * Linear addresses as signed doubles: a canonical 48-bit address, sign-extended, fits exactly, and so does every sum of
 * one with a small number. 32-bit linear addresses are 0..2^32-1. Not canonical: NaN.
 */
export type Linear = number;

const TWO32 = 2 ** 32;

/** From halves (any sign). NaN when bits 63..47 are not all equal. */
export const linearFromHalves = (lo: number, hi: number): Linear => {
  const top = hi >> 15;
  return top === 0 || top === -1 ? (hi | 0) * TWO32 + (lo >>> 0) : NaN;
};
export const linearLow = (lin: Linear): number => lin | 0;
export const linearHigh = (lin: Linear): number => Math.floor(lin / TWO32) | 0;
export const linearFromBigInt = (value: bigint): Linear =>
  linearFromHalves(Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn));
export const linearToBigInt = (lin: Linear): bigint => BigInt.asUintN(64, BigInt(lin));

export class ControlBlock extends MemoryViews {
  readonly base: number;
  private readonly word: number;

  constructor(memory: WebAssembly.Memory, base: number) {
    super(memory);
    this.base = base;
    this.word = base >> 2;
  }

  /** 32 bits at a control-block offset, unsigned. */
  get(offset: number): number {
    return this.u32[this.word + (offset >> 2)]!;
  }
  getSigned(offset: number): number {
    return this.i32[this.word + (offset >> 2)]!;
  }
  set(offset: number, value: number): void {
    this.i32[this.word + (offset >> 2)] = value;
  }
  get64(offset: number): bigint {
    return this.u64[(this.base + offset) >> 3]!;
  }
  set64(offset: number, value: bigint): void {
    this.u64[(this.base + offset) >> 3] = value;
  }
  /** A 64-bit cell as a linear address: NaN when not canonical. */
  linear(offset: number): Linear {
    return linearFromHalves(this.getSigned(offset), this.getSigned(offset + 4));
  }
  setLinear(offset: number, lin: Linear): void {
    this.set(offset, linearLow(lin));
    this.set(offset + 4, linearHigh(lin));
  }

  gprLo(index: number): number {
    return this.get(CB_GPR + index * 8);
  }
  gprHi(index: number): number {
    return this.get(CB_GPR + index * 8 + 4);
  }
  setGpr(index: number, lo: number, hi: number): void {
    this.set(CB_GPR + index * 8, lo);
    this.set(CB_GPR + index * 8 + 4, hi);
  }
}
