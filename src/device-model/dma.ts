/**
 * DMA: a device's reads and writes of guest memory by guest-physical address, through the map cache. From a mapped
 * bucket on it is a plain copy: no exit, no ioreq, no trace record.
 */
import { PAGE_SHIFT, PAGE_SIZE, type Gpa, type Maddr } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import type { DmaBus } from '../devices/interfaces.ts';
import { cost } from './costs.ts';
import { BUCKET_SIZE, type MapCache } from './map-cache.ts';

/** Copies shorter than this go byte by byte: making two views costs more. */
const SHORT_COPY = 32;

/**
 * Called after guest RAM was written behind the vCPUs' backs, once for each page touched: where the guest sees it, bytes
 * written, and the machine address written, so that a frame's flags can be looked up without a translation. Whoever
 * knows that the frame holds code answers with the modifiedMemory hypercall.
 */
export type RamWriteHook = (gpa: Gpa, length: number, maddr: Maddr) => void;

/** Called when a device has read guest RAM, once for each page touched. */
export type RamReadHook = (gpa: Gpa, length: number) => void;

export interface DmaCounters {
  reads: number;
  readBytes: number;
  writes: number;
  writtenBytes: number;
  /** Accesses that met something that is not RAM. */
  refused: number;
}

export class Dma implements DmaBus {
  readonly counters: DmaCounters = { reads: 0, readBytes: 0, writes: 0, writtenBytes: 0, refused: 0 };
  private readonly memory: Uint8Array;
  private readonly cache: MapCache;
  private readonly clock: Clock;
  private readonly onRamWrite: RamWriteHook | undefined;
  private readonly onRamRead: RamReadHook | undefined;

  constructor(memory: Uint8Array, cache: MapCache, clock: Clock, onRamWrite?: RamWriteHook, onRamRead?: RamReadHook) {
    this.memory = memory;
    this.cache = cache;
    this.clock = clock;
    this.onRamWrite = onRamWrite;
    this.onRamRead = onRamRead;
  }

  read(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    this.counters.reads++;
    this.counters.readBytes += length;
    return this.transfer(gpa, buffer, offset, length, false);
  }

  write(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    this.counters.writes++;
    this.counters.writtenBytes += length;
    return this.transfer(gpa, buffer, offset, length, true);
  }

  /** One bucket at a time, one page at a time in it: pages that follow each other for the guest do not in the host. */
  private transfer(gpa: number, buffer: Uint8Array, offset: number, length: number, toGuest: boolean): boolean {
    let whole = true;
    let done = 0;
    while (done < length) {
      const at = gpa + done;
      const inBucket = Math.min(length - done, BUCKET_SIZE - (at & (BUCKET_SIZE - 1)));
      const mapping = this.cache.lookup(at);
      if (mapping === undefined) {
        // That page only: later pages of the bucket may be RAM.
        const step = Math.min(length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
        if (!toGuest) buffer.fill(0, offset + done, offset + done + step);
        whole = false;
        done += step;
        continue;
      }
      this.cache.lock(mapping);
      for (const end = done + inBucket; done < end; ) {
        const address = gpa + done;
        const step = Math.min(end - done, PAGE_SIZE - (address & (PAGE_SIZE - 1)));
        if (this.cache.hasPage(mapping, (address & (BUCKET_SIZE - 1)) >>> PAGE_SHIFT)) {
          const maddr = this.cache.maddr(mapping, address);
          this.copy(maddr, buffer, offset + done, step, toGuest);
          if (toGuest) this.onRamWrite?.(address as Gpa, step, maddr);
          else this.onRamRead?.(address as Gpa, step);
        } else {
          if (!toGuest) buffer.fill(0, offset + done, offset + done + step);
          whole = false;
        }
        done += step;
      }
      this.cache.unlock(mapping);
    }
    if (!whole) this.counters.refused++;
    return whole;
  }

  private copy(maddr: Maddr, buffer: Uint8Array, offset: number, length: number, toGuest: boolean): void {
    const memory = this.memory;
    if (length >= SHORT_COPY) {
      if (toGuest) memory.set(buffer.subarray(offset, offset + length), maddr);
      else buffer.set(memory.subarray(maddr, maddr + length), offset);
      this.clock.charge(Math.ceil((cost.copyPage * length) / PAGE_SIZE));
    } else if (toGuest) {
      for (let i = 0; i < length; i++) memory[maddr + i] = buffer[offset + i]!;
    } else {
      for (let i = 0; i < length; i++) buffer[offset + i] = memory[maddr + i]!;
    }
  }
}
