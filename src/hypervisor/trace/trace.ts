/**
 * Trace buffers (Xen: common/trace.c): one ring a physical CPU in machine memory, laid out as public/trace.h says, with an
 * event mask, lost-records and wrap records; and the collector that drains them into a trace file's windows.
 */
import { maddrToMfn } from '../../base/address.ts';
import {
  encodeLostRecords,
  encodeRecord,
  encodeWrapBuffer,
  LOST_RECORDS_BYTES,
  NO_TSC,
  recordBytes,
} from '../../trace/writer.ts';
import type { TraceWindowWriter } from '../../trace/writer.ts';
import { DOMID_IDLE } from '../../trace/events.ts';
import type { Clock } from '../../base/clock.ts';
import { Listeners } from '../../base/listeners.ts';
import type { Maddr } from '../../base/address.ts';
import type { MachineMemory } from '../mm/memory.ts';

/** struct t_buf: u32 cons, u32 prod, then the data. Both run modulo twice the data size. */
const T_BUF_CONS = 0;
const T_BUF_PROD = 1;
const T_BUF_HEADER = 8;

/** Shared by all pCPUs, words: event mask (0: off). */
const CONTROL_MASK = 0;
const CONTROL_SIZE = 8;
/** A pCPU's own, words: lost records, who runs now (vcpu | domid << 16); then f64 TSC of the first lost one. */
const CPU_LOST = 0;
const CPU_CURRENT = 1;
const CPU_STATE_SIZE = 16;

/** Makes t_info as public/trace.h lays it out: pages of a ring, then for every CPU where its list of frames stands. */
function fillTraceInfo(memory: MachineMemory): void {
  const { traceInfo, traceBuffers, options } = memory.layout;
  memory.view.setUint16(traceInfo.base, options.tracePages, true);
  const lists = Math.ceil((1 + traceBuffers.length) / 2);
  traceBuffers.forEach((ring, cpu) => {
    const at = lists + cpu * options.tracePages;
    memory.view.setUint16(traceInfo.base + 2 + cpu * 2, at, true);
    for (let page = 0; page < options.tracePages; page++) {
      if ((at + page) * 4 < traceInfo.size) memory.u32[traceInfo.base / 4 + at + page] = maddrToMfn(ring.base) + page;
    }
  });
}

/** The switch and mask of all rings. */
export class TraceControl {
  private readonly memory: MachineMemory;
  private readonly base: Maddr;

  constructor(memory: MachineMemory) {
    this.memory = memory;
    this.base = memory.xenheap('trace', CONTROL_SIZE);
  }

  /** Event mask as `xentrace -e` takes it (TRC_ALL: everything); 0 turns tracing off. */
  get eventMask(): number {
    return this.memory.u32[this.base / 4 + CONTROL_MASK]!;
  }

  set eventMask(mask: number) {
    if (mask !== 0) fillTraceInfo(this.memory);
    this.memory.u32[this.base / 4 + CONTROL_MASK] = mask;
  }
}

/** Sees a record as it is written; words behind `count` mean nothing. `tsc` is NO_TSC where the record has none. */
export type RecordTap = (event: number, tsc: number, count: number, w0: number, w1: number, w2: number) => void;

/** The ring of one pCPU, written by that pCPU's thread alone. */
export class TraceBuffer {
  /** Somebody who watches the records of this pCPU. */
  tap: RecordTap | undefined;
  readonly cpu: number;
  private readonly memory: MachineMemory;
  private readonly clock: Clock;
  private readonly control: number;
  private readonly state: number;
  private readonly ring: number;
  private readonly dataSize: number;
  private readonly data: number;
  /** The ring has become half full: it must be drained. */
  readonly highWater = new Listeners();

  constructor(memory: MachineMemory, cpu: number, clock: Clock) {
    this.memory = memory;
    this.cpu = cpu;
    this.clock = clock;
    this.control = memory.xenheap('trace', CONTROL_SIZE) / 4;
    this.state = memory.xenheap(`trace.pcpu${cpu}`, CPU_STATE_SIZE) / 4;
    const area = memory.layout.traceBuffers[cpu];
    if (area === undefined) throw new Error(`pCPU ${cpu} has no trace ring`);
    this.ring = area.base >>> 2;
    this.data = this.ring + T_BUF_HEADER / 4;
    this.dataSize = area.size - T_BUF_HEADER;
    this.setCurrent(DOMID_IDLE, cpu);
  }

  /** True when any record could be wanted: the cheap test before preparing one. */
  get on(): boolean {
    return this.memory.u32[this.control + CONTROL_MASK] !== 0;
  }

  /** Who runs on this pCPU now; a lost-records record says it. */
  setCurrent(domid: number, vcpu: number): void {
    this.memory.u32[this.state + CPU_CURRENT] = (domid << 16) | vcpu;
  }

  /** A record without a TSC: it belongs to the time of the record before. Extra words are taken modulo 2^32. */
  record(event: number, count = 0, w0 = 0, w1 = 0, w2 = 0, w3 = 0, w4 = 0, w5 = 0, w6 = 0): void {
    if (this.wanted(event)) this.insert(event, NO_TSC, count, w0, w1, w2, w3, w4, w5, w6);
  }

  /** A record with the TSC of now. */
  recordTsc(event: number, count = 0, w0 = 0, w1 = 0, w2 = 0, w3 = 0, w4 = 0, w5 = 0, w6 = 0): void {
    if (this.wanted(event)) this.insert(event, this.clock.tsc(), count, w0, w1, w2, w3, w4, w5, w6);
  }

