/** Entry of a machine's Workers in Node. */
import { parentPort, workerData } from 'node:worker_threads';
import { disassemble } from './disassemble-node.ts';
import type { JobPart } from './job.ts';
import { runJob } from './run-job.ts';

void runJob(workerData as JobPart, (message, transfer) => parentPort!.postMessage(message, transfer ?? []), disassemble);
