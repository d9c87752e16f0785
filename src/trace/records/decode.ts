import { gpa, gva, INVALID_MFN, mfn } from '../../base/address.ts';
import type { Gpa, Gva, Mfn } from '../../base/address.ts';
import {
  schedClassEvent,
  TRC_64_FLAG,
  TRC_HVM_INJ_VIRQ,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOPORT_READ,
  TRC_HVM_NESTEDFLAG,
  TRC_HVM_NPF,
  TRC_HVM_SVM_EXIT,
  TRC_HVM_VMENTRY,
  TRC_HVM_VMEXIT,
  TRC_HVM_WRITE_FLAG,
  TRC_LOST_RECORDS,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_CSCHED2,
  TRC_TRACE_WRAP_BUFFER,
} from '../events.ts';
import { exitReasonName } from './exit-reasons.ts';
import type { Vendor } from './exit-reasons.ts';
import { layoutOf } from './layouts.ts';
import type { FieldValue, RecordClass } from './layouts.ts';

export type Runstate = 'running' | 'runnable' | 'blocked' | 'offline';
const RUNSTATES: readonly Runstate[] = ['running', 'runnable', 'blocked', 'offline'];

/** A record's content by name. `kind` tells the form; all numbers are unsigned unless said otherwise. */
export type Decoded =
  /** Records found no room: how many, who runs on the pCPU now, TSC of the first that was lost (same base as the record's). */
  | { kind: 'lost_records'; class: 'gen'; count: number; dom: number; vcpu: number; firstLostTsc: number }
  /** Padding at the end of a per-CPU ring; the extra words are stale. */
  | { kind: 'wrap_buffer'; class: 'gen' }
  | { kind: 'runstate_change'; class: 'sched'; dom: number; vcpu: number; from: Runstate; to: Runstate }
  | { kind: 'runstate_continue'; class: 'sched'; dom: number; vcpu: number }
  | { kind: 'vmentry'; class: 'hvm'; nested: boolean }
  /** `vendor` is null where the record does not tell and nobody else does; then `reasonName` is null too. */
  | { kind: 'vmexit'; class: 'hvm'; nested: boolean; vendor: Vendor | null; reason: number; reasonName: string | null; rip: Gva }
  /** A write is traced before it is emulated, a read when its data is there. `data` is null where a pointer was given. */
  | { kind: 'mmio'; class: 'hvm'; write: boolean; gpa: Gpa; data: bigint | null }
  | { kind: 'pio'; class: 'hvm'; write: boolean; port: number; data: number | null }
  /** Nested page fault or EPT violation. `mfn` is INVALID_MFN (−1) where no frame is mapped. */
  | { kind: 'npf'; class: 'hvm'; gpa: Gpa; mfn: Mfn; qualification: number; p2mt: number }
  | { kind: 'inj_virq'; class: 'hvm'; vector: number; fake: boolean }
  /** Any other event whose layout is known: fields by name, 64-bit ones as bigint. */
  | { kind: 'event'; class: RecordClass; name: string; fields: Readonly<Record<string, FieldValue>> }
  /** No layout is known, or the record has fewer words than its layout needs. */
  | { kind: 'unknown'; class: RecordClass | null };

/** Which class an event belongs to; null unless exactly one class bit (27:16) is set. */
export function classOf(event: number): RecordClass | null {
  switch ((event >>> 16) & 0xfff) {
    case 0x001:
      return 'gen';
    case 0x002:
      return 'sched';
    case 0x004:
      return 'dom0op';
    case 0x008:
      return 'hvm';
    case 0x010:
      return 'mem';
    case 0x020:
      return 'pv';
    case 0x040:
      return 'shadow';
    case 0x080:
      return 'hw';
    case 0x800:
      return 'guest';
    default:
      return null;
  }
}

const CREDIT2_EVENTS = schedClassEvent(TRC_SCHED_CSCHED2, 0) >>> 9;

const u64 = (words: ArrayLike<number>, at: number): bigint => (BigInt(words[at + 1]! >>> 0) << 32n) | BigInt(words[at]! >>> 0);
const u53 = (words: ArrayLike<number>, at: number): number => (words[at + 1]! >>> 0) * 0x100000000 + (words[at]! >>> 0);
const frame = (words: ArrayLike<number>, at: number): Mfn =>
  words[at]! >>> 0 === 0xffffffff && words[at + 1]! >>> 0 === 0xffffffff ? INVALID_MFN : mfn(u53(words, at));

/** What a record alone does not tell. */
export interface DecodeContext {
  /** Whose exit reasons a VMEXIT of Xen before 4.19 holds; null if unknown. */
  vendor: Vendor | null;
  /** N of the Xen 4.N that wrote the record, or the newest it can be; null if unknown. */
  xenMinor: number | null;
  /** What the reader took off the high word of every TSC. */
  tscBaseHigh: number;
}

/** From this release on SVM exits have an event of their own. */
const SVM_EXIT_SINCE = 19;
/** Up to this release credit2's records hold the domain in the low half and the vCPU in the high half of their word. */
export const CREDIT2_SWAPPED_UNTIL = 6;

/**
 * Decode one record.
 * @param event event number
 * @param words its extra words, and no more
 */
