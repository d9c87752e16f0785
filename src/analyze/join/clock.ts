import type { DeclaredTsc, DmRequest } from '../sources/dm-lines.ts';
import type { IoAccess } from './io.ts';
import { mayBuffer } from './route.ts';
import type { Pairing } from './pair.ts';

/** A pair whose bounds contradict the rest, by so many microseconds. */
interface Outlier {
  readonly access: IoAccess;
  readonly request: DmRequest;
  readonly byUs: number;
}

/**
 * Two clocks laid over each other. The trace counts TSC ticks; log and capture have the device model's wall clock.
 * Where the log's header says which of its times is TSC 0, the relation is that. Else it is estimated:
 * every paired request bounds the relation from both sides: its first log line is written after the guest's exit,
 * its last one before the guest runs on. All those bounds together leave a narrow band of straight lines
 * wall = offset + rate · trace; the line in its middle is the estimate, the band's half width the error.
 */
export interface ClockAlignment {
  /** What gives the relation. */
  readonly by: 'log header' | 'pairs';
  /** Line of the header that gives it, or of one that does not fit the pairs. */
  readonly headerLine: number | undefined;
  /** Pairs that the header's relation does not fit: it belongs to another trace, and was not used. */
  readonly headerContradictedBy: number;
  /** Wall-clock microseconds at trace time `centreNs`. */
  readonly offsetUs: number;
  readonly centreNs: number;
  /** Wall-clock time per trace time: 1 where the TSC frequency was told right and both clocks run true. */
  readonly rate: number;
  /** Half width of the band at the centre, microseconds; with a header everywhere. */
  readonly errorUs: number;
  /** A log line was written up to its clock's resolution after the time it shows: add this for the middle. 0 where the error is larger anyway. */
  readonly lineUs: number;
  /** Half width of the rates that fit; undefined where no rate fits all pairs. */
  readonly rateError: number | undefined;
  readonly pairsUsed: number;
  /** Pairs whose bounds contradict the rest, by so many microseconds; they were left out. */
  readonly outliers: readonly Outlier[];
  /** false: the bounds contradict each other even so (a clock was set), and the estimate is a median. */
  readonly consistent: boolean;
}

/** Bounds of the relation, one a pair: wall time must be ≥ (lower) or ≤ (upper) `y` at trace time `x`. Microseconds. */
interface Bounds {
  /** From the centre. */
  readonly x: Float64Array;
  /** From the wall reference. */
  readonly y: Float64Array;
  readonly pair: Int32Array;
}

const MAX_OUTLIER_SHARE = 0.02;
const MAX_OUTLIERS = 20;
/** Rates tried: TSC frequency told wrong by up to this factor either way. */
const MAX_RATE = 8;

/** Stamps this fine hold every nanosecond. */
const EXACT_US = 0.001;

/** Threads of one machine read one clock each: their times agree to about this . */
const THREADS_AGREE_US = 2;

/** What a declared relation needs of the trace. */
interface TraceClock {
  /** Absolute TSC that is trace time zero. */
  readonly zeroTsc: number;
  /** Nanoseconds of trace time a tick. */
  readonly nsPerTick: number;
}

/** Pairs with times on both sides: trace nanoseconds of exit and answer, log microseconds of first and last line. */
interface TimedPairs {
  readonly length: number;
  /** Positions of the accesses. */
  readonly at: Int32Array;
  readonly from: Float64Array;
  readonly to: Float64Array;
  /** When the guest ran on: a wake-up may be a late notification of the answer before, this is not. */
  readonly until: Float64Array;
  readonly first: Float64Array;
  readonly last: Float64Array;
  /** 1: the guest waited for the answer, so that every line of it comes before the guest ran on. A buffered request has no such bound. */
  readonly waited: Uint8Array;
}

/**
 * The relation as the log's header gives it, where it fits the pairs; else as the pairs give it.
 * @param header what the log says of the trace's TSC, and whether its clock is modelled (then exact) or measured
 */
