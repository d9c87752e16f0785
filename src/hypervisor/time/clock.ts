/**
 * The machine's clocks. `HostClock`: real time, the same on every thread. `VirtualClock`: instructions retired plus
 * declared costs, for runs that repeat to the byte.
 */
import type { Clock } from '../../base/clock.ts';
import type { Snapshot } from '../../base/snapshot.ts';
import type { MachineMemory } from '../mm/memory.ts';

const NS_PER_S = 1e9;

/** State in machine memory, in units of 8 bytes (f64). */
const ORIGIN = 0; // host: ms since 1970 at which the machine was switched on; 0: not yet
const STATE_SIZE = 16;

/**
 * Real time since the machine was switched on. Every thread of the machine makes its own over the same memory. Threads'
 * clocks agree to about a microsecond; where one thread's act must come after another's, it passes the other's time to
 * `notBefore`.
 */
export class HostClock implements Clock {
  readonly kind = 'host';
  readonly tscHz: number;
  readonly epochUs: number;
  private readonly offsetMs: number;
  private floorNs = 0;

  constructor(memory: MachineMemory, tscHz = 1e9) {
    this.tscHz = tscHz;
    const base = memory.xenheap('clock', STATE_SIZE);
    const { timeOrigin } = performance;
    if (memory.f64[base / 8 + ORIGIN] === 0) memory.f64[base / 8 + ORIGIN] = timeOrigin + performance.now();
    const originMs = memory.f64[base / 8 + ORIGIN]!;
    this.offsetMs = timeOrigin - originMs;
    this.epochUs = Math.round(originMs * 1000);
  }

  nowNs(): number {
    const now = Math.floor((performance.now() + this.offsetMs) * 1e6);
    if (now > this.floorNs) this.floorNs = now;
    return this.floorNs;
  }

  tsc(): number {
    return Math.floor(this.nowNs() * (this.tscHz / NS_PER_S));
  }

  charge(): void {}

  /** Never again tell a time at or before this one (another thread's, in nanoseconds). */
  notBefore(ns: number): void {
    if (ns >= this.floorNs) this.floorNs = ns + 1;
  }
}

/** Modelled cost of each step, in nanoseconds: what the virtual clock charges beside one nanosecond an instruction. */
export const virtualCost = {
  /** Guest to hypervisor and back, without what is done in between. */
  vmexit: 800,
  vmentry: 700,
  /** One access served inside the hypervisor. */
  intercept: 300,
  /** Filling and publishing an ioreq. */
  ioreqSend: 500,
  /** From the notification until the other side runs. */
  wakeup: 4000,
  /** Taking the answer out of the ioreq. */
  ioreqComplete: 300,
  bufferedIoreq: 250,
  hypercall: 400,
  injection: 200,
  contextSwitch: 900,
} as const;

/**
 * Time that advances by what the guest executes and by declared costs alone: 1 GHz, one instruction one tick.
 */
/** What a virtual clock tells beyond the instructions retired, in nanoseconds. */
export interface VirtualClockState {
  readonly extraNs: number;
}

export class VirtualClock implements Clock {
  readonly kind = 'virtual';
  readonly tscHz = NS_PER_S;
  readonly epochUs: number;
  private extraNs = 0;
  /** What each vCPU has retired, as a function that says it. */
  private readonly counters: (() => number)[] = [];

  /** Wall clock at power-on, microseconds since 1970; default 2024-01-01 00:00:00 UTC. */
  constructor(epochUs = 1_704_067_200_000_000) {
    this.epochUs = epochUs;
  }

  /** Count the instructions this vCPU retires from now on: `instructions` says how many it has retired in all. */
  count(instructions: () => number): void {
    this.extraNs -= instructions();
    this.counters.push(instructions);
  }

  nowNs(): number {
    let ns = this.extraNs;
    for (let i = 0; i < this.counters.length; i++) ns += this.counters[i]!();
    return ns;
  }

  tsc(): number {
    return this.nowNs();
  }

  charge(ns: number): void {
    this.extraNs += ns;
  }

  /** Let idle time pass: forward to `ns` (never back). */
  skipTo(ns: number): void {
    const gap = Math.ceil(ns) - this.nowNs();
    if (gap > 0) this.extraNs += gap;
  }

  /** The clock's state as a part of the machine's: it has a `kind` of its own already. */
  readonly snapshot: Snapshot<VirtualClockState> = {
    kind: 'virtual clock',
    version: 1,
    save: () => ({ extraNs: this.extraNs }),
    restore: ({ extraNs }) => {
      this.extraNs = extraNs;
    },
  };

  /** Nothing to wait for: a virtual clock runs with everything inline. */
  notBefore(): void {}
}

/** A clock of the machine: what the hypervisor needs beyond base/clock.ts. */
export type MachineClock = HostClock | VirtualClock;
