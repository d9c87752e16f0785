/** Notices a guest that does nothing any more but run around in a few instructions, which neither an interrupt nor a device can end. */

/** Bytes of code that a loop has at most. */
const SPAN = 256n;
/** Instructions after which it is one. Clearing a gigabyte by hand takes fewer. */
export const LOOP_INSTRUCTIONS = 1e9;

const RFLAGS_IF = 0x200;

export class SilentLoop {
  private low = 0n;
  private high = -1n;
  private since = 0;
  private isTold = false;

  /** The guest left for something of its own: it does not loop in silence. */
  exited(): void {
    this.high = -1n;
  }

  /**
   * The guest ran up to `rip` without an exit. A sentence, once, when it loops.
   * @param instructions all that it ever retired
   */
  ran(rip: bigint, rflags: number, instructions: number): string | undefined {
    if (this.isTold) return undefined;
    const low = rip < this.low ? rip : this.low;
    const high = rip > this.high ? rip : this.high;
    if ((rflags & RFLAGS_IF) !== 0 || this.high < 0n || high - low > SPAN) {
      this.low = this.high = rip;
      this.since = instructions;
      return undefined;
    }
    this.low = low;
    this.high = high;
    if (instructions - this.since < LOOP_INSTRUCTIONS) return undefined;
    this.isTold = true;
    return `has run ${Math.round((instructions - this.since) / 1e6)} million instructions around rip 0x${this.low.toString(16)} with interrupts off and without a VM exit: it loops, and nothing outside it can end that`;
  }
}
