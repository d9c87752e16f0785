/** Entry of a machine's Workers in Node. */
import { parentPort, workerData } from 'node:worker_threads';
import { disassemble } from './disassemble-node.ts';
import type { JobPart, NumberedRequest } from './job.ts';
import { JobRunner } from './run-job.ts';

const port = parentPort!;
const runner = new JobRunner(
  workerData as JobPart,
  { disassemble },
  (message, transfer) => port.postMessage(message, transfer ?? []),
  // With nothing to wait for the thread ends.
  () => port.unref(),
);
port.on('message', (request: NumberedRequest) => runner.receive(request));
void runner.start();
