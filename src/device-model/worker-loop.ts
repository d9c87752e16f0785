/**
 * The device model's main loop on a thread of its own. Everything that concerns it (ioreq, frame from the wire, stop)
 * ends in one futex word; timers bound the sleep.
 */
import { SpinWait } from '../base/spin.ts';
import type { DeviceModel } from './device-model.ts';

interface WorkerLoopOptions {
  readonly deviceModel: DeviceModel;
  /** The machine's memory as words, and the index of the device model's futex word in it. */
  readonly words: Int32Array;
  readonly futex: number;
  /** Asked before every sleep; whoever makes it true then raises the futex word. */
  readonly stopped: () => boolean;
  /** Time in nanoseconds of the device model's clock. */
  readonly now: () => number;
  /** Sleep until the futex word is no longer `seen`, at most `timeoutMs`; default: Atomics.wait on it. */
  readonly sleep?: (seen: number, timeoutMs: number) => void;
}

const NS_PER_MS = 1e6;
/** A sleep is no longer than this, in milliseconds, so that a lost wake-up is not for ever. */
const LONGEST_SLEEP_MS = 1000;

export class WorkerLoop {
  private readonly o: WorkerLoopOptions;
  private readonly spin = new SpinWait();
  private seen = 0;
  private readonly isRaised = (): boolean => Atomics.load(this.o.words, this.o.futex) !== this.seen;

  constructor(options: WorkerLoopOptions) {
    this.o = options;
  }

  /**
   * Serve until there is nothing to do, or `mustYield`.
   * @returns 'stopped': told to stop; else the milliseconds that may be slept, 0 for none
   */
  turn(mustYield: () => boolean): 'stopped' | number {
    const { deviceModel, words, futex, stopped, now } = this.o;
    while (!stopped()) {
      if (mustYield()) return 0;
      // Whatever raises the word after this load makes the sleep return at once.
      this.seen = Atomics.load(words, futex);
      if (deviceModel.turn()) continue;
      deviceModel.flushConsole();
      if (this.spin.until(this.isRaised) || stopped()) continue;
      const sleepMs = Math.min((deviceModel.nextDeadlineNs - now()) / NS_PER_MS, LONGEST_SLEEP_MS);
      if (sleepMs > 0) return sleepMs;
    }
    return 'stopped';
  }

  /** Sleep until something concerns the device model since the last turn looked, at most so long. */
  sleep(timeoutMs: number): void {
    const { words, futex, sleep } = this.o;
    if (sleep === undefined) Atomics.wait(words, futex, this.seen, timeoutMs);
    else sleep(this.seen, timeoutMs);
  }
}

/** Serve until told to stop. Never returns to the thread's event loop in between. */
export function runDeviceModel(options: WorkerLoopOptions): void {
  const loop = new WorkerLoop(options);
  for (let result = loop.turn(() => false); result !== 'stopped'; result = loop.turn(() => false)) {
    if (result > 0) loop.sleep(result);
  }
  options.deviceModel.stop();
}
