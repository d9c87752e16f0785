/**
 * The frame allocator and the frame table (Xen: common/page_alloc.c, struct page_info). Frames are handed out in the
 * order of a seeded permutation, and never a frame next to the one handed out before: a gfn → mfn mapping made of them
 * has no identity and no run, so code that takes a guest-physical address for a machine address fails at once.
 */
import { mfn, PAGE_SIZE } from '../../base/address.ts';
import type { Mfn } from '../../base/address.ts';
import { Lock, LockOrder } from './lock.ts';
import type { MachineMemory } from './memory.ts';
import { FRAME_ENTRY_SIZE } from './memory.ts';

/** Frame-table word 0: references in the low bits, then flags. */
const PGC_COUNT_MASK = 0x00ff_ffff;
/** The owner's own reference is still in (Xen's PGC_allocated). */
const PGC_ALLOCATED = 1 << 24;
/** Code was decoded from this frame: whoever writes to it behind the vCPU's back must tell the vCPU. */
export const PGC_CODE = 1 << 25;
/** Holds old bytes (poison): to be scrubbed before it is handed out. */
const PGC_NEED_SCRUB = 1 << 26;

/** Frame-table word 1 of a free frame. */
export const DOMID_FREE = 0xffff;

/** Byte that fills a frame when it is given back: any later use of a stale mapping shows. */
export const POISON = 0xa5;

/** The heap's own state: its lock word first, then these. */
const HEAP_STATE_SIZE = 64;
const FREE_COUNT = 4;
const RANDOM = 8;
const LAST = 12;
const INITIALISED = 16;

export class PageAllocator {
  private readonly memory: MachineMemory;
  private readonly lock: Lock;
  private readonly state: number;
  private readonly list: number;
  private readonly table: number;
  private readonly firstFrame: number;
  private readonly frameCount: number;

  /** Attach on any thread; the first call anywhere makes the free list from `seed`. */
  constructor(memory: MachineMemory, seed = 1) {
    this.memory = memory;
    const base = memory.xenheap('heap', HEAP_STATE_SIZE);
    this.state = base >>> 2;
    this.list = memory.layout.freeList.base >>> 2;
    this.table = memory.layout.frameTable.base >>> 2;
    this.firstFrame = memory.layout.firstFrame;
    this.frameCount = memory.layout.frameCount;
    this.lock = new Lock(memory, base, LockOrder.pageAlloc, 'heap');
    this.lock.within(() => {
      if (memory.u32[this.state + INITIALISED / 4] === 0) this.initialise(seed);
    });
  }

  /** Frames not handed out. */
  get freeFrames(): number {
    return this.memory.u32[this.state + FREE_COUNT / 4]!;
  }

