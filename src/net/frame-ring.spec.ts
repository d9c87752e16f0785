import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { createFrameRing, FrameRingConsumer, FrameRingProducer } from './frame-ring.ts';

describe('frame ring', () => {
  it('gives frames back in order, across many wraps', () => {
    const buffer = createFrameRing(1 << 17);
    const producer = new FrameRingProducer(buffer);
    const consumer = new FrameRingConsumer(buffer);
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 4000; round++) {
      const length = 1 + ((round * 7919) % 60_000);
      const frame = new Uint8Array(length).fill(next & 0xff);
      while (!producer.push(frame)) {
        const got = consumer.peek()!;
        expect(got[0]).toBe(expected & 0xff);
        expect(got[got.length - 1]).toBe(expected & 0xff);
        consumer.advance();
        expected++;
      }
      next++;
    }
    while (consumer.peek()) {
      consumer.advance();
      expected++;
    }
    expect(expected).toBe(next);
    expect(consumer.closed).toBe(false);
  });

  it('refuses empty, oversized and excess frames', () => {
    const producer = new FrameRingProducer(createFrameRing(1 << 17));
    expect(producer.push(new Uint8Array(0))).toBe(false);
    expect(producer.push(new Uint8Array(65_536))).toBe(false);
    expect(producer.push(new Uint8Array(65_535))).toBe(true);
    expect(producer.push(new Uint8Array(65_535))).toBe(false);
    expect(() => createFrameRing(100_000)).toThrow(RangeError);
  });

  it('rings its bell once for many frames: a consumer that has not taken them all will look again', () => {
    const buffer = createFrameRing(1 << 17);
    let bells = 0;
    const producer = new FrameRingProducer(buffer, () => bells++);
    const consumer = new FrameRingConsumer(buffer);
    const frame = Uint8Array.of(1, 2, 3);
    for (let i = 0; i < 5; i++) producer.push(frame);
    expect(bells).toBe(1);
    for (let i = 0; i < 4; i++) consumer.advance();
    producer.push(frame);
    expect(bells).toBe(1);
    for (let i = 0; i < 2; i++) consumer.advance();
    producer.push(frame);
    expect(bells).toBe(2);
    producer.close();
    expect(bells).toBe(3);
  });

  it('closes instead of reading outside when the shared cursor or a length lies', () => {
    for (const damage of [
      (words: Int32Array) => {
        words[16] = 0x7fffffff;
      },
      (words: Int32Array) => {
        words[16] = 0;
      },
      (words: Int32Array) => {
        words[16] = -1;
        words[0] = 4;
      },
      (words: Int32Array) => {
        words[16] = 60_000;
      },
    ]) {
      const buffer = createFrameRing(1 << 17);
      new FrameRingProducer(buffer).push(new Uint8Array(64));
      damage(new Int32Array(buffer));
      const consumer = new FrameRingConsumer(buffer);
      expect(consumer.peek()).toBeUndefined();
      expect(consumer.closed).toBe(true);
    }
  });

  it('wakes an asynchronous consumer from another thread', async () => {
    const buffer = createFrameRing(1 << 17);
    const consumer = new FrameRingConsumer(buffer);
    // The worker fills the ring by hand: the layout is the contract between the two sides.
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads');
       const words = new Int32Array(workerData, 0, 16), data = new Uint8Array(workerData, 64);
       setTimeout(() => { new Uint32Array(workerData, 64)[0] = 3; data.set([1, 2, 3], 4);
         Atomics.store(words, 0, 8); Atomics.add(words, 4, 1); Atomics.notify(words, 4); }, 20);`,
      { eval: true, workerData: buffer },
    );
    await consumer.waitForFrame();
    expect(Array.from(consumer.peek()!)).toEqual([1, 2, 3]);
    await worker.terminate();
  });

  it('rings for a frame that finds the ring empty; whoever has some left looks by himself', async () => {
    const buffer = createFrameRing(1 << 17);
    const bell = (): number => new Int32Array(buffer, 0, 16)[4]!;
    const producer = new FrameRingProducer(buffer);
    const consumer = new FrameRingConsumer(buffer);
    for (let i = 0; i < 3; i++) producer.push(Uint8Array.of(i));
    expect(bell()).toBe(1);
    consumer.advance();
    producer.push(Uint8Array.of(3));
    expect(bell()).toBe(1);
    for (let i = 1; i < 4; i++) {
      await consumer.waitForFrame();
      expect(consumer.peek()![0]).toBe(i);
      consumer.advance();
    }
    const waiting = consumer.waitForFrame();
    producer.push(Uint8Array.of(4));
    await waiting;
    expect([bell(), consumer.peek()![0]]).toEqual([2, 4]);
  });

  it('close() releases a waiting consumer and refuses further frames', async () => {
    const buffer = createFrameRing(1 << 17);
    const consumer = new FrameRingConsumer(buffer);
    const producer = new FrameRingProducer(buffer);
    const waiting = consumer.waitForFrame();
    producer.close();
    await waiting;
    expect(consumer.closed).toBe(true);
    expect(producer.push(new Uint8Array(60))).toBe(false);
  });
});
