/**
 * The device model's main loop on a thread of its own. Everything that concerns it (ioreq, frame from the wire, stop)
 * ends in one futex word; timers bound the sleep. Before it sleeps it spins a little: a wake-up through the
 * kernel costs more than most pauses between two requests last.
 */
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

/**
 * Looks at the futex word before sleeping. As long as spinning pays off the number grows; on a machine with no core to
 * spare, where it only keeps the other side from running, it shrinks.
 */
const LEAST_SPINS = 16;
const MOST_SPINS = 4096;
const NS_PER_MS = 1e6;
/** A sleep is no longer than this, in milliseconds, so that a lost wake-up is not for ever. */
const LONGEST_SLEEP_MS = 1000;

/** Serve until told to stop. Never returns to the thread's event loop in between. */
export function runDeviceModel(options: WorkerLoopOptions): void {
  const { deviceModel, words, futex, stopped, now } = options;
  const sleep = options.sleep ?? ((seen: number, timeoutMs: number) => void Atomics.wait(words, futex, seen, timeoutMs));
  let spins = MOST_SPINS;
  while (!stopped()) {
    // Whatever raises the word after this load makes the wait below return at once.
    const seen = Atomics.load(words, futex);
    if (deviceModel.turn()) continue;
    deviceModel.flushConsole();
    let spin = 0;
    while (spin < spins && Atomics.load(words, futex) === seen) spin++;
    if (spin < spins) {
      spins = Math.min(spins * 2, MOST_SPINS);
      continue;
    }
    spins = Math.max(spins >>> 1, LEAST_SPINS);
    if (stopped()) continue;
    const sleepMs = Math.min((deviceModel.nextDeadlineNs - now()) / NS_PER_MS, LONGEST_SLEEP_MS);
    if (sleepMs > 0) sleep(seen, sleepMs);
  }
  deviceModel.stop();
}
