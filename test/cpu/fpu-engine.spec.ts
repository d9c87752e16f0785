import { beforeAll, describe, expect, it } from 'vitest';
import type { Instruction } from '../../src/cpu/definition.ts';
import { FpuEngine } from './fpu-engine.ts';
import { differences, makeSimdBatch, makeX87Batch, normalizeSse, normalizeX87, recordAt, transcendentalDifferences } from './fpu-compare.ts';
import type { Batch } from './fpu-compare.ts';
import { nativeMissing, runNative } from './native-fpu.ts';
import { isTranscendental } from './x87-cases.ts';
import type { X87Case } from './x87-cases.ts';
import { SIMD } from '../../src/cpu/tables/simd.ts';

const SEED = Number(process.env['FPU_SEED'] ?? 1);
const COUNT = Number(process.env['FPU_CASES'] ?? 8_000);
const missing = nativeMissing();

describe.skipIf(missing !== undefined)(`generated code against this processor (${missing ?? `seed ${SEED}, ${COUNT} cases each`})`, () => {
  let engine: FpuEngine;
  beforeAll(async () => { engine = await FpuEngine.create(); });

  function run<C>(batch: Batch<C>, name: (c: C) => string, compare: (c: C, mine: DataView, theirs: DataView) => string[]): string[] {
    const theirs = runNative(batch.records);
    const mine = batch.records.slice();
    return batch.cases.flatMap((c, i) => {
      engine.execute(recordAt(mine, i));
      const found = compare(c, recordAt(mine, i), recordAt(theirs, i));
      return found.length ? [`case ${i} ${name(c)}: ${found.join(', ')}`] : [];
    });
  }

  it('MMX, SSE, SSE2: every row of the tables', () => {
    const batch = makeSimdBatch(SEED, COUNT);
    expect(new Set(batch.cases).size).toBe(SIMD.length);
    const bad = run<Instruction>(batch, (c) => `${c.opcode} ${c.name}`, (_c, mine, theirs) => differences(normalizeSse(mine), normalizeSse(theirs)));
    expect(bad).toEqual([]);
  });
  it('x87', () => {
    const bad = run<X87Case>(makeX87Batch(SEED, COUNT), (c) => `${c.row.encoding} ${c.row.operation}`, (c, mine, theirs) =>
      (isTranscendental(c) ? transcendentalDifferences : differences)(normalizeX87(c, mine), normalizeX87(c, theirs)));
    expect(bad).toEqual([]);
  });
});
