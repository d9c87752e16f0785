/**
 * Hardware task switches (Xen: hvm/hvm.c, hvm_task_switch). VMX never switches tasks itself: CALL, JMP, IRET and gates of the
 * IDT that lead to a TSS leave the guest, and the hypervisor does the switch. 32-bit TSSs only, as Xen.
 * Source: SDM vol. 3A, chapter 7; vol. 3C, 25.4.2.
 */
import { gva, PAGE_SIZE } from '../../base/address.ts';
import type { Gpa } from '../../base/address.ts';
import { EventType, Reg, Rights, Seg, TaskSwitchSource } from '../../cpu/interface.ts';
import type { SegmentState, Vcpu } from '../../cpu/interface.ts';

/** Offsets in a 32-bit TSS (SDM vol. 3A, figure 7-2). Registers lie in the order of their numbers, segments too. */
const TSS = {
  backLink: 0x00,
  cr3: 0x1c,
  eip: 0x20,
  eflags: 0x24,
  gpr: 0x28,
  segments: 0x48,
  ldt: 0x60,
  trap: 0x64,
  size: 0x68,
} as const;
const GPRS = 8;
const SEGMENTS = 6;

const Trap = { db: 1, df: 8, ts: 10, np: 11, ss: 12, gp: 13, pf: 14 } as const;
const CONTRIBUTORY = (1 << 0) | (1 << Trap.ts) | (1 << Trap.np) | (1 << Trap.ss) | (1 << Trap.gp);
const Flag = { one: 1 << 1, nt: 1 << 14, rf: 1 << 16, vm: 1 << 17 } as const;
const CR0_TS = 8;
const DR6_BT = 1n << 15n;
/** L0…L3 and LE: a task's own breakpoints end with it. */
const DR7_LOCAL = 0x155n;

const TYPE_LDT = 2;
const TYPE_TSS = 9;
const TYPE_TSS_BUSY = 0xb;
/** Busy in the high word of a TSS descriptor, accessed in that of a segment. */
const BUSY = 0x200;
const ACCESSED = 0x100;
const VM86_RIGHTS = 0xf3;

/** Guest-physical memory: bytes copied before there was no RAM. */
interface PhysicalMemory {
  copyFromPhys(gpa: Gpa, out: Uint8Array): number;
  copyToPhys(gpa: Gpa, bytes: Uint8Array): number;
}

export interface TaskSwitchHost {
  readonly engine: Vcpu;
  readonly guest: PhysicalMemory;
  injectException(vector: number, errorCode: number): void;
  injectPageFault(address: bigint, errorCode: number): void;
  tripleFault(): void;
  /** The guest put a table where no RAM is. */
  crash(why: string): never;
}

/** An exception of the switch; `address` with a page fault. */
class SwitchFault {
  readonly vector: number;
  readonly errorCode: number;
  readonly address: bigint;
  constructor(vector: number, errorCode: number, address = 0n) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.address = address;
  }
}

interface DescriptorEntry {
  readonly address: bigint;
  readonly lo: number;
  readonly hi: number;
}

/** Do the switch that the last exit asked for. The guest goes on in the new task, or gets an exception. */
export function taskSwitch(host: TaskSwitchHost): void {
  new Switch(host).run();
}

/** hvm_combine_hw_exceptions: what a fault becomes while `first` was to be delivered; −1: triple fault. */
function combine(first: number, second: number): number {
  if (first === Trap.df) return -1;
  const contributory = (CONTRIBUTORY >> second) & 1;
  if (first === Trap.pf) return contributory || second === Trap.pf ? Trap.df : second;
  return (CONTRIBUTORY >> first) & 1 && contributory ? Trap.df : second;
}

class Switch {
  private readonly host: TaskSwitchHost;
  private readonly engine: Vcpu;
  private readonly source: number;
  private readonly selector: number;

  constructor(host: TaskSwitchHost) {
    this.host = host;
    this.engine = host.engine;
    this.source = host.engine.exit.qualification;
    this.selector = host.engine.exit.dataLo;
  }

  run(): void {
    const { engine, host } = this;
    const event = engine.idtVectoring;
    try {
      this.leaveOld();
    } catch (fault) {
      if (!(fault instanceof SwitchFault)) throw fault;
      // Still the old task, and the event that led here is as one whose delivery failed.
      const vector = event?.type === EventType.hardwareException ? combine(event.vector, fault.vector) : fault.vector;
      if (vector < 0) host.tripleFault();
      else if (vector === fault.vector) this.inject(fault);
      else host.injectException(vector, 0);
    }
  }

