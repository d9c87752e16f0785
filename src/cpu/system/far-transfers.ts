/** Far JMP, CALL and RET, SYSCALL and SYSENTER. Source: SDM vol. 2; vol. 3A, 5.8. */
import { CB_CPL, CB_EFER, CB_RFLAGS, CB_SLOW_VA, Efer, Flag, Status, Vector, Rights } from '../memory/control-block.ts';
import type { Core } from './core.ts';
import type { Events } from './events.ts';
import { ExitReason, Reg, Seg, TaskSwitchSource } from '../interface.ts';
import { linearFromHalves, type Linear } from '../memory/memory-views.ts';
import { CB_FMASK, CB_LSTAR, CB_STAR, CB_SYSENTER_CS, CB_SYSENTER_EIP, CB_SYSENTER_ESP } from './msr.ts';
import { REC_DISP, REC_IMM } from '../records/record.ts';
import { Descriptor, SystemType, type Segmentation } from './segmentation.ts';
import { StackFrame } from './stack-frame.ts';

/** Rights of the flat segments that SYSCALL and SYSENTER load. */
const FLAT_CODE64 = 0xa09b;
const FLAT_CODE32 = 0xc09b;
const FLAT_DATA = 0xc093;

export class FarTransfers {
  private readonly core: Core;
  private readonly seg: Segmentation;
  private readonly events: Events;

  constructor(core: Core, seg: Segmentation, events: Events) {
    this.core = core;
    this.seg = seg;
    this.events = events;
  }

  /** Far pointer in the record: offset in disp, selector in imm. */
  pointerInRecord(size: number): { selector: number; lo: number; hi: number } {
    const { u32 } = this.core.cb;
    const lo = u32[(this.core.record + REC_DISP) >> 2]!;
    return { selector: u32[(this.core.record + REC_IMM) >> 2]! & 0xffff, lo: size === 2 ? lo & 0xffff : lo, hi: 0 };
  }

  /** Far pointer in memory at CB_SLOW_VA: offset of the operand size, then the selector. */
  pointerInMemory(size: number): { selector: number; lo: number; hi: number } {
    const { core } = this;
    core.data32[1] = 0;
    core.load(core.cb.linear(CB_SLOW_VA), size + 2);
    const { data, data32 } = core;
    const selector = data[size]! | (data[size + 1]! << 8);
    if (size === 2) return { selector, lo: data[0]! | (data[1]! << 8), hi: 0 };
    return { selector, lo: data32[0]!, hi: size === 8 ? data32[1]! : 0 };
  }

  jump(pointer: { selector: number; lo: number; hi: number }): number {
    const { core, seg } = this;
    const { selector, lo, hi } = pointer;
    if (!core.protectedMode || core.vm86) {
      seg.loadReal(Seg.cs, selector);
      core.setRip(lo, 0);
      core.updateMode();
      return Status.jump;
    }
    const d = this.descriptor(selector);
    if (d.isSystem) return this.throughSystem(selector, d, false);
    this.enter(selector, d, seg.checkCode(selector, d), seg.codeTarget(d, lo, hi));
    return Status.jump;
  }

  private descriptor(selector: number): Descriptor {
    if ((selector & 0xfffc) === 0) this.core.gp(0);
    const d = new Descriptor();
    this.seg.read(selector, d);
    return d;
  }

  private enter(selector: number, code: Descriptor, cpl: number, target: Linear): void {
    this.core.setRipLinear(target);
    this.seg.setCode(selector, code, cpl);
  }

  call(pointer: { selector: number; lo: number; hi: number }, size: number): number {
    const { core, seg } = this;
    const { selector, lo, hi } = pointer;
    const back = core.nextRip();
    if (!core.protectedMode || core.vm86) {
      const stack = StackFrame.current(core);
      stack.push(size, core.segSelector(Seg.cs));
      stack.pushLinear(size, back);
      stack.commit();
      seg.loadReal(Seg.cs, selector);
      core.setRip(lo, 0);
      core.updateMode();
      return Status.jump;
    }
    const d = this.descriptor(selector);
    if (d.isSystem) return this.throughSystem(selector, d, true);
    const cpl = seg.checkCode(selector, d);
    const to = seg.codeTarget(d, lo, hi);
    const stack = StackFrame.current(core);
    stack.push(size, core.segSelector(Seg.cs));
    stack.pushLinear(size, back);
    stack.commit();
    this.enter(selector, d, cpl, to);
    return Status.jump;
  }

