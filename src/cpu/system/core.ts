/**
 * What all parts of the vCPU outside generated code share: registers, translation, linear memory, and the two ways out
 * of an instruction: an exception and a VM exit. run/slow-paths.ts says who throws and who returns a Status.
 */
import { PAGE_SIZE, gpa, gva } from '../../base/address.ts';
import {
  CB_CPL,
  CB_CR0,
  CB_CR2,
  CB_EFER,
  CB_LF_KIND,
  CB_RFLAGS,
  CB_RIP,
  CB_SEG,
  CB_SHADOW,
  CB_SLOW_VALUE,
  CB_STATUS,
  Cr0,
  Efer,
  Flag,
  LazyKind,
  Rights,
  SEG_ACCESS,
  SEG_BASE,
  SEG_HIGH,
  SEG_LIMIT,
  SEG_LOW,
  SEG_MAY,
  SEG_SELECTOR,
  SEG_SIZE,
  STATUS_FLAGS,
  Status,
  Vector,
} from '../memory/control-block.ts';
import type { CodeCache } from '../decode/code-cache.ts';
import type { Primitives } from '../memory/primitives.ts';
import type { Mode } from './mode.ts';
import { SLOW_FOR_WRITE } from '../emit/context.ts';
import { EptQualification, ExitReason, Seg, type VmExit } from '../interface.ts';
import { linearFromHalves, linearToBigInt, type ControlBlock, type Linear } from '../memory/memory-views.ts';
import { Access, NESTED_FAULT, PAGE_FAULT, type Mmu } from '../memory/mmu.ts';
import { REC_LENGTH, REC_RIP } from '../records/record.ts';

/** Thrown to leave an instruction: an exception waits in `fault`, or `exit` is filled in. */
export const FAULT = Object.freeze({ unwind: 'fault' });
export const EXIT = Object.freeze({ unwind: 'exit' });

export class Core {
  readonly cb: ControlBlock;
  readonly mmu: Mmu;
  readonly codeCache: CodeCache;
  readonly mode: Mode;
  /** RFLAGS status bits now. */
  readonly statusFlags: Primitives['statusFlags'];
  /** Bulk memory: (address, value, length) and (to, from, length), machine addresses. */
  readonly fill: Primitives['fill'];
  readonly copy: Primitives['copy'];
  readonly exit: VmExit = {
    reason: ExitReason.hlt,
    rip: gva(0n),
    instructionLength: 0,
    qualification: 0,
    gpa: gpa(0),
    gla: gva(0n),
    isWrite: false,
    size: 0,
    dataLo: 0,
    dataHi: 0,
    port: 0,
    string: 0,
    rep: false,
    repCount: 1,
    df: false,
    sourceGla: gva(0n),
    destinationGla: gva(0n),
    register: 0,
    gpr: 0,
    vector: 0,
    errorCode: -1,
  };
  /** The exception that FAULT announces. errorCode -1: none. */
  faultVector = 0;
  faultCode = -1;

  /** The record of the instruction in hand. */
  record = 0;
  /** A write to decoded code is not done but reported: Status.writesCode. */
  keepsCode = false;
  /** Data of `access`: 16 bytes. */
  readonly data = new Uint8Array(16);
  readonly data32 = new Uint32Array(this.data.buffer);

  // Accesses of the instruction in hand that the hypervisor completed; see `mmio`.
  private readonly completedLo: number[] = [];
  private readonly completedHi: number[] = [];
  private completed = 0;
  private nextCompleted = 0;
  /** Debug register hits of this instruction (DR6 bits), for a #DB after it. */
  debugHits = 0;
  /**
   * SYSCALL or SYSRET just ran: what TF is now decides about the trap behind it, not what it was before; else a program could trap into
   * a kernel's first instruction (Xen security advisory 204).
   */
  newFlagsDecide = false;
  /** SYSRET set TF: the trap comes at once. */
  trapDue = false;
  /** The repeated string instruction in hand did some iterations and has more to do. */
  repeats = false;
  /** DR0..DR3 as armed for data: address, length and whether reads count; empty when none. */
  dataBreakpoints: { index: number; address: Linear; length: number; reads: boolean }[] = [];

