import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SpinWait } from './spin.ts';

/** A clock of its own: a busy machine would take the looks' time away. */
beforeEach(() => {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 0.01));
});
afterEach(() => vi.restoreAllMocks());

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

  it('looks but once while it does not pay, tries again now and then, and looks on once it pays again', () => {
    const spin = new SpinWait();
    const wait = (answerAt: number): number => {
      let looks = 0;
      spin.until(() => ++looks === answerAt);
      return looks;
    };
    for (let i = 0; i < 8; i++) expect(wait(Infinity)).toBeGreaterThan(1);
    const tried = Array.from({ length: 64 }, () => wait(Infinity)).filter((looks) => looks > 1).length;
    expect(tried).toBe(4);
    let waits = 0;
    while (wait(50) < 50) waits++;
    expect(waits).toBeLessThan(16);
    expect(wait(50)).toBe(50);
  });
});
