import { describe, expect, it } from 'vitest';
import { schedClassEvent, TRC_SCHED_RTDS } from '../events.ts';
import { InferenceBuilder } from './infer.ts';

const range = (...records: [event: number, words: number][]): [string | null, string | null, boolean] => {
  const builder = new InferenceBuilder();
  records.forEach(([event, words], i) => builder.record(i * 40, event, words, 0));
  const { xenFrom, xenTo, ambiguous } = builder.result();
  return [xenFrom, xenTo, ambiguous];
};

describe('the release, from the shape of RTDS records', () => {
  const burn = schedClassEvent(TRC_SCHED_RTDS, 3);
  const replenish = schedClassEvent(TRC_SCHED_RTDS, 4);
  it.each([
    ['any of them', [[schedClassEvent(TRC_SCHED_RTDS, 1), 1]], ['4.5', '4.22', false]],
    ['burn_budget of four words', [[burn, 4]], ['4.5', '4.9', false]],
    ['burn_budget of six words', [[burn, 6]], ['4.10', '4.22', false]],
    ['repl_budget of five words', [[replenish, 5]], ['4.5', '4.9', false]],
    ['repl_budget of six words', [[replenish, 6]], ['4.10', '4.22', false]],
    [
      'one of each',
      [
        [replenish, 5],
        [burn, 6],
      ],
      [null, null, true],
    ],
  ] as [string, [number, number][], [string | null, string | null, boolean]][])('%s', (_, records, expected) => {
    expect(range(...records)).toEqual(expected);
  });
});
