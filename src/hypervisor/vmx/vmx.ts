/**
 * VM exits (Xen: hvm/vmx/vmx.c vmx_vmexit_handler, hvm/hvm.c): what the hypervisor decides about each, with the records a
 * trace of real hardware shows.
 */
import { gpaToGfn, gva } from '../../base/address.ts';
import type { Gfn } from '../../base/address.ts';
import { Listeners } from '../../base/listeners.ts';
import { Efer, EptQualification, EventType, ExitReason, Reg, Rights, Seg } from '../../cpu/interface.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import {
  TRC_HVM_CPUID,
  TRC_HVM_CR_READ,
  TRC_HVM_CR_READ64,
  TRC_HVM_CR_WRITE,
  TRC_HVM_CR_WRITE64,
  TRC_HVM_DR_READ,
  TRC_HVM_DR_WRITE,
  TRC_HVM_INTR,
  TRC_HVM_MSR_READ,
  TRC_HVM_MSR_WRITE,
  TRC_HVM_NPF,
  TRC_HVM_TRAP,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_HVM_VMEXIT64,
  TRC_HVM_VMMCALL,
} from '../../trace/events.ts';
import { virtualCost } from '../time/clock.ts';
import { guestCpuid } from './cpuid.ts';
import type { CpuidPolicy, CpuidResult } from './cpuid.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { Emulator } from '../io/emulate.ts';
import { TRAP_gp, TRAP_ud } from '../io/emulate.ts';
import type { GuestMemory } from '../mm/guest-access.ts';
import type { Hypercalls } from '../hypercall/hypercall.ts';
import type { InterruptControllers } from '../chips/irq.ts';
import type { Msrs } from './msr.ts';
import { P2mAccess, p2mIsDiscardWrite, p2mIsRam, P2mType } from '../mm/p2m.ts';
import type { P2m } from '../mm/p2m.ts';
import { RecentExits } from './recent-exits.ts';
import { taskSwitch } from './task-switch.ts';
import type { TaskSwitchHost } from './task-switch.ts';

/** Vectors of Xen's own interrupts, as INTR records show them. */
export const EVENT_CHECK_VECTOR = 0xfc;
export const LOCAL_TIMER_VECTOR = 0xfa;

const RFLAGS_RF = 1 << 16;
/** ud2; .ascii "xen" */
const FEP_PREFIX = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

export interface VmxParts {
  readonly domain: Domain;
  readonly state: VcpuState;
  readonly engine: Vcpu;
  readonly p2m: P2m;
  readonly guest: GuestMemory;
  readonly emulator: Emulator;
  readonly hypercalls: Hypercalls;
  readonly msrs: Msrs;
  readonly cpuid: CpuidPolicy;
  readonly controllers: InterruptControllers;
  /** HLT: the instruction is done, the vCPU would sleep. */
  hlt(): void;
  /** One instruction done while single-stepping from outside. */
  monitorTrap(): void;
  /** The guest has triple-faulted. */
  tripleFault(): void;
  /** Honour the forced-emulation prefix. */
  readonly fep: boolean;
}

/** Device pages whose linear address is remembered. */
const MMIO_LINEAR_MAX = 4096;

export class VmxExits {
  /** Linear page by which the guest first touched each device page, from the exit itself: for whoever tells of it. */
  readonly mmioLinear = new Map<Gfn, bigint>();
  /** An exit begins: its reason. */
  readonly exitTaken = new Listeners<number>();
  /** VM exits so far, as a trace counts them. */
  exits = 0;
  /** The exits that the guest took for itself: none is an interrupt's. */
  readonly recent = new RecentExits();
  private readonly parts: VmxParts;
  private readonly cpuidOut: CpuidResult = { a: 0, b: 0, c: 0, d: 0 };

  private readonly taskSwitchHost: TaskSwitchHost;

