/** Each helper's name bound to its function. A helper gets the emitter's argument; the record in hand is core.record. */
import {
  CB_CR0,
  CB_CR4,
  CB_DR,
  CB_GDTR_BASE,
  CB_GDTR_LIMIT,
  CB_IDTR_BASE,
  CB_IDTR_LIMIT,
  CB_RIP,
  CB_SEG,
  CB_SHADOW,
  CB_SHADOW_RIP,
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  Cr0,
  Cr4,
  Flag,
  SEG_BASE,
  SEG_SELECTOR,
  SEG_SIZE,
  Status,
  Vector,
} from '../memory/control-block.ts';
import type { ControlRegisters } from '../system/control-registers.ts';
import type { Core } from '../system/core.ts';
import type { Events } from '../system/events.ts';
import { FarTransfers } from '../system/far-transfers.ts';
import { FpuHelpers } from '../fpu/helpers.ts';
import { GeneralHelpers } from '../system/general-helpers.ts';
import type { HelperName } from '../emit/helpers.ts';
import { EventType, ExitReason, Reg, Seg, StringKind } from '../interface.ts';
import { linearFromBigInt, linearFromHalves, type Linear } from '../memory/memory-views.ts';
import { CB_KERNEL_GS_BASE, CB_TSC_AUX, readMsr, writeMsr, WITHOUT_EXIT } from '../system/msr.ts';
import { REC_A, REC_B, REC_EXTRA, EXTRA_SEG_MASK, REC_IMM } from '../records/record.ts';
import { Descriptor, SystemType, type Segmentation } from '../system/segmentation.ts';
import { StackFrame } from '../system/stack-frame.ts';
import { StringInstructions } from '../system/string-instructions.ts';

export interface HelperParts {
  core: Core;
  segmentation: Segmentation;
  events: Events;
  control: ControlRegisters;
  seed: bigint;
  /** TSC in ticks, a double; counts the instructions of the run so far. */
  readTsc(): number;
  /** What RDTSC adds to it, modulo 2^64: low and high word. */
  readonly tscOffset: Uint32Array;
  /** An interrupt or NMI window is being waited for. */
  windowChanged(): boolean;
  // Filled in by bindHelpers
  strings?: StringInstructions;
  general?: GeneralHelpers;
  resetFpu?: () => void;
}

type Helper = (argument: number) => number;

