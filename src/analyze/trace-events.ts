import { INVALID_MFN } from '../base/address.ts';
import {
  decodeRecord, TRC_64_FLAG, TRC_HVM_INJ_VIRQ, TRC_HVM_IOMEM_READ, TRC_HVM_IOMEM_WRITE, TRC_HVM_IOPORT_READ, TRC_HVM_IOPORT_WRITE,
  TRC_HVM_NPF, TRC_HVM_SVM_EXIT, TRC_HVM_VMENTRY, TRC_HVM_VMEXIT, TRC_HVM_VMMCALL, TRC_LOST_RECORDS, TRC_MEM_SET_P2M_ENTRY, TRC_PV_HYPERCALL,
  TRC_PV_HYPERCALL_V2, TRC_SCHED_RUNSTATE_CHANGE, type RawRecord, type Trace,
} from '../trace/index.ts';
import { traceOffset } from './evidence.ts';
import type { TraceEvent } from './events.ts';

/** Bits 11:4 of a runstate change hold the old and the new state. */
const RUNSTATE_MASK = 0x0ffff00f;
const HYPERCALL_OP = 0xfffff;
const RETURNS_TO_XEN_ONLY = 23; // iret: dom0's commonest hypercall, and no evidence of anything
const DECODED: ReadonlySet<number> = new Set([
  TRC_HVM_VMENTRY, TRC_HVM_VMEXIT, TRC_HVM_SVM_EXIT, TRC_HVM_IOMEM_READ, TRC_HVM_IOMEM_WRITE, TRC_HVM_IOPORT_READ, TRC_HVM_IOPORT_WRITE,
  TRC_HVM_NPF, TRC_HVM_INJ_VIRQ, TRC_LOST_RECORDS,
]);

/**
 * Gives `visit` every record of a trace that an I/O path is read from, in merged order. Streams; records of other
 * kinds cost no allocation.
 */
export async function scanTrace(trace: Trace, visit: (event: TraceEvent) => void): Promise<void> {
  await trace.scan((record) => {
    const event = toEvent(trace, record);
    if (event !== undefined) visit(event);
  });
}

function toEvent(trace: Trace, r: RawRecord): TraceEvent | undefined {
  const plain = r.event & ~TRC_64_FLAG;
  const isRunstate = (r.event & RUNSTATE_MASK) === TRC_SCHED_RUNSTATE_CHANGE;
  if (!isRunstate && !DECODED.has(plain) && r.event !== TRC_PV_HYPERCALL_V2 && plain !== TRC_PV_HYPERCALL && r.event !== TRC_HVM_VMMCALL && r.event !== TRC_MEM_SET_P2M_ENTRY) {
    return undefined;
  }
  const word = (i: number): number => (i < r.extra ? r.words[r.data + i]! >>> 0 : 0);
  const base = {
    ref: traceOffset(r.offset), timeNs: trace.firstTsc === 0 ? 0 : trace.scale.ns(r.tsc - trace.firstTsc), pcpu: r.pid,
    dom: r.dom < 0 ? -1 : r.dom, vcpu: r.dom < 0 ? -1 : r.vcpu,
  };
  if (r.event === TRC_PV_HYPERCALL_V2 || plain === TRC_PV_HYPERCALL) {
    // Version 2 holds the number first; the older record holds eip (two words when 64-bit), then eax.
    const number = r.event === TRC_PV_HYPERCALL_V2 ? word(0) & HYPERCALL_OP : word(r.event & TRC_64_FLAG ? 2 : 1);
    return number === RETURNS_TO_XEN_ONLY ? undefined : { ...base, kind: 'hypercall', number, hvm: false };
  }
  if (r.event === TRC_HVM_VMMCALL) return { ...base, kind: 'hypercall', number: word(0), hvm: true };
  if (r.event === TRC_MEM_SET_P2M_ENTRY) {
    if (r.extra < 6) return undefined;
    const absent = word(2) === 0xffffffff && word(3) === 0xffffffff;
    return {
      ...base, kind: 'p2m', gfn: word(0) + word(1) * 2 ** 32, mfn: absent ? undefined : BigInt(word(2)) | (BigInt(word(3)) << 32n),
      p2mType: word(4), domid: word(5) & 0xffff, order: word(5) >>> 16,
    };
  }
  const d = decodeRecord(r.event, r.words.subarray(r.data, r.data + r.extra), trace.context);
  switch (d.kind) {
    case 'vmentry': return d.nested ? undefined : { ...base, kind: 'vmentry' };
    case 'vmexit': return d.nested ? undefined : { ...base, kind: 'vmexit', reason: d.reasonName ?? `reason ${d.reason}`, rip: d.rip };
    case 'mmio': return { ...base, kind: 'io', space: 'mmio', dir: d.write ? 'write' : 'read', addr: d.gpa, data: d.data ?? undefined };
    case 'pio': return { ...base, kind: 'io', space: 'pio', dir: d.write ? 'write' : 'read', addr: d.port, data: d.data === null ? undefined : BigInt(d.data) };
    case 'npf': return { ...base, kind: 'npf', gpa: d.gpa, mfn: d.mfn === INVALID_MFN ? undefined : BigInt(d.mfn), qualification: d.qualification, p2mType: d.p2mt };
    case 'inj_virq': return { ...base, kind: 'inject', vector: d.vector };
    case 'runstate_change': return { ...base, kind: 'runstate', dom: d.dom, vcpu: d.vcpu, from: d.from, to: d.to };
    case 'lost_records':
      return {
        ...base, kind: 'lost', count: d.count, timeNs: trace.scale.ns(d.firstLostTsc - trace.firstTsc),
        untilNs: trace.scale.ns(r.tsc - trace.firstTsc),
      };
    default: return undefined;
  }
}
