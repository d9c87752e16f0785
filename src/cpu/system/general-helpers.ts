/** Helpers of general-purpose instructions: 128-bit division, decimal adjusts, PUSHA, ENTER … Source: SDM vol. 2. */
import {
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  CB_RFLAGS,
  CB_SEG,
  Flag,
  SEG_BASE,
  SEG_SIZE,
  Status,
  Vector,
  Rights,
} from '../memory/control-block.ts';
import type { Core } from './core.ts';
import { Reg, Seg } from '../interface.ts';
import { linearFromHalves, type Linear } from '../memory/memory-views.ts';
import { EXTRA_ASIZE_SHIFT, EXTRA_SEG_MASK, REC_AUX, REC_EXTRA } from '../records/record.ts';
import { StackFrame } from './stack-frame.ts';

const M64 = (1n << 64n) - 1n;

export class GeneralHelpers {
  private readonly core: Core;
  private seed: bigint;

  /** @param seed of RDRAND, so that runs can repeat. */
  constructor(core: Core, seed: bigint) {
    this.core = core;
    this.seed = seed & M64;
  }

  /** DIV/IDIV of RDX:RAX by the 64-bit divisor in CB_SLOW_VALUE. */
  divide128(signed: number): number {
    const { core } = this;
    const { cb } = core;
    let divisor = cb.get64(CB_SLOW_VALUE);
    let dividend = (cb.get64(Reg.rdx * 8) << 64n) | cb.get64(Reg.rax * 8);
    if (divisor === 0n) core.raise(Vector.de);
    if (signed) {
      divisor = BigInt.asIntN(64, divisor);
      dividend = BigInt.asIntN(128, dividend);
    }
    const quotient = dividend / divisor;
    if (signed ? BigInt.asIntN(64, quotient) !== quotient : quotient > M64) core.raise(Vector.de);
    cb.set64(Reg.rax * 8, BigInt.asUintN(64, quotient));
    cb.set64(Reg.rdx * 8, BigInt.asUintN(64, dividend % divisor));
    return Status.next;
  }

  /** Operand address in CB_SLOW_VA; must be 16-byte aligned. */
  cmpxchg16b(): number {
    const { core } = this;
    const { cb } = core;
    const at = cb.linear(CB_SLOW_VA);
    if (at & 15) core.gp(0);
    core.loadForWrite(at, 16);
    const [a, b, c, d] = core.data32;
    const equal = a === cb.gprLo(Reg.rax) && b === cb.gprHi(Reg.rax) && c === cb.gprLo(Reg.rdx) && d === cb.gprHi(Reg.rdx);
    if (equal) {
      core.data32[0] = cb.gprLo(Reg.rbx);
      core.data32[1] = cb.gprHi(Reg.rbx);
      core.data32[2] = cb.gprLo(Reg.rcx);
      core.data32[3] = cb.gprHi(Reg.rcx);
    }
    // Hardware writes either way, so write permission counts.
    core.store(at, 16);
    if (!equal) {
      cb.setGpr(Reg.rax, a!, b!);
      cb.setGpr(Reg.rdx, c!, d!);
    }
    core.changeStatus(Flag.zf, equal ? Flag.zf : 0);
    return Status.next;
  }

  private put(reg: number, size: number, lo: number, hi = 0): void {
    const { cb } = this.core;
    if (size === 2) cb.setGpr(reg, (cb.gprLo(reg) & ~0xffff) | (lo & 0xffff), cb.gprHi(reg));
    else cb.setGpr(reg, lo, size === 8 ? hi : 0);
  }

  pusha(size: number): number {
    const { cb } = this.core;
    const stack = StackFrame.current(this.core);
    const sp = cb.gprLo(Reg.rsp);
    for (let reg = 0; reg < 8; reg++) stack.push(size, reg === Reg.rsp ? sp : cb.gprLo(reg));
    stack.commit();
    return Status.next;
  }

