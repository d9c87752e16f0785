/** Control and debug registers, translations, and the instructions that the hypervisor finishes. */
import { PAGE_SIZE } from '../../../base/address.ts';
import { ExitReason, Reg, Seg } from '../../interface.ts';
import {
  CB_CR0,
  CB_CR4,
  CB_DR6,
  CB_DR7,
  CB_SEG,
  CB_SLOW_VA,
  Cr0,
  Cr4,
  Dr6,
  Dr7,
  SEG_BASE,
  SEG_SIZE,
  Status,
  Vector,
} from '../../memory/control-block.ts';
import { linearFromBigInt, type Linear } from '../../memory/memory-views.ts';
import type { ControlRegisters } from '../../system/control-registers.ts';
import type { GeneralHelpers } from '../../system/general-helpers.ts';
import { CB_TSC_AUX, readMsr, WITHOUT_EXIT, writeMsr } from '../../system/msr.ts';
import type { TimestampCounter } from '../../system/timestamp-counter.ts';
import type { HelperContext, Helpers } from './context.ts';

const low32 = (value: bigint): number => Number(value & 0xffffffffn);

export function controlHelpers(c: HelperContext, control: ControlRegisters, general: GeneralHelpers): Helpers<'control'> {
  const { core } = c;
  const { cb } = core;

  /** A general register as the operand of MOV to a control or debug register. */
  const operand = (gpr: number): bigint => (core.code64 ? cb.get64(gpr * 8) : BigInt(cb.gprLo(gpr)));

  const moveCr = (isWrite: boolean): number => {
    c.privileged();
    const register = c.fieldA();
    if (![0, 2, 3, 4, 8].includes(register)) core.raise(Vector.ud);
    const gpr = c.fieldB() >> 3;
    const value = operand(gpr);
    // The hypervisor sees writes of CR0, CR4 and CR8, and reads of CR8.
    if (register === 2 || register === 3 || (!isWrite && register !== 8)) {
      if (isWrite) {
        if (!control.write(register, value)) core.gp(0);
      } else {
        const read = control.read(register);
        if (core.code64) cb.set64(gpr * 8, read);
        else cb.setGpr(gpr, low32(read), 0);
      }
      return c.stepOver();
    }
    const { exit } = core;
    exit.register = register;
    exit.gpr = gpr;
    exit.isWrite = isWrite;
    exit.dataLo = low32(value);
    exit.dataHi = Number(value >> 32n);
    exit.qualification = register | (isWrite ? 0 : 0x10) | (gpr << 8);
    return c.exits(ExitReason.crAccess);
  };

  const moveDr = (isWrite: boolean): number => {
    let register = c.fieldA();
    if (register > 7) core.raise(Vector.ud);
    if (register === 4 || register === 5) {
      if (cb.get(CB_CR4) & Cr4.de) core.raise(Vector.ud);
      register += 2;
    }
    c.privileged();
    const dr7 = cb.get(CB_DR7);
    if (dr7 & Dr7.gd) {
      cb.set(CB_DR6, cb.get(CB_DR6) | Dr6.bd);
      cb.set(CB_DR7, dr7 & ~Dr7.gd);
      core.raise(Vector.db);
    }
    const gpr = c.fieldB() >> 3;
    if (isWrite) {
      if (!control.writeDr(register, operand(gpr))) core.gp(0);
    } else {
      const value = control.readDr(register);
      cb.set64(gpr * 8, core.code64 ? value : value & 0xffffffffn);
    }
    return c.stepOver();
  };

  /** Linear address of INVLPG's operand: the segment's base counts, its limit and rights do not. */
  const invalidatedPage = (): Linear => {
    const segment = c.segment();
    if (!core.code64) return (cb.get(CB_SLOW_VA) + core.segBase(segment)) >>> 0;
    if (segment !== Seg.fs && segment !== Seg.gs) return c.address();
    return linearFromBigInt(cb.get64(CB_SLOW_VA) + cb.get64(CB_SEG + segment * SEG_SIZE + SEG_BASE));
  };

  return {
    smsw: () => {
      c.umip();
      core.result(cb.get(CB_CR0), 0);
      return Status.next;
    },
    lmsw: () => {
      c.privileged();
      // LMSW sets PE, MP, EM, TS; it cannot clear PE.
      const fresh = (cb.get(CB_CR0) & ~(Cr0.mp | Cr0.em | Cr0.ts)) | (c.value16() & (Cr0.pe | Cr0.mp | Cr0.em | Cr0.ts));
      if (!control.write(0, BigInt(fresh >>> 0))) core.gp(0);
      return c.stepOver();
    },
    movFromCr: () => moveCr(false),
    movToCr: () => moveCr(true),
    movFromDr: () => moveDr(false),
    movToDr: () => moveDr(true),
    clts: () => {
      c.privileged();
      cb.set(CB_CR0, cb.get(CB_CR0) & ~Cr0.ts);
      core.updateMode();
      return c.stepOver();
    },
    invlpg: () => {
      c.privileged();
      const lin = invalidatedPage();
      // A non-canonical address is no address of any page: nothing to do.
      if (Number.isNaN(lin)) return c.stepOver();
      if (core.mmu.flushPage(lin)) core.codeCache.flushJumpCaches();
      else core.codeCache.flushJumpsOf(Math.floor(lin / PAGE_SIZE));
      return c.stepOver();
    },
    clac: () => general.clac(),
    stac: () => general.stac(),
  };
}

export function exitHelpers(c: HelperContext, tsc: TimestampCounter): Helpers<'exits'> {
  const { core } = c;
  const { cb } = core;

  const moveMsr = (isWrite: boolean): number => {
    c.privileged();
    const index = cb.gprLo(Reg.rcx);
    if (!WITHOUT_EXIT.has(index)) return c.exits(isWrite ? ExitReason.msrWrite : ExitReason.msrRead);
    if (isWrite) {
      const value = (BigInt(cb.gprLo(Reg.rdx)) << 32n) | BigInt(cb.gprLo(Reg.rax));
      if (!writeMsr(cb, index, value, () => {})) core.gp(0);
    } else {
      const value = readMsr(cb, index)!;
      cb.setGpr(Reg.rax, low32(value), 0);
      cb.setGpr(Reg.rdx, Number(value >> 32n), 0);
    }
    return c.stepOver();
  };

  const timestamp = (): number => {
    if (cb.get(CB_CR4) & Cr4.tsd && core.cpl !== 0) core.gp(0);
    tsc.read();
    cb.setGpr(Reg.rax, tsc.low, 0);
    cb.setGpr(Reg.rdx, tsc.high, 0);
    return Status.next;
  };

  const privilegedExit = (reason: ExitReason): never => {
    c.privileged();
    return c.exits(reason);
  };

  return {
    invd: () => privilegedExit(ExitReason.invd),
    wbinvd: () => privilegedExit(ExitReason.wbinvd),
    hlt: () => privilegedExit(ExitReason.hlt),
    cpuid: () => c.exits(ExitReason.cpuid),
    vmcall: () => c.exits(ExitReason.vmcall),
    rdmsr: () => moveMsr(false),
    wrmsr: () => moveMsr(true),
    rdtsc: timestamp,
    rdtscp: () => {
      timestamp();
      cb.setGpr(Reg.rcx, cb.get(CB_TSC_AUX), 0);
      return Status.next;
    },
    rdpmc: () => {
      if (core.cpl !== 0 && !(cb.get(CB_CR4) & Cr4.pce)) core.gp(0);
      return c.exits(ExitReason.rdpmc);
    },
  };
}
