/** Values a summary keeps for percentiles; past that it keeps a subset, by xenalyze's rule. */
const SAMPLE_MAX = 1024 * 1024 * 32;
const CHUNK = 4096;
/** Up to as many values are simply sorted. */
const SORT_UP_TO = 8192;
/** Values of one summary while its percentiles are looked for. */
let scratch = new Float64Array(0);
const EMPTY = new Uint32Array(0);

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
  readonly #chunks: Uint32Array[] = [];
  #last: Uint32Array = EMPTY;
  #used = 0;
  #sampled = 0;
  /** Values of 2^32 − 1 and more, by their place. */
  #large: Map<number, number> | null = null;

  add(cycles: number): void {
    this.events++;
    if (cycles === 0) return;
    this.count++;
    this.cycles += cycles;
    if (this.#sampled === SAMPLE_MAX) {
      this.#replace(cycles);
      return;
    }
    if (this.#used === this.#last.length) {
      this.#last = new Uint32Array(Math.min(CHUNK, Math.max(FIRST_CHUNK, this.#used * 4)));
      this.#chunks.push(this.#last);
      this.#used = 0;
    }
    if (cycles >= LARGE) {
      (this.#large ??= new Map()).set(this.#sampled, cycles);
      this.#last[this.#used++] = LARGE;
    } else {
      this.#last[this.#used++] = cycles;
    }
    this.#sampled++;
  }

  /** All places are taken: every lap keeps one value in so many. */
  #replace(cycles: number): void {
    const count = this.count - 1;
    const lap = Math.floor(count / SAMPLE_MAX) + 1;
    const index = count % SAMPLE_MAX;
    if ((index - Math.floor(lap / 3)) % lap !== 0) return;
    let at = 0;
    let within = index;
    while (this.#chunks[at]!.length < CHUNK && within >= this.#chunks[at]!.length) within -= this.#chunks[at++]!.length;
    at += Math.floor(within / CHUNK);
    this.#chunks[at]![within % CHUNK] = Math.min(cycles, LARGE);
    if (cycles >= LARGE) (this.#large ??= new Map()).set(index, cycles);
    else this.#large?.delete(index);
  }

  /** The values, in the order they came; in the scratch array, so until the next call for any summary. */
  #values(): Float64Array {
    if (scratch.length < this.#sampled) scratch = new Float64Array(this.#sampled);
    const all = scratch.subarray(0, this.#sampled);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk.length > this.#sampled - at ? chunk.subarray(0, this.#sampled - at) : chunk, at);
      at += chunk.length;
    }
    if (this.#large !== null) for (const [index, value] of this.#large) all[index] = value;
    return all;
  }

  /**
   * The values at three places of the sorted order (rising, counted from 0): two counting passes, by the high halves
   * and by the low halves of the values whose high half is wanted.
   */
  #select(places: readonly [number, number, number]): [number, number, number] {
    if (this.#large !== null || this.#sampled <= SORT_UP_TO) {
      const sorted = this.#values().sort();
      return [sorted[places[0]]!, sorted[places[1]]!, sorted[places[2]]!];
    }
    const highs = new Uint32Array(65536);
    for (const chunk of this.#chunks) {
      const n = chunk === this.#last ? this.#used : chunk.length;
      for (let i = 0; i < n; i++) highs[chunk[i]! >>> 16]!++;
    }
    const wanted = places.map((place) => {
      let high = 0;
      let before = 0;
      while (before + highs[high]! <= place) before += highs[high++]!;
      return { high, rest: place - before };
    });
    // One table of low halves each wanted high half; most values share one.
    const tables = new Map<number, Uint32Array>();
    for (const { high } of wanted) if (!tables.has(high)) tables.set(high, new Uint32Array(65536));
    for (const [high, lows] of tables) {
      for (const chunk of this.#chunks) {
        const n = chunk === this.#last ? this.#used : chunk.length;
        for (let i = 0; i < n; i++) {
          const value = chunk[i]!;
          if (value >>> 16 === high) lows[value & 0xffff]!++;
        }
      }
    }
    const found = wanted.map(({ high, rest }) => {
      const lows = tables.get(high)!;
      let low = 0;
      let before = 0;
      while (before + lows[low]! <= rest) before += lows[low++]!;
      return high * 65536 + low;
    });
    return [found[0]!, found[1]!, found[2]!];
  }

  /** Mean, rounded towards zero. */
  get average(): number {
    return this.count === 0 ? 0 : Math.trunc(this.cycles / this.count);
  }

  /** Percentiles of the values: how long one event took. */
  percentiles(): Percentiles {
    const n = this.#sampled;
    if (n === 0) return { p5: 0, p50: 0, p95: 0 };
    const at = (percent: number): number => Math.floor((n * percent) / 100);
    const [p5, p50, p95] = this.#select([at(5), at(50), at(95)]);
    return { p5, p50, p95 };
  }

  /** Percentiles weighted by the values themselves: how long the event was in which a tick was spent. */
  weightedPercentiles(): Percentiles {
    const values = this.#values();
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
