/**
 * Entry of the machine's Worker in a browser: takes its part of a job as its first message, posts what happens. The page must be
 * cross-origin isolated (COOP and COEP), because machine memory is shared.
 */
import type { JobPart } from '../machine/job.ts';
import { runJob } from '../machine/run-job.ts';

addEventListener(
  'message',
  (event: MessageEvent<JobPart>) =>
    void runJob(event.data, (message, transfer) => postMessage(message, { transfer: transfer ?? [] })),
  {
    once: true,
  },
);
