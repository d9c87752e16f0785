import { percentilesOf, type CycleSummary, type Percentiles } from '../xenalyze/cycles.ts';

/** Summaries with fewer values are quicker done than handed over. */
const WORTH_SHARING = 4096;
/** A thread that does not finish its job for so long is taken for dead. */
const PATIENCE_MS = 10_000;

/** Words of `control`: the next job, how many are done. */
const NEXT = 0;
const DONE = 1;

/** Percentiles to be found by two threads: whoever is free takes the next. All of it is shared memory. */
export interface PercentileJobs {
  /** Values of each summary, in parts. */
  readonly values: readonly (readonly Uint32Array[])[];
  readonly weighted: readonly boolean[];
  readonly control: Int32Array;
  /** Three numbers a job. */
  readonly results: Float64Array;
}

/** Takes jobs until none is left. */
export function work(jobs: PercentileJobs): void {
  const { values, weighted, control, results } = jobs;
  for (let i = Atomics.add(control, NEXT, 1); i < values.length; i = Atomics.add(control, NEXT, 1)) {
    const { p5, p50, p95 } = percentilesOf(values[i]!, weighted[i]!);
    results.set([p5, p50, p95], 3 * i);
    Atomics.add(control, DONE, 1);
    Atomics.notify(control, DONE);
  }
}

/** Finds the percentiles of many summaries with another thread's help, and leaves them with the summaries. */
export class PercentilePlan {
  private readonly wanted = new Map<CycleSummary, boolean>();

  /** Notes that percentiles of a summary will be asked for. */
  add(summary: CycleSummary, weighted: boolean): void {
    if (summary.shareable && summary.samples >= WORTH_SHARING) this.wanted.set(summary, weighted);
  }

  /** @param hand gives the jobs to the other thread, which does `work` */
  run(hand: (jobs: PercentileJobs) => void): void {
    // The largest first: then both are done at about the same time.
    const wanted = [...this.wanted].sort((a, b) => b[0].samples - a[0].samples);
    if (wanted.length < 2) return;
    const jobs: PercentileJobs = {
      values: wanted.map(([summary]) => summary.parts()),
      weighted: wanted.map(([, weighted]) => weighted),
      control: new Int32Array(new SharedArrayBuffer(8)),
      results: new Float64Array(new SharedArrayBuffer(wanted.length * 24)),
    };
    hand(jobs);
    work(jobs);
    for (let done = Atomics.load(jobs.control, DONE); done < wanted.length; done = Atomics.load(jobs.control, DONE)) {
      // Whatever the other thread left is then found when it is asked for.
      if (Atomics.wait(jobs.control, DONE, done, PATIENCE_MS) === 'timed-out') return;
    }
    wanted.forEach(([summary, weighted], i) => {
      const found: Percentiles = { p5: jobs.results[3 * i]!, p50: jobs.results[3 * i + 1]!, p95: jobs.results[3 * i + 2]! };
      summary.found(found, weighted);
    });
  }
}
