/** A machine's threads in Node: Workers of machine-worker-node. */
import { Worker } from 'node:worker_threads';
import type { JobPart, MachineJob } from './job.ts';
import { MachineRun, type StartThread } from './launch.ts';
import type { TakeOutput } from './output-ring.ts';

/** The built entry: Workers do not run TypeScript sources. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/machine/machine-worker-node.js' : './machine-worker-node.js',
  import.meta.url,
);

/** Smaller ones may lie in Node's pool, which has other tenants. */
const OWN_BUFFER = 1 << 16;

/** Buffers of kernel and ramdisk, which the machine's thread takes over: they are not in memory twice, and gone for the caller. */
function imageBuffers(part: JobPart): ArrayBuffer[] {
  if (part.part === 'device-model') return [];
  const { domain, state } = part.job;
  // A state is transferred whole: nobody else needs it.
  if (state !== undefined) return [state.image.data.buffer as ArrayBuffer];
  if (!('kernel' in domain)) return [];
  const { kernel, ramdisk } = domain;
  const views = [
    ...(kernel.kind === 'bzimage'
      ? [kernel.kernel]
      : (kernel.kind === 'elf' ? kernel.elf : kernel.image).segments.map((segment) => segment.data)),
    ...(ramdisk === undefined ? [] : [ramdisk]),
  ];
  return [...new Set(views.map((view) => view.buffer as ArrayBuffer))].filter(
    (buffer) => buffer instanceof ArrayBuffer && buffer.byteLength > OWN_BUFFER,
  );
}

/** Starts a thread with its part of a job. */
export const startWorker: StartThread = (part, events) => {
  const worker = new Worker(entry, { workerData: part, transferList: imageBuffers(part) });
  worker.on('message', events.message);
  worker.on('error', events.error);
  worker.on('exit', events.exit);
  return { send: (request) => worker.postMessage(request), terminate: () => void worker.terminate() };
};

/** Start a job in Workers. Throws UserError when it asks for what cannot be. */
export const launchMachine = (job: MachineJob, output: TakeOutput): MachineRun => new MachineRun(job, startWorker, output);
