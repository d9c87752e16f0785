import { ioPaths, registerNames, traceToWallUs, wallToTraceNs, type Analysis, type IoPath } from '../analyze/index.ts';
import { exitReasonName, followTransitions } from '../trace/index.ts';
import type { Followed, Trace, Transitions } from '../trace/index.ts';
import { ProtoWriter } from './protobuf.ts';
import { timeScale, type HostOfTrace } from './rows.ts';

/**
 * A trace for Perfetto's viewer: TrackEvent packets (protos/perfetto/trace). Tracks: pCPUs with who runs there, vCPUs with
 * runstates, exits and accesses, the device model's work for each vCPU, the wire. A short flow joins the parts of one access.
 */

/** Field numbers, by message. */
const TRACE_PACKET = 1;
const PACKET = {
  clockSnapshot: 6,
  timestamp: 8,
  sequenceId: 10,
  trackEvent: 11,
  internedData: 12,
  sequenceFlags: 13,
  trackDescriptor: 60,
} as const;
const DESCRIPTOR = { uuid: 1, name: 2, parent: 5, counter: 8, childOrdering: 11, rank: 12 } as const;
const EVENT = {
  categoryIids: 3,
  annotations: 4,
  type: 9,
  nameIid: 10,
  track: 11,
  counter: 30,
  flowIds: 47,
  endFlowIds: 48,
} as const;
const INTERNED = { categories: 1, names: 2, annotationNames: 3 } as const;
const ANNOTATION = { nameIid: 1, uint: 3, int: 4, string: 6, pointer: 7 } as const;
const SLICE_BEGIN = 1;
const SLICE_END = 2;
const INSTANT = 3;
const COUNTER = 4;
const INCREMENTAL_STATE_CLEARED = 1;
const NEEDS_INCREMENTAL_STATE = 2;
const SEQUENCE = 1;
const EXPLICIT_ORDER = 3;
const CLOCK_REALTIME = 1;
/** The clock of a packet that names none. */
const CLOCK_BOOTTIME = 6;
/** Clocks from 128 on are the writer's own: here the TSC. */
const CLOCK_TSC = 128;

/** Names beyond this many are written as they are: a damaged trace may hold any. */
const NAMES_MAX = 65_536;
/** A counter has a value for every interval of this length. */
const COUNTER_NS = 10_000_000;
const FLUSH_AT = 1 << 16;

const TRACKS = { pcpus: 1, wire: 2 } as const;
/** Kinds of tracks, as the high part of their number. */
const KIND = { pcpu: 1, lost: 2, domain: 3, runstate: 4, exits: 5, io: 6, model: 7, exitRate: 8, ioRate: 9 } as const;
const track = (kind: number, a: number, b = 0): number => kind * 0x100000000 + a * 0x10000 + b;

type Category = 'pcpu' | 'runstate' | 'exit' | 'io' | 'device model' | 'wire' | 'lost';

class PerfettoWriter {
  private readonly out = new ProtoWriter();
  private readonly write: (bytes: Uint8Array) => void;
  private readonly names = new Map<string, number>();
  private readonly known = new Set<number>();
  private readonly categories = new Map<string, number>();
  private readonly annotationNames = new Map<string, number>();
  private started = false;

  constructor(write: (bytes: Uint8Array) => void) {
    this.write = write;
  }

  private packet(): number {
    if (this.out.length >= FLUSH_AT) this.flush();
    return this.out.open(TRACE_PACKET);
  }

  private sequence(): void {
    this.out.uint(PACKET.sequenceId, SEQUENCE);
    this.out.uint(PACKET.sequenceFlags, this.started ? NEEDS_INCREMENTAL_STATE : INCREMENTAL_STATE_CLEARED);
    this.started = true;
  }

  flush(): void {
    this.write(this.out.written());
    this.out.clear();
  }

  /** Relate the clocks at a time of the trace. */
  clocks(ns: number, wallNs: bigint, tsc: bigint): void {
    const { out } = this;
    const packet = this.packet();
    out.uint(PACKET.timestamp, ns);
    out.uint(PACKET.sequenceId, SEQUENCE);
    const snapshot = out.open(PACKET.clockSnapshot);
    for (const [id, value] of [
      [CLOCK_BOOTTIME, BigInt(ns)],
      [CLOCK_REALTIME, wallNs],
      [CLOCK_TSC, tsc],
    ] as const) {
      const clock = out.open(1);
      out.uint(1, id);
      out.uint64(2, value);
      out.close(clock);
    }
    out.close(snapshot);
    out.close(packet);
  }

