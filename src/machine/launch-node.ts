/** A machine's threads in Node: Workers of machine-worker-node. */
import { Worker } from 'node:worker_threads';
import type { JobOutput, MachineJob } from './job.ts';
import { MachineRun } from './launch.ts';

/** The built entry: Workers do not run TypeScript sources. */
const entry = new URL(import.meta.url.endsWith('.ts') ? '../../dist/machine/machine-worker-node.js' : './machine-worker-node.js', import.meta.url);

/** Start a job in Workers. Throws UserError when it asks for what cannot be. */
export const launchMachine = (job: MachineJob, output: (message: JobOutput) => void): MachineRun =>
  new MachineRun(job, (part, events) => {
    const worker = new Worker(entry, { workerData: part });
    worker.on('message', events.message);
    worker.on('error', events.error);
    worker.on('exit', events.exit);
    return { terminate: () => void worker.terminate() };
  }, output);
