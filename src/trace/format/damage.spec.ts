/** Damaged files: nothing crashes or hangs, what can be read is delivered, and the damage is named. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dumpTrace } from '../xenalyze/dump.ts';
import { DamageList } from './damage.ts';
import { TRC_TRACE_CPU_CHANGE } from '../events.ts';
import { openTrace, Trace } from '../follow/reader.ts';
import { InferenceBuilder } from '../records/infer.ts';
import { memorySource } from './source.ts';
import { summarizeTrace } from '../summary/summary.ts';
import { generateTrace, Random } from '../testing/generator.ts';

const noInference = new InferenceBuilder().result();

interface Read {
  offsets: Set<number>;
  trace: Trace;
}
async function read(bytes: Uint8Array): Promise<Read> {
  const trace = new Trace(memorySource(bytes), {}, noInference);
  const offsets = new Set<number>();
  // A record takes four bytes at least; a lost-records one is met twice.
  let left = bytes.length;
  await trace.scan((record) => {
    if (left-- <= 0) throw new Error('more records than the file can hold');
    if (record.offset < 0 || record.offset + 4 + record.extra * 4 > bytes.length)
      throw new Error(`a record at ${record.offset}, outside the file`);
    offsets.add(record.offset);
  });
  return { offsets, trace };
}

/** Offsets at which the windows of a whole file begin. */
function windowsOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; at += 12 + view.getUint32(at + 8, true)) {
    expect(view.getUint32(at, true) & 0x0fffffff).toBe(TRC_TRACE_CPU_CHANGE);
    starts.push(at);
  }
  return starts;
}

const small = (seed: number): Uint8Array<ArrayBuffer> =>
  generateTrace({
    seed,
    cpus: 1 + (seed % 3),
    steps: 6 + (seed % 7),
    svm: seed % 2 === 0,
    oddities: 0.2,
    losses: 0.05,
    windowBytes: 120,
  });

/** All that a command does with a file. */
async function everything(bytes: Uint8Array, svm: boolean): Promise<void> {
  let size = 0;
  await dumpTrace(memorySource(bytes), { cpuHz: 1e9, svm, exact: false }, (text) => {
    size += text.length;
  });
  // A line a record, and a few more at lost records: every vCPU, every vector.
  if (size > 4_000_000) throw new Error(`${size} bytes of text from ${bytes.length} bytes`);
  await dumpTrace(memorySource(bytes), { cpuHz: 1e9, svm, exact: true }, () => {});
  await summarizeTrace(memorySource(bytes), 1e9, svm);
}

describe('110,000 files with flipped bytes', () => {
  // Groups, so that a failure names its files.
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])('group %d: 10,000 files', async (group) => {
    const random = new Random(1000 + group);
    for (let round = 0; round < 50; round++) {
      const original = small(group * 50 + round);
      const starts = windowsOf(original);
      const whole = (await read(original)).offsets;
      for (let i = 0; i < 200; i++) {
        const bytes = original.slice();
        const flips = 1 + random.below(3);
        let hit = -1;
        for (let f = 0; f < flips; f++) {
          const at = f === 0 ? random.below(bytes.length) : Math.min(bytes.length - 1, hit + random.below(4));
          hit = at;
          bytes[at] = bytes[at]! ^ (1 << random.below(8));
        }
        const { offsets } = await read(bytes);
        // Windows that were not touched are delivered whole, unless a size happens to lead to a later window.
        const first = starts.findLast((start) => start <= hit - 9) ?? 0;
        const last = starts.findLast((start) => start <= hit) ?? 0;
        const view = new DataView(bytes.buffer);
        const misled = [first, last].some((start) => {
          const next = start + 12 + view.getUint32(start + 8, true);
          return next !== starts.find((s) => s > start) && (starts.includes(next) || next === bytes.length);
        });
        if (misled) continue;
        const end = starts.find((start) => start > last) ?? bytes.length;
        for (const offset of whole) {
          if (offset >= first && offset < end) continue;
          if (!offsets.has(offset))
            throw new Error(`seed ${group * 50 + round}, mutation ${i} near ${hit}: the record at ${offset} is gone`);
        }
        if (i % 25 === 0) await everything(bytes, round % 2 === 0);
      }
    }
  });
});

describe('files of other shapes', () => {
  it('cut, with bytes taken out or put in, or parts exchanged', async () => {
    for (let seed = 0; seed < 16; seed++) {
      const random = new Random(seed + 1);
      const original = small(seed);
      for (let i = 0; i < 6; i++) {
        const at = random.below(original.length);
        const count = 1 + random.below(20);
        const gone = new Uint8Array([...original.subarray(0, at), ...original.subarray(at + count)]);
        const more = new Uint8Array([
          ...original.subarray(0, at),
          ...Array.from({ length: count }, () => random.below(256)),
          ...original.subarray(at),
        ]);
        const turned = new Uint8Array([...original.subarray(at), ...original.subarray(0, at)]);
        for (const bytes of [original.subarray(0, at), gone, more, turned]) {
          await read(bytes);
          await everything(bytes, seed % 2 === 0);
        }
      }
    }
  });

  it('any bytes at all', async () => {
    const word = fc.oneof(
      fc.integer({ min: -0x80000000, max: 0x7fffffff }),
      fc.constantFrom(0x2001f003, 0xc001f001 | 0, 0x10021101, 0x90021011 | 0, 0x30081102, 0x80081001 | 0, 0, 1, 12, 40),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(word, { maxLength: 120 }), fc.nat(3), async (words, cut) => {
        const bytes = new Uint8Array(Int32Array.from([0x2001f003, 0, words.length * 2, ...words]).buffer);
        const part = bytes.subarray(0, bytes.length - cut);
        await read(part);
        await everything(part, cut % 2 === 0);
      }),
      { numRuns: 300 },
    );
  });

  it('windows of every CPU, and of CPUs that cannot be', async () => {
    const words: number[] = [];
    for (let cpu = 0; cpu < 300; cpu++)
      words.push(0x2001f003, cpu, 16, 0x10021101, (cpu << 16) | (cpu % 4), 0x10021011, (cpu << 16) | (cpu % 4));
    const bytes = new Uint8Array(Int32Array.from(words).buffer);
    const { offsets, trace } = await read(bytes);
    expect(offsets.size).toBe(256 * 2);
    expect(trace.damage[0]).toMatchObject({ offset: 256 * 28 });
    await everything(bytes, false);
  });
});

it('damage names the offset, the CPU and what was expected', async () => {
  const original = small(7);
  const starts = windowsOf(original);
  const bytes = original.slice();
  bytes[starts[3]!] = 0;
  const { trace } = await read(bytes);
  expect(trace.damage).toEqual([
    { offset: starts[3], end: starts[4], cpu: null, message: 'no CPU change record where a window should begin' },
  ]);
  const damage = new DamageList();
  await dumpTrace(memorySource(bytes), { cpuHz: 1e9, svm: false, exact: false }, () => {}, damage);
  expect(damage.list[0]!.offset).toBe(starts[3]);
  expect((await openTrace(bytes)).damage).toEqual([]);
});
