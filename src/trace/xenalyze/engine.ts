import { Domain, DATA_HVM, DEFAULT_DOMAIN, IDLE_DOMAIN, HvmState, PvState, TracedPcpu, Vcpu } from './domains.ts';
import { ERR_ASSERT, ERR_RECORD, ERR_SANITY, EndOfTool } from './errors.ts';
import { NEED_DATA, RecordMerge } from '../format/merge.ts';
import type { Damage, MergeObserver } from '../format/merge.ts';
import { BlockFeed } from '../format/block-feed.ts';
import { NotPlain } from '../format/feed.ts';
import type { RecordFeed } from '../format/feed.ts';
import type { ByteSource } from '../format/source.ts';
import { TextBuffer } from './text.ts';
import { TscScale } from '../format/time.ts';
import { MAX_CPUS } from '../writer.ts';
import type { Transitions } from '../follow/transitions.ts';

export interface EngineOptions {
  cpuHz: number;
  /** Exit reasons are those of SVM (xenalyze's --svm-mode). */
  svm: boolean;
  /** Write a line for every record. */
  dump: boolean;
  /** Count for a summary. */
  summary: boolean;
  /** Do as xenalyze 4.17 does, to the letter: its text, its limits, its end at the first record it cannot take. */
  exact: boolean;
  /** N of the Xen 4.N that wrote the trace, or the newest it can be; null if unknown. */
  xenMinor: number | null;
  /** What an exit reason is called; null for a number without a name. */
  exitName(reason: number): string | null;
}

/** Makes the source of an engine's records. */
type FeedMaker = (makePcpu: (pid: number) => TracedPcpu, observer: MergeObserver<TracedPcpu>) => RecordFeed<TracedPcpu>;

const VCPUS_MAX = 20_000;
const NO_TIME = '              ';

/** What every class of records works on: who is known, where text and warnings go. `Follower` deals records out to them. */
export abstract class Engine {
  readonly options: EngineOptions;
  readonly merge: RecordFeed<TracedPcpu>;
  readonly scale: TscScale;
  /** Text of the records since the last clear(). */
  readonly out = new TextBuffer();
  /** Lines are being written; off while another thread writes them. */
  text: boolean;
  /** Warnings outside a dump's text. */
  onWarning: (line: string) => void = () => {};
  onDamage: (damage: Damage) => void = () => {};
  /** Who is told what happens, besides text and figures. */
  transitions: Transitions | null = null;

  firstTsc = 0;
  /** The latest TSC, in the order of the merge. */
  now = 0;
  records = 0;
  lostCpus = 0;
  offByOne = false;
  readonly warnedOnce = new Set<string>();
  readonly defaultDomain = new Domain(DEFAULT_DOMAIN);
  /** In the order of their ids. */
  readonly domains: Domain[] = [];
  private readonly byId = new Map<number, Domain>();
  /** Domains and vCPUs made. */
  private made = 0;
  private overflow: Vcpu | null = null;
  /** The record's time, as printed: nanoseconds since the first TSC. */
  timeNs = 0;

  private readonly pcpuString = new Uint8Array(MAX_CPUS + 1);
  private pcpuStringLength = 0;
  private drawnPcpu = -1;
  private drawnLast = -1;
  private readonly header = new TextBuffer(1024);
  private headerTime = -1;
  private headerTimeLength = 0;

  /** @param source the trace, shared memory into which another thread's merge writes (block-feed.ts), or what makes a feed */
  constructor(source: ByteSource | SharedArrayBuffer | FeedMaker, options: EngineOptions) {
    this.options = options;
    this.text = options.dump;
    this.scale = new TscScale(options.cpuHz);
    const makePcpu = (pid: number): TracedPcpu => new TracedPcpu(pid);
    const observer: MergeObserver<TracedPcpu> = {
      activated: (p) => this.activateDefaultVcpu(p),
      deactivated: (p) => this.deactivated(p),
      warn: (text) => this.warn(text),
      fatal: (text) => {
        if (text !== '') this.warn(text);
        this.error(ERR_ASSERT, null);
      },
      damage: (damage) => this.onDamage(damage),
    };
    this.merge =
      source instanceof SharedArrayBuffer
        ? new BlockFeed(source, makePcpu, observer)
        : typeof source === 'function'
          ? source(makePcpu, observer)
          : new RecordMerge(source, makePcpu, observer, !options.exact);
  }

