import type { Ref } from '../sources/evidence.ts';
import type { LostEvent } from '../sources/events.ts';
import {
  KEPT_HYPERCALLS,
  type HypercallCount,
  type Hypercalls,
  type Injection,
  type IoAccess,
  type Mark,
  type Marks,
  type NestedFault,
} from './io.ts';
import { FLAGS, Names, Rows, StoredRow } from '../sources/rows.ts';

/**
 * Accesses of a whole trace, each a row of numbers: about 300 bytes, where the objects they are read as take 1.4 KB.
 * Objects are made when asked for; the access itself is one and the same each time.
 */

const MARKS = [
  'exit',
  'notified',
  'blocked',
  'modelRuns',
  'woken',
  'resumed',
  'entry',
] as const satisfies readonly (keyof Marks)[];

// f64 columns: time and place of the record, of each mark; addresses.
const ADDRESS = 0;
const RECORD = 1;
const MARK = 3;
const NPF_GPA = MARK + 2 * MARKS.length;
const NPF_AT = NPF_GPA + 1;
const DOUBLES = NPF_AT + 1;

// i32 columns, beside FLAGS.
const DOM = 1;
const VCPU = 2;
const DATA = 3;
const RIP = 5;
const REASON = 7;
const PCPUS = 8;
const NPF_MFN = 10;
const NPF_QUALIFICATION = 12;
const NPF_TYPE = 13;
const MODEL = 14;
/** Number of the loss, from 1. */
const LOSS = 16;
const HYPERCALLS = 17;
/** First row in the pool, and how many. */
const KEPT = 18;
const INJECTED = 20;
const WORDS = 22;

const F_PIO = 1;
const F_WRITE = 2;
const F_DATA = 4;
const F_RIP = 8;
const F_REASON = 0x10;
const F_NPF = 0x20;
const F_NPF_MFN = 0x40;
const F_MODEL = 0x80;
const F_LOSS_BEFORE = 0x100;
const F_EXIT_PCPU = 0x200;
const F_ENTRY_PCPU = 0x400;
const F_DATA_CUT = 0x800;
/** Bit of the first mark. */
const F_MARK = 0x1000;
/** Lowest of two bits: why there is no entry. */
const UNFINISHED_SHIFT = 24;
const UNFINISHED: readonly IoAccess['unfinished'][] = [undefined, 'records lost', 'trace ends', 'next exit without an entry'];

/** Holds finished accesses by their index. */
export class AccessStore {
  readonly rows = new Rows(DOUBLES, WORDS);
  /** Time, place, vector. */
  readonly injected = new Rows(2, 1);
  /** Time and place of the last; number and count. */
  readonly kept = new Rows(2, 2);
  readonly reasons = new Names();
  readonly losses: LostEvent[] = [];
  private readonly lossNumbers = new Map<LostEvent, number>();
  private readonly accessList: IoAccess[] = [];
  private lastInjected = 0;
  private lastKept = 0;
  private file: Ref['file'] = 'trace';
  private unit: Ref['unit'] = 'offset';

