import {
  TRC_64_FLAG,
  TRC_HVM_CPUID,
  TRC_HVM_EMUL,
  TRC_HVM_INTR,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_SVM_EXIT,
  TRC_HVM_VMEXIT,
  TRC_HVM_WRITE_FLAG,
  TRC_SCHED_SWITCH_INFCONT,
  TRC_SCHED_SWITCH_INFPREV,
} from '../events.ts';
import type { Vendor } from './exit-reasons.ts';

/**
 * What wrote a trace: the format says neither Xen's version nor the processor's vendor, so both are inferred from the
 * shapes of records.
 */
export interface Inference {
  /** null when nothing in the trace tells, or what does contradicts itself. */
  vendor: Vendor | null;
  /** Oldest and newest release whose records look like this, as "4.12"; null when unknown. */
  xenFrom: string | null;
  xenTo: string | null;
  /** Each fact with the file offset of the first record that shows it. */
  evidence: { offset: number; says: string }[];
  /** True when facts contradict each other. */
  ambiguous: boolean;
  /** The releases are what the user said, whatever the records look like. */
  told?: boolean;
}

const OLDEST = 4;
const NEWEST = 22;

/** Collects evidence from records, one call each. */
export class InferenceBuilder {
  private from = OLDEST;
  private to = NEWEST;
  private svm = 0;
  private vmx = 0;
  private readonly evidence: { offset: number; says: string }[] = [];
  private readonly seen = new Set<string>();

  private say(key: string, offset: number, says: string, from: number, to: number): void {
    if (this.seen.has(key)) return;
    this.seen.add(key);
    this.evidence.push({ offset, says });
    if (from > this.from) this.from = from;
    if (to < this.to) this.to = to;
  }

  /** @param word0 the first extra word, unsigned; anything if there is none */
  record(offset: number, event: number, extra: number, word0: number): void {
    const cls = event >>> 16;
    if (cls === 0x08) this.hvm(offset, event, extra, word0);
    else if (cls === 0x02) this.sched(offset, event, extra);
    else if (cls === 0x04) this.say('domops', offset, 'domain create/destroy records came in 4.7', 7, NEWEST);
  }

  private hvm(offset: number, event: number, extra: number, word0: number): void {
    const plain = event & ~TRC_64_FLAG;
    if (plain === TRC_HVM_SVM_EXIT) {
      this.svm += 100;
      this.say('svm-exit', offset, 'event 0x81003: SVM exits have an event of their own since 4.19', 19, NEWEST);
    } else if (plain === TRC_HVM_VMEXIT && extra >= 2) {
      if (word0 === 0x400) {
        this.svm += 10;
        this.say('npf', offset, 'exit reason 0x400 under event 0x81002: an SVM nested page fault, before 4.19', OLDEST, 18);
      } else if (word0 >= 64 && word0 <= 143) {
        this.svm += 10;
        this.say(`svm${word0}`, offset, `exit reason ${word0} under event 0x81002: SVM, before 4.19`, OLDEST, 18);
      } else if (word0 === 48 || word0 === 30 || word0 === 1 || word0 === 12 || word0 === 10 || word0 === 7 || word0 === 18) {
        // As SVM codes these would be accesses to CR1, CR7, CR10, CR12, CR2 writes, CR14 writes or DR0 writes.
        this.vmx += 1;
        if (word0 === 48 || word0 === 30 || word0 === 1)
          this.say(`vmx${word0}`, offset, `exit reason ${word0}: a VMX exit that SVM could not have`, OLDEST, NEWEST);
      }
    } else if (plain === TRC_HVM_INTR) {
      if (extra === 0) this.svm += 1;
      else this.vmx += 1;
    } else if ((event & 0xf000) === (TRC_HVM_EMUL & 0xf000)) {
      this.say('emul', offset, 'records of emulated devices (0x84xxx) came in 4.5', 5, NEWEST);
    } else if ((event & 0xfff) === 0x126 || (event & 0xfff) === 0x127) {
      this.say('xcr', offset, 'XCR records came in 4.11', 11, NEWEST);
    } else if (plain === TRC_HVM_CPUID) {
      if (extra === 5) this.say('cpuid5', offset, 'CPUID record without a sub-leaf: up to 4.12', OLDEST, 12);
      else if (extra === 6) this.say('cpuid6', offset, 'CPUID record with a sub-leaf: since 4.13', 13, NEWEST);
    } else if ((event & ~TRC_HVM_WRITE_FLAG) === TRC_HVM_IOMEM_READ + TRC_64_FLAG) {
      if (extra === 3) this.say('mmio3', offset, '64-bit MMIO record with 32-bit data: up to 4.11', OLDEST, 11);
      else if (extra === 4) this.say('mmio4', offset, '64-bit MMIO record with 64-bit data: since 4.12', 12, NEWEST);
    }
  }

  private sched(offset: number, event: number, extra: number): void {
    if (event === TRC_SCHED_SWITCH_INFCONT) this.say('infcont', offset, 'switch_infcont came in 4.9', 9, NEWEST);
    else if (event === TRC_SCHED_SWITCH_INFPREV) {
      if (extra === 2) this.say('infprev2', offset, 'switch_infprev without a vCPU: up to 4.7', OLDEST, 7);
      else if (extra === 3) this.say('infprev3', offset, 'switch_infprev with a vCPU: since 4.8', 8, NEWEST);
    } else if (event >= 0x22800 && event < 0x22a00) this.rtds(offset, event & 0x1ff, extra);
    else if (event >= 0x22a00 && event < 0x22c00) this.say('null', offset, 'the null scheduler came in 4.10', 10, NEWEST);
    else if (event === 0x22203) {
      if (extra === 3) this.say('burn3', offset, 'credit2 burn record without a budget: up to 4.9', OLDEST, 9);
      else if (extra === 4) this.say('burn4', offset, 'credit2 burn record with a budget: since 4.10', 10, NEWEST);
    } else if (event === 0x22217) {
      this.say('candcheck', offset, 'credit2 runq_cand_check came in 4.9', 9, NEWEST);
    }
  }

  private rtds(offset: number, number: number, extra: number): void {
    this.say('rtds', offset, 'the RTDS scheduler came in 4.5', 5, NEWEST);
    const old = number === 3 ? 4 : number === 4 ? 5 : 0;
    if (old === 0) return;
    const name = number === 3 ? 'burn_budget' : 'repl_budget';
    if (extra === old)
      this.say(`rtds${number}old`, offset, `RTDS ${name} record without a priority level (${old} words): up to 4.9`, OLDEST, 9);
    else if (extra === 6)
      this.say(`rtds${number}new`, offset, `RTDS ${name} record with a priority level (6 words): since 4.10`, 10, NEWEST);
  }

  result(): Inference {
    const conflict = this.from > this.to || (this.svm >= 10 && this.vmx > this.svm);
    return {
      vendor: this.svm === this.vmx ? null : this.svm > this.vmx ? 'svm' : 'vmx',
      xenFrom: this.from > this.to ? null : `4.${this.from}`,
      xenTo: this.from > this.to ? null : `4.${this.to}`,
      evidence: [...this.evidence].sort((a, b) => a.offset - b.offset),
      ambiguous: conflict,
    };
  }
}
