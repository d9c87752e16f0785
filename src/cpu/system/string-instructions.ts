/**
 * String instructions: MOVS, STOS, LODS, CMPS, SCAS, INS, OUTS with REP. Iterations over plain RAM run page by page
 * in one go; an access to a gfn without RAM leaves with the string's state, so that the hypervisor can finish many
 * iterations at once. Source: SDM vol. 2, REP.
 */
import { PAGE_SIZE, gva } from '../../base/address.ts';
import { CB_CPL, CB_RFLAGS, CB_SEG, Flag, SEG_BASE, SEG_SIZE, Status } from '../memory/control-block.ts';
import type { Core } from './core.ts';
import { ExitReason, Reg, Seg, StringKind } from '../interface.ts';
import { linearFromHalves, linearHigh, linearLow, linearToBigInt, type Linear } from '../memory/memory-views.ts';
import { Access } from '../memory/mmu.ts';
import { EXTRA_ASIZE_SHIFT, EXTRA_REP, EXTRA_REPNE, EXTRA_SEG_MASK, REC_EXTRA } from '../records/record.ts';
import type { Segmentation } from './segmentation.ts';

/** Iterations in one go before the kick word is looked at. */
const SLICE = 4096;

export class StringInstructions {
  private readonly core: Core;
  private readonly seg: Segmentation;
  private addressSize = 2;
  private repeat = false;
  private untilEqual = false;
  private source = Seg.ds as number;

  constructor(core: Core, seg: Segmentation) {
    this.core = core;
    this.seg = seg;
  }

  private setup(): void {
    const extra = this.core.cb.u8[this.core.record + REC_EXTRA]!;
    this.addressSize = extra >> EXTRA_ASIZE_SHIFT;
    this.repeat = (extra & (EXTRA_REP | EXTRA_REPNE)) !== 0;
    this.untilEqual = (extra & EXTRA_REPNE) !== 0;
    this.source = extra & EXTRA_SEG_MASK;
  }

  /** Iterations left; beyond 2^53 the count saturates, which no guest lives to see. */
  private count(): number {
    if (!this.repeat) return 1;
    const { cb } = this.core;
    const lo = cb.gprLo(Reg.rcx);
    if (this.addressSize === 2) return cb.gprHi(Reg.rcx) * 2 ** 32 + lo;
    return this.addressSize === 1 ? lo : lo & 0xffff;
  }

  private index(reg: number): Linear {
    const { cb } = this.core;
    if (this.addressSize === 2) return linearFromHalves(cb.gprLo(reg) | 0, cb.gprHi(reg) | 0);
    return this.addressSize === 1 ? cb.gprLo(reg) : cb.gprLo(reg) & 0xffff;
  }

  /** Linear address of the element at this index register. In legacy modes the segment is checked. */
  private address(seg: number, reg: number, size: number, write: boolean): Linear {
    const { core } = this;
    const offset = this.index(reg);
    if (core.code64) {
      const base = seg === Seg.fs || seg === Seg.gs ? core.cb.linear(CB_SEG + seg * SEG_SIZE + SEG_BASE) : 0;
      return base === 0 ? offset : wrap64(base + offset);
    }
    return core.segmentAddress(seg, offset, size, write);
  }

  private addTo(reg: number, delta: number): void {
    const { cb } = this.core;
    if (this.addressSize === 2) {
      const lo = cb.gprLo(reg);
      const sum = lo + delta;
      cb.setGpr(reg, sum | 0, (cb.gprHi(reg) + Math.floor(sum / 2 ** 32)) | 0);
    } else if (this.addressSize === 1) cb.setGpr(reg, (cb.gprLo(reg) + delta) | 0, 0);
    else cb.setGpr(reg, (cb.gprLo(reg) & ~0xffff) | ((cb.gprLo(reg) + delta) & 0xffff), cb.gprHi(reg));
  }

  private get step(): 1 | -1 {
    return this.core.cb.get(CB_RFLAGS) & Flag.df ? -1 : 1;
  }

