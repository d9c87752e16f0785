import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMPILE } from '../engine.ts';
import { load } from './case.ts';
import { compare } from './compare.ts';
import { OurProcessor } from './ours.ts';
import { thisProcessor } from '../processor.ts';
import { readRecording } from '../recording.ts';
import { runLockstep } from './run.ts';
import { disassemble } from './text.ts';

const processor = await thisProcessor();
const { name, native, native32 } = processor;

describe(`lock-step with the real processor, ${name}`, () => {
  const parts = [
    { bits: 64, lack: native, seed: 20_001, cases: 2700 },
    { bits: 32, lack: native32, seed: 20_003, cases: 1300 },
    { bits: 64, lack: native, seed: 20_002, cases: 1500, compile: COMPILE.all },
  ] as const;
  for (const { bits, lack, seed, cases, ...compile } of parts) {
    it.skipIf(lack.skip)(
      lack.title(
        `leaves what the processor leaves, ${cases} random ${bits}-bit snippets${'compile' in compile ? ', compiled' : ''}`,
      ),
      async () => {
        const { tally, failures } = await runLockstep({ processor, seed, cases, modes: [bits], detailed: 5, ...compile });
        expect(failures.map((failure) => ({ code: failure.disassembly, differences: failure.differences }))).toEqual([]);
        expect(tally.failed).toBe(0);
        for (const kind of ['integer', 'memory', 'fault', 'x87', 'mmx', 'mxcsr'] as const)
          expect(tally[kind], kind).toBeGreaterThan(cases / 14);
      },
    );
  }
});

describe('answers of real processors, recorded', () => {
  const directory = join(import.meta.dirname, '../regressions');
  const files = readdirSync(directory)
    .filter((file) => /\.jsonl(\.gz)?$/.test(file))
    .map((file) => ({ file, recording: readRecording(join(directory, file)) }));

  it('are of both vendors and both modes', () => {
    for (const vendor of [/Intel/, /AMD/])
      for (const mode of [64, 32]) {
        const count = files
          .filter(({ recording }) => vendor.test(recording.processor))
          .reduce((sum, { recording }) => sum + recording.cases.filter((one) => one.mode === mode).length, 0);
        expect(count, `${vendor} ${mode}`).toBeGreaterThan(50);
      }
  });

  for (const { file, recording } of files)
    for (const compile of [undefined, COMPILE.all]) {
      it(`${file}, ${recording.processor}${compile ? ', compiled' : ''}`, () => {
        const ours = new OurProcessor(compile);
        expect(recording.cases.length).toBeGreaterThan(0);
        for (const saved of recording.cases) {
          const { one, expected } = load(saved);
          const differences = compare(one, expected, ours.run(one), recording.choices);
          if (differences.length > 0)
            expect({ code: disassemble(one), differences }).toEqual({ code: disassemble(one), differences: [] });
        }
      });
    }
});