  /**
   * A zeroed frame for this domain with one reference (the owner's), or undefined when none is left. `avoid`: a number the
   * frame must not have (the gfn it goes to), so that no frame is its own guest number.
   */
  alloc(owner: number, avoid = -1): Mfn | undefined {
    const frame = this.lock.within(() => this.take(avoid));
    if (frame === undefined) return undefined;
    const { i32, u32, u8 } = this.memory;
    const word = this.entry(frame);
    if (i32[word]! & PGC_NEED_SCRUB) u8.fill(0, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
    u32[word + 1] = owner;
    Atomics.store(i32, word, PGC_ALLOCATED | 1);
    return frame;
  }

  /** Take a reference on a frame of this domain; false when it belongs to another or is free. */
  getPage(frame: Mfn, owner: number): boolean {
    if (!this.memory.isRamFrame(frame)) return false;
    const { i32, u32 } = this.memory;
    const word = this.entry(frame);
    for (;;) {
      const count = Atomics.load(i32, word);
      if ((count & PGC_COUNT_MASK) === 0 || (count & PGC_COUNT_MASK) === PGC_COUNT_MASK) return false;
      if (u32[word + 1] !== owner) return false;
      if (Atomics.compareExchange(i32, word, count, count + 1) === count) return true;
    }
  }

  /** Give one reference back; the last one frees the frame. */
  putPage(frame: Mfn): void {
    const { i32 } = this.memory;
    const word = this.entry(frame);
    for (;;) {
      const count = Atomics.load(i32, word);
      if ((count & PGC_COUNT_MASK) === 0) throw new Error(`frame ${frame.toString(16)}: reference given back twice`);
      if (Atomics.compareExchange(i32, word, count, count - 1) !== count) continue;
      if ((count & PGC_COUNT_MASK) === 1) this.free(frame);
      return;
    }
  }

  /** The owner lets go of the frame (Xen's put_page_alloc_ref): once, however often it is called. */
  putPageAllocRef(frame: Mfn): void {
    const word = this.entry(frame);
    if (Atomics.and(this.memory.i32, word, ~PGC_ALLOCATED) & PGC_ALLOCATED) this.putPage(frame);
  }

  /** Domain the frame belongs to; DOMID_FREE when nobody's. */
  owner(frame: Mfn): number {
    return this.memory.u32[this.entry(frame) + 1]!;
  }

  references(frame: Mfn): number {
    return Atomics.load(this.memory.i32, this.entry(frame)) & PGC_COUNT_MASK;
  }

  holdsCode(frame: Mfn): boolean {
    return (Atomics.load(this.memory.i32, this.entry(frame)) & PGC_CODE) !== 0;
  }

  setHoldsCode(frame: Mfn, holds: boolean): void {
    if (holds) Atomics.or(this.memory.i32, this.entry(frame), PGC_CODE);
    else Atomics.and(this.memory.i32, this.entry(frame), ~PGC_CODE);
  }

  /** Fill every frame nobody holds with poison, so that a test sees any access to one. */
  poisonFree(): void {
    this.lock.within(() => {
      const { u32, i32, u8 } = this.memory;
      const free = this.freeFrames;
      for (let i = 0; i < free; i++) {
        const frame = u32[this.list + i]!;
        u8.fill(POISON, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
        Atomics.or(i32, this.entry(frame as Mfn), PGC_NEED_SCRUB);
      }
    });
  }

  private free(frame: Mfn): void {
    const { i32, u32, u8 } = this.memory;
    const word = this.entry(frame);
    u8.fill(POISON, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
    u32[word + 1] = DOMID_FREE;
    Atomics.store(i32, word, PGC_NEED_SCRUB);
    this.lock.within(() => {
      const count = this.freeFrames;
      // Into a random place: frames freed in order must not come back in order.
      const at = this.random(count + 1);
      u32[this.list + count] = u32[this.list + at]!;
      u32[this.list + at] = frame;
      u32[this.state + FREE_COUNT / 4] = count + 1;
    });
  }

  private entry(frame: Mfn): number {
    return this.table + (frame - this.firstFrame) * (FRAME_ENTRY_SIZE / 4);
  }

  private take(avoid: number): Mfn | undefined {
    const { u32 } = this.memory;
    const count = this.freeFrames;
    if (count === 0) return undefined;
    const last = u32[this.state + LAST / 4]!;
    const unfit = (frame: number): boolean => frame === avoid || frame === last + 1 || frame === last - 1;
    let at = count - 1;
    for (let i = count - 1; i >= 0 && i > count - 5; i--) {
      at = i;
      if (!unfit(u32[this.list + i]!)) break;
    }
    const frame = u32[this.list + at]!;
    u32[this.list + at] = u32[this.list + count - 1]!;
    u32[this.state + FREE_COUNT / 4] = count - 1;
    u32[this.state + LAST / 4] = frame;
    return mfn(frame);
  }

  private initialise(seed: number): void {
    const { u32 } = this.memory;
    u32[this.state + RANDOM / 4] = (seed * 0x9e3779b1) >>> 0 || 1;
    const n = this.frameCount;
    for (let i = 0; i < n; i++) u32[this.list + i] = this.firstFrame + i;
    for (let i = n - 1; i > 0; i--) {
      const j = this.random(i + 1);
      const swap = u32[this.list + i]!;
      u32[this.list + i] = u32[this.list + j]!;
      u32[this.list + j] = swap;
    }
    for (let i = 0; i < n; i++) u32[this.table + i * (FRAME_ENTRY_SIZE / 4) + 1] = DOMID_FREE;
    u32[this.state + FREE_COUNT / 4] = n;
    u32[this.state + INITIALISED / 4] = 1;
  }

  /** 0 … n−1 (xorshift32; its state is in machine memory, so that a snapshot repeats). */
  private random(n: number): number {
    const at = this.state + RANDOM / 4;
    let x = this.memory.u32[at]!;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.memory.u32[at] = x;
    return (x >>> 0) % n;
  }
}