  private inject(fault: SwitchFault): void {
    if (fault.vector === Trap.pf) this.host.injectPageFault(fault.address, fault.errorCode);
    else this.host.injectException(fault.vector, fault.errorCode);
  }

  /** Everything that may still fail in the old task. */
  private leaveOld(): void {
    const { engine, source, selector } = this;
    const { registers } = engine;
    const fromIret = source === TaskSwitchSource.iret;
    const refused = fromIret ? Trap.ts : Trap.gp;
    const error = selector & 0xfff8;
    if (selector & 4 || error + 7 > registers.gdtrLimit) throw new SwitchFault(refused, selector & 0xfffc);
    const oldTr = registers.getSegment(Seg.tr);
    const oldEntry = this.readEntry(registers.gdtrBase + BigInt(oldTr.selector & 0xfff8));
    const entry = this.readEntry(registers.gdtrBase + BigInt(error));
    const tr = segmentOf(selector, entry);
    if ((tr.accessRights & (Rights.nonSystem | Rights.typeMask)) !== (fromIret ? TYPE_TSS_BUSY : TYPE_TSS))
      throw new SwitchFault(refused, error);
    if (!(tr.accessRights & Rights.present)) throw new SwitchFault(Trap.np, error);
    if (tr.limit < TSS.size - 1) throw new SwitchFault(Trap.ts, error);
    this.saveOld(oldTr);
    const bytes = this.read(tr.base, TSS.size);
    const tss = new DataView(bytes.buffer);
    const eflags = tss.getUint32(TSS.eflags, true);
    const cpl = eflags & Flag.vm ? 3 : tss.getUint16(TSS.segments + 4 * Seg.cs, true) & 3;
    // The LDT is no segment of virtual-8086 mode.
    this.loadSegment(Seg.ldtr, tss.getUint16(TSS.ldt, true), cpl, false);
    if (!engine.writeCr(3, BigInt(tss.getUint32(TSS.cr3, true)))) throw new SwitchFault(Trap.gp, 0);
    this.enterNew(tss, { cpl, tr, entry, oldTr, oldEntry });
  }

  /** The general registers, flags and selectors go to the old task's TSS. */
  private saveOld(oldTr: SegmentState): void {
    const { engine, source } = this;
    const { registers, exit } = engine;
    const at = oldTr.base + BigInt(TSS.eip);
    const bytes = this.read(at, TSS.ldt - TSS.eip);
    const view = new DataView(bytes.buffer);
    const event = engine.idtVectoring;
    const length = source === TaskSwitchSource.idtGate ? (event?.instructionLength ?? 0) : exit.instructionLength;
    let { rflags } = registers;
    if (source === TaskSwitchSource.iret) rflags &= ~Flag.nt;
    if (
      source === TaskSwitchSource.idtGate &&
      event?.type === EventType.hardwareException &&
      event.vector !== Trap.db &&
      event.vector !== Trap.df
    )
      rflags |= Flag.rf;
    view.setUint32(0, Number(registers.rip & 0xffff_ffffn) + length, true);
    view.setUint32(TSS.eflags - TSS.eip, rflags, true);
    for (let i = 0; i < GPRS; i++) view.setUint32(TSS.gpr - TSS.eip + 4 * i, registers.gprLo(i), true);
    for (let i = 0; i < SEGMENTS; i++) view.setUint16(TSS.segments - TSS.eip + 4 * i, registers.getSegment(i).selector, true);
    this.write(at, bytes);
  }

