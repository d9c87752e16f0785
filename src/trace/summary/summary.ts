import type { CycleSummary, Percentiles } from '../xenalyze/cycles.ts';
import { PercentilePlan, type PercentileJobs } from './percentile-jobs.ts';
import {
  type CycleTable,
  DOMAIN_RUNSTATE_NAMES,
  GUEST_INTERRUPT_MAX,
  RUNNABLE_NAMES,
  RUNSTATE_NAMES,
} from '../xenalyze/domains.ts';
import type { Domain, HvmState, IoAddress, PvState, TracedPcpu, Vcpu } from '../xenalyze/domains.ts';
import type { Damage } from '../format/merge.ts';
import { DamageList } from '../format/damage.ts';
import { engineOptions, follow } from '../xenalyze/dump.ts';
import { Follower } from '../xenalyze/follower.ts';
import type { Engine } from '../xenalyze/engine.ts';
import { EXTERNAL_VECTOR_NAMES, HANDLER_NAMES } from '../xenalyze/hvm-handlers.ts';
import { MEM_NAMES } from '../xenalyze/mem.ts';
import { PV_HYPERCALL_V2, PV_NAMES, PV_SUBCALL } from '../xenalyze/pv.ts';
import { PF_EMULATE_NAMES, PF_FIXUP_NAMES, PF_NAMES, PF_NON_EMULATE_NAMES } from '../xenalyze/shadow.ts';
import { hypercallName } from '../records/hypercalls.ts';
import { Notes } from '../xenalyze/notes.ts';
import type { ByteSource } from '../format/source.ts';

/** Figures of one kind of event. Cycles are TSC ticks; percentiles are of one event's cycles. */
export interface Figures {
  /** Events, those that took no time included. */
  events: number;
  /** Events that took time: what average and percentiles are of. */
  count: number;
  cycles: number;
  seconds: number;
  /** Of the time between the first and the last TSC of the trace. */
  percent: number;
  average: number;
  p5: number;
  p50: number;
  p95: number;
}

export interface NamedFigures extends Figures {
  name: string;
}

interface IoFigures {
  address: number;
  read: Figures | null;
  write: Figures | null;
}

export interface HvmSummary {
  exits: (NamedFigures & { reason: number })[];
  handlers: NamedFigures[];
  mmio: NamedFigures[];
  crWrites: NamedFigures[];
  cr3WriteResyncs: NamedFigures[];
  vmcalls: NamedFigures[];
  pageFaults: NamedFigures[];
  pageFaultsEmulated: NamedFigures[];
  pageFaultsNotEmulated: NamedFigures[];
  pageFaultFixups: NamedFigures[];
  externalInterrupts: { vector: number | null; name: string | null; count: number }[];
  guestInterrupts: {
    vector: number | null;
    count: number;
    wakeToHaltAlone: Figures;
    wakeToHaltAny: Figures;
    interruptToHalt: Figures;
  }[];
  pio: IoFigures[];
  /** Those of the VGA window are left out. */
  mmioAddresses: IoFigures[];
  /** There were accesses to the VGA window. */
  vga: boolean;
}

interface PvSummary {
  events: { name: string; count: number }[];
  hypercalls: { number: number; name: string | null; count: number }[];
  traps: { number: number; count: number }[];
}

export interface VcpuSummary {
  id: number;
  /** Percentiles of runstates are weighted: how long the state lasted in which a tick was spent. */
  runstates: NamedFigures[];
  /** What made the vCPU runnable. */
  runnable: NamedFigures[];
  affinity: Figures;
  affinityByPcpu: NamedFigures[];
  hvm: HvmSummary | null;
  pv: PvSummary | null;
}

interface DomainSummary {
  id: number;
  runstates: NamedFigures[];
  memory: {
    doneBy: { name: string; count: number }[];
    doneFor: { name: string; count: number }[];
    podPopulated: number[];
    podReclaimed: number[];
    podReclaimContexts: { name: string; count: number; orders: number[] }[];
  };
  vcpus: VcpuSummary[];
  /** Emulated page table writes by rip, under shadow paging. */
  emulateRips: (NamedFigures & { rip: bigint })[];
}

interface PcpuSummary {
  id: number;
  /** Bytes of records by class. */
  volume: { name: string; bytes: number }[];
  running: Figures;
  idle: Figures;
  lost: Figures;
}

export interface TraceSummary {
  cpuHz: number;
  records: number;
  totalCycles: number;
  totalSeconds: number;
  pcpus: PcpuSummary[];
  domains: DomainSummary[];
  /** What seemed strange, one line each kind. */
  notes: string[];
  damage: Damage[];
}

const TOPLEVEL_NAMES = ['gen', 'sched', 'dom0op', 'hvm', 'mem', 'pv', 'shadow', 'hw'] as const;
const NO_PERCENTILES: Percentiles = { p5: 0, p50: 0, p95: 0 };
const MMIO_NAMES = ['apic', 'npf', 'unknown'] as const;
const POD_CONTEXTS = ['unknown', 'fault', 'balloon'] as const;

