import { UserError } from '../../base/errors.ts';
import { RUNSTATE_RUNNING, TRC_LOST_RECORDS, TRC_SCHED_MIN } from '../events.ts';
import { DamageList } from '../format/damage.ts';
import { decodeRecord } from '../records/decode.ts';
import type { DecodeContext, Decoded } from '../records/decode.ts';
import type { Vendor } from '../records/exit-reasons.ts';
import { InferenceBuilder } from '../records/infer.ts';
import type { Inference } from '../records/infer.ts';
import { LOST_RECORDS_END, NEED_DATA, RecordMerge } from '../format/merge.ts';
import type { Damage } from '../format/merge.ts';
import { Pcpu } from '../format/pcpu.ts';
import { sourceOf } from '../format/source.ts';
import type { ByteSource, TraceInput } from '../format/source.ts';
import { DEFAULT_CPU_HZ, TscScale } from '../format/time.ts';

/** Records looked at for vendor and version before the first one is given. */
const INFERENCE_RECORDS = 50_000;

export interface TraceOptions {
  /** TSC rate of the traced host in Hz; 2.4 GHz if not given, as xenalyze assumes. */
  cpuHz?: number;
  /** Whose exit reasons VMEXIT records hold, if the inferred vendor is to be overruled. */
  vendor?: Vendor;
  /** Xen release that wrote the trace ("4.4" … "4.22"), if the inferred one is to be overruled. */
  xenVersion?: string;
}

/** N of "4.N". */
function parseXenVersion(text: string): number {
  const match = /^4\.(\d{1,2})(?:\.\d+)?$/.exec(text.trim());
  const minor = match === null ? -1 : Number(match[1]);
  if (minor < 4 || minor > 22) throw new UserError(`'${text}' is not a Xen release that this reader knows; expected 4.4 to 4.22`);
  return minor;
}

/** One record of a trace, in time order over all CPUs. */
export interface TraceRecord {
  /** File offset of its header word. */
  offset: number;
  /** pCPU that wrote it. */
  cpu: number;
  /** TSC in ticks, with the skew of its CPU taken into account; add `Trace.tscBase` for the absolute value. */
  tsc: number;
  /** The record itself carries no TSC: `tsc` is that of its CPU's latest record that does, so a lower bound. */
  tscInherited: boolean;
  /** Nanoseconds since the first TSC of the trace, by xenalyze's arithmetic (rounded down). */
  ns: number;
  /** 28-bit event number (TRC_…). */
  event: number;
  /** The extra words, unsigned, 0 to 7 of them. */
  words: readonly number[];
  /** Domain and vCPU that ran on the pCPU when the record was written; null while that is not known. 32767 is idle. */
  dom: number | null;
  vcpu: number | null;
  decoded: Decoded;
}

/**
 * The record at a CPU's reading position, without a copy: what a bulk consumer sees. It is valid during the call only.
 * Extra words are `words[data]` … `words[data + extra − 1]`, signed.
 */
export interface RawRecord {
  readonly pid: number;
  readonly event: number;
  readonly extra: number;
  readonly words: Int32Array;
  readonly data: number;
  readonly tsc: number;
  readonly hasTsc: boolean;
  /** File offset of the header word. */
  readonly offset: number;
  /** Domain and vCPU current on the pCPU, −1 while not known. */
  readonly dom: number;
  readonly vcpu: number;
}

/** A pCPU and who runs on it. */
class ScheduledPcpu extends Pcpu implements RawRecord {
  dom = -1;
  vcpu = -1;
  /** The vCPU a lost-records record says runs once the loss is over. */
  afterLoss = 0;
}

/** A trace that can be iterated over, any number of times, one after the other. */
export class Trace implements AsyncIterable<TraceRecord> {
  readonly source: ByteSource;
  readonly scale: TscScale;
  /** The options gave the TSC rate; else it is xenalyze's own guess. */
  readonly cpuHzTold: boolean;
  /** What the trace's own records say about vendor and version. */
  readonly inference: Inference;
  /** Whose exit reasons are decoded: as inferred or as the options say. */
  readonly vendor: Vendor | null;
  /** The release the options set: N of Xen 4.N; null if they set none. */
  readonly xenMinor: number | null;
  /** Add to a record's `tsc` for the absolute TSC. Not zero only where TSCs go past 2^53. */
  tscBase = 0n;
  /** TSC that is time zero; 0 until a record with a TSC was met. */
  firstTsc = 0;
  /** The latest TSC that a scan has met; 0 before one was made. */
  lastTsc = 0;
  private readonly damages = new DamageList();
  /** What decodeRecord needs beside a record of this trace. */
  readonly context: DecodeContext;

  constructor(source: ByteSource, options: TraceOptions, inference: Inference) {
    this.source = source;
    this.scale = new TscScale(options.cpuHz ?? DEFAULT_CPU_HZ);
    this.cpuHzTold = options.cpuHz !== undefined;
    this.inference = inference;
    this.xenMinor = options.xenVersion === undefined ? null : parseXenVersion(options.xenVersion);
    this.vendor = options.vendor ?? inference.vendor;
    const newest = inference.xenTo === null ? null : Number(inference.xenTo.slice(2));
    this.context = { vendor: this.vendor, xenMinor: this.xenMinor ?? newest, tscBaseHigh: 0 };
  }

