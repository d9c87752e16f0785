import { describe, expect, it } from 'vitest';
import type { CapturedFrame } from '../sources/pcap.ts';
import { countFits, offsetOf, whyUnrelated, type Span } from './capture-clock.ts';

const frame = (timeUs: number, i: number): CapturedFrame => ({
  number: i + 1,
  timeUs,
  resolutionUs: 0.001,
  data: new Uint8Array(60),
  wireLength: 60,
  interfaceId: 0,
  comments: [],
  direction: undefined,
});
/** Doorbells at these times, each served for 20 µs. */
const bells = (...times: number[]): Span[] => times.map((t) => ({ fromUs: t, untilUs: t + 20 }));
const frames = (...times: number[]): CapturedFrame[] => times.map(frame);
const TIMES = [0, 90, 7_000, 250_000, 900_000, 1_000_300, 1_700_000, 1_700_060, 2_000_900];

describe('the clock of a capture', () => {
  it('is found where every doorbell has a frame at one difference', () => {
    for (const ahead of [3_600e6, -5e6, 2_000]) {
      const found = offsetOf(bells(...TIMES), frames(...TIMES.map((t) => t + ahead + 9)), 0, true);
      expect(Math.abs(found!.us - ahead)).toBeLessThanOrEqual(found!.errorUs + 1);
      expect(found!.errorUs).toBeLessThan(20);
    }
  });

  it('is found in a capture of the second half of the run, and with one frame that the capture dropped', () => {
    const late = TIMES.slice(4).map((t) => t + 1e6 + 9);
    expect(offsetOf(bells(...TIMES), frames(...late), 0, true)!.us).toBeCloseTo(1e6, -2);
    const dropped = TIMES.filter((_, i) => i !== 3).map((t) => t + 1e6 + 9);
    expect(offsetOf(bells(...TIMES), frames(...dropped), 0, true)!.us).toBeCloseTo(1e6, -2);
  });

  it('is not that of a run that did half of it at the same times', () => {
    const other = TIMES.map((t, i) => t + 2_160 + (i % 2) * (30_000 + 777 * i));
    expect(offsetOf(bells(...TIMES), frames(...other), 0, true)).toBeUndefined();
  });

  it('is not found by one frame that would serve all doorbells', () => {
    const burst = bells(0, 40, 80, 120);
    expect(offsetOf(burst, frames(5e9, 5.2e9, 6e9), 0, true)).toBeUndefined();
    expect(countFits(burst, frames(100), 0, 1000)).toBe(1);
  });

  it('is not taken where two differences fit alike', () => {
    const regular = Array.from({ length: 20 }, (_, i) => i * 1e6);
    const before = [-3, -2, -1].map((i) => i * 1e6);
    expect(offsetOf(bells(...regular), frames(...[...before, ...regular].map((t) => t + 5e5)), 0, true)).toBeUndefined();
  });
});

it('says why a capture is of another run', () => {
  const spans = bells(...TIMES);
  const why = (fitting: number, ...times: number[]): string | undefined =>
    whyUnrelated([0, 3e6], spans, frames(...times), fitting, true);
  expect(why(0, 4e6, 5e6)).toBe("its first frame was captured 1.000000 s after the log's last request");
  expect(why(0, -2e6, -1e6)).toBe("its last frame was captured 1.000000 s before the log's first request");
  expect(why(0, 5e5, 6e5)).toBe('not one of its 2 frames was captured while a doorbell was served');
  expect(why(1, 5e5, 6e5)).toBe('only 1 of its 2 frames was captured while one of the 9 doorbells was served');
  expect(whyUnrelated(undefined, spans, frames(1), 0, true)).toBeUndefined();
});
