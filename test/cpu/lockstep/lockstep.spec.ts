import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMPILE } from '../engine.ts';
import { type SavedCase, load } from './case.ts';
import { compare } from './compare.ts';
import { nativeUnavailable } from './native.ts';
import { OurProcessor } from './ours.ts';
import { runLockstep } from './run.ts';
import { disassemble } from './text.ts';

const missing = nativeUnavailable();
if (missing) console.warn(`lock-step with the real processor skipped: ${missing}`);

describe.skipIf(missing !== undefined)('lock-step with the real processor', () => {
  it('leaves what the processor leaves, 4,000 random snippets', async () => {
    const { tally, failures } = await runLockstep({ seed: 20_000 + 1, cases: 4000, modes: [64, 64, 32], detailed: 5 });
    expect(failures.map((failure) => ({ code: failure.disassembly, differences: failure.differences }))).toEqual([]);
    expect(tally.failed).toBe(0);
    for (const kind of ['integer', 'memory', 'fault', 'x87', 'mmx', 'mxcsr'] as const)
      expect(tally[kind], kind).toBeGreaterThan(300);
  });
});

describe.skipIf(missing !== undefined)('lock-step of compiled code with the real processor', () => {
  it('leaves what the processor leaves, 1,500 random snippets', async () => {
    const { tally, failures } = await runLockstep({ seed: 20_002, cases: 1500, modes: [64], detailed: 5, compile: COMPILE.all });
    expect(failures.map((failure) => ({ code: failure.disassembly, differences: failure.differences }))).toEqual([]);
    expect(tally.failed).toBe(0);
    for (const kind of ['integer', 'memory', 'fault', 'x87', 'mmx', 'mxcsr'] as const)
      expect(tally[kind], kind).toBeGreaterThan(150);
  });
});

describe('answers of the real processor, recorded', () => {
  const directory = join(import.meta.dirname, '../regressions');
  for (const file of readdirSync(directory).filter((name) => name.endsWith('.jsonl')))
    for (const compile of [undefined, COMPILE.all]) {
      it(`${file}${compile ? ', compiled' : ''}`, () => {
        const ours = new OurProcessor(compile);
        const lines = readFileSync(join(directory, file), 'utf8')
          .split('\n')
          .filter((line) => line !== '');
        expect(lines.length).toBeGreaterThan(0);
        for (const line of lines) {
          const saved = JSON.parse(line) as SavedCase;
          const { one, expected } = load(saved);
          expect({ code: disassemble(one), differences: compare(one, expected, ours.run(one)) }).toEqual({
            code: disassemble(one),
            differences: [],
          });
        }
      });
    }
});
