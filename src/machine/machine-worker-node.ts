/** Entry of a machine's Worker in Node: a whole machine, or one half of one. */
import { parentPort, workerData } from 'node:worker_threads';
import type { JobMessage, MachineJob, SplitJob } from './job.ts';
import { runJob, runSplitJob } from './run-job.ts';

const task = workerData as MachineJob | SplitJob;
const post = (message: JobMessage): void => parentPort!.postMessage(message);
if ('half' in task) runSplitJob(task, post);
else runJob(task, post);
