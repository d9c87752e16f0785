import { ioPaths, registerNames, type Analysis, type IoPath } from '../analyze/index.ts';
import { commandName, exitReasonName, followTransitions, hypercallName } from '../trace/index.ts';
import type { Followed, Trace, Transitions } from '../trace/index.ts';
import type { Cell, RowSink, TableName } from './tables.ts';

/** Whose rows they are, and when the trace began. */
export interface HostOfTrace {
  readonly host: string;
  /** Name of the file. */
  readonly file: string;
  /** Wall-clock time of the first TSC, in microseconds since 1970. */
  readonly startUs: number;
  readonly startBy: 'told' | 'device-model log' | 'file time';
}

/** 2026-11-30 */
export const dayOf = (us: number): string => new Date(us / 1000).toISOString().slice(0, 10);

const RUNSTATES = ['running', 'runnable', 'blocked', 'offline', 'lost', 'queued', 'init'] as const;
const CAUSES = [null, 'wake', 'preempt', 'other'] as const;

/** Nanoseconds of trace time from ticks, as the analysis of the same trace has them. */
export function timeScale(trace: Trace, analysis: Analysis | undefined): (ticks: number) => number {
  const rate = analysis?.tscRate;
  const factor = rate?.insteadOf === undefined ? 1 : rate.insteadOf / rate.hz;
  return factor === 1 ? (ticks) => trace.scale.ns(ticks) : (ticks) => Math.floor(trace.scale.ns(ticks) * factor);
}

/** Rows of the tables that come from the trace alone. One array a table is used again and again. */
class TransitionRows implements Transitions {
  private readonly sink: RowSink;
  private readonly ns: (ticks: number) => number;
  private readonly startUs: number;
  private readonly vendor: 'svm' | 'vmx';
  private readonly exits: Cell[];
  private readonly runstates: Cell[];
  private readonly hypercalls: Cell[];
  private readonly injections: Cell[];
  private readonly losses: Cell[];
  private readonly wanted: ReadonlySet<TableName>;
  private readonly reasonNames = new Map<number, string>();

  constructor(
    sink: RowSink,
    wanted: ReadonlySet<TableName>,
    who: HostOfTrace,
    ns: (ticks: number) => number,
    vendor: 'svm' | 'vmx',
  ) {
    this.sink = sink;
    this.wanted = wanted;
    this.ns = ns;
    this.startUs = who.startUs;
    this.vendor = vendor;
    const place = (): Cell[] => [who.host, dayOf(who.startUs), who.file];
    this.exits = place();
    this.runstates = place();
    this.hypercalls = place();
    this.injections = place();
    this.losses = place();
  }

  private time(row: Cell[], ticks: number): number {
    const ns = this.ns(ticks);
    row[3] = this.startUs + Math.floor(ns / 1000);
    row[4] = ns;
    return ns;
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
    if (!this.wanted.has('exits')) return;
    const row = this.exits;
    row[5] = this.ns(end) - this.time(row, start);
    row[6] = pcpu;
    row[7] = dom;
    row[8] = vcpu;
    row[9] = reason;
    let name = this.reasonNames.get(reason);
    if (name === undefined) {
      name = exitReasonName(this.vendor, reason) ?? String(reason);
      if (this.reasonNames.size < 4096) this.reasonNames.set(reason, name);
    }
    row[10] = name;
    row[11] = (BigInt(ripHigh >>> 0) << 32n) | BigInt(ripLow >>> 0);
    this.sink.row('exits', row);
  }

  runstate(
    pcpu: number,
    dom: number,
    vcpu: number,
    state: number,
    cause: number,
    next: number,
    start: number,
    end: number,
  ): void {
    if (!this.wanted.has('runstates')) return;
    const row = this.runstates;
    row[5] = this.ns(end) - this.time(row, start);
    row[6] = pcpu;
    row[7] = dom;
    row[8] = vcpu;
    row[9] = RUNSTATES[state] ?? String(state);
    row[10] = CAUSES[cause] ?? null;
    row[11] = RUNSTATES[next] ?? String(next);
    this.sink.row('runstates', row);
  }

  injected(pcpu: number, dom: number, vcpu: number, vector: number, fake: boolean, at: number, sinceWake: number): void {
    if (!this.wanted.has('injections')) return;
    const row = this.injections;
    this.time(row, at);
    row[5] = pcpu;
    row[6] = dom;
    row[7] = vcpu;
    row[8] = vector;
    row[9] = fake;
    row[10] = sinceWake < 0 ? null : this.ns(sinceWake);
    this.sink.row('injections', row);
  }