  popa(size: number): number {
    const stack = StackFrame.current(this.core);
    const values = Array.from({ length: 8 }, () => stack.pop(size));
    for (let i = 0; i < 8; i++) if (7 - i !== Reg.rsp) this.put(7 - i, size, values[i]!);
    stack.commit();
    return Status.next;
  }

  /** ENTER: frame size in CB_SLOW_VALUE, nesting level in the record's aux. */
  enter(size: number): number {
    const { core } = this;
    const { cb } = core;
    const bytes = cb.get(CB_SLOW_VALUE) & 0xffff;
    const level = cb.u32[(core.record + REC_AUX) >> 2]! & 31;
    const stack = StackFrame.current(this.core);
    const long = core.code64;
    stack.push(size, cb.gprLo(Reg.rbp), cb.gprHi(Reg.rbp));
    const frame = stack.wholePointer;
    if (level > 0) {
      let at: Linear = long ? linearFromHalves(cb.gprLo(Reg.rbp) | 0, cb.gprHi(Reg.rbp) | 0) : cb.gprLo(Reg.rbp);
      for (let i = 1; i < level; i++) {
        at -= size;
        const from = long ? at : core.segmentAddress(Seg.ss, core.segAccess(Seg.ss) & Rights.big ? at : at & 0xffff, size, false);
        core.data32[1] = 0;
        core.load(from, size, true);
        stack.push(size, core.data32[0]!, core.data32[1]!);
      }
      stack.pushLinear(size, frame);
    }
    stack.pointer = long ? stack.pointer - bytes : (stack.pointer - bytes) >>> 0;
    // A push to the new top must not fault, though nothing is written there (SDM vol. 2, ENTER).
    stack.checkTop(size);
    stack.commit();
    // FrameTemp is all of rSP that the operand size takes, whatever the stack's own size (SDM vol. 2, ENTER).
    if (long && size !== 2) cb.setLinear(Reg.rbp * 8, frame);
    else this.put(Reg.rbp, size, frame);
    return Status.next;
  }

  bound(size: number): number {
    const { core } = this;
    const { cb } = core;
    const index = cb.getSigned(CB_SLOW_VALUE);
    // Two accesses: each is aligned to its own size.
    const at = cb.linear(CB_SLOW_VA);
    const bound = (address: number): number => {
      core.load(address >>> 0, size);
      return size === 2 ? (core.data32[0]! << 16) >> 16 : core.data32[0]! | 0;
    };
    // The upper one only when the index is not below the lower, as Intel's processors do.
    if (index < bound(at) || index > bound(at + size)) core.raise(Vector.br);
    return Status.next;
  }

  /** XLAT: AL from [rBX + AL] in the source segment. */
  xlat(): number {
    const { core } = this;
    const { cb } = core;
    const extra = cb.u8[core.record + REC_EXTRA]!;
    const asize = extra >> EXTRA_ASIZE_SHIFT;
    const seg = extra & EXTRA_SEG_MASK;
    const al = cb.gprLo(Reg.rax) & 0xff;
    let at: Linear;
    if (core.code64) {
      const base =
        asize === 2 ? linearFromHalves(cb.gprLo(Reg.rbx) | 0, cb.gprHi(Reg.rbx) | 0) + al : (cb.gprLo(Reg.rbx) + al) >>> 0;
      at = base + (seg === Seg.fs || seg === Seg.gs ? cb.linear(CB_SEG + seg * SEG_SIZE + SEG_BASE) : 0);
    } else {
      const offset = asize === 1 ? (cb.gprLo(Reg.rbx) + al) >>> 0 : (cb.gprLo(Reg.rbx) + al) & 0xffff;
      at = core.segmentAddress(seg, offset, 1, false);
    }
    core.load(at, 1, seg === Seg.ss);
    cb.setGpr(Reg.rax, (cb.gprLo(Reg.rax) & ~0xff) | core.data[0]!, cb.gprHi(Reg.rax));
    return Status.next;
  }

  // Decimal arithmetic