  /** Find the first CPUs. Returns NEED_DATA or 0. */
  start(): number {
    return this.merge.start();
  }

  /**
   * Take in up to `count` records.
   * @returns how many were left to do: 0 if all were, NEED_DATA if data must be loaded, more than 0 at the end of the trace
   */
  run(count: number): number {
    const merge = this.merge;
    while (count > 0) {
      const p = merge.next();
      if (p === NEED_DATA) return NEED_DATA;
      if (p === null) return count;
      this.process(p);
      merge.advance(p);
      count--;
    }
    return 0;
  }

  /** A line of xenalyze's that is no record's: into the dump when it is to the letter, else a warning. */
  warn(text: string): void {
    if (this.options.exact && this.options.dump) {
      if (!this.text) return;
      this.out.reserve();
      this.out.str(text);
    } else {
      this.onWarning(text);
    }
  }

  /** What xenalyze prints on standard output whatever is asked for. */
  always(text: string): void {
    if (this.options.exact) {
      if (this.options.dump && !this.text) return;
      this.out.reserve();
      this.out.str(text);
    } else {
      this.onWarning(text);
    }
  }

  /** An error of the given level at `p`'s record: xenalyze may end here; others go on and report damage. */
  error(level: number, p: TracedPcpu | null): void {
    if (level <= ERR_SANITY) return;
    if (this.options.exact) {
      if (p !== null) this.warnGeneric(p);
      throw new EndOfTool();
    }
    if (this.merge.remote) throw new NotPlain();
    if (p !== null && level === ERR_RECORD) {
      this.onDamage({
        offset: p.offset,
        end: p.offset + p.size,
        cpu: p.pid,
        message: `event 0x${p.event.toString(16)} has an unexpected form`,
      });
    }
  }

  /** dump_generic to where warnings go. */
  warnGeneric(p: TracedPcpu): void {
    if (this.options.exact && this.options.dump) {
      if (this.text) this.generic(p);
    } else {
      this.onWarning(`record ${p.event.toString(16)} at offset ${p.offset} on pcpu ${p.pid}\n`);
    }
  }

  /** Begin a line: prefix and the record's header. */
  line(prefix: number): TextBuffer {
    const out = this.out;
    out.byte(prefix);
    out.raw(this.header.bytes, this.header.length);
    return out;
  }

  /** Begin a line as injections do: blank, time, CPUs, but not who runs. */
  shortLine(p: TracedPcpu): TextBuffer {
    const out = this.out;
    out.byte(32);
    out.time(this.timeNs);
    out.byte(32);
    this.drawPcpus(p.pid);
    out.raw(this.pcpuString, this.pcpuStringLength);
    return out;
  }

  /** "dXvY" */
  who(dom: number, vcpu: number): void {
    const out = this.out;
    out.byte(100);
    out.u(dom);
    out.byte(118);
    out.u(vcpu);
  }

  /** A record as numbers. */
  generic(p: TracedPcpu): void {
    const out = this.line(93);
    const event = p.event;
    out.byte(32);
    out.xPadded(event, 7);
    out.byte(40);
    out.x((event >>> 16) & 0xfff);
    out.byte(58);
    out.x((event >>> 12) & 15);
    out.byte(58);
    out.x(event & 0xfff);
    out.str(') ');
    out.u(p.extra);
    out.str(' [');
    for (let i = 0; i < p.extra; i++) {
      out.byte(32);
      out.x(p.words[p.data + i]!);
    }
    out.str(' ]\n');
  }

  processGeneric(p: TracedPcpu): void {
    if (this.text) this.generic(p);
  }

  /** True if the record has another size than it must have. */
  wrongSize(p: TracedPcpu, expected: number, record: string): boolean {
    if (p.extra === expected || (this.offByOne && p.extra === expected + 1)) return false;
    if (p.extra === expected + 1) {
      this.warn('Detected off-by-one bug; relaxing expectations\n');
      this.offByOne = true;
      return false;
    }
    this.warn(`ERROR: ${record} extra_words ${p.extra}, expected ${expected}!\n`);
    this.error(ERR_RECORD, p);
    return true;
  }

  warnOnce(key: string, text: string): void {
    if (this.warnedOnce.has(key)) return;
    this.warnedOnce.add(key);
    this.warn(text);
  }

