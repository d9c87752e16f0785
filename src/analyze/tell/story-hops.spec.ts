import { describe, expect, it } from 'vitest';
import { inTimeOrder } from './story-hops.ts';
import type { Hop } from './story-model.ts';

/** Hops as `name`, time in microseconds (undefined: none) and error, in the order of cause and effect. */
function ordered(...hops: [string, number | undefined, number?][]): string {
  const list = hops.map(
    ([text, us, error = 0]): Hop => ({
      text,
      where: '',
      strength: 'proven',
      refs: [],
      clock: 'measured',
      atNs: us === undefined ? undefined : us * 1000,
      errorNs: error * 1000,
    }),
  );
  inTimeOrder(list);
  return list.map((h) => h.text).join(' ');
}

describe('the order of a way', () => {
  it('is that of the times, whichever clock they come from', () => {
    expect(
      ordered(
        ['exit', 0],
        ['notified', 190],
        ['waits', 390],
        ['runs', 350],
        ['request', 900, 108],
        ['fetch', 1800, 108],
        ['answer', 2500],
      ),
    ).toBe('exit notified runs waits request fetch answer');
  });

  it('is that of cause and effect where two times are equal', () => {
    expect(ordered(['exit', 0], ['waits', 100], ['request', 100, 200], ['answer', 240])).toBe('exit waits request answer');
    expect(ordered(['request', 500, 10], ['waits', 495], ['answer', 600])).toBe('waits request answer');
  });

  it('keeps what has no time behind its cause', () => {
    expect(ordered(['exit', 10], ['unknown', undefined], ['entry', 30], ['lost', 5])).toBe('lost exit unknown entry');
    expect(ordered(['a', undefined], ['b', undefined])).toBe('a b');
  });
});
