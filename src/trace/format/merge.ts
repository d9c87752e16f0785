import { NEED_DATA, tscText } from './feed.ts';
import type { RecordFeed } from './feed.ts';
import type { ByteSource } from './source.ts';
import { RECORD_WORDS } from './pcpu.ts';
import type { Pcpu } from './pcpu.ts';
import { TRC_LOST_RECORDS, TRC_TRACE_CPU_CHANGE } from '../events.ts';
import { plausibleWindow, SourceReader, WindowProbe } from './window-probe.ts';
import { CPU_CHANGE_BYTES, MAX_CPUS } from '../writer.ts';

/** The second time a lost-records record is met: at the time room was found. Never in a file. */
export const LOST_RECORDS_END = TRC_LOST_RECORDS + 49;

/** A part of the file that could not be read as records. */
export interface Damage {
  /** First byte of the unreadable part. */
  offset: number;
  /** Byte after it. */
  end: number;
  /** The pCPU whose window it is, if that is known. */
  cpu: number | null;
  /** What is wrong there, and what was expected. */
  message: string;
}

/** What the merge tells while it reads. */
export interface MergeObserver<P extends Pcpu> {
  /** A pCPU's first window was found. */
  activated(pcpu: P): void;
  /** A pCPU has no more records. */
  deactivated(pcpu: P): void;
  /** A line that xenalyze prints at this point. */
  warn(text: string): void;
  /** xenalyze gives up here. Without `tolerant` this must throw. */
  fatal(text: string): void;
  damage(damage: Damage): void;
}

export { NEED_DATA };

const LOOKAHEAD_BYTES = 4096;

/**
 * Reads all CPUs' windows in parallel and gives their records in the order of their TSCs, as xenalyze does: every CPU
 * walks the whole file from its own position and skips the windows of the others; CPUs may appear late; a file that
 * ends within a window is read up to the last whole round of windows ("early_eof").
 *
 * With `tolerant` the bounds of windows are enforced as well: what does not parse is reported as damage and skipped
 * up to the next window header, and a file that ends early is read to its end.
 */
export class RecordMerge<P extends Pcpu> implements RecordFeed<P> {
  readonly remote = false;
  /** CPUs met so far, by number. */
  readonly pcpus: (P | undefined)[] = [];
  private readonly makePcpu: (pid: number) => P;
  /** Active CPUs, the one whose record is next first. */
  readonly order: P[] = [];
  maxActivePcpu = -1;
  /** TSCs are counted from this high word, so that they stay exact in a double. Zero below 2^53. */
  tscBaseHigh = 0;
  readonly size: number;

  private readonly tolerant: boolean;
  private readonly observer: MergeObserver<P>;
  private baseKnown = false;
  private started = false;
  private scanOffset = 0;
  /** Header that the scan for the first CPUs met last. */
  private scanned = -1;
  private lastEpochOffset = 0;
  private earlyEof = false;
  private unread: P | null = null;

  private readonly reader: SourceReader;
  private readonly probe: WindowProbe;

  constructor(source: ByteSource, makePcpu: (pid: number) => P, observer: MergeObserver<P>, tolerant: boolean) {
    this.reader = new SourceReader(source);
    this.probe = new WindowProbe(this.reader);
    this.size = source.size;
    this.observer = observer;
    this.tolerant = tolerant;
    this.makePcpu = makePcpu;
  }

  pcpu(pid: number): P {
    return (this.pcpus[pid] ??= this.makePcpu(pid));
  }

  /** Find the CPUs of the first round of windows. 0 or NEED_DATA. */
  start(): number {
    while (!this.started) {
      const next = this.scanForNewPcpu(this.scanOffset);
      if (next === NEED_DATA) return NEED_DATA;
      if (next === 0) {
        this.observer.warn('init_pcpus: through first trace write, done for now.\n');
        this.started = true;
      }
      this.scanOffset = next;
    }
    return 0;
  }

  /** Do what the last NEED_DATA asked for. */
  load(): Promise<void> {
    return this.reader.load();
  }

