/**
 * Interrupts and exceptions: delivery through the IDT, and IRET. Source: SDM vol. 3A, chapter 6; vol. 2, INT n and IRET.
 */
import {
  CB_CPL,
  CB_IDTR_BASE,
  CB_IDTR_LIMIT,
  CB_RFLAGS,
  CB_RIP,
  Flag,
  Status,
  STATUS_FLAGS,
  Vector,
  Rights,
} from '../memory/control-block.ts';
import { EXIT, FAULT, type Core } from './core.ts';
import { EventType, ExitReason, Reg, Seg, StringKind, TaskSwitchSource, type VcpuEvent } from '../interface.ts';
import { linearFromHalves, linearLow, type Linear } from '../memory/memory-views.ts';
import { Descriptor, SystemType, type Segmentation } from './segmentation.ts';
import { StackFrame } from './stack-frame.ts';

const CONTRIBUTORY = (1 << Vector.de) | (1 << Vector.ts) | (1 << Vector.np) | (1 << Vector.ss) | (1 << Vector.gp);
/** RFLAGS bits that IRET and POPF load at CPL 0. */
const LOADABLE =
  STATUS_FLAGS | Flag.tf | Flag.if | Flag.df | Flag.iopl | Flag.nt | Flag.rf | Flag.ac | Flag.vif | Flag.vip | Flag.id;

export class Events {
  private readonly core: Core;
  private readonly seg: Segmentation;
  /** An event whose delivery was cut short by an exit, or that the hypervisor injected. */
  pending: VcpuEvent | null = null;
  /** Events delivered so far. */
  delivered = 0;
  /** Type of the last event delivered. */
  lastType: EventType = EventType.externalInterrupt;
  nmiBlocked = false;
  /** Exceptions that leave instead of being delivered, a bit each. */
  exceptionBitmap = 0;
  /** Instruction breakpoints are armed: RF has a meaning. */
  keepsRf = false;

  constructor(core: Core, seg: Segmentation) {
    this.core = core;
    this.seg = seg;
  }

  /** Deliver the exception that FAULT announced, at CB_RIP. Status.fault (find the block at RIP) or Status.exit. */
  deliverFault(): number {
    const { core } = this;
    core.forgetCompleted();
    if ((this.exceptionBitmap >> core.faultVector) & 1) {
      core.exit.vector = core.faultVector;
      core.exit.errorCode = core.faultCode;
      core.describeExit(ExitReason.exceptionNmi);
      return Status.exit;
    }
    return this.deliver({
      type: EventType.hardwareException,
      vector: core.faultVector,
      errorCode: core.faultCode,
      instructionLength: 0,
    });
  }

  /** Deliver an event, turning exceptions on the way into double and triple faults. */
  deliver(event: VcpuEvent): number {
    const { core } = this;
    let current = event;
    for (;;) {
      try {
        this.attempt(current);
        this.pending = null;
        core.forgetCompleted();
        core.clearShadow();
        this.delivered++;
        this.lastType = current.type;
        return Status.fault;
      } catch (unwind) {
        if (unwind === EXIT) {
          this.pending = current;
          return Status.exit;
        }
        if (unwind !== FAULT) throw unwind;
        core.forgetCompleted();
        const second = core.faultVector;
        const isException = current.type === EventType.hardwareException;
        if (isException && current.vector === Vector.df) {
          this.pending = null;
          core.exit.reason = ExitReason.tripleFault;
          core.exit.string = StringKind.none;
          return Status.exit;
        }
        const first = current.vector;
        const double =
          isException &&
          (((CONTRIBUTORY >> first) & 1 && (CONTRIBUTORY >> second) & 1) ||
            (first === Vector.pf && (second === Vector.pf || (CONTRIBUTORY >> second) & 1)));
        current = double
          ? { type: EventType.hardwareException, vector: Vector.df, errorCode: 0, instructionLength: 0 }
          : { type: EventType.hardwareException, vector: second, errorCode: core.faultCode, instructionLength: 0 };
      }
    }
  }

