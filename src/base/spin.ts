/**
 * Looking at a word for a while before sleeping on it. A wake-up through the kernel costs tens of microseconds on both
 * sides, most answers of another thread come sooner; but where no core is free, or nothing is to come, a look is time
 * taken from somebody else. So as many looks are made as a sleep and its wake-up would cost, as long as that pays more
 * often than not; when it does not, only now and then, to learn of it when it does again.
 */
const SPIN_MS = 0.06;
/** Looks between two looks at the clock. */
const LOOKS = 64;
const MOST_CREDIT = 8;
/** Without credit, one wait in so many is tried. */
const TRIAL = 16;

export class SpinWait {
  private credit = MOST_CREDIT;
  private since = 0;

  /** Looks until `isReady` says yes, for a bounded time. False: sleep. */
  until(isReady: () => boolean): boolean {
    if (this.credit === 0 && ++this.since < TRIAL) return isReady();
    this.since = 0;
    const end = performance.now() + SPIN_MS;
    do {
      for (let look = 0; look < LOOKS; look++) {
        if (!isReady()) continue;
        if (this.credit < MOST_CREDIT) this.credit++;
        return true;
      }
    } while (performance.now() < end);
    if (this.credit > 0) this.credit--;
    return false;
  }
}