  /** n iterations are done: counts and pointers move. */
  private done(n: number, size: number, usesSource: boolean, usesDestination: boolean): void {
    const delta = n * size * this.step;
    if (usesSource) this.addTo(Reg.rsi, delta);
    if (usesDestination) this.addTo(Reg.rdi, delta);
    if (this.repeat) this.addTo(Reg.rcx, -n);
  }

  /** After some iterations: go on with the next instruction, or come back to this one. */
  private finish(): number {
    if (!this.repeat || this.count() === 0) return Status.next;
    this.core.repeats = true;
    return Status.fault;
  }

  /** Elements that fit between this address and the end of its page in the direction of travel. */
  private elementsInPage(lin: Linear, size: number): number {
    const offset = lin & 0xfff;
    if (this.step > 0) return Math.floor((PAGE_SIZE - offset) / size);
    return offset + size > PAGE_SIZE ? 0 : Math.floor(offset / size) + 1;
  }

  private get user(): boolean {
    return this.core.cb.get(CB_CPL) === 3;
  }

  /** TF: a trap after every iteration (SDM vol. 3B 17.3.2). */
  private get traced(): boolean {
    return (this.core.cb.get(CB_RFLAGS) & Flag.tf) !== 0;
  }

  /** May several iterations go in one piece? Not when the pointers could wrap, or something watches every iteration. */
  private get plain(): boolean {
    return (
      !this.traced &&
      this.addressSize === 2 &&
      this.core.code64 &&
      this.core.dataBreakpoints.length === 0 &&
      !this.core.hasCompleted
    );
  }

  /** Leave for an I/O or MMIO access of this string instruction. */
  private describe(kind: StringKind, size: number, source: Linear, destination: Linear): void {
    const { exit } = this.core;
    exit.string = kind;
    exit.rep = this.repeat;
    exit.repCount = this.count();
    exit.df = this.step < 0;
    exit.size = size;
    exit.sourceGla = gva(linearToBigInt(source));
    exit.destinationGla = gva(linearToBigInt(destination));
  }

  movs(size: number): number {
    const { core } = this;
    const { mmu } = core;
    this.setup();
    if (this.count() === 0) return Status.next;
    const from = this.address(this.source, Reg.rsi, size, false);
    const to = this.address(Seg.es, Reg.rdi, size, true);
    if (this.plain && this.repeat) {
      let n = Math.min(this.count(), this.elementsInPage(from, size), this.elementsInPage(to, size), SLICE);
      if (n > 1) {
        const a = mmu.translate(from, Access.read, this.user);
        const b = a < 0 ? -1 : mmu.translate(to, Access.write, this.user);
        if (a >= 0 && b >= 0) {
          const bytes = n * size;
          if (this.step > 0) {
            // A forward copy onto its own tail repeats a pattern: only whole distances go at once.
            if (b > a && b < a + bytes) n = Math.floor((b - a) / size);
            if (n > 0) {
              this.noteRead(a, n * size);
              this.noteWrite(b, n * size);
              core.copy(b, a, n * size);
              this.done(n, size, true, true);
              return this.finish();
            }
          } else {
            const first = a - (n - 1) * size;
            const target = b - (n - 1) * size;
            // A backward copy onto lower, overlapping memory repeats a pattern: one at a time then.
            if (target >= first || target + n * size <= first) {
              this.noteRead(first, n * size);
              this.noteWrite(target, n * size);
              core.copy(target, first, n * size);
              this.done(n, size, true, true);
              return this.finish();
            }
          }
        }
      }
    }
    const status = core.access(from, size, false, this.user, 0, this.source === Seg.ss);
    if (status === Status.exit) this.describe(StringKind.movs, size, from, to);
    if (status !== Status.next) return core.unwind(status);
    const written = core.access(to, size, true, this.user, 0, false);
    if (written === Status.exit) this.describe(StringKind.movs, size, from, to);
    if (written !== Status.next) return core.unwind(written);
    this.done(1, size, true, true);
    return this.afterOne();
  }

  /** One iteration is over: what was completed for it counts no more. */
  private afterOne(): number {
    this.core.forgetCompleted();
    return this.finish();
  }

  private noteRead(at: number, length: number): void {
    const { mmu, codeCache } = this.core;
    if (mmu.watchesReads(at >>> 12)) codeCache.read(at >>> 12, at & 0xfff, length);
  }

