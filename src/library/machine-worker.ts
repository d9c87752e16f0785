/** Entry of a machine's Workers in a browser: takes its part of a job as its first message, then requests; posts what happens. */
import type { JobMessage, JobPart, NumberedRequest } from '../machine/job.ts';
import { JobRunner } from '../machine/run-job.ts';

/** What comes out of a Worker: the job's messages, and a last word, which a browser does not say by itself. */
export type WorkerMessage = JobMessage | { readonly kind: 'exit' };

const post = (message: WorkerMessage): void => postMessage(message);
let runner: JobRunner | undefined;

addEventListener('message', ({ data }: MessageEvent<JobPart | NumberedRequest>) => {
  if (!('part' in data)) {
    runner?.receive(data);
    return;
  }
  runner = new JobRunner(data, {}, post, () => {
    post({ kind: 'exit' });
    close();
  });
  void runner.start();
});
