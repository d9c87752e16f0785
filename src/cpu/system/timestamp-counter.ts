/** The guest's TSC: the machine's counter plus the VMCS's TSC offset, modulo 2^64. Source: SDM vol. 3C, 24.6.5. */
export class TimestampCounter {
  /** Halves of the last reading. */
  low = 0;
  high = 0;
  private offsetLow = 0;
  private offsetHigh = 0;
  private readonly now: () => number;

  /** @param now the machine's counter in ticks, a double; counts the instructions of the run so far. */
  constructor(now: () => number) {
    this.now = now;
  }

  /** Halves, unsigned. */
  setOffset(low: number, high: number): void {
    this.offsetLow = low >>> 0;
    this.offsetHigh = high >>> 0;
  }

  read(): void {
    const ticks = this.now();
    const low = (ticks % 2 ** 32) + this.offsetLow;
    this.low = low | 0;
    this.high = (Math.floor(ticks / 2 ** 32) + this.offsetHigh + (low >= 2 ** 32 ? 1 : 0)) | 0;
  }
}