  private noteWrite(at: number, length: number): void {
    const { mmu, codeCache } = this.core;
    if (mmu.holdsCode(at >>> 12)) codeCache.written(at >>> 12, at & 0xfff, length);
  }

  stos(size: number): number {
    const { core } = this;
    const { cb, mmu } = core;
    this.setup();
    if (this.count() === 0) return Status.next;
    const to = this.address(Seg.es, Reg.rdi, size, true);
    const lo = cb.gprLo(Reg.rax);
    const hi = cb.gprHi(Reg.rax);
    if (this.plain && this.repeat) {
      const n = Math.min(this.count(), this.elementsInPage(to, size), SLICE);
      const at = n > 1 ? mmu.translate(to, Access.write, this.user) : -1;
      if (at >= 0) {
        const first = this.step > 0 ? at : at - (n - 1) * size;
        this.noteWrite(first, n * size);
        this.fill(first, n, size, lo, hi);
        this.done(n, size, false, true);
        return this.finish();
      }
    }
    core.data32[0] = lo;
    core.data32[1] = hi;
    const status = core.access(to, size, true, this.user, 0, false);
    if (status === Status.exit) this.describe(StringKind.stos, size, 0, to);
    if (status !== Status.next) return core.unwind(status);
    this.done(1, size, false, true);
    return this.afterOne();
  }

  private fill(at: number, n: number, size: number, lo: number, hi: number): void {
    const { u8, u32 } = this.core.cb;
    const same = (lo & 0xff) * 0x01010101;
    if (size === 1 || ((same | 0) === (lo | 0) && (size === 4 || (size === 8 && (hi | 0) === (lo | 0))))) {
      this.core.fill(at, lo & 0xff, n * size);
    } else if (size >= 4 && (at & 3) === 0) {
      if (size === 4) u32.fill(lo, at >>> 2, (at >>> 2) + n);
      else {
        for (let i = 0; i < n; i++) {
          u32[(at >>> 2) + 2 * i] = lo;
          u32[(at >>> 2) + 2 * i + 1] = hi;
        }
      }
    } else {
      for (let i = 0; i < n * size; i++) {
        const byte = i % size;
        u8[at + i] = byte < 4 ? lo >>> (8 * byte) : hi >>> (8 * (byte - 4));
      }
    }
  }

  lods(size: number): number {
    const { core } = this;
    const { cb } = core;
    this.setup();
    if (this.count() === 0) return Status.next;
    const from = this.address(this.source, Reg.rsi, size, false);
    const status = core.access(from, size, false, this.user, 0, this.source === Seg.ss);
    if (status === Status.exit) this.describe(StringKind.lods, size, from, 0);
    if (status !== Status.next) return core.unwind(status);
    const { data, data32 } = core;
    const old = cb.gprLo(Reg.rax);
    if (size === 1) cb.setGpr(Reg.rax, (old & ~0xff) | data[0]!, cb.gprHi(Reg.rax));
    else if (size === 2) cb.setGpr(Reg.rax, (old & ~0xffff) | data[0]! | (data[1]! << 8), cb.gprHi(Reg.rax));
    else cb.setGpr(Reg.rax, data32[0]!, size === 8 ? data32[1]! : 0);
    this.done(1, size, true, false);
    return this.afterOne();
  }

  /**
   * One comparison of CMPS or SCAS is done: true when the instruction ends with it, and then its flags are set. Until
   * then they stay as they were, which is what a fault in a later iteration must find (SDM vol. 2, REP).
   */
  private compared(a: bigint, b: bigint, size: number): boolean {
    const equal = a === b;
    if (this.repeat && equal !== this.untilEqual && this.count() !== 0) return false;
    this.compare(a, b, size);
    return true;
  }

  /** Flags of a - b. */
  private compare(a: bigint, b: bigint, size: number): void {
    const n = BigInt(size * 8);
    const r = BigInt.asUintN(size * 8, a - b);
    const sign = 1n << (n - 1n);
    let flags = 0;
    if (a < b) flags |= Flag.cf;
    if (r === 0n) flags |= Flag.zf;
    if (r & sign) flags |= Flag.sf;
    if ((a ^ b) & (a ^ r) & sign) flags |= Flag.of;
    if ((a ^ b ^ r) & 0x10n) flags |= Flag.af;
    let ones = 0;
    for (let low = Number(r & 0xffn); low; low &= low - 1) ones++;
    if (!(ones & 1)) flags |= Flag.pf;
    this.core.setStatus(flags);
  }