  constructor(parts: VmxParts) {
    this.parts = parts;
    const { engine, guest, emulator, domain } = parts;
    this.taskSwitchHost = {
      engine,
      guest,
      injectException: (vector, errorCode) => emulator.injectException(vector, errorCode),
      injectPageFault: (address, errorCode) => emulator.injectPageFault(address, errorCode),
      tripleFault: () => parts.tripleFault(),
      crash: (why) => domain.crash(why),
    };
  }

  /** The VMENTRY record, right before the guest runs. */
  traceEntry(): void {
    const { clock, trace } = this.parts.domain.pcpu;
    clock.charge(virtualCost.vmentry);
    trace.recordTsc(TRC_HVM_VMENTRY);
  }

  /** The VMEXIT record. `vector`: an external interrupt of this vector ended the guest's run. */
  traceExit(reason: number, vector = -1): void {
    const { domain, engine } = this.parts;
    const { trace, clock } = domain.pcpu;
    this.exits++;
    this.exitTaken.call(reason);
    if (trace.on) {
      const rip = engine.exit.rip;
      const lo = Number(rip & 0xffff_ffffn);
      if (engine.registers.efer & Efer.lma) trace.recordTsc(TRC_HVM_VMEXIT64, 3, reason, lo, Number(rip >> 32n));
      else trace.recordTsc(TRC_HVM_VMEXIT, 2, reason, lo);
      if (vector >= 0) trace.record(TRC_HVM_INTR, 1, vector);
    }
    clock.charge(virtualCost.vmexit);
  }

  /** Decide about the exit just taken (its VMEXIT record is written). May throw DomainCrash. */
  handle(reason: ExitReason): void {
    const { domain, engine, emulator, hypercalls } = this.parts;
    if (reason !== ExitReason.externalInterrupt) this.recent.record(engine.exit, domain.pcpu.clock.nowNs());
    switch (reason) {
      case ExitReason.eptViolation:
        return this.eptViolation();
      case ExitReason.ioInstruction:
        if (!emulator.handlePio()) emulator.injectException(TRAP_gp, 0);
        return;
      case ExitReason.externalInterrupt:
      case ExitReason.interruptWindow:
      case ExitReason.nmiWindow:
        return;
      case ExitReason.vmcall:
        domain.pcpu.trace.record(TRC_HVM_VMMCALL, 1, engine.registers.gprLo(Reg.rax));
        if (hypercalls.dispatch() && domain.shutdownReason < 0) engine.skipInstruction();
        return;
      case ExitReason.cpuid:
        return this.cpuid();
      case ExitReason.msrRead:
        return this.msrRead();
      case ExitReason.msrWrite:
        return this.msrWrite();
      case ExitReason.crAccess:
        return this.crAccess();
      case ExitReason.drAccess:
        return this.drAccess();
      case ExitReason.hlt:
        engine.skipInstruction();
        return this.parts.hlt();
      case ExitReason.invd:
      case ExitReason.wbinvd:
        return engine.skipInstruction();
      case ExitReason.rdpmc:
        return emulator.injectException(TRAP_gp, 0);
      case ExitReason.xsetbv:
        return emulator.injectException(TRAP_ud, -1);
      case ExitReason.exceptionNmi:
        domain.pcpu.trace.record(TRC_HVM_TRAP, 1, engine.exit.vector);
        if (engine.exit.vector === TRAP_ud && this.parts.fep && this.forcedEmulation()) return;
        return engine.inject(EventType.hardwareException, engine.exit.vector, engine.exit.errorCode, 0);
      case ExitReason.monitorTrap:
        return this.parts.monitorTrap();
      case ExitReason.taskSwitch:
        return taskSwitch(this.taskSwitchHost);
      case ExitReason.tripleFault:
        return this.parts.tripleFault();
      default:
        return domain.crash(`unexpected VM exit: reason ${reason}, qualification 0x${engine.exit.qualification.toString(16)}`);
    }
  }

