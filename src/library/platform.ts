/** What a Machine needs of the environment it is in. */
import type { PlacedDevice } from '../device-model/device-model.ts';
import type { JobPart } from '../machine/job.ts';
import type { StartThread } from '../machine/launch.ts';
import { type JobExtras, JobRunner } from '../machine/run-job.ts';

export interface Platform {
  readonly hasWorkers: boolean;
  /** Memory can be shared among threads. */
  readonly isShared: boolean;
  /** Starts a Worker. */
  readonly startWorker: StartThread;
  /** What a machine on the calling thread is given. */
  readonly extras: JobExtras;
  /** Bytes of an image that a string or a URL names. Throws UserError when it cannot be had. */
  readonly load: (source: string | URL) => Promise<Uint8Array>;
}

/** Runs a part on the calling thread, in turns. */
export const startHere =
  (platform: Pick<Platform, 'extras'>, devices: readonly PlacedDevice[] | undefined): StartThread =>
  (part: JobPart, events) => {
    const runner = new JobRunner(
      part,
      { ...platform.extras, ...(devices === undefined ? {} : { devices }) },
      (message) => events.message(message),
      () => events.exit(),
    );
    // Not before whoever starts it has it.
    queueMicrotask(() => void runner.start());
    return { send: (request) => runner.receive(request), terminate: () => runner.terminate() };
  };
