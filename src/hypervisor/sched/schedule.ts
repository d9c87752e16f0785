/**
 * The run loop of one pCPU: it runs one guest vCPU, handles its exits, fires timers, delivers interrupts, sleeps when there
 * is nothing to do; and how a vCPU waits for its device model. With the device model inline, dom0's vCPU takes turns with
 * the guest's on the same pCPU.
 */
import { ShutdownReason } from '../../abi/sched.ts';
import type { Maddr } from '../../base/address.ts';
import { DomainCrash } from '../../base/errors.ts';
import { Listeners } from '../../base/listeners.ts';
import type { Snapshot } from '../../base/snapshot.ts';
import { SpinWait } from '../../base/spin.ts';
import { ExitReason } from '../../cpu/interface.ts';
import { RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE } from '../../trace/events.ts';
import { VirtualClock, virtualCost } from '../time/clock.ts';
import { VPF_BLOCKED, VPF_BLOCKED_IN_XEN } from '../domain/domain.ts';
import type { Domain, Pcpu, VcpuState } from '../domain/domain.ts';
import type { HvmVcpu } from '../vmx/hvm.ts';
import { IntSource } from '../vmx/intr.ts';
import type { XenWait } from '../io/ioreq.ts';
import type { Runqueue } from './runstate.ts';
import type { TimerQueue } from '../time/timer.ts';
import { EVENT_CHECK_VECTOR, LOCAL_TIMER_VECTOR } from '../vmx/vmx.ts';

/** The device model when it runs on the guest's own thread. */
interface InlineDeviceModel {
  /** Serve everything that is there to do. */
  runUntilIdle(): boolean;
  /** When it has something to do of itself, in nanoseconds of the clock; Infinity: never. */
  readonly nextDeadlineNs: number;
  /**
   * Take in what has come from outside the machine: in this round of the loop, and at no other moment, so that a recording can say
   * when. True: something came. Left out where nothing comes.
   */
  takeInput?(round: number): boolean;
  /**
   * The vCPU sleeps from `nowNs` on until `untilNs` at most. Gives the time at which something comes from outside, to be taken in
   * round `round`, or `untilNs`.
   */
  awaitInput?(round: number, nowNs: number, untilNs: number): number;
}

/** Longest run of guest instructions without a look at the clock. */
const MAX_BUDGET = 5_000_000;
/** Shortest one under a host clock: near a deadline, the clock is asked every so many instructions. */
const MIN_HOST_BUDGET = 2000;
/** Instructions a nanosecond to count on under a host clock; too low only means to ask the clock once more. */
const HOST_INSTRUCTIONS_PER_NS = 0.25;
/** A sleep ends after this, in case a kick was lost. */
const LONGEST_SLEEP_MS = 1000;
/** A device model that has not answered an ioreq for so long never will; nobody else can get the vCPU out of its wait. */
const ANSWER_LIMIT_NS = 10e9;

/** Why the loop came back: the domain is shut down; the time asked for has come; nothing can ever happen again. */
export type LoopEnd = 'shutdown' | 'until' | 'idle';

/**
 * Where a run is to pause: as soon as any of these is reached. A pause leaves no trace: what follows it is the same as without it, in
 * this process or in another one that takes the machine's state.
 */
export interface PauseAt {
  /** Nanoseconds of the clock. */
  readonly ns?: number;
  /** Instructions that the vCPU has retired. */
  readonly instructions?: number;
  /** VM exits, counted as a trace shows them. */
  readonly exits?: number;
  /** Asked between two runs of the vCPU. */
  readonly when?: () => boolean;
}

/**
 * Where a turn came back with the run not over: `paused`, as `PauseAt` says; `yield`, it was asked to; `sleep`, there is nothing to do
 * before `PcpuLoop.sleepUntilNs`. Nothing in the machine notices.
 */
export type LoopPause = 'paused' | 'yield' | 'sleep';

/** What bounds a turn. */
export interface TurnLimits {
  /** Asked after every exit and at least every few million instructions: true, come back. */
  readonly mustYield: () => boolean;
  /** How far the virtual clock may run, in nanoseconds. */
  readonly limitNs: number;
  /** Something may still come from outside: a guest that waits with nothing due, under the virtual clock, does not end the run. */
  readonly awaitsInput: boolean;
  readonly pauseAt: PauseAt;
}

