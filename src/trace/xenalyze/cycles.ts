/** Values a summary keeps for percentiles; past that it keeps a subset, by xenalyze's rule. */
const SAMPLE_MAX = 1024 * 1024 * 32;
const CHUNK = 4096;
/** Values of one summary; words where none needs more than 32 bits. */
type Values = Uint32Array | Float64Array;

/** Room for the values of one summary while its percentiles are looked for. */
let room = new ArrayBuffer(0);
function roomFor(bytes: number): ArrayBuffer {
  if (room.byteLength < bytes) room = new ArrayBuffer(bytes);
  return room;
}
const EMPTY = new Uint32Array(0);

/** Values lie in memory that threads can share, where there is such. */
const sharing = typeof SharedArrayBuffer !== 'undefined';
const SLAB_WORDS = 1 << 18;
let slab: Uint32Array = EMPTY;
let slabUsed = 0;

/** Room for values, cut from a slab. */
function allocate(words: number): Uint32Array {
  if (slabUsed + words > slab.length) {
    slab = new Uint32Array(sharing ? new SharedArrayBuffer(SLAB_WORDS * 4) : new ArrayBuffer(SLAB_WORDS * 4));
    slabUsed = 0;
  }
  slabUsed += words;
  return slab.subarray(slabUsed - words, slabUsed);
}

const FIRST_CHUNK = 4;
/** Stands for a value that needs more than 32 bits and is kept aside. */
const LARGE = 0xffffffff;

/** 5th, 50th and 95th percentile. */
export interface Percentiles {
  p5: number;
  p50: number;
  p95: number;
}

/** How often something happened and how many TSC ticks it took. */
export class CycleSummary {
  /** All events, those of zero ticks included. */
  events = 0;
  /** Events that took time. */
  count = 0;
  cycles = 0;
  /** The values in the order they came, in chunks that grow to 4096. Four bytes a value keep long traces small. */
  private readonly chunks: Uint32Array[] = [];
  private last: Uint32Array = EMPTY;
  private used = 0;
  private sampled = 0;
  /** Values of 2^32 − 1 and more, by their place. */
  private large: Map<number, number> | null = null;
  /** Percentiles found ahead, of so many values. */
  private result: { readonly count: number; readonly weighted: boolean; readonly percentiles: Percentiles } | null = null;

  add(cycles: number): void {
    this.events++;
    if (cycles === 0) return;
    this.count++;
    this.cycles += cycles;
    if (this.sampled === SAMPLE_MAX) {
      this.replace(cycles);
      return;
    }
    if (this.used === this.last.length) {
      this.last = allocate(Math.min(CHUNK, Math.max(FIRST_CHUNK, this.used * 4)));
      this.chunks.push(this.last);
      this.used = 0;
    }
    if (cycles >= LARGE) {
      (this.large ??= new Map()).set(this.sampled, cycles);
      this.last[this.used++] = LARGE;
    } else {
      this.last[this.used++] = cycles;
    }
    this.sampled++;
  }

  /** All places are taken: every lap keeps one value in so many. */
  private replace(cycles: number): void {
    const count = this.count - 1;
    const lap = Math.floor(count / SAMPLE_MAX) + 1;
    const index = count % SAMPLE_MAX;
    if ((index - Math.floor(lap / 3)) % lap !== 0) return;
    let at = 0;
    let within = index;
    while (this.chunks[at]!.length < CHUNK && within >= this.chunks[at]!.length) within -= this.chunks[at++]!.length;
    at += Math.floor(within / CHUNK);
    this.chunks[at]![within % CHUNK] = Math.min(cycles, LARGE);
    if (cycles >= LARGE) (this.large ??= new Map()).set(index, cycles);
    else this.large?.delete(index);
  }

  /** Values kept. */
  get samples(): number {
    return this.sampled;
  }

  /** All values are words in shared memory. */
  get shareable(): boolean {
    return this.large === null && sharing;
  }

  /** The values, in the order they came. */
  parts(): Uint32Array[] {
    return this.chunks.map((chunk) => (chunk === this.last ? chunk.subarray(0, this.used) : chunk));
  }

  /** Another thread found the percentiles of the values that are there now. */
  found(percentiles: Percentiles, weighted: boolean): void {
    this.result = { count: this.count, weighted, percentiles };
  }

