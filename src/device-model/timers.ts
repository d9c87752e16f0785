/** Timers of the devices over the machine's clock: whoever drives the device model asks when, and runs what is due. */
import type { Snapshot } from '../base/snapshot.ts';
import type { Clock } from '../base/clock.ts';
import type { DeviceClock, DeviceTimer } from '../devices/interfaces.ts';

class Timer implements DeviceTimer {
  atNs = Number.POSITIVE_INFINITY;
  readonly expire: () => void;

  constructor(expire: () => void) {
    this.expire = expire;
  }

  arm(atNs: number): void {
    this.atNs = atNs;
  }

  cancel(): void {
    this.atNs = Number.POSITIVE_INFINITY;
  }
}

/** Deadlines in the order in which the timers were made; Infinity: off. */
export interface TimerListState {
  readonly deadlinesNs: Float64Array;
}

export class TimerList implements DeviceClock, Snapshot<TimerListState> {
  readonly kind = 'device timers';
  readonly version = 1;
  private readonly clock: Clock;
  private readonly timers: Timer[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }

  nowNs(): number {
    return this.clock.nowNs();
  }

  newTimer(expire: () => void): DeviceTimer {
    const timer = new Timer(expire);
    this.timers.push(timer);
    return timer;
  }

  save(): TimerListState {
    return { deadlinesNs: Float64Array.from(this.timers, (timer) => timer.atNs) };
  }

  restore({ deadlinesNs }: TimerListState): void {
    this.timers.forEach((timer, i) => {
      timer.atNs = deadlinesNs[i] ?? Number.POSITIVE_INFINITY;
    });
  }

  /** The earliest deadline in nanoseconds, Infinity when no timer is armed. */
  get nextNs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const timer of this.timers) if (timer.atNs < next) next = timer.atNs;
    return next;
  }

  /** Run every timer that is due, each once: one that arms itself again in the past runs in the next call. */
  run(): boolean {
    const now = this.clock.nowNs();
    let ran = false;
    for (const timer of this.timers) {
      if (timer.atNs > now) continue;
      timer.cancel();
      timer.expire();
      ran = true;
    }
    return ran;
  }
}