/** Where the loop stands between two runs of the vCPU. */
export interface PcpuLoopState {
  readonly entered: boolean;
  readonly opened: boolean;
  readonly servedKicks: number;
  /** Instructions left of a run of the vCPU that was cut in two. */
  readonly remaining: number;
  /** The end of idle time that was cut in two; 0: none. */
  readonly idleUntilNs: number;
  /** Rounds of the loop: input from outside comes at the beginning of one. */
  readonly rounds: number;
}

const isPause = (end: LoopEnd | LoopPause): end is LoopPause => end === 'paused' || end === 'yield' || end === 'sleep';

const NO_PAUSE: PauseAt = {};
const NO_LIMITS: TurnLimits = { mustYield: () => false, limitNs: Infinity, awaitsInput: false, pauseAt: NO_PAUSE };

/** dom0 on the guest's pCPU. */
export interface InlineDom0 {
  readonly state: VcpuState;
  readonly deviceModel: InlineDeviceModel;
}

/**
 * How a vCPU waits inside Xen (wait_on_xen_event_channel): offline from before the request is visible until the device
 * model's notification.
 */
export class IoWait implements XenWait {
  private readonly pcpu: Pcpu;
  private readonly runqueue: Runqueue;
  private readonly domain: Domain;
  private readonly dom0: InlineDom0 | undefined;
  private readonly spin = new SpinWait();
  private readonly isHeldUp: (() => boolean) | undefined;
  /** When the vCPU began to wait for the request at hand. */
  private since = 0;

  /**
   * @param dom0 undefined where the device model runs on a thread of its own
   * @param isHeldUp whether that thread waits for somebody outside the machine: such time does not count against it
   */
  constructor(pcpu: Pcpu, runqueue: Runqueue, domain: Domain, dom0?: InlineDom0, isHeldUp?: () => boolean) {
    this.pcpu = pcpu;
    this.runqueue = runqueue;
    this.domain = domain;
    this.dom0 = dom0;
    this.isHeldUp = isHeldUp;
  }

  prepare(vcpu: VcpuState): void {
    vcpu.setPauseFlag(VPF_BLOCKED_IN_XEN);
    this.runqueue.switchTo(this.runqueue.idle, RUNSTATE_OFFLINE);
    this.since = this.pcpu.clock.nowNs();
  }

  wait(vcpu: VcpuState): boolean {
    if (this.domain.shutdownReason >= 0) return false;
    if (!vcpu.hasPauseFlag(VPF_BLOCKED_IN_XEN)) {
      // Woken, but the state has not changed: set the flag first, then let the caller look once more.
      this.runqueue.sleepAgain(vcpu);
      return true;
    }
    const { dom0 } = this;
    if (dom0 === undefined) return this.sleep(vcpu);
    while (vcpu.hasPauseFlag(VPF_BLOCKED_IN_XEN)) {
      if (this.domain.shutdownReason >= 0) return false;
      this.runInline(vcpu, dom0);
    }
    return true;
  }

  finish(vcpu: VcpuState): void {
    vcpu.clearPauseFlag(VPF_BLOCKED_IN_XEN);
    this.runqueue.switchTo(vcpu, RUNSTATE_RUNNABLE);
  }

  private sleep(vcpu: VcpuState): boolean {
    const { i32 } = this.pcpu.memory;
    const isAnswered = (): boolean => !vcpu.hasPauseFlag(VPF_BLOCKED_IN_XEN);
    for (;;) {
      const seen = vcpu.futexValue;
      if (this.spin.until(isAnswered)) return true;
      if (this.domain.shutdownReason >= 0) return false;
      this.checkAnswerLimit();
      if (vcpu.hasPauseFlag(VPF_BLOCKED_IN_XEN)) Atomics.wait(i32, vcpu.futex >>> 2, seen, LONGEST_SLEEP_MS);
    }
  }

  private checkAnswerLimit(): void {
    if (this.isHeldUp?.() === true) this.since = this.pcpu.clock.nowNs();
    if (this.pcpu.clock.nowNs() - this.since > ANSWER_LIMIT_NS) this.domain.crash('the device model does not answer its ioreq');
  }

