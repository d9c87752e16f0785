/**
 * Runs the cases of fpu-digests.json on this machine's processor and writes their digests anew:
 * `npx tsx test/cpu/make-fpu-digests.ts`. The reference file came from an Intel processor (family 6, AVX-512 generation).
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeSseBatch, makeX87Batch, sseDigests, x87Digests } from './fpu-compare.ts';
import { nativeMissing, runNative } from './native-fpu.ts';

const missing = nativeMissing();
if (missing) throw new Error(`digests come from the real processor: ${missing}`);
const seed = 20_010;
const count = 20_000;
const x87 = makeX87Batch(seed, count);
const sse = makeSseBatch(seed, count);
const file = join(import.meta.dirname, 'fpu-digests.json');
const line = (digests: object) =>
  `{\n${Object.entries(digests)
    .map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`)
    .join(',\n')}\n  }`;
writeFileSync(
  file,
  `{\n  "seed": ${seed},\n  "count": ${count},\n  "x87": ${line(x87Digests(x87, runNative(x87.records)))},\n  "sse": ${line(sseDigests(sse, runNative(sse.records)))}\n}\n`,
);
