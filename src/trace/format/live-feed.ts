import { NEED_DATA, tscText } from './feed.ts';
import type { RecordFeed } from './feed.ts';
import { LOST_RECORDS_END } from './merge.ts';
import type { MergeObserver } from './merge.ts';
import type { Pcpu } from './pcpu.ts';
import { plausibleWindow } from './window-probe.ts';
import { TRC_LOST_RECORDS } from '../events.ts';
import { CPU_CHANGE_BYTES } from '../writer.ts';

/** A window larger than this is damage: no buffer of Xen is. */
const WINDOW_BYTES_MAX = 64 << 20;

/** One CPU's window of a stream. */
export interface LiveWindow {
  readonly cpu: number;
  /** Records, and behind them room that may be looked at. */
  readonly words: Int32Array;
  /** Bytes of records. */
  readonly bytes: number;
  /** Where it begins in the stream, its header included. */
  readonly offset: number;
}

/** A window that has not arrived whole, and is larger than this, is searched for windows inside it: its length may be damaged. */
const SEARCHED_BYTES = 4096;

/**
 * Cuts a stream of xentrace into windows. Bytes that are not a window are counted and left out. A window whose length is damaged
 * seems to hold those that follow it: two windows in a row are found inside it, and it is given up.
 */
export class WindowCutter {
  private rest: Uint8Array = new Uint8Array(0);
  private offset = 0;
  /** Bytes behind `offset` that hold no two windows in a row. */
  private searched = 0;
  /** Bytes that were no window. */
  skipped = 0;

  /** Take the next piece of the stream. */
  push(piece: Uint8Array): Generator<LiveWindow> {
    let bytes = piece;
    if (this.rest.length > 0) {
      bytes = new Uint8Array(this.rest.length + piece.length);
      bytes.set(this.rest);
      bytes.set(piece, this.rest.length);
    }
    return this.cut(bytes, false);
  }

  /** There is no more: a window that was cut off is given as far as it came. */
  end(): Generator<LiveWindow> {
    return this.cut(this.rest, true);
  }

  private *cut(bytes: Uint8Array, ended: boolean): Generator<LiveWindow> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    while (at + CPU_CHANGE_BYTES <= bytes.length) {
      if (!windowAt(view, at)) {
        at += 4;
        this.skipped += 4;
        continue;
      }
      const size = view.getUint32(at + 8, true);
      const here = Math.min(size, (bytes.length - at - CPU_CHANGE_BYTES) & ~3);
      if (here < size) {
        const inner = ended || bytes.length - at > SEARCHED_BYTES ? this.windowsInside(view, at, ended) : 0;
        if (inner > 0) {
          this.skipped += inner - at;
          at = inner;
          continue;
        }
        if (!ended) break;
      }
      const words = new Int32Array(here / 4 + 16);
      new Uint8Array(words.buffer).set(bytes.subarray(at + CPU_CHANGE_BYTES, at + CPU_CHANGE_BYTES + here));
      yield { cpu: view.getUint32(at + 4, true), words, bytes: here, offset: this.offset + at };
      at += CPU_CHANGE_BYTES + here;
    }
    this.rest = bytes.slice(at);
    this.offset += at;
    this.searched = Math.max(0, this.searched - at);
  }

  /** Index of the first of two windows in a row (at the end of the stream, of one) inside the one at `at`; 0: there are none. */
  private windowsInside(view: DataView, at: number, ended: boolean): number {
    const last = view.byteLength - CPU_CHANGE_BYTES;
    let unsure = 0;
    let inner = Math.max(at + 4, ended ? 0 : this.searched);
    for (; inner <= last; inner += 4) {
      if (!windowAt(view, inner)) continue;
      const next = inner + CPU_CHANGE_BYTES + view.getUint32(inner + 8, true);
      if (next <= last ? windowAt(view, next) : ended && next <= view.byteLength) return inner;
      if (next > last && next - inner <= SEARCHED_BYTES && unsure === 0) unsure = inner;
    }
    this.searched = unsure > 0 ? unsure : inner;
    return 0;
  }
}

/** Whether a window begins at `at`. */
const windowAt = (view: DataView, at: number): boolean => {
  const size = view.getUint32(at + 8, true);
  return plausibleWindow(view.getInt32(at, true), view.getUint32(at + 4, true), size) && size <= WINDOW_BYTES_MAX;
};

/** A CPU of a live stream: what it has waiting. */
interface Waiting {
  readonly windows: LiveWindow[];
  /** Bytes of the first of them that were read. */
  read: number;
}

/**
 * Gives records of a stream in the order of their TSCs while it still grows. xentrace writes the CPUs' windows in rounds; when
 * a round is over, everything up to the latest TSC of the round before it has arrived from all CPUs, and is given.
 */
export class LiveFeed<P extends Pcpu> implements RecordFeed<P> {
  readonly remote = false;
  readonly pcpus: (P | undefined)[] = [];
  maxActivePcpu = -1;
  tscBaseHigh = 0;
  position = 0;
  private readonly makePcpu: (pid: number) => P;
  private readonly observer: MergeObserver<P>;
  private readonly waiting = new Map<P, Waiting>();
  /** CPUs that have a record at their reading position. */
  private readonly ready: P[] = [];
  private baseKnown = false;
  private lastCpu = -1;
  /** Latest TSC seen so far, and at the end of the round before the one that is over. */
  private latest = 0;
  private before = 0;
  private horizon = 0;
  private ended = false;

