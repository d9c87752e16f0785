/** The registers of a stopped vCPU, as a hypervisor reads and writes them. */
import { gva, type Gva } from '../../base/address.ts';
import {
  CB_CPL,
  CB_CR0,
  CB_CR2,
  CB_CR3,
  CB_CR4,
  CB_CR8,
  CB_DR,
  CB_EFER,
  CB_FPU,
  CB_GDTR_BASE,
  CB_GDTR_LIMIT,
  CB_IDTR_BASE,
  CB_IDTR_LIMIT,
  CB_RIP,
  CB_SEG,
  SEG_BASE,
  SEG_SIZE,
} from '../memory/control-block.ts';
import type { Core } from '../system/core.ts';
import { FPU_IMAGE_SIZE } from '../fpu/state.ts';
import { fxrstor, fxsave } from '../fpu/x87-control.ts';
import { X87 } from '../fpu/x87.ts';
import type { SegmentState, VcpuRegisters } from '../interface.ts';
import { Seg } from '../interface.ts';

export class Registers implements VcpuRegisters {
  private readonly core: Core;
  private readonly x87: X87;
  /** Cached translations and the mode depend on what was written. */
  private readonly onChange: () => void;

  constructor(core: Core, onChange: () => void) {
    this.core = core;
    this.onChange = onChange;
    this.x87 = new X87(new DataView(core.cb.u8.buffer), core.cb.base + CB_FPU);
  }

  getGpr(index: number): bigint {
    return this.core.cb.get64(index * 8);
  }
  setGpr(index: number, value: bigint): void {
    this.core.cb.set64(index * 8, value);
  }
  gprLo(index: number): number {
    return this.core.cb.gprLo(index);
  }
  gprHi(index: number): number {
    return this.core.cb.gprHi(index);
  }
  setGprHalves(index: number, lo: number, hi: number): void {
    this.core.cb.setGpr(index, lo, hi);
  }

  get rip(): Gva {
    return gva(this.core.cb.get64(CB_RIP));
  }
  set rip(value: Gva) {
    this.core.cb.set64(CB_RIP, value);
  }
  get rflags(): number {
    return this.core.rflags >>> 0;
  }
  set rflags(value: number) {
    this.core.rflags = value;
    this.onChange();
  }

  getSegment(seg: number): SegmentState {
    const { core } = this;
    return {
      selector: core.segSelector(seg),
      base: core.cb.get64(CB_SEG + seg * SEG_SIZE + SEG_BASE),
      limit: core.segLimit(seg),
      accessRights: core.segAccess(seg),
    };
  }
  setSegment(seg: number, state: SegmentState): void {
    const { core } = this;
    core.setSegment(
      seg,
      state.selector,
      Number(state.base & 0xffffffffn),
      Number((state.base >> 32n) & 0xffffffffn),
      state.limit,
      state.accessRights,
    );
    // SS.DPL is the CPL, as in a VMCS.
    if (seg === Seg.ss) core.cb.set(CB_CPL, (state.accessRights >> 5) & 3);
    this.onChange();
  }

  get gdtrBase(): bigint {
    return this.core.cb.get64(CB_GDTR_BASE);
  }
  set gdtrBase(value: bigint) {
    this.core.cb.set64(CB_GDTR_BASE, value);
  }
  get gdtrLimit(): number {
    return this.core.cb.get(CB_GDTR_LIMIT);
  }
  set gdtrLimit(value: number) {
    this.core.cb.set(CB_GDTR_LIMIT, value);
  }
  get idtrBase(): bigint {
    return this.core.cb.get64(CB_IDTR_BASE);
  }
  set idtrBase(value: bigint) {
    this.core.cb.set64(CB_IDTR_BASE, value);
  }
  get idtrLimit(): number {
    return this.core.cb.get(CB_IDTR_LIMIT);
  }
  set idtrLimit(value: number) {
    this.core.cb.set(CB_IDTR_LIMIT, value);
  }

  private cell32(offset: number): number {
    return this.core.cb.get(offset);
  }
  private setCell32(offset: number, value: number): void {
    this.core.cb.set(offset, value);
    this.onChange();
  }

  get cr0(): number {
    return this.cell32(CB_CR0);
  }
  set cr0(value: number) {
    this.setCell32(CB_CR0, value);
  }
  get cr2(): bigint {
    return this.core.cb.get64(CB_CR2);
  }
  set cr2(value: bigint) {
    this.core.cb.set64(CB_CR2, value);
  }
  get cr3(): bigint {
    return this.core.cb.get64(CB_CR3);
  }
  set cr3(value: bigint) {
    this.core.cb.set64(CB_CR3, value);
    this.onChange();
  }
  get cr4(): number {
    return this.cell32(CB_CR4);
  }
  set cr4(value: number) {
    this.setCell32(CB_CR4, value);
  }
  get cr8(): number {
    return this.cell32(CB_CR8);
  }
  set cr8(value: number) {
    this.core.cb.set(CB_CR8, value);
  }
  get efer(): number {
    return this.cell32(CB_EFER);
  }
  set efer(value: number) {
    this.setCell32(CB_EFER, value);
  }

  getDr(index: number): bigint {
    return this.core.cb.get64(CB_DR + index * 8);
  }
  setDr(index: number, value: bigint): void {
    this.core.cb.set64(CB_DR + index * 8, value);
    this.onChange();
  }

  get fpuRegs(): Uint8Array {
    const image = new Uint8Array(FPU_IMAGE_SIZE);
    fxsave(this.x87, new DataView(image.buffer), 0, true, 16);
    return image;
  }
  set fpuRegs(image: Uint8Array) {
    if (image.length !== FPU_IMAGE_SIZE)
      throw new RangeError(`FPU registers: an FXSAVE image has ${FPU_IMAGE_SIZE} bytes, not ${image.length}`);
    if (!fxrstor(this.x87, new DataView(image.buffer, image.byteOffset), 0, true, 16))
      throw new RangeError('FPU registers: a reserved bit of MXCSR is set');
  }

  get cpl(): number {
    return this.core.cpl;
  }
}