  private attempt(event: VcpuEvent): void {
    const { core } = this;
    const software = event.type === EventType.softwareInterrupt || event.type === EventType.softwareException;
    const byInstruction = software || event.type === EventType.privilegedSoftwareException;
    // A software interrupt returns behind its instruction.
    const returnTo: Linear = byInstruction ? this.offsetRip(event.instructionLength) : core.rip;
    if (!core.protectedMode) this.deliverReal(event.vector, returnTo);
    else if (core.longMode) this.deliverLong(event, software, returnTo);
    else this.deliverProtected(event, software, returnTo);
    if (event.type === EventType.nmi) this.nmiBlocked = true;
  }

  private offsetRip(length: number): Linear {
    const { core } = this;
    const rip = core.rip + length;
    return core.code64 ? rip : rip >>> 0;
  }

  /** RFLAGS as pushed: RF is set for faults, so that an instruction breakpoint does not hit again. */
  private imageFlags(event: VcpuEvent): number {
    const { core } = this;
    const isFault = event.type === EventType.hardwareException && event.vector !== Vector.db && event.vector !== Vector.df;
    return core.rflags | (isFault ? Flag.rf : 0);
  }

  private deliverReal(vector: number, returnTo: Linear): void {
    const { core } = this;
    const { cb } = core;
    if (vector * 4 + 3 > cb.get(CB_IDTR_LIMIT)) core.raise(Vector.gp, -1);
    core.loadSystem(cb.linear(CB_IDTR_BASE) + vector * 4, 4);
    const offset = core.data32[0]! & 0xffff;
    const selector = core.data32[0]! >>> 16;
    const stack = StackFrame.current(core, false);
    stack.push(2, core.rflags & 0xffff);
    stack.push(2, core.segSelector(Seg.cs));
    stack.push(2, linearLow(returnTo));
    stack.commit();
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~(Flag.tf | Flag.if | Flag.rf | Flag.ac));
    this.seg.loadReal(Seg.cs, selector);
    core.setRip(offset, 0);
    core.updateMode();
  }

  /** `software`: INT n, INT3 or INTO, which may only use gates of their own privilege or an outer one. INT1 is not among them. */
  private checkGate(gate: Descriptor, event: VcpuEvent, software: boolean, external: number): void {
    const { core } = this;
    const error = event.vector * 8 + 2 + external;
    if (software && gate.dpl < core.cpl) core.gp(error);
    if (!gate.isPresent) core.raise(Vector.np, error);
  }

  private deliverLong(event: VcpuEvent, software: boolean, returnTo: Linear): void {
    const { core, seg } = this;
    const { cb } = core;
    const external = software ? 0 : 1;
    const error = event.vector * 8 + 2 + external;
    if (event.vector * 16 + 15 > cb.get(CB_IDTR_LIMIT)) core.gp(error);
    core.loadSystem(cb.linear(CB_IDTR_BASE) + event.vector * 16, 16);
    const gate = new Descriptor();
    gate.lo = core.data32[0]!;
    gate.hi = core.data32[1]!;
    const offsetHigh = core.data32[2]!;
    const isInterrupt = gate.type === SystemType.interruptGate;
    if (!gate.isSystem || (!isInterrupt && gate.type !== SystemType.trapGate)) core.gp(error);
    this.checkGate(gate, event, software, external);
    const selector = gate.gateSelector;
    if ((selector & 0xfffc) === 0) core.gp(external);
    const code = new Descriptor();
    seg.read(selector, code, Vector.gp, external);
    const codeError = (selector & 0xfffc) | external;
    if (!code.isCode || code.dpl > core.cpl || !(code.rights & Rights.long) || code.rights & Rights.big) core.gp(codeError);
    if (!code.isPresent) core.raise(Vector.np, codeError);
    const inner = !code.isConforming && code.dpl < core.cpl;
    const newCpl = inner ? code.dpl : core.cpl;
    const ist = gate.hi & 7;
    let pointer: Linear;
    if (ist) pointer = seg.interruptStack(ist);
    else if (inner) pointer = seg.innerStack(newCpl).pointer;
    else pointer = linearFromHalves(cb.gprLo(Reg.rsp) | 0, cb.gprHi(Reg.rsp) | 0);
    if (Number.isNaN(pointer)) core.raise(Vector.ss, external);
    pointer -= pointer & 15;
    const stack = new StackFrame(core, { pointer, long: true, user: newCpl === 3 });
    stack.push(8, core.segSelector(Seg.ss));
    stack.push(8, cb.gprLo(Reg.rsp), cb.gprHi(Reg.rsp));
    stack.push(8, this.imageFlags(event));
    stack.push(8, core.segSelector(Seg.cs));
    // The address behind the last canonical one is where a fetch may have come to.
    if (Number.isNaN(returnTo)) stack.push(8, cb.get(CB_RIP), cb.get(CB_RIP + 4));
    else stack.pushLinear(8, returnTo);
    if (event.errorCode >= 0) stack.push(8, event.errorCode);
    const target = linearFromHalves(gate.gateOffset | 0, offsetHigh | 0);
    if (Number.isNaN(target)) core.gp(0);
    seg.markAccessed(code);
    // Nothing can fail from here on.
    stack.commit();
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~(Flag.tf | Flag.nt | Flag.rf | Flag.vm | (isInterrupt ? Flag.if : 0)));
    if (inner) {
      cb.set(CB_CPL, newCpl);
      core.setSegment(Seg.ss, newCpl, 0, 0, 0, Rights.unusable | (newCpl << Rights.dplShift));
    }
    core.setRipLinear(target);
    seg.setCode(selector, code, newCpl);
  }

  private deliverProtected(event: VcpuEvent, software: boolean, returnTo: Linear): void {
    const { core, seg } = this;
    const { cb } = core;
    const external = software ? 0 : 1;
    const error = event.vector * 8 + 2 + external;
    if (core.vm86 && event.type === EventType.softwareInterrupt && core.iopl < 3) core.gp(0);
    if (event.vector * 8 + 7 > cb.get(CB_IDTR_LIMIT)) core.gp(error);
    core.loadSystem(cb.linear(CB_IDTR_BASE) + event.vector * 8, 8);
    const gate = new Descriptor();
    gate.lo = core.data32[0]!;
    gate.hi = core.data32[1]!;
    if (!gate.isSystem || ![5, 6, 7, 14, 15].includes(gate.type)) core.gp(error);
    this.checkGate(gate, event, software, external);
    if (gate.type === SystemType.taskGate) {
      core.exit.dataLo = gate.gateSelector;
      core.exit.vector = event.vector;
      core.exit.errorCode = event.errorCode;
      core.exit.qualification = TaskSwitchSource.idtGate;
      core.leave(ExitReason.taskSwitch);
    }
    const is32 = gate.type >= 14;
    const size = is32 ? 4 : 2;
    const selector = gate.gateSelector;
    if ((selector & 0xfffc) === 0) core.gp(external);
    const code = new Descriptor();
    seg.read(selector, code, Vector.gp, external);
    const codeError = (selector & 0xfffc) | external;
    if (!code.isCode || code.dpl > core.cpl) core.gp(codeError);
    if (!code.isPresent) core.raise(Vector.np, codeError);
    const inner = !code.isConforming && code.dpl < core.cpl;
    const newCpl = inner ? code.dpl : core.cpl;
    const flags = this.imageFlags(event);
    const fromVm86 = core.vm86;
    if (fromVm86 && (!inner || newCpl !== 0)) core.gp(codeError);
    const offset = is32 ? gate.gateOffset : gate.gateOffset & 0xffff;
    if (offset > code.limit) core.gp(external);

    let stack: StackFrame;
    let newStack: Descriptor | null = null;
    let newSelector = 0;
    if (inner) {
      const from = seg.innerStack(newCpl);
      newSelector = from.selector;
      newStack = seg.stackDescriptor(newSelector, newCpl, Vector.ts, external);
      stack = new StackFrame(core, {
        pointer: from.pointer,
        long: false,
        user: newCpl === 3,
        base: newStack.base,
        mask: newStack.rights & Rights.big ? 0xffffffff : 0xffff,
        ...bounds(newStack),
        errorCode: (newSelector & 0xfffc) | external,
      });
      if (fromVm86) for (const s of [Seg.gs, Seg.fs, Seg.ds, Seg.es]) stack.push(size, core.segSelector(s));
      stack.push(size, core.segSelector(Seg.ss));
      stack.push(size, cb.gprLo(Reg.rsp));
    } else stack = StackFrame.current(core, newCpl === 3);
    stack.push(size, flags);
    stack.push(size, core.segSelector(Seg.cs));
    stack.push(size, linearLow(returnTo));
    if (event.errorCode >= 0) stack.push(size, event.errorCode);
    seg.markAccessed(code);
    if (newStack) seg.markAccessed(newStack);
    const clearsIf = gate.type === SystemType.interruptGate || gate.type === SystemType.interruptGate16;
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~(Flag.tf | Flag.nt | Flag.rf | Flag.vm | (clearsIf ? Flag.if : 0)));
    if (fromVm86) for (const s of [Seg.gs, Seg.fs, Seg.ds, Seg.es]) seg.setNull(s, 0);
    if (newStack) {
      cb.set(CB_CPL, newCpl);
      seg.setFrom(Seg.ss, newSelector, newStack);
    }
    stack.commit();
    core.setRip(offset, 0);
    seg.setCode(selector, code, newCpl);
  }

  // IRET

  iret(size: number): number {
    const { core } = this;
    if (!core.protectedMode) return this.iretReal(size);
    if (core.vm86) {
      if (core.iopl < 3) core.gp(0);
      return this.iretReal(size);
    }
    const nt = (core.cb.get(CB_RFLAGS) & Flag.nt) !== 0;
    if (nt && core.longMode) core.gp(0);
    if (nt) {
      core.exit.dataLo = core.loadSystem16(core.segBase(Seg.tr));
      core.exit.qualification = TaskSwitchSource.iret;
      core.leave(ExitReason.taskSwitch);
    }
    this.iretProtected(size);
    this.nmiBlocked = false;
    return Status.jump;
  }

  private iretReal(size: number): number {
    const { core, seg } = this;
    const stack = StackFrame.current(core, core.vm86);
    const ip = stack.pop(size);
    const cs = stack.pop(size) & 0xffff;
    const flags = stack.pop(size);
    const old = core.rflags;
    if ((size === 2 ? ip & 0xffff : ip) > core.segLimit(Seg.cs)) core.gp(0);
    const mask =
      (size === 2 ? 0xffff : ~0) &
      (core.vm86 ? LOADABLE & ~(Flag.iopl | Flag.vif | Flag.vip) : LOADABLE & ~(Flag.vif | Flag.vip));
    core.rflags = (old & ~mask) | (flags & mask);
    stack.commit();
    seg.loadReal(Seg.cs, cs);
    core.setRip(size === 2 ? ip & 0xffff : ip, 0);
    this.nmiBlocked = false;
    core.updateMode();
    return Status.jump;
  }

  private iretProtected(size: number): void {
    const { core, seg } = this;
    const { cb } = core;
    const wasLong = core.code64;
    const stack = StackFrame.current(core, core.cpl === 3);
    const ripLo = stack.pop(size);
    const ripHi = size === 8 ? core.data32[1]! : 0;
    const cs = stack.pop(size) & 0xffff;
    const flags = stack.pop(size);
    if (!core.longMode && size === 4 && flags & Flag.vm && core.cpl === 0) {
      this.returnToVm86(stack, ripLo, cs, flags);
      return;
    }
    if ((cs & 0xfffc) === 0) core.gp(0);
    const code = new Descriptor();
    seg.read(cs, code);
    this.checkReturn(cs, code);
    const rpl = cs & 3;
    const outer = rpl > core.cpl;
    const target = seg.codeTarget(code, ripLo >>> 0, ripHi);
    const mask = this.flagsMask(size) | (core.cpl === 0 && size > 2 ? Flag.vif | Flag.vip : 0);
    let newStack: Descriptor | null = null;
    let ss = 0;
    let rspLo = 0;
    let rspHi = 0;
    // In 64-bit mode SS:RSP are popped whatever the privilege.
    if (outer || wasLong) {
      rspLo = stack.pop(size);
      rspHi = size === 8 ? core.data32[1]! : 0;
      ss = stack.pop(size) & 0xffff;
      newStack = this.returnStack(ss, rpl, code);
    }
    core.rflags = (core.rflags & ~mask) | (flags & mask & ~(this.keepsRf ? 0 : Flag.rf));
    if (outer || wasLong) {
      this.loadReturnStack(ss, rpl, newStack);
      if (core.longMode && code.rights & Rights.long) cb.setGpr(Reg.rsp, rspLo, size === 8 ? rspHi : 0);
      else if (newStack && !(newStack.rights & Rights.big))
        cb.setGpr(Reg.rsp, (cb.gprLo(Reg.rsp) & ~0xffff) | (rspLo & 0xffff), cb.gprHi(Reg.rsp));
      else cb.setGpr(Reg.rsp, rspLo, 0);
    } else stack.commit();
    core.setRipLinear(target);
    seg.setCode(cs, code, rpl);
    if (outer) seg.dropInnerSegments();
  }

  /** Checks of a return to this code segment (RET far, IRET). */
  checkReturn(cs: number, code: Descriptor): void {
    const { core } = this;
    const error = cs & 0xfffc;
    const rpl = cs & 3;
    if (!code.isCode || rpl < core.cpl) core.gp(error);
    if (core.longMode && code.rights & Rights.long && code.rights & Rights.big) core.gp(error);
    if (code.isConforming ? code.dpl > rpl : code.dpl !== rpl) core.gp(error);
    if (!code.isPresent) core.raise(Vector.np, error);
  }

  /**
   * The stack segment that such a return goes to: its descriptor, checked and marked; null for a null selector, which 64-bit code
   * outside ring 3 may have.
   */
  returnStack(ss: number, rpl: number, code: Descriptor): Descriptor | null {
    const { core, seg } = this;
    const error = ss & 0xfffc;
    if (error === 0) {
      if (!core.longMode || !(code.rights & Rights.long) || rpl === 3 || (ss & 3) !== rpl) core.gp(0);
      return null;
    }
    const stack = new Descriptor();
    seg.read(ss, stack);
    if ((ss & 3) !== rpl || !stack.isWritableData || stack.dpl !== rpl) core.gp(error);
    if (!stack.isPresent) core.raise(Vector.ss, error);
    seg.markAccessed(stack);
    return stack;
  }

  /** SS takes what `returnStack` gave. */
  loadReturnStack(ss: number, rpl: number, stack: Descriptor | null): void {
    if (stack) this.seg.setFrom(Seg.ss, ss, stack);
    else this.core.setSegment(Seg.ss, ss, 0, 0, 0, Rights.unusable | (rpl << Rights.dplShift));
  }

  /** RFLAGS bits that POPF or IRET may change at the present privilege. */
  flagsMask(size: number): number {
    const { core } = this;
    let mask = LOADABLE & ~(Flag.vif | Flag.vip);
    if (core.cpl > 0) mask &= ~Flag.iopl;
    if (core.cpl > core.iopl) mask &= ~Flag.if;
    return size === 2 ? mask & 0xffff : mask;
  }

  private returnToVm86(stack: StackFrame, ip: number, cs: number, flags: number): void {
    const { core, seg } = this;
    const { cb } = core;
    const esp = stack.pop(4);
    const [ss, es, ds, fs, gs] = [stack.pop(4), stack.pop(4), stack.pop(4), stack.pop(4), stack.pop(4)];
    core.rflags = (flags & (LOADABLE | Flag.vm)) | Flag.one;
    cb.set(CB_CPL, 3);
    for (const [s, selector] of [
      [Seg.es, es],
      [Seg.cs, cs],
      [Seg.ss, ss],
      [Seg.ds, ds],
      [Seg.fs, fs],
      [Seg.gs, gs],
    ] as const)
      seg.loadReal(s, selector & 0xffff);
    cb.setGpr(Reg.rsp, esp, 0);
    core.setRip(ip & 0xffff, 0);
    core.updateMode();
  }
}

function bounds(d: Descriptor): { low: number; high: number } {
  if (!(d.rights & Rights.expandDown)) return { low: 0, high: d.limit };
  return { low: d.limit + 1, high: d.rights & Rights.big ? 0xffffffff : 0xffff };
}