  /** Mask, class (27:16) and sub-class (15:12) must all meet (trace_var's filter). */
  private wanted(event: number): boolean {
    const mask = this.memory.u32[this.control + CONTROL_MASK]!;
    return (mask & event) !== 0 && ((mask >>> 16) & (event >>> 16)) !== 0 && ((mask >>> 12) & (event >>> 12) & 0xf) !== 0;
  }

  private insert(
    event: number,
    tsc: number,
    count: number,
    w0: number,
    w1: number,
    w2: number,
    w3: number,
    w4: number,
    w5: number,
    w6: number,
  ): void {
    if (this.tap !== undefined) this.tap(event, tsc, count, w0, w1, w2);
    const { u32, i32 } = this.memory;
    const size = recordBytes(tsc, count);
    const { dataSize } = this;
    let prod = u32[this.ring + T_BUF_PROD]!;
    const cons = Atomics.load(i32, this.ring + T_BUF_CONS);
    let used = prod - cons;
    if (used < 0) used += 2 * dataSize;
    const usedBefore = used;
    const lost = u32[this.state + CPU_LOST]!;

    let toWrap = dataSize - (prod >= dataSize ? prod - dataSize : prod);
    let total = size;
    if (lost !== 0) {
      if (LOST_RECORDS_BYTES > toWrap) {
        total += toWrap;
        toWrap = dataSize;
      }
      total += LOST_RECORDS_BYTES;
      toWrap -= LOST_RECORDS_BYTES;
      if (toWrap === 0) toWrap = dataSize;
    }
    if (size > toWrap) total += toWrap;
    if (used + total > dataSize) {
      u32[this.state + CPU_LOST] = lost + 1;
      if (lost === 0) this.memory.f64[(this.state + 2) / 2] = this.clock.tsc();
      return;
    }

    if (lost !== 0) {
      prod = this.wrapIfNeeded(prod, LOST_RECORDS_BYTES);
      const current = u32[this.state + CPU_CURRENT]!;
      const first = this.memory.f64[(this.state + 2) / 2]!;
      // The record that follows must not be older than this one.
      const now = tsc === NO_TSC ? this.clock.tsc() : tsc;
      encodeLostRecords(u32, this.at(prod), now > first ? now : first + 1, lost, current >>> 16, current & 0xffff, first);
      u32[this.state + CPU_LOST] = 0;
      prod = this.advance(prod, LOST_RECORDS_BYTES);
    }
    prod = this.wrapIfNeeded(prod, size);
    encodeRecord(u32, this.at(prod), event, tsc, count, w0, w1, w2, w3, w4, w5, w6);
    prod = this.advance(prod, size);
    Atomics.store(i32, this.ring + T_BUF_PROD, prod);
    used += total;
    if (usedBefore < dataSize >>> 1 && used >= dataSize >>> 1) this.highWater.call();
  }

  private at(prod: number): number {
    return this.data + (prod >= this.dataSize ? prod - this.dataSize : prod) / 4;
  }

  private advance(prod: number, bytes: number): number {
    const next = prod + bytes;
    return next >= 2 * this.dataSize ? next - 2 * this.dataSize : next;
  }

  /** Fill the rest of the ring when the next record would straddle its end. */
  private wrapIfNeeded(prod: number, size: number): number {
    const rest = this.dataSize - (prod >= this.dataSize ? prod - this.dataSize : prod);
    if (size <= rest) return prod;
    encodeWrapBuffer(this.memory.u32, this.at(prod), rest);
    return this.advance(prod, rest);
  }
}

/** Drains all rings: the role of the xentrace program. One at a time for a machine. */
export class TraceCollector {
  private readonly memory: MachineMemory;
  private readonly copy: Uint8Array;

  constructor(memory: MachineMemory) {
    this.memory = memory;
    this.copy = new Uint8Array(memory.layout.traceBuffers[0]?.size ?? 0);
  }

  /** Leave out what every ring holds now: it stands in another file. */
  skip(): void {
    for (const { base } of this.memory.layout.traceBuffers)
      Atomics.store(this.memory.i32, (base >>> 2) + T_BUF_CONS, Atomics.load(this.memory.i32, (base >>> 2) + T_BUF_PROD));
  }

  /** Write what every ring holds as one window a pCPU, in order of pCPU. Returns the bytes of records taken. */
  drain(windows: TraceWindowWriter): number {
    let taken = 0;
    this.memory.layout.traceBuffers.forEach((area, cpu) => {
      const ring = area.base >>> 2;
      const dataSize = area.size - T_BUF_HEADER;
      const prod = Atomics.load(this.memory.i32, ring + T_BUF_PROD);
      const cons = this.memory.u32[ring + T_BUF_CONS]!;
      let bytes = prod - cons;
      if (bytes < 0) bytes += 2 * dataSize;
      if (bytes <= 0 || bytes > dataSize) return;
      const start = cons >= dataSize ? cons - dataSize : cons;
      const data = area.base + T_BUF_HEADER;
      const head = Math.min(bytes, dataSize - start);
      // Out of shared memory first: sinks (files, streams) do not take views of it.
      this.copy.set(this.memory.u8.subarray(data + start, data + start + head));
      this.copy.set(this.memory.u8.subarray(data, data + bytes - head), head);
      Atomics.store(this.memory.i32, ring + T_BUF_CONS, prod);
      windows.window(cpu, this.copy.subarray(0, bytes));
      taken += bytes;
    });
    return taken;
  }
}
