import {
  TRACE_EXTRA_MAX,
  TRACE_EXTRA_SHIFT,
  TRACE_RECORD_MAX_BYTES,
  TRC_LOST_RECORDS,
  TRC_TRACE_CPU_CHANGE,
  TRC_TRACE_WRAP_BUFFER,
} from './events.ts';

/**
 * Writing xentrace records (xen/include/public/trace.h, xen/common/trace.c, tools/xentrace/xentrace.c).
 * Nothing here allocates per record. Words are 32 bits, little-endian: the views are Int32Array or Uint32Array over
 * memory of a little-endian host, as every engine that runs WebAssembly threads has.
 */
type RecordWords = Int32Array | Uint32Array;

/** In place of a TSC: the record carries none and belongs to the time of its CPU's record before. */
export const NO_TSC = -1;

/** Size of a CPU change record. */
export const CPU_CHANGE_BYTES = 12;
/** Size of a lost-records record. */
export const LOST_RECORDS_BYTES = 28;

/** Size in bytes of a record with `count` extra words (0..7). */
export const recordBytes = (tsc: number, count: number): number => 4 + (tsc === NO_TSC ? 0 : 8) + 4 * count;

/**
 * Write one record at `words[index]` and return its size in bytes (4..40).
 * @param event 28-bit event number (TRC_…)
 * @param tsc TSC in ticks, exact up to 2^53, or NO_TSC
 * @param count how many of the extra words `w0…w6` the record holds, 0..7; each is taken modulo 2^32
 */
export function encodeRecord(
  words: RecordWords,
  index: number,
  event: number,
  tsc: number,
  count: number,
  w0 = 0,
  w1 = 0,
  w2 = 0,
  w3 = 0,
  w4 = 0,
  w5 = 0,
  w6 = 0,
): number {
  let at = index;
  const header = event | (count << TRACE_EXTRA_SHIFT);
  if (tsc === NO_TSC) {
    words[at++] = header;
  } else {
    words[at++] = header | 0x80000000;
    words[at++] = tsc % 0x100000000;
    words[at++] = Math.floor(tsc / 0x100000000);
  }
  if (count > 0) words[at] = w0;
  if (count > 1) words[at + 1] = w1;
  if (count > 2) words[at + 2] = w2;
  if (count > 3) words[at + 3] = w3;
  if (count > 4) words[at + 4] = w4;
  if (count > 5) words[at + 5] = w5;
  if (count > 6) words[at + 6] = w6;
  return (at + count - index) * 4;
}

/** Write the record that opens a window: `bytes` bytes of records of pCPU `cpu` follow. Returns its size, 12. */
const encodeCpuChange = (words: RecordWords, index: number, cpu: number, bytes: number): number =>
  encodeRecord(words, index, TRC_TRACE_CPU_CHANGE, NO_TSC, 2, cpu, bytes);

/**
 * Write the record that says `lost` records found no room. Returns its size, 28.
 * @param tsc when room was found; must lie past `firstLostTsc`
 * @param domid,vcpu who runs on this pCPU now
 * @param firstLostTsc TSC of the first record that was lost
 */
export const encodeLostRecords = (
  words: RecordWords,
  index: number,
  tsc: number,
  lost: number,
  domid: number,
  vcpu: number,
  firstLostTsc: number,
): number =>
  encodeRecord(
    words,
    index,
    TRC_LOST_RECORDS,
    tsc,
    4,
    lost,
    domid | (vcpu << 16),
    firstLostTsc % 0x100000000,
    Math.floor(firstLostTsc / 0x100000000),
  );

/**
 * Fill the last `bytes` (4..40, a multiple of 4) of a per-CPU ring with a wrap record, so that no record straddles the
 * ring's end. Only the header is written; the rest keeps what the ring held, as in Xen. Returns `bytes`.
 */
export function encodeWrapBuffer(words: RecordWords, index: number, bytes: number): number {
  let count = bytes / 4 - 1;
  let header = TRC_TRACE_WRAP_BUFFER;
  if (count > TRACE_EXTRA_MAX) {
    count -= 2;
    header |= 0x80000000;
  }
  words[index] = header | (count << TRACE_EXTRA_SHIFT);
  return bytes;
}