  /**
   * The CPU whose record is next, or null at the end. CPU change records are dealt with here and never given.
   * NEED_DATA if the source cannot answer at once.
   */
  next(): P | null | typeof NEED_DATA {
    for (;;) {
      if (this.unread !== null && this.finishRead() === NEED_DATA) return NEED_DATA;
      const p = this.order[0];
      if (p === undefined) return null;
      if (p.event !== TRC_TRACE_CPU_CHANGE) return p;
      if (!this.tolerant) p.keep(p.index);
      if (this.cpuChange(p) === NEED_DATA) return NEED_DATA;
      this.unread = p;
    }
  }

  /** The record of `p`, which next() gave, is done with. */
  advance(p: P): void {
    if (p.event === TRC_LOST_RECORDS) {
      p.event = LOST_RECORDS_END;
      if (p.tsc > p.orderTsc) {
        p.orderTsc = p.tsc;
      } else {
        this.observer.fatal(
          `Strange, lost_record ri->tsc ${tscText(this, p.tsc)} !> p->order_tsc ${tscText(this, p.orderTsc)}!\n`,
        );
      }
      // One that early_eof deactivated keeps its place until its records are used up.
      if (p.active) this.bubble(p);
      return;
    }
    const index = p.index + (p.size >> 2);
    p.index = index;
    if (index + 10 <= p.filled && index < p.windowEnd) {
      const words = p.words;
      const header = words[index]!;
      const event = header & 0x0fffffff;
      const extra = (header >>> 28) & 7;
      const size = header < 0 ? 12 + extra * 4 : 4 + extra * 4;
      if (
        index + (size >> 2) <= p.windowEnd &&
        event !== TRC_TRACE_CPU_CHANGE &&
        event !== TRC_LOST_RECORDS &&
        p.firstTsc !== 0
      ) {
        p.event = event;
        p.extra = extra;
        p.size = size;
        if (header < 0) {
          const tsc = (words[index + 1]! >>> 0) + ((words[index + 2]! >>> 0) - this.tscBaseHigh) * 0x100000000 + p.skew;
          p.hasTsc = true;
          p.data = index + 3;
          p.tsc = tsc;
          p.lastTsc = tsc;
          p.orderTsc = tsc;
          const order = this.order;
          if (order.length > 1 && p.active && (order[0] !== p || order[1]!.orderTsc < tsc)) this.bubble(p);
        } else {
          p.hasTsc = false;
          p.data = index + 1;
          p.tsc = p.lastTsc;
        }
        return;
      }
    }
    if (!this.tolerant) p.keep(index - (p.size >> 2));
    this.unread = p;
  }

  get position(): number {
    return this.order[0]?.offset ?? this.size;
  }

  /** Forget all skews: their derivation ran in a circle. */
  resetSkew(): void {
    for (let pid = 0; pid <= this.maxActivePcpu; pid++) {
      this.pcpu(pid).skew = 0;
      this.pcpu(pid).skewDownstream = 0;
    }
  }

  private finishRead(): number {
    const p = this.unread!;
    const read = this.read(p);
    if (read === NEED_DATA) return NEED_DATA;
    this.unread = null;
    if (p.active) this.bubble(p);
    return 0;
  }

  /** Take in the record at `p`'s reading position; deactivate `p` if there is none. */
  private read(p: P): number {
    for (;;) {
      if (p.index + 10 > p.filled && p.bufferOffset + p.filled * 4 < this.size) {
        const loaded = this.refill(p);
        if (loaded === NEED_DATA) return NEED_DATA;
      }
      const i = p.index;
      const rest = this.size - p.offset;
      if (!this.tolerant && rest >= 0 && rest < RECORD_WORDS * 4) p.restore(i, rest);
      const header = p.words[i]!;
      const extra = (header >>> 28) & 7;
      const size = 4 + extra * 4 + (header < 0 ? 8 : 0);
      if (this.tolerant && p.skipped && rest < CPU_CHANGE_BYTES && rest !== 0) {
        const checked = this.checkBounds(p, 0, size);
        if (checked === NEED_DATA) return NEED_DATA;
        continue;
      }
      if (rest < 4 || rest < size) {
        if (rest > 0) {
          this.observer.damage({
            offset: p.offset,
            end: this.size,
            cpu: p.pid,
            message: `the file ends after ${rest} of ${rest < 4 ? 'at least 4' : size} bytes of a record`,
          });
          if (!this.tolerant && rest < 4) {
            this.observer.fatal('');
            return 0;
          }
        }
        this.observer.warn(`read_record: read returned zero, deactivating pcpu ${p.pid}\n`);
        this.deactivate(p);
        return 0;
      }
      if (this.tolerant) {
        const checked = this.checkBounds(p, header, size);
        if (checked === NEED_DATA) return NEED_DATA;
        if (checked === 0) continue;
      }
      p.event = header & 0x0fffffff;
      p.extra = extra;
      p.size = size;
      this.decode(p, header);
      return 0;
    }
  }

