/** Control and debug registers. Source: SDM vol. 3A, 2.5 and chapter 17. */
import {
  CB_CR0,
  CB_CR2,
  CB_CR3,
  CB_CR4,
  CB_CR8,
  CB_DR,
  CB_EFER,
  CB_SEG,
  CB_XCR0,
  Cr0,
  Cr4,
  Efer,
  SEG_ACCESS,
  SEG_SIZE,
  Rights,
} from '../memory/control-block.ts';
import type { Core } from './core.ts';
import { Seg } from '../interface.ts';
import { PHYSICAL_MASK } from './msr.ts';

const CR0_DEFINED = Cr0.pe | Cr0.mp | Cr0.em | Cr0.ts | Cr0.et | Cr0.ne | Cr0.wp | Cr0.am | Cr0.nw | Cr0.cd | Cr0.pg;
/** CR4 bits of the features that CPUID shows (features.ts). */
const CR4_DEFINED =
  Cr4.vme |
  Cr4.pvi |
  Cr4.tsd |
  Cr4.de |
  Cr4.pse |
  Cr4.pae |
  Cr4.mce |
  Cr4.pge |
  Cr4.pce |
  Cr4.osfxsr |
  Cr4.osxmmexcpt |
  Cr4.umip |
  Cr4.fsgsbase |
  Cr4.smep |
  Cr4.smap;
const PAGING_BITS = Cr4.pse | Cr4.pae | Cr4.pge | Cr4.smep | Cr4.smap;

export class ControlRegisters {
  private readonly core: Core;
  /** The data breakpoints changed. */
  private readonly onDebugChange: () => void;

  constructor(core: Core, onDebugChange: () => void) {
    this.core = core;
    this.onDebugChange = onDebugChange;
  }

  read(register: number): bigint {
    const { cb } = this.core;
    switch (register) {
      case 0:
        return BigInt(cb.get(CB_CR0));
      case 2:
        return cb.get64(CB_CR2);
      case 3:
        return cb.get64(CB_CR3);
      case 4:
        return BigInt(cb.get(CB_CR4));
      default:
        return BigInt(cb.get(CB_CR8));
    }
  }

  /** As MOV to the register does. False: #GP(0), nothing changed. */
  write(register: number, value: bigint): boolean {
    switch (register) {
      case 0:
        return this.writeCr0(value);
      case 2:
        this.core.cb.set64(CB_CR2, value);
        return true;
      case 3:
        return this.writeCr3(value);
      case 4:
        return this.writeCr4(value);
      case 8:
        if (value > 15n) return false;
        this.core.cb.set(CB_CR8, Number(value));
        return true;
      default:
        return false;
    }
  }

  private flushCode(): void {
    this.core.codeCache.flushJumpCaches();
  }

  private writeCr0(value: bigint): boolean {
    const { core } = this;
    const { cb } = core;
    if (value >> 32n) return false;
    const fresh = ((Number(value) & CR0_DEFINED) | Cr0.et) >>> 0;
    if (fresh & Cr0.pg && !(fresh & Cr0.pe)) return false;
    if (fresh & Cr0.nw && !(fresh & Cr0.cd)) return false;
    const old = cb.get(CB_CR0);
    const efer = cb.get(CB_EFER);
    const turnsOn = (fresh & ~old & Cr0.pg) !== 0;
    const turnsOff = (old & ~fresh & Cr0.pg) !== 0;
    if (turnsOn && efer & Efer.lme) {
      if (!(cb.get(CB_CR4) & Cr4.pae)) return false;
      if (cb.get(CB_SEG + Seg.cs * SEG_SIZE + SEG_ACCESS) & Rights.long) return false;
      cb.set(CB_EFER, efer | Efer.lma);
    }
    if (turnsOn && !(efer & Efer.lme) && cb.get(CB_CR4) & Cr4.pae && core.mmu.pdptesRefused(cb.get(CB_CR3))) return false;
    if (turnsOff && efer & Efer.lma) {
      if (core.code64) return false;
      cb.set(CB_EFER, efer & ~Efer.lma);
    }
    cb.set(CB_CR0, fresh);
    if ((old ^ fresh) & (Cr0.pg | Cr0.wp | Cr0.pe)) {
      core.mmu.flushAll();
      this.flushCode();
    }
    core.updateMode();
    return true;
  }

  private writeCr3(value: bigint): boolean {
    const { core } = this;
    if (core.longMode && value & ~PHYSICAL_MASK) return false;
    if (
      !core.longMode &&
      core.cb.get(CB_CR0) & Cr0.pg &&
      core.cb.get(CB_CR4) & Cr4.pae &&
      core.mmu.pdptesRefused(Number(value & 0xffffffffn))
    )
      return false;
    core.cb.set64(CB_CR3, core.longMode ? value : value & 0xffffffffn);
    core.mmu.flushNonGlobal();
    core.codeCache.flushLocalJumps();
    return true;
  }

  private writeCr4(value: bigint): boolean {
    const { core } = this;
    const { cb } = core;
    if (value >> 32n || Number(value) & ~CR4_DEFINED) return false;
    const fresh = Number(value);
    if (core.longMode && !(fresh & Cr4.pae)) return false;
    const old = cb.get(CB_CR4);
    cb.set(CB_CR4, fresh);
    if ((old ^ fresh) & PAGING_BITS) {
      core.mmu.flushAll();
      this.flushCode();
    }
    core.updateMode();
    return true;
  }

  // Debug registers

  readDr(index: number): bigint {
    return this.core.cb.get64(CB_DR + index * 8);
  }

  /** False: #GP. DR4 and DR5 are the caller's to map. */
  writeDr(index: number, value: bigint): boolean {
    const { cb } = this.core;
    if (index >= 6 && value >> 32n) return false;
    if (index === 6) value = (value & 0xe00fn) | 0xffff0ff0n;
    if (index === 7) value = (value & ~0xd800n) | 0x400n;
    cb.set64(CB_DR + index * 8, value);
    this.onDebugChange();
    return true;
  }

  reset(): void {
    const { cb } = this.core;
    for (let i = 0; i < 4; i++) cb.set64(CB_DR + i * 8, 0n);
    cb.set64(CB_DR + 48, 0xffff0ff0n);
    cb.set64(CB_DR + 56, 0x400n);
    cb.set64(CB_XCR0, 1n);
    this.onDebugChange();
  }
}
