import { readFileSync } from 'node:fs';
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
  recordAt,
  transcendentalDifferences,
} from './fpu-compare.ts';
import type { Batch } from './fpu-compare.ts';
import { nativeMissing, runNative } from './native-fpu.ts';
import { isTranscendental } from './x87-cases.ts';
import type { X87Case } from './x87-cases.ts';
import { SIMD } from '../../src/cpu/tables/simd.ts';

const SEED = Number(process.env['FPU_SEED'] ?? 1);
const COUNT = Number(process.env['FPU_CASES'] ?? 8_000);
const missing = nativeMissing();
const engine = FpuEngine.create();

const onceFailed = readFileSync(join(import.meta.dirname, 'fpu-once-failed.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { what: string; before: string; after: string });

/** Records from an Intel processor of cases that once came out otherwise. */
describe('once failed', () => {
  it.each(onceFailed)('$what', async ({ before, after }) => {
    const mine = new Uint8Array(Buffer.from(before, 'base64'));
    const theirs = new Uint8Array(Buffer.from(after, 'base64'));
    (await engine).execute(recordAt(mine, 0));
    expect(differences(normalizeSse(recordAt(mine, 0)), normalizeSse(recordAt(theirs, 0)))).toEqual([]);
  });
});

describe.skipIf(missing !== undefined)(
  `generated code against this processor (${missing ?? `seed ${SEED}, ${COUNT} cases each`})`,
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
      const bad = await run<Instruction>(
        batch,
        (c) => `${c.opcode} ${c.name}`,
        (_c, mine, theirs) => differences(normalizeSse(mine), normalizeSse(theirs)),
      );
      expect(bad).toEqual([]);
    });
    it('x87', async () => {
      const bad = await run<X87Case>(
        makeX87Batch(SEED, COUNT),
        (c) => `${c.row.encoding} ${c.row.operation}`,
        (c, mine, theirs) =>
          (isTranscendental(c) ? transcendentalDifferences : differences)(normalizeX87(c, mine), normalizeX87(c, theirs)),
      );
      expect(bad).toEqual([]);
    });
  },
);
