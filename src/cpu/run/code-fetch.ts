/**
 * Where to go on: the block at RIP, decoding it when it is not there yet, with the faults of the fetch.
 */
import { PAGE_SIZE } from '../../base/address.ts';
import { Access, NESTED_FAULT, PAGE_FAULT } from '../memory/mmu.ts';
import type { CodeCache, CodePage } from '../decode/code-cache.ts';
import { CB_CPL, CB_EXIT_STATUS, CB_RIP, Status, Vector } from '../memory/control-block.ts';
import type { Core } from '../system/core.ts';
import type { BlockRequest, Decoder } from '../decode/decoder.ts';
import type { Events } from '../system/events.ts';
import { MAX_LENGTH } from '../decode/code-bytes.ts';
import { SPECIAL } from '../records/handler-numbers.ts';
import { linearFromHalves, type Linear } from '../memory/memory-views.ts';
import { REC_HANDLER, REC_NOT_TAKEN, REC_TAKEN } from '../records/record.ts';

export class CodeFetch {
  private readonly core: Core;
  private readonly decoder: Decoder;
  private readonly cache: CodeCache;
  private readonly events: Events;
  /** Generated code must be left to look around, instead of going on. */
  private readonly mustStop: () => boolean;
  /** Linear addresses of instructions before which a debugger stops: a block ends there, and nothing leads on by itself. */
  stops: ReadonlySet<Linear> = new Set();
  /** An exception outside generated code counts as an instruction. */
  private readonly chargeEvent: () => void;
  /** Bytes of an instruction that lies on two pages. */
  private readonly straddle = new Uint8Array(32);
  private readonly request: BlockRequest;
  /** Second frame of the block decoded last, where request.crossing says that it has one. */
  private decodedSecond = 0;
  /** The block found last runs over into a second page. */
  private foundCrossing = false;

  constructor(parts: {
    core: Core;
    decoder: Decoder;
    cache: CodeCache;
    events: Events;
    mustStop: () => boolean;
    chargeEvent: () => void;
  }) {
    this.core = parts.core;
    this.decoder = parts.decoder;
    this.cache = parts.cache;
    this.events = parts.events;
    this.mustStop = parts.mustStop;
    this.chargeEvent = parts.chargeEvent;
    this.request = {
      source: parts.core.cb.u8,
      start: 0,
      limit: 0,
      ripLo: 0,
      ripHi: 0,
      pageOffset: 0,
      bits: 16,
      single: false,
      crossing: false,
    };
  }

  /** Leave generated code to look around: 0 for the caller to return. */
  private stopHere(): 0 {
    this.core.cb.set(CB_EXIT_STATUS, Status.stop);
    return 0;
  }

  /** The block at RIP, for generated code. */
  lookup(): number {
    if (this.mustStop()) return this.stopHere();
    return this.findBlock(false);
  }

  /**
   * Target of a chained branch, for generated code; from then on the record leads there by itself. Such a link is never looked at
   * again, so that what it leads to must depend on nothing but the page that the branch itself lies on: a block that runs over into
   * the next page gets none.
   */
  link(record: number, way: number): number {
    if (this.mustStop()) return this.stopHere();
    const { cache } = this;
    const { cb } = this.core;
    const lo = cb.get(CB_RIP);
    const hi = cb.get(CB_RIP + 4);
    const { generation } = cache;
    const target = this.findBlock(false);
    // A fault on the way leads elsewhere; a full or changed cache makes the record a stranger.
    if (
      target &&
      !this.foundCrossing &&
      cb.get(CB_RIP) === lo &&
      cb.get(CB_RIP + 4) === hi &&
      cache.generation === generation &&
      cb.u16[(record + REC_HANDLER) >> 1] !== SPECIAL.stale
    ) {
      cb.i32[(record + (way === 0 ? REC_TAKEN : REC_NOT_TAKEN)) >> 2] = target;
    }
    return target;
  }

  /** First record of the block at RIP; 0 with CB_EXIT_STATUS set when the fetch faulted (the exception is delivered) or leaves. */
  findBlock(single: boolean): number {
    const { core } = this;
    const { cb, mmu } = core;
    const ripLo = cb.get(CB_RIP);
    const ripHi = cb.get(CB_RIP + 4);
    let lin: Linear;
    core.record = 0;
    let status: number;
    if (core.mode.bits === 64) {
      lin = linearFromHalves(ripLo | 0, ripHi | 0);
      status = Number.isNaN(lin) ? core.pend(Vector.gp, 0) : Status.next;
    } else {
      lin = (core.mode.csBase + ripLo) >>> 0;
      status = ripLo > core.mode.csLimit ? core.pend(Vector.gp, 0) : Status.next;
    }
    if (status === Status.next) {
      const at = mmu.translate(lin, Access.fetch, cb.get(CB_CPL) === 3);
      if (at === PAGE_FAULT) status = core.pendPageFault(lin);
      else if (at === NESTED_FAULT) status = core.pendNested(lin, true);
      else {
        const record = this.blockAt(lin, at, ripLo, ripHi, single);
        if (record > 0) return record;
        status = -record;
      }
    }
    if (status === Status.fault) {
      this.chargeEvent();
      status = this.events.deliverFault();
    }
    if (status !== Status.exit) return this.stopHere();
    cb.set(CB_EXIT_STATUS, Status.exit);
    return 0;
  }

