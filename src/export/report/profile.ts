import type { Cell, RowSink, TableName } from '../tables.ts';
import { TABLES } from '../tables.ts';
import { Histogram } from './histogram.ts';

/**
 * A whole trace in a bounded number of figures: of every kind of event how many there were in each interval of time, how long
 * they lasted, and how times are spread. `trace report` draws it, `trace compare` lays two of them side by side.
 */

/** Intervals that the time of a trace is divided into: between half of this and this. */
export const BINS = 256;
const FIRST_BIN_NS = 1_000_000;
/** Kinds told apart in one group; all others share the last one. */
const KINDS_MAX = 2000;
const OTHER = '(other)';
const LOSSES_MAX = 2000;

/** Groups of kinds. */
export type Group = 'exits' | 'accesses' | 'model' | 'wakeups' | 'runstates' | 'injections' | 'interrupts' | 'hypercalls';

export class Series {
  readonly counts = new Float64Array(BINS);
  /** Nanoseconds. */
  readonly times = new Float64Array(BINS);
  readonly histogram = new Histogram();

  /** Two intervals become one. */
  halve(): void {
    for (const values of [this.counts, this.times]) {
      for (let i = 0; i < BINS / 2; i++) values[i] = values[2 * i]! + values[2 * i + 1]!;
      values.fill(0, BINS / 2);
    }
  }
}

export interface Loss {
  readonly pcpu: number;
  readonly from: number;
  to: number;
  records: number;
}

/** What the host's row says. */
export type HostRow = Readonly<Record<string, Cell>>;

const at = <T extends TableName>(table: T): Readonly<Record<string, number>> =>
  Object.fromEntries(TABLES[table].map((c, i) => [c.name, i]));
const X = at('exits');
const I = at('io');
const R = at('runstates');
const J = at('injections');
const H = at('hypercalls');
const L = at('lost');
const IDLE_DOMAIN = 32767;

export class Profile implements RowSink {
  binNs = FIRST_BIN_NS;
  readonly groups = new Map<Group, Map<string, Series>>();
  readonly losses: Loss[] = [];
  host: HostRow = {};

  series(group: Group, kind: string): Series {
    let kinds = this.groups.get(group);
    if (kinds === undefined) this.groups.set(group, (kinds = new Map<string, Series>()));
    let series = kinds.get(kind);
    if (series === undefined) {
      if (kinds.size >= KINDS_MAX && kind !== OTHER) return this.series(group, OTHER);
      kinds.set(kind, (series = new Series()));
    }
    return series;
  }

  /** Intervals of time that the trace reaches into. */
  get bins(): number {
    return Math.min(BINS, Math.max(1, Math.ceil(((this.host['duration_ns'] as number | undefined) ?? 0) / this.binNs)));
  }

  private bin(ns: number): number {
    while (ns >= this.binNs * BINS) {
      this.binNs *= 2;
      for (const kinds of this.groups.values()) for (const series of kinds.values()) series.halve();
    }
    return Math.max(0, Math.floor(ns / this.binNs));
  }

  private event(group: Group, kind: string, ns: number, lasted: number | null): void {
    const bin = this.bin(ns);
    const series = this.series(group, kind);
    series.counts[bin]!++;
    if (lasted === null) return;
    series.times[bin]! += lasted;
    series.histogram.add(lasted);
  }

  /** A state that lasts is shared out among the intervals it lies in. */
  private state(group: Group, kind: string, from: number, lasted: number): void {
    this.bin(from + lasted);
    const series = this.series(group, kind);
    series.counts[this.bin(from)]!++;
    series.histogram.add(lasted);
    let left = lasted;
    for (let ns = from; left > 0; ) {
      const bin = this.bin(ns);
      const part = Math.min(left, (bin + 1) * this.binNs - ns);
      series.times[bin]! += part;
      ns += part;
      left -= part;
    }
  }

  row(table: TableName, c: readonly Cell[]): void {
    const number = (i: number): number => c[i] as number;
    switch (table) {
      case 'exits':
        this.event('exits', `d${c[X['domid']!]} ${c[X['reason_name']!]}`, number(X['time_ns']!), number(X['duration_ns']!));
        return;
      case 'io': {
        const what = c[I['register']!] ?? `${c[I['space']!]} 0x${(c[I['address']!] as bigint).toString(16)}`;
        const name = `d${c[I['domid']!]} ${c[I['device']!] ?? 'unknown device'} ${c[I['direction']!]} ${what}`;
        this.event('accesses', name, number(I['time_ns']!), c[I['duration_ns']!] as number | null);
        const woke = c[I['schedule_ns']!];
        if (woke !== null) this.event('model', `d${c[I['domid']!]}`, number(I['time_ns']!), woke as number);
        return;
      }
      case 'runstates': {
        const dom = number(R['domid']!);
        if (dom >= IDLE_DOMAIN) return;
        const state = c[R['state']!] as string;
        this.state('runstates', `d${dom}v${c[R['vcpu']!]} ${state}`, number(R['time_ns']!), number(R['duration_ns']!));
        if (state === 'runnable' && c[R['cause']!] === 'wake')
          this.event('wakeups', `d${dom}`, number(R['time_ns']!), number(R['duration_ns']!));
        return;
      }
      case 'injections': {
        const dom = c[J['domid']!];
        this.event('injections', `d${dom} vector ${c[J['vector']!]}`, number(J['time_ns']!), null);
        const since = c[J['since_wake_ns']!];
        if (since !== null) this.event('interrupts', `d${dom}`, number(J['time_ns']!), since as number);
        return;
      }
      case 'hypercalls':
        this.event(
          'hypercalls',
          `d${c[H['domid']!]} ${c[H['name']!] ?? c[H['number']!]}`,
          number(H['time_ns']!),
          c[H['duration_ns']!] as number | null,
        );
        return;
      case 'lost':
        this.loss(number(L['pcpu']!), number(L['time_ns']!), number(L['duration_ns']!), number(L['records']!));
        return;
      case 'hosts':
        this.host = Object.fromEntries(TABLES.hosts.map((column, i) => [column.name, c[i] ?? null]));
    }
  }

  private loss(pcpu: number, from: number, lasted: number, records: number): void {
    this.bin(from + lasted);
    const last = this.losses.at(-1);
    if (this.losses.length >= LOSSES_MAX && last !== undefined) {
      last.to = Math.max(last.to, from + lasted);
      last.records += records;
    } else {
      this.losses.push({ pcpu, from, to: from + lasted, records });
    }
  }
}

/** Kinds of a group, those with the most time first; where nothing has a time, the most frequent first. */
export function ranked(profile: Profile, group: Group): { kind: string; count: number; series: Series }[] {
  const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
  return [...(profile.groups.get(group) ?? [])]
    .map(([kind, series]) => ({ kind, count: sum(series.counts), series }))
    .sort((a, b) => b.series.histogram.sum - a.series.histogram.sum || b.count - a.count || (a.kind < b.kind ? -1 : 1));
}
