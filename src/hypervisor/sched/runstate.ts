/**
 * What runs where (the part of Xen's common/sched/core.c that a trace shows): runstates, wakes and context switches of one
 * physical CPU, recorded as the scheduler records them.
 */
import {
  DOMID_IDLE,
  runstateChangeEvent,
  RUNSTATE_BLOCKED,
  RUNSTATE_OFFLINE,
  RUNSTATE_RUNNABLE,
  RUNSTATE_RUNNING,
  TRC_SCHED_SWITCH,
  TRC_SCHED_SWITCH_INFNEXT,
  TRC_SCHED_SWITCH_INFPREV,
  TRC_SCHED_WAKE,
} from '../../trace/events.ts';
import { Listeners } from '../../base/listeners.ts';
import { UserError } from '../../base/errors.ts';
import type { Snapshot } from '../../base/snapshot.ts';
import { virtualCost } from '../time/clock.ts';
import { VcpuState, VPF_BLOCKED, VPF_BLOCKED_IN_XEN } from '../domain/domain.ts';
import type { Pcpu } from '../domain/domain.ts';

/** Which vCPU runs. */
export interface RunqueueState {
  readonly domid: number;
  readonly vcpu: number;
}

export class Runqueue implements Snapshot<RunqueueState> {
  readonly kind = 'run queue';
  readonly version = 1;
  readonly pcpu: Pcpu;
  /** The pCPU's idle vCPU: d32767, vCPU number = pCPU number. */
  readonly idle: VcpuState;
  private readonly vcpus: readonly VcpuState[];
  private running: VcpuState;
  /** A vCPU begins to run here: its runstate area must be brought up to date. */
  readonly switchIns = new Listeners<VcpuState>();

  /** `vcpus`: those that may run here, beside the idle one. */
  constructor(pcpu: Pcpu, vcpus: readonly VcpuState[] = []) {
    this.pcpu = pcpu;
    this.vcpus = vcpus;
    this.idle = new VcpuState(pcpu.memory, DOMID_IDLE, pcpu.number);
    this.running = this.idle;
    pcpu.trace.setCurrent(DOMID_IDLE, pcpu.number);
  }

  save(): RunqueueState {
    return { domid: this.running.domid, vcpu: this.running.id };
  }

  /** Which vCPU runs is all there is: runstates lie in machine memory. */
  restore({ domid, vcpu }: RunqueueState): void {
    const running = [this.idle, ...this.vcpus].find((known) => known.domid === domid && known.id === vcpu);
    if (running === undefined)
      throw new UserError(`saved state of the run queue: d${domid}v${vcpu} is not a vCPU of this machine`);
    this.running = running;
  }

  /**
   * The pCPU begins to run, its idle vCPU on it: recorded as a start, for a trace's first record of every vCPU should show
   * it come to run.
   */
  open(): void {
    if (this.running !== this.idle) return;
    const { clock, trace } = this.pcpu;
    clock.charge(virtualCost.contextSwitch);
    this.idle.changeRunstate(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, clock.nowNs());
    trace.recordTsc(runstateChangeEvent(RUNSTATE_RUNNABLE, RUNSTATE_RUNNING), 1, this.idle.id | (this.idle.domid << 16));
  }

  /** A trace begins while a vCPU runs here: show how it came to. */
  announce(): void {
    const { trace } = this.pcpu;
    const record = (vcpu: VcpuState, from: number, to: number): void =>
      trace.recordTsc(runstateChangeEvent(from, to), 1, vcpu.id | (vcpu.domid << 16));
    record(this.idle, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
    if (this.running === this.idle) return;
    record(this.idle, RUNSTATE_RUNNING, RUNSTATE_RUNNABLE);
    record(this.running, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
  }

  /** The vCPU that runs on this pCPU now. */
  get current(): VcpuState {
    return this.running;
  }

  /**
   * Put `next` on the pCPU; the one that ran goes to `state` (blocked, offline, runnable). `next` must be runnable; if it is
   * not yet, it is made so.
   */
  switchTo(next: VcpuState, state: number): void {
    const prev = this.running;
    if (prev === next) return;
    const { clock, trace } = this.pcpu;
    clock.charge(virtualCost.contextSwitch);
    clock.notBefore(next.stateEntryNs);
    if (next.runstate !== RUNSTATE_RUNNABLE) this.change(next, next.runstate, RUNSTATE_RUNNABLE);
    const now = clock.nowNs();
    if (trace.on) {
      trace.recordTsc(TRC_SCHED_SWITCH_INFPREV, 3, prev.domid, prev.id, nsWord(now - prev.stateEntryNs));
      trace.recordTsc(TRC_SCHED_SWITCH_INFNEXT, 4, next.domid, next.id, nsWord(now - next.stateEntryNs), -1);
      trace.recordTsc(TRC_SCHED_SWITCH, 4, prev.domid, prev.id, next.domid, next.id);
    }
    this.change(prev, RUNSTATE_RUNNING, prev === this.idle ? RUNSTATE_RUNNABLE : state);
    this.change(next, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING);
    this.running = next;
    trace.setCurrent(next.domid, next.id);
    if (next !== this.idle) this.switchIns.call(next);
  }

  /** vcpu_wake, from any pCPU: blocked or offline becomes runnable, and its thread looks again. */
  wake(vcpu: VcpuState): void {
    const from = vcpu.runstate;
    if (from === RUNSTATE_BLOCKED || from === RUNSTATE_OFFLINE) {
      // It went to sleep on another thread, perhaps by a clock a little ahead of this one.
      this.pcpu.clock.notBefore(vcpu.stateEntryNs);
      this.pcpu.trace.recordTsc(TRC_SCHED_WAKE, 2, vcpu.domid, vcpu.id);
      this.change(vcpu, from, RUNSTATE_RUNNABLE);
    }
    vcpu.kick();
  }

  /** vcpu_unblock: out of HLT, sched_op block or poll. */
  unblock(vcpu: VcpuState): void {
    if (vcpu.clearPauseFlag(VPF_BLOCKED)) {
      // Whatever unblocks it ends its poll.
      vcpu.poll = 0;
      this.wake(vcpu);
    } else {
      vcpu.kick();
    }
  }

  /** The event it waited for inside Xen has come. */
  unblockInXen(vcpu: VcpuState): void {
    if (vcpu.clearPauseFlag(VPF_BLOCKED_IN_XEN)) this.wake(vcpu);
  }

  /** Woken inside Xen, but not by what it waits for: sleep on. */
  sleepAgain(vcpu: VcpuState): void {
    vcpu.setPauseFlag(VPF_BLOCKED_IN_XEN);
    this.change(vcpu, RUNSTATE_RUNNABLE, RUNSTATE_OFFLINE);
  }

  private change(vcpu: VcpuState, from: number, to: number): void {
    const { clock, trace } = this.pcpu;
    if (!vcpu.beginRunstateChange(from)) return;
    clock.notBefore(vcpu.stateEntryNs);
    trace.recordTsc(runstateChangeEvent(from, to), 1, vcpu.id | (vcpu.domid << 16));
    vcpu.endRunstateChange(from, to, clock.nowNs());
  }
}

/** Nanoseconds as the 32-bit word of a switch record. */
const nsWord = (ns: number): number => Math.max(0, Math.min(0xffff_ffff, Math.floor(ns)));
