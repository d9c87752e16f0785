/**
 * Time as the machine sees it. `host` is real time ("measured"); `virtual` counts instructions and charges a
 * declared cost to every exit, hop and device-model step ("modelled"). Nanoseconds and TSC ticks are doubles:
 * exact up to 2^53 (104 days in ns).
 */
export interface Clock {
  readonly kind: 'host' | 'virtual';
  /** TSC ticks a second, the rate a guest sees in RDTSC. */
  readonly tscHz: number;
  /** Nanoseconds since the machine was switched on. */
  nowNs(): number;
  /** TSC ticks since the machine was switched on. */
  tsc(): number;
  /** Wall-clock time at nowNs() = 0, in microseconds since 1970-01-01 (fixed under a virtual clock). */
  readonly epochUs: number;
  /** Charge a step's modelled cost. Nothing happens under a host clock. */
  charge(ns: number): void;
}