  private findPercentiles(weighted: boolean): Percentiles {
    if (this.result?.count === this.count && this.result.weighted === weighted) return this.result.percentiles;
    if (this.large === null) return percentilesOf(this.parts(), weighted);
    const values = new Float64Array(roomFor(this.sampled * 8), 0, this.sampled);
    gather(this.parts(), values);
    for (const [index, value] of this.large) values[index] = value;
    return percentilesIn(values, weighted);
  }

  /** Mean, rounded towards zero. */
  get average(): number {
    return this.count === 0 ? 0 : Math.trunc(this.cycles / this.count);
  }

  /** Percentiles of the values: how long one event took. */
  percentiles(): Percentiles {
    return this.findPercentiles(false);
  }

  /** Percentiles weighted by the values themselves: how long the event was in which a tick was spent. */
  weightedPercentiles(): Percentiles {
    return this.findPercentiles(true);
  }
}

function gather(parts: readonly Uint32Array[], into: Values): void {
  let at = 0;
  for (const part of parts) {
    into.set(part, at);
    at += part.length;
  }
}

/** Percentiles of values that stand in parts, in the order they came. */
export function percentilesOf(parts: readonly Uint32Array[], weighted: boolean): Percentiles {
  const count = parts.reduce((n, part) => n + part.length, 0);
  const values = new Uint32Array(roomFor(count * 4), 0, count);
  gather(parts, values);
  return percentilesIn(values, weighted);
}

/** Reorders `values`. */
function percentilesIn(values: Values, weighted: boolean): Percentiles {
  const n = values.length;
  if (n === 0) return { p5: 0, p50: 0, p95: 0 };
  if (weighted) {
    const total = sum(values);
    const p50 = selfWeightedPercentile(values, 50, total);
    const p5 = selfWeightedPercentile(values, 5, total);
    const p95 = selfWeightedPercentile(values, 95, total);
    return { p5, p50, p95 };
  }
  const at = (percent: number): number => Math.floor((n * percent) / 100);
  const p50 = select(values, 0, n - 1, at(50));
  const p5 = select(values, 0, at(50), at(5));
  const p95 = select(values, at(50), n - 1, at(95));
  return { p5, p50, p95 };
}

function sum(values: Values): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}

/**
 * The value at place `place` of the sorted order, found by a quickselect that reorders `values` between `left` and
 * `right`: what lies before the place is then no larger, what lies behind it no smaller.
 */
function select(values: Values, left: number, right: number, place: number): number {
  while (left < right) {
    const pivot = values[(left + right) >> 1]!;
    let i = left;
    let j = right;
    do {
      while (values[i]! < pivot) i++;
      while (pivot < values[j]!) j--;
      if (i <= j) {
        const swapped = values[i]!;
        values[i++] = values[j]!;
        values[j--] = swapped;
      }
    } while (i <= j);
    if (place <= j) right = j;
    else if (place >= i) left = i;
    else break;
  }
  return values[place]!;
}

/**
 * The value at which `percent` of the values' sum lies at or below, found as xenalyze finds it: a quickselect that
 * reorders `values`. Where the pivots fall decides between neighbours, so the order of the values matters, and the
 * array is handed on reordered from one percentile to the next.
 */
export function selfWeightedPercentile(values: Values, percent: number, total = sum(values)): number {
  const n = values.length;
  if (n === 0) return 0;
  const hundreds = Math.floor(total / 100);
  const wanted = hundreds * percent + Math.floor(((total - hundreds * 100) * percent) / 100);
  let left = 0;
  let leftWeight = 0;
  let right = n - 1;
  let rightWeight = total - values[right]!;
  while (left < right) {
    const pivot = values[(left + right) >> 1]!;
    let i = left;
    let iWeight = leftWeight;
    let j = right;
    let jWeight = rightWeight;
    do {
      while (values[i]! < pivot) iWeight += values[i++]!;
      while (pivot < values[j]!) jWeight -= values[j--]!;
      if (i <= j) {
        const swapped = values[i]!;
        values[i] = values[j]!;
        values[j] = swapped;
        iWeight += values[i++]!;
        jWeight -= values[j--]!;
      }
    } while (i <= j);
    if (jWeight < wanted) {
      left = i;
      leftWeight = iWeight;
    }
    if (wanted < iWeight) {
      right = j;
      rightWeight = jWeight;
    }
  }
  return values[left] ?? 0;
}