  constructor(parts: { cb: ControlBlock; mmu: Mmu; codeCache: CodeCache; mode: Mode; primitives: Primitives }) {
    const { primitives } = parts;
    this.cb = parts.cb;
    this.mmu = parts.mmu;
    this.codeCache = parts.codeCache;
    this.mode = parts.mode;
    this.statusFlags = primitives.statusFlags;
    this.fill = primitives.fill;
    this.copy = primitives.copy;
  }

  // Where we are

  get longMode(): boolean {
    return (this.cb.get(CB_EFER) & Efer.lma) !== 0;
  }
  get code64(): boolean {
    return this.longMode && (this.segAccess(Seg.cs) & Rights.long) !== 0;
  }
  get protectedMode(): boolean {
    return (this.cb.get(CB_CR0) & Cr0.pe) !== 0;
  }
  get vm86(): boolean {
    return (this.cb.get(CB_RFLAGS) & Flag.vm) !== 0;
  }
  get cpl(): number {
    return this.cb.get(CB_CPL);
  }
  get iopl(): number {
    return (this.cb.get(CB_RFLAGS) >> 12) & 3;
  }

  /** All of RFLAGS. */
  get rflags(): number {
    return this.cb.get(CB_RFLAGS) | this.statusFlags();
  }
  set rflags(value: number) {
    this.cb.set(CB_RFLAGS, (value & ~STATUS_FLAGS) | Flag.one);
    this.setStatus(value);
  }
  setStatus(value: number): void {
    this.cb.set(CB_STATUS, value & STATUS_FLAGS);
    this.cb.set(CB_LF_KIND, LazyKind.explicit);
  }
  changeStatus(clear: number, set: number): void {
    this.setStatus((this.statusFlags() & ~clear) | set);
  }

  setRip(lo: number, hi: number): void {
    this.cb.set(CB_RIP, lo);
    this.cb.set(CB_RIP + 4, hi);
  }
  setRipLinear(lin: Linear): void {
    this.cb.setLinear(CB_RIP, lin);
  }
  get rip(): Linear {
    return this.cb.linear(CB_RIP);
  }

  /** RIP of the record in hand goes to CB_RIP: where a fault or exit of it points. */
  begin(record: number): void {
    const { u32 } = this.cb;
    this.record = record;
    this.cb.set(CB_RIP, u32[(record + REC_RIP) >> 2]!);
    this.cb.set(CB_RIP + 4, u32[(record + REC_RIP + 4) >> 2]!);
  }
  get length(): number {
    return this.cb.u8[this.record + REC_LENGTH]!;
  }
  /** Low and high half of the next instruction's address. */
  nextRip(): Linear {
    const { u32 } = this.cb;
    const lo = u32[(this.record + REC_RIP) >> 2]! + this.length;
    if (!this.code64) return lo >>> 0;
    return linearFromHalves(lo | 0, (u32[(this.record + REC_RIP + 4) >> 2]! + (lo > 0xffffffff ? 1 : 0)) | 0);
  }
  /** Go on behind the record in hand. */
  advance(): void {
    this.setRipLinear(this.nextRip());
  }

  /** What depends on privilege, CS, CR0, CR4, EFER or RFLAGS.AC is worked out anew. */
  updateMode(): void {
    this.mode.update();
  }

  // Ways out

  raise(vector: number, errorCode = -1): never {
    this.faultVector = vector;
    this.faultCode = errorCode;
    throw FAULT;
  }
  gp(errorCode = 0): never {
    return this.raise(Vector.gp, errorCode);
  }

  leave(reason: ExitReason): never {
    this.describeExit(reason);
    throw EXIT;
  }
  /** An exit at CB_RIP. */
  describeExit(reason: ExitReason): void {
    this.exit.reason = reason;
    this.fillExit();
  }
  private fillExit(): void {
    const { exit, cb } = this;
    exit.rip = gva(cb.get64(CB_RIP));
    exit.instructionLength = this.record ? this.length : 0;
  }

  // Segments

  segAccess(seg: number): number {
    return this.cb.get(CB_SEG + seg * SEG_SIZE + SEG_ACCESS);
  }
  segSelector(seg: number): number {
    return this.cb.get(CB_SEG + seg * SEG_SIZE + SEG_SELECTOR);
  }
  segLimit(seg: number): number {
    return this.cb.get(CB_SEG + seg * SEG_SIZE + SEG_LIMIT);
  }
  segBase(seg: number): Linear {
    return this.cb.linear(CB_SEG + seg * SEG_SIZE + SEG_BASE);
  }