  /** Call gate, task gate or TSS. */
  private throughSystem(selector: number, gate: Descriptor, isCall: boolean): number {
    const { core, seg } = this;
    const { cb } = core;
    const error = selector & 0xfffc;
    const { type } = gate;
    const isGate = type === SystemType.callGate || (!core.longMode && type === SystemType.callGate16);
    const isTask = !core.longMode && (type === SystemType.taskGate || type === SystemType.tss || type === SystemType.tss16);
    if (!isGate && !isTask) core.gp(error);
    if (gate.dpl < core.cpl || gate.dpl < (selector & 3)) core.gp(error);
    if (!gate.isPresent) core.raise(Vector.np, error);
    if (isTask) {
      core.exit.dataLo = type === SystemType.taskGate ? gate.gateSelector : selector;
      core.exit.qualification = isCall ? TaskSwitchSource.call : TaskSwitchSource.jmp;
      core.leave(ExitReason.taskSwitch);
    }
    if (core.longMode) seg.readUpper(selector, gate);
    const to = gate.gateSelector;
    const code = this.descriptor(to);
    const codeError = to & 0xfffc;
    if (!code.isCode || code.dpl > core.cpl) core.gp(codeError);
    if (core.longMode && (!(code.rights & Rights.long) || code.rights & Rights.big)) core.gp(codeError);
    if (!isCall && !code.isConforming && code.dpl !== core.cpl) core.gp(codeError);
    if (!code.isPresent) core.raise(Vector.np, codeError);
    const size = core.longMode ? 8 : type === SystemType.callGate ? 4 : 2;
    const target = core.longMode
      ? linearFromHalves(gate.gateOffset | 0, gate.baseHigh | 0)
      : size === 4
        ? gate.gateOffset
        : gate.gateOffset & 0xffff;
    if (Number.isNaN(target) || (!core.longMode && target > code.limit)) core.gp(0);
    const inner = isCall && !code.isConforming && code.dpl < core.cpl;
    const newCpl = inner ? code.dpl : core.cpl;
    if (isCall) {
      const back = core.nextRip();
      const oldSs = core.segSelector(Seg.ss);
      let stack: StackFrame;
      let newStack: Descriptor | null = null;
      let from = { selector: 0, pointer: 0 };
      if (inner) {
        from = seg.innerStack(newCpl);
        if (core.longMode) {
          if (Number.isNaN(from.pointer)) core.raise(Vector.ss, 0);
          stack = new StackFrame(core, { pointer: from.pointer, long: true, user: false });
          stack.push(size, oldSs);
          stack.push(size, cb.gprLo(Reg.rsp), cb.gprHi(Reg.rsp));
        } else {
          newStack = seg.stackDescriptor(from.selector, newCpl, Vector.ts);
          stack = new StackFrame(core, {
            pointer: from.pointer,
            long: false,
            user: newCpl === 3,
            base: newStack.base,
            mask: newStack.rights & Rights.big ? 0xffffffff : 0xffff,
            low: 0,
            high: newStack.limit,
            errorCode: from.selector & 0xfffc,
          });
          // Parameters: read from the old stack first, so that a fault there changes nothing.
          const count = gate.hi & 0x1f;
          const old = StackFrame.current(core);
          const words = Array.from({ length: count }, () => old.pop(size));
          stack.push(size, oldSs);
          stack.push(size, cb.gprLo(Reg.rsp));
          for (let i = count - 1; i >= 0; i--) stack.push(size, words[i]!);
        }
      } else stack = StackFrame.current(core);
      stack.push(size, core.segSelector(Seg.cs));
      stack.pushLinear(size, back);
      if (inner) {
        cb.set(CB_CPL, newCpl);
        if (core.longMode) core.setSegment(Seg.ss, newCpl, 0, 0, 0, Rights.unusable | (newCpl << Rights.dplShift));
        else {
          seg.markAccessed(newStack!);
          seg.setFrom(Seg.ss, from.selector, newStack!);
        }
      }
      stack.commit();
    }
    this.enter(to, code, newCpl, target);
    return Status.jump;
  }

  ret(size: number, parameterBytes: number): number {
    const { core, seg } = this;
    const { cb } = core;
    const stack = StackFrame.current(core);
    const lo = stack.pop(size);
    const hi = size === 8 ? core.data32[1]! : 0;
    const cs = stack.pop(size) & 0xffff;
    if (!core.protectedMode || core.vm86) {
      stack.pointer += parameterBytes;
      stack.commit();
      seg.loadReal(Seg.cs, cs);
      core.setRip(size === 2 ? lo & 0xffff : lo, 0);
      core.updateMode();
      return Status.jump;
    }
    const code = this.descriptor(cs);
    this.events.checkReturn(cs, code);
    const rpl = cs & 3;
    const target = seg.codeTarget(code, lo, hi);
    stack.pointer = core.code64 ? stack.pointer + parameterBytes : (stack.pointer + parameterBytes) >>> 0;
    if (rpl === core.cpl) {
      stack.commit();
      this.enter(cs, code, rpl, target);
      return Status.jump;
    }
    const rspLo = stack.pop(size);
    const rspHi = size === 8 ? core.data32[1]! : 0;
    const ss = stack.pop(size) & 0xffff;
    const newStack = this.events.returnStack(ss, rpl, code);
    this.events.loadReturnStack(ss, rpl, newStack);
    const top = linearFromHalves(rspLo | 0, rspHi | 0) + parameterBytes;
    if (core.longMode && code.rights & Rights.long) cb.setLinear(Reg.rsp * 8, top);
    else if (newStack && !(newStack.rights & Rights.big))
      cb.setGpr(Reg.rsp, (cb.gprLo(Reg.rsp) & ~0xffff) | ((rspLo + parameterBytes) & 0xffff), cb.gprHi(Reg.rsp));
    else cb.setGpr(Reg.rsp, (rspLo + parameterBytes) >>> 0, 0);
    this.enter(cs, code, rpl, target);
    seg.dropInnerSegments();
    return Status.jump;
  }

