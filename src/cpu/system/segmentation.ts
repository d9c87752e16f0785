/** Segment registers and descriptors. Source: SDM vol. 3A, chapters 3 and 5. */
import {
  CB_CPL,
  CB_CR0,
  CB_GDTR_BASE,
  CB_GDTR_LIMIT,
  CB_RFLAGS,
  CB_SEG,
  Cr0,
  Flag,
  SEG_BASE,
  SEG_LIMIT,
  SEG_SIZE,
  Vector,
  Rights,
} from '../memory/control-block.ts';
import type { Core } from './core.ts';
import { Seg } from '../interface.ts';
import { linearFromHalves, type Linear } from '../memory/memory-views.ts';

export const SystemType = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss: 9,
  tssBusy: 11,
  callGate: 12,
  interruptGate: 14,
  trapGate: 15,
} as const;

/** A descriptor as read from its table. */
export class Descriptor {
  lo = 0;
  hi = 0;
  /** Second half of a 16-byte system descriptor: base bits 63:32. */
  baseHigh = 0;
  address: Linear = 0;

  get rights(): number {
    return (this.hi >>> 8) & 0xf0ff;
  }
  get base(): number {
    return ((this.lo >>> 16) | ((this.hi & 0xff) << 16) | (this.hi & 0xff000000)) >>> 0;
  }
  get limit(): number {
    const limit = (this.lo & 0xffff) | (this.hi & 0xf0000);
    return (this.rights & Rights.granular ? (limit << 12) | 0xfff : limit) >>> 0;
  }
  get type(): number {
    return (this.hi >>> 8) & 0xf;
  }
  get isSystem(): boolean {
    return !(this.rights & Rights.nonSystem);
  }
  get isCode(): boolean {
    return !this.isSystem && (this.rights & Rights.code) !== 0;
  }
  get isConforming(): boolean {
    return (this.rights & Rights.conforming) !== 0;
  }
  get isPresent(): boolean {
    return (this.rights & Rights.present) !== 0;
  }
  get dpl(): number {
    return (this.hi >>> 13) & 3;
  }
  get isReadable(): boolean {
    return !this.isSystem && (!(this.rights & Rights.code) || (this.rights & 2) !== 0);
  }
  get isWritableData(): boolean {
    return !this.isSystem && !(this.rights & Rights.code) && (this.rights & Rights.writable) !== 0;
  }
  // As a gate
  get gateSelector(): number {
    return this.lo >>> 16;
  }
  get gateOffset(): number {
    return ((this.lo & 0xffff) | (this.hi & 0xffff0000)) >>> 0;
  }
}

export class Segmentation {
  private readonly core: Core;

  constructor(core: Core) {
    this.core = core;
  }

  /** Address of a descriptor, or NaN past its table's limit. */
  private locate(selector: number, bytes: number): Linear {
    const { core } = this;
    const { cb } = core;
    const offset = selector & 0xfff8;
    if (selector & 4) {
      if (core.segAccess(Seg.ldtr) & Rights.unusable || offset + bytes - 1 > core.segLimit(Seg.ldtr)) return NaN;
      return core.segBase(Seg.ldtr) + offset;
    }
    if (offset + bytes - 1 > cb.get(CB_GDTR_LIMIT)) return NaN;
    return cb.linear(CB_GDTR_BASE) + offset;
  }

  /** Read a descriptor; false when the selector is outside its table. */
  tryRead(selector: number, into: Descriptor): boolean {
    const { core } = this;
    const at = this.locate(selector, 8);
    if (Number.isNaN(at)) return false;
    core.loadSystem(at, 8);
    into.lo = core.data32[0]!;
    into.hi = core.data32[1]!;
    into.baseHigh = 0;
    into.address = at;
    return true;
  }

  /** Read a descriptor, or fault with the selector's error code. */
  read(selector: number, into: Descriptor, vector: number = Vector.gp, external = 0): void {
    if (!this.tryRead(selector, into)) this.core.raise(vector, (selector & 0xfffc) | external);
  }

  /** Second half of a 16-byte descriptor (long mode): base or offset bits 63:32, and a type field that must be zero. */
  readUpper(selector: number, descriptor: Descriptor, vector: number = Vector.gp): void {
    const { core } = this;
    if (Number.isNaN(this.locate(selector, 16))) core.raise(vector, selector & 0xfffc);
    core.loadSystem(descriptor.address + 8, 8);
    descriptor.baseHigh = core.data32[0]!;
    if (core.data32[1]! & 0x1f00) core.raise(vector, selector & 0xfffc);
  }

  /** Set the accessed bit in the table. */
  markAccessed(descriptor: Descriptor): void {
    if (descriptor.rights & Rights.accessed) return;
    const { core } = this;
    core.data32[0] = descriptor.hi | 0x100;
    core.storeSystem(descriptor.address + 4, 4);
    descriptor.hi |= 0x100;
  }

