/** One lock-step run: cases made, run on both processors, compared, failures shrunk, kinds counted. */
import { type Case, type Mode, type Outcome, TIMEOUT_VECTOR, type SavedCase, result, save } from './case.ts';
import type { CompilePolicy } from '../../../src/cpu/compiled/hot-code.ts';
import type { Choices } from '../choices.ts';
import { compare } from './compare.ts';
import { Generator } from './generate.ts';
import type { Form } from './instructions.ts';
import type { Processor } from '../processor.ts';
import { BATCH, NativeProcessor } from './native.ts';
import { OurProcessor } from './ours.ts';
import { shrink } from './shrink.ts';
import { disassemble } from './text.ts';

export interface RunOptions {
  /** The processor that is asked. */
  processor: Processor;
  seed: number;
  cases: number;
  modes: readonly Mode[];
  features?: readonly string[];
  only?: (form: Form) => boolean;
  /** What the vCPU compiles. */
  compile?: CompilePolicy;
  /** Failures looked at closely (shrunk); the rest is only counted. */
  detailed?: number;
  /** Gets every case with the real processor's answer. */
  record?: (saved: SavedCase) => void;
  progress?: (done: number, failed: number) => void;
}

interface Failure {
  one: Case;
  differences: string[];
  disassembly: string[];
  saved: SavedCase;
}

/** Cases by kind. A case counts in every kind it has; `integer` are those with neither x87, MMX nor SSE. */
interface Tally {
  cases: number;
  integer: number;
  memory: number;
  fault: number;
  x87: number;
  mmx: number;
  mxcsr: number;
  notFinished: number;
  failed: number;
}

export interface Report {
  tally: Tally;
  failures: Failure[];
  forms: Record<string, number>;
}

const vectorOf = (outcome: Outcome): number => new DataView(outcome.record.buffer).getUint32(result.vector, true);

export async function runLockstep(options: RunOptions): Promise<Report> {
  const generator = new Generator(options.seed, {
    ...options,
    features: [...options.processor.features, ...(options.features ?? [])],
  });
  const { choices } = options.processor;
  const native = new NativeProcessor();
  const ours = new OurProcessor(options.compile);
  const tally: Tally = { cases: 0, integer: 0, memory: 0, fault: 0, x87: 0, mmx: 0, mxcsr: 0, notFinished: 0, failed: 0 };
  const failures: Failure[] = [];
  try {
    for (let batch = 0; tally.cases < options.cases; batch++) {
      const memorySeed = (options.seed * 10007 + batch) >>> 0;
      const cases = Array.from({ length: Math.min(BATCH, options.cases - tally.cases) }, () => generator.next(memorySeed));
      const expected = await native.run(cases);
      for (const [i, one] of cases.entries()) {
        const answer = expected[i] as Outcome;
        tally.cases++;
        const vector = vectorOf(answer);
        if (vector === TIMEOUT_VECTOR) {
          tally.notFinished++;
          continue;
        }
        options.record?.(
          save(
            one,
            answer,
            disassemble(one)
              .map((line) => line.slice(23))
              .join('; '),
          ),
        );
        if (vector !== 3) tally.fault++;
        if (one.memory) tally.memory++;
        if (one.x87) tally.x87++;
        if (one.mmx) tally.mmx++;
        if (one.sse) tally.mxcsr++;
        if (!one.x87 && !one.mmx && !one.sse) tally.integer++;
        const differences = compare(one, answer, ours.run(one), choices);
        if (differences.length === 0) continue;
        tally.failed++;
        if (failures.length < (options.detailed ?? 20)) failures.push(await explain(one, native, ours, choices));
      }
      options.progress?.(tally.cases, tally.failed);
    }
  } finally {
    native.close();
  }
  return { tally, failures, forms: Object.fromEntries(options.modes.map((mode) => [mode, generator.formCount(mode)])) };
}

async function explain(one: Case, native: NativeProcessor, ours: OurProcessor, choices: Choices): Promise<Failure> {
  const difference = async (candidate: Case): Promise<{ answer: Outcome; differences: string[] } | undefined> => {
    const [answer] = await native.run([candidate]);
    if (!answer || vectorOf(answer) === TIMEOUT_VECTOR) return undefined;
    return { answer, differences: compare(candidate, answer, ours.run(candidate), choices) };
  };
  const small = await shrink(one, async (candidate) => ((await difference(candidate))?.differences.length ?? 0) > 0);
  const last = await difference(small);
  if (!last || last.differences.length === 0) {
    // Depends on what ran before it: kept as it was.
    const again = await difference(one);
    return {
      one,
      differences: ['differs only after the cases before it', ...(again?.differences ?? [])],
      disassembly: disassemble(one),
      saved: save(one, again?.answer as Outcome),
    };
  }
  return { one: small, differences: last.differences, disassembly: disassemble(small), saved: save(small, last.answer) };
}
