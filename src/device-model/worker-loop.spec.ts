import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../base/clock.ts';
import { createFrameRing, FrameRingProducer } from '../net/frame-ring.ts';
import { runDeviceModel } from './worker-loop.ts';
import { BUFFERED_PORT, VCPU_PORT } from './testing/fake-hypervisor.ts';
import { setUp } from './testing/set-up.ts';

/**
 * A guest on another thread, by hand: posts `count` writes of characters to COM1 in slot 0, notifies as a hypervisor
 * does, sleeps until each is answered, then sets the stop word. The layouts are the contract, so they are spelt out.
 */
const guest = `
const { workerData: { memory, ioreqPage, sharedInfo, futex, stop, text, port } } = require('node:worker_threads');
const words = new Int32Array(memory.buffer), bytes = new Uint8Array(memory.buffer);
const slot = ioreqPage / 4, latencies = [];
const raise = () => {
  Atomics.or(words, (sharedInfo + 2048) / 4 + (port >>> 5), 1 << (port & 31));
  if (!(Atomics.load(words, (sharedInfo + 2560) / 4 + (port >>> 5)) & (1 << (port & 31)))) {
    Atomics.or(words, (sharedInfo + 8) / 4, 1 << (port >>> 6));
    Atomics.store(bytes, sharedInfo, 1);
    Atomics.add(words, futex / 4, 1);
    Atomics.notify(words, futex / 4);
  }
};
for (const c of text) {
  words[slot] = 0x3f8;
  words[slot + 1] = 0;
  words[slot + 2] = c.charCodeAt(0);
  words[slot + 3] = 0;
  words[slot + 4] = 1;
  words[slot + 5] = 1;
  Atomics.store(words, slot + 7, (0 << 24) | (1 << 16));
  raise();
  for (;;) { const w = Atomics.load(words, slot + 7); if (((w >>> 16) & 15) === 3) break; Atomics.wait(words, slot + 7, w, 5); }
  words[slot + 7] = 0;
}
Atomics.store(words, stop, 1);
Atomics.add(words, futex / 4, 1);
Atomics.notify(words, futex / 4);
`;

describe('worker loop', () => {
  it("serves another thread's requests through the futex word and ends when told", async () => {
    const consoleInput = createFrameRing(1 << 17);
    const { hv, dm, text } = setUp({ consoleInput });
    new FrameRingProducer(consoleInput).push(Uint8Array.of(0x78));
    const stop = hv.futex / 4 + 16;
    const message = 'every character an ioreq\n'.repeat(8);
    const worker = new Worker(guest, {
      eval: true,
      workerData: {
        memory: hv.memory,
        ioreqPage: hv.ioreqPage,
        sharedInfo: hv.sharedInfo,
        futex: hv.futex,
        stop,
        text: message,
        port: VCPU_PORT,
      },
    });
    // The loop never returns to this thread's event loop, as it never does to a worker's.
    runDeviceModel({
      deviceModel: dm,
      words: hv.words,
      futex: hv.futex / 4,
      stopped: () => Atomics.load(hv.words, stop) === 1,
      now: () => 0,
    });
    expect(text.join('')).toBe(message);
    expect(dm.uart.read(0)).toBe(0x78);
    expect(hv.calls).toContain('state false');
    await worker.terminate();
  });

  it('sleeps until its own timers are due', () => {
    const begin = performance.now();
    const clock: Clock = {
      kind: 'host',
      tscHz: 1e9,
      epochUs: 0,
      nowNs: () => (performance.now() - begin) * 1e6,
      tsc: () => 0,
      charge() {},
    };
    const { hv, dm } = setUp({ clock });
    hv.buffer(0xb8000, 1, 1n);
    hv.raise(BUFFERED_PORT);
    dm.turn();
    expect(hv.isMasked(BUFFERED_PORT)).toBe(true);
    let sleeps = 0;
    const stopped = (): boolean => (sleeps++, !hv.isMasked(BUFFERED_PORT));
    runDeviceModel({ deviceModel: dm, words: hv.words, futex: hv.futex / 4, stopped, now: () => clock.nowNs() });
    expect(performance.now() - begin).toBeGreaterThan(95);
    expect(sleeps).toBeLessThan(20);
  });
});