  /** 1 if the record at the reading position may be read; 0 if the position was moved past damage. */
  private checkBounds(p: P, header: number, size: number): number {
    const offset = p.offset;
    if ((header & 0x0fffffff) === TRC_TRACE_CPU_CHANGE) {
      if (offset !== p.nextChangeOffset) {
        if (!this.plausibleChange(p, header)) {
          const found = this.probe.nextWindow(offset + 4);
          if (found === NEED_DATA) return NEED_DATA;
          const end = Math.min(found, p.nextChangeOffset);
          this.observer.damage({
            offset,
            end,
            cpu: p.pid,
            message: 'a CPU change record within a window, with an impossible CPU or size',
          });
          p.nextChangeOffset = end;
          p.seek(end);
          return 0;
        }
        this.observer.damage({
          offset,
          end: offset,
          cpu: p.pid,
          message: `a window begins here; the one before should have gone on to offset ${p.nextChangeOffset}`,
        });
        p.nextChangeOffset = offset;
        return 1;
      }
      if (this.plausibleChange(p, header)) return 1;
    } else if (offset < p.nextChangeOffset) {
      if (offset + size <= p.nextChangeOffset) return 1;
      this.observer.damage({
        offset,
        end: Math.min(p.nextChangeOffset, this.size),
        cpu: p.pid,
        message: `a record of ${size} bytes where the window has ${p.nextChangeOffset - offset} left`,
      });
      p.seek(p.nextChangeOffset);
      return 0;
    }
    // After a window of another CPU its size may be what is wrong: then the next header lies nearer.
    const found = this.probe.nextWindow(p.skipped ? p.changeOffset + CPU_CHANGE_BYTES : offset);
    if (found === NEED_DATA) return NEED_DATA;
    this.lostWindow(p.skipped ? p.changeOffset : -1, offset, found);
    p.skipped = false;
    p.nextChangeOffset = found;
    p.seek(found);
    return 0;
  }

  private plausibleChange(p: P, header: number): boolean {
    return plausibleWindow(header, p.words[p.index + 1]! >>> 0, p.words[p.index + 2]!);
  }

  /** Say what is wrong where no window begins at `expected`, and the next one begins at `found`. */
  private lostWindow(before: number, expected: number, found: number): void {
    if (found < expected) {
      this.observer.damage({
        offset: before,
        end: before + CPU_CHANGE_BYTES,
        cpu: null,
        message: `this window's size leads to offset ${expected}, where none begins; the next one begins at ${found}`,
      });
    } else if (expected < this.size) {
      this.observer.damage({
        offset: expected,
        end: found,
        cpu: null,
        message: 'no CPU change record where a window should begin',
      });
    }
  }

  private decode(p: P, header: number): void {
    const words = p.words;
    const i = p.index;
    if (header < 0) {
      p.hasTsc = true;
      p.data = i + 3;
      if (!this.baseKnown) {
        this.baseKnown = true;
        const high = words[i + 2]! >>> 0;
        if (high >= 0x200000) this.tscBaseHigh = high;
      }
      const tsc = (words[i + 1]! >>> 0) + ((words[i + 2]! >>> 0) - this.tscBaseHigh) * 0x100000000 + p.skew;
      p.tsc = tsc;
      if (p.firstTsc === 0) p.firstTsc = tsc;
      p.orderTsc = p.event === TRC_LOST_RECORDS && p.extra === 4 ? this.tscAt(words, i + 5) + p.skew : tsc;
      p.lastTsc = tsc;
    } else {
      p.hasTsc = false;
      p.data = i + 1;
      p.tsc = p.lastTsc;
    }
    if (p.event === TRC_TRACE_CPU_CHANGE) {
      p.changeCpu = words[p.data]! >>> 0;
      p.changeBytes = words[p.data + 1]! >>> 0;
    }
  }