  private runInline(vcpu: VcpuState, dom0: InlineDom0): void {
    const { clock } = this.pcpu;
    const due = dom0.deviceModel.nextDeadlineNs;
    if (dom0.state.runstate === RUNSTATE_BLOCKED && due > clock.nowNs()) {
      if (due === Infinity) this.domain.crash('the device model does not answer its ioreq');
      this.checkAnswerLimit();
      if (clock instanceof VirtualClock) clock.skipTo(due);
      else if (this.pcpu.memory.isShared)
        Atomics.wait(
          this.pcpu.memory.i32,
          vcpu.futex >>> 2,
          vcpu.futexValue,
          Math.min((due - clock.nowNs()) / 1e6, LONGEST_SLEEP_MS),
        );
    }
    runDom0(this.pcpu, this.runqueue, dom0);
  }
}

/** One turn of dom0's vCPU on this pCPU: the device model serves what is there, then blocks. */
function runDom0(pcpu: Pcpu, runqueue: Runqueue, dom0: InlineDom0): void {
  const before = runqueue.current;
  pcpu.clock.charge(virtualCost.wakeup);
  runqueue.wake(dom0.state);
  runqueue.switchTo(dom0.state, RUNSTATE_RUNNABLE);
  dom0.deviceModel.runUntilIdle();
  dom0.state.setPauseFlag(VPF_BLOCKED);
  runqueue.switchTo(before, RUNSTATE_BLOCKED);
}

export class PcpuLoop implements Snapshot<PcpuLoopState> {
  readonly kind = 'run loop';
  readonly version = 1;
  /** The run is about to end, and everything is as it was. */
  readonly endings = new Listeners<LoopEnd>();
  private readonly pcpu: Pcpu;
  private readonly runqueue: Runqueue;
  private readonly timers: TimerQueue;
  private readonly hvm: HvmVcpu;
  private readonly dom0: InlineDom0 | undefined;
  /** A VMENTRY is recorded and no VMEXIT since: the guest was only paused to look at the clock. */
  private entered = false;
  /** The vCPU's outsideKicks when the inline device model last ran. */
  private servedKicks = 0;
  private opened = false;
  private remaining = 0;
  private idleUntilNs = 0;
  private rounds = 0;
  private inputCame = false;
  private limits: TurnLimits = NO_LIMITS;
  private readonly spin = new SpinWait();
  /** When there is something to do again, in nanoseconds of the clock, after a turn that came back with 'sleep'. Infinity: only from outside. */
  sleepUntilNs = Infinity;
  /** The vCPU's futex word when the last look at everything that concerns it began. */
  private seen = 0;

  constructor(pcpu: Pcpu, runqueue: Runqueue, timers: TimerQueue, hvm: HvmVcpu, dom0?: InlineDom0) {
    this.pcpu = pcpu;
    this.runqueue = runqueue;
    this.timers = timers;
    this.hvm = hvm;
    this.dom0 = dom0;
    runqueue.switchIns.add((vcpu) => {
      if (vcpu === hvm.state) hvm.switchIn();
    });
    // Blocked until it has something to do; a wake makes it runnable.
    dom0?.state.setPauseFlag(VPF_BLOCKED);
  }

  save(): PcpuLoopState {
    const { entered, opened, servedKicks, remaining, idleUntilNs, rounds } = this;
    return { entered, opened, servedKicks, remaining, idleUntilNs, rounds };
  }

  restore({ entered, opened, servedKicks, remaining, idleUntilNs, rounds }: PcpuLoopState): void {
    this.idleUntilNs = idleUntilNs;
    this.rounds = rounds;
    this.entered = entered;
    this.opened = opened;
    this.servedKicks = servedKicks;
    this.remaining = remaining;
  }

  /**
   * Run until the domain is shut down or the clock reaches `untilNs`; sleeps while there is nothing to do. Under a virtual clock,
   * `pauseAt` may end it before.
   */
  run(untilNs?: number): LoopEnd;
  run(untilNs: number, pauseAt: PauseAt): LoopEnd | 'paused';
  run(untilNs = Infinity, pauseAt: PauseAt = NO_PAUSE): LoopEnd | 'paused' {
    return this.loop(untilNs, pauseAt === NO_PAUSE ? NO_LIMITS : { ...NO_LIMITS, pauseAt }, true) as LoopEnd | 'paused';
  }

  /** As run(), on a thread that has other things to do as well: comes back when it is to yield or would have to sleep. */
  turn(untilNs: number, limits: TurnLimits): LoopEnd | LoopPause {
    return this.loop(untilNs, limits, false);
  }