/** Makes figures of counts, given the trace's length and rate. */
class Figurer {
  private readonly total: number;
  private readonly hz: number;
  private readonly plan: PercentilePlan | undefined;

  /** @param plan takes note of the percentiles that will be needed; the figures then have none */
  constructor(total: number, hz: number, plan?: PercentilePlan) {
    this.total = total;
    this.hz = hz;
    this.plan = plan;
  }

  of(s: CycleSummary, weighted = false): Figures {
    this.plan?.add(s, weighted);
    return {
      events: s.events,
      count: s.count,
      cycles: s.cycles,
      seconds: s.cycles / this.hz,
      percent: this.total === 0 ? 0 : (s.cycles * 100) / this.total,
      average: s.average,
      ...(this.plan !== undefined ? NO_PERCENTILES : weighted ? s.weightedPercentiles() : s.percentiles()),
    };
  }

  table(table: CycleTable, name: (index: number) => string, weighted = false): NamedFigures[] {
    const rows: NamedFigures[] = [];
    table.entries.forEach((entry, index) => {
      if (entry.events > 0) rows.push({ name: name(index), ...this.of(entry, weighted) });
    });
    return rows;
  }
}

function io(figures: Figurer, table: Map<number, IoAddress>): IoFigures[] {
  return [...table.values()]
    .sort((a, b) => a.address - b.address)
    .map((entry) => ({
      address: entry.address,
      read: entry.read.events > 0 ? figures.of(entry.read) : null,
      write: entry.write.events > 0 ? figures.of(entry.write) : null,
    }));
}

function hvmSummary(engine: Engine, figures: Figurer, h: HvmState): HvmSummary {
  const exits: HvmSummary['exits'] = [];
  h.exits.entries.forEach((entry, reason) => {
    exits.push({ reason, name: engine.options.exitName(reason) ?? String(reason), ...figures.of(entry) });
  });
  const guestInterrupts: HvmSummary['guestInterrupts'] = [];
  h.guestInterrupts.forEach((interrupt, vector) => {
    if (interrupt === undefined || interrupt.count === 0) return;
    const [alone, any, halt] = interrupt.runtime;
    guestInterrupts.push({
      vector: vector === GUEST_INTERRUPT_MAX ? null : vector,
      count: interrupt.count,
      wakeToHaltAlone: figures.of(alone, true),
      wakeToHaltAny: figures.of(any, true),
      interruptToHalt: figures.of(halt, true),
    });
  });
  const externalInterrupts: HvmSummary['externalInterrupts'] = [];
  h.externalInterrupts.forEach((count, vector) => {
    externalInterrupts.push({ vector: vector > 255 ? null : vector, name: EXTERNAL_VECTOR_NAMES[vector] ?? null, count });
  });
  const fallback =
    (names: readonly (string | undefined)[]) =>
    (index: number): string =>
      names[index] ?? `[${index}]`;
  return {
    exits,
    handlers: figures.table(h.generic, fallback(HANDLER_NAMES)),
    mmio: figures.table(h.mmio, fallback(MMIO_NAMES)),
    crWrites: figures.table(h.crWrites, (cr) => `cr${cr}`),
    cr3WriteResyncs: figures.table(h.cr3WriteResyncs, String),
    vmcalls: figures.table(h.vmcalls, (op) => (op >= 38 ? 'max' : (hypercallName(op) ?? '(null)'))),
    pageFaults: figures.table(h.pfXen, fallback(PF_NAMES)),
    pageFaultsEmulated: figures.table(h.pfXenEmulate, fallback(PF_EMULATE_NAMES)),
    pageFaultsNotEmulated: figures.table(h.pfXenNonEmulate, fallback(PF_NON_EMULATE_NAMES)),
    pageFaultFixups: figures.table(h.pfXenFixup, fallback(PF_FIXUP_NAMES)),
    externalInterrupts,
    guestInterrupts,
    pio: io(figures, h.pio),
    mmioAddresses: io(figures, h.mmioAddresses),
    vga: h.vga,
  };
}

function pvSummary(pv: PvState): PvSummary {
  const events: PvSummary['events'] = [];
  pv.events.forEach((count, event) => {
    if (event === PV_SUBCALL) return;
    events.push({
      name: PV_NAMES[event] ?? `PV-${event}`,
      count: event === PV_HYPERCALL_V2 ? count + (pv.events[PV_SUBCALL] ?? 0) : count,
    });
  });
  if (pv.events[PV_SUBCALL] !== undefined && pv.events[PV_HYPERCALL_V2] === undefined) {
    events.push({ name: PV_NAMES[PV_HYPERCALL_V2]!, count: pv.events[PV_SUBCALL] });
  }
  const hypercalls: PvSummary['hypercalls'] = [];
  pv.hypercalls.forEach((count, number) => hypercalls.push({ number, name: hypercallName(number), count }));
  const traps: PvSummary['traps'] = [];
  pv.traps.forEach((count, number) => traps.push({ number, count }));
  return { events, hypercalls, traps };
}