  domain(id: number): Domain {
    const known = this.byId.get(id);
    if (known !== undefined) return known;
    if (this.tooMany) return this.defaultDomain;
    this.made++;
    this.warn(`Creating domain ${id}\n`);
    const made = new Domain(id);
    this.byId.set(id, made);
    let at = this.domains.length;
    while (at > 0 && this.domains[at - 1]!.id > id) at--;
    this.domains.splice(at, 0, made);
    return made;
  }

  vcpu(dom: number, id: number): Vcpu {
    const domain = this.domain(dom);
    return domain.vcpus[id] ?? this.createVcpu(domain, id);
  }

  /** No host has so many: a damaged file's ids share one place, so that memory stays bounded. */
  private get tooMany(): boolean {
    return this.made > VCPUS_MAX && !this.options.exact;
  }

  /** Mark `v` as HVM or PV. */
  setDataType(v: Vcpu, type: number): void {
    v.dataType = type;
    if (type === DATA_HVM) v.hvm ??= new HvmState();
    else v.pv ??= new PvState();
  }

  /** The CPU's mark in the row of CPUs must be redrawn. */
  drawPcpu(p: TracedPcpu): void {
    const domid = p.current === null ? -1 : p.current.domain.id;
    this.pcpuString[p.pid] = p.lostActive
      ? 108
      : domid < 0
        ? 32
        : domid === DEFAULT_DOMAIN
          ? 46
          : domid === IDLE_DOMAIN
            ? 45
            : 124;
    if (p.pid >= this.pcpuStringLength) this.measurePcpuString();
  }

  /** Redraw the row of CPUs with a cross at `pid`. */
  drawPcpus(pid: number): void {
    if (this.drawnLast !== pid) {
      if (this.drawnLast >= 0) this.drawPcpu(this.merge.pcpu(this.drawnLast));
      this.drawnLast = pid;
    }
    if (this.merge.maxActivePcpu > this.drawnPcpu) {
      for (let i = this.drawnPcpu + 1; i <= this.merge.maxActivePcpu; i++) this.drawPcpu(this.merge.pcpu(i));
      this.drawnPcpu = this.merge.maxActivePcpu;
      this.measurePcpuString();
    }
    this.pcpuString[pid] = 120;
  }

  pcpuRow(pid: number): void {
    this.drawPcpus(pid);
    this.out.raw(this.pcpuString, this.pcpuStringLength);
  }

  /** A row ends at the first CPU that was never drawn. */
  private measurePcpuString(): void {
    let length = 0;
    while (this.pcpuString[length] !== 0) length++;
    this.pcpuStringLength = length;
  }

  private createVcpu(domain: Domain, id: number): Vcpu {
    if (this.tooMany) {
      this.overflow ??= new Vcpu(new Domain(DEFAULT_DOMAIN), 0);
      return this.overflow;
    }
    this.made++;
    this.warn(`Creating vcpu ${id} for dom ${domain.id}\n`);
    const v = new Vcpu(domain, id);
    domain.vcpus[id] = v;
    return v;
  }

  private activateDefaultVcpu(p: TracedPcpu): void {
    const v = this.defaultDomain.vcpus[p.pid] ?? this.createVcpu(this.defaultDomain, p.pid);
    v.activated = true;
    v.guestPagingLevels = 2;
    v.pcpu = p;
    v.runstate = 0;
    p.current = v;
    this.drawPcpu(p);
  }

  /** Take in the record at `p`'s reading position. */
  protected abstract process(p: TracedPcpu): void;

  /** `p` has no more records. */
  protected abstract deactivated(p: TracedPcpu): void;

  protected makeHeader(p: TracedPcpu): void {
    const header = this.header;
    const ticks = p.tsc - this.firstTsc;
    if (p.tsc !== this.headerTime) {
      header.clear();
      this.timeNs = p.tsc > this.firstTsc ? this.scale.ns(ticks) : 0;
      if (this.timeNs > 0) header.time(this.timeNs);
      else header.str(NO_TIME);
      header.byte(32);
      this.headerTime = p.tsc;
      this.headerTimeLength = header.length;
    } else {
      header.length = this.headerTimeLength;
    }
    header.raw(this.pcpuString, this.pcpuStringLength);
    const current = p.current;
    if (current === null) {
      header.str(' d?v?');
    } else {
      header.str(' d');
      header.u(current.domain.id);
      header.byte(118);
      header.u(current.id);
    }
  }
}
