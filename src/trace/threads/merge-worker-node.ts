/** The second thread of a summary (threads-node.ts): it merges, then helps to find percentiles. */
import { parentPort, workerData } from 'node:worker_threads';
import { giveUp, writeBlocks } from '../format/block-feed.ts';
import { work, type PercentileJobs } from '../summary/percentile-jobs.ts';
import { fileSource } from '../format/source-node.ts';
import type { ByteSource } from '../format/source.ts';

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
