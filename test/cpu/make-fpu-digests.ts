/**
 * Runs the cases of fpu-digests/ on this machine's processor and writes its file there:
 * `npx tsx test/cpu/make-fpu-digests.ts amd-zen5`.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { approximations, makeSseBatch, makeX87Batch, reciprocalOf, recordAt, sseDigests, x87Digests } from './fpu-compare.ts';
import type { Digests } from './fpu-compare.ts';
import { runNative } from './native-fpu.ts';
import { thisProcessor } from './processor.ts';
import type { Reciprocal } from './reciprocal.ts';

/** A file of fpu-digests/. */
export interface RecordedDigests {
  /** Whose outcomes they are. */
  readonly processor: string;
  /** What it chooses otherwise than the vCPU (choices.ts): not in the digests. */
  readonly choices: readonly string[];
  readonly seed: number;
  readonly count: number;
  readonly x87: Digests;
  readonly sse: Digests;
  /** [operand, result] of a processor with bits of its own. */
  readonly approximations?: Readonly<Record<Reciprocal, readonly (readonly [number, number])[]>>;
}

const APPROXIMATIONS = 400;

async function main(name: string): Promise<void> {
  const processor = await thisProcessor();
  if (processor.native.skip) throw new Error(`digests come from the real processor: ${processor.native.reason}`);
  const { choices } = processor;
  const seed = 20_010;
  const count = 20_000;
  const x87 = makeX87Batch(seed, count);
  const sse = makeSseBatch(seed, count);
  const after = runNative(sse.records);
  const pairs: Record<Reciprocal, [number, number][]> = { rcp: [], rsqrt: [] };
  sse.cases.forEach((c, i) => {
    const operation = reciprocalOf(c.name);
    if (operation) pairs[operation].push(...approximations(c, recordAt(sse.records, i), recordAt(after, i)));
  });
  const fields: Record<string, string> = {
    processor: JSON.stringify(processor.name),
    choices: JSON.stringify([...choices]),
    seed: `${seed}`,
    count: `${count}`,
  };
  const lines = (digests: object): string =>
    `{\n${Object.entries(digests)
      .map(([key, value]) => `    ${JSON.stringify(key)}: ${JSON.stringify(value)}`)
      .join(',\n')}\n  }`;
  fields['x87'] = lines(x87Digests(x87, runNative(x87.records), choices));
  fields['sse'] = lines(sseDigests(sse, after, choices));
  if (choices.has('reciprocals'))
    fields['approximations'] = lines({ rcp: pairs.rcp.slice(0, APPROXIMATIONS), rsqrt: pairs.rsqrt.slice(0, APPROXIMATIONS) });
  writeFileSync(
    join(import.meta.dirname, 'fpu-digests', `${name}.json`),
    `{\n${Object.entries(fields)
      .map(([key, value]) => `  "${key}": ${value}`)
      .join(',\n')}\n}\n`,
  );
}

if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === undefined) throw new Error('expected the name of the file, such as amd-zen5');
  await main(process.argv[2]);
}