  private loop(untilNs: number, limits: TurnLimits, maySleep: boolean): LoopEnd | LoopPause {
    const { hvm, runqueue } = this;
    const { state, domain } = hvm;
    const { clock } = this.pcpu;
    this.limits = limits;
    this.open();
    if (!state.hasPauseFlag(VPF_BLOCKED)) runqueue.switchTo(state, RUNSTATE_BLOCKED);
    try {
      for (;;) {
        if (domain.shutdownReason >= 0) return this.end('shutdown');
        if (this.pauseDue()) return 'paused';
        if (limits.mustYield()) return 'yield';
        if (limits.limitNs !== Infinity && clock.nowNs() >= limits.limitNs) return this.sleepUntil(limits.limitNs);
        if (this.remaining > 0) {
          this.runEngine();
          continue;
        }
        if (runqueue.current === runqueue.idle && state.hasPauseFlag(VPF_BLOCKED)) {
          const end = this.idle(untilNs, maySleep);
          if (end === undefined) continue;
          return isPause(end) ? end : this.end(end);
        }
        this.takeInput();
        const seen = state.outsideKicks;
        if (clock.nowNs() >= untilNs) return this.end('until');
        this.runDue();
        if (state.hasPauseFlag(VPF_BLOCKED)) {
          const end = this.idle(untilNs, maySleep);
          if (end === undefined) continue;
          return isPause(end) ? end : this.end(end);
        }
        if (domain.shutdownReason < 0) this.runGuest(seen, untilNs);
      }
    } catch (error) {
      if (!(error instanceof DomainCrash)) throw error;
      state.inGuest = false;
      hvm.dump(`domain_crash: d${domain.domid}v${state.id}: ${error.message}`);
      return this.end('shutdown');
    }
  }

  /** First run: the idle vCPU, and dom0's beside it, come onto the pCPU. */
  private open(): void {
    if (this.opened) return;
    this.opened = true;
    const { runqueue, dom0, pcpu } = this;
    runqueue.open();
    if (dom0 === undefined) return;
    this.servedKicks = this.hvm.state.outsideKicks;
    // Not woken, but begun: what it did while the machine was put together is no part of the run.
    dom0.state.changeRunstate(RUNSTATE_BLOCKED, RUNSTATE_RUNNABLE, pcpu.clock.nowNs());
    runDom0(pcpu, runqueue, dom0);
  }

  /** A round of the loop begins. */
  private takeInput(): void {
    this.rounds++;
    if (this.dom0?.deviceModel.takeInput?.(this.rounds)) this.inputCame = true;
  }

  /** Timers and the inline device model, as far as they are due. True when anything ran. */
  private runDue(): boolean {
    const { clock } = this.pcpu;
    let ran = false;
    if (this.timers.nextDeadline() <= clock.nowNs()) {
      this.leaveGuest(LOCAL_TIMER_VECTOR);
      this.timers.runExpired(clock.nowNs());
      ran = true;
    }
    const { dom0 } = this;
    if (dom0 !== undefined && this.dom0Due(dom0)) {
      this.leaveGuest(EVENT_CHECK_VECTOR);
      this.servedKicks = this.hvm.state.outsideKicks;
      this.inputCame = false;
      runDom0(this.pcpu, this.runqueue, dom0);
      ran = true;
    }
    return ran;
  }

  /** An event for it, something of its own, or another thread (the wire, the console) raised the word. */
  private dom0Due(dom0: InlineDom0): boolean {
    return (
      this.inputCame ||
      dom0.state.runstate !== RUNSTATE_BLOCKED ||
      dom0.deviceModel.nextDeadlineNs <= this.pcpu.clock.nowNs() ||
      this.hvm.state.outsideKicks !== this.servedKicks
    );
  }

  private runGuest(seen: number, untilNs: number): void {
    const { hvm } = this;
    const { engine, state, interrupts, vmx } = hvm;
    if (this.entered && interrupts.pending() !== IntSource.none) this.leaveGuest(EVENT_CHECK_VECTOR);
    // An instruction that has what it waited for ends before an interrupt comes, as Xen's emulator ends it within the exit.
    const unfinished = !this.entered && engine.instructionInProgress && interrupts.needsDelivery();
    if (!this.entered && !unfinished) interrupts.assist();
    hvm.shootdown.flush();
    state.inGuest = true;
    // Whatever another thread raised after `seen` was read is looked at first.
    if (state.outsideKicks !== seen) {
      state.inGuest = false;
      return;
    }
    if (!this.entered && !unfinished) vmx.traceEntry();
    this.entered = !unfinished;
    if (!unfinished) {
      this.remaining = this.budget(untilNs);
      this.runEngine();
      return;
    }
    const reason = engine.run(1);
    state.inGuest = false;
    if (reason === ExitReason.budget) return this.hvm.ranOn();
    if (reason === ExitReason.externalInterrupt) return;
    vmx.traceEntry();
    this.takeExit(reason);
  }