  hypercall(
    pcpu: number,
    dom: number,
    vcpu: number,
    number: number,
    command: number,
    count: number,
    at: number,
    ticks: number,
  ): void {
    if (!this.wanted.has('hypercalls')) return;
    const row = this.hypercalls;
    this.time(row, at);
    row[5] = ticks < 0 ? null : this.ns(ticks);
    row[6] = pcpu;
    row[7] = dom;
    row[8] = vcpu;
    row[9] = number;
    row[10] = hypercallName(number);
    row[11] = command < 0 ? null : (commandName(number, command) ?? String(command));
    row[12] = count < 0 ? null : count;
    this.sink.row('hypercalls', row);
  }

  io(): void {
    // Accesses come from the analysis, which knows their way.
  }

  lost(pcpu: number, count: number, start: number, end: number): void {
    if (!this.wanted.has('lost')) return;
    const row = this.losses;
    row[5] = this.ns(end) - this.time(row, start);
    row[6] = pcpu;
    row[7] = count;
    this.sink.row('lost', row);
  }
}

/** Rows of accesses between two drains. */
const DRAIN_EVERY = 16_384;

const round = (ns: number | undefined): number | null => (ns === undefined ? null : Math.round(ns));

function ioRow(row: Cell[], path: IoPath, startUs: number): void {
  const { access, stages } = path;
  const from = (access.marks.exit ?? access.record).timeNs;
  const data = access.data ?? path.request?.data;
  row[3] = startUs + Math.floor(from / 1000);
  row[4] = Math.round(from);
  row[5] = round(stages.total);
  row[6] = access.pcpus.exit ?? -1;
  row[7] = access.dom;
  row[8] = access.vcpu;
  row[9] = access.space;
  row[10] = access.dir;
  row[11] = BigInt(access.addr);
  row[12] = path.device?.name ?? null;
  row[13] = registerNames(path) ?? null;
  row[14] = data === undefined ? null : BigInt.asUintN(64, BigInt(data));
  row[15] = path.width.value ?? null;
  row[16] = path.route.value ?? null;
  row[17] = path.route.strength;
  row[18] = round(stages.emulate);
  row[19] = round(stages.schedule);
  row[20] = round(stages.work);
  row[21] = round(stages.wake);
  row[22] = round(stages.enter);
  row[23] = access.marks.model?.dom ?? null;
  row[24] = access.marks.model?.vcpu ?? null;
  row[25] = access.hypercalls.total;
  row[26] = path.frames[0]?.value?.number ?? null;
  row[27] = access.unfinished === undefined && access.lost === undefined;
}

/**
 * Give the rows of the wanted tables: first the host's, then those of the trace in its order, accesses last.
 * @param analysis of the same trace; without it the table `io` stays empty
 * @param progress called now and then with the bytes of the trace read so far
 */
export async function traceRows(
  trace: Trace,
  analysis: Analysis | undefined,
  who: HostOfTrace,
  wanted: ReadonlySet<TableName>,
  sink: RowSink,
  progress?: (bytes: number) => void | Promise<void>,
): Promise<Followed> {
  const vendor = trace.vendor ?? 'vmx';
  const ns = timeScale(trace, analysis);
  const followed = await followTransitions(
    trace.source,
    { cpuHz: trace.scale.hz, svm: vendor === 'svm', xenMinor: trace.context.xenMinor },
    new TransitionRows(sink, wanted, who, ns, vendor),
    async (bytes) => {
      await sink.drain?.();
      await progress?.(bytes);
    },
  );
  const place = [who.host, dayOf(who.startUs), who.file];
  if (wanted.has('io') && analysis !== undefined) {
    const row: Cell[] = [...place];
    let given = 0;
    for (const path of ioPaths(analysis)) {
      ioRow(row, path, who.startUs);
      sink.row('io', row);
      if (++given % DRAIN_EVERY === 0) await sink.drain?.();
    }
  }
  if (wanted.has('hosts')) {
    sink.row('hosts', [
      ...place,
      who.startUs,
      who.startBy,
      ns(followed.ticks),
      followed.records,
      Math.round(analysis?.tscRate?.hz ?? trace.scale.hz),
      analysis?.tscRate?.by ?? (trace.cpuHzTold ? 'told' : 'assumed'),
      BigInt.asUintN(64, followed.firstTsc),
      vendor,
      trace.inference.xenFrom,
      trace.inference.xenTo,
      followed.pcpus.length,
      followed.damage.count,
    ]);
  }
  return followed;
}