/** Takes the bytes of a trace file in order. The bytes are valid during the call only. */
export type TraceSink = (bytes: Uint8Array) => void;

/** What a file can hold: readers take pCPU numbers 0..255. */
export const MAX_CPUS = 256;

/**
 * Puts windows into a trace file: a CPU change record, then records of that CPU. CPUs take turns in rising order: to a
 * reader a CPU number below the one before starts a new round ("epoch").
 */
export class TraceWindowWriter {
  private readonly sink: TraceSink;
  private readonly header = new Int32Array(CPU_CHANGE_BYTES / 4);
  private readonly headerBytes = new Uint8Array(this.header.buffer);
  /** Bytes handed to the sink so far. */
  bytesWritten = 0;

  constructor(sink: TraceSink) {
    this.sink = sink;
  }

  /**
   * Write one window. A ring that wraps is given as two parts, older bytes first.
   * @param cpu pCPU number, 0..255
   * @param first whole records of that CPU, in time order
   */
  window(cpu: number, first: Uint8Array, second?: Uint8Array): void {
    const bytes = first.length + (second?.length ?? 0);
    if (bytes === 0) return;
    encodeCpuChange(this.header, 0, cpu, bytes);
    this.sink(this.headerBytes);
    if (first.length > 0) this.sink(first);
    if (second !== undefined && second.length > 0) this.sink(second);
    this.bytesWritten += CPU_CHANGE_BYTES + bytes;
  }
}

/**
 * Writes a whole trace file without a hypervisor's rings between: records of several CPUs are collected in one buffer
 * a CPU, and all buffers go out as one round of windows when one is full.
 */
export class TraceFileWriter {
  private readonly windows: TraceWindowWriter;
  private readonly words: Int32Array[] = [];
  private readonly bytes: Uint8Array[] = [];
  private readonly used: number[] = [];

  /** @param windowBytes room for one CPU's window, at least one record (40) */
  constructor(sink: TraceSink, cpus: number, windowBytes = 32768) {
    if (cpus < 1 || cpus > MAX_CPUS) throw new RangeError(`a trace holds 1 to ${MAX_CPUS} CPUs, not ${cpus}`);
    this.windows = new TraceWindowWriter(sink);
    const room = Math.max(TRACE_RECORD_MAX_BYTES, windowBytes & ~3);
    for (let cpu = 0; cpu < cpus; cpu++) {
      const words = new Int32Array(room / 4);
      this.words.push(words);
      this.bytes.push(new Uint8Array(words.buffer));
      this.used.push(0);
    }
  }

  /** Bytes handed to the sink so far. */
  get bytesWritten(): number {
    return this.windows.bytesWritten;
  }

  /** Append a record to `cpu`'s window; the rest as in encodeRecord. Within a CPU the TSC must not go back. */
  record(cpu: number, event: number, tsc: number, count = 0, w0 = 0, w1 = 0, w2 = 0, w3 = 0, w4 = 0, w5 = 0, w6 = 0): void {
    const words = this.words[cpu];
    if (words === undefined) throw new RangeError(`CPU ${cpu} is not one of the ${this.words.length} this trace was made for`);
    if (this.used[cpu]! + recordBytes(tsc, count) > words.length * 4) this.flush();
    this.used[cpu]! += encodeRecord(words, this.used[cpu]! >> 2, event, tsc, count, w0, w1, w2, w3, w4, w5, w6);
  }

  /** A lost-records record on `cpu`; see encodeLostRecords. */
  lost(cpu: number, tsc: number, lost: number, domid: number, vcpu: number, firstLostTsc: number): void {
    this.record(
      cpu,
      TRC_LOST_RECORDS,
      tsc,
      4,
      lost,
      domid | (vcpu << 16),
      firstLostTsc % 0x100000000,
      Math.floor(firstLostTsc / 0x100000000),
    );
  }

  /** Write every CPU's collected records, CPUs in rising order. Call it once more at the end of the file. */
  flush(): void {
    for (let cpu = 0; cpu < this.words.length; cpu++) {
      this.windows.window(cpu, this.bytes[cpu]!.subarray(0, this.used[cpu]!));
      this.used[cpu] = 0;
    }
  }
}
