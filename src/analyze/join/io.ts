import type { Ref } from '../sources/evidence.ts';
import { Hypercall } from '../sources/events.ts';
import type { IoEvent, LostEvent, NpfEvent, RunstateEvent, TraceEvent, VmexitEvent } from '../sources/events.ts';

/** A moment with the record that shows it. */
export interface Mark {
  readonly timeNs: number;
  readonly ref: Ref;
}

/**
 * The moments of one access besides its record, each undefined where the trace has none. The vCPU waits from
 * `blocked` (running→offline) to `resumed` (runnable→running).
 */
export interface Marks {
  exit?: Mark;
  /** A vCPU of another domain made runnable while this one still held its pCPU: the event channel's notification. */
  notified?: Mark;
  blocked?: Mark;
  /** That vCPU starts to run. */
  modelRuns?: Mark;
  /** This vCPU made runnable again, by the device model's notification. */
  woken?: Mark;
  resumed?: Mark;
  entry?: Mark;
  /** The vCPU that was notified, or else the one that was current where this one was made runnable. */
  model?: { readonly dom: number; readonly vcpu: number };
}

/** A virtual interrupt that went into a vCPU. */
export interface Injection extends Mark {
  readonly vector: number;
}

/** How often a hypercall was made, and the last time. */
export interface HypercallCount {
  readonly count: number;
  readonly timeNs: number;
  readonly ref: Ref;
}

/** Hypercalls during one wait. */
export interface Hypercalls {
  /** All of them. */
  readonly total: number;
  /** A number that is kept (`Hypercall`), or undefined where it was not made. */
  get(number: number): HypercallCount | undefined;
}

class OpenCount implements HypercallCount {
  count = 1;
  timeNs: number;
  private at: number;
  private readonly refOf: (at: number) => Ref;

  constructor(at: number, timeNs: number, refOf: (at: number) => Ref) {
    this.at = at;
    this.timeNs = timeNs;
    this.refOf = refOf;
  }

  again(at: number, timeNs: number): void {
    this.count++;
    this.at = at;
    this.timeNs = timeNs;
  }

  get ref(): Ref {
    return this.refOf(this.at);
  }
}

/** Numbers kept one by one: those that map memory, and dm_op. The rest is only counted: an access costs memory enough. */
export const KEPT_HYPERCALLS: ReadonlySet<number> = new Set(Object.values(Hypercall));

/** Counts the hypercalls of a wait. */
class OpenCounts implements Hypercalls {
  total = 0;
  private kept: Map<number, OpenCount> | undefined;

  add(number: number, at: number, timeNs: () => number, refOf: (at: number) => Ref): void {
    this.total++;
    if (!KEPT_HYPERCALLS.has(number)) return;
    this.kept ??= new Map();
    const seen = this.kept.get(number);
    if (seen === undefined) this.kept.set(number, new OpenCount(at, timeNs(), refOf));
    else seen.again(at, timeNs());
  }

  get(number: number): HypercallCount | undefined {
    return this.kept?.get(number);
  }
}

/** What an NPF record says of the page of an access. */
export type NestedFault = Pick<NpfEvent, 'ref' | 'gpa' | 'mfn' | 'qualification' | 'p2mType'>;

/** One guest I/O as the trace shows it. */
export interface IoAccess {
  /** Among those of its domain, from 0, in the order of their records. */
  readonly index: number;
  readonly dom: number;
  readonly vcpu: number;
  readonly space: 'mmio' | 'pio';
  readonly dir: 'read' | 'write';
  /** Guest-physical address or port. */
  readonly addr: number;
  /** 32 bits, or 64 in the wide record; undefined when the request's data is a pointer. */
  readonly data: bigint | undefined;
  /** The data is unknown, as the line of the text ends before it. */
  readonly dataCut: boolean;
  readonly exitReason: string | undefined;
  readonly rip: bigint | undefined;
  readonly npf: NestedFault | undefined;
  /** The PIO or MMIO record: before the request for a write, after the answer for a read. */
  readonly record: Mark;
  readonly marks: Marks;
  /** pCPU of the exit and of the entry; they differ when the vCPU moved while it waited. */
  readonly pcpus: { readonly exit: number | undefined; readonly entry: number | undefined };
  /** Hypercalls of other domains while this vCPU waited: by number. */
  readonly hypercalls: Hypercalls;
  /** Virtual interrupts injected into this vCPU since its access before this one, the latest few. */
  readonly injected: readonly Injection[];
  /** Records lost between exit and entry: nothing may be concluded from a mark that is missing. */
  readonly lost: LostEvent | undefined;
  /** Records were lost since the access before this one. */
  readonly lossBefore: boolean;
  /** Why the access has no VM entry, if it has none. */
  readonly unfinished: 'records lost' | 'trace ends' | 'next exit without an entry' | undefined;
}

