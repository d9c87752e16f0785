import { describe, expect, it } from 'vitest';
import { CycleSummary, selfWeightedPercentile } from './cycles.ts';
import { Random } from '../testing/generator.ts';

function fill(count: number, value: (random: Random) => number): { summary: CycleSummary; sorted: number[] } {
  const random = new Random(count + 1);
  const summary = new CycleSummary();
  const values: number[] = [];
  for (let i = 0; i < count; i++) {
    const v = 1 + value(random);
    values.push(v);
    summary.add(v);
  }
  return { summary, sorted: values.sort((a, b) => a - b) };
}

describe('CycleSummary', () => {
  it.each([
    ['few', 10, (r: Random) => r.below(100)],
    ['thousands', 5000, (r: Random) => r.below(1 << 20)],
    ['many', 100_000, (r: Random) => r.next()],
    ['many of few values', 50_000, (r: Random) => r.below(1000)],
    ['past 32 bits', 20_000, (r: Random) => r.next() * (r.below(2) === 0 ? 1 : 64)],
  ])('percentiles are values of the sorted order: %s', (_, count, value) => {
    const { summary, sorted } = fill(count, value);
    const at = (percent: number): number => sorted[Math.floor((count * percent) / 100)]!;
    expect(summary.percentiles()).toEqual({ p5: at(5), p50: at(50), p95: at(95) });
    expect(summary.count).toBe(count);
    expect(summary.average).toBe(Math.trunc(sorted.reduce((a, b) => a + b, 0) / count));
  });

  it('an event that took no time is counted, but is no sample', () => {
    const summary = new CycleSummary();
    summary.add(0);
    summary.add(7);
    expect([summary.events, summary.count, summary.cycles]).toEqual([2, 1, 7]);
    expect(summary.percentiles()).toEqual({ p5: 7, p50: 7, p95: 7 });
  });

  it('nothing at all', () => {
    expect(new CycleSummary().percentiles()).toEqual({ p5: 0, p50: 0, p95: 0 });
    expect(new CycleSummary().weightedPercentiles()).toEqual({ p5: 0, p50: 0, p95: 0 });
  });
});

it('a weighted percentile leans to the long events', () => {
  const values = Float64Array.from([1, 1, 1, 1, 1, 1, 1, 1, 1000, 1]);
  expect(selfWeightedPercentile(values, 50)).toBe(1000);
  expect(selfWeightedPercentile(Float64Array.from([5]), 95)).toBe(5);
});
