import type { NicReading } from '../../devices/nic/reading.ts';
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
    const device = path.device?.name ?? rangeName(path.access);
    const register = rowName(path);
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

/** Ports, and bytes of memory, that share a row where no file names a device. */
const PORTS_A_ROW = 8;
const BYTES_A_ROW = 0x1000;
/** Offsets of a known device that share a row where it has no register. */
const OFFSETS_A_ROW = 0x100;
/** Equal registers side by side that share a row: a table of addresses, not registers each of its own. */
const MANY = 8;

const hex = (n: number): string => `0x${n.toString(16)}`;

/** What a row of addresses without a device is called. */
function rangeName({ space, addr }: IoPath['access']): string {
  const size = space === 'pio' ? PORTS_A_ROW : BYTES_A_ROW;
  const first = addr - (addr % size);
  return `${space === 'pio' ? 'ports' : 'gpa'} ${hex(first)}-${hex(first + size - 1)}`;
}

/** A row's register: its name, the array it is one of, or a range of offsets; empty where the device's registers are not known. */
function rowName(path: IoPath): string {
  const { device, access, registers, window } = path;
  if (device === undefined) return '';
  if (registers.length === 0) {
    if (device.base === undefined || window === undefined) return '';
    const offset = access.addr - device.base;
    const first = offset - (offset % OFFSETS_A_ROW);
    return `+${hex(first)}-${hex(first + OFFSETS_A_ROW - 1)}`;
  }
  const names = registerNames(path)!;
  const { name, count } = registers[0]!.register;
  if (count !== undefined && count >= MANY) return `${name}[0-${count - 1}]`;
  const array = window === undefined ? undefined : arraysOf(window.chip).get(name);
  return array ?? names;
}

const arrays = new Map<NicReading, Map<string, string>>();

/** Registers that are one of many equal ones, each with the name of them all: `MAR3` → `MAR0-7`. */
function arraysOf(chip: NicReading): Map<string, string> {
  let found = arrays.get(chip);
  if (found !== undefined) return found;
  arrays.set(chip, (found = new Map()));
  const stems = new Map<string, { name: string; n: number }[]>();
  for (const { name } of chip.registers) {
    const m = /^(.*?\D)(\d+)$/.exec(name);
    if (m === null) continue;
    const list = stems.get(m[1]!);
    if (list === undefined) stems.set(m[1]!, [{ name, n: Number(m[2]) }]);
    else list.push({ name, n: Number(m[2]) });
  }
  for (const [stem, list] of stems) {
    if (list.length < MANY) continue;
    const numbers = list.map((x) => x.n);
    for (const x of list) found.set(x.name, `${stem}${Math.min(...numbers)}-${Math.max(...numbers)}`);
  }
  return found;
}

const sum = (values: readonly number[]): number => values.reduce((n, v) => n + v, 0);

/** Nearest rank: the smallest value that at least `share` of all do not exceed. */
const percentile = (sorted: Float64Array, share: number): number | undefined =>
  sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