  private tscAt(words: Int32Array, index: number): number {
    return (words[index]! >>> 0) + ((words[index + 1]! >>> 0) - this.tscBaseHigh) * 0x100000000;
  }

  /** Load the buffer of `p` from the reading position on. */
  private refill(p: P): number {
    p.allocate(this.size);
    const offset = p.offset;
    const window = Math.max(0, p.nextChangeOffset - offset);
    const want = this.order.length === 1 ? p.bytes.length : Math.min(p.bytes.length, Math.max(window, 0) + LOOKAHEAD_BYTES);
    const bytes = p.bytes.subarray(0, want);
    const done = (read: number): void => {
      p.bufferOffset = offset;
      p.index = 0;
      p.filled = read >> 2;
      // A file cut within a word: the bytes after its end are nobody's.
      p.bytes.fill(0, read, Math.min(read + 3, p.bytes.length));
      p.windowEnd = (p.nextChangeOffset - offset) / 4;
    };
    return this.reader.fetch(bytes, offset, done);
  }

  /**
   * Activate the CPU of the window at `offset`, if it is a new one.
   * @returns where the next window begins, 0 if there is nothing new, or NEED_DATA
   */
  private scanForNewPcpu(offset: number): number {
    if (offset >= this.size) return 0;
    const at = this.probe.at(offset, 40);
    if (at === NEED_DATA) return NEED_DATA;
    const view = this.probe.view;
    const rest = Math.min(40, this.size - offset);
    const header = rest < 4 ? 0 : view.getUint32(at, true);
    const event = header & 0x0fffffff;
    const size = 4 + ((header >>> 28) & 7) * 4 + (header >= 0x80000000 ? 8 : 0);
    if (this.tolerant) {
      if (rest < CPU_CHANGE_BYTES || !plausibleWindow(header, view.getUint32(at + 4, true), view.getUint32(at + 8, true))) {
        if (this.started) return 0;
        const found = this.probe.nextWindow(this.scanned < 0 ? offset : this.scanned + CPU_CHANGE_BYTES);
        if (found === NEED_DATA) return NEED_DATA;
        this.lostWindow(this.scanned, offset, found);
        return found === this.size ? 0 : found;
      }
    } else {
      if (rest < 4) {
        this.observer.fatal('');
        return 0;
      }
      if (rest < size) return 0;
      if (event !== TRC_TRACE_CPU_CHANGE || header >= 0x80000000) {
        this.observer.fatal('');
        return 0;
      }
    }
    const cpu = view.getUint32(at + 4, true);
    const bytes = view.getUint32(at + 8, true);
    if (cpu >= MAX_CPUS) {
      this.observer.fatal('');
      return 0;
    }
    const p = this.pcpu(cpu);
    if (cpu <= this.maxActivePcpu && p.active) return 0;
    // xenalyze reads a CPU's last windows again if a CPU below it comes by after it ended.
    if (this.tolerant && p.offset > offset) return 0;
    this.observer.warn(`scan_for_new_pcpu: Activating pcpu ${cpu} at offset ${offset}\n`);
    this.scanned = offset;
    this.activateAt(p, offset, size, header, cpu, bytes);
    this.observer.activated(p);
    if (cpu > this.maxActivePcpu) this.maxActivePcpu = cpu;
    return offset + size + bytes;
  }

  private activateAt(p: P, offset: number, size: number, header: number, cpu: number, bytes: number): void {
    p.active = true;
    p.event = TRC_TRACE_CPU_CHANGE;
    p.extra = (header >>> 28) & 7;
    p.size = size;
    p.hasTsc = false;
    p.tsc = p.lastTsc;
    p.changeCpu = cpu;
    p.changeBytes = bytes;
    p.seek(offset);
    p.nextChangeOffset = offset;
    this.insert(p);
  }

