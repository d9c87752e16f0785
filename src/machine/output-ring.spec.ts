import { describe, expect, it, vi } from 'vitest';
import type { StreamedOutput } from './job.ts';
import { createOutputRing, isHeldUp, OutputConsumer, OutputProducer } from './output-ring.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (outputs: readonly StreamedOutput[]): string =>
  outputs.map((o) => (o.kind === 'log' || o.kind === 'say' ? o.text : new TextDecoder().decode(o.bytes))).join('');

describe('the ring that a thread puts its output into', () => {
  it('gives each kind in order, small records of one kind as one', async () => {
    const buffer = createOutputRing(1 << 16);
    let told = 0;
    const producer = new OutputProducer(buffer, () => void told++);
    const taken: StreamedOutput[] = [];
    const consumer = new OutputConsumer(buffer, (output) => void taken.push(output));
    for (const c of 'console') producer.put({ kind: 'console', bytes: bytes(c) });
    producer.put({ kind: 'log', text: 'línea\n' });
    producer.put({ kind: 'say', level: 'warn', text: 'one' });
    producer.put({ kind: 'say', level: 'warn', text: 'two' });
    producer.put({ kind: 'trace', bytes: new Uint8Array(0) });
    expect(told).toBe(1);
    await consumer.drain();
    expect(taken).toEqual([
      { kind: 'console', bytes: bytes('console') },
      { kind: 'log', text: 'línea\n' },
      { kind: 'say', level: 'warn', text: 'one' },
      { kind: 'say', level: 'warn', text: 'two' },
    ]);
    producer.put({ kind: 'console', bytes: bytes('!') });
    expect(told).toBe(2);
  });

  it('goes around its end, with records of every length', async () => {
    const buffer = createOutputRing(1 << 10);
    const producer = new OutputProducer(buffer, () => {});
    const taken: StreamedOutput[] = [];
    const consumer = new OutputConsumer(buffer, (output) => void taken.push(output));
    let expected = '';
    for (let i = 0; i < 400; i++) {
      const line = `${i} ${'x'.repeat((i * 7) % 300)}\n`;
      expected += line;
      producer.put({ kind: 'log', text: line });
      await consumer.drain();
    }
    expect(text(taken)).toBe(expected);
  });

  it('waits where there is no room, until some is made', () => {
    const buffer = createOutputRing(1 << 10);
    const producer = new OutputProducer(buffer, () => {});
    const taken: StreamedOutput[] = [];
    const takeAll = (): void => void new OutputConsumer(buffer, (output) => void taken.push(output)).drain();
    let expected = '';
    // Another thread would take something while this one sleeps.
    const wait = vi.spyOn(Atomics, 'wait').mockImplementation(() => {
      takeAll();
      return 'ok';
    });
    try {
      for (let i = 0; i < 200; i++) {
        const line = `line ${i}\n`;
        expected += line;
        producer.put({ kind: 'log', text: line });
      }
      expect(wait.mock.calls.length).toBeGreaterThan(2);
    } finally {
      wait.mockRestore();
    }
    takeAll();
    expect(text(taken)).toBe(expected);
  });

  it('waits for a consumer that takes no more, and goes on when it does', async () => {
    const buffer = createOutputRing(1 << 12);
    const producer = new OutputProducer(buffer, () => {});
    let length = 0;
    let release = (): void => {};
    const consumer = new OutputConsumer(buffer, (output) => {
      length += (output as { bytes: Uint8Array }).bytes.length;
      return new Promise((resolve) => (release = resolve));
    });
    for (let i = 0; i < 100; i++) producer.put({ kind: 'console', bytes: bytes('ab') });
    const drained = consumer.drain();
    await Promise.resolve();
    for (let i = 0; i < 100; i++) producer.put({ kind: 'console', bytes: bytes('ab') });
    expect(length).toBe(200);
    expect(isHeldUp(buffer)).toBe(false);
    release();
    await new Promise((resolve) => setImmediate(resolve));
    release();
    await drained;
    expect(length).toBe(400);
  });
});
