/** The library in a browser: machines, and what their records tell. */
import type { StartThread } from '../machine/launch.ts';
import { fetchBytes } from './images.ts';
import { BaseMachine } from './machine.ts';
import type { WorkerMessage } from './machine-worker.ts';
import type { MachineOptions } from './options.ts';
import type { Platform } from './platform.ts';

export * from './shared-exports.ts';

const startWorker: StartThread = (part, events) => {
  const worker = new Worker(new URL('./machine-worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => (data.kind === 'exit' ? events.exit() : events.message(data));
  worker.onerror = (event) => {
    events.error(new Error(event.message || "the machine's Worker cannot be loaded"));
    events.exit();
  };
  worker.postMessage(part);
  return {
    send: (request) => worker.postMessage(request),
    terminate: () => {
      worker.terminate();
      events.exit();
    },
  };
};

const platform: Platform = {
  hasWorkers: typeof Worker !== 'undefined',
  isShared: typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated === true,
  startWorker,
  extras: {},
  load: fetchBytes,
};

/** A machine: made from its options, it waits for `run()`. */
export class Machine extends BaseMachine {
  constructor(options: MachineOptions) {
    super(options, platform);
  }
}
