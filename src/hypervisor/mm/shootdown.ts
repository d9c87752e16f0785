/**
 * TLB and code-cache shootdown between threads: whoever changes a guest's p2m or writes to a frame that holds decoded code
 * queues it here; the vCPU's own thread takes it out before it enters the guest. A change from another thread waits until
 * the vCPU is out of the guest, so that a frame is not given away while an old translation can still be used.
 */
import type { Gfn, Mfn } from '../../base/address.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import { Lock, LockOrder } from './lock.ts';
import type { MachineMemory } from './memory.ts';
import { PGC_CODE } from './page-alloc.ts';

/** Words: lock, count (QUEUE + 1: all translations and all code), then entries: gfn, or CODE | mfn. */
const QUEUE = 62;
const EVERYTHING = QUEUE + 1;
const W_COUNT = 1;
const W_ENTRIES = 2;
const SIZE = (W_ENTRIES + QUEUE) * 4;
const CODE = 0x8000_0000;

/** What a shootdown needs of the vCPU it concerns. */
export interface ShootdownVcpu {
  readonly domid: number;
  readonly id: number;
  readonly inGuest: boolean;
  /** Makes the vCPU leave the guest at the next block edge. */
  kick(): void;
}

export class Shootdown {
  private readonly memory: MachineMemory;
  private readonly lock: Lock;
  private readonly word: number;
  private readonly state: ShootdownVcpu;
  private readonly engine: Vcpu | undefined;

  /** `engine`: the vCPU's, on its own thread; undefined on any other. */
  constructor(memory: MachineMemory, state: ShootdownVcpu, engine?: Vcpu) {
    this.memory = memory;
    this.state = state;
    this.engine = engine;
    const name = `shootdown.d${state.domid}v${state.id}`;
    const base = memory.xenheap(name, SIZE);
    this.lock = new Lock(memory, base, LockOrder.shootdown, name);
    this.word = base >>> 2;
  }

  /** The p2m entry of this gfn changed (undefined: any may have). */
  invalidateNested(gfn: Gfn | undefined): void {
    if (this.engine !== undefined) {
      this.engine.invalidateNested(gfn);
      return;
    }
    this.queueNested(gfn);
    this.state.kick();
    // The engine leaves the guest at the next block edge.
    while (this.state.inGuest && Atomics.load(this.memory.i32, this.word + W_COUNT) !== 0) this.pause();
  }

  /** Queue it for the next entry, without waiting for it. */
  queueNested(gfn: Gfn | undefined): void {
    this.queue(gfn === undefined ? -1 : gfn);
  }

  /** A frame that holds decoded code was written by somebody else. */
  invalidateCode(frame: Mfn): void {
    if (this.engine !== undefined) {
      this.engine.invalidateCode(frame);
      return;
    }
    this.queue(CODE | frame);
    this.state.kick();
  }

  /** On the vCPU's thread, before it enters the guest. */
  flush(): void {
    const { engine } = this;
    if (engine === undefined || Atomics.load(this.memory.i32, this.word + W_COUNT) === 0) return;
    this.lock.acquire();
    const { u32, i32 } = this.memory;
    const count = u32[this.word + W_COUNT]!;
    if (count === EVERYTHING) this.dropEverything(engine);
    else
      for (let i = 0; i < count; i++) {
        const entry = u32[this.word + W_ENTRIES + i]!;
        if (entry & CODE) engine.invalidateCode((entry & ~CODE) as Mfn);
        else engine.invalidateNested(entry as Gfn);
      }
    Atomics.store(i32, this.word + W_COUNT, 0);
    this.lock.release();
  }

  private dropEverything(engine: Vcpu): void {
    engine.invalidateNested();
    const { firstFrame, frameCount } = this.memory.layout;
    for (let frame = firstFrame as number; frame < firstFrame + frameCount; frame++) {
      if (this.memory.u32[this.memory.frameEntry(frame as Mfn) >>> 2]! & PGC_CODE) engine.invalidateCode(frame as Mfn);
    }
  }

  /** Queue one entry; −1, or more than the queue holds, becomes everything. */
  private queue(entry: number): void {
    const { u32, i32 } = this.memory;
    this.lock.acquire();
    const count = u32[this.word + W_COUNT]!;
    if (entry === -1 || count >= QUEUE) {
      Atomics.store(i32, this.word + W_COUNT, EVERYTHING);
    } else {
      u32[this.word + W_ENTRIES + count] = entry;
      Atomics.store(i32, this.word + W_COUNT, count + 1);
    }
    this.lock.release();
  }

  private pause(): void {
    Atomics.wait(this.memory.i32, this.word + W_COUNT, -1, 0);
  }
}