  /** Fill in a segment register's cache and what is derived from it. baseLo/baseHi: halves. */
  setSegment(seg: number, selector: number, baseLo: number, baseHi: number, limit: number, access: number): void {
    const { cb } = this;
    const at = CB_SEG + seg * SEG_SIZE;
    cb.set(at + SEG_SELECTOR, selector);
    cb.set(at + SEG_BASE, baseLo);
    cb.set(at + SEG_BASE + 4, baseHi);
    cb.set(at + SEG_LIMIT, limit);
    cb.set(at + SEG_ACCESS, access);
    let may = 0;
    if (!(access & Rights.unusable)) {
      may = access & Rights.code ? (access & 2 ? 1 : 0) : 1 | (access & Rights.writable ? 2 : 0);
      // In real mode every segment may be written, whatever its type.
      if (!this.protectedMode || this.vm86) may = 3;
    }
    const down = !(access & Rights.code) && (access & Rights.expandDown) !== 0;
    cb.set(at + SEG_MAY, may);
    cb.set(at + SEG_LOW, down ? (limit === 0xffffffff ? 0xffffffff : limit + 1) : 0);
    cb.set(at + SEG_HIGH, down ? (access & Rights.big ? 0xffffffff : 0xffff) : limit);
    if (seg === Seg.es || seg === Seg.ss || seg === Seg.ds) this.mode.dataSegmentLoaded();
  }

  /** Linear address of seg:offset for a legacy-mode access; faults like hardware when the segment refuses. */
  segmentAddress(seg: number, offset: number, size: number, write: boolean): Linear {
    const { cb } = this;
    const at = CB_SEG + seg * SEG_SIZE;
    const off = offset >>> 0;
    const need = write ? 2 : 1;
    // Past the end of a full 4 GiB an access wraps; no processor faults there.
    const high = cb.get(at + SEG_HIGH);
    if (!(cb.get(at + SEG_MAY) & need) || off < cb.get(at + SEG_LOW) || (off + size - 1 > high && high !== 0xffffffff)) {
      this.raise(seg === Seg.ss ? Vector.ss : Vector.gp, 0);
    }
    return (cb.get(at + SEG_BASE) + off) >>> 0;
  }

  // Linear memory

  /**
   * Read or write `size` bytes (at most 16) through `data`. Gives Status.next, or Status.fault with faultVector set (and
   * CR2), or Status.exit with `exit` filled in. flags: SLOW_* of emit/context.ts. Nothing is written before all
   * pages are known to allow it.
   */
  access(lin: Linear, size: number, write: boolean, user: boolean, flags: number, stack: boolean): number {
    if (Number.isNaN(lin) || (this.longMode && Number.isNaN(checkEnd(lin, size)))) {
      return this.pend(stack ? Vector.ss : Vector.gp, 0);
    }
    if (user && size > 1 && size <= 8 && lin & (size - 1) && this.alignmentChecked) return this.pend(Vector.ac, 0);
    const { mmu } = this;
    const kind = write || flags & SLOW_FOR_WRITE ? Access.write : Access.read;
    const first = Math.min(size, PAGE_SIZE - (lin & 0xfff));
    let a = mmu.translate(lin, kind, user);
    if (a === PAGE_FAULT) return this.pendPageFault(lin);
    if (a === NESTED_FAULT && mmu.inWalk) return this.pendNested(lin, false);
    if (a < 0 && !write && kind === Access.write) {
      // The page may be read where it may not be written: the write that follows is what leaves.
      a = mmu.translate(lin, Access.read, user);
      if (a === NESTED_FAULT && mmu.inWalk) return this.pendNested(lin, false);
    }
    const gpaA = mmu.gpa;
    const rightsA = mmu.nestedPermissions;
    let b = 0;
    let gpaB = 0;
    let rightsB = 0;
    const second = this.nextPage(lin);
    if (first < size) {
      b = mmu.translate(second, kind, user);
      if (b === PAGE_FAULT) return this.pendPageFault(second);
      if (b === NESTED_FAULT && mmu.inWalk) return this.pendNested(second, false);
      if (b < 0 && !write && kind === Access.write) b = mmu.translate(second, Access.read, user);
      gpaB = mmu.gpa;
      rightsB = mmu.nestedPermissions;
    }
    if (write && this.keepsCode && (this.wouldOverwriteCode(a, first) || this.wouldOverwriteCode(b, size - first)))
      return Status.writesCode;
    if (this.dataBreakpoints.length) this.checkBreakpoints(lin, size, write);
    let status = this.part(a, gpaA, rightsA, lin, 0, first, write);
    if (status === Status.next && first < size) status = this.part(b, gpaB, rightsB, second, first, size - first, write);
    return status;
  }

