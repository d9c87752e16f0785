import { decodeRecord, encodeRecord, MAX_CPUS, TraceWindowWriter } from '../trace/index.ts';
import { TRC_LOST_RECORDS, TRC_MEM, TRC_SCHED, TRC_SCHED_CONTINUE_RUNNING, TRC_SCHED_MIN } from '../trace/index.ts';
import type { RawRecord, Trace, TraceSink } from '../trace/index.ts';

/** A trace back in xentrace's binary form, cut by time, domain and vCPU. */

export interface Cut {
  /** Seconds of trace time: records from here on … */
  readonly from?: number | undefined;
  /** … up to here. */
  readonly to?: number | undefined;
  /** Only records of this domain: those written while it ran, and those about it. */
  readonly domain?: number | undefined;
  /** Only of this vCPU of it. */
  readonly vcpu?: number | undefined;
}

const WINDOW_BYTES = 32768;
const RECORD_BYTES_MAX = 40;

/** Collects records of all CPUs, and writes them as rounds of windows. */
class Windows {
  private readonly writer: TraceWindowWriter;
  private readonly words: (Int32Array | undefined)[] = [];
  private readonly used: number[] = [];

  constructor(sink: TraceSink) {
    this.writer = new TraceWindowWriter(sink);
  }

  /** Room for one record of a CPU. @returns the CPU's words and where the record begins in them */
  room(cpu: number): { words: Int32Array; at: number } {
    if ((this.used[cpu] ?? 0) + RECORD_BYTES_MAX > WINDOW_BYTES) this.flush();
    const words = (this.words[cpu] ??= new Int32Array(WINDOW_BYTES / 4));
    return { words, at: (this.used[cpu] ??= 0) >> 2 };
  }

  wrote(cpu: number, bytes: number): void {
    this.used[cpu]! += bytes;
  }

  flush(): void {
    for (let cpu = 0; cpu < MAX_CPUS; cpu++) {
      const words = this.words[cpu];
      if (words === undefined || this.used[cpu] === 0) continue;
      this.writer.window(cpu, new Uint8Array(words.buffer, 0, this.used[cpu]!));
      this.used[cpu] = 0;
    }
  }
}

const SCHED_CLASS = TRC_SCHED >>> 16;
const MEM_CLASS = TRC_MEM >>> 16;

/** Whether a record is one of the wanted vCPU's: written while it ran, or about it. */
function concerns(r: RawRecord, cut: Cut, trace: Trace): boolean {
  if (cut.domain === undefined) return true;
  if (r.dom === cut.domain && (cut.vcpu === undefined || r.vcpu === cut.vcpu)) {
    // While it still ran, the change to another vCPU is that one's.
    if ((r.event & 0x0ffff000) !== TRC_SCHED_MIN) return true;
  }
  const cls = r.event >>> 16;
  if (r.event === TRC_LOST_RECORDS) return true;
  if (cls !== SCHED_CLASS && cls !== MEM_CLASS) return false;
  const decoded = decodeRecord(r.event, r.words.subarray(r.data, r.data + r.extra), trace.context);
  const who = decoded.kind === 'event' ? decoded.fields : (decoded as { dom?: number; vcpu?: number });
  const { dom, vcpu } = who;
  return dom === cut.domain && (cut.vcpu === undefined || vcpu === undefined || vcpu === cut.vcpu);
}

/**
 * Write the records that `cut` keeps, unchanged and in their order. Where a CPU's first kept record lies in the middle of the
 * trace, a runstate_continue record before it says who runs there, as Xen itself writes when a vCPU goes on running.
 * @returns how many records were kept, and bytes written
 */
export async function writeXentrace(trace: Trace, cut: Cut, sink: TraceSink): Promise<{ records: number; bytes: number }> {
  let bytes = 0;
  const windows = new Windows((part) => {
    bytes += part.length;
    sink(part);
  });
  const begun = new Set<number>();
  const left = new Set<number>();
  let records = 0;
  await trace.scan((r) => {
    const seconds = trace.firstTsc === 0 ? 0 : trace.scale.ns(r.tsc - trace.firstTsc) / 1e9;
    const kept = !(seconds < (cut.from ?? -Infinity)) && !(seconds > (cut.to ?? Infinity)) && concerns(r, cut, trace);
    if (!kept) {
      left.add(r.pid);
      return;
    }
    let hasTsc = r.hasTsc;
    if (!begun.has(r.pid)) {
      begun.add(r.pid);
      const says = (r.event & 0x0ffff000) === TRC_SCHED_MIN || r.event === TRC_LOST_RECORDS;
      if (left.has(r.pid) && r.dom >= 0 && !says && (cut.domain === undefined || cut.domain === r.dom)) {
        const { words, at } = windows.room(r.pid);
        const who = (r.dom << 16) | r.vcpu;
        const size = encodeRecord(words, at, TRC_SCHED_CONTINUE_RUNNING, r.tsc, 1, who);
        absolute(words, at, trace.tscBase);
        windows.wrote(r.pid, size);
      } else if (!hasTsc) {
        // Its time is that of a record that is cut off.
        const { words, at } = windows.room(r.pid);
        const size = encodeRecord(words, at, r.event, r.tsc, 0);
        words[at] = words[at]! | (r.extra << 28);
        absolute(words, at, trace.tscBase);
        words.set(r.words.subarray(r.data, r.data + r.extra), at + 3);
        windows.wrote(r.pid, size + r.extra * 4);
        records++;
        return;
      }
      hasTsc = r.hasTsc;
    }
    const { words, at } = windows.room(r.pid);
    const first = r.data - (hasTsc ? 3 : 1);
    words.set(r.words.subarray(first, r.data + r.extra), at);
    windows.wrote(r.pid, (r.data + r.extra - first) * 4);
    records++;
  });
  windows.flush();
  return { records, bytes };
}

/** A TSC as the file has it, where the reader counts from a base. */
function absolute(words: Int32Array, at: number, base: bigint): void {
  words[at + 2] = words[at + 2]! + Number(base >> 32n);
}
