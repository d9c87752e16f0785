import { statSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { DamageList } from '../format/damage.ts';
import { blockMemory } from '../format/block-feed.ts';
import { dumpTrace } from '../xenalyze/dump.ts';
import type { FollowOptions } from '../xenalyze/dump.ts';
import type { Damage } from '../format/merge.ts';
import { NotPlain } from '../format/feed.ts';
import { fileSource } from '../format/source-node.ts';
import { readIndex, writeIndex } from '../summary/index-file-node.ts';
import { summarizeTrace } from '../summary/summary.ts';
import type { TraceSummary } from '../summary/summary.ts';

/** Files below this are dumped by one thread: starting a second costs more than it saves. */
const TWO_THREADS_FROM = 16 * 1024 * 1024;

/** A thread that only merges makes next to no objects. */
const SMALL_HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 };

/** Places of the words that the threads of a dump share. */
export const SHARED_TURN = 0;
export const SHARED_ENDED = 1;
export const SHARED_CLOSED = 2;
/** Position in the file, in units of 64 KiB. */
export const SHARED_POSITION = 3;
const SHARED_WORDS = 4;

export interface DumpWorkerData {
  path: string;
  options: FollowOptions;
  fd: number;
  index: number;
  threads: number;
  shared: SharedArrayBuffer;
}

interface DumpResult {
  /** xenalyze would have ended before the end of the trace. */
  ended: boolean;
  /** Whoever reads the text wants no more of it. */
  closed: boolean;
  damage: DamageList;
  notes: string[];
}

/** A summary of a file this large takes longer than a second: it is kept beside the file. */
const INDEX_FROM = 64 * 1024 * 1024;

/** Summarize a file, or give what an earlier look at it found (index-file-node.ts). */
export async function summarizeFile(
  path: string,
  cpuHz: number,
  svm: boolean,
  progress: (bytes: number) => void | Promise<void>,
): Promise<TraceSummary> {
  const large = statSync(path, { throwIfNoEntry: false });
  if (large === undefined || large.size < INDEX_FROM) return summarize(path, cpuHz, svm, progress);
  const known = readIndex(path, cpuHz, svm);
  if (known !== null) return known;
  const summary = await summarize(path, cpuHz, svm, progress);
  writeIndex(path, cpuHz, svm, summary);
  return summary;
}

/**
 * For large files a second thread merges the CPUs' windows; where a trace is damaged or its clocks
 * need correction, that does not do, and one thread begins again.
 */
async function summarize(
  path: string,
  cpuHz: number,
  svm: boolean,
  progress: (bytes: number) => void | Promise<void>,
): Promise<TraceSummary> {
  const source = fileSource(path);
  try {
    if (source.size < TWO_THREADS_FROM || !import.meta.url.endsWith('.js'))
      return await summarizeTrace(source, cpuHz, svm, progress);
    const memory = blockMemory();
    const worker = new Worker(new URL('./merge-worker-node.js', import.meta.url), {
      workerData: { path, memory },
      resourceLimits: SMALL_HEAP,
    });
    try {
      return await summarizeTrace(memory, cpuHz, svm, progress, (jobs) => worker.postMessage(jobs));
    } catch (error) {
      if (!(error instanceof NotPlain)) throw error;
    } finally {
      await worker.terminate();
    }
    return await summarizeTrace(source, cpuHz, svm, progress);
  } finally {
    await source.close();
  }
}

/** Write all bytes to a file descriptor, however it is buffered. @returns false if its reader is gone */
export function writeAll(fd: number, bytes: Uint8Array): boolean {
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done, bytes.length - done);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null;
      if (code === 'EPIPE') return false;
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
  return true;
}

/**
 * Dump a file to a file descriptor. Large files are read by two threads: both follow the whole trace, and they take
 * turns in writing the text of it, a chunk of records each.
 * @param progress called now and then with the bytes read so far
 */
export async function dumpFile(
  path: string,
  options: FollowOptions,
  fd: number,
  progress: (bytes: number) => void,
): Promise<DumpResult> {
  const source = fileSource(path);
  const result: DumpResult = { ended: false, closed: false, damage: new DamageList(), notes: [] };
  const threads = source.size >= TWO_THREADS_FROM && import.meta.url.endsWith('.js') ? 2 : 1;
  if (threads === 1) {
    try {
      const done = await dumpTrace(
        source,
        options,
        (bytes) => {
          if (!result.closed && !writeAll(fd, bytes)) result.closed = true;
        },
        result.damage,
        (note) => void result.notes.push(note),
      );
      result.ended = !done;
    } finally {
      await source.close();
    }
    return result;
  }
  await source.close();
  const shared = new SharedArrayBuffer(SHARED_WORDS * 4);
  const words = new Int32Array(shared);
  const timer = setInterval(() => progress(Atomics.load(words, SHARED_POSITION) * 65536), 200);
  try {
    await Promise.all(
      [0, 1].map(
        (index) =>
          new Promise<void>((resolve, reject) => {
            const data: DumpWorkerData = { path, options, fd, index, threads, shared };
            const worker = new Worker(new URL('./dump-worker-node.js', import.meta.url), { workerData: data });
            worker.on('message', (message: { damage?: Damage; note?: string }) => {
              if (message.damage !== undefined) result.damage.add(message.damage);
              if (message.note !== undefined) result.notes.push(message.note);
            });
            worker.on('error', (error) => {
              // The other thread must not wait for a turn that never comes.
              Atomics.store(words, SHARED_CLOSED, 1);
              Atomics.notify(words, SHARED_TURN);
              reject(error);
            });
            worker.on('exit', (code) => {
              if (code === 0) resolve();
              else reject(new Error(`a reading thread ended with status ${code}`));
            });
          }),
      ),
    );
  } finally {
    clearInterval(timer);
  }
  result.ended = Atomics.load(words, SHARED_ENDED) !== 0;
  result.closed = Atomics.load(words, SHARED_CLOSED) !== 0;
  return result;
}