  setFrom(seg: number, selector: number, descriptor: Descriptor): void {
    this.core.setSegment(seg, selector, descriptor.base, descriptor.baseHigh, descriptor.limit, descriptor.rights);
  }

  setNull(seg: number, selector: number): void {
    const { core } = this;
    // SS keeps its DPL in the hidden part: CPL comes from there in a VMCS.
    core.setSegment(seg, selector, 0, 0, 0, Rights.unusable | (seg === Seg.ss ? core.cpl << Rights.dplShift : 0));
  }

  /** MOV or POP to ES, SS, DS, FS, GS. */
  load(seg: number, selector: number): void {
    const { core } = this;
    if (!core.protectedMode || core.vm86) {
      this.loadReal(seg, selector);
      return;
    }
    const error = selector & 0xfffc;
    const rpl = selector & 3;
    const { cpl } = core;
    if (error === 0) {
      if (seg === Seg.ss && !(core.code64 && cpl !== 3 && rpl === cpl)) core.gp(0);
      this.setNull(seg, selector);
      return;
    }
    const d = new Descriptor();
    this.read(selector, d);
    if (seg === Seg.ss) {
      if (rpl !== cpl || !d.isWritableData || d.dpl !== cpl) core.gp(error);
      if (!d.isPresent) core.raise(Vector.ss, error);
    } else {
      if (!d.isReadable) core.gp(error);
      if (!(d.isCode && d.isConforming) && d.dpl < Math.max(rpl, cpl)) core.gp(error);
      if (!d.isPresent) core.raise(Vector.np, error);
    }
    this.markAccessed(d);
    this.setFrom(seg, selector, d);
  }

  /** Real and virtual-8086 mode: base = selector × 16. Real mode keeps limit and rights as they are. */
  loadReal(seg: number, selector: number): void {
    const { core } = this;
    const { cb } = core;
    const vm = core.vm86;
    const at = CB_SEG + seg * SEG_SIZE;
    const access = vm
      ? 0xf3
      : core.segAccess(seg) & Rights.unusable
        ? 0x93
        : seg === Seg.cs
          ? 0x93 | (core.segAccess(seg) & Rights.big)
          : core.segAccess(seg);
    core.setSegment(seg, selector & 0xffff, (selector & 0xffff) * 16, 0, vm ? 0xffff : cb.get(at + SEG_LIMIT) || 0xffff, access);
  }

  /**
   * Check a code segment selector for a far transfer to `cpl` of this selector (JMP, CALL: conforming rules; RET and
   * IRET use `checkReturn`). Gives the new CPL.
   */
  checkCode(selector: number, d: Descriptor): number {
    const { core } = this;
    const error = selector & 0xfffc;
    if (!d.isCode) core.gp(error);
    if (core.longMode && d.rights & Rights.long && d.rights & Rights.big) core.gp(error);
    const { cpl } = core;
    if (d.isConforming) {
      if (d.dpl > cpl) core.gp(error);
    } else if (d.dpl !== cpl || (selector & 3) > cpl) core.gp(error);
    if (!d.isPresent) core.raise(Vector.np, error);
    return cpl;
  }

  /** The offset that a transfer to this code segment goes to, given in halves: canonical, or within the limit, or #GP(0). */
  codeTarget(code: Descriptor, lo: number, hi: number): Linear {
    const { core } = this;
    if (core.longMode && code.rights & Rights.long) {
      const lin = linearFromHalves(lo | 0, hi | 0);
      if (Number.isNaN(lin)) core.gp(0);
      return lin;
    }
    if (lo > code.limit) core.gp(0);
    return lo;
  }

  /** Load CS with a checked descriptor; its RPL becomes `cpl`. */
  setCode(selector: number, d: Descriptor, cpl: number): void {
    const { core } = this;
    this.markAccessed(d);
    this.setFrom(Seg.cs, (selector & 0xfffc) | cpl, d);
    core.cb.set(CB_CPL, cpl);
    core.updateMode();
  }

  /**
   * RET and IRET to an outer ring: the selectors of data segments that the new, lower privilege may not use become zero, and so does
   * a null selector of 1 to 3. Only the selector does: the base stays, and 64-bit mode goes on to add those of FS and GS.
   */
  dropInnerSegments(): void {
    const { core } = this;
    for (const seg of [Seg.es, Seg.ds, Seg.fs, Seg.gs]) {
      const rights = core.segAccess(seg);
      const unusable = (rights & Rights.unusable) !== 0;
      const conforming =
        (rights & (Rights.nonSystem | Rights.code | Rights.conforming)) === (Rights.nonSystem | Rights.code | Rights.conforming);
      if (!unusable && (conforming || ((rights >> Rights.dplShift) & 3) >= core.cpl)) continue;
      const base = CB_SEG + seg * SEG_SIZE + SEG_BASE;
      core.setSegment(seg, 0, core.cb.get(base), core.cb.get(base + 4), core.segLimit(seg), rights | Rights.unusable);
    }
  }