  /** Declare a track once. @param unit of a counter */
  track(uuid: number, parent: number | undefined, name: string, rank: number, unit?: string): void {
    if (this.known.has(uuid)) return;
    this.known.add(uuid);
    const { out } = this;
    const packet = this.packet();
    this.sequence();
    const descriptor = out.open(PACKET.trackDescriptor);
    out.uint(DESCRIPTOR.uuid, uuid);
    out.string(DESCRIPTOR.name, name);
    if (parent !== undefined) out.uint(DESCRIPTOR.parent, parent);
    if (unit !== undefined) {
      const counter = out.open(DESCRIPTOR.counter);
      out.string(6, unit);
      out.close(counter);
    }
    out.uint(DESCRIPTOR.childOrdering, EXPLICIT_ORDER);
    out.uint(DESCRIPTOR.rank, rank);
    out.close(descriptor);
    out.close(packet);
  }

  private intern(table: Map<string, number>, field: number, text: string): number {
    const known = table.get(text);
    if (known !== undefined) return known;
    const iid = table.size + 1;
    table.set(text, iid);
    const { out } = this;
    const packet = this.packet();
    this.sequence();
    const data = out.open(PACKET.internedData);
    const entry = out.open(field);
    out.uint(1, iid);
    out.string(2, text);
    out.close(entry);
    out.close(data);
    out.close(packet);
    return iid;
  }

  /** Number of a name; one name stands for all past the limit. */
  private name(text: string): number {
    return this.intern(this.names, INTERNED.names, this.names.size < NAMES_MAX || this.names.has(text) ? text : '(other)');
  }

  private begin(ns: number, type: number, uuid: number): { packet: number; event: number } {
    const packet = this.packet();
    this.out.uint(PACKET.timestamp, Math.max(0, Math.round(ns)));
    this.sequence();
    const event = this.out.open(PACKET.trackEvent);
    this.out.uint(EVENT.type, type);
    this.out.uint(EVENT.track, uuid);
    return { packet, event };
  }

  private end({ packet, event }: { packet: number; event: number }): void {
    this.out.close(event);
    this.out.close(packet);
  }

  /** @param about what a click on it shows: numbers, addresses (bigint), text */
  slice(
    uuid: number,
    category: Category,
    name: string,
    from: number,
    to: number,
    about?: Readonly<Record<string, number | bigint | string | null>>,
    flow?: { id: number; ends: boolean },
  ): void {
    this.mark(SLICE_BEGIN, uuid, category, name, from, about, flow);
    this.end(this.begin(Math.max(from, to), SLICE_END, uuid));
  }

  instant(
    uuid: number,
    category: Category,
    name: string,
    at: number,
    about?: Readonly<Record<string, number | bigint | string | null>>,
    flow?: { id: number; ends: boolean },
  ): void {
    this.mark(INSTANT, uuid, category, name, at, about, flow);
  }

  private mark(
    type: number,
    uuid: number,
    category: Category,
    name: string,
    at: number,
    about: Readonly<Record<string, number | bigint | string | null>> | undefined,
    flow: { id: number; ends: boolean } | undefined,
  ): void {
    const { out } = this;
    const nameIid = this.name(name);
    const categoryIid = this.intern(this.categories, INTERNED.categories, category);
    if (about !== undefined) for (const key in about) this.intern(this.annotationNames, INTERNED.annotationNames, key);
    const event = this.begin(at, type, uuid);
    out.uint(EVENT.nameIid, nameIid);
    out.uint(EVENT.categoryIids, categoryIid);
    if (flow !== undefined) out.fixed64(flow.ends ? EVENT.endFlowIds : EVENT.flowIds, flow.id);
    if (about !== undefined) {
      for (const key in about) {
        const value = about[key]!;
        if (value === null) continue;
        const annotation = out.open(EVENT.annotations);
        out.uint(ANNOTATION.nameIid, this.annotationNames.get(key)!);
        if (typeof value === 'string') out.string(ANNOTATION.string, value);
        else if (typeof value === 'bigint') out.uint64(ANNOTATION.pointer, value);
        else out.uint(ANNOTATION.uint, Math.max(0, Math.round(value)));
        out.close(annotation);
      }
    }
    this.end(event);
  }

  counter(uuid: number, at: number, value: number): void {
    const event = this.begin(at, COUNTER, uuid);
    this.out.uint(EVENT.counter, value);
    this.end(event);
  }
}

/** Counts events in intervals, and writes a counter's value for each in which it changed. */
class Rate {
  private readonly to: PerfettoWriter;
  private readonly uuid: number;
  private interval = 0;
  private count = 0;
  private last = -1;

  constructor(to: PerfettoWriter, uuid: number) {
    this.to = to;
    this.uuid = uuid;
  }