  // Fast system calls

  syscall(): number {
    const { core } = this;
    const { cb } = core;
    if (!(cb.get(CB_EFER) & Efer.sce) || !core.longMode || !core.code64) core.raise(Vector.ud);
    const back = core.nextRip();
    cb.setLinear(Reg.rcx * 8, back);
    cb.setGpr(Reg.r11, core.rflags & ~Flag.rf, 0);
    const mask = cb.get(CB_FMASK);
    core.rflags = core.rflags & ~mask & ~Flag.rf;
    core.newFlagsDecide = true;
    const selector = cb.get(CB_STAR + 4) & 0xfffc;
    this.flat(selector, 0, FLAT_CODE64);
    core.setRip(cb.get(CB_LSTAR), cb.get(CB_LSTAR + 4));
    core.updateMode();
    return Status.jump;
  }

  sysret(size: number): number {
    const { core } = this;
    const { cb } = core;
    if (!(cb.get(CB_EFER) & Efer.sce) || !core.code64) core.raise(Vector.ud);
    if (core.cpl !== 0) core.gp(0);
    const selector = (cb.get(CB_STAR + 4) >>> 16) & 0xfffc;
    const rip = linearFromHalves(cb.gprLo(Reg.rcx) | 0, cb.gprHi(Reg.rcx) | 0);
    if (size === 8 && Number.isNaN(rip)) core.gp(0);
    const keep = Flag.vm | Flag.rf;
    core.rflags = (cb.gprLo(Reg.r11) & 0x3c7fd7 & ~keep) | Flag.one;
    core.newFlagsDecide = true;
    core.trapDue = (core.rflags & Flag.tf) !== 0;
    if (size === 8) {
      this.flatFrom(selector + 16, selector + 8, 3, FLAT_CODE64);
      core.setRip(cb.gprLo(Reg.rcx), cb.gprHi(Reg.rcx));
    } else {
      this.flatFrom(selector, selector + 8, 3, FLAT_CODE32);
      core.setRip(cb.gprLo(Reg.rcx), 0);
    }
    core.updateMode();
    return Status.jump;
  }

  sysenter(): number {
    const { core } = this;
    const { cb } = core;
    const selector = cb.get(CB_SYSENTER_CS) & 0xfffc;
    if (!core.protectedMode || selector === 0) core.gp(0);
    const long = core.longMode;
    cb.set(CB_RFLAGS, cb.get(CB_RFLAGS) & ~(Flag.vm | Flag.if));
    this.flat(selector, 0, long ? FLAT_CODE64 : FLAT_CODE32);
    cb.setGpr(Reg.rsp, cb.get(CB_SYSENTER_ESP), long ? cb.get(CB_SYSENTER_ESP + 4) : 0);
    core.setRip(cb.get(CB_SYSENTER_EIP), long ? cb.get(CB_SYSENTER_EIP + 4) : 0);
    core.updateMode();
    return Status.jump;
  }

  sysexit(size: number): number {
    const { core } = this;
    const { cb } = core;
    const selector = cb.get(CB_SYSENTER_CS) & 0xfffc;
    if (!core.protectedMode || selector === 0 || core.cpl !== 0) core.gp(0);
    const to64 = size === 8;
    if (to64) {
      const rip = linearFromHalves(cb.gprLo(Reg.rdx) | 0, cb.gprHi(Reg.rdx) | 0);
      const rsp = linearFromHalves(cb.gprLo(Reg.rcx) | 0, cb.gprHi(Reg.rcx) | 0);
      if (Number.isNaN(rip) || Number.isNaN(rsp)) core.gp(0);
      this.flatFrom(selector + 32, selector + 40, 3, FLAT_CODE64);
    } else this.flatFrom(selector + 16, selector + 24, 3, FLAT_CODE32);
    cb.setGpr(Reg.rsp, cb.gprLo(Reg.rcx), to64 ? cb.gprHi(Reg.rcx) : 0);
    core.setRip(cb.gprLo(Reg.rdx), to64 ? cb.gprHi(Reg.rdx) : 0);
    core.updateMode();
    return Status.jump;
  }

  private flat(selector: number, cpl: number, code: number): void {
    this.flatFrom(selector, selector + 8, cpl, code);
  }

  private flatFrom(cs: number, ss: number, cpl: number, code: number): void {
    const { core } = this;
    core.cb.set(CB_CPL, cpl);
    core.setSegment(Seg.cs, (cs & 0xfffc) | cpl, 0, 0, 0xffffffff, code | (cpl << Rights.dplShift));
    core.setSegment(Seg.ss, (ss & 0xfffc) | cpl, 0, 0, 0xffffffff, FLAT_DATA | (cpl << Rights.dplShift));
  }
}
