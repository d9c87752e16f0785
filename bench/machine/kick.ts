/**
 * Kick latency: from another thread's store to the return of a vCPU that runs, and from its notification to the return
 * of a vCPU's thread that sleeps.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { gpa } from '../../src/base/address.ts';
import { ExitReason } from '../../src/cpu/interface.ts';
import { median } from './measure.ts';

const ENTRY = 0x10_0000;
const SPIN = Uint8Array.of(0xeb, 0xfe); // jmp to itself
const KICKS = 300;

/** Stores its time and then the word, 1 to 3 ms after it is asked to. */
const kicker = `
const { workerData: d } = require('node:worker_threads');
const words = new Int32Array(d.memory), asked = new Int32Array(d.control, 0, 1), at = new Float64Array(d.control, 8, 1);
const now = () => Number(process.hrtime.bigint() % 1000000000000n);
for (let i = 0; i < d.kicks; i++) {
  while (Atomics.load(asked, 0) === i) Atomics.wait(asked, 0, i);
  const until = now() + 1e6 + (i * 7919) % 2000 * 1e3;
  while (now() < until);
  at[0] = now();
  Atomics.store(words, d.word, 1);
  if (d.notify) Atomics.notify(words, d.word);
}
`;
const now = (): number => Number(process.hrtime.bigint() % 1_000_000_000_000n);

/** Microseconds, the median over some hundred kicks: of a running vCPU, and of a thread that sleeps in Atomics.wait. */
export async function kickLatency(dist: string): Promise<{ running: number; sleeping: number }> {
  const load = (path: string): Promise<unknown> => import(pathToFileURL(join(dist, path)).href);
  const { InlineMachine } = (await load('machine/machine.js')) as typeof import('../../src/machine/machine.ts');
  const { engineFactory } = (await load('machine/engine-factory.js')) as typeof import('../../src/machine/engine-factory.ts');
  const { assembleTinyGuest } = (await load(
    'machine/tiny-guest/image.js',
  )) as typeof import('../../src/machine/tiny-guest/image.ts');
  const { loadKernelImage } = (await load('machine/kernel.js')) as typeof import('../../src/machine/kernel.ts');
  const { GuestRam } = (await load(
    'hypervisor/domain-builder/guest-ram.js',
  )) as typeof import('../../src/hypervisor/domain-builder/guest-ram.ts');
  const machine = new InlineMachine({
    name: 'kick',
    clock: 'host',
    nics: [],
    engine: engineFactory(),
    domain: {
      memoryMiB: 8,
      vcpus: 1,
      type: 'hvm',
      kernel: await loadKernelImage(assembleTinyGuest(), 'tiny guest'),
      commandLine: '',
      hpet: true,
    },
  });
  new GuestRam(machine.memory, machine.p2m).write(gpa(ENTRY), SPIN);
  const { engine } = machine.hvm;
  const running = await series(machine.memory.i32, engine.kickWord >>> 2, false, () => {
    while (engine.run(1e9) !== ExitReason.externalInterrupt);
  });
  const word = machine.memory.xenheap('bench', 4) >>> 2;
  const sleeping = await series(machine.memory.i32, word, true, () => {
    Atomics.wait(machine.memory.i32, word, 0);
    Atomics.store(machine.memory.i32, word, 0);
  });
  return { running, sleeping };
}

async function series(words: Int32Array, word: number, notify: boolean, waitForIt: () => void): Promise<number> {
  const control = new SharedArrayBuffer(16);
  const asked = new Int32Array(control, 0, 1);
  const at = new Float64Array(control, 8, 1);
  const worker = new Worker(kicker, { eval: true, workerData: { memory: words.buffer, control, word, notify, kicks: KICKS } });
  await new Promise((online) => worker.once('online', online));
  const latencies: number[] = [];
  for (let i = 0; i < KICKS; i++) {
    Atomics.add(asked, 0, 1);
    Atomics.notify(asked, 0);
    waitForIt();
    latencies.push((now() - at[0]!) / 1000);
  }
  await worker.terminate();
  return median(latencies);
}
