/**
 * Decoded blocks: an arena of records in machine memory, and which blocks come from which machine frame. A block is
 * keyed by machine frame, linear page and code-segment context; blocks of one such page chain directly to each other.
 */
import { HOLDS_CODE, WATCHED_WRITES } from '../memory/code-flags.ts';
import { CB_CODE_EPOCH, CB_JUMP_CACHE, CB_JUMP_EPOCH } from '../memory/control-block.ts';
import { SPECIAL } from '../records/handler-numbers.ts';
import type { ControlBlock } from '../memory/memory-views.ts';
import type { Primitives } from '../memory/primitives.ts';
import { REC_HANDLER, RECORD_SIZE } from '../records/record.ts';
import { JUMP_CACHE_SIZE, JUMP_ENTRY_SIZE, JUMP_LOCAL, jumpOffset, JUMP_RECORD, JUMP_TAG } from '../memory/tlb-layout.ts';
import { MAX_BLOCK_RECORDS, type Decoder } from './decoder.ts';

/** Blocks of one kind. A block whose first instruction runs over into the next page holds bytes of a second frame. */
class Blocks {
  /** Offset in the page → first record. */
  private readonly records = new Map<number, number>();
  /** Offset → second frame, for those that have one. */
  private readonly seconds = new Map<number, number>();

  /** First record of the block at this offset. */
  all(): IterableIterator<number> {
    return this.records.values();
  }
  get(offset: number): number | undefined {
    return this.records.get(offset);
  }
  /** Its second frame. */
  second(offset: number): number | undefined {
    return this.seconds.get(offset);
  }
  set(offset: number, record: number, second: number | undefined): void {
    this.records.set(offset, record);
    if (second === undefined) this.seconds.delete(offset);
    else this.seconds.set(offset, second);
  }
  clear(): void {
    this.records.clear();
    this.seconds.clear();
  }
}

/** Blocks decoded from one frame as seen at one linear page in one context. */
export class CodePage {
  readonly frame: number;
  /** Linear page number, signed. */
  readonly page: number;
  readonly context: number;
  readonly blocks = new Blocks();
  /** Single-step blocks. */
  readonly singles = new Blocks();
  /** Start and end of every block's records. */
  readonly ranges: number[] = [];

  constructor(frame: number, page: number, context: number) {
    this.frame = frame;
    this.page = page;
    this.context = context;
  }
}

/** Contexts are numbered below this (Mode). */
export const MAX_CONTEXTS = 1024;

/** Told when decoded code goes. */
export interface CodeListener {
  /** The blocks of this page are about to. */
  pageDropped(page: CodePage): void;
  /** All have. */
  emptied(): void;
}

class CodeFrame {
  readonly pages = new Map<number, CodePage>();
  /** Pages of other frames with blocks that run over into this one. */
  readonly runInto = new Set<CodePage>();
  /** A bit per 16 bytes that hold decoded code. */
  readonly bits = new Uint32Array(8);
}

export class CodeCache {
  private readonly cb: ControlBlock;
  private readonly decoder: Decoder;
  private readonly arena: number;
  private readonly arenaEnd: number;
  private readonly codeFlags: number;
  private readonly jumpCaches: number;
  /** Context each jump cache was filled in. */
  private readonly owners = [-1, -1];
  /** Linear pages that blocks in the jump caches lie on. */
  private readonly jumpPages = new Set<number>();
  /** Entries of the jump caches, as word addresses, that were found through pages that are not global. */
  private readonly localJumps = new Int32Array(8192);
  private localCount = 0;
  /** There were more than that: the entries themselves have to be asked. */
  private localsLost = false;
  private readonly frames = new Map<number, CodeFrame>();
  private readonly fill: Primitives['fill'];
  private readonly listeners: CodeListener[] = [];
  /** Page of each block, by its first record. */
  private readonly pages = new Map<number, CodePage>();
  /** The arena was emptied: counts up, so that a holder of a record address can tell. */
  generation = 0;
  /** Told of reads of and writes to frames that are watched, before they are made: a debugger's. */
  watch: ((frame: number, offset: number, length: number, isWrite: boolean) => void) | undefined;
  /** Called when a frame gets its first code (cached write translations of it must go) and when it has none any more. */
  private readonly onCodeFrame: (frame: number, holds: boolean) => void;