  private value(size: number): bigint {
    const { data, data32 } = this.core;
    if (size === 1) return BigInt(data[0]!);
    if (size === 2) return BigInt(data[0]! | (data[1]! << 8));
    return size === 4 ? BigInt(data32[0]!) : (BigInt(data32[1]!) << 32n) | BigInt(data32[0]!);
  }

  cmps(size: number): number {
    const { core } = this;
    this.setup();
    for (let n = 0; n < 256; n++) {
      if (this.count() === 0) return Status.next;
      // Intel's processors read the second operand first: it shows when both would fault.
      const to = this.address(Seg.es, Reg.rdi, size, false);
      let status = core.access(to, size, false, this.user, 0, false);
      if (status === Status.fault) return core.unwind(status);
      const b = this.value(size);
      const from = this.address(this.source, Reg.rsi, size, false);
      if (status === Status.next) status = core.access(from, size, false, this.user, 0, this.source === Seg.ss);
      if (status === Status.exit) this.describe(StringKind.cmps, size, from, to);
      if (status !== Status.next) return core.unwind(status);
      const a = this.value(size);
      this.done(1, size, true, true);
      core.forgetCompleted();
      if (this.compared(a, b, size)) return Status.next;
      if (this.traced) break;
    }
    return this.finish();
  }

  scas(size: number): number {
    const { core } = this;
    const { cb } = core;
    this.setup();
    core.data32[0] = cb.gprLo(Reg.rax);
    core.data32[1] = cb.gprHi(Reg.rax);
    const a = this.value(size);
    for (let n = 0; n < 256; n++) {
      if (this.count() === 0) return Status.next;
      const to = this.address(Seg.es, Reg.rdi, size, false);
      const status = core.access(to, size, false, this.user, 0, false);
      if (status === Status.exit) this.describe(StringKind.scas, size, 0, to);
      if (status !== Status.next) return core.unwind(status);
      const b = this.value(size);
      this.done(1, size, false, true);
      core.forgetCompleted();
      if (this.compared(a, b, size)) return Status.next;
      if (this.traced) break;
    }
    return this.finish();
  }

  /** INS and OUTS always leave: the hypervisor moves the data, then says how many iterations it did. */
  ins(size: number): number {
    return this.portString(StringKind.ins, size);
  }
  outs(size: number): number {
    return this.portString(StringKind.outs, size);
  }

  private portString(kind: StringKind, size: number): number {
    const { core } = this;
    const { cb } = core;
    this.setup();
    const width = Math.min(size, 4);
    const port = cb.gprLo(Reg.rdx) & 0xffff;
    this.seg.checkPort(port, width);
    if (this.count() === 0) return Status.next;
    const isIn = kind === StringKind.ins;
    const lin = isIn ? this.address(Seg.es, Reg.rdi, width, true) : this.address(this.source, Reg.rsi, width, false);
    if (Number.isNaN(lin)) core.gp(0);
    this.describe(kind, width, isIn ? 0 : lin, isIn ? lin : 0);
    core.exit.port = port;
    core.exit.isWrite = !isIn;
    return core.leave(ExitReason.ioInstruction);
  }

  /** The hypervisor finished n iterations of the string instruction that left. True: the instruction is over. */
  completeReps(n: number, size: number, kind: StringKind): boolean {
    this.setup();
    const usesSource =
      kind === StringKind.movs || kind === StringKind.outs || kind === StringKind.lods || kind === StringKind.cmps;
    const usesDestination = kind !== StringKind.outs && kind !== StringKind.lods;
    this.done(n, size, usesSource, usesDestination);
    return !this.repeat || this.count() === 0;
  }
}

function wrap64(lin: Linear): Linear {
  return Number.isNaN(lin) ? lin : linearFromHalves(linearLow(lin), linearHigh(lin));
}
