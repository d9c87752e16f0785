import { DamageList } from '../format/damage.ts';
import { Follower } from './follower.ts';
import type { Engine } from './engine.ts';
import { EndOfTool } from './errors.ts';
import type { EngineOptions } from './engine.ts';
import {
  exitReasonName,
  SVM_EXIT_REASONS_OF_XENALYZE,
  VMX_EXIT_REASONS,
  VMX_REASONS_OF_XENALYZE,
  VMX_UNNAMED_BY_XENALYZE,
} from '../records/exit-reasons.ts';
import { NEED_DATA } from '../format/merge.ts';
import { Notes } from './notes.ts';
import type { ByteSource } from '../format/source.ts';

/** Records taken in between two looks at the outside: progress, output, the other thread's turn. */
export const CHUNK_RECORDS = 16384;

/** What an engine is asked for, in a form that can be sent to another thread. */
export interface FollowOptions {
  cpuHz: number;
  svm: boolean;
  /** Do as xenalyze 4.17 does, to the letter. */
  exact: boolean;
  /** N of the Xen 4.N that wrote the trace, or the newest it can be; null if unknown. */
  xenMinor?: number | null;
}

export function engineOptions(options: FollowOptions, dump: boolean): EngineOptions {
  const { cpuHz, svm, exact, xenMinor = null } = options;
  const exitName = !exact
    ? (reason: number) => exitReasonName(svm ? 'svm' : 'vmx', reason)
    : svm
      ? (reason: number) => SVM_EXIT_REASONS_OF_XENALYZE[reason] ?? null
      : (reason: number) =>
          reason < VMX_REASONS_OF_XENALYZE && !VMX_UNNAMED_BY_XENALYZE.has(reason) ? (VMX_EXIT_REASONS[reason] ?? null) : null;
  return { cpuHz, svm, dump, summary: !dump, exact, xenMinor, exitName };
}

/**
 * Take in a whole trace.
 * @param between called after every chunk of records, with the text they made still in engine.out
 * @returns false if xenalyze would have ended before the end of the trace (only with `exact`)
 */
export async function follow(engine: Engine, between: () => void | Promise<void>): Promise<boolean> {
  try {
    while (engine.start() === NEED_DATA) await engine.merge.load();
    for (;;) {
      const left = engine.run(CHUNK_RECORDS);
      if (left === NEED_DATA) {
        await engine.merge.load();
        continue;
      }
      await between();
      if (left > 0) return true;
    }
  } catch (error) {
    if (!(error instanceof EndOfTool)) throw error;
    await between();
    return false;
  }
}

/**
 * Write the text of a trace, line for line as `xenalyze --dump-all` (exactly so with `exact`).
 * @param write takes the text piece by piece; the bytes are valid during the call
 * @param damage gathers what could not be read
 * @param note takes what seems strange, at the end
 * @returns false if xenalyze would have ended before the end of the trace
 */
export async function dumpTrace(
  source: ByteSource,
  options: FollowOptions,
  write: (bytes: Uint8Array) => void | Promise<void>,
  damage = new DamageList(),
  note: (line: string) => void = () => {},
): Promise<boolean> {
  const engine = new Follower(source, engineOptions(options, true));
  const notes = new Notes();
  engine.onDamage = (one) => damage.add(one);
  engine.onWarning = (line) => notes.add(line);
  const whole = await follow(engine, async () => {
    if (engine.out.length > 0) await write(engine.out.view());
    engine.out.clear();
  });
  for (const line of notes.lines()) note(line);
  return whole;
}