  constructor(parts: {
    cb: ControlBlock;
    decoder: Decoder;
    /** Where records go. */
    arena: { base: number; size: number };
    /** Address of two jump caches: user, supervisor. */
    jumpCaches: number;
    /** Address of a byte per machine frame, set while it holds code. */
    codeFlags: number;
    fill: Primitives['fill'];
    onCodeFrame(frame: number, holds: boolean): void;
  }) {
    this.cb = parts.cb;
    this.decoder = parts.decoder;
    this.arena = parts.arena.base;
    this.arenaEnd = parts.arena.base + parts.arena.size;
    this.jumpCaches = parts.jumpCaches;
    this.codeFlags = parts.codeFlags;
    this.fill = parts.fill;
    this.onCodeFrame = parts.onCodeFrame;
    this.decoder.out = this.arena;
    this.fill(this.jumpCaches, 0, 2 * JUMP_CACHE_SIZE);
    this.flushJumpCaches();
  }

  /** Tell `listener` of code that goes from now on. */
  listen(listener: CodeListener): void {
    this.listeners.push(listener);
  }

  page(frame: number, page: number, context: number): CodePage {
    const { pages } = this.holder(frame);
    // Linear pages have 36 bits and a sign.
    const key = page * MAX_CONTEXTS + context;
    let found = pages.get(key);
    if (!found) pages.set(key, (found = new CodePage(frame, page, context)));
    return found;
  }

  private holder(frame: number): CodeFrame {
    let holder = this.frames.get(frame);
    if (!holder) this.frames.set(frame, (holder = new CodeFrame()));
    return holder;
  }

  /** A block of a page, at an offset in it. */
  add(page: CodePage, offset: number, record: number, second: number | undefined): void {
    page.blocks.set(offset, record, second);
    this.pages.set(record, page);
  }

  /** The page of the block at a record. */
  pageOf(record: number): CodePage | undefined {
    return this.pages.get(record);
  }

  /** Make room for one more block; empties the whole cache when it is full. True: it was emptied. */
  reserve(): boolean {
    if (this.decoder.out + MAX_BLOCK_RECORDS * RECORD_SIZE <= this.arenaEnd) return false;
    this.flushAll();
    return true;
  }

  /** Note that a block of `page` holds `length` bytes of its second frame too. */
  markSecond(page: CodePage, second: number, length: number): void {
    this.mark(second, 0, length);
    this.holder(second).runInto.add(page);
  }

  /** Note that `length` bytes at `offset` of this frame are decoded. */
  mark(frame: number, offset: number, length: number): void {
    const holder = this.holder(frame);
    if (!(this.cb.u8[this.codeFlags + frame]! & HOLDS_CODE)) {
      this.cb.u8[this.codeFlags + frame]! |= HOLDS_CODE;
      this.onCodeFrame(frame, true);
    }
    for (let at = offset >> 4; at <= (offset + length - 1) >> 4; at++) holder.bits[at >> 5]! |= 1 << (at & 31);
  }

  /** `length` bytes at `offset` of the frame were or will be written: blocks that hold any of them go. */
  written(frame: number, offset: number, length: number): void {
    if (this.watch !== undefined && this.cb.u8[this.codeFlags + frame]! & WATCHED_WRITES) this.watch(frame, offset, length, true);
    const holder = this.frames.get(frame);
    if (holder && this.holds(frame, offset, length)) this.dropFrame(frame, holder);
  }

  /** Are any of `length` bytes at `offset` of the frame decoded? */
  holds(frame: number, offset: number, length: number): boolean {
    const holder = this.frames.get(frame);
    if (!holder) return false;
    for (let at = offset >> 4; at <= Math.min(offset + length - 1, 4095) >> 4; at++)
      if (holder.bits[at >> 5]! & (1 << (at & 31))) return true;
    return false;
  }

  /** `length` bytes at `offset` of a frame whose reads are watched are about to be read. */
  read(frame: number, offset: number, length: number): void {
    this.watch?.(frame, offset, length, false);
  }

  /** What of this frame is watched: WATCHED_WRITES, WATCHED_READS, both or 0. */
  setWatched(frame: number, kinds: number): void {
    const at = this.codeFlags + frame;
    this.cb.u8[at] = (this.cb.u8[at]! & HOLDS_CODE) | kinds;
  }

  /** Drop everything decoded from the frame. */
  invalidate(frame: number): void {
    const holder = this.frames.get(frame);
    if (holder) this.dropFrame(frame, holder);
  }

  private dropFrame(frame: number, holder: CodeFrame): void {
    for (const page of holder.pages.values()) this.dropPage(page);
    for (const page of holder.runInto) this.dropPage(page);
    this.frames.delete(frame);
    this.unmark(frame);
  }

  private unmark(frame: number): void {
    this.cb.u8[this.codeFlags + frame]! &= ~HOLDS_CODE;
    this.onCodeFrame(frame, false);
  }