  /** The vCPU runs for what remains of its budget, or until the pause. */
  private runEngine(): void {
    const { engine, state } = this.hvm;
    const before = engine.instructions;
    state.inGuest = true;
    const untilPause = this.untilPause();
    const reason = engine.run(Math.min(this.remaining, untilPause));
    state.inGuest = false;
    // Only a pause leaves some of a budget for later.
    const isCut = reason === ExitReason.budget && untilPause < this.remaining;
    this.remaining = isCut ? Math.max(0, this.remaining - (engine.instructions - before)) : 0;
    if (reason === ExitReason.budget) this.hvm.ranOn();
    else this.takeExit(reason);
  }

  private takeExit(reason: ExitReason): void {
    const { hvm } = this;
    if (reason !== ExitReason.externalInterrupt) hvm.leftOfItself();
    hvm.vmx.traceExit(reason, reason === ExitReason.externalInterrupt ? EVENT_CHECK_VECTOR : -1);
    this.entered = false;
    hvm.maybeDeassertCallback();
    hvm.vmx.handle(reason);
  }

  private pauseDue(): boolean {
    const { instructions = Infinity, exits = Infinity, ns = Infinity, when } = this.limits.pauseAt;
    const { engine, vmx } = this.hvm;
    return (
      engine.instructions >= instructions ||
      vmx.exits >= exits ||
      (ns !== Infinity && this.pcpu.clock.nowNs() >= ns) ||
      (when !== undefined && when())
    );
  }

  /** Instructions until the pause, at least one; a virtual clock's instruction is a nanosecond. */
  private untilPause(): number {
    const { limitNs, pauseAt } = this.limits;
    const { instructions = Infinity } = pauseAt;
    const ns = Math.min(pauseAt.ns ?? Infinity, limitNs);
    if (instructions === Infinity && ns === Infinity) return Infinity;
    return Math.max(1, Math.min(instructions - this.hvm.engine.instructions, Math.ceil(ns - this.pcpu.clock.nowNs())));
  }

  /** The guest only seemed to run on: something has to be done, so it left by an external interrupt after all. */
  private leaveGuest(vector: number): void {
    if (!this.entered) return;
    this.entered = false;
    this.hvm.vmx.traceExit(ExitReason.externalInterrupt, vector);
    this.hvm.maybeDeassertCallback();
  }

  /** Instructions until something is due. */
  private budget(untilNs: number): number {
    const { clock } = this.pcpu;
    const due = Math.min(this.timers.nextDeadline(), this.dom0?.deviceModel.nextDeadlineNs ?? Infinity, untilNs) - clock.nowNs();
    if (clock instanceof VirtualClock) return Math.max(1, Math.min(Math.ceil(due), MAX_BUDGET));
    return Math.max(MIN_HOST_BUDGET, Math.min(Math.floor(due * HOST_INSTRUCTIONS_PER_NS), MAX_BUDGET));
  }

  /** After a turn that came back with 'sleep': sleep until something concerns the vCPU since then, at most so long. */
  sleep(timeoutMs: number): void {
    Atomics.wait(this.pcpu.memory.i32, this.hvm.state.futex >>> 2, this.seen, Math.min(timeoutMs, LONGEST_SLEEP_MS));
  }

  private sleepUntil(ns: number): LoopPause {
    this.sleepUntilNs = ns;
    return 'sleep';
  }

