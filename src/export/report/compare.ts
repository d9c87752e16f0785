import type { Group, Profile, Series } from './profile.ts';

/**
 * What differs between two traces. Each is divided into parts of equal length; how a figure varies from part to part is its
 * spread, and only a difference that the spread does not explain is told.
 */

/** Parts that a trace is divided into. */
const PARTS = 16;
/** Differences of means, in standard errors, from which on it is no chance. */
const CERTAIN = 4;
/** Smaller changes than this are of no use to anybody. */
const WORTH = 0.05;
/** Events that a mean time needs. */
const EVENTS_MIN = 10;

export interface Figure {
  readonly mean: number;
  /** Standard error of the mean, from the parts. */
  readonly error: number;
}

export interface Difference {
  readonly group: Group;
  readonly kind: string;
  /** `rate`: events a second; `time`: mean nanoseconds of one; `share`: of the time. */
  readonly what: 'rate' | 'time' | 'share';
  readonly a: Figure;
  readonly b: Figure;
  /** Difference of the means in combined standard errors. */
  readonly certainty: number;
}

function figure(values: readonly number[]): Figure {
  const n = values.length;
  const mean = values.reduce((s, v) => s + v, 0) / Math.max(1, n);
  const variance = n < 2 ? 0 : values.reduce((s, v) => s + (v - mean) ** 2, 0) / (n - 1);
  return { mean, error: Math.sqrt(variance / Math.max(1, n)) };
}

/** Values of a series in parts of equal length. */
function parts(profile: Profile, values: Float64Array): { value: number; seconds: number }[] {
  const { bins } = profile;
  const each = Math.max(1, Math.floor(bins / PARTS));
  const list: { value: number; seconds: number }[] = [];
  // What is left over at the end, less than a part, is left out.
  for (let from = 0; from + each <= bins; from += each) {
    let value = 0;
    for (let i = from; i < from + each; i++) value += values[i]!;
    list.push({ value, seconds: (each * profile.binNs) / 1e9 });
  }
  return list;
}

const rateOf = (profile: Profile, series: Series | undefined): Figure =>
  series === undefined ? { mean: 0, error: 0 } : figure(parts(profile, series.counts).map((p) => p.value / p.seconds));

const shareOf = (profile: Profile, series: Series | undefined): Figure =>
  series === undefined ? { mean: 0, error: 0 } : figure(parts(profile, series.times).map((p) => p.value / p.seconds / 1e9));

/** Mean time of one event, of the parts that hold any; undefined where there are too few. */
function timeOf(profile: Profile, series: Series | undefined): Figure | undefined {
  if (series === undefined || series.histogram.total < EVENTS_MIN) return undefined;
  const counts = parts(profile, series.counts);
  const means = parts(profile, series.times).flatMap((p, i) => (counts[i]!.value > 0 ? [p.value / counts[i]!.value] : []));
  const f = figure(means);
  return means.length < 2 ? undefined : { mean: series.histogram.sum / series.histogram.total, error: f.error };
}

/** Groups whose events last. */
const TIMED: ReadonlySet<Group> = new Set(['exits', 'accesses', 'model', 'wakeups', 'interrupts']);

/** Differences that the spread does not explain, the largest part of the change first. */
export function differences(a: Profile, b: Profile): Difference[] {
  const list: Difference[] = [];
  const add = (group: Group, kind: string, what: Difference['what'], x: Figure, y: Figure): void => {
    const change = Math.abs(y.mean - x.mean);
    const error = Math.hypot(x.error, y.error);
    if (change <= WORTH * Math.max(x.mean, y.mean) || change <= CERTAIN * error) return;
    list.push({ group, kind, what, a: x, b: y, certainty: error === 0 ? Infinity : change / error });
  };
  const groups = new Set<Group>([...a.groups.keys(), ...b.groups.keys()]);
  for (const group of groups) {
    const [as, bs] = [a.groups.get(group), b.groups.get(group)];
    for (const kind of new Set([...(as?.keys() ?? []), ...(bs?.keys() ?? [])])) {
      const [x, y] = [as?.get(kind), bs?.get(kind)];
      if (group === 'runstates') {
        add(group, kind, 'share', shareOf(a, x), shareOf(b, y));
        continue;
      }
      add(group, kind, 'rate', rateOf(a, x), rateOf(b, y));
      const [s, t] = [timeOf(a, x), timeOf(b, y)];
      if (TIMED.has(group) && s !== undefined && t !== undefined) add(group, kind, 'time', s, t);
    }
  }
  const weight = (d: Difference): number => Math.abs(Math.log((d.b.mean + 1e-12) / (d.a.mean + 1e-12)));
  return list.sort((p, q) => weight(q) - weight(p) || (p.kind < q.kind ? -1 : 1));
}

const WHAT: Readonly<Record<Group, string>> = {
  exits: 'exit',
  accesses: 'access',
  model: 'wake-up of the device model of',
  wakeups: 'wake-up of vCPUs of',
  runstates: 'runstate',
  injections: 'injection',
  interrupts: 'wake-up to injection,',
  hypercalls: 'hypercall',
};

function valueText(what: Difference['what'], { mean, error }: Figure): string {
  const scale = what === 'time' ? 1e-3 : what === 'share' ? 100 : 1;
  const unit = what === 'time' ? ' µs' : what === 'share' ? ' %' : '/s';
  const digits = mean * scale >= 100 ? 0 : mean * scale >= 1 ? 1 : 3;
  return `${(mean * scale).toFixed(digits)} ±${(error * scale).toFixed(digits)}${unit}`;
}

/** The differences as lines, 100 columns wide. */
export function compareText(a: Profile, b: Profile, list: readonly Difference[]): string {
  const name = (p: Profile): string =>
    `${p.host['host']} (${p.host['file']}, ${((p.host['duration_ns'] as number) / 1e9).toFixed(3)} s)`;
  const lines = [`A: ${name(a)}`, `B: ${name(b)}`, ''];
  if (list.length === 0) lines.push('Nothing differs by more than the figures vary within each trace.');
  else {
    lines.push(
      `${list.length} figures differ by more than they vary within each trace (${CERTAIN} standard errors, and ${WORTH * 100} %):`,
      `${'what'.padEnd(52)} ${'A'.padStart(20)} ${'B'.padStart(20)}  change`,
    );
    for (const d of list) {
      const kind = `${d.what === 'time' ? 'time of ' : ''}${WHAT[d.group]} ${d.kind}`;
      const change = d.a.mean === 0 ? 'new' : d.b.mean === 0 ? 'gone' : `×${(d.b.mean / d.a.mean).toFixed(2)}`;
      lines.push(`${kind.padEnd(52)} ${valueText(d.what, d.a).padStart(20)} ${valueText(d.what, d.b).padStart(20)}  ${change}`);
    }
  }
  for (const [p, letter] of [
    [a, 'A'],
    [b, 'B'],
  ] as const)
    if (p.losses.length > 0)
      lines.push(`Records are missing in ${letter}: ${p.losses.length} intervals; its rates are too low there.`);
  return `${lines.join('\n')}\n`;
}
