/**
 * A ring of frames between two threads: one producer, one consumer, over a SharedArrayBuffer, so that frames
 * cross without either thread's event loop. A record is a 32-bit length and the bytes, padded to 4; a length of
 * WRAP says that the rest of the ring is unused and the next record starts at the beginning.
 * The cursors run modulo 2^32 and never decrease; the capacity is a power of two.
 */
import { MAX_FRAME } from './frame.ts';

const HEAD = 0; // i32 index: bytes ever produced
const TAIL = 1; // i32 index: bytes ever consumed
const CLOSED = 2; // i32 index: 1 when either side has gone
const DROPPED = 3; // i32 index: frames the producer found no room for
const BELL = 4; // i32 index: rises with a push into an empty ring and with close; what a consumer with an event loop waits on
const HEADER_BYTES = 64;
const WRAP = 0xffffffff;

/** Wakes whoever consumes the ring, after a push into an empty one and after close. The consumer takes frames until there is none, then waits. */
export type RingBell = () => void;

/** A buffer for a ring of `capacity` bytes (a power of two, at least 128 KiB so that any frame fits). */
export function createFrameRing(capacity = 1 << 20): SharedArrayBuffer {
  if (capacity < 1 << 17 || (capacity & (capacity - 1)) !== 0)
    throw new RangeError(`frame ring of ${capacity} bytes: expected a power of two from 131072 on`);
  return new SharedArrayBuffer(HEADER_BYTES + capacity);
}

class RingView {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly data: Uint8Array;
  readonly lengths: Uint32Array;
  readonly capacity: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.data = new Uint8Array(buffer, HEADER_BYTES);
    this.lengths = new Uint32Array(buffer, HEADER_BYTES);
    this.capacity = this.data.length;
  }

  get used(): number {
    return (Atomics.load(this.words, HEAD) - Atomics.load(this.words, TAIL)) >>> 0;
  }

  get closed(): boolean {
    return Atomics.load(this.words, CLOSED) !== 0;
  }

  close(): void {
    Atomics.store(this.words, CLOSED, 1);
    this.ring();
  }

  ring(): void {
    Atomics.add(this.words, BELL, 1);
    Atomics.notify(this.words, BELL);
  }
}

export class FrameRingProducer {
  private readonly ring: RingView;
  private readonly bell: RingBell;

  constructor(buffer: SharedArrayBuffer, bell: RingBell = () => {}) {
    this.ring = new RingView(buffer);
    this.bell = bell;
  }

  /** Copy a frame into the ring. False when it does not fit now; the caller keeps or drops it. */
  push(frame: Uint8Array): boolean {
    const ring = this.ring;
    if (frame.length === 0 || frame.length > MAX_FRAME || ring.closed) return false;
    const record = 4 + ((frame.length + 3) & ~3);
    const head = Atomics.load(ring.words, HEAD) >>> 0;
    const offset = head & (ring.capacity - 1);
    const toEnd = ring.capacity - offset;
    const need = record <= toEnd ? record : toEnd + record;
    if (ring.used + need > ring.capacity) return false;
    let at = offset;
    if (record > toEnd) {
      ring.lengths[offset >>> 2] = WRAP;
      at = 0;
    }
    ring.lengths[at >>> 2] = frame.length;
    ring.data.set(frame, at + 4);
    Atomics.store(ring.words, HEAD, (head + need) | 0);
    // A consumer that has not taken everything before this frame looks again before it waits: one wake for many frames.
    if (Atomics.load(ring.words, TAIL) === (head | 0)) {
      ring.ring();
      this.bell();
    }
    return true;
  }

  /** Count a frame that was dropped for want of room; the consumer can report it. */
  countDrop(): void {
    Atomics.add(this.ring.words, DROPPED, 1);
  }

  get closed(): boolean {
    return this.ring.closed;
  }

  close(): void {
    this.ring.close();
    this.bell();
  }
}

/** Frames in order, one at a time. */
export interface FrameSource {
  readonly empty: boolean;
  /** The next frame, valid until the next call and left where it is; undefined when there is none. */
  peek(): Uint8Array | undefined;
  /** Drop the frame peek() gave. */
  advance(): void;
}

export class FrameRingConsumer implements FrameSource {
  private readonly ring: RingView;
  private readonly scratch = new Uint8Array(MAX_FRAME);
  /** The record locate() found: offset of its length word, frame length, cursor value after it. */
  private at = 0;
  private length = 0;
  private next = 0;
  private broken = false;

  constructor(buffer: SharedArrayBuffer) {
    this.ring = new RingView(buffer);
  }

  get empty(): boolean {
    return this.ring.used === 0;
  }

  get closed(): boolean {
    return this.ring.closed;
  }

  get dropped(): number {
    return Atomics.load(this.ring.words, DROPPED);
  }

  /**
   * The next frame as a private copy, valid until the next call, left in the ring; undefined when there is none.
   * A record no producer writes (the other side is broken) closes the ring.
   */
  peek(): Uint8Array | undefined {
    if (!this.locate()) return undefined;
    const frame = this.scratch.subarray(0, this.length);
    frame.set(this.ring.data.subarray(this.at + 4, this.at + 4 + this.length));
    return frame;
  }

  /** Drop the frame peek() gave. */
  advance(): void {
    if (this.locate()) Atomics.store(this.ring.words, TAIL, this.next | 0);
  }

  /** Resolves when the ring holds a frame or is closed: for a consumer that has an event loop. */
  async waitForFrame(): Promise<void> {
    const { words } = this.ring;
    for (;;) {
      const bell = Atomics.load(words, BELL);
      if (!this.empty || this.closed) return;
      const waited = Atomics.waitAsync(words, BELL, bell);
      if (waited.async) await waited.value;
    }
  }

  close(): void {
    this.ring.close();
  }

  private locate(): boolean {
    const ring = this.ring;
    const used = ring.used;
    if (used === 0 || this.broken) return false;
    const tail = Atomics.load(ring.words, TAIL) >>> 0;
    let at = tail & (ring.capacity - 1);
    let size = 0;
    let length = ring.lengths[at >>> 2]!;
    if (length === WRAP) {
      size = ring.capacity - at;
      at = 0;
      length = ring.lengths[0]!;
    }
    size += 4 + ((length + 3) & ~3);
    if (length === 0 || length > MAX_FRAME || size > used || at + 4 + length > ring.capacity) {
      this.broken = true;
      ring.close();
      return false;
    }
    this.at = at;
    this.length = length;
    this.next = tail + size;
    return true;
  }
}