export function alignClocks(
  accesses: readonly IoAccess[],
  pairing: Pairing,
  resolutionUs: number,
  header?: { readonly tsc: DeclaredTsc; readonly trace: TraceClock; readonly modelled: boolean },
): ClockAlignment | undefined {
  const pairs = timedPairs(accesses, pairing);
  const at = (i: number): Pick<Outlier, 'access' | 'request'> => ({
    access: accesses[pairs.at[i]!]!,
    request: pairing.requestOf[pairs.at[i]!]!,
  });
  if (header === undefined) return estimate(pairs, at, resolutionUs, undefined);
  const { tsc, trace } = header;
  // Stamps in whole nanoseconds of a clock that counts nanoseconds are exact.
  const exact = resolutionUs <= EXACT_US;
  const errorUs = header.modelled ? (exact ? 0 : resolutionUs / 2) : THREADS_AGREE_US;
  const lineUs = exact ? 0 : resolutionUs / 2;
  const rate = 1e9 / tsc.hz / trace.nsPerTick;
  // Of all moments TSC 0 has a wall-clock time that a double holds exactly.
  const centreNs = -trace.zeroTsc * trace.nsPerTick;
  const wall = (ns: number): number => tsc.zeroUs + (rate * (ns - centreNs)) / 1000;
  const slack = header.modelled ? 0 : THREADS_AGREE_US;
  let contradicting = 0;
  for (let i = 0; i < pairs.length; i++) {
    if (
      wall(pairs.from[i]!) > pairs.first[i]! + resolutionUs + slack ||
      (pairs.waited[i] === 1 && wall(pairs.until[i]!) < pairs.last[i]! - resolutionUs - slack)
    )
      contradicting++;
  }
  if (contradicting > 0) return estimate(pairs, at, resolutionUs, { line: tsc.line, contradicting });
  return {
    by: 'log header',
    headerLine: tsc.line,
    headerContradictedBy: 0,
    offsetUs: tsc.zeroUs,
    centreNs,
    rate,
    errorUs,
    lineUs,
    rateError: 0,
    pairsUsed: pairs.length,
    outliers: [],
    consistent: true,
  };
}

function timedPairs(accesses: readonly IoAccess[], pairing: Pairing): TimedPairs {
  const column = (): Float64Array => new Float64Array(pairing.pairs);
  const pairs = {
    length: 0,
    at: new Int32Array(pairing.pairs),
    from: column(),
    to: column(),
    until: column(),
    first: column(),
    last: column(),
    waited: new Uint8Array(pairing.pairs),
  };
  accesses.forEach((access, i) => {
    const request = pairing.requestOf[i];
    const timeUs = request?.request.timeUs;
    if (request === undefined || timeUs === undefined || access.lost !== undefined) return;
    const { exit, woken, entry } = access.marks;
    const read = access.dir === 'read' ? access.record : undefined;
    const end = woken ?? (access.dir === 'read' ? read : entry);
    if (exit === undefined || end === undefined) return;
    const n = pairs.length++;
    pairs.at[n] = i;
    pairs.from[n] = exit.timeNs;
    pairs.to[n] = end.timeNs;
    pairs.until[n] = (read ?? entry ?? end).timeNs;
    pairs.first[n] = timeUs;
    pairs.last[n] = request.endTimeUs ?? timeUs;
    pairs.waited[n] = mayBuffer(access) && access.marks.blocked === undefined ? 0 : 1;
  });
  return pairs;
}