  /** Takes an access that will not change any more. */
  add(a: IoAccess): void {
    const { rows } = this;
    const row = a.index;
    this.file = a.record.ref.file;
    this.unit = a.record.ref.unit;
    rows.reserve(row);
    rows.setDouble(row, ADDRESS, a.addr);
    this.setMark(row, RECORD, a.record);
    let flags =
      (a.space === 'pio' ? F_PIO : 0) |
      (a.dir === 'write' ? F_WRITE : 0) |
      (a.lossBefore ? F_LOSS_BEFORE : 0) |
      (a.dataCut ? F_DATA_CUT : 0) |
      (UNFINISHED.indexOf(a.unfinished) << UNFINISHED_SHIFT);
    MARKS.forEach((name, i) => {
      const mark = a.marks[name];
      if (mark === undefined) return;
      flags |= F_MARK << i;
      this.setMark(row, MARK + 2 * i, mark);
    });
    rows.setWord(row, DOM, a.dom);
    rows.setWord(row, VCPU, a.vcpu);
    if (a.data !== undefined) {
      flags |= F_DATA;
      rows.setBig(row, DATA, a.data);
    }
    if (a.rip !== undefined) {
      flags |= F_RIP;
      rows.setBig(row, RIP, a.rip);
    }
    if (a.exitReason !== undefined) {
      flags |= F_REASON;
      rows.setWord(row, REASON, this.reasons.number(a.exitReason));
    }
    if (a.pcpus.exit !== undefined) {
      flags |= F_EXIT_PCPU;
      rows.setWord(row, PCPUS, a.pcpus.exit);
    }
    if (a.pcpus.entry !== undefined) {
      flags |= F_ENTRY_PCPU;
      rows.setWord(row, PCPUS + 1, a.pcpus.entry);
    }
    if (a.npf !== undefined) {
      flags |= F_NPF;
      rows.setDouble(row, NPF_GPA, a.npf.gpa);
      rows.setDouble(row, NPF_AT, a.npf.ref.at);
      rows.setWord(row, NPF_QUALIFICATION, a.npf.qualification);
      rows.setWord(row, NPF_TYPE, a.npf.p2mType);
      if (a.npf.mfn !== undefined) {
        flags |= F_NPF_MFN;
        rows.setBig(row, NPF_MFN, a.npf.mfn);
      }
    }
    const { model } = a.marks;
    if (model !== undefined) {
      flags |= F_MODEL;
      rows.setWord(row, MODEL, model.dom);
      rows.setWord(row, MODEL + 1, model.vcpu);
    }
    if (a.lost !== undefined) rows.setWord(row, LOSS, this.lossNumber(a.lost));
    rows.setWord(row, FLAGS, flags);
    rows.setWord(row, HYPERCALLS, a.hypercalls.total);
    this.keepHypercalls(row, a.hypercalls);
    this.keepInjected(row, a.injected);
    this.accessList[row] = new StoredAccess(this, row);
  }

  /** All accesses, in the order of their indices. */
  get accesses(): readonly IoAccess[] {
    return this.accessList;
  }

  /** Multiplies every time: the trace's ticks have another length than was taken. */
  rescale(factor: number): void {
    const scale = (rows: Rows, row: number, column: number): void => {
      rows.setDouble(row, column, rows.double(row, column) * factor);
    };
    for (let row = 0; row < this.accessList.length; row++) {
      scale(this.rows, row, RECORD);
      for (let i = 0; i < MARKS.length; i++) scale(this.rows, row, MARK + 2 * i);
    }
    for (let row = 0; row < this.lastInjected; row++) scale(this.injected, row, 0);
    for (let row = 0; row < this.lastKept; row++) scale(this.kept, row, 0);
  }

  ref(at: number): Ref {
    return { file: this.file, unit: this.unit, at };
  }

  private setMark(row: number, column: number, mark: Mark): void {
    this.rows.setDouble(row, column, mark.timeNs);
    this.rows.setDouble(row, column + 1, mark.ref.at);
  }

  private lossNumber(lost: LostEvent): number {
    let n = this.lossNumbers.get(lost);
    if (n === undefined) {
      n = this.losses.push(lost);
      this.lossNumbers.set(lost, n);
    }
    return n;
  }

  private keepHypercalls(row: number, calls: Hypercalls): void {
    this.rows.setWord(row, KEPT, this.lastKept);
    for (const number of KEPT_HYPERCALLS) {
      const call = calls.get(number);
      if (call === undefined) continue;
      this.kept.reserve(this.lastKept);
      this.kept.setDouble(this.lastKept, 0, call.timeNs);
      this.kept.setDouble(this.lastKept, 1, call.ref.at);
      this.kept.setWord(this.lastKept, 0, number);
      this.kept.setWord(this.lastKept++, 1, call.count);
    }
    this.rows.setWord(row, KEPT + 1, this.lastKept - this.rows.word(row, KEPT));
  }

