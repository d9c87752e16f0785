import { TRC_LOST_RECORDS } from '../events.ts';
import { NotPlain } from './feed.ts';
import type { RecordFeed } from './feed.ts';
import { LOST_RECORDS_END, NEED_DATA, RecordMerge } from './merge.ts';
import type { MergeObserver } from './merge.ts';
import { Pcpu } from './pcpu.ts';
import type { ByteSource } from './source.ts';

/**
 * Records in merged order, handed from one thread to another in blocks of shared memory. An entry is a tag word and
 * the record as the file has it; tags above the CPU numbers say what the merge noticed between records.
 */
const BLOCKS = 4;
const BLOCK_WORDS = 1 << 18;
/** The longest entry. */
const ENTRY_WORDS = 12;
/** A thread that gives no block for so long is taken for dead. */
const PATIENCE_MS = 30_000;
/** Words of control in front: a state and a length for each block. */
const CONTROL_WORDS = 16;

const FREE = 0;
const FULL = 1;
const LAST = 2;
/** The merge met damage: the reader must begin again on its own. */
const GIVEN_UP = 3;

const TAG_LOST_END = 0x100;
const TAG_ACTIVATED = 0x200;
const TAG_DEACTIVATED = 0x300;
const TAG_MAX_ACTIVE = 0x400;
const TAG_TSC_BASE = 0x500;
const TAG_POSITION = 0x600;
const TAG_KIND = 0xff00;

export const blockMemory = (): SharedArrayBuffer => new SharedArrayBuffer((CONTROL_WORDS + BLOCKS * BLOCK_WORDS) * 4);

/** The merging thread: write all records of `source` into `memory`. Waits while the blocks are full. */
export function writeBlocks(source: ByteSource, memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  let block = 0;
  let at = 0;
  const base = (): number => CONTROL_WORDS + block * BLOCK_WORDS;
  const claim = (): void => {
    while (Atomics.load(words, block) !== FREE) Atomics.wait(words, block, Atomics.load(words, block));
    at = base();
  };
  const hand = (state: number): void => {
    words[BLOCKS + block] = at - base();
    Atomics.store(words, block, state);
    Atomics.notify(words, block);
    block = (block + 1) % BLOCKS;
  };
  const control = (tag: number, value: number): void => {
    words[at++] = tag;
    words[at++] = value;
    if (at > base() + BLOCK_WORDS - ENTRY_WORDS) {
      hand(FULL);
      claim();
    }
  };
  const observer: MergeObserver<Pcpu> = {
    activated: (p) => control(TAG_ACTIVATED, p.pid),
    deactivated: (p) => control(TAG_DEACTIVATED, p.pid),
    warn() {},
    fatal() {
      throw new NotPlain();
    },
    damage() {
      throw new NotPlain();
    },
  };
  const merge = new RecordMerge(source, (pid) => new Pcpu(pid), observer, true);
  claim();
  try {
    merge.start();
    let maxActive = -1;
    let tscBase = 0;
    let untilPosition = 0;
    for (;;) {
      const p = merge.next();
      if (p === NEED_DATA) throw new NotPlain();
      if (merge.maxActivePcpu !== maxActive) control(TAG_MAX_ACTIVE, (maxActive = merge.maxActivePcpu));
      if (p === null) break;
      if (merge.tscBaseHigh !== tscBase) control(TAG_TSC_BASE, (tscBase = merge.tscBaseHigh));
      if (untilPosition-- === 0) {
        control(TAG_POSITION, Math.floor(merge.position / 65536));
        untilPosition = 16384;
      }
      words[at++] = p.event === LOST_RECORDS_END ? p.pid | TAG_LOST_END : p.pid;
      const from = p.words;
      const end = p.index + (p.size >> 2);
      for (let i = p.index; i < end; i++) words[at++] = from[i]!;
      if (at > base() + BLOCK_WORDS - ENTRY_WORDS) {
        hand(FULL);
        claim();
      }
      merge.advance(p);
    }
    hand(LAST);
  } catch (error) {
    hand(GIVEN_UP);
    if (!(error instanceof NotPlain)) throw error;
  }
}