  private wouldOverwriteCode(at: number, count: number): boolean {
    return count > 0 && at >= 0 && this.mmu.holdsCode(at >>> 12) && this.codeCache.holds(at >>> 12, at & 0xfff, count);
  }

  private nextPage(lin: Linear): Linear {
    const next = lin - (lin & 0xfff) + PAGE_SIZE;
    return this.code64 || this.longMode ? next : next >>> 0;
  }

  /** Bytes [from, from+count) of `data` at one page. */
  private part(at: number, gpaOf: number, rights: number, lin: Linear, from: number, count: number, write: boolean): number {
    const { u8 } = this.cb;
    if (at >= 0) {
      if (write) {
        if (this.mmu.holdsCode(at >>> 12)) this.codeCache.written(at >>> 12, at & 0xfff, count);
        for (let i = 0; i < count; i++) u8[at + i] = this.data[from + i]!;
      } else {
        if (this.mmu.watchesReads(at >>> 12)) this.codeCache.read(at >>> 12, at & 0xfff, count);
        for (let i = 0; i < count; i++) this.data[from + i] = u8[at + i]!;
      }
      return Status.next;
    }
    for (let done = 0; done < count; ) {
      const chunk = Math.min(8, count - done);
      const status = this.mmio(gpaOf + done, lin + done, rights, from + done, chunk, write);
      if (status !== Status.next) return status;
      done += chunk;
    }
    return Status.next;
  }

  /** One access to a gfn without RAM: taken from what the hypervisor completed, or an exit. */
  private mmio(address: number, lin: Linear, rights: number, from: number, count: number, write: boolean): number {
    if (this.nextCompleted < this.completed) {
      const slot = this.nextCompleted++;
      if (!write) {
        const lo = this.completedLo[slot]!;
        const hi = this.completedHi[slot]!;
        for (let i = 0; i < count; i++) this.data[from + i] = i < 4 ? lo >>> (8 * i) : hi >>> (8 * (i - 4));
      }
      return Status.next;
    }
    const { exit } = this;
    let lo = 0;
    let hi = 0;
    if (write) {
      for (let i = 0; i < Math.min(4, count); i++) lo |= this.data[from + i]! << (8 * i);
      for (let i = 4; i < count; i++) hi |= this.data[from + i]! << (8 * (i - 4));
    }
    this.fillEpt(address, lin, rights, true, write, false);
    exit.size = count;
    exit.dataLo = lo >>> 0;
    exit.dataHi = hi >>> 0;
    return Status.exit;
  }

  private fillEpt(address: number, lin: Linear, rights: number, final: boolean, write: boolean, fetch: boolean): void {
    const { exit } = this;
    exit.reason = ExitReason.eptViolation;
    this.fillExit();
    exit.gpa = gpa(address);
    exit.gla = gva(linearToBigInt(lin));
    exit.isWrite = write;
    exit.string = 0;
    exit.rep = false;
    exit.repCount = 1;
    exit.qualification =
      (fetch ? EptQualification.fetch : write ? EptQualification.write : EptQualification.read) |
      (rights << 3) |
      EptQualification.glaValid |
      (final ? EptQualification.finalAccess : 0);
  }

  pend(vector: number, errorCode: number): number {
    this.faultVector = vector;
    this.faultCode = errorCode;
    return Status.fault;
  }

  pendPageFault(lin: Linear): number {
    this.cb.set64(CB_CR2, linearToBigInt(lin));
    return this.pend(Vector.pf, this.mmu.errorCode);
  }

  /** The translation itself was refused by the p2m: an exit in the walk, or of a fetch. */
  pendNested(lin: Linear, fetch: boolean): number {
    const { mmu } = this;
    this.fillEpt(mmu.gpa, lin, mmu.nestedPermissions, !mmu.inWalk, mmu.inWalk ? mmu.walkWrite : false, fetch && !mmu.inWalk);
    this.exit.size = mmu.inWalk ? 8 : 0;
    return Status.exit;
  }

