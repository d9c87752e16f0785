import { registerNames, type IoPath } from './path.ts';
import type { Stages } from './route.ts';

/** What the accesses of one register, direction and route cost. Nanoseconds. */
export interface CostRow {
  readonly device: string;
  readonly register: string;
  readonly dir: 'read' | 'write';
  readonly route: string;
  readonly count: number;
  /** Accesses with exit and entry and no loss between: the others have no time. */
  readonly timed: number;
  readonly min: number | undefined;
  readonly median: number | undefined;
  readonly p99: number | undefined;
  readonly max: number | undefined;
  readonly total: number;
  /** Of all timed accesses' time, 0 to 1. */
  readonly share: number;
  /** Median of each stage. */
  readonly stages: { readonly [K in keyof Stages]: number | undefined };
}

interface Bucket {
  readonly device: string;
  readonly register: string;
  readonly dir: 'read' | 'write';
  readonly route: string;
  count: number;
  readonly times: { readonly [K in keyof Stages]: number[] };
}

const STAGES: readonly (keyof Stages)[] = ['emulate', 'schedule', 'work', 'wake', 'enter', 'blocked', 'total'];

/** Counts and times per register, direction and route: the cost table. */
export class CostTable {
  private readonly buckets = new Map<string, Bucket>();

  add(path: IoPath): void {
    const device =
      path.device?.name ??
      (path.access.space === 'pio' ? `port 0x${path.access.addr.toString(16)}` : `gpa 0x${path.access.addr.toString(16)}`);
    const register = registerNames(path) ?? '';
    const route = path.route.value ?? 'unknown';
    const key = `${device} ${register} ${path.access.dir} ${route}`;
    let bucket = this.buckets.get(key);
    if (bucket === undefined) {
      bucket = {
        device,
        register,
        dir: path.access.dir,
        route,
        count: 0,
        times: { emulate: [], schedule: [], work: [], wake: [], enter: [], blocked: [], total: [] },
      };
      this.buckets.set(key, bucket);
    }
    bucket.count++;
    for (const stage of STAGES) {
      const time = path.stages[stage];
      if (time !== undefined) bucket.times[stage].push(time);
    }
  }

  /** Rows, the costliest first. */
  rows(): CostRow[] {
    let all = 0;
    for (const b of this.buckets.values()) all += sum(b.times.total);
    return [...this.buckets.values()]
      .map((b) => {
        const times = Float64Array.from(b.times.total).sort();
        const total = sum(b.times.total);
        const stages = Object.fromEntries(
          STAGES.map((s) => [s, percentile(Float64Array.from(b.times[s]).sort(), 0.5)]),
        ) as CostRow['stages'];
        return {
          device: b.device,
          register: b.register,
          dir: b.dir,
          route: b.route,
          count: b.count,
          timed: times.length,
          min: times[0],
          median: percentile(times, 0.5),
          p99: percentile(times, 0.99),
          max: times[times.length - 1],
          total,
          share: all === 0 ? 0 : total / all,
          stages,
        };
      })
      .sort((x, y) => y.total - x.total || y.count - x.count);
  }
}

const sum = (values: readonly number[]): number => values.reduce((n, v) => n + v, 0);

/** Nearest rank: the smallest value that at least `share` of all do not exceed. */
const percentile = (sorted: Float64Array, share: number): number | undefined =>
  sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