  constructor(makePcpu: (pid: number) => P, observer: MergeObserver<P>) {
    this.makePcpu = makePcpu;
    this.observer = observer;
  }

  pcpu(pid: number): P {
    return (this.pcpus[pid] ??= this.makePcpu(pid));
  }

  start(): number {
    return 0;
  }

  load(): Promise<void> {
    return Promise.resolve();
  }

  resetSkew(): void {
    for (const p of this.pcpus) if (p !== undefined) p.skew = p.skewDownstream = 0;
  }

  /** The latest TSC that has arrived, counted from the base. */
  get latestTsc(): number {
    return this.latest;
  }

  push(window: LiveWindow): void {
    if (window.cpu <= this.lastCpu) {
      this.horizon = this.before;
      this.before = this.latest;
    }
    this.lastCpu = window.cpu;
    this.position = window.offset + CPU_CHANGE_BYTES + window.bytes;
    if (window.bytes === 0) return;
    const p = this.pcpu(window.cpu);
    let waiting = this.waiting.get(p);
    if (waiting === undefined) {
      this.waiting.set(p, (waiting = { windows: [], read: 0 }));
      p.active = true;
      if (window.cpu > this.maxActivePcpu) this.maxActivePcpu = window.cpu;
      this.observer.activated(p);
    }
    waiting.windows.push(window);
    this.look(window);
    if (waiting.windows.length === 1) this.enter(p, waiting);
  }

  /** There is no more: everything is given. */
  end(): void {
    this.ended = true;
  }

  /** Find a window's latest TSC. */
  private look({ words, bytes }: LiveWindow): void {
    let tsc = 0;
    for (let i = 0; i < bytes >> 2; ) {
      const header = words[i]!;
      if (header < 0) tsc = this.tscAt(words, i + 1);
      i += 1 + ((header >>> 28) & 7) + (header < 0 ? 2 : 0);
    }
    if (tsc > this.latest) this.latest = tsc;
  }

  private tscAt(words: Int32Array, at: number): number {
    const high = words[at + 1]! >>> 0;
    if (!this.baseKnown) {
      this.baseKnown = true;
      if (high >= 0x200000) this.tscBaseHigh = high;
    }
    return (words[at]! >>> 0) + (high - this.tscBaseHigh) * 0x100000000;
  }

  /** Read the next record of `p`, from the window after it where this one is used up. */
  private enter(p: P, waiting: Waiting): void {
    for (;;) {
      const window = waiting.windows[0];
      if (window === undefined) return;
      const index = waiting.read >> 2;
      const header = window.words[index]!;
      const extra = (header >>> 28) & 7;
      const size = 4 + extra * 4 + (header < 0 ? 8 : 0);
      if (waiting.read + size > window.bytes) {
        if (waiting.read < window.bytes)
          this.observer.damage({
            offset: window.offset + CPU_CHANGE_BYTES + waiting.read,
            end: window.offset + CPU_CHANGE_BYTES + window.bytes,
            cpu: p.pid,
            message: `a record of ${size} bytes where the window has ${window.bytes - waiting.read} left`,
          });
        waiting.windows.shift();
        waiting.read = 0;
        continue;
      }
      p.words = window.words;
      p.bufferOffset = window.offset + CPU_CHANGE_BYTES;
      p.index = index;
      p.event = header & 0x0fffffff;
      p.extra = extra;
      p.size = size;
      if (header < 0) {
        p.hasTsc = true;
        p.data = index + 3;
        p.tsc = this.tscAt(window.words, index + 1) + p.skew;
        if (p.firstTsc === 0) p.firstTsc = p.tsc;
        p.lastTsc = p.tsc;
        p.orderTsc = p.event === TRC_LOST_RECORDS && extra === 4 ? this.tscAt(window.words, index + 5) + p.skew : p.tsc;
      } else {
        p.hasTsc = false;
        p.data = index + 1;
        p.tsc = p.lastTsc;
      }
      this.ready.push(p);
      return;
    }
  }

  next(): P | null | typeof NEED_DATA {
    let best: P | undefined;
    for (const p of this.ready) if (best === undefined || p.orderTsc < best.orderTsc) best = p;
    if (best === undefined) return this.ended ? null : NEED_DATA;
    return this.ended || best.orderTsc <= this.horizon ? best : NEED_DATA;
  }

  advance(p: P): void {
    if (p.event === TRC_LOST_RECORDS) {
      p.event = LOST_RECORDS_END;
      if (p.tsc > p.orderTsc) p.orderTsc = p.tsc;
      else this.observer.warn(`Strange, lost_record tsc ${tscText(this, p.tsc)} !> order_tsc ${tscText(this, p.orderTsc)}!\n`);
      return;
    }
    this.ready.splice(this.ready.indexOf(p), 1);
    const waiting = this.waiting.get(p)!;
    waiting.read += p.size;
    this.enter(p, waiting);
  }
}
