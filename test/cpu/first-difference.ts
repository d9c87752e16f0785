/**
 * Finds the first instruction that compiled code runs otherwise than the interpreter. Runs repeat, and compiled code can end at any
 * instruction (CompilePolicy.until); so the first one that must be interpreted for the run to come out right is found by halving.
 */
import type { Engine } from '../../src/cpu/run/engine.ts';
import { Efer, ExitReason, Rights, Seg } from '../../src/cpu/interface.ts';

/** A run from its beginning to the end of what is compared. */
export interface Subject {
  readonly engine: Engine;
  /** Runs it; what is there to compare then. */
  run(): string;
}

/**
 * Number of the first instruction, counted from 0, that compiled code runs otherwise; undefined when the runs are equal.
 * @param make a fresh subject whose compiled code runs up to so many instructions.
 */
export function firstDifference(make: (until: number) => Subject): number | undefined {
  const expected = make(0).run();
  const whole = make(Infinity);
  if (whole.run() === expected) return undefined;
  let equal = 0;
  let different = whole.engine.instructions;
  while (different - equal > 1) {
    const middle = Math.floor((equal + different) / 2);
    if (make(middle).run() === expected) equal = middle;
    else different = middle;
  }
  return equal;
}

/** Size of the code that runs: by EFER.LMA, CS.L and CS.D. */
function codeBits({ registers }: Engine): 16 | 32 | 64 {
  const { accessRights } = registers.getSegment(Seg.cs);
  if (registers.efer & Efer.lma && accessRights & Rights.long) return 64;
  return accessRights & Rights.big ? 32 : 16;
}

/** Instructions that are run one by one before the one asked for: no block has more. */
const SINGLE_STEPS = 1000;

/** What the engine is about to run after `count` instructions, as its dump shows it, and the bytes there; the subject is run for it. */
export function stateAt(
  subject: Subject,
  count: number,
): { rip: bigint; code: Uint8Array; bits: 16 | 32 | 64; registers: string } | undefined {
  const { engine } = subject;
  const run = engine.run.bind(engine);
  let found: ReturnType<typeof stateAt>;
  engine.run = (budget) => {
    const end = engine.instructions + budget;
    for (;;) {
      const left = end - engine.instructions;
      const before = count - engine.instructions;
      if (found || left <= 0) return run(Math.max(left, 0));
      if (before <= 0) {
        const { rip } = engine.registers;
        found = { rip, code: engine.codeBytes(rip, 15), bits: codeBits(engine), registers: engine.dump() };
        continue;
      }
      const far = before > SINGLE_STEPS;
      engine.singleStep(!far);
      const reason = run(Math.min(left, far ? before - SINGLE_STEPS : 1));
      engine.singleStep(false);
      if (reason !== ExitReason.budget && reason !== ExitReason.monitorTrap) return reason;
    }
  };
  subject.run();
  return found;
}