  add(ns: number): void {
    const interval = Math.floor(ns / COUNTER_NS);
    if (interval > this.interval) this.end(interval);
    this.count++;
  }

  /** The interval is over, and those up to `next` are empty. */
  end(next: number): void {
    this.value(this.interval, this.count);
    if (next > this.interval + 1) this.value(this.interval + 1, 0);
    this.interval = next;
    this.count = 0;
  }

  private value(interval: number, count: number): void {
    const rate = (count * 1e9) / COUNTER_NS;
    if (rate !== this.last) this.to.counter(this.uuid, interval * COUNTER_NS, rate);
    this.last = rate;
  }

  finish(): void {
    this.end(this.interval + 1);
    this.value(this.interval, 0);
  }
}

const RUNSTATES = ['running', 'runnable', 'blocked', 'offline', 'lost', 'queued', 'init'];
const IDLE_DOMAIN = 32767;
/** Domains from here on are not real: idle, and the reader's own. */
const REAL_DOMAINS = IDLE_DOMAIN;

class TransitionTracks implements Transitions {
  private readonly to: PerfettoWriter;
  private readonly ns: (ticks: number) => number;
  private readonly vendor: 'svm' | 'vmx';
  private readonly rates = new Map<number, Rate>();

  constructor(to: PerfettoWriter, ns: (ticks: number) => number, vendor: 'svm' | 'vmx') {
    this.to = to;
    this.ns = ns;
    this.vendor = vendor;
  }

  exit(
    pcpu: number,
    dom: number,
    vcpu: number,
    reason: number,
    ripLow: number,
    ripHigh: number,
    start: number,
    end: number,
  ): void {
    const from = this.ns(start);
    const rip = (BigInt(ripHigh >>> 0) << 32n) | BigInt(ripLow >>> 0);
    const uuid = vcpuTrack(this.to, KIND.exits, dom, vcpu, 'exits', 1);
    this.to.slice(uuid, 'exit', exitReasonName(this.vendor, reason) ?? `exit reason ${reason}`, from, this.ns(end), {
      rip,
      pcpu,
    });
    let rate = this.rates.get(dom);
    if (rate === undefined) {
      const counter = track(KIND.exitRate, dom);
      this.to.track(counter, domainTrack(this.to, dom), `d${dom} exits`, 0, 'exits/s');
      this.rates.set(dom, (rate = new Rate(this.to, counter)));
    }
    rate.add(from);
  }

  runstate(
    pcpu: number,
    dom: number,
    vcpu: number,
    state: number,
    _cause: number,
    _next: number,
    start: number,
    end: number,
  ): void {
    const from = this.ns(start);
    const to = this.ns(end);
    if (dom > REAL_DOMAINS) return;
    if (state === 0 && pcpu >= 0) {
      const uuid = track(KIND.pcpu, pcpu);
      this.to.track(uuid, TRACKS.pcpus, `pCPU ${pcpu}`, pcpu * 2);
      this.to.slice(uuid, 'pcpu', dom === IDLE_DOMAIN ? 'idle' : `d${dom}v${vcpu}`, from, to);
    }
    if (dom === IDLE_DOMAIN) return;
    const uuid = vcpuTrack(this.to, KIND.runstate, dom, vcpu, 'runstate', 0);
    this.to.slice(uuid, 'runstate', RUNSTATES[state] ?? String(state), from, to);
  }

  injected(): void {}
  hypercall(): void {}
  io(): void {}

  lost(pcpu: number, count: number, start: number, end: number): void {
    const uuid = track(KIND.lost, pcpu);
    this.to.track(uuid, TRACKS.pcpus, `pCPU ${pcpu}: records lost`, pcpu * 2 + 1);
    this.to.slice(uuid, 'lost', 'records lost', this.ns(start), this.ns(end), { records: count });
  }

  finish(): void {
    for (const rate of this.rates.values()) rate.finish();
  }
}

function domainTrack(to: PerfettoWriter, dom: number): number {
  const uuid = track(KIND.domain, dom);
  to.track(uuid, undefined, `domain ${dom}`, 10 + dom);
  return uuid;
}

function vcpuTrack(to: PerfettoWriter, kind: number, dom: number, vcpu: number, what: string, rank: number): number {
  const uuid = track(kind, dom, vcpu);
  to.track(uuid, domainTrack(to, dom), `d${dom}v${vcpu} ${what}`, 1 + vcpu * 4 + rank);
  return uuid;
}

/** `TxPoll <- 0x40`: what an access did. */
export function accessName(path: IoPath): string {
  const { access } = path;
  const what = registerNames(path) ?? `${access.space === 'pio' ? 'port' : 'gpa'} 0x${access.addr.toString(16)}`;
  return `${access.dir} ${what}`;
}