  private keepInjected(row: number, injected: readonly Injection[]): void {
    this.rows.setWord(row, INJECTED, this.lastInjected);
    this.rows.setWord(row, INJECTED + 1, injected.length);
    for (const { timeNs, ref, vector } of injected) {
      this.injected.reserve(this.lastInjected);
      this.injected.setDouble(this.lastInjected, 0, timeNs);
      this.injected.setDouble(this.lastInjected, 1, ref.at);
      this.injected.setWord(this.lastInjected++, 0, vector);
    }
  }
}

/** One row, read as an access. */
class StoredAccess extends StoredRow<AccessStore> implements IoAccess {
  private mark(column: number): Mark {
    return { timeNs: this.double(column), ref: this.store.ref(this.double(column + 1)) };
  }

  get dom(): number {
    return this.word(DOM);
  }

  get vcpu(): number {
    return this.word(VCPU);
  }

  get space(): 'mmio' | 'pio' {
    return this.flag(F_PIO) ? 'pio' : 'mmio';
  }

  get dir(): 'read' | 'write' {
    return this.flag(F_WRITE) ? 'write' : 'read';
  }

  get addr(): number {
    return this.double(ADDRESS);
  }

  get data(): bigint | undefined {
    return this.flag(F_DATA) ? this.big(DATA) : undefined;
  }

  get dataCut(): boolean {
    return this.flag(F_DATA_CUT);
  }

  get exitReason(): string | undefined {
    return this.flag(F_REASON) ? this.store.reasons.name(this.word(REASON)) : undefined;
  }

  get rip(): bigint | undefined {
    return this.flag(F_RIP) ? this.big(RIP) : undefined;
  }

  get npf(): NestedFault | undefined {
    if (!this.flag(F_NPF)) return undefined;
    return {
      ref: this.store.ref(this.double(NPF_AT)),
      gpa: this.double(NPF_GPA),
      mfn: this.flag(F_NPF_MFN) ? this.big(NPF_MFN) : undefined,
      qualification: this.word(NPF_QUALIFICATION) >>> 0,
      p2mType: this.word(NPF_TYPE) >>> 0,
    };
  }

  get record(): Mark {
    return this.mark(RECORD);
  }

  get marks(): Marks {
    const flags = this.word(FLAGS);
    const marks: Marks = {};
    for (let i = 0; i < MARKS.length; i++) if ((flags & (F_MARK << i)) !== 0) marks[MARKS[i]!] = this.mark(MARK + 2 * i);
    if ((flags & F_MODEL) !== 0) marks.model = { dom: this.word(MODEL), vcpu: this.word(MODEL + 1) };
    return marks;
  }

  get pcpus(): IoAccess['pcpus'] {
    return {
      exit: this.flag(F_EXIT_PCPU) ? this.word(PCPUS) : undefined,
      entry: this.flag(F_ENTRY_PCPU) ? this.word(PCPUS + 1) : undefined,
    };
  }

  get hypercalls(): Hypercalls {
    return { total: this.word(HYPERCALLS), get: (number) => this.hypercall(number) };
  }

  private hypercall(number: number): HypercallCount | undefined {
    const { kept } = this.store;
    const from = this.word(KEPT);
    for (let i = from; i < from + this.word(KEPT + 1); i++) {
      if (kept.word(i, 0) === number)
        return { count: kept.word(i, 1), timeNs: kept.double(i, 0), ref: this.store.ref(kept.double(i, 1)) };
    }
    return undefined;
  }

  get injected(): readonly Injection[] {
    const { injected } = this.store;
    const from = this.word(INJECTED);
    const count = this.word(INJECTED + 1);
    if (count === 0) return NONE;
    return Array.from({ length: count }, (_, i) => ({
      timeNs: injected.double(from + i, 0),
      ref: this.store.ref(injected.double(from + i, 1)),
      vector: injected.word(from + i, 0),
    }));
  }

  get lost(): LostEvent | undefined {
    return this.store.losses[this.word(LOSS) - 1];
  }

  get lossBefore(): boolean {
    return this.flag(F_LOSS_BEFORE);
  }

  get unfinished(): IoAccess['unfinished'] {
    return UNFINISHED[(this.word(FLAGS) >>> UNFINISHED_SHIFT) & 3];
  }
}

const NONE: readonly Injection[] = [];