  loadLdt(selector: number): void {
    const { core } = this;
    const error = selector & 0xfffc;
    if (error === 0) {
      core.setSegment(Seg.ldtr, selector, 0, 0, 0, Rights.unusable);
      return;
    }
    if (selector & 4) core.gp(error);
    const d = new Descriptor();
    this.read(selector, d);
    if (!d.isSystem || d.type !== SystemType.ldt) core.gp(error);
    if (!d.isPresent) core.raise(Vector.np, error);
    if (core.longMode) this.readUpper(selector, d);
    if (core.longMode && Number.isNaN(linearFromHalves(d.base, d.baseHigh))) core.gp(error);
    this.setFrom(Seg.ldtr, selector, d);
  }

  loadTask(selector: number): void {
    const { core } = this;
    const error = selector & 0xfffc;
    if (error === 0 || selector & 4) core.gp(error);
    const d = new Descriptor();
    this.read(selector, d);
    if (!d.isSystem || (d.type !== SystemType.tss && (core.longMode || d.type !== SystemType.tss16))) core.gp(error);
    if (!d.isPresent) core.raise(Vector.np, error);
    if (core.longMode) this.readUpper(selector, d);
    if (core.longMode && Number.isNaN(linearFromHalves(d.base, d.baseHigh))) core.gp(error);
    core.data32[0] = d.hi | 0x200;
    core.storeSystem(d.address + 4, 4);
    d.hi |= 0x200;
    this.setFrom(Seg.tr, selector, d);
  }

  /** Stack for privilege `level` from the TSS: {selector, pointer}; in long mode the selector is null with that RPL. */
  innerStack(level: number): { selector: number; pointer: Linear } {
    const { core } = this;
    const base = core.segBase(Seg.tr);
    const limit = core.segLimit(Seg.tr);
    const fault = () => core.raise(Vector.ts, core.segSelector(Seg.tr) & 0xfffc);
    if (core.longMode) {
      const offset = 4 + level * 8;
      if (offset + 7 > limit) fault();
      core.loadSystem(base + offset, 8);
      return { selector: level, pointer: linearFromHalves(core.data32[0]! | 0, core.data32[1]! | 0) };
    }
    const is32 = (core.segAccess(Seg.tr) & 8) !== 0;
    const offset = is32 ? 4 + level * 8 : 2 + level * 4;
    if (offset + (is32 ? 5 : 3) > limit) fault();
    const pointer = is32 ? core.loadSystem32(base + offset) : core.loadSystem16(base + offset);
    const selector = core.loadSystem16(base + offset + (is32 ? 4 : 2));
    return { selector, pointer };
  }

  /** Interrupt stack table entry 1..7 (long mode). */
  interruptStack(entry: number): Linear {
    const { core } = this;
    const offset = 0x24 + (entry - 1) * 8;
    if (offset + 7 > core.segLimit(Seg.tr)) core.raise(Vector.ts, core.segSelector(Seg.tr) & 0xfffc);
    core.loadSystem(core.segBase(Seg.tr) + offset, 8);
    return linearFromHalves(core.data32[0]! | 0, core.data32[1]! | 0);
  }

  /** Descriptor of a stack segment for privilege `level` (legacy protected mode), checked as for an inner stack. */
  stackDescriptor(selector: number, level: number, vector: number, external = 0): Descriptor {
    const { core } = this;
    const error = (selector & 0xfffc) | external;
    if ((selector & 0xfffc) === 0) core.raise(vector, external);
    const d = new Descriptor();
    this.read(selector, d, vector, external);
    if ((selector & 3) !== level || d.dpl !== level || !d.isWritableData) core.raise(vector, error);
    if (!d.isPresent) core.raise(Vector.ss, error);
    return d;
  }

  /** May `size` bytes of ports from `port` be used here: CPL <= IOPL, or the TSS's bitmap says so (SDM vol. 1, 19.5). */
  checkPort(port: number, size: number): void {
    const { core } = this;
    if (!core.protectedMode) return;
    if (!core.vm86 && core.cpl <= core.iopl) return;
    const base = core.segBase(Seg.tr);
    const limit = core.segLimit(Seg.tr);
    if (!(core.segAccess(Seg.tr) & 8) || limit < 0x67) core.gp(0);
    const map = core.loadSystem16(base + 0x66);
    const at = map + (port >> 3);
    if (at + 1 > limit) core.gp(0);
    const bits = core.loadSystem16(base + at) >> (port & 7);
    if (bits & ((1 << size) - 1)) core.gp(0);
  }

  get stackMask(): number {
    return this.core.segAccess(Seg.ss) & Rights.big ? 0xffffffff : 0xffff;
  }

  /** Are interrupts and the like governed by real-mode rules? */
  get realMode(): boolean {
    return !(this.core.cb.get(CB_CR0) & Cr0.pe);
  }

  get isVm86(): boolean {
    return (this.core.cb.get(CB_RFLAGS) & Flag.vm) !== 0;
  }
}
