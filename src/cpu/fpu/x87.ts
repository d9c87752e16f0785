/**
 * The x87 unit: register stack, control and status word, and how an instruction ends. The instructions themselves
 * stand in x87-*.ts. State: state.ts. Source: SDM vol. 1 chapter 8.
 */
import { FloatEnv, FloatFlag, PRE_COMPUTATION } from '../softfloat/env.ts';
import { binary32, binary64, extended80, packIndefinite, unpack } from '../softfloat/format.ts';
import type { Float } from '../softfloat/format.ts';
import {
  FPU_FCW,
  FPU_FDP,
  FPU_FIP,
  FPU_FOP,
  FPU_FSW,
  FPU_FTW,
  FPU_OPERAND,
  FPU_OPERAND_POINTER,
  FPU_RIP,
  FPU_ST,
  FPU_STORE,
  FSW_TOP_SHIFT,
  FCW_RESET,
  Fsw,
} from './state.ts';

export const INDEFINITE = packIndefinite(extended80);
/** Packed BCD indefinite. */
export const BCD_INDEFINITE = 0xffffc000000000000000n;

/** Types of memory operands (SDM vol. 2, 3.1.1.3). */
export type MemoryType = 'm16int' | 'm32int' | 'm64int' | 'm32fp' | 'm64fp' | 'm80fp' | 'm80bcd';
export const MEMORY_SIZE: Record<MemoryType, number> = {
  m16int: 2,
  m32int: 4,
  m64int: 8,
  m32fp: 4,
  m64fp: 8,
  m80fp: 10,
  m80bcd: 10,
};

/** Precision control (FCW bits 9:8); 01 is reserved and acts as extended. */
const PRECISION = [24, 64, 53, 64] as const;

export class X87 {
  readonly env = new FloatEnv('x87');
  readonly view: DataView;
  /** Address of the FPU area in `view`. */
  readonly base: number;
  /** Significand bits by the control word's precision control. */
  precision: 24 | 53 | 64 = 64;
  private stackFault = 0;
  /** A store instruction waits for its memory write before it pops and sets flags. */
  private storePops = 0;

  constructor(view: DataView, base: number) {
    this.view = view;
    this.base = base;
  }

  get fcw(): number {
    return this.view.getUint16(this.base + FPU_FCW, true);
  }
  set fcw(value: number) {
    this.view.setUint16(this.base + FPU_FCW, value, true);
  }
  get fsw(): number {
    return this.view.getUint16(this.base + FPU_FSW, true);
  }
  set fsw(value: number) {
    this.view.setUint16(this.base + FPU_FSW, value, true);
  }
  /** Bit per physical register: not empty. */
  get valid(): number {
    return this.view.getUint8(this.base + FPU_FTW);
  }
  set valid(value: number) {
    this.view.setUint8(this.base + FPU_FTW, value);
  }
  get fop(): number {
    return this.view.getUint16(this.base + FPU_FOP, true);
  }
  set fop(value: number) {
    this.view.setUint16(this.base + FPU_FOP, value, true);
  }
  get fip(): bigint {
    return this.view.getBigUint64(this.base + FPU_FIP, true);
  }
  set fip(value: bigint) {
    this.view.setBigUint64(this.base + FPU_FIP, value, true);
  }
  get fdp(): bigint {
    return this.view.getBigUint64(this.base + FPU_FDP, true);
  }
  set fdp(value: bigint) {
    this.view.setBigUint64(this.base + FPU_FDP, value, true);
  }

  get top(): number {
    return (this.fsw >> FSW_TOP_SHIFT) & 7;
  }
  set top(value: number) {
    this.fsw = (this.fsw & ~Fsw.top) | ((value & 7) << FSW_TOP_SHIFT);
  }

  /** FNINIT. */
  initialize(): void {
    this.fcw = FCW_RESET;
    this.fsw = 0;
    this.valid = 0;
    this.fop = 0;
    this.fip = 0n;
    this.fdp = 0n;
  }

  // Registers. ST(i) relative to the top.

  isEmpty(i: number): boolean {
    return !(this.valid & (1 << ((this.top + i) & 7)));
  }
  bits(i: number): bigint {
    const at = this.registerAddress(i);
    return this.view.getBigUint64(at, true) | (BigInt(this.view.getUint16(at + 8, true)) << 64n);
  }
  value(i: number): Float {
    return unpack(extended80, this.bits(i));
  }
  write(i: number, bits: bigint): void {
    const at = this.registerAddress(i);
    this.view.setBigUint64(at, BigInt.asUintN(64, bits), true);
    this.view.setBigUint64(at + 8, bits >> 64n, true);
    this.valid |= 1 << ((this.top + i) & 7);
  }
  free(i: number): void {
    this.valid &= ~(1 << ((this.top + i) & 7));
  }
  pop(): void {
    this.free(0);
    this.top++;
  }
  push(bits: bigint): void {
    this.top--;
    this.write(0, bits);
  }
  private registerAddress(i: number): number {
    return this.base + FPU_ST + (((this.top + i) & 7) << 4);
  }