export function bindHelpers(parts: HelperParts): Record<HelperName, Helper> {
  const { core, segmentation: seg, events, control } = parts;
  const { cb } = core;
  const far = new FarTransfers(core, seg, events);
  const strings = (parts.strings = new StringInstructions(core, seg));
  const general = (parts.general = new GeneralHelpers(core, parts.seed));
  const fpu = new FpuHelpers(core);
  parts.resetFpu = () => fpu.reset();

  const fieldA = () => cb.u16[(core.record + REC_A) >> 1]!;
  const fieldB = () => cb.u16[(core.record + REC_B) >> 1]!;
  const value16 = () => cb.get(CB_SLOW_VALUE) & 0xffff;
  const address = () => cb.linear(CB_SLOW_VA);
  /** Linear address of INVLPG's operand: the segment's base counts, its limit and rights do not. */
  const invalidatedPage = (): Linear => {
    const segment = cb.u8[core.record + REC_EXTRA]! & EXTRA_SEG_MASK;
    if (!core.code64) return (cb.get(CB_SLOW_VA) + core.segBase(segment)) >>> 0;
    if (segment !== Seg.fs && segment !== Seg.gs) return address();
    return linearFromBigInt(cb.get64(CB_SLOW_VA) + cb.get64(CB_SEG + segment * SEG_SIZE + SEG_BASE));
  };
  const privileged = (): void => {
    if (core.cpl !== 0) core.gp(0);
  };
  const protectedOnly = (): void => {
    if (!core.protectedMode || core.vm86) core.raise(Vector.ud);
  };
  /** The instruction is done; find the block behind it, because something it depends on changed. */
  const stepOver = (): number => {
    core.advance();
    return Status.jump;
  };
  /** An exit that the hypervisor steps over. */
  const exits = (reason: ExitReason): number => core.leave(reason);
  const umip = (): void => {
    if (cb.get(CB_CR4) & Cr4.umip && core.cpl !== 0) core.gp(0);
  };

  const softwareInterrupt = (vector: number, type: EventType): number => {
    return events.deliver({ type, vector, errorCode: -1, instructionLength: core.length }) === Status.exit
      ? Status.exit
      : Status.jump;
  };

  const storeTable = (base: number, limit: number): number => {
    umip();
    const wide = core.code64;
    core.data32.set([cb.get(limit) & 0xffff, 0, 0, 0]);
    const lo = cb.get(base);
    const hi = cb.get(base + 4);
    for (let i = 0; i < (wide ? 8 : 4); i++) core.data[2 + i] = i < 4 ? lo >>> (8 * i) : hi >>> (8 * (i - 4));
    core.store(address(), wide ? 10 : 6);
    return Status.next;
  };
  const loadTable = (base: number, limit: number, size: number): number => {
    privileged();
    const wide = core.code64;
    core.load(address(), wide ? 10 : 6);
    const { data } = core;
    const word = (at: number) => (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
    const lo = word(2);
    const hi = wide ? word(6) : 0;
    if (wide && Number.isNaN(linearFromHalves(lo | 0, hi | 0))) core.gp(0);
    cb.set(limit, data[0]! | (data[1]! << 8));
    cb.set(base, !wide && size === 2 ? lo & 0xffffff : lo);
    cb.set(base + 4, hi);
    return Status.next;
  };

  /** LAR, LSL, VERR, VERW: is the descriptor visible from here? */
  const visible = (selector: number, d: Descriptor): boolean => {
    if ((selector & 0xfffc) === 0 || !seg.tryRead(selector, d)) return false;
    if (d.isCode && d.isConforming) return true;
    return d.dpl >= Math.max(core.cpl, selector & 3);
  };
  const setZf = (on: boolean): number => {
    core.changeStatus(Flag.zf, on ? Flag.zf : 0);
    return Status.next;
  };
  const keepDestination = (size: number): void => {
    const reg = fieldA() >> 3;
    core.result(cb.gprLo(reg), size === 8 ? cb.gprHi(reg) : 0);
  };
  const LAR_TYPES = 0b0001_1011_0011_1110;
  const LSL_TYPES = 0b0000_1010_0000_1110;
  const LAR_LONG = (1 << SystemType.ldt) | (1 << SystemType.tss) | (1 << SystemType.tssBusy) | (1 << SystemType.callGate);
  const LSL_LONG = (1 << SystemType.ldt) | (1 << SystemType.tss) | (1 << SystemType.tssBusy);

  const port = (isIn: boolean, size: number): number => {
    const width = Math.min(size, 4);
    const number = cb.get(CB_SLOW_VALUE) & 0xffff;
    seg.checkPort(number, width);
    if (core.takeCompleted()) {
      if (isIn) {
        const value = core.data32[0]!;
        const old = cb.gprLo(Reg.rax);
        if (width === 4) cb.setGpr(Reg.rax, value, 0);
        else {
          const mask = width === 1 ? 0xff : 0xffff;
          cb.setGpr(Reg.rax, (old & ~mask) | (value & mask), cb.gprHi(Reg.rax));
        }
      }
      return stepOver();
    }
    const { exit } = core;
    exit.port = number;
    exit.size = width;
    exit.isWrite = !isIn;
    exit.dataLo = isIn ? 0 : width === 4 ? cb.gprLo(Reg.rax) : cb.gprLo(Reg.rax) & (width === 1 ? 0xff : 0xffff);
    exit.dataHi = 0;
    exit.string = StringKind.none;
    exit.rep = false;
    exit.repCount = 1;
    return exits(ExitReason.ioInstruction);
  };

  const moveCr = (isWrite: boolean): number => {
    privileged();
    const register = fieldA();
    if (![0, 2, 3, 4, 8].includes(register)) core.raise(Vector.ud);
    const gpr = fieldB() >> 3;
    const wide = core.code64;
    const value = wide ? cb.get64(gpr * 8) : BigInt(cb.gprLo(gpr));
    if (register === 2 || register === 3 || (!isWrite && register !== 8)) {
      if (isWrite) {
        if (!control.write(register, value)) core.gp(0);
      } else {
        const read = control.read(register);
        if (wide) cb.set64(gpr * 8, read);
        else cb.setGpr(gpr, Number(read & 0xffffffffn), 0);
      }
      return stepOver();
    }
    const { exit } = core;
    exit.register = register;
    exit.gpr = gpr;
    exit.isWrite = isWrite;
    exit.dataLo = Number(value & 0xffffffffn);
    exit.dataHi = Number(value >> 32n);
    exit.qualification = register | (isWrite ? 0 : 0x10) | (gpr << 8);
    return exits(ExitReason.crAccess);
  };

  const moveDr = (isWrite: boolean): number => {
    let register = fieldA();
    if (register > 7) core.raise(Vector.ud);
    if (register === 4 || register === 5) {
      if (cb.get(CB_CR4) & Cr4.de) core.raise(Vector.ud);
      register += 2;
    }
    privileged();
    const dr7 = cb.get(CB_DR + 7 * 8);
    if (dr7 & (1 << 13)) {
      cb.set(CB_DR + 6 * 8, cb.get(CB_DR + 6 * 8) | (1 << 13));
      cb.set(CB_DR + 7 * 8, dr7 & ~(1 << 13));
      core.raise(Vector.db);
    }
    const gpr = fieldB() >> 3;
    const wide = core.code64;
    if (isWrite) {
      if (!control.writeDr(register, wide ? cb.get64(gpr * 8) : BigInt(cb.gprLo(gpr)))) core.gp(0);
    } else {
      const value = control.readDr(register);
      cb.set64(gpr * 8, wide ? value : value & 0xffffffffn);
    }
    return stepOver();
  };

  const moveMsr = (isWrite: boolean): number => {
    privileged();
    const index = cb.gprLo(Reg.rcx);
    if (WITHOUT_EXIT.has(index)) {
      if (isWrite) {
        const value = (BigInt(cb.gprLo(Reg.rdx)) << 32n) | BigInt(cb.gprLo(Reg.rax));
        if (!writeMsr(cb, index, value, () => {})) core.gp(0);
      } else {
        const value = readMsr(cb, index)!;
        cb.setGpr(Reg.rax, Number(value & 0xffffffffn), 0);
        cb.setGpr(Reg.rdx, Number(value >> 32n), 0);
      }
      return stepOver();
    }
    return exits(isWrite ? ExitReason.msrWrite : ExitReason.msrRead);
  };

  const timestamp = (): number => {
    if (cb.get(CB_CR4) & Cr4.tsd && core.cpl !== 0) core.gp(0);
    const tsc = parts.readTsc();
    const low = (tsc % 2 ** 32) + parts.tscOffset[0]!;
    cb.setGpr(Reg.rax, low | 0, 0);
    cb.setGpr(Reg.rdx, (Math.floor(tsc / 2 ** 32) + parts.tscOffset[1]! + (low >= 2 ** 32 ? 1 : 0)) | 0, 0);
    return Status.next;
  };

  const stackSegmentLoaded = (segment: number): void => {
    if (segment !== Seg.ss) return;
    // Interrupts and traps wait for the instruction behind a load of SS.
    core.advance();
    cb.set(CB_SHADOW_RIP, cb.get(CB_RIP));
    cb.set(CB_SHADOW_RIP + 4, cb.get(CB_RIP + 4));
    cb.set(CB_SHADOW, 2);
  };

  return {
    ...fpu.table(),
    undefined: () => core.raise(Vector.ud),
    tooLong: () => core.gp(0),
    divideError: () => core.raise(Vector.de),
    divide128: (signed) => general.divide128(signed),
    segmentFault: (segment) => core.raise(segment === Seg.ss ? Vector.ss : Vector.gp, 0),
    segmentFaultOfRecord: () =>
      core.raise((cb.u8[core.record + REC_EXTRA]! & EXTRA_SEG_MASK) === Seg.ss ? Vector.ss : Vector.gp, 0),
    notCanonical: () => core.gp(0),
    ifRefused: () => core.gp(0),
    checkVm86Iopl: () => (core.iopl < 3 ? core.gp(0) : Status.next),
    stopAfter: stepOver,

    cmpxchg16b: () => general.cmpxchg16b(),
    popfCheck: () => (core.vm86 && core.iopl < 3 ? core.gp(0) : Status.next),
    popf: (size) => {
      const value = cb.get(CB_SLOW_VALUE);
      const mask = events.flagsMask(size) & ~Flag.rf;
      // RF is cleared, and by the wider forms VIF and VIP too (SDM vol. 2, POPF, table 4-16).
      const cleared = size === 2 || core.vm86 ? Flag.rf : Flag.rf | Flag.vif | Flag.vip;
      core.rflags = (core.rflags & ~mask & ~cleared) | (value & mask);
      core.mmu.selectSet();
      return stepOver();
    },
    enter: (size) => general.enter(size),
    pusha: (size) => general.pusha(size),
    popa: (size) => general.popa(size),
    daa: () => general.daa(),
    das: () => general.das(),
    aaa: () => general.aaa(),
    aas: () => general.aas(),
    aam: () => general.aam(),
    aad: () => general.aad(),
    bound: (size) => general.bound(size),
    rdrand: () => general.rdrand(),
    xlat: () => general.xlat(),
    movs: (size) => strings.movs(size),
    stos: (size) => strings.stos(size),
    lods: (size) => strings.lods(size),
    cmps: (size) => strings.cmps(size),
    scas: (size) => strings.scas(size),
    ins: (size) => (core.takeCompleted() ? stepOver() : strings.ins(size)),
    outs: (size) => (core.takeCompleted() ? stepOver() : strings.outs(size)),
    in: (size) => port(true, size),
    out: (size) => port(false, size),

    int3: () => softwareInterrupt(Vector.bp, EventType.softwareException),
    int: () => softwareInterrupt(cb.get(CB_SLOW_VALUE) & 0xff, EventType.softwareInterrupt),
    into: () => (core.statusFlags() & Flag.of ? softwareInterrupt(Vector.of, EventType.softwareException) : Status.next),
    int1: () => softwareInterrupt(Vector.db, EventType.privilegedSoftwareException),
    iret: (size) => events.iret(size),
    syscall: () => far.syscall(),
    sysret: (size) => far.sysret(size),
    sysenter: () => far.sysenter(),
    sysexit: (size) => far.sysexit(size),
    callFarPointer: (size) => far.call(far.pointerInRecord(size), size),
    jmpFarPointer: (size) => far.jump(far.pointerInRecord(size)),
    callFar: (size) => far.call(far.pointerInMemory(size), size),
    jmpFar: (size) => far.jump(far.pointerInMemory(size)),
    retFar: (size) => far.ret(size, 0),
    retFarImmediate: (size) => far.ret(size, cb.u32[(core.record + REC_IMM) >> 2]! & 0xffff),

    loadSegment: () => {
      const segment = fieldA();
      seg.load(segment, value16());
      stackSegmentLoaded(segment);
      return stepOver();
    },
    popSegment: (argument) => {
      const segment = argument & 15;
      const size = argument >> 4;
      const stack = StackFrame.current(core);
      const selector = stack.pop(size) & 0xffff;
      seg.load(segment, selector);
      stack.commit();
      stackSegmentLoaded(segment);
      return stepOver();
    },
    loadFarPointer: (argument) => {
      const size = argument >> 4;
      const { selector, lo, hi } = far.pointerInMemory(size);
      seg.load(argument & 15, selector);
      const reg = fieldA() >> 3;
      if (size === 2) cb.setGpr(reg, (cb.gprLo(reg) & ~0xffff) | lo, cb.gprHi(reg));
      else cb.setGpr(reg, lo, hi);
      stackSegmentLoaded(argument & 15);
      return stepOver();
    },
    swapgs: () => {
      privileged();
      const at = CB_SEG + Seg.gs * SEG_SIZE + SEG_BASE;
      const lo = cb.get(at);
      const hi = cb.get(at + 4);
      cb.set(at, cb.get(CB_KERNEL_GS_BASE));
      cb.set(at + 4, cb.get(CB_KERNEL_GS_BASE + 4));
      cb.set(CB_KERNEL_GS_BASE, lo);
      cb.set(CB_KERNEL_GS_BASE + 4, hi);
      return Status.next;
    },
    rdBase: (segment) => {
      if (!(cb.get(CB_CR4) & Cr4.fsgsbase)) core.raise(Vector.ud);
      core.result(cb.get(CB_SEG + segment * SEG_SIZE + SEG_BASE), cb.get(CB_SEG + segment * SEG_SIZE + SEG_BASE + 4));
      return Status.next;
    },
    wrBase: (segment) => {
      if (!(cb.get(CB_CR4) & Cr4.fsgsbase)) core.raise(Vector.ud);
      const lo = cb.get(CB_SLOW_VALUE);
      const hi = cb.get(CB_SLOW_VALUE + 4);
      if (Number.isNaN(linearFromHalves(lo | 0, hi | 0))) core.gp(0);
      cb.set(CB_SEG + segment * SEG_SIZE + SEG_BASE, lo);
      cb.set(CB_SEG + segment * SEG_SIZE + SEG_BASE + 4, hi);
      return Status.next;
    },

    sgdt: () => storeTable(CB_GDTR_BASE, CB_GDTR_LIMIT),
    sidt: () => storeTable(CB_IDTR_BASE, CB_IDTR_LIMIT),
    lgdt: (size) => loadTable(CB_GDTR_BASE, CB_GDTR_LIMIT, size),
    lidt: (size) => loadTable(CB_IDTR_BASE, CB_IDTR_LIMIT, size),
    smsw: () => {
      umip();
      core.result(cb.get(CB_CR0), 0);
      return Status.next;
    },
    lmsw: () => {
      privileged();
      // LMSW sets PE, MP, EM, TS; it cannot clear PE.
      const fresh = (cb.get(CB_CR0) & ~0xe) | (value16() & 0xf);
      if (!control.write(0, BigInt(fresh >>> 0))) core.gp(0);
      return stepOver();
    },
    sldt: () => {
      protectedOnly();
      umip();
      core.result(cb.get(CB_SEG + Seg.ldtr * SEG_SIZE + SEG_SELECTOR));
      return Status.next;
    },
    str: () => {
      protectedOnly();
      umip();
      core.result(cb.get(CB_SEG + Seg.tr * SEG_SIZE + SEG_SELECTOR));
      return Status.next;
    },
    lldt: () => {
      protectedOnly();
      privileged();
      seg.loadLdt(value16());
      return Status.next;
    },
    ltr: () => {
      protectedOnly();
      privileged();
      seg.loadTask(value16());
      return Status.next;
    },
    verr: () => {
      protectedOnly();
      const d = new Descriptor();
      return setZf(visible(value16(), d) && d.isReadable);
    },
    verw: () => {
      protectedOnly();
      const d = new Descriptor();
      return setZf(visible(value16(), d) && d.isWritableData);
    },
    lar: (size) => {
      protectedOnly();
      const selector = value16();
      const d = new Descriptor();
      const good = visible(selector, d) && (!d.isSystem || ((core.longMode ? LAR_LONG : LAR_TYPES) >> d.type) & 1);
      if (good) core.result(d.hi & 0x00ffff00 & (size === 2 ? 0xffff : ~0));
      else keepDestination(size);
      return setZf(!!good);
    },
    lsl: (size) => {
      protectedOnly();
      const selector = value16();
      const d = new Descriptor();
      const good = visible(selector, d) && (!d.isSystem || ((core.longMode ? LSL_LONG : LSL_TYPES) >> d.type) & 1);
      if (good) core.result(d.limit);
      else keepDestination(size);
      return setZf(!!good);
    },
    arpl: () => {
      protectedOnly();
      const dst = cb.get(CB_SLOW_VALUE) & 0xffff;
      const src = cb.get(CB_SLOW_VALUE) >>> 16;
      const raise = (dst & 3) < (src & 3);
      core.result(raise ? (dst & ~3) | (src & 3) : dst);
      return setZf(raise);
    },

    movFromCr: () => moveCr(false),
    movToCr: () => moveCr(true),
    movFromDr: () => moveDr(false),
    movToDr: () => moveDr(true),
    clts: () => {
      privileged();
      cb.set(CB_CR0, cb.get(CB_CR0) & ~Cr0.ts);
      core.updateMode();
      return stepOver();
    },
    invd: () => {
      privileged();
      return exits(ExitReason.invd);
    },
    wbinvd: () => {
      privileged();
      return exits(ExitReason.wbinvd);
    },
    invlpg: () => {
      privileged();
      const lin = invalidatedPage();
      // A non-canonical address is no address of any page: nothing to do.
      if (Number.isNaN(lin)) return stepOver();
      if (core.mmu.flushPage(lin)) core.codeCache.flushJumpCaches();
      else core.codeCache.flushJumpsOf(Math.floor(lin / 4096));
      return stepOver();
    },
    clac: () => general.clac(),
    stac: () => general.stac(),

    cpuid: () => exits(ExitReason.cpuid),
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
      return exits(ExitReason.rdpmc);
    },
    vmcall: () => exits(ExitReason.vmcall),
    hlt: () => {
      privileged();
      return exits(ExitReason.hlt);
    },
  } satisfies Record<HelperName, Helper>;
}
