/**
 * Named locks over state in machine memory, and the one order in which they may be taken. A thread that takes them out of
 * order gets an error at once, on any run, instead of a deadlock on a rare one.
 */
import type { Maddr } from '../../base/address.ts';

/**
 * Lock order: a thread may take a lock only while all it holds have a lower rank. Names follow Xen's (mm-locks.h,
 * d->event_lock, hvm.irq_lock, s->lock of the ioreq servers …). Two locks of one rank are never held together.
 */
export const LockOrder = {
  ioreqServer: 20,
  event: 30,
  p2m: 40,
  /** HPET, PIT, RTC, PM timer: their handlers raise interrupts with it held. */
  virtualTimer: 50,
  /** Assert counts, IO-APIC. */
  irq: 60,
  /** Taken by the interrupt hub with `irq` held. */
  vpic: 70,
  timer: 80,
  /** A vCPU's queue of translations and code to drop. */
  shootdown: 85,
  pageAlloc: 90,
  xenheap: 100,
} as const;
export type LockRank = (typeof LockOrder)[keyof typeof LockOrder];

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;
const SPINS = 200;
const STUCK_MS = 10_000;

/** What a lock needs of the thread's view of machine memory. */
export interface LockHost {
  readonly i32: Int32Array;
  readonly heldLocks: number[];
}

/** A mutual-exclusion lock in one i32 of machine memory. Spins a little, then sleeps. Not recursive. */
export class Lock {
  readonly name: string;
  readonly rank: LockRank;
  private readonly host: LockHost;
  private readonly word: number;

  constructor(host: LockHost, address: Maddr, rank: LockRank, name: string) {
    this.host = host;
    this.word = address >>> 2;
    this.rank = rank;
    this.name = name;
  }

  acquire(): void {
    const { i32, heldLocks } = this.host;
    const top = heldLocks.length ? heldLocks[heldLocks.length - 1]! : 0;
    if (top >= this.rank)
      throw new Error(`lock order: '${this.name}' (rank ${this.rank}) taken while a lock of rank ${top} is held`);
    if (Atomics.compareExchange(i32, this.word, FREE, HELD) !== FREE) this.acquireSlow();
    heldLocks.push(this.rank);
  }

  release(): void {
    const { i32, heldLocks } = this.host;
    if (heldLocks.pop() !== this.rank) throw new Error(`lock order: '${this.name}' released, but it was not the last one taken`);
    if (Atomics.exchange(i32, this.word, FREE) === CONTENDED) Atomics.notify(i32, this.word, 1);
  }

  /** Do this with the lock held; gives what it gives. */
  within<T>(work: () => T): T {
    this.acquire();
    try {
      return work();
    } finally {
      this.release();
    }
  }

  private acquireSlow(): void {
    const { i32 } = this.host;
    for (let i = 0; i < SPINS; i++) {
      if (Atomics.compareExchange(i32, this.word, FREE, HELD) === FREE) return;
    }
    while (Atomics.exchange(i32, this.word, CONTENDED) !== FREE) {
      if (Atomics.wait(i32, this.word, CONTENDED, STUCK_MS) === 'timed-out') {
        throw new Error(`lock '${this.name}' was not released within ${STUCK_MS} ms`);
      }
    }
  }
}
