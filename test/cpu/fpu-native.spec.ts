import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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
  x87Digests,
} from './fpu-compare.ts';
import type { Digests } from './fpu-compare.ts';
import { nativeMissing, runNative } from './native-fpu.ts';
import { isTranscendental } from './x87-cases.ts';

const recorded = JSON.parse(readFileSync(join(import.meta.dirname, 'fpu-digests.json'), 'utf8')) as {
  seed: number;
  count: number;
  x87: Digests;
  sse: Digests;
};

describe('against outcomes recorded on an Intel processor', () => {
  it('x87: every instruction but the transcendental ones', () => {
    const batch = makeX87Batch(recorded.seed, recorded.count);
    expect(x87Digests(batch, runX87Batch(batch))).toEqual(recorded.x87);
  });
  it('SSE and SSE2 floating point, exact way', () => {
    const batch = makeSseBatch(recorded.seed, recorded.count);
    expect(sseDigests(batch, runSseBatch(batch))).toEqual(recorded.sse);
  });
});

const missing = nativeMissing();
const SEED = Number(process.env['FPU_SEED'] ?? 1);
const COUNT = Number(process.env['FPU_CASES'] ?? 8_000);

describe.skipIf(missing !== undefined)(`against this processor (${missing ?? `seed ${SEED}, ${COUNT} cases each`})`, () => {
  it('x87', () => {
    const batch = makeX87Batch(SEED, COUNT);
    const theirs = runNative(batch.records);
    const mine = runX87Batch(batch);
    const bad: string[] = [];
    let transcendental = 0;
    batch.cases.forEach((c, i) => {
      const a = normalizeX87(c, recordAt(mine, i));
      const b = normalizeX87(c, recordAt(theirs, i));
      if (isTranscendental(c)) transcendental++;
      const found = isTranscendental(c) ? transcendentalDifferences(a, b) : differences(a, b);
      if (found.length) bad.push(`case ${i} ${c.row.encoding} ${c.row.operation}: ${found.join(', ')}`);
    });
    expect(bad).toEqual([]);
    expect(transcendental).toBeGreaterThan(COUNT / 100);
  });
  it('SSE and SSE2', () => {
    const batch = makeSseBatch(SEED, COUNT);
    const theirs = runNative(batch.records);
    const mine = runSseBatch(batch);
    const bad: string[] = [];
    batch.cases.forEach((c, i) => {
      const found = differences(normalizeSse(recordAt(mine, i)), normalizeSse(recordAt(theirs, i)));
      if (found.length) bad.push(`case ${i} ${c.name}: ${found.join(', ')}`);
    });
    expect(bad).toEqual([]);
  });
});
