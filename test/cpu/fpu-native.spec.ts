import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { approximateReciprocal, approximateReciprocalRoot } from '../../src/cpu/fpu/sse-approximate.ts';
import { choicesOf } from './choices.ts';
import {
  differences,
  makeSseBatch,
  makeX87Batch,
  normalizeSse,
  normalizeX87,
  recordAt,
  runSseBatch,
  runX87Batch,
  sseDigests,
  transcendentalDifferences,
  withApproximations,
  x87Digests,
} from './fpu-compare.ts';
import type { RecordedDigests } from './make-fpu-digests.ts';
import { runNative } from './native-fpu.ts';
import { thisProcessor } from './processor.ts';
import { exactResult, isAllowed } from './reciprocal.ts';
import { isTranscendental } from './x87-cases.ts';

const directory = join(import.meta.dirname, 'fpu-digests');
for (const file of readdirSync(directory)) {
  const recorded = JSON.parse(readFileSync(join(directory, file), 'utf8')) as RecordedDigests;
  const choices = choicesOf(recorded.choices);
  describe(`against outcomes recorded: ${recorded.processor}`, () => {
    it('x87: every instruction but the transcendental ones', () => {
      const batch = makeX87Batch(recorded.seed, recorded.count);
      expect(x87Digests(batch, runX87Batch(batch), choices)).toEqual(recorded.x87);
    });
    it('SSE and SSE2 floating point, exact way', () => {
      const batch = makeSseBatch(recorded.seed, recorded.count);
      expect(sseDigests(batch, runSseBatch(batch), choices)).toEqual(recorded.sse);
    });
    if (recorded.approximations) {
      const { approximations } = recorded;
      it.each([
        ['rcp', approximateReciprocal],
        ['rsqrt', approximateReciprocalRoot],
      ] as const)('%s: both within the bound, and equal where there is one result', (operation, ours) => {
        let exact = 0;
        for (const [operand, result] of approximations[operation]) {
          const one = exactResult(operation, operand);
          if (one !== undefined) exact++;
          expect(
            [isAllowed(operation, operand, result), isAllowed(operation, operand, ours(operand))],
            operand.toString(16),
          ).toEqual([true, true]);
        }
        expect(exact).toBeGreaterThan(20);
        expect(approximations[operation].length - exact).toBeGreaterThan(100);
      });
    }
  });
}

const { name, native, choices } = await thisProcessor();
const SEED = Number(process.env['FPU_SEED'] ?? 1);
const COUNT = Number(process.env['FPU_CASES'] ?? 8_000);

describe.skipIf(native.skip)(native.title(`against this processor, ${name}: seed ${SEED}, ${COUNT} cases each`), () => {
  it('x87', () => {
    const batch = makeX87Batch(SEED, COUNT);
    const theirs = runNative(batch.records);
    const mine = runX87Batch(batch);
    const bad: string[] = [];
    let transcendental = 0;
    let pending = 0;
    batch.cases.forEach((c, i) => {
      const a = normalizeX87(c, recordAt(mine, i), choices);
      const b = normalizeX87(c, recordAt(theirs, i), choices);
      if (isTranscendental(c)) transcendental++;
      if (b[2]! & 0x80 && b[8] === 1) pending++;
      const found = isTranscendental(c) ? transcendentalDifferences(a, b) : differences(a, b);
      if (found.length) bad.push(`case ${i} ${c.row.encoding} ${c.row.operation}: ${found.join(', ')}`);
    });
    expect(bad).toEqual([]);
    expect(transcendental).toBeGreaterThan(COUNT / 100);
    // Pointers were compared on every processor: those of an instruction that raised an unmasked exception.
    expect(pending).toBeGreaterThan(COUNT / 100);
  });
  it('SSE and SSE2', () => {
    const batch = makeSseBatch(SEED, COUNT);
    const theirs = runNative(batch.records);
    const mine = runSseBatch(batch);
    const bad: string[] = [];
    batch.cases.forEach((c, i) => {
      const [a, b] = [normalizeSse(recordAt(mine, i)), normalizeSse(recordAt(theirs, i))];
      const found = differences(a, choices.has('reciprocals') ? withApproximations(c, recordAt(batch.records, i), b, a) : b);
      if (found.length) bad.push(`case ${i} ${c.name}: ${found.join(', ')}`);
    });
    expect(bad).toEqual([]);
  });
});
