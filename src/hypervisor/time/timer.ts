/**
 * Timers of one pCPU (Xen: common/timer.c). Deadlines lie in machine memory, so that a snapshot holds them and any thread
 * may set one; callbacks run on the pCPU's own thread, between two runs of the vCPU, with no lock held.
 */
import { maddr } from '../../base/address.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import type { MachineMemory } from '../mm/memory.ts';

/** Most timers of one pCPU. */
const MAX_TIMERS = 64;
const SLOTS = 16;
const STATE_SIZE = SLOTS + MAX_TIMERS * 8;

export interface Timer {
  readonly name: string;
  /** Fire once at this time (nanoseconds of the machine's clock; past times fire at the next chance). */
  set(expiresNs: number): void;
  stop(): void;
  /** When it fires; Infinity when it is off. */
  readonly expires: number;
}

export class TimerQueue {
  private readonly memory: MachineMemory;
  private readonly lock: Lock;
  private readonly slots: number;
  private readonly timers: { readonly name: string; readonly callback: (now: number) => void }[] = [];
  private readonly onSet: () => void;

  /** `onSet` is called whenever a deadline is set, to wake the pCPU if another thread did it. */
  constructor(memory: MachineMemory, pcpu: number, onSet: () => void = () => {}) {
    this.memory = memory;
    const base = memory.xenheap(`timers.pcpu${pcpu}`, STATE_SIZE);
    this.lock = new Lock(memory, base, LockOrder.timer, `timers.pcpu${pcpu}`);
    this.slots = maddr(base + SLOTS) / 8;
    this.onSet = onSet;
  }

  /**
   * A timer, off at first (or as a restored machine left it). Timers are known by the order of their creation, which must
   * be the same on every thread. The callback gets the time in nanoseconds at which it runs; it may set its timer anew.
   */
  create(name: string, callback: (now: number) => void): Timer {
    const index = this.timers.length;
    if (index === MAX_TIMERS) throw new Error(`timer '${name}': a pCPU has room for ${MAX_TIMERS}`);
    this.timers.push({ name, callback });
    const { memory, slots } = this;
    const put = (value: number): void => {
      this.lock.acquire();
      memory.f64[slots + index] = value;
      this.lock.release();
    };
    return {
      name,
      // Zero means off, so the earliest deadline is the smallest number above it.
      set: (expiresNs) => {
        put(expiresNs > 0 ? expiresNs : Number.MIN_VALUE);
        this.onSet();
      },
      stop: () => put(0),
      get expires() {
        return memory.f64[slots + index] || Infinity;
      },
    };
  }

  /** Time of the earliest timer, Infinity when all are off. */
  nextDeadline(): number {
    const { f64 } = this.memory;
    let next = Infinity;
    for (let i = 0; i < this.timers.length; i++) {
      const expires = f64[this.slots + i]!;
      if (expires !== 0 && expires < next) next = expires;
    }
    return next;
  }

  /**
   * Run the callbacks of all timers due at `now`, earliest first; at most four rounds of every timer, so that one that
   * sets itself into the past cannot hold the pCPU. Returns how many ran.
   */
  runExpired(now: number): number {
    const { f64 } = this.memory;
    const most = this.timers.length * 4;
    for (let ran = 0; ran < most; ran++) {
      let first = -1;
      let expires = Infinity;
      for (let i = 0; i < this.timers.length; i++) {
        const at = f64[this.slots + i]!;
        if (at !== 0 && at <= now && at < expires) {
          first = i;
          expires = at;
        }
      }
      if (first < 0) return ran;
      this.lock.acquire();
      f64[this.slots + first] = 0;
      this.lock.release();
      this.timers[first]!.callback(now);
    }
    return most;
  }
}