  /** From here on an exception is the new task's. */
  private enterNew(
    tss: DataView,
    to: { cpl: number; tr: SegmentState; entry: DescriptorEntry; oldTr: SegmentState; oldEntry: DescriptorEntry },
  ): void {
    const { engine, source } = this;
    const { registers } = engine;
    const errorCode = engine.idtVectoring?.errorCode ?? -1;
    const eflags = tss.getUint32(TSS.eflags, true);
    const nests = source === TaskSwitchSource.call || source === TaskSwitchSource.idtGate;
    engine.finishTaskSwitch();
    registers.rip = gva(BigInt(tss.getUint32(TSS.eip, true)));
    registers.rflags = ((eflags | Flag.one | (nests ? Flag.nt : 0)) & 0x3f_7fd7) >>> 0;
    for (let i = 0; i < GPRS; i++) registers.setGprHalves(i, tss.getUint32(TSS.gpr + 4 * i, true), 0);
    let raised = this.attempt(() => {
      for (const seg of [Seg.es, Seg.cs, Seg.ss, Seg.ds, Seg.fs, Seg.gs]) {
        this.loadSegment(seg, tss.getUint16(TSS.segments + 4 * seg, true), to.cpl, (eflags & Flag.vm) !== 0);
      }
    });
    if (nests)
      raised =
        this.attempt(() =>
          this.write(to.tr.base + BigInt(TSS.backLink), Uint8Array.of(to.oldTr.selector, to.oldTr.selector >> 8)),
        ) ?? raised;
    registers.setSegment(Seg.tr, { ...to.tr, accessRights: (to.tr.accessRights & ~Rights.typeMask) | TYPE_TSS_BUSY });
    registers.cr0 |= CR0_TS;
    if (source === TaskSwitchSource.iret || source === TaskSwitchSource.jmp) this.changeEntry(to.oldEntry, BUSY, 0);
    if (source !== TaskSwitchSource.iret) this.changeEntry(to.entry, 0, BUSY);
    registers.setDr(7, registers.getDr(7) & ~DR7_LOCAL);
    if (source === TaskSwitchSource.idtGate && errorCode >= 0 && raised === undefined)
      raised = this.attempt(() => this.pushErrorCode(errorCode));
    if (raised !== undefined) this.inject(raised);
    else if (tss.getUint16(TSS.trap, true) & 1) {
      registers.setDr(6, registers.getDr(6) | DR6_BT);
      this.host.injectException(Trap.db, -1);
    }
  }

  private attempt(work: () => void): SwitchFault | undefined {
    try {
      work();
      return undefined;
    } catch (fault) {
      if (!(fault instanceof SwitchFault)) throw fault;
      return fault;
    }
  }

  private pushErrorCode(errorCode: number): void {
    const { registers } = this.engine;
    const size = registers.getSegment(Seg.cs).accessRights & Rights.big ? 4 : 2;
    const ss = registers.getSegment(Seg.ss);
    const wide = (ss.accessRights & Rights.big) !== 0;
    const esp = registers.gprLo(Reg.rsp);
    const sp = wide ? (esp - size) >>> 0 : (esp - size) & 0xffff;
    const end = sp + size - 1;
    const inside = ss.accessRights & Rights.expandDown ? sp > ss.limit && end <= (wide ? 0xffff_ffff : 0xffff) : end <= ss.limit;
    if (!inside) throw new SwitchFault(Trap.ss, 0);
    registers.setGprHalves(Reg.rsp, wide ? sp : ((esp & ~0xffff) | sp) >>> 0, 0);
    this.write(
      (ss.base + BigInt(sp)) & 0xffff_ffffn,
      Uint8Array.of(errorCode, errorCode >> 8, errorCode >> 16, errorCode >> 24).subarray(0, size),
    );
  }

