import { expect, it } from 'vitest';
import { CycleSummary } from '../xenalyze/cycles.ts';
import { PercentilePlan, work, type PercentileJobs } from './percentile-jobs.ts';
import { Random } from '../testing/generator.ts';

function filled(count: number, seed: number, large = false): CycleSummary {
  const random = new Random(seed);
  const summary = new CycleSummary();
  for (let i = 0; i < count; i++) summary.add(1 + random.below(1 << 20) + (large && i % 100 === 0 ? 2 ** 33 : 0));
  return summary;
}

it('gives the percentiles that each summary finds alone, whoever of the two threads finds them', () => {
  const make = (): [CycleSummary, boolean][] => [
    [filled(20_000, 1), false],
    [filled(50_000, 2), true],
    [filled(9000, 3), true],
    [filled(100, 4), false],
    [filled(20_000, 5, true), false],
  ];
  const alone = make().map(([summary, weighted]) => (weighted ? summary.weightedPercentiles() : summary.percentiles()));
  const hands: ((jobs: PercentileJobs) => void)[] = [work, () => {}];
  for (const hand of hands) {
    const plan = new PercentilePlan();
    const summaries = make();
    for (const [summary, weighted] of summaries) plan.add(summary, weighted);
    let given = 0;
    plan.run((jobs) => {
      given = jobs.values.length;
      hand(jobs);
    });
    expect(given).toBe(3); // neither the small one nor the one with values past 32 bits
    expect(summaries.map(([summary, weighted]) => (weighted ? summary.weightedPercentiles() : summary.percentiles()))).toEqual(
      alone,
    );
  }
});

it('values that come later make the percentiles anew', () => {
  const [first, second] = [filled(5000, 6), filled(5000, 7)];
  const plan = new PercentilePlan();
  plan.add(first, false);
  plan.add(second, false);
  plan.run(() => {});
  for (let i = 0; i < 20_000; i++) first.add(7);
  expect(first.percentiles().p50).toBe(7);
});