  /** The block at this linear address, whose first byte is at machine address `at`; or minus a status. */
  private blockAt(lin: Linear, at: number, ripLo: number, ripHi: number, single: boolean): number {
    const { cache } = this;
    const { mmu, mode, cb } = this.core;
    const offset = at & 0xfff;
    let page = cache.page(at >>> 12, Math.floor(lin / PAGE_SIZE), mode.context);
    let blocks = single ? page.singles : page.blocks;
    let record = blocks.get(offset);
    let second = blocks.second(offset);
    if (record !== undefined && second !== undefined) {
      const now = this.secondFrame(lin);
      if (now < 0) return now;
      if (second !== now) record = undefined;
    }
    if (record === undefined) {
      if (cache.reserve()) {
        page = cache.page(at >>> 12, Math.floor(lin / PAGE_SIZE), mode.context);
        blocks = single ? page.singles : page.blocks;
      }
      const decoded = this.decode(page, lin, at, ripLo, ripHi, single);
      if (decoded <= 0) return decoded;
      record = decoded;
      second = this.request.crossing ? this.decodedSecond : undefined;
      if (single) page.singles.set(offset, record, second);
      else cache.add(page, offset, record, second);
    }
    this.foundCrossing = second !== undefined;
    if (!single && !this.stops.has(lin)) {
      const global = second === undefined && mmu.isGlobal(lin, cb.get(CB_CPL) === 3);
      const secondPage = second === undefined ? undefined : Math.floor(this.nextPage(lin) / PAGE_SIZE);
      cache.remember(ripLo, ripHi, record, page.page, secondPage, global);
    }
    return record;
  }

  /** Linear address of the page after `lin`'s. */
  private nextPage(lin: Linear): Linear {
    const next = lin - (lin & 0xfff) + PAGE_SIZE;
    return this.core.mode.bits === 64 ? next : next >>> 0;
  }

  /** Frame of the page after `lin`'s, for a fetch; or minus a status. */
  private secondFrame(lin: Linear): number {
    const next = this.nextPage(lin);
    const at = this.core.mmu.translate(next, Access.fetch, this.core.cb.get(CB_CPL) === 3);
    if (at === PAGE_FAULT) return -this.core.pendPageFault(next);
    if (at === NESTED_FAULT) return -this.core.pendNested(next, true);
    return at >>> 12;
  }

  /** Bytes of code from this offset in CS on: those behind the segment's limit cannot be fetched. */
  private bytesInSegment(ripLo: number): number {
    return this.core.mode.bits === 64 ? Infinity : this.core.mode.csLimit - ripLo + 1;
  }

  private bytesToStop(lin: Linear): number {
    let bytes = Infinity;
    for (const stop of this.stops) if (stop > lin) bytes = Math.min(bytes, stop - lin);
    return bytes;
  }

  private decode(page: CodePage, lin: Linear, at: number, ripLo: number, ripHi: number, single: boolean): number {
    const { decoder, cache, request } = this;
    const { cb } = this.core;
    const offset = at & 0xfff;
    request.source = cb.u8;
    request.start = at;
    const inSegment = this.bytesInSegment(ripLo);
    const here = PAGE_SIZE - offset;
    request.limit = at + Math.min(here, inSegment, this.bytesToStop(lin));
    request.ripLo = ripLo;
    request.ripHi = ripHi;
    request.pageOffset = offset;
    request.bits = this.core.mode.bits;
    request.single = single;
    request.crossing = false;
    const begin = decoder.out;
    let record = decoder.decode(request);
    if (record === 0 && this.stops.size > 0) {
      // A stop inside an instruction stops nothing.
      request.limit = at + Math.min(here, inSegment);
      record = decoder.decode(request);
    }
    if (record === 0) {
      if (inSegment <= here) return -this.core.pend(Vector.gp, 0);
      const second = this.secondFrame(lin);
      if (second < 0) return second;
      for (let i = 0; i < MAX_LENGTH; i++) this.straddle[i] = i < here ? cb.u8[at + i]! : cb.u8[second * PAGE_SIZE + i - here]!;
      request.source = this.straddle;
      request.start = 0;
      request.limit = Math.min(MAX_LENGTH, inSegment);
      request.crossing = true;
      record = decoder.decode(request);
      if (record === 0) return -this.core.pend(Vector.gp, 0);
      this.decodedSecond = second;
      cache.mark(page.frame, offset, here);
      cache.markSecond(page, second, Math.max(1, decoder.byteLength - here));
    } else cache.mark(page.frame, offset, decoder.byteLength);
    page.ranges.push(begin, decoder.out);
    return record;
  }
}