  /**
   * hvm_ud_intercept: is this UD2 the forced-emulation prefix? Then RIP moves to the instruction behind it. The emulator decodes no
   * instructions itself: it completes what the vCPU cannot, and so the vCPU runs this one too.
   */
  private forcedEmulation(): boolean {
    const { engine } = this.parts;
    const { registers } = engine;
    const cs = registers.getSegment(Seg.cs);
    const long = (registers.efer & Efer.lma) !== 0 && (cs.accessRights & Rights.long) !== 0;
    const linear = long ? registers.rip : (cs.base + registers.rip) & 0xffff_ffffn;
    const code = engine.codeBytes(gva(linear), FEP_PREFIX.length);
    if (code.length < FEP_PREFIX.length || FEP_PREFIX.some((byte, i) => byte !== code[i])) return false;
    const behind = registers.rip + BigInt(FEP_PREFIX.length);
    registers.rip = gva(long ? behind : behind & 0xffff_ffffn);
    if (registers.rflags & RFLAGS_RF) registers.rflags &= ~RFLAGS_RF;
    return true;
  }

  /** ept_handle_violation and hvm_hap_nested_page_fault. */
  private eptViolation(): void {
    const { domain, engine, p2m, emulator } = this.parts;
    const { exit } = engine;
    const gfn = gpaToGfn(exit.gpa);
    const type = p2m.getType(gfn);
    const { trace } = domain.pcpu;
    if (trace.on) {
      const frame = p2m.getMfn(gfn);
      trace.record(TRC_HVM_NPF, 6, exit.gpa, Math.floor(exit.gpa / 2 ** 32), frame, frame < 0 ? -1 : 0, exit.qualification, type);
    }
    if (
      type === P2mType.mmioDm &&
      (exit.qualification & EptQualification.glaValid) !== 0 &&
      !this.mmioLinear.has(gfn) &&
      this.mmioLinear.size < MMIO_LINEAR_MAX
    ) {
      this.mmioLinear.set(gfn, exit.gla & ~0xfffn);
    }
    const write = (exit.qualification & EptQualification.write) !== 0;
    const emulate =
      type === P2mType.mmioDm ||
      (write && (p2mIsDiscardWrite(type) || type === P2mType.ioreqServer)) ||
      emulator.mmioInternal(exit.gpa);
    if (emulate) {
      if (!emulator.handleMmio()) emulator.injectException(TRAP_gp, 0);
      return;
    }
    if (p2mIsRam(type) && !this.accessRefused(gfn)) {
      // Log-dirty, or the entry changed meanwhile: note the write and let the guest try again.
      if (write) {
        p2m.markDirty(gfn);
        p2m.changeType(gfn, P2mType.ramLogdirty, P2mType.ramRw);
      }
      return;
    }
    const flag = (bit: number, letter: string): string => (exit.qualification & bit ? letter : '-');
    const q = EptQualification;
    domain.crash(
      `EPT violation 0x${exit.qualification.toString(16)} (${flag(q.read, 'r')}${flag(q.write, 'w')}${flag(q.fetch, 'x')}/` +
        `${flag(q.readable, 'r')}${flag(q.writable, 'w')}${flag(q.executable, 'x')}) gpa 0x${exit.gpa.toString(16)} ` +
        `mfn 0x${(p2m.getMfn(gfn) >>> 0).toString(16)} type ${type}`,
    );
  }

  /**
   * The frame is RAM, but its p2m access forbids what the guest did. Nobody listens for such events here, so the
   * restriction is lifted, as Xen does when no monitor is there. True when even that does not help.
   */
  private accessRefused(gfn: Gfn): boolean {
    const { p2m } = this.parts;
    if (p2m.getAccess(gfn) === P2mAccess.rwx) return false;
    return !p2m.setEntry(gfn, p2m.getMfn(gfn), p2m.getType(gfn), P2mAccess.rwx);
  }

