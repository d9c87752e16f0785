/** Times in classes, ten a decade: quantiles are good to 13 per cent, and memory does not grow with the number of times. */
const PER_DECADE = 10;
const CLASSES = 12 * PER_DECADE;

export class Histogram {
  readonly counts = new Float64Array(CLASSES);
  total = 0;
  sum = 0;
  max = 0;

  add(ns: number): void {
    const index = ns < 1 ? 0 : Math.min(CLASSES - 1, Math.floor(Math.log10(ns) * PER_DECADE));
    this.counts[index]!++;
    this.total++;
    this.sum += ns;
    if (ns > this.max) this.max = ns;
  }

  /** Upper bound of a class, in nanoseconds. */
  static bound(index: number): number {
    return 10 ** ((index + 1) / PER_DECADE);
  }

  /** The upper bound of the class that holds the quantile, never more than the largest time; 0 where there is none. */
  quantile(q: number): number {
    let left = Math.ceil(this.total * q);
    for (let i = 0; i < CLASSES; i++) {
      left -= this.counts[i]!;
      if (left <= 0 && this.total > 0) return Math.min(this.max, Histogram.bound(i));
    }
    return this.max;
  }

  /** First and last class that hold a time; undefined where there is none. */
  range(): [number, number] | undefined {
    const first = this.counts.findIndex((n) => n > 0);
    return first < 0 ? undefined : [first, this.counts.findLastIndex((n) => n > 0)];
  }
}