  // The memory operand

  operandBits(size: number): bigint {
    const at = this.base + FPU_OPERAND;
    const low = this.view.getBigUint64(at, true);
    return size > 8 ? low | (BigInt(this.view.getUint16(at + 8, true)) << 64n) : BigInt.asUintN(size * 8, low);
  }
  setOperandBits(bits: bigint): void {
    const at = this.base + FPU_OPERAND;
    this.view.setBigUint64(at, BigInt.asUintN(64, bits), true);
    this.view.setBigUint64(at + 8, BigInt.asUintN(64, bits >> 64n), true);
  }
  /** A memory operand as a number; a signaling NaN stays one. */
  operand(type: MemoryType): Float {
    const bits = this.operandBits(MEMORY_SIZE[type]);
    if (type === 'm32fp') return unpack(binary32, bits);
    if (type === 'm64fp') return unpack(binary64, bits);
    if (type === 'm80fp') return unpack(extended80, bits);
    const integer = BigInt.asIntN(MEMORY_SIZE[type] * 8, bits);
    const negative = integer < 0n;
    return {
      kind: integer === 0n ? 'zero' : 'finite',
      negative,
      exponent: 0,
      significand: negative ? -integer : integer,
      denormal: false,
    };
  }

  // Course of an instruction

  /** Start a non-control instruction: environment from the control word. */
  begin(): void {
    const fcw = this.fcw;
    this.env.begin();
    this.env.masks = fcw & 0x3f;
    this.env.rounding = ((fcw >> 10) & 3) as 0 | 1 | 2 | 3;
    this.precision = PRECISION[(fcw >> 8) & 3]!;
    this.stackFault = 0;
  }

  get stackFaulted(): boolean {
    return this.stackFault !== 0;
  }

  /** IE with SF. True: masked, the instruction goes on with the indefinite. */
  stackUnderflow(): boolean {
    this.env.raise(FloatFlag.invalid);
    this.stackFault = Fsw.stackFault;
    return !this.env.blocked;
  }
  stackOverflow(): boolean {
    this.env.raise(FloatFlag.invalid);
    this.stackFault = Fsw.stackFault | Fsw.c1;
    return !this.env.blocked;
  }

  /**
   * Flags and C1 into the status word. `conditions`: C0 to C3 as they become; undefined keeps C0, C2, C3 and clears C1
   * unless the result was rounded up or the stack overflowed.
   */
  finish(opcode: number, hasMemory: boolean, conditions?: number): void {
    const { flags, masks, roundedUp } = this.env;
    let fsw = this.fsw & ~Fsw.c1;
    if (conditions !== undefined) fsw = (fsw & ~(Fsw.c0 | Fsw.c2 | Fsw.c3)) | conditions;
    fsw |= flags | this.stackFault;
    if (roundedUp && flags & FloatFlag.precision) fsw |= Fsw.c1;
    if (flags & ~masks) {
      this.fop = opcode & 0x7ff;
      this.fdp = hasMemory ? this.view.getBigUint64(this.base + FPU_OPERAND_POINTER, true) : 0n;
    }
    this.fip = this.view.getBigUint64(this.base + FPU_RIP, true);
    this.fsw = fsw;
    this.summarize();
  }

  /** ES and B follow from flags and masks. */
  summarize(): void {
    const pending = (this.fsw & ~this.fcw & 0x3f) !== 0;
    this.fsw = (this.fsw & ~(Fsw.summary | Fsw.busy)) | (pending ? Fsw.summary | Fsw.busy : 0);
  }

  /** Result into ST(i), then pops; nothing when an unmasked exception forbids it. */
  settle(i: number, bits: bigint, pops = 0): void {
    if (this.env.blocked) return;
    this.write(i, bits);
    while (pops-- > 0) this.pop();
  }

  /** Push a result, or a stack overflow. A load completes in spite of an unmasked denormal operand. */
  settlePush(bits: bigint): void {
    if (!this.isEmpty(7)) {
      this.env.flags = 0;
      if (!this.stackOverflow()) return;
      bits = INDEFINITE;
    }
    if (!(this.env.flags & ~this.env.masks & FloatFlag.invalid)) this.push(bits);
  }

  /** A store instruction's value is in hand: memory is written next, then completeStore is called. */
  prepareStore(bits: bigint, pops: number): void {
    const forbidden = this.env.flags & ~this.env.masks & (PRE_COMPUTATION | FloatFlag.overflow | FloatFlag.underflow);
    if (forbidden) this.env.flags &= ~FloatFlag.precision;
    this.view.setInt32(this.base + FPU_STORE, forbidden ? 0 : 1, true);
    this.storePops = forbidden ? 0 : pops;
    this.setOperandBits(bits);
  }
  completeStore(opcode: number): void {
    for (let i = this.storePops; i > 0; i--) this.pop();
    this.finish(opcode, true);
  }
}
