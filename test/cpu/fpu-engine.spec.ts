import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Instruction } from '../../src/cpu/tables/definition.ts';
import { FpuEngine } from './fpu-engine.ts';
import {
  differences,
  makeSimdBatch,
  makeX87Batch,
  normalizeSse,
  normalizeX87,
  reciprocalOf,
  recordAt,
  transcendentalDifferences,
} from './fpu-compare.ts';
import type { Batch } from './fpu-compare.ts';
import { runNative } from './native-fpu.ts';
import { thisProcessor } from './processor.ts';
import { areClose } from './reciprocal.ts';
import { readRecording } from './recording.ts';
import { isTranscendental } from './x87-cases.ts';
import type { X87Case } from './x87-cases.ts';
import { SIMD } from '../../src/cpu/tables/simd.ts';

const SEED = Number(process.env['FPU_SEED'] ?? 1);
const COUNT = Number(process.env['FPU_CASES'] ?? 8_000);
const { name: processor, native, choices } = await thisProcessor();
const engine = FpuEngine.create();

/** Records of cases that once came out otherwise. */
const onceFailed = readRecording<{ what: string; before: string; after: string }>(
  join(import.meta.dirname, 'fpu-once-failed.jsonl'),
);

describe(`once failed, against outcomes recorded: ${onceFailed.processor}`, () => {
  it.each(onceFailed.cases)('$what', async ({ before, after }) => {
    const mine = new Uint8Array(Buffer.from(before, 'base64'));
    const theirs = new Uint8Array(Buffer.from(after, 'base64'));
    (await engine).execute(recordAt(mine, 0));
    expect(differences(normalizeSse(recordAt(mine, 0)), normalizeSse(recordAt(theirs, 0)))).toEqual([]);
  });
});

/** Differences of one MMX, SSE or SSE2 instruction. */
function simdDifferences(instruction: Instruction, mine: DataView, theirs: DataView): string[] {
  const [a, b] = [normalizeSse(mine), normalizeSse(theirs)];
  const found = differences(a, b);
  if (!choices.has('reciprocals') || !reciprocalOf(instruction.name)) return found;
  const [x, y] = [new DataView(a.buffer), new DataView(b.buffer)];
  return found.filter((field) => {
    const register = /^XMM(\d+)$/.exec(field)?.[1];
    const lanes = [0, 4, 8, 12].map((lane) => 160 + Number(register) * 16 + lane);
    return register === undefined || !lanes.every((at) => areClose(x.getUint32(at, true), y.getUint32(at, true)));
  });
}

describe.skipIf(native.skip)(
  native.title(`generated code against this processor, ${processor}: seed ${SEED}, ${COUNT} cases each`),
  () => {
    async function run<C>(
      batch: Batch<C>,
      name: (c: C) => string,
      compare: (c: C, mine: DataView, theirs: DataView) => string[],
    ): Promise<string[]> {
      const ours = await engine;
      const theirs = runNative(batch.records);
      const mine = batch.records.slice();
      return batch.cases.flatMap((c, i) => {
        ours.execute(recordAt(mine, i));
        const found = compare(c, recordAt(mine, i), recordAt(theirs, i));
        return found.length ? [`case ${i} ${name(c)}: ${found.join(', ')}`] : [];
      });
    }

    it('MMX, SSE, SSE2: every row of the tables', async () => {
      const batch = makeSimdBatch(SEED, COUNT);
      expect(new Set(batch.cases).size).toBe(SIMD.length);
      const bad = await run<Instruction>(batch, (c) => `${c.opcode} ${c.name}`, simdDifferences);
      expect(bad).toEqual([]);
    });
    it('x87', async () => {
      const bad = await run<X87Case>(
        makeX87Batch(SEED, COUNT),
        (c) => `${c.row.encoding} ${c.row.operation}`,
        (c, mine, theirs) =>
          (isTranscendental(c) ? transcendentalDifferences : differences)(
            normalizeX87(c, mine, choices),
            normalizeX87(c, theirs, choices),
          ),
      );
      expect(bad).toEqual([]);
    });
  },
);
