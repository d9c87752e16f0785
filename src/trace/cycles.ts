/** Values a summary keeps for percentiles; past that it keeps a subset, by xenalyze's rule. */
const SAMPLE_MAX = 1024 * 1024 * 32;
const CHUNK = 4096;

/** Sampled cycle counts: 32 bits each as long as all fit, else doubles. */
class Samples {
  #chunks: (Uint32Array | Float64Array)[] = [];
  #wide = false;

  set(index: number, value: number): void {
    if (!this.#wide && value > 0xffffffff) {
      this.#wide = true;
      this.#chunks = this.#chunks.map((chunk) => Float64Array.from(chunk));
    }
    const at = index >>> 12;
    let chunk = this.#chunks[at];
    if (chunk === undefined) {
      chunk = this.#wide ? new Float64Array(at === 0 ? 64 : CHUNK) : new Uint32Array(at === 0 ? 64 : CHUNK);
      this.#chunks.push(chunk);
    }
    const within = index & (CHUNK - 1);
    if (within >= chunk.length) {
      const larger = this.#wide ? new Float64Array(Math.min(CHUNK, chunk.length * 4)) : new Uint32Array(Math.min(CHUNK, chunk.length * 4));
      larger.set(chunk);
      this.#chunks[at] = chunk = larger;
    }
    chunk[within] = value;
  }

  /** The first `count` values, in the order they came. */
  toArray(count: number): Float64Array {
    const all = new Float64Array(count);
    for (let at = 0; at * CHUNK < count; at++) {
      const chunk = this.#chunks[at]!;
      const from = at * CHUNK;
      all.set(chunk.length > count - from ? chunk.subarray(0, count - from) : chunk, from);
    }
    return all;
  }

  /** The value that `k` values are smaller than or equal before in sorted order. */
  select(count: number, k: number): number {
    if (this.#wide) return this.toArray(count).sort()[k]!;
    // Two counting passes: by the high half, then by the low half within that.
    const counts = new Uint32Array(65536);
    const each = (visit: (value: number) => void): void => {
      let left = count;
      for (const chunk of this.#chunks) {
        const n = Math.min(left, chunk.length);
        for (let i = 0; i < n; i++) visit(chunk[i]!);
        left -= n;
        if (left === 0) break;
      }
    };
    each((value) => { counts[value >>> 16]!++; });
    let high = 0;
    let before = 0;
    while (before + counts[high]! <= k) before += counts[high++]!;
    counts.fill(0);
    each((value) => { if (value >>> 16 === high) counts[value & 0xffff]!++; });
    let low = 0;
    while (before + counts[low]! <= k) before += counts[low++]!;
    return high * 65536 + low;
  }
}

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
  #samples: Samples | null = null;
  #sampled = 0;

  add(cycles: number): void {
    this.events++;
    if (cycles === 0) return;
    this.#samples ??= new Samples();
    const count = this.count;
    if (count < SAMPLE_MAX) {
      this.#samples.set(count, cycles);
      this.#sampled = count + 1;
    } else {
      const lap = Math.floor(count / SAMPLE_MAX) + 1;
      const index = count % SAMPLE_MAX;
      if ((index - Math.floor(lap / 3)) % lap === 0) this.#samples.set(index, cycles);
    }
    this.count = count + 1;
    this.cycles += cycles;
  }

  /** Mean, rounded towards zero. */
  get average(): number {
    return this.count === 0 ? 0 : Math.trunc(this.cycles / this.count);
  }

  /** Percentiles of the values: how long one event took. */
  percentiles(): Percentiles {
    const n = this.#sampled;
    if (n === 0 || this.#samples === null) return { p5: 0, p50: 0, p95: 0 };
    const at = (percent: number): number => this.#samples!.select(n, Math.floor((n * percent) / 100));
    return { p5: at(5), p50: at(50), p95: at(95) };
  }

  /** Percentiles weighted by the values themselves: how long the event was in which a tick was spent. */
  weightedPercentiles(): Percentiles {
    const values = this.#samples?.toArray(this.#sampled) ?? new Float64Array(0);
    const p50 = selfWeightedPercentile(values, 50);
    const p5 = selfWeightedPercentile(values, 5);
    const p95 = selfWeightedPercentile(values, 95);
    return { p5, p50, p95 };
  }
}

/**
 * The value at which `percent` of the values' sum lies at or below, found as xenalyze finds it: a quickselect that
 * reorders `values`. Where the pivots fall decides between neighbours, so the order of the values matters, and the
 * array is handed on reordered from one percentile to the next.
 */
export function selfWeightedPercentile(values: Float64Array, percent: number): number {
  const n = values.length;
  if (n === 0) return 0;
  let total = 0;
  for (let i = 0; i < n; i++) total += values[i]!;
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
