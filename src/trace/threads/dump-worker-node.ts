/** One of the threads of a dump (threads-node.ts). */
import { parentPort, workerData } from 'node:worker_threads';
import { DamageList } from '../format/damage.ts';
import { CHUNK_RECORDS, engineOptions } from '../xenalyze/dump.ts';
import { Follower } from '../xenalyze/follower.ts';
import { EndOfTool } from '../xenalyze/errors.ts';
import { SHARED_CLOSED, SHARED_ENDED, SHARED_POSITION, SHARED_TURN, writeAll } from './threads-node.ts';
import type { DumpWorkerData } from './threads-node.ts';
import { Notes } from '../xenalyze/notes.ts';
import { fileSource } from '../format/source-node.ts';

const { path, options, fd, index, threads, shared } = workerData as DumpWorkerData;
const words = new Int32Array(shared);
const source = fileSource(path);
const engine = new Follower(source, engineOptions(options, true));
const notes = new Notes();
if (index === 0) {
  const damages = new DamageList();
  engine.onDamage = (damage) => {
    const before = damages.list.length;
    damages.add(damage);
    if (damages.list.length > before) parentPort!.postMessage({ damage });
  };
  engine.onWarning = (line) => notes.add(line);
}

/** Write the text of chunk `chunk` once all before it are written. @returns false if nobody reads any more */
function write(chunk: number): boolean {
  for (;;) {
    if (Atomics.load(words, SHARED_CLOSED) !== 0) return false;
    const turn = Atomics.load(words, SHARED_TURN);
    if (turn === chunk) break;
    Atomics.wait(words, SHARED_TURN, turn);
  }
  const open = writeAll(fd, engine.out.view());
  if (!open) Atomics.store(words, SHARED_CLOSED, 1);
  engine.out.clear();
  Atomics.store(words, SHARED_TURN, chunk + 1);
  Atomics.notify(words, SHARED_TURN);
  return open;
}

let chunk = 0;
const mine = (): boolean => chunk % threads === index;
engine.text = mine();
try {
  engine.start();
  for (;;) {
    engine.text = mine();
    const left = engine.run(CHUNK_RECORDS);
    if (mine()) {
      if (!write(chunk)) break;
      Atomics.store(words, SHARED_POSITION, Math.floor(engine.merge.position / 65536));
    }
    chunk++;
    if (left > 0) break;
  }
} catch (error) {
  if (!(error instanceof EndOfTool)) throw error;
  if (mine()) write(chunk);
  Atomics.store(words, SHARED_ENDED, 1);
}
for (const note of notes.lines()) parentPort!.postMessage({ note });
await source.close();
