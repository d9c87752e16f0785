/**
 * Interrupt causes, mask and pin, with moderation as far as QEMU has it: after the pin rose it cannot rise again for the shortest of
 * the delays that apply, at least 128 µs. ITR always applies, RADV to RXT0 while RDTR is not 0, TADV to TXDW and TXQE after a
 * descriptor with IDE. TIDV and RDTR as delays of their own are not there.
 */
import { INT_RXT0, INT_TXDW, INT_TXQE, R } from './port.ts';
import type { E1000State } from './state.ts';

/** Unit of ITR; RADV and TADV count in four of them. */
const UNIT_NS = 256;
const UNITS_PER_DELAY = 4;
/** The chip interrupts 7,813 times a second at most (manual, section 13.4.18). */
const SHORTEST_UNITS = 500;

/** What the causes need of the chip around them. */
interface Pin {
  readonly values: Uint32Array;
  readonly state: E1000State;
  /** Drives the interrupt pin. */
  setPin(level: boolean): void;
  /** Calls expired() at this time. */
  armMitigation(atNs: number): void;
  nowNs(): number;
}

export class Interrupts {
  private readonly pin: Pin;

  constructor(pin: Pin) {
    this.pin = pin;
  }

  /** Makes causes pending. */
  raise(causes: number): void {
    this.set((this.pin.values[R.ICR]! | causes) >>> 0);
  }

  /** ICR becomes `pending`; ICS reads the same. */
  set(pending: number): void {
    const { values, state } = this.pin;
    values[R.ICR] = pending;
    values[R.ICS] = pending;
    const wanted = (pending & values[R.IMS]!) >>> 0;
    if (wanted !== 0 && !state.irqLevel) {
      if (state.mitigationNs !== Number.POSITIVE_INFINITY) return;
      state.mitigationNs = this.pin.nowNs() + this.delayUnits(wanted) * UNIT_NS;
      this.pin.armMitigation(state.mitigationNs);
      state.delayTx = false;
    }
    state.irqLevel = wanted !== 0;
    this.pin.setPin(state.irqLevel);
  }

  /** The time of moderation is over: what came meanwhile shows now. */
  expired(): void {
    this.pin.state.mitigationNs = Number.POSITIVE_INFINITY;
    this.set(this.pin.values[R.ICR]!);
  }

  /** The shortest delay that applies to these causes. */
  private delayUnits(wanted: number): number {
    const { values, state } = this.pin;
    let delay = shorter(Number.POSITIVE_INFINITY, values[R.ITR]!);
    if (state.delayTx && wanted & (INT_TXQE | INT_TXDW)) delay = shorter(delay, values[R.TADV]! * UNITS_PER_DELAY);
    if (values[R.RDTR] !== 0 && wanted & INT_RXT0) delay = shorter(delay, values[R.RADV]! * UNITS_PER_DELAY);
    return delay === Number.POSITIVE_INFINITY ? SHORTEST_UNITS : Math.max(delay, SHORTEST_UNITS);
  }
}

/** The shorter of two delays, where 0 is no delay. */
const shorter = (delay: number, other: number): number => (other !== 0 && other < delay ? other : delay);