  private al(): number {
    return this.core.cb.gprLo(Reg.rax) & 0xff;
  }
  private setAx(al: number, ah: number): void {
    const { cb } = this.core;
    cb.setGpr(Reg.rax, (cb.gprLo(Reg.rax) & ~0xffff) | (al & 0xff) | ((ah & 0xff) << 8), cb.gprHi(Reg.rax));
  }
  private ah(): number {
    return (this.core.cb.gprLo(Reg.rax) >> 8) & 0xff;
  }
  private resultFlags(value: number, cf: boolean, af: boolean): number {
    let ones = 0;
    for (let v = value & 0xff; v; v &= v - 1) ones++;
    return (
      (cf ? Flag.cf : 0) |
      (af ? Flag.af : 0) |
      (value & 0xff ? 0 : Flag.zf) |
      (value & 0x80 ? Flag.sf : 0) |
      (ones & 1 ? 0 : Flag.pf)
    );
  }

  daa(): number {
    return this.decimalAdjust(1);
  }
  das(): number {
    return this.decimalAdjust(-1);
  }
  private decimalAdjust(sign: 1 | -1): number {
    const { core } = this;
    const flags = core.statusFlags();
    const old = this.al();
    let al = old;
    let cf = false;
    const af = (old & 15) > 9 || (flags & Flag.af) !== 0;
    if (af) {
      cf = (flags & Flag.cf) !== 0 || (sign < 0 && al < 6);
      al += sign * 6;
    }
    if (old > 0x99 || flags & Flag.cf) {
      al += sign * 0x60;
      cf = true;
    } else if (sign > 0) cf = false;
    this.setAx(al, this.ah());
    core.setStatus(this.resultFlags(al, cf, af));
    return Status.next;
  }

  aaa(): number {
    return this.asciiAdjust(1);
  }
  aas(): number {
    return this.asciiAdjust(-1);
  }
  private asciiAdjust(sign: 1 | -1): number {
    const { core } = this;
    const adjust = (this.al() & 15) > 9 || (core.statusFlags() & Flag.af) !== 0;
    const ax = core.cb.gprLo(Reg.rax) & 0xffff;
    const fresh = adjust ? (ax + sign * 0x106) & 0xffff : ax;
    this.setAx(fresh & 15, fresh >> 8);
    core.setStatus(this.resultFlags(fresh & 15, adjust, adjust));
    return Status.next;
  }

  aam(): number {
    const { core } = this;
    const base = core.cb.get(CB_SLOW_VALUE) & 0xff;
    if (base === 0) core.raise(Vector.de);
    const al = this.al();
    this.setAx(al % base, Math.floor(al / base));
    core.setStatus(this.resultFlags(al % base, false, false));
    return Status.next;
  }

  aad(): number {
    const { core } = this;
    const base = core.cb.get(CB_SLOW_VALUE) & 0xff;
    const al = (this.al() + this.ah() * base) & 0xff;
    this.setAx(al, 0);
    core.setStatus(this.resultFlags(al, false, false));
    return Status.next;
  }

  /** RDRAND: splitmix64 from the injected seed. The operand size is cut by its writer. */
  rdrand(): number {
    const { core } = this;
    this.seed = (this.seed + 0x9e3779b97f4a7c15n) & M64;
    let z = this.seed;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & M64;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & M64;
    core.cb.set64(CB_SLOW_VALUE, z ^ (z >> 31n));
    core.setStatus(Flag.cf);
    return Status.next;
  }

  get randomState(): bigint {
    return this.seed;
  }
  set randomState(value: bigint) {
    this.seed = value;
  }

  clac(): number {
    const { core } = this;
    if (core.cpl !== 0) core.raise(Vector.ud);
    core.cb.set(CB_RFLAGS, core.cb.get(CB_RFLAGS) & ~Flag.ac);
    core.mmu.selectSet();
    return Status.next;
  }

  stac(): number {
    const { core } = this;
    if (core.cpl !== 0) core.raise(Vector.ud);
    core.cb.set(CB_RFLAGS, core.cb.get(CB_RFLAGS) | Flag.ac);
    core.mmu.selectSet();
    return Status.next;
  }
}
