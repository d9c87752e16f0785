/**
 * Looking at a word for a while before sleeping on it. A wake-up through the kernel costs tens of microseconds on both sides; most
 * answers of another thread come sooner. But where the other thread has no core, or nothing is to come, a look is time taken from
 * somebody else. So looking keeps an account: an answer that came while looking earns what the sleep would have cost, and a look in
 * vain costs the time it took. What the account holds may be spent on one longer look: two threads that lost step because one of them
 * was taken off its core find it again. A thread whose looks do not pay never looks for longer than it has earned, and a little now
 * and then, to learn of it when they pay again.
 */
/** What a sleep and its wake-up cost, in milliseconds. */
const WAKE_MS = 0.06;
/** Longest look of one wait, in milliseconds: about what a scheduler lets another thread run at a time. */
const LONGEST_MS = 2;
/** Most that the account holds, in milliseconds: a few of the longest looks. */
const MOST_CREDIT_MS = 6;
/** Looks between two looks at the clock. */
const LOOKS = 64;
/** With an empty account, one wait in so many is tried. */
const TRIAL = 8;

export class SpinWait {
  private creditMs = WAKE_MS * TRIAL;
  /** Waits that were not looked at since the last look in vain; TRIAL after a look that paid, which the next wait follows. */
  private since = 0;

  /** Looks until `isReady` says yes, for a bounded time. False: sleep. */
  until(isReady: () => boolean): boolean {
    if (isReady()) return true;
    if (this.creditMs < WAKE_MS && ++this.since < TRIAL) return false;
    const begin = performance.now();
    const longest = Math.min(Math.max(this.creditMs, WAKE_MS), LONGEST_MS);
    for (;;) {
      for (let look = 0; look < LOOKS; look++) {
        if (!isReady()) continue;
        this.book(WAKE_MS - (performance.now() - begin));
        this.since = TRIAL;
        return true;
      }
      const spent = performance.now() - begin;
      if (spent < longest) continue;
      this.book(-spent);
      this.since = 0;
      return false;
    }
  }

  private book(ms: number): void {
    this.creditMs = Math.min(Math.max(this.creditMs + ms, 0), MOST_CREDIT_MS);
  }
}
