/** A stack to push on before it becomes the vCPU's: nothing changes until `commit`. */
import { Access, PAGE_FAULT } from '../memory/mmu.ts';
import { CB_SEG, SEG_HIGH, SEG_LOW, SEG_SIZE, Vector, Rights } from '../memory/control-block.ts';
import type { Core } from './core.ts';
import { Reg, Seg } from '../interface.ts';
import { linearFromHalves, linearHigh, linearLow, type Linear } from '../memory/memory-views.ts';

export class StackFrame {
  private readonly core: Core;
  /** Long mode: a linear address. Else: an offset under `mask` in a segment with `base`, `low`, `high`. */
  pointer: Linear;
  private readonly base: number;
  private readonly mask: number;
  private readonly low: number;
  private readonly high: number;
  private readonly user: boolean;
  private readonly long: boolean;
  private readonly errorCode: number;

  constructor(
    core: Core,
    stack: {
      pointer: Linear;
      long: boolean;
      user: boolean;
      base?: number;
      mask?: number;
      low?: number;
      high?: number;
      errorCode?: number;
    },
  ) {
    this.core = core;
    this.pointer = stack.pointer;
    this.long = stack.long;
    this.user = stack.user;
    this.base = stack.base ?? 0;
    this.mask = stack.mask ?? 0xffffffff;
    this.low = stack.low ?? 0;
    this.high = stack.high ?? 0xffffffff;
    this.errorCode = stack.errorCode ?? 0;
  }

  /** The stack in use now. `user`: accesses count as the user's; else as the processor's own. */
  static current(core: Core, user = core.cpl === 3): StackFrame {
    const { cb } = core;
    if (core.code64)
      return new StackFrame(core, { pointer: linearFromHalves(cb.gprLo(Reg.rsp) | 0, cb.gprHi(Reg.rsp) | 0), long: true, user });
    const at = CB_SEG + Seg.ss * SEG_SIZE;
    return new StackFrame(core, {
      pointer: cb.gprLo(Reg.rsp),
      long: false,
      user,
      base: core.segBase(Seg.ss),
      mask: core.segAccess(Seg.ss) & Rights.big ? 0xffffffff : 0xffff,
      low: cb.get(at + SEG_LOW),
      high: cb.get(at + SEG_HIGH),
    });
  }

  private address(pointer: Linear, size: number): Linear {
    if (this.long) {
      if (Number.isNaN(pointer)) this.core.raise(Vector.ss, this.errorCode);
      return pointer;
    }
    const offset = (pointer & this.mask) >>> 0;
    // Past the end of a full 4 GiB an access wraps.
    if (offset < this.low || (offset + size - 1 > this.high && this.high !== 0xffffffff))
      this.core.raise(Vector.ss, this.errorCode);
    return (this.base + offset) >>> 0;
  }

  private transfer(pointer: Linear, size: number, write: boolean): void {
    const { core } = this;
    const at = this.address(pointer, size);
    if (this.user) {
      if (write) core.store(at, size, true);
      else core.load(at, size, true);
    } else if (write) core.storeSystem(at, size);
    else core.loadSystem(at, size);
  }

  /** Push the low `size` bytes of a value given in halves. */
  push(size: number, lo: number, hi = 0): void {
    const { core } = this;
    const pointer = this.long ? this.pointer - size : ((this.pointer - size) & this.mask) >>> 0;
    core.data32[0] = lo;
    core.data32[1] = hi;
    this.transfer(pointer, size, true);
    this.pointer = pointer;
  }

  pushLinear(size: number, value: Linear): void {
    this.push(size, linearLow(value), linearHigh(value));
  }

  /** Pop `size` bytes into core.data32; gives the low half. */
  pop(size: number): number {
    const { core } = this;
    core.data32[0] = 0;
    core.data32[1] = 0;
    this.transfer(this.pointer, size, false);
    if (size < 4) core.data32[0] = core.data32[0]! & 0xffff;
    this.pointer = this.long ? this.pointer + size : ((this.pointer + size) & this.mask) >>> 0;
    return core.data32[0]!;
  }

  /** Faults where a push of `size` bytes that ends at the pointer would, and writes nothing. */
  checkTop(size: number): void {
    const { core } = this;
    const at = this.address(this.pointer, size);
    if (core.mmu.translate(at, Access.write, this.user) === PAGE_FAULT) core.unwind(core.pendPageFault(at));
  }

  /** rSP as it is when it takes the pointer: a 16-bit stack keeps the rest of ESP. */
  get wholePointer(): Linear {
    if (this.long || this.mask !== 0xffff) return this.pointer;
    return ((this.core.cb.gprLo(Reg.rsp) & ~0xffff) | (this.pointer & 0xffff)) >>> 0;
  }

  /** rSP takes the pointer. */
  commit(): void {
    const { cb } = this.core;
    const whole = this.wholePointer;
    if (this.long) cb.setGpr(Reg.rsp, linearLow(whole), linearHigh(whole));
    else cb.setGpr(Reg.rsp, whole, this.mask === 0xffff ? cb.gprHi(Reg.rsp) : 0);
  }
}