  /** hvm_load_segment_selector: a segment register of the new task, checked for its privilege. */
  private loadSegment(seg: number, selector: number, cpl: number, vm86: boolean): void {
    const { registers } = this.engine;
    if (vm86)
      return registers.setSegment(seg, { selector, base: BigInt(selector) * 16n, limit: 0xffff, accessRights: VM86_RIGHTS });
    const error = selector & 0xfffc;
    const fault = (vector: number): never => {
      throw new SwitchFault(vector, error);
    };
    if (error === 0) {
      if (seg === Seg.cs || seg === Seg.ss) fault(Trap.ts);
      return registers.setSegment(seg, { selector, base: 0n, limit: 0, accessRights: Rights.unusable });
    }
    const local = (selector & 4) !== 0;
    if (local && seg === Seg.ldtr) fault(Trap.ts);
    const ldt = registers.getSegment(Seg.ldtr);
    if (local && ldt.accessRights & Rights.unusable) fault(Trap.ts);
    if ((selector & 0xfff8) + 7 > (local ? ldt.limit : registers.gdtrLimit)) fault(Trap.ts);
    const entry = this.readEntry((local ? ldt.base : registers.gdtrBase) + BigInt(selector & 0xfff8));
    const { accessRights: rights } = segmentOf(selector, entry);
    const dpl = (rights >> Rights.dplShift) & 3;
    const rpl = selector & 3;
    const isCode = (rights & Rights.code) !== 0;
    const conforming = isCode && (rights & Rights.conforming) !== 0;
    if (((rights & Rights.nonSystem) === 0) !== (seg === Seg.ldtr)) fault(Trap.ts);
    switch (seg) {
      case Seg.ldtr:
        if ((rights & Rights.typeMask) !== TYPE_LDT) fault(Trap.ts);
        break;
      case Seg.cs:
        if (!isCode || (conforming ? dpl > rpl : dpl !== rpl)) fault(Trap.ts);
        break;
      case Seg.ss:
        if (isCode || !(rights & Rights.writable) || dpl !== cpl || rpl !== cpl) fault(Trap.ts);
        break;
      default:
        if (isCode && !(rights & Rights.writable)) fault(Trap.ts);
        if (!conforming && (dpl < cpl || dpl < rpl)) fault(Trap.ts);
    }
    if (!(rights & Rights.present)) fault(seg === Seg.ss ? Trap.ss : seg === Seg.ldtr ? Trap.ts : Trap.np);
    if (seg !== Seg.ldtr && !(rights & Rights.accessed)) this.changeEntry(entry, 0, ACCESSED);
    const loaded = segmentOf(selector, entry);
    registers.setSegment(seg, seg === Seg.ldtr ? loaded : { ...loaded, accessRights: loaded.accessRights | Rights.accessed });
  }

  // Guest memory

  private readEntry(address: bigint): DescriptorEntry {
    const view = new DataView(this.read(address, 8).buffer);
    return { address, lo: view.getUint32(0, true), hi: view.getUint32(4, true) };
  }

  /** Change bits of a descriptor's high word. Tables are the processor's own, so that a page without write permission does not matter. */
  private changeEntry(entry: DescriptorEntry, clear: number, set: number): void {
    const hi = (entry.hi & ~clear) | set;
    this.copy(entry.address + 4n, Uint8Array.of(hi, hi >> 8, hi >> 16, hi >> 24), 'read', (gpa, part) =>
      this.host.guest.copyToPhys(gpa, part),
    );
  }

  private read(address: bigint, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.copy(address, bytes, 'read', (gpa, part) => this.host.guest.copyFromPhys(gpa, part));
    return bytes;
  }

  private write(address: bigint, bytes: Uint8Array): void {
    // Nothing is written before both pages are known to be there.
    this.copy(address, bytes, 'write', (_gpa, part) => part.length);
    this.copy(address, bytes, 'write', (gpa, part) => this.host.guest.copyToPhys(gpa, part));
  }

  private copy(address: bigint, bytes: Uint8Array, access: 'read' | 'write', move: (gpa: Gpa, part: Uint8Array) => number): void {
    for (let done = 0; done < bytes.length; ) {
      const at = (address + BigInt(done)) & 0xffff_ffffn;
      const chunk = Math.min(bytes.length - done, PAGE_SIZE - Number(at & 0xfffn));
      const walk = this.engine.translate(gva(at), access, 'supervisor');
      if (walk.outcome === 'fault') throw new SwitchFault(Trap.pf, walk.errorCode, at);
      if (walk.outcome !== 'ok' || move(walk.gpa, bytes.subarray(done, done + chunk)) !== chunk) {
        this.host.crash(`task switch to selector 0x${this.selector.toString(16)}: no RAM at gpa 0x${walk.gpa.toString(16)}`);
      }
      done += chunk;
    }
  }
}

/** A descriptor as the register it is loaded into. */
function segmentOf(selector: number, { lo, hi }: DescriptorEntry): SegmentState {
  const accessRights = (hi >>> 8) & 0xf0ff;
  const limit = (lo & 0xffff) | (hi & 0xf0000);
  return {
    selector,
    accessRights,
    base: BigInt(((lo >>> 16) | ((hi & 0xff) << 16) | (hi & 0xff00_0000)) >>> 0),
    limit: (accessRights & Rights.granular ? (limit << 12) | 0xfff : limit) >>> 0,
  };
}
