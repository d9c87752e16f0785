import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SpinWait } from './spin.ts';

/** A clock of its own, 10 µs a look at it: a busy machine would take the looks' time away. */
let now = 0;
beforeEach(() => {
  now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 0.01));
});
afterEach(() => vi.restoreAllMocks());

/** Waits once for an answer that is there at look number `answerAt`; gives the looks made. */
function wait(spin: SpinWait, answerAt: number): number {
  let looks = 0;
  spin.until(() => ++looks === answerAt);
  return looks;
}
const wasteAway = (spin: SpinWait): void => {
  for (let i = 0; i < 200; i++) wait(spin, Infinity);
};

describe('looking before sleeping', () => {
  it('says yes as soon as the answer is there, and no after a bounded time', () => {
    const spin = new SpinWait();
    let looks = 0;
    expect(spin.until(() => ++looks === 50)).toBe(true);
    expect(looks).toBe(50);
    looks = 0;
    expect(spin.until(() => ++looks < 0)).toBe(false);
    expect(looks).toBeGreaterThan(50);
  });

  it('looks but once while it does not pay, and tries again now and then', () => {
    const spin = new SpinWait();
    wasteAway(spin);
    const tried = Array.from({ length: 64 }, () => wait(spin, Infinity)).filter((looks) => looks > 1).length;
    expect(tried).toBe(8);
  });

  it('looks on at each wait once a try has paid', () => {
    const spin = new SpinWait();
    wasteAway(spin);
    let waits = 0;
    while (wait(spin, 50) < 50) waits++;
    expect(waits).toBeLessThan(8);
    for (let i = 0; i < 20; i++) expect(wait(spin, 50)).toBe(50);
  });

  it('answers that came soon pay for one long look: the other thread may have lost its core for a while', () => {
    const spin = new SpinWait();
    wasteAway(spin);
    const poor = wait(spin, Infinity);
    for (let i = 0; i < 1000; i++) wait(spin, 50);
    const before = now;
    const rich = wait(spin, Infinity);
    expect(rich).toBeGreaterThan(10 * poor);
    expect(now - before).toBeLessThan(3);
  });

  it('the time looked in vain after any number of answers is bounded', () => {
    const spin = new SpinWait();
    for (let i = 0; i < 100_000; i++) wait(spin, 50);
    const before = now;
    let waits = 0;
    while (wait(spin, Infinity) > 1) waits++;
    expect(waits).toBeLessThan(10);
    expect(now - before).toBeLessThan(10);
  });
});