  /** A window's header came up on `p`: enter the window if it is p's own, skip it if not. */
  private cpuChange(p: P): number {
    const offset = p.offset;
    const cpu = p.changeCpu;
    const next = offset + p.size + p.changeBytes;
    const own = p.pid === cpu;
    if (own && next <= this.size && p.pid === this.maxActivePcpu && next < this.size && this.probe.at(next, 40) === NEED_DATA)
      return NEED_DATA;

    if (offset !== p.nextChangeOffset) {
      this.observer.warn(
        `Strange, pcpu ${p.pid} expected offset ${p.nextChangeOffset.toString(16)}, actual ${offset.toString(16)}!\n`,
      );
    }
    if (cpu >= MAX_CPUS) {
      this.observer.fatal('');
      return 0;
    }
    if (p.lastChangePid > cpu && offset > this.lastEpochOffset) this.lastEpochOffset = offset;

    const other = this.pcpu(cpu);
    if (!other.active && other.offset === 0 && other.filled === 0) {
      if (cpu > this.maxActivePcpu) this.maxActivePcpu = cpu;
      this.observer.warn(`process_cpu_change: Activating pcpu ${cpu} at offset ${offset}\n`);
      this.activateAt(other, offset, p.size, (p.extra << 28) | TRC_TRACE_CPU_CHANGE, cpu, p.changeBytes);
      this.observer.activated(other);
    }
    p.lastChangePid = cpu;
    p.changeOffset = offset;
    p.skipped = !own;

    if (!own) {
      p.seek(next);
      p.nextChangeOffset = next;
      p.windowEnd = 0;
      if (next > this.size) {
        this.shortWindow(offset, next, cpu);
      } else if (this.earlyEof && next > this.lastEpochOffset) {
        this.observer.warn(
          `process_cpu_change: early_eof activated, pcpu ${p.pid} past last_epoch_offset ${this.lastEpochOffset.toString(16)}, deactivating.\n`,
        );
        this.deactivate(p);
      }
    } else {
      p.seek(offset + p.size);
      p.nextChangeOffset = next;
      p.windowEnd = (next - p.bufferOffset) / 4;
      if (next > this.size) this.shortWindow(offset, next, cpu);
      else if (p.pid === this.maxActivePcpu) this.scanForNewPcpu(next);
    }
    return 0;
  }

  private shortWindow(offset: number, next: number, cpu: number): void {
    if (this.tolerant) {
      this.observer.damage({
        offset,
        end: this.size,
        cpu,
        message: `the file ends ${next - this.size} bytes before this window does`,
      });
      return;
    }
    this.observer.warn('Short cpu_change window, activating early_eof\n');
    this.earlyEof = true;
    for (let pid = 0; pid <= this.maxActivePcpu; pid++) {
      const p = this.pcpu(pid);
      if (p.active && p.offset > this.lastEpochOffset) {
        this.observer.warn(` deactivating pid ${pid}\n`);
        p.active = false;
      }
    }
  }

  /** No more records of `p`. */
  deactivate(p: P): void {
    this.observer.deactivated(p);
    p.active = false;
    const at = this.order.indexOf(p);
    if (at >= 0) this.order.splice(at, 1);
    if (p.pid === this.maxActivePcpu) {
      let highest = -1;
      for (let pid = 0; pid <= this.maxActivePcpu; pid++) if (this.pcpu(pid).active) highest = pid;
      this.maxActivePcpu = highest;
      this.observer.warn(`deactivate_pcpu: Setting max_active_pcpu to ${highest}\n`);
    }
  }

  private insert(p: P): void {
    let at = 0;
    while (at < this.order.length && this.order[at]!.orderTsc < p.orderTsc) at++;
    this.order.splice(at, 0, p);
  }

  private bubble(p: P): void {
    const order = this.order;
    let i = order[0] === p ? 0 : order.indexOf(p);
    while (i + 1 < order.length && order[i + 1]!.orderTsc < p.orderTsc) {
      order[i] = order[i + 1]!;
      i++;
    }
    order[i] = p;
  }
}