  private dropPage(page: CodePage): void {
    const { u16 } = this.cb;
    this.cb.set(CB_CODE_EPOCH, this.cb.get(CB_CODE_EPOCH) + 1);
    for (const listener of this.listeners) listener.pageDropped(page);
    for (const record of page.blocks.all()) this.pages.delete(record);
    for (let i = 0; i < page.ranges.length; i += 2) {
      for (let at = page.ranges[i]!; at < page.ranges[i + 1]!; at += RECORD_SIZE) {
        u16[(at + REC_HANDLER) >> 1] = SPECIAL.stale;
      }
    }
    page.ranges.length = 0;
    page.blocks.clear();
    page.singles.clear();
  }

  flushAll(): void {
    for (const frame of this.frames.keys()) this.unmark(frame);
    this.frames.clear();
    this.pages.clear();
    this.cb.set(CB_CODE_EPOCH, this.cb.get(CB_CODE_EPOCH) + 1);
    this.decoder.out = this.arena;
    this.generation++;
    for (const listener of this.listeners) listener.emptied();
    // The epoch may be a restored one.
    this.fill(this.jumpCaches, 0, 2 * JUMP_CACHE_SIZE);
    this.flushJumpCaches();
  }

  // Jump caches

  /** A new epoch: no entry made before it fits any more. */
  flushJumpCaches(): void {
    const epoch = ((this.cb.get(CB_JUMP_EPOCH + 4) >>> 16) + 1) & 0xffff;
    // Once round: what is left of the old epochs would fit again. An empty entry fits RIP 0 of epoch 0, which is left out.
    if (epoch === 0) this.fill(this.jumpCaches, 0, 2 * JUMP_CACHE_SIZE);
    this.cb.set(CB_JUMP_EPOCH + 4, (epoch === 0 ? 1 : epoch) << 16);
    this.localCount = 0;
    this.localsLost = false;
    this.jumpPages.clear();
  }

  /** MOV to CR3: what was found through pages that are not global goes. */
  flushLocalJumps(): void {
    const { u64, i32 } = this.cb;
    if (this.localsLost) {
      const end = (this.jumpCaches + 2 * JUMP_CACHE_SIZE) >> 2;
      for (let word = this.jumpCaches >> 2; word < end; word += JUMP_ENTRY_SIZE >> 2)
        if (i32[word + (JUMP_LOCAL >> 2)]) u64[word >> 1] = 0n;
    } else for (let i = 0; i < this.localCount; i++) u64[this.localJumps[i]! >> 1] = 0n;
    this.localCount = 0;
    this.localsLost = false;
  }

  /** INVLPG of this linear page. */
  flushJumpsOf(page: number): void {
    if (this.jumpPages.has(page)) this.flushJumpCaches();
  }

  /** Use the cache for this privilege and context. */
  selectJumpCache(user: boolean, context: number): void {
    const which = user ? 0 : 1;
    if (this.owners[which] !== context) {
      this.flushJumpCaches();
      this.owners[which] = context;
    }
    this.cb.set(CB_JUMP_CACHE, this.jumpCaches + which * JUMP_CACHE_SIZE);
  }

  /**
   * @param page the linear page of the block's first byte. @param second that of its last, where it is another.
   * @param global all its pages are.
   */
  remember(ripLo: number, ripHi: number, record: number, page: number, second: number | undefined, global: boolean): void {
    const word = (this.cb.get(CB_JUMP_CACHE) + jumpOffset(ripLo)) >> 2;
    this.cb.i32[word + (JUMP_TAG >> 2)] = ripLo;
    this.cb.i32[word + (JUMP_TAG >> 2) + 1] = ripHi ^ this.cb.get(CB_JUMP_EPOCH + 4);
    this.cb.i32[word + (JUMP_RECORD >> 2)] = record;
    this.cb.i32[word + (JUMP_LOCAL >> 2)] = global ? 0 : 1;
    this.jumpPages.add(page);
    if (second !== undefined) this.jumpPages.add(second);
    if (global) return;
    if (this.localCount < this.localJumps.length) this.localJumps[this.localCount++] = word;
    else this.localsLost = true;
  }

  /** First record of the block that the jump cache holds for an address; 0: none. Halves of the address signed. */
  cached(ripLo: number, ripHi: number): number {
    const { cb } = this;
    const word = (cb.get(CB_JUMP_CACHE) + jumpOffset(ripLo)) >> 2;
    if (cb.i32[word + (JUMP_TAG >> 2)] !== ripLo) return 0;
    if (cb.i32[word + (JUMP_TAG >> 2) + 1] !== (ripHi ^ cb.getSigned(CB_JUMP_EPOCH + 4))) return 0;
    const record = cb.u32[word + (JUMP_RECORD >> 2)]!;
    // What was dropped stands there until it is asked for.
    return cb.u16[(record + REC_HANDLER) >> 1] === SPECIAL.stale ? 0 : record;
  }
}