  private cpuid(): void {
    const { domain, state, engine, cpuid, controllers, msrs, emulator } = this.parts;
    const { registers } = engine;
    if (registers.cpl > 0 && msrs.cpuidFaulting) return emulator.injectException(TRAP_gp, 0);
    const leaf = registers.gprLo(Reg.rax);
    const subleaf = registers.gprLo(Reg.rcx);
    const out = this.cpuidOut;
    guestCpuid(
      {
        policy: cpuid,
        clock: domain.pcpu.clock,
        vcpu: state.id,
        domid: domain.domid,
        osxsave: (registers.cr4 & (1 << 18)) !== 0,
        apicEnabled: controllers.vlapicEnabled(state.id),
      },
      leaf,
      subleaf,
      out,
    );
    domain.pcpu.trace.record(TRC_HVM_CPUID, 6, leaf, subleaf, out.a, out.b, out.c, out.d);
    registers.setGprHalves(Reg.rax, out.a >>> 0, 0);
    registers.setGprHalves(Reg.rbx, out.b >>> 0, 0);
    registers.setGprHalves(Reg.rcx, out.c >>> 0, 0);
    registers.setGprHalves(Reg.rdx, out.d >>> 0, 0);
    engine.skipInstruction();
  }

  private msrRead(): void {
    const { domain, engine, msrs, emulator } = this.parts;
    const { registers } = engine;
    const index = registers.gprLo(Reg.rcx);
    const value = msrs.read(index);
    if (value === undefined) {
      domain.pcpu.trace.record(TRC_HVM_MSR_READ, 3, index, 0, 0);
      return emulator.injectException(TRAP_gp, 0);
    }
    const lo = Number(value & 0xffff_ffffn);
    const hi = Number((value >> 32n) & 0xffff_ffffn);
    registers.setGprHalves(Reg.rax, lo, 0);
    registers.setGprHalves(Reg.rdx, hi, 0);
    domain.pcpu.trace.record(TRC_HVM_MSR_READ, 3, index, lo, hi);
    engine.skipInstruction();
  }

  private msrWrite(): void {
    const { domain, engine, msrs, emulator } = this.parts;
    const { registers } = engine;
    const index = registers.gprLo(Reg.rcx);
    const lo = registers.gprLo(Reg.rax);
    const hi = registers.gprLo(Reg.rdx);
    domain.pcpu.trace.record(TRC_HVM_MSR_WRITE, 3, index, lo, hi);
    if (msrs.write(index, (BigInt(hi) << 32n) | BigInt(lo)) === 'fault') emulator.injectException(TRAP_gp, 0);
    else engine.skipInstruction();
  }

  private crAccess(): void {
    const { domain, state, engine, emulator, controllers } = this.parts;
    const { exit, registers } = engine;
    const { trace } = domain.pcpu;
    const long = (registers.efer & Efer.lma) !== 0;
    if (!exit.isWrite) {
      const value = exit.register === 8 ? controllers.getCr8(state.id) : 0;
      registers.setGprHalves(exit.gpr, value, 0);
      trace.record(long ? TRC_HVM_CR_READ64 : TRC_HVM_CR_READ, long ? 3 : 2, exit.register, value, 0);
      return engine.skipInstruction();
    }
    trace.record(long ? TRC_HVM_CR_WRITE64 : TRC_HVM_CR_WRITE, long ? 3 : 2, exit.register, exit.dataLo, exit.dataHi);
    const value = (BigInt(exit.dataHi >>> 0) << 32n) | BigInt(exit.dataLo >>> 0);
    if (exit.register === 8 ? value > 15n : !engine.writeCr(exit.register, value)) return emulator.injectException(TRAP_gp, 0);
    if (exit.register === 8) {
      controllers.setCr8(state.id, exit.dataLo);
      registers.cr8 = exit.dataLo;
    }
    engine.skipInstruction();
  }

  private drAccess(): void {
    const { domain, engine } = this.parts;
    const { exit, registers } = engine;
    domain.pcpu.trace.record(exit.isWrite ? TRC_HVM_DR_WRITE : TRC_HVM_DR_READ);
    if (exit.isWrite) registers.setDr(exit.register, (BigInt(exit.dataHi >>> 0) << 32n) | BigInt(exit.dataLo >>> 0));
    else registers.setGpr(exit.gpr, registers.getDr(exit.register));
    engine.skipInstruction();
  }
}
