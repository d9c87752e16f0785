import { UserError } from '../../base/errors.ts';

/** What xenalyze takes for the host's TSC rate if nobody says otherwise. */
export const DEFAULT_CPU_HZ = 2_400_000_000;

/**
 * TSC rate from text, as xenalyze's --cpu-hz reads it: a decimal number, with suffix G, M or K times 10^9, 10^6, 10^3,
 * in single precision (so 2596090000 is 2596090112 Hz).
 */
export function parseCpuHz(text: string): number {
  const match = /^([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)([GMK]?)$/.exec(text.trim());
  if (match === null) throw new UserError(`'${text}' is not a TSC rate; expected hertz, for example 2400000000, 2400M or 2.4G`);
  const base = Math.fround(Number(match[1]));
  const unit = match[2] === 'G' ? 1e9 : match[2] === 'M' ? 1e6 : match[2] === 'K' ? 1e3 : 1;
  const hz = Math.trunc(Math.fround(base * unit));
  if (hz < 1_000_000 || hz > 1e12) throw new UserError(`a TSC rate of ${text} (${hz} Hz) is out of range; expected 1M to 1000G`);
  return hz;
}

/** xenalyze's TSC arithmetic: nanoseconds = ticks · 1024 / floor(hz · 1024 / 10^9), rounded down. */
export class TscScale {
  readonly hz: number;
  private readonly qhz: number;

  constructor(hz: number) {
    this.hz = hz;
    this.qhz = Math.floor((hz * 1024) / 1_000_000_000);
    if (this.qhz < 1) throw new UserError(`a TSC rate of ${hz} Hz is too low; expected at least 1M`);
  }

  /** Nanoseconds a tick, before they are rounded down. */
  get nsPerTick(): number {
    return 1024 / this.qhz;
  }

  /** Nanoseconds of `ticks`, exact for all ticks below 2^53; 0 for a negative number. */
  ns(ticks: number): number {
    if (ticks <= 0) return 0;
    const qhz = this.qhz;
    if (ticks < 0x80000000000) {
      // ticks · 1024 stays below 2^53; the quotient can still round up to the next integer.
      const scaled = ticks * 1024;
      let ns = Math.floor(scaled / qhz);
      if (ns * qhz > scaled) ns--;
      return ns;
    }
    let whole = Math.floor(ticks / qhz);
    let rest = ticks - whole * qhz;
    if (rest < 0) {
      whole--;
      rest += qhz;
    }
    return whole * 1024 + Math.floor((rest * 1024) / qhz);
  }
}