/** Estimates the relation from pairs; undefined from fewer than two. `pairAt` gives the i-th of them. */
function estimate(
  pairs: TimedPairs,
  pairAt: (i: number) => Pick<Outlier, 'access' | 'request'>,
  resolutionUs: number,
  wrong: { readonly line: number; readonly contradicting: number } | undefined,
): ClockAlignment | undefined {
  const { length } = pairs;
  const waited = Int32Array.from({ length }, (_, i) => i).filter((i) => pairs.waited[i] === 1);
  if (length < 2 || waited.length < 2) return undefined;
  const by = { by: 'pairs', headerLine: wrong?.line, headerContradictedBy: wrong?.contradicting ?? 0, lineUs: 0 } as const;
  const centreNs = (pairs.from[0]! + pairs.to[length - 1]!) / 2;
  const wall0 = pairs.first[0]!;
  const all = Int32Array.from({ length }, (_, i) => i);
  // Wall time of trace time x lies on the line. Exit comes before the first line: line(exit) ≤ first + resolution.
  // The answer comes after the last line: line(end) ≥ last.
  let hi: Bounds = {
    x: pairs.from.subarray(0, length).map((ns) => (ns - centreNs) / 1000),
    y: pairs.first.subarray(0, length).map((us) => us + resolutionUs - wall0),
    pair: all,
  };
  let lo: Bounds = {
    x: Float64Array.from(waited, (i) => (pairs.to[i]! - centreNs) / 1000),
    y: Float64Array.from(waited, (i) => pairs.last[i]! - wall0),
    pair: waited,
  };

  const outliers: Outlier[] = [];
  const allowed = Math.min(MAX_OUTLIERS, Math.floor(length * MAX_OUTLIER_SHARE));
  for (;;) {
    const best = widest(lo, hi);
    if (best.width >= 0) {
      const [rateLow, rateHigh] = rateRange(lo, hi, best.rate);
      let low = Infinity;
      let high = -Infinity;
      // The band at the centre over all rates that fit: a convex set, so its ends and the best rate bound it closely.
      for (let k = 0; k <= 16; k++) {
        const at = range(lo, hi, rateLow + ((rateHigh - rateLow) * k) / 16);
        if (at.low > at.high) continue;
        low = Math.min(low, at.low);
        high = Math.max(high, at.high);
      }
      const mid = (best.low + best.high) / 2;
      return {
        ...by,
        offsetUs: wall0 + mid,
        centreNs,
        rate: best.rate,
        errorUs: Math.max(high - mid, mid - low, resolutionUs),
        rateError: (rateHigh - rateLow) / 2,
        pairsUsed: lo.x.length,
        outliers,
        consistent: true,
      };
    }
    if (outliers.length >= allowed) {
      // Median of the pairs' own middles with the best rate: robust against a step, but without a bound.
      const upper = new Map<number, number>();
      hi.pair.forEach((pair, i) => {
        upper.set(pair, hi.y[i]! - best.rate * hi.x[i]!);
      });
      const residuals = Float64Array.from(lo.pair)
        .map((pair, i) => {
          const below = lo.y[i]! - best.rate * lo.x[i]!;
          return (below + (upper.get(pair) ?? below)) / 2;
        })
        .sort();
      const mid = residuals[residuals.length >> 1]!;
      return {
        ...by,
        offsetUs: wall0 + mid,
        centreNs,
        rate: best.rate,
        errorUs: Math.max(Math.abs(residuals[0]! - mid), Math.abs(residuals[residuals.length - 1]! - mid)),
        rateError: undefined,
        pairsUsed: lo.x.length,
        outliers,
        consistent: false,
      };
    }
    // Two bounds cross: the highest lower one and the lowest upper one. The pair goes without which the band is wider.
    const i = extreme(lo, best.rate, 1);
    const j = extreme(hi, best.rate, -1);
    const widthWithout = (at: number): number => {
      const { low, high } = range(without(lo, at), without(hi, at), best.rate);
      return high - low;
    };
    const worst = widthWithout(i) >= widthWithout(j) ? i : j;
    outliers.push({ ...pairAt(lo.pair[worst]!), byUs: -best.width });
    lo = without(lo, worst);
    hi = without(hi, worst);
  }
}

/** Bounds but the one at a place. */
function without(bounds: Bounds, at: number): Bounds {
  const kept = (_: number, i: number): boolean => i !== at;
  return { x: bounds.x.filter(kept), y: bounds.y.filter(kept), pair: bounds.pair.filter(kept) };
}