  /**
   * Call `visit` for every record in time order, wrap and lost-records ones included; nothing is allocated per record.
   * `visit` may return false to stop.
   */
  async scan(visit: (record: RawRecord) => boolean | void): Promise<void> {
    const walk = this.walk();
    for (;;) {
      const p = walk.next();
      if (p === NEED_DATA) await walk.load();
      else if (p === null || visit(p) === false) return;
    }
  }

  /** Records in time order; a lost-records record comes at the time of the first lost one. */
  async *records(): AsyncGenerator<TraceRecord, void, void> {
    const walk = this.walk();
    for (;;) {
      const p = walk.next();
      if (p === NEED_DATA) await walk.load();
      else if (p === null) return;
      else yield this.record(p);
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<TraceRecord, void, void> {
    return this.records();
  }

  /** Parts of the file that could not be read, in the order they were met; filled while iterating. */
  get damage(): readonly Damage[] {
    return this.damages.list;
  }

  /** All damages met, also those past what `damage` keeps. */
  get damageCount(): number {
    return this.damages.count;
  }

  /** Let go of the file. */
  async close(): Promise<void> {
    await this.source.close();
  }

  /** Steps through the records in time order and keeps account of who runs where. */
  private walk(): { next(): ScheduledPcpu | null | typeof NEED_DATA; load(): Promise<void> } {
    const merge = new RecordMerge(
      this.source,
      (pid) => new ScheduledPcpu(pid),
      {
        activated() {},
        deactivated() {},
        warn() {},
        fatal() {},
        damage: (damage) => this.damages.add(damage),
      },
      true,
    );
    let started = false;
    /** The record given last: it is done with when the next one is asked for. */
    let given: ScheduledPcpu | null = null;
    const next = (): ScheduledPcpu | null | typeof NEED_DATA => {
      if (!started && merge.start() === NEED_DATA) return NEED_DATA;
      started = true;
      if (given !== null) {
        track(merge.pcpus, given);
        merge.advance(given);
        given = null;
      }
      for (;;) {
        const p = merge.next();
        if (p === null || p === NEED_DATA) return p;
        if (p.event === LOST_RECORDS_END) {
          schedule(p, p.afterLoss);
          merge.advance(p);
          continue;
        }
        if (this.firstTsc === 0 && p.hasTsc) {
          this.firstTsc = p.orderTsc;
          this.tscBase = BigInt(merge.tscBaseHigh) << 32n;
          this.context.tscBaseHigh = merge.tscBaseHigh;
        }
        if (p.tsc > this.lastTsc) this.lastTsc = p.tsc;
        this.checkClass(p);
        given = p;
        return p;
      }
    };
    return { next, load: () => merge.load() };
  }

  /** A record of Xen has one class bit. */
  private checkClass(p: ScheduledPcpu): void {
    const bits = (p.event >>> 16) & 0xfff;
    if (bits !== 0 && (bits & (bits - 1)) === 0) return;
    this.damages.add({
      offset: p.offset,
      end: p.offset + p.size,
      cpu: p.pid,
      message: `event 0x${p.event.toString(16)} does not have exactly one class bit`,
    });
  }

  private record(p: ScheduledPcpu): TraceRecord {
    const words: number[] = [];
    for (let i = 0; i < p.extra; i++) words.push(p.words[p.data + i]! >>> 0);
    return {
      offset: p.offset,
      cpu: p.pid,
      tsc: p.tsc,
      tscInherited: !p.hasTsc,
      ns: this.firstTsc === 0 ? 0 : this.scale.ns(p.tsc - this.firstTsc),
      event: p.event,
      words,
      dom: p.dom < 0 ? null : p.dom,
      vcpu: p.dom < 0 ? null : p.vcpu,
      decoded: decodeRecord(p.event, words, this.context),
    };
  }
}

/** @param domVcpu vcpu in the low half, domain in the high half */
function schedule(p: ScheduledPcpu, domVcpu: number): void {
  p.dom = domVcpu >>> 16;
  p.vcpu = domVcpu & 0xffff;
}

/** Keep account of who runs where. */
function track(pcpus: readonly (ScheduledPcpu | undefined)[], p: ScheduledPcpu): void {
  const event = p.event;
  if ((event & 0x0ffff000) === TRC_SCHED_MIN) {
    if (p.extra < 1) return;
    const who = p.words[p.data]!;
    if ((event & 15) === 2 || ((event & 15) === 1 && ((event >>> 4) & 15) === RUNSTATE_RUNNING)) {
      schedule(p, who);
    } else if ((event & 15) === 1 && ((event >>> 8) & 15) === RUNSTATE_RUNNING) {
      if (p.dom === who >>> 16 && p.vcpu === (who & 0xffff)) {
        p.dom = -1;
      } else {
        for (const other of pcpus)
          if (other !== undefined && other.dom === who >>> 16 && other.vcpu === (who & 0xffff)) other.dom = -1;
      }
    }
  } else if (event === TRC_LOST_RECORDS && p.extra === 4) {
    const word = p.words[p.data + 1]!;
    p.afterLoss = (word << 16) | (word >>> 16);
    p.dom = -1;
  }
}

/** Open a trace from bytes, a Blob or a byte source. */
export async function openTrace(input: TraceInput, options: TraceOptions = {}): Promise<Trace> {
  const source = sourceOf(input);
  const builder = new InferenceBuilder();
  const probe = new Trace(source, options, builder.result());
  let left = INFERENCE_RECORDS;
  await probe.scan((record) => {
    builder.record(record.offset, record.event, record.extra, record.words[record.data]! >>> 0);
    return --left > 0;
  });
  return new Trace(source, options, builder.result());
}