/** Accesses with their way through the device model and onto the wire, each joined by a flow of at most three parts. */
function ioTracks(to: PerfettoWriter, analysis: Analysis): void {
  let flow = 0;
  const rates = new Map<number, Rate>();
  for (const path of ioPaths(analysis)) {
    const { access } = path;
    const { marks } = access;
    const from = (marks.exit ?? access.record).timeNs;
    const until = marks.entry?.timeNs ?? access.record.timeNs;
    const worked = marks.modelRuns ?? marks.notified ?? marks.blocked;
    const models = worked !== undefined && marks.woken !== undefined && marks.woken.timeNs >= worked.timeNs;
    const frames = wireTimes(analysis, path);
    const joined = models || frames.length > 0;
    if (joined) flow++;
    const about = {
      device: path.device?.name ?? null,
      address: BigInt(access.addr),
      data: access.data ?? null,
      route: path.route.value ?? 'unknown',
      'route is': path.route.strength,
      rip: access.rip ?? null,
    };
    const io = vcpuTrack(to, KIND.io, access.dom, access.vcpu, 'accesses', 2);
    to.slice(io, 'io', accessName(path), from, until, about, joined ? { id: flow, ends: false } : undefined);
    if (models) {
      const uuid = vcpuTrack(to, KIND.model, access.dom, access.vcpu, 'device model', 3);
      const who = marks.model === undefined ? null : `d${marks.model.dom}v${marks.model.vcpu}`;
      to.slice(
        uuid,
        'device model',
        accessName(path),
        worked!.timeNs,
        marks.woken!.timeNs,
        { vCPU: who },
        {
          id: flow,
          ends: frames.length === 0,
        },
      );
    }
    frames.forEach((frame, i) =>
      to.instant(
        TRACKS.wire,
        'wire',
        `frame ${frame.number}`,
        frame.ns,
        { bytes: frame.bytes },
        i === 0 ? { id: flow, ends: true } : undefined,
      ),
    );
    let rate = rates.get(access.dom);
    if (rate === undefined) {
      const counter = track(KIND.ioRate, access.dom);
      to.track(counter, domainTrack(to, access.dom), `d${access.dom} accesses`, 0, 'accesses/s');
      rates.set(access.dom, (rate = new Rate(to, counter)));
    }
    rate.add(from);
  }
  for (const rate of rates.values()) rate.finish();
}

/** The frames an access sent, with the trace times at which they were captured. */
function wireTimes(analysis: Analysis, path: IoPath): { number: number; ns: number; bytes: number }[] {
  const guest = analysis.guests.find((g) => g.dom === path.access.dom);
  const clock = guest?.clock;
  if (clock === undefined) return [];
  return path.frames.map((f) => ({
    number: f.value!.number,
    ns: wallToTraceNs(clock, f.value!.timeUs),
    bytes: f.value!.wireLength,
  }));
}

/** Wall-clock time of the trace's zero, microseconds since 1970, where a device-model log tells; else undefined. */
export function startOf(analysis: Analysis): number | undefined {
  const clock = analysis.guests.find((g) => g.clock !== undefined)?.clock;
  return clock === undefined ? undefined : Math.round(analysis.wallBase * 1e6 + traceToWallUs(clock, 0));
}

/** Write a trace for Perfetto. @param analysis of the same trace, where it has accesses */
export async function writePerfetto(
  trace: Trace,
  analysis: Analysis | undefined,
  who: HostOfTrace,
  write: (bytes: Uint8Array) => void,
  progress?: (bytes: number) => void | Promise<void>,
): Promise<Followed> {
  const to = new PerfettoWriter(write);
  const vendor = trace.vendor ?? 'vmx';
  const ns = timeScale(trace, analysis);
  to.track(TRACKS.pcpus, undefined, `${who.host}: pCPUs`, 0);
  const tracks = new TransitionTracks(to, ns, vendor);
  const followed = await followTransitions(
    trace.source,
    { cpuHz: trace.scale.hz, svm: vendor === 'svm', xenMinor: trace.context.xenMinor },
    tracks,
    progress,
  );
  tracks.finish();
  const end = ns(followed.ticks);
  const wall = (at: number): bigint => BigInt(who.startUs) * 1000n + BigInt(at);
  to.clocks(0, wall(0), BigInt.asUintN(64, followed.firstTsc));
  to.clocks(end, wall(end), BigInt.asUintN(64, followed.firstTsc + BigInt(followed.ticks)));
  if (analysis !== undefined) {
    if (analysis.frames.length > 0) to.track(TRACKS.wire, undefined, 'wire', 1);
    ioTracks(to, analysis);
  }
  to.flush();
  return followed;
}