/** An access whose VM entry is yet to come. */
interface OpenAccess extends IoAccess {
  npf: NpfEvent | undefined;
  readonly pcpus: { exit: number | undefined; entry: number | undefined };
  lost: LostEvent | undefined;
  unfinished: IoAccess['unfinished'];
}

/** The wait of one access, before or after its record. */
interface Wait {
  readonly marks: Marks;
  readonly hypercalls: OpenCounts;
}

interface OpenExit {
  readonly exit: VmexitEvent | undefined;
  npf: NpfEvent | undefined;
  /** Where marks go now: the wait of the write just recorded, or one that the next read will claim. */
  wait: Wait;
  readonly accesses: OpenAccess[];
  lost: LostEvent | undefined;
}

const newExit = (exit: VmexitEvent | undefined): OpenExit => ({
  exit,
  npf: undefined,
  wait: { marks: {}, hypercalls: new OpenCounts() },
  accesses: [],
  lost: undefined,
});

interface Vcpu {
  readonly dom: number;
  readonly vcpu: number;
  open: OpenExit | undefined;
  offline: boolean;
  /** Injected since its last access. */
  injected: Injection[];
  /** Where it ran last: records lost on that pCPU concern it. */
  pcpu: number;
}

const MAX_INJECTED = 16;
const NONE: readonly Injection[] = [];
/** A vCPU woken later than this after the guest went offline was woken by something else. */
const NOTIFY_AFTER_OFFLINE_NS = 1000;

/**
 * Builds accesses from trace events. Holds one open exit per vCPU, so memory does not grow with the trace.
 * `add` gives the accesses that the event completed (usually none).
 */
export class IoBuilder {
  private readonly vcpus = new Map<string, Vcpu>();
  private readonly current = new Map<number, Vcpu>();
  /** vCPUs with an exit open and offline, or about to be: they collect hypercalls. */
  private readonly open = new Set<Vcpu>();
  /** Accesses of each domain so far. */
  private readonly counts = new Map<number, number>();
  /** Losses so far, and how many each domain's latest access has seen. */
  private readonly lossesSeen = new Map<number, number>();
  /** The loss that may not be over yet. */
  private loss: LostEvent | undefined;
  readonly lost: LostEvent[] = [];
  /** Virtual interrupts of each domain, by vector. */
  readonly injections = new Map<number, Map<number, number>>();

  /**
   * A hypercall of another domain, as it happens while vCPUs wait.
   * @param at where it stands, which `refOf` makes a reference of
   */
  hypercall(dom: number, number: number, at: number, timeNs: () => number, refOf: (at: number) => Ref): void {
    for (const v of this.open) {
      if (v.dom === dom) continue;
      v.open!.wait.hypercalls.add(number, at, timeNs, refOf);
    }
  }