function vcpuSummary(engine: Engine, figures: Figurer, v: Vcpu): VcpuSummary {
  if (v.pcpuTsc !== 0 && v.pcpu !== null) {
    const since = engine.now - v.pcpuTsc;
    v.affinityAll.add(since);
    v.affinity.add(v.pcpu.pid, since);
    v.pcpuTsc = 0;
  }
  return {
    id: v.id,
    runstates: figures.table(v.runstates, (state) => RUNSTATE_NAMES[state] ?? String(state), true),
    runnable: figures.table(v.runnableStates, (state) => RUNNABLE_NAMES[state] ?? String(state), true),
    affinity: figures.of(v.affinityAll),
    affinityByPcpu: figures.table(v.affinity, String),
    hvm: v.hvm !== null && v.hvm.summaryInfo ? hvmSummary(engine, figures, v.hvm) : null,
    pv: v.pv !== null ? pvSummary(v.pv) : null,
  };
}

function domainSummary(engine: Engine, figures: Figurer, d: Domain): DomainSummary {
  const named = (places: number[]): { name: string; count: number }[] => {
    const rows: { name: string; count: number }[] = [];
    places.forEach((count, place) => rows.push({ name: MEM_NAMES[place] ?? `mem-${place}`, count }));
    return rows;
  };
  const dense = (places: number[]): number[] => Array.from(places, (n) => n ?? 0);
  const contexts: DomainSummary['memory']['podReclaimContexts'] = [];
  d.podReclaimContext.forEach((count, context) => {
    contexts.push({ name: POD_CONTEXTS[context] ?? String(context), count, orders: dense(d.podReclaimContextOrder[context]!) });
  });
  return {
    id: d.id,
    runstates: figures.table(d.runstates, (state) => DOMAIN_RUNSTATE_NAMES[state] ?? String(state), true),
    memory: {
      doneBy: named(d.memopsDone),
      doneFor: named(d.memopsDoneFor),
      podPopulated: dense(d.podPopulateOrder),
      podReclaimed: dense(d.podReclaimOrder),
      podReclaimContexts: contexts,
    },
    vcpus: d.vcpus.filter((v): v is Vcpu => v !== undefined).map((v) => vcpuSummary(engine, figures, v)),
    emulateRips: [...d.emulateRips]
      .map(([rip, s]) => ({ rip, name: rip.toString(16), ...figures.of(s) }))
      .sort((a, b) => b.cycles - a.cycles || b.count - a.count),
  };
}

function pcpuSummary(figures: Figurer, p: TracedPcpu): PcpuSummary {
  const volume: PcpuSummary['volume'] = [];
  const add = (name: string, bytes: number): void => {
    if (bytes > 0) volume.push({ name, bytes });
  };
  TOPLEVEL_NAMES.forEach((name, i) => {
    add(name, p.volume.toplevel[i]!);
    if (name === 'sched') add('sched verbose', p.volume.schedVerbose);
    if (name === 'hvm') {
      add('hvm vmentry', p.volume.hvmEntry);
      add('hvm vmexit', p.volume.hvmExit);
      add('hvm handler', p.volume.hvmHandler);
    }
  });
  return {
    id: p.pid,
    volume,
    running: figures.of(p.running, true),
    idle: figures.of(p.idle, true),
    lost: figures.of(p.lost, true),
  };
}

/** Everything an engine that has taken in a trace has counted. */
function summaryOf(engine: Engine, notes: string[], damage: Damage[], plan?: PercentilePlan): TraceSummary {
  const total = engine.now - engine.firstTsc;
  const figures = new Figurer(total, engine.options.cpuHz, plan);
  return {
    cpuHz: engine.options.cpuHz,
    records: engine.records,
    totalCycles: total,
    totalSeconds: total / engine.options.cpuHz,
    pcpus: engine.merge.pcpus.filter((p): p is TracedPcpu => p?.summary === true).map((p) => pcpuSummary(figures, p)),
    domains: engine.domains.map((d) => domainSummary(engine, figures, d)),
    notes,
    damage,
  };
}

/**
 * Summarize a trace, or the records that another thread merges into shared memory (then NotPlain may be thrown).
 * @param cpuHz TSC rate of the traced host
 * @param svm exit reasons are SVM's
 * @param progress called now and then with the bytes read so far
 * @param help gives work to another thread, which does it by percentile-jobs.ts
 */
export async function summarizeTrace(
  source: ByteSource | SharedArrayBuffer,
  cpuHz: number,
  svm: boolean,
  progress: (bytes: number) => void | Promise<void> = () => {},
  help?: (jobs: PercentileJobs) => void,
): Promise<TraceSummary> {
  const engine = new Follower(source, engineOptions({ cpuHz, svm, exact: false }, false));
  const notes = new Notes();
  const damage = new DamageList();
  engine.onWarning = (line) => notes.add(line);
  engine.onDamage = (one) => damage.add(one);
  await follow(engine, () => progress(engine.merge.position));
  if (help !== undefined) {
    const plan = new PercentilePlan();
    summaryOf(engine, [], [], plan);
    plan.run(help);
  }
  return summaryOf(engine, notes.lines(), damage.list);
}
