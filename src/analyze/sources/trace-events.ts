import { INVALID_MFN } from '../../base/address.ts';
import {
  decodeRecord,
  TRC_64_FLAG,
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_IOPORT_READ,
  TRC_HVM_IOPORT_WRITE,
  TRC_GEN,
  TRC_HVM,
  TRC_HVM_NPF,
  TRC_HVM_SVM_EXIT,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_LOST_RECORDS,
  TRC_MEM,
  TRC_MEM_SET_P2M_ENTRY,
  TRC_PV,
  TRC_PV_HYPERCALL,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED,
  TRC_SCHED_RUNSTATE_CHANGE,
  type RawRecord,
  type Trace,
} from '../../trace/index.ts';
import { traceOffset } from './evidence.ts';
import type { Runstate, TraceEvent } from './events.ts';

/** Bits 11:4 of a runstate change hold the old and the new state. */
const RUNSTATE_MASK = 0x0ffff00f;
const HYPERCALL_OP = 0xfffff;
const IRET = 23; // dom0's commonest hypercall, and no evidence of anything

const RECORDS_A_PROGRESS = 1 << 16;

/** Where a scan's events go. */
interface EventVisitor {
  event(event: TraceEvent): void;
  /** A hypercall of a PV domain but iret: half of a busy host's records, so without an object each. */
  hypercall(dom: number, number: number, offset: number, timeNs: () => number): void;
}

/**
 * Gives `visitor` every record of a trace that an I/O path is read from, in merged order. Streams; records of other
 * kinds cost no allocation.
 * @param progress called now and then with about how many bytes of the file are read
 */
export async function scanTrace(trace: Trace, visitor: EventVisitor, progress?: (bytes: number) => void): Promise<void> {
  let untilProgress = RECORDS_A_PROGRESS;
  let current: RawRecord | undefined;
  const timeNs = (): number => timeOf(trace, current!);
  await trace.scan((record) => {
    if (progress !== undefined && --untilProgress === 0) {
      untilProgress = RECORDS_A_PROGRESS;
      progress(record.offset);
    }
    if (!matters(record)) return;
    if (record.event >>> 16 === TRC_PV >>> 16) {
      current = record;
      visitor.hypercall(record.dom, hypercallNumber(record), record.offset, timeNs);
      return;
    }
    const event = toEvent(trace, record);
    if (event !== undefined) visitor.event(event);
  });
}

/** Version 2 holds the number first; the older record holds eip (two words when 64-bit), then eax. */
function hypercallNumber(r: RawRecord): number {
  const at = r.event === TRC_PV_HYPERCALL_V2 ? 0 : r.event & TRC_64_FLAG ? 2 : 1;
  return at < r.extra ? (r.words[r.data + at]! & HYPERCALL_OP) >>> 0 : IRET;
}

function matters(r: RawRecord): boolean {
  const { event } = r;
  switch (event >>> 16) {
    case TRC_PV >>> 16: {
      if (event !== TRC_PV_HYPERCALL_V2 && (event & ~TRC_64_FLAG) !== TRC_PV_HYPERCALL) return false;
      return hypercallNumber(r) !== IRET;
    }
    case TRC_SCHED >>> 16:
      return (event & RUNSTATE_MASK) === TRC_SCHED_RUNSTATE_CHANGE;
    case TRC_MEM >>> 16:
      return event === TRC_MEM_SET_P2M_ENTRY && r.extra >= 6;
    case TRC_GEN >>> 16:
      return event === TRC_LOST_RECORDS;
    case TRC_HVM >>> 16:
      switch (event & ~TRC_64_FLAG) {
        case TRC_HVM_VMENTRY:
        case TRC_HVM_VMEXIT:
        case TRC_HVM_SVM_EXIT:
        case TRC_HVM_IOMEM_READ:
        case TRC_HVM_IOMEM_WRITE:
        case TRC_HVM_IOPORT_READ:
        case TRC_HVM_IOPORT_WRITE:
        case TRC_HVM_NPF:
        case TRC_HVM_INJ_VIRQ:
          return true;
        default:
          return false;
      }
    default:
      return false;
  }
}

/** Nanoseconds of trace time at a TSC: by the rate itself, where xenalyze's dump takes one rounded to 1024ths of a GHz. */
const nsAt = (trace: Trace, tsc: number): number =>
  trace.firstTsc === 0 ? 0 : Math.max(0, ((tsc - trace.firstTsc) * 1e9) / trace.scale.hz);
const timeOf = (trace: Trace, r: RawRecord): number => nsAt(trace, r.tsc);
const RUNSTATES: readonly Runstate[] = ['running', 'runnable', 'blocked', 'offline'];

function toEvent(trace: Trace, r: RawRecord): TraceEvent | undefined {
  const word = (i: number): number => (i < r.extra ? r.words[r.data + i]! >>> 0 : 0);
  if (r.event >>> 16 === TRC_SCHED >>> 16) {
    const from = RUNSTATES[(r.event >>> 8) & 15];
    const to = RUNSTATES[(r.event >>> 4) & 15];
    if (from === undefined || to === undefined || r.extra < 1) return undefined;
    return {
      kind: 'runstate',
      ref: traceOffset(r.offset),
      timeNs: timeOf(trace, r),
      pcpu: r.pid,
      dom: word(0) >>> 16,
      vcpu: word(0) & 0xffff,
      from,
      to,
    };
  }
  const base = {
    ref: traceOffset(r.offset),
    timeNs: timeOf(trace, r),
    pcpu: r.pid,
    dom: r.dom < 0 ? -1 : r.dom,
    vcpu: r.dom < 0 ? -1 : r.vcpu,
  };
  if (r.event === TRC_MEM_SET_P2M_ENTRY) {
    const absent = word(2) === 0xffffffff && word(3) === 0xffffffff;
    return {
      ...base,
      kind: 'p2m',
      gfn: word(0) + word(1) * 2 ** 32,
      mfn: absent ? undefined : BigInt(word(2)) | (BigInt(word(3)) << 32n),
      p2mType: word(4),
      domid: word(5) & 0xffff,
      order: word(5) >>> 16,
    };
  }
  const d = decodeRecord(r.event, r.words.subarray(r.data, r.data + r.extra), trace.context);
  switch (d.kind) {
    case 'vmentry':
      return d.nested ? undefined : { ...base, kind: 'vmentry' };
    case 'vmexit':
      return d.nested ? undefined : { ...base, kind: 'vmexit', reason: d.reasonName ?? `reason ${d.reason}`, rip: d.rip };
    case 'mmio':
      return { ...base, kind: 'io', space: 'mmio', dir: d.write ? 'write' : 'read', addr: d.gpa, data: d.data ?? undefined };
    case 'pio':
      return {
        ...base,
        kind: 'io',
        space: 'pio',
        dir: d.write ? 'write' : 'read',
        addr: d.port,
        data: d.data === null ? undefined : BigInt(d.data),
      };
    case 'npf':
      return {
        ...base,
        kind: 'npf',
        gpa: d.gpa,
        mfn: d.mfn === INVALID_MFN ? undefined : BigInt(d.mfn),
        qualification: d.qualification,
        p2mType: d.p2mt,
      };
    case 'inj_virq':
      return { ...base, kind: 'inject', vector: d.vector };
    case 'lost_records':
      return {
        ...base,
        kind: 'lost',
        count: d.count,
        timeNs: nsAt(trace, d.firstLostTsc),
        untilNs: nsAt(trace, r.tsc),
      };
    default:
      return undefined;
  }
}