/** Nothing will come of blocks that were never begun. */
export function giveUp(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  Atomics.store(words, 0, GIVEN_UP);
  Atomics.notify(words, 0);
}

/** The other end: records of another thread's merge. */
export class BlockFeed<P extends Pcpu> implements RecordFeed<P> {
  readonly pcpus: (P | undefined)[] = [];
  readonly remote = true;
  maxActivePcpu = -1;
  tscBaseHigh = 0;
  position = 0;
  private readonly words: Int32Array;
  private readonly makePcpu: (pid: number) => P;
  private readonly observer: MergeObserver<P>;
  private block = -1;
  private at = 0;
  private end = 0;
  private last = false;

  constructor(memory: SharedArrayBuffer, makePcpu: (pid: number) => P, observer: MergeObserver<P>) {
    this.words = new Int32Array(memory);
    this.makePcpu = makePcpu;
    this.observer = observer;
  }

  pcpu(pid: number): P {
    let p = this.pcpus[pid];
    if (p === undefined) {
      p = this.makePcpu(pid);
      p.words = this.words;
      this.pcpus[pid] = p;
    }
    return p;
  }

  start(): number {
    return 0;
  }

  next(): P | null {
    const words = this.words;
    for (;;) {
      if (this.at >= this.end && !this.nextBlock()) return null;
      const at = this.at;
      const tag = words[at]!;
      if (tag >= TAG_ACTIVATED) {
        this.at = at + 2;
        this.control(tag & TAG_KIND, words[at + 1]!);
        continue;
      }
      const p = this.pcpus[tag & 0xff]!;
      const header = words[at + 1]!;
      const extra = (header >>> 28) & 7;
      p.event = header & 0x0fffffff;
      p.extra = extra;
      if (header < 0) {
        const tsc = (words[at + 2]! >>> 0) + ((words[at + 3]! >>> 0) - this.tscBaseHigh) * 0x100000000;
        p.hasTsc = true;
        p.data = at + 4;
        p.size = 12 + extra * 4;
        p.tsc = tsc;
        p.lastTsc = tsc;
        p.orderTsc = tsc;
        if (p.firstTsc === 0) p.firstTsc = tsc;
        if (p.event === TRC_LOST_RECORDS && extra === 4) {
          if ((tag & TAG_LOST_END) !== 0) p.event = LOST_RECORDS_END;
          else p.orderTsc = (words[at + 6]! >>> 0) + ((words[at + 7]! >>> 0) - this.tscBaseHigh) * 0x100000000;
        }
      } else {
        p.hasTsc = false;
        p.data = at + 2;
        p.size = 4 + extra * 4;
        p.tsc = p.lastTsc;
      }
      this.at = at + 1 + (p.size >> 2);
      return p;
    }
  }

  advance(): void {}

  async load(): Promise<void> {}

  resetSkew(): void {
    throw new NotPlain();
  }

  private control(kind: number, value: number): void {
    switch (kind) {
      case TAG_ACTIVATED:
        this.observer.activated(this.pcpu(value));
        break;
      case TAG_DEACTIVATED:
        this.observer.deactivated(this.pcpu(value));
        break;
      case TAG_MAX_ACTIVE:
        this.maxActivePcpu = value;
        break;
      case TAG_TSC_BASE:
        this.tscBaseHigh = value >>> 0;
        break;
      case TAG_POSITION:
        this.position = value * 65536;
        break;
      default:
    }
  }

  private nextBlock(): boolean {
    const words = this.words;
    if (this.last) return false;
    if (this.block >= 0) {
      Atomics.store(words, this.block, FREE);
      Atomics.notify(words, this.block);
    }
    this.block = (this.block + 1) % BLOCKS;
    while (Atomics.load(words, this.block) === FREE) {
      if (Atomics.wait(words, this.block, FREE, PATIENCE_MS) === 'timed-out') throw new NotPlain();
    }
    const state = Atomics.load(words, this.block);
    if (state === GIVEN_UP) throw new NotPlain();
    this.last = state === LAST;
    this.at = CONTROL_WORDS + this.block * BLOCK_WORDS;
    this.end = this.at + words[BLOCKS + this.block]!;
    return this.at < this.end || !this.last || this.nextBlock();
  }
}