/** The bound that limits the offset most at one rate: the highest (`sign` 1) or the lowest (−1). */
function extreme({ x, y }: Bounds, rate: number, sign: 1 | -1): number {
  let at = 0;
  for (let i = 1; i < x.length; i++) if (sign * (y[i]! - rate * x[i]!) > sign * (y[at]! - rate * x[at]!)) at = i;
  return at;
}

/** Offsets that fit at one rate: low ≤ high where any do. */
function range(lower: Bounds, upper: Bounds, rate: number): { low: number; high: number } {
  let low = -Infinity;
  let high = Infinity;
  for (let i = 0; i < lower.x.length; i++) low = Math.max(low, lower.y[i]! - rate * lower.x[i]!);
  for (let i = 0; i < upper.x.length; i++) high = Math.min(high, upper.y[i]! - rate * upper.x[i]!);
  return { low, high };
}

/** The rate with the widest band: the width is concave in the rate. */
function widest(lower: Bounds, upper: Bounds): { rate: number; low: number; high: number; width: number } {
  let from = 1 / MAX_RATE;
  let to = MAX_RATE;
  const width = (rate: number): number => {
    const { low, high } = range(lower, upper, rate);
    return high - low;
  };
  for (let i = 0; i < 200 && to - from > 1e-13; i++) {
    const p = from + (to - from) / 3;
    const q = to - (to - from) / 3;
    if (width(p) < width(q)) from = p;
    else to = q;
  }
  const rate = (from + to) / 2;
  const { low, high } = range(lower, upper, rate);
  return { rate, low, high, width: high - low };
}

/** Rates around `best` at which any offset fits. */
function rateRange(lower: Bounds, upper: Bounds, best: number): [number, number] {
  const edge = (outside: number): number => {
    let good = best;
    let bad = outside;
    for (let i = 0; i < 100; i++) {
      const mid = (good + bad) / 2;
      const { low, high } = range(lower, upper, mid);
      if (low <= high) good = mid;
      else bad = mid;
    }
    return good;
  };
  return [edge(0), edge(MAX_RATE * 2)];
}

/** Trace time as wall-clock microseconds. */
export const traceToWallUs = (a: ClockAlignment, timeNs: number): number => a.offsetUs + (a.rate * (timeNs - a.centreNs)) / 1000;

/** Wall-clock microseconds as trace time, nanoseconds. */
export const wallToTraceNs = (a: ClockAlignment, timeUs: number): number => a.centreNs + ((timeUs - a.offsetUs) * 1000) / a.rate;

/** Its error in microseconds as text, rounded up: whole ones, or tenths below ten. */
export const errorUsText = ({ errorUs }: Pick<ClockAlignment, 'errorUs'>): string =>
  errorUs < 10 ? (Math.ceil(errorUs * 10 - 1e-6) / 10).toFixed(1) : Math.ceil(errorUs).toFixed(0);

/** Above this a drift is no clock's: the TSC frequency was told wrong. Parts per million. */
const PLAUSIBLE_DRIFT_PPM = 2000;

/** Widest error of a rate, as a share, that an estimate of the TSC frequency may have. */
const RATE_KNOWN = 1e-3;

/**
 * The TSC frequency at which trace and log run equally fast, with its half width, where the pairs determine one.
 * @param usedHz the one that the trace's times were made with
 */
export function tscHzOf(a: ClockAlignment, usedHz: number): { readonly hz: number; readonly errorHz: number } | undefined {
  if (a.by !== 'pairs' || !a.consistent || a.rateError === undefined || a.rateError / a.rate > RATE_KNOWN) return undefined;
  return { hz: usedHz / a.rate, errorHz: (usedHz / a.rate) * (a.rateError / a.rate) };
}

/** Whether a rate is off by more than a clock drifts. */
export const implausible = (a: ClockAlignment): boolean => Math.abs(a.rate - 1) * 1e6 > PLAUSIBLE_DRIFT_PPM;