  /** Takes the next event in merged order. */
  add(event: TraceEvent): IoAccess[] | undefined {
    switch (event.kind) {
      case 'vmexit':
        return this.exit(event);
      case 'vmentry':
        return this.entry(event);
      case 'npf': {
        const v = this.vcpu(event.dom, event.vcpu);
        if (v.open !== undefined) {
          v.open.npf = event;
          // It stands after a write's record and before a read's.
          for (const access of v.open.accesses) if (samePage(event, access)) access.npf ??= event;
        }
        return undefined;
      }
      case 'io':
        this.io(event);
        return undefined;
      case 'runstate':
        this.runstate(event);
        return undefined;
      case 'hypercall':
        if (!event.hvm)
          this.hypercall(
            event.dom,
            event.number,
            event.ref.at,
            () => event.timeNs,
            (at) => ({ ...event.ref, at }),
          );
        return undefined;
      case 'inject': {
        const v = this.vcpu(event.dom, event.vcpu);
        if (v.injected.length >= MAX_INJECTED) v.injected.shift();
        v.injected.push({ timeNs: event.timeNs, ref: event.ref, vector: event.vector });
        let vectors = this.injections.get(event.dom);
        if (vectors === undefined) this.injections.set(event.dom, (vectors = new Map()));
        vectors.set(event.vector, (vectors.get(event.vector) ?? 0) + 1);
        return undefined;
      }
      case 'lost':
        return this.noteLost(event);
      case 'p2m':
        return undefined;
    }
  }

  /** Ends the trace: the accesses still open. */
  finish(): IoAccess[] {
    const done: IoAccess[] = [];
    for (const v of this.vcpus.values()) this.close(v, 'trace ends', done);
    return done;
  }

  private vcpu(dom: number, vcpu: number): Vcpu {
    const key = `${dom}.${vcpu}`;
    let v = this.vcpus.get(key);
    if (v === undefined) {
      v = { dom, vcpu, open: undefined, offline: false, injected: [], pcpu: -1 };
      this.vcpus.set(key, v);
    }
    return v;
  }

  private exit(event: VmexitEvent): IoAccess[] | undefined {
    const v = this.vcpu(event.dom, event.vcpu);
    const done: IoAccess[] = [];
    this.close(v, v.open?.lost !== undefined ? 'records lost' : 'next exit without an entry', done);
    v.open = newExit(event);
    if (this.loss !== undefined && event.timeNs <= this.loss.untilNs) v.open.lost = this.loss;
    v.offline = false;
    v.pcpu = event.pcpu;
    this.current.set(event.pcpu, v);
    return done.length > 0 ? done : undefined;
  }

  private entry(event: TraceEvent): IoAccess[] | undefined {
    const v = this.vcpu(event.dom, event.vcpu);
    v.pcpu = event.pcpu;
    const { open } = v;
    if (open === undefined) return undefined;
    for (const access of open.accesses) {
      access.marks.entry = mark(event);
      access.pcpus.entry = event.pcpu;
      access.lost ??= open.lost;
    }
    v.open = undefined;
    this.open.delete(v);
    return open.accesses.length > 0 ? open.accesses : undefined;
  }

  private close(v: Vcpu, why: NonNullable<IoAccess['unfinished']>, done: IoAccess[]): void {
    for (const access of v.open?.accesses ?? []) {
      access.unfinished = why;
      access.lost ??= v.open!.lost;
      done.push(access);
    }
    v.open = undefined;
    this.open.delete(v);
  }

  private io(event: IoEvent): void {
    const v = this.vcpu(event.dom, event.vcpu);
    const open = (v.open ??= newExit(undefined));
    // The raw form hides the direction: it appears where xenalyze lost sight of the exit, that is after a wait,
    // and only a read is recorded after its wait.
    const dir = event.dir ?? 'read';
    const { wait } = open;
    open.wait = { marks: {}, hypercalls: new OpenCounts() };
    const own = dir === 'read' ? wait : open.wait;
    if (open.exit !== undefined) own.marks.exit = mark(open.exit);
    const index = this.counts.get(event.dom) ?? 0;
    this.counts.set(event.dom, index + 1);
    const access: OpenAccess = {
      index,
      dom: event.dom,
      vcpu: event.vcpu,
      space: event.space,
      dir,
      addr: event.addr,
      data: event.data,
      dataCut: event.cut === true,
      exitReason: open.exit?.reason,
      rip: open.exit?.rip,
      npf: open.npf !== undefined && samePage(open.npf, event) ? open.npf : undefined,
      record: mark(event),
      marks: own.marks,
      hypercalls: own.hypercalls,
      pcpus: { exit: open.exit?.pcpu, entry: undefined },
      injected: v.injected.length === 0 ? NONE : v.injected,
      lost: undefined,
      lossBefore: (this.lossesSeen.get(event.dom) ?? 0) < this.lost.length,
      unfinished: undefined,
    };
    this.lossesSeen.set(event.dom, this.lost.length);
    if (v.injected.length > 0) v.injected = [];
    open.accesses.push(access);
    if (dir === 'write') this.open.add(v);
  }

