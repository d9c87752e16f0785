/** Entry of the machine's Worker in Node. */
import { parentPort, workerData } from 'node:worker_threads';
import type { MachineJob } from './job.ts';
import { runJob } from './run-job.ts';

runJob(workerData as MachineJob, (message) => parentPort!.postMessage(message));