  /** The vCPU is blocked: sleep until it is not, or something ends the loop or the turn. */
  private idle(untilNs: number, maySleep: boolean): LoopEnd | LoopPause | undefined {
    const { runqueue, hvm, timers, dom0, limits } = this;
    const { clock, memory } = this.pcpu;
    const { state, domain } = hvm;
    if (runqueue.current === state) runqueue.switchTo(runqueue.idle, RUNSTATE_BLOCKED);
    while (state.hasPauseFlag(VPF_BLOCKED)) {
      if (domain.shutdownReason >= 0) return 'shutdown';
      if (clock.nowNs() >= untilNs) return 'until';
      if (this.pauseDue()) return 'paused';
      if (limits.mustYield()) return 'yield';
      if (clock instanceof VirtualClock && this.idleUntilNs > clock.nowNs()) {
        if (state.outsideKicks === this.servedKicks) {
          if (clock.nowNs() >= limits.limitNs) return this.sleepUntil(this.idleUntilNs);
          clock.skipTo(Math.min(this.idleUntilNs, limits.limitNs, limits.pauseAt.ns ?? Infinity));
          continue;
        }
        // What came from outside may end the wait.
        this.idleUntilNs = 0;
      }
      this.takeInput();
      const seen = state.futexValue;
      hvm.shootdown.flush();
      if (this.runDue() || !state.hasPauseFlag(VPF_BLOCKED)) continue;
      const due = Math.min(timers.nextDeadline(), dom0?.deviceModel.nextDeadlineNs ?? Infinity, untilNs);
      if (clock instanceof VirtualClock) {
        const now = clock.nowNs();
        const end = dom0?.deviceModel.awaitInput?.(this.rounds + 1, now, due) ?? due;
        if (end === Infinity) return limits.awaitsInput ? this.sleepUntil(end) : 'idle';
        this.idleUntilNs = end;
        // Something comes at once: the round that takes it in begins.
        if (end <= now) continue;
        clock.skipTo(Math.min(end, limits.limitNs, limits.pauseAt.ns ?? Infinity));
      } else {
        if (memory.isShared && this.spin.until(() => state.futexValue !== seen)) continue;
        const ms = Math.min((due - clock.nowNs()) / 1e6, LONGEST_SLEEP_MS);
        if (ms <= 0) continue;
        if (!maySleep) {
          this.seen = seen;
          return this.sleepUntil(due);
        }
        Atomics.wait(memory.i32, state.futex >>> 2, seen, ms);
      }
    }
    runqueue.switchTo(state, RUNSTATE_BLOCKED);
    return undefined;
  }

  /** The guest's vCPU leaves the pCPU, whole: no entry is left open in the trace. */
  private end(end: LoopEnd): LoopEnd {
    const { runqueue, hvm } = this;
    this.endings.call(end);
    this.leaveGuest(EVENT_CHECK_VECTOR);
    if (runqueue.current !== runqueue.idle)
      runqueue.switchTo(runqueue.idle, end === 'shutdown' ? RUNSTATE_OFFLINE : RUNSTATE_RUNNABLE);
    if (end === 'shutdown') {
      hvm.state.clearPauseFlag(VPF_BLOCKED | VPF_BLOCKED_IN_XEN);
      // Not by us: the guest said so itself, or its device model did.
      if (hvm.domain.shutdownReason === ShutdownReason.crash && !hvm.dumped) hvm.dump(`d${hvm.domain.domid} reported a crash`);
    }
    return end;
  }
}

/** dom0's vCPU on a pCPU and thread of its own: the device model's thread calls this around its sleeps. */
export class Dom0Vcpu {
  private readonly runqueue: Runqueue;
  private readonly state: VcpuState;
  private readonly pcpu: Pcpu;

  constructor(pcpu: Pcpu, runqueue: Runqueue, state: VcpuState) {
    this.pcpu = pcpu;
    this.runqueue = runqueue;
    this.state = state;
    runqueue.open();
    runqueue.switchTo(state, RUNSTATE_RUNNABLE);
  }

  /** Block until the futex word is no longer `seen`, or for `timeoutMs`. */
  sleep(seen: number, timeoutMs: number): void {
    const { state, runqueue } = this;
    state.setPauseFlag(VPF_BLOCKED);
    if (state.futexValue === seen) {
      runqueue.switchTo(runqueue.idle, RUNSTATE_BLOCKED);
      Atomics.wait(this.pcpu.memory.i32, (state.futex as Maddr) >>> 2, seen, timeoutMs);
    }
    state.clearPauseFlag(VPF_BLOCKED);
    runqueue.switchTo(state, RUNSTATE_RUNNABLE);
  }

  /** A trace begins. */
  announce(): void {
    this.runqueue.announce();
  }

  /** The thread ends: nothing runs on its pCPU any more. */
  stop(): void {
    this.runqueue.switchTo(this.runqueue.idle, RUNSTATE_OFFLINE);
  }
}
