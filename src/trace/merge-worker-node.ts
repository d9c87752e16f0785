/** The second thread of a summary (follow-node.ts): it merges, then helps to find percentiles. */
import { parentPort, workerData } from 'node:worker_threads';
import { giveUp, writeBlocks } from './block-feed.ts';
import { work, type PercentileJobs } from './percentile-jobs.ts';
import { fileSource } from './source-node.ts';
import type { ByteSource } from './source.ts';

const { path, memory } = workerData as { path: string; memory: SharedArrayBuffer };
let source: ByteSource;
try {
  source = fileSource(path);
} catch (error) {
  giveUp(memory);
  throw error;
}
writeBlocks(source, memory);
await source.close();
parentPort!.once('message', (jobs: PercentileJobs) => work(jobs));
