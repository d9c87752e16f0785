/** What the chips inside the hypervisor are built on: one domain's memory, clock and timers, then its interrupt lines. */
import type { Clock } from '../../base/clock.ts';
import type { HvmIrq } from './irq.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { TimerQueue } from '../time/timer.ts';

export interface PlatformBase {
  readonly memory: MachineMemory;
  readonly domid: number;
  readonly clock: Clock;
  /** Timers of the pCPU on whose thread the chips' handlers run. */
  readonly timers: TimerQueue;
}

export interface PlatformContext extends PlatformBase {
  readonly irq: HvmIrq;
}

/** A timer that repeats does so no faster: shorter periods only keep host and guest from everything else (Xen: vpt.c, create_periodic_time). */
export const MIN_TIMER_PERIOD_NS = 100_000;