  private get alignmentChecked(): boolean {
    return (this.cb.get(CB_CR0) & Cr0.am) !== 0 && (this.cb.get(CB_RFLAGS) & Flag.ac) !== 0;
  }

  private checkBreakpoints(lin: Linear, size: number, write: boolean): void {
    for (const point of this.dataBreakpoints) {
      if ((write || point.reads) && lin < point.address + point.length && point.address < lin + size)
        this.debugHits |= 1 << point.index;
    }
  }

  // Completed accesses

  /** The next completed access, for an IN or OUT that is run again: its data is then in data32. */
  takeCompleted(): boolean {
    if (this.nextCompleted >= this.completed) return false;
    const slot = this.nextCompleted++;
    this.data32[0] = this.completedLo[slot]!;
    this.data32[1] = this.completedHi[slot]!;
    return true;
  }
  complete(lo: number, hi: number): void {
    this.completedLo[this.completed] = lo;
    this.completedHi[this.completed] = hi;
    this.completed++;
  }
  get hasCompleted(): boolean {
    return this.completed > 0;
  }
  restartCompleted(): void {
    this.nextCompleted = 0;
  }
  forgetCompleted(): void {
    this.completed = 0;
    this.nextCompleted = 0;
  }

  /** What was completed so far, two words each; and put back. */
  saveCompleted(): Uint32Array {
    const out = new Uint32Array(this.completed * 2);
    for (let i = 0; i < this.completed; i++) out.set([this.completedLo[i]!, this.completedHi[i]!], i * 2);
    return out;
  }
  restoreCompleted(words: Uint32Array): void {
    this.forgetCompleted();
    for (let i = 0; i + 1 < words.length; i += 2) this.complete(words[i]!, words[i + 1]!);
  }

  // Reads and writes for helpers: throw on a fault or exit

  private check(status: number): void {
    if (status !== Status.next) this.unwind(status);
  }
  /** Ends a helper with what access() said: the fault it announced, or the exit it described. */
  unwind(status: number): never {
    throw status === Status.exit ? EXIT : FAULT;
  }

  /** As the program would: current privilege. Result in data / data32. */
  load(lin: Linear, size: number, stack = false): void {
    this.check(this.access(lin, size, false, this.cpl === 3, 0, stack));
  }
  /** The first half of a read-modify-write: a write's permissions count. */
  loadForWrite(lin: Linear, size: number): void {
    this.check(this.access(lin, size, false, this.cpl === 3, SLOW_FOR_WRITE, false));
  }
  store(lin: Linear, size: number, stack = false): void {
    this.check(this.access(lin, size, true, this.cpl === 3, 0, stack));
  }
  load32(lin: Linear, stack = false): number {
    this.load(lin, 4, stack);
    return this.data32[0]!;
  }

  /** As the processor does on its own account: supervisor, SMAP without exception. */
  loadSystem(lin: Linear, size: number): void {
    this.system(lin, size, false);
  }
  storeSystem(lin: Linear, size: number): void {
    this.system(lin, size, true);
  }
  private system(lin: Linear, size: number, write: boolean): void {
    this.mmu.implicit = true;
    const status = this.access(lin, size, write, false, 0, false);
    this.mmu.implicit = false;
    this.check(status);
  }
  loadSystem32(lin: Linear): number {
    this.loadSystem(lin, 4);
    return this.data32[0]!;
  }
  loadSystem16(lin: Linear): number {
    this.loadSystem(lin, 2);
    return this.data[0]! | (this.data[1]! << 8);
  }

  /** A value of the operand's size into CB_SLOW_VALUE. */
  result(lo: number, hi = 0): void {
    this.cb.set(CB_SLOW_VALUE, lo);
    this.cb.set(CB_SLOW_VALUE + 4, hi);
  }

  /** Interrupts are held off for the instruction at RIP by STI or MOV SS. */
  get shadow(): number {
    return this.cb.get(CB_SHADOW);
  }
  clearShadow(): void {
    this.cb.set(CB_SHADOW, 0);
  }
}

/** Is the last byte canonical too? */
function checkEnd(lin: Linear, size: number): Linear {
  const end = lin + size - 1;
  return end >= 2 ** 47 && lin < 2 ** 47 ? NaN : end;
}
