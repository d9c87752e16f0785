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

/** Serve until told to stop. Never returns to the thread's event loop in between. */
export function runDeviceModel(options: WorkerLoopOptions): void {
  const { deviceModel, words, futex, stopped, now } = options;
  const sleep = options.sleep ?? ((seen: number, timeoutMs: number) => void Atomics.wait(words, futex, seen, timeoutMs));
  const spin = new SpinWait();
  let seen = 0;
  const isRaised = (): boolean => Atomics.load(words, futex) !== seen;
  while (!stopped()) {
    // Whatever raises the word after this load makes the wait below return at once.
    seen = Atomics.load(words, futex);
    if (deviceModel.turn()) continue;
    deviceModel.flushConsole();
    if (spin.until(isRaised) || stopped()) continue;
    const sleepMs = Math.min((deviceModel.nextDeadlineNs - now()) / NS_PER_MS, LONGEST_SLEEP_MS);
    if (sleepMs > 0) sleep(seen, sleepMs);
  }
  deviceModel.stop();
}