  private runstate(event: RunstateEvent): void {
    const v = this.vcpu(event.dom, event.vcpu);
    if (event.to === 'running') {
      v.pcpu = event.pcpu;
      this.current.set(event.pcpu, v);
      if (v.open !== undefined && v.offline) {
        v.open.wait.marks.resumed = mark(event);
        v.offline = false;
      }
      for (const other of this.open) {
        if (other === v) continue;
        const { marks } = other.open!.wait;
        if (
          marks.notified !== undefined &&
          marks.woken === undefined &&
          marks.model?.dom === event.dom &&
          marks.model.vcpu === event.vcpu
        )
          marks.modelRuns ??= mark(event);
      }
      return;
    }
    if (event.from === 'running' && event.to === 'offline') {
      if (v.open !== undefined) {
        v.open.wait.marks.blocked ??= mark(event);
        v.offline = true;
        this.open.add(v);
      }
      return;
    }
    if (event.to !== 'runnable' || event.from === 'running') return;
    if (v.open !== undefined && v.offline && event.from === 'offline') {
      const { marks } = v.open.wait;
      // The last of several counts: one before was a late notification of the answer before, and the vCPU waited on.
      marks.woken = mark(event);
      delete marks.resumed;
      const waker = this.current.get(event.pcpu);
      if (waker !== undefined && waker !== v && waker.dom < IDLE_DOMAIN) marks.model ??= { dom: waker.dom, vcpu: waker.vcpu };
      return;
    }
    // With one pCPU and an idle vCPU between: the notification comes right after the guest went offline.
    for (const v of this.open) {
      if (event.from !== 'blocked' || !v.offline || v.dom === event.dom || v.pcpu !== event.pcpu || v.open === undefined)
        continue;
      const { marks } = v.open.wait;
      if (
        marks.blocked === undefined ||
        marks.notified !== undefined ||
        marks.woken !== undefined ||
        event.timeNs - marks.blocked.timeNs > NOTIFY_AFTER_OFFLINE_NS
      )
        continue;
      marks.notified = mark(event);
      marks.model ??= { dom: event.dom, vcpu: event.vcpu };
      return;
    }
    // Another domain's vCPU made runnable on the pCPU where a guest is inside an exit: the ioreq's notification.
    const here = this.current.get(event.pcpu);
    if (
      here !== undefined &&
      here !== v &&
      here.open !== undefined &&
      !here.offline &&
      here.dom !== event.dom &&
      event.from === 'blocked'
    ) {
      const { marks } = here.open.wait;
      marks.notified ??= mark(event);
      marks.model ??= { dom: event.dom, vcpu: event.vcpu };
      this.open.add(here);
    }
  }

  private noteLost(event: LostEvent): undefined {
    this.lost.push(event);
    this.loss = event;
    for (const v of this.vcpus.values()) {
      if (v.open === undefined) continue;
      v.open.lost ??= event;
      for (const access of v.open.accesses) access.lost ??= event;
    }
    this.current.delete(event.pcpu);
    return undefined;
  }
}

/** DOMID_IDLE; xenalyze's own default domain lies above it. */
const IDLE_DOMAIN = 0x7fff;

const mark = (event: TraceEvent): Mark => ({ timeNs: event.timeNs, ref: event.ref });

const samePage = (npf: NpfEvent, io: { space: string; addr: number }): boolean =>
  io.space === 'mmio' && Math.floor(npf.gpa / 4096) === Math.floor(io.addr / 4096);