export function decodeRecord(event: number, words: ArrayLike<number>, context: DecodeContext): Decoded {
  const cls = classOf(event);
  switch (cls) {
    case 'hvm': {
      const hvm = decodeHvm(event, words, context);
      if (hvm !== null) return hvm;
      break;
    }
    case 'sched':
      if ((event & 0xf00f) === 0x1001 && words.length >= 1 && (event & 0xff0) >>> 8 < 4 && ((event >>> 4) & 15) < 4) {
        return {
          kind: 'runstate_change',
          class: 'sched',
          dom: words[0]! >>> 16,
          vcpu: words[0]! & 0xffff,
          from: RUNSTATES[(event >>> 8) & 15]!,
          to: RUNSTATES[(event >>> 4) & 15]!,
        };
      }
      if (event === TRC_SCHED_CONTINUE_RUNNING && words.length >= 1) {
        return { kind: 'runstate_continue', class: 'sched', dom: words[0]! >>> 16, vcpu: words[0]! & 0xffff };
      }
      break;
    case 'gen':
      if (event === TRC_TRACE_WRAP_BUFFER) return { kind: 'wrap_buffer', class: 'gen' };
      if (event === TRC_LOST_RECORDS && words.length === 4) {
        return {
          kind: 'lost_records',
          class: 'gen',
          count: words[0]! >>> 0,
          dom: words[1]! & 0xffff,
          vcpu: words[1]! >>> 16,
          firstLostTsc: (words[2]! >>> 0) + ((words[3]! >>> 0) - context.tscBaseHigh) * 0x100000000,
        };
      }
      break;
    default:
  }
  if (cls === null) return { kind: 'unknown', class: null };
  const layout = layoutOf(event, words.length);
  if (layout === null) return { kind: 'unknown', class: cls };
  const fields = layout.read(words);
  if (
    event >>> 9 === CREDIT2_EVENTS &&
    context.xenMinor !== null &&
    context.xenMinor <= CREDIT2_SWAPPED_UNTIL &&
    'dom' in fields
  ) {
    const { dom, vcpu } = fields;
    fields['dom'] = vcpu!;
    fields['vcpu'] = dom!;
  }
  return { kind: 'event', class: cls, name: layout.name, fields };
}

function decodeHvm(event: number, words: ArrayLike<number>, context: DecodeContext): Decoded | null {
  const count = words.length;
  const wide = (event & TRC_64_FLAG) !== 0;
  const nested = (event & TRC_HVM_NESTEDFLAG) !== 0;
  switch (event & ~(TRC_64_FLAG | TRC_HVM_NESTEDFLAG)) {
    case TRC_HVM_VMENTRY:
      return { kind: 'vmentry', class: 'hvm', nested };
    case TRC_HVM_VMEXIT:
    case TRC_HVM_SVM_EXIT: {
      if (count < (wide ? 3 : 2)) return null;
      const own =
        (event & 0xff) === 3
          ? 'svm'
          : context.xenMinor !== null && context.xenMinor >= SVM_EXIT_SINCE && context.vendor === null
            ? 'vmx'
            : context.vendor;
      const reason = words[0]! >>> 0;
      return {
        kind: 'vmexit',
        class: 'hvm',
        nested,
        vendor: own,
        reason,
        reasonName: own === null ? null : exitReasonName(own, reason),
        rip: gva(wide ? u64(words, 1) : BigInt(words[1]! >>> 0)),
      };
    }
    case TRC_HVM_IOMEM_READ:
    case TRC_HVM_IOMEM_READ | TRC_HVM_WRITE_FLAG: {
      if (count < (wide ? 2 : 1)) return null;
      const write = (event & TRC_HVM_WRITE_FLAG) !== 0;
      // A wide record holds u64 gpa and data; data was 32 bits in old releases, 64 bits in newer ones.
      const data = wide
        ? count >= 4
          ? u64(words, 2)
          : count === 3
            ? BigInt(words[2]! >>> 0)
            : null
        : count >= 2
          ? BigInt(words[1]! >>> 0)
          : null;
      return { kind: 'mmio', class: 'hvm', write, gpa: gpa(wide ? u53(words, 0) : words[0]! >>> 0), data };
    }
    case TRC_HVM_IOPORT_READ:
    case TRC_HVM_IOPORT_READ | TRC_HVM_WRITE_FLAG:
      if (wide || count < 1) return null;
      return {
        kind: 'pio',
        class: 'hvm',
        write: (event & TRC_HVM_WRITE_FLAG) !== 0,
        port: words[0]! >>> 0,
        data: count >= 2 ? words[1]! >>> 0 : null,
      };
    case TRC_HVM_NPF:
      if (count < 6) return null;
      return {
        kind: 'npf',
        class: 'hvm',
        gpa: gpa(u53(words, 0)),
        mfn: frame(words, 2),
        qualification: words[4]! >>> 0,
        p2mt: words[5]! >>> 0,
      };
    case TRC_HVM_INJ_VIRQ:
      if (count < 1) return null;
      return { kind: 'inj_virq', class: 'hvm', vector: words[0]! >>> 0, fake: count > 1 && words[1] !== 0 };
    default:
      return null;
  }
}
