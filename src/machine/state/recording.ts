/**
 * A recording of a run under the virtual clock: the machine's state at its beginning, what came from outside and when, and hashes of
 * the whole state on the way. The rest of the run follows from these.
 */
import { firstDifference } from '../../base/snapshot.ts';
import type { LoopEnd, PauseAt } from '../../hypervisor/sched/schedule.ts';
import type { InlineMachine } from '../machine.ts';
import { countedParts, describePage, pageHashes, partHashes } from './hash.ts';
import type { InputKind, RecordedInput } from './inputs.ts';
import type { MachineState, Position } from './machine-state.ts';

/** The state at a place of the run. */
export interface Mark {
  /** The run pauses here when it has retired so many instructions, or when its clock shows so many nanoseconds. */
  readonly instructions: number;
  readonly ns: number;
  readonly position: Position;
  /** Hash of each part, and of the memory, by name. */
  readonly hashes: Readonly<Record<string, string>>;
}

export interface Recording {
  readonly inputs: readonly RecordedInput[];
  readonly marks: readonly Mark[];
  /** Where and how the run ended. */
  readonly end: { readonly how: string; readonly position: Position; readonly hashes: Readonly<Record<string, string>> };
}

/** A machine's state at its beginning with what followed. */
export interface RecordedRun {
  readonly state: MachineState;
  readonly recording: Recording;
}

const INPUT_KINDS: readonly InputKind[] = ['console', 'frame', 'stop'];
export const isInputKind = (text: string): text is InputKind => INPUT_KINDS.includes(text as InputKind);

/** Between two marks at least: so that marks cost a run little. */
const MARK_INSTRUCTIONS = 20_000_000;
const MARK_NS = 1e9;
/** A mark may take this part of the time since the last one. */
const MARK_SHARE = 0.04;

/** Runs a machine and makes its recording. */
export class Recorder {
  readonly inputs: RecordedInput[] = [];
  private readonly marks: Mark[] = [];

  readonly record = (input: RecordedInput): void => void this.inputs.push(input);

  /** Run to the end or to the pause, with marks on the way. `pauseAt` is asked as runTo() asks it. */
  run(machine: InlineMachine, pauseAt: PauseAt, untilNs: number): LoopEnd | 'paused' {
    let factor = 1;
    for (;;) {
      const { instructions, ns } = machine.position;
      const mark = { instructions: instructions + MARK_INSTRUCTIONS * factor, ns: ns + MARK_NS * factor };
      const begin = performance.now();
      const end = machine.runTo(
        {
          ...pauseAt,
          instructions: Math.min(mark.instructions, pauseAt.instructions ?? Infinity),
          ns: Math.min(mark.ns, pauseAt.ns ?? Infinity),
        },
        untilNs,
      );
      const { position } = machine;
      if (end !== 'paused' || (position.instructions < mark.instructions && position.ns < mark.ns)) return end;
      const ran = performance.now();
      this.marks.push({ ...mark, position, hashes: partHashes(machine) });
      // Which places are marked is a matter of speed; that they are found again is not.
      const share = (performance.now() - ran) / (performance.now() - begin);
      factor = share > MARK_SHARE ? Math.min(64, factor * 2) : Math.max(1, factor / 2);
    }
  }

  finish(machine: InlineMachine, how: string): Recording {
    const { position } = machine;
    return { inputs: this.inputs, marks: this.marks, end: { how, position, hashes: partHashes(machine) } };
  }
}

/** The first place at which a replay is not what was recorded. */
export interface Divergence {
  /** The last mark at which all was the same; null: the beginning. */
  readonly after: Position | null;
  readonly at: Position;
  /** Names of the parts that differ there. */
  readonly parts: readonly string[];
}

/**
 * Run a machine that was made of a recording's state and inputs, and compare it at every mark. Undefined: it ran as recorded.
 * @param apart parts that are not compared, since the machine puts out what the recorded one did not
 */
export function replay(
  machine: InlineMachine,
  { marks, end }: Recording,
  untilNs = Infinity,
  apart: readonly string[] = [],
): Divergence | undefined {
  let after: Position | null = null;
  const compare = (position: Position, hashes: Readonly<Record<string, string>>): Divergence | undefined => {
    const now = partHashes(machine);
    const parts = [...new Set([...Object.keys(hashes), ...Object.keys(now)])].filter(
      (name) => hashes[name] !== now[name] && !apart.includes(name),
    );
    const here = machine.position;
    const moved = here.instructions !== position.instructions || here.exits !== position.exits || here.ns !== position.ns;
    if (parts.length === 0 && !moved) {
      after = position;
      return undefined;
    }
    return { after, at: here, parts: moved ? ['position', ...parts] : parts };
  };
  for (const mark of marks) {
    machine.runTo({ instructions: mark.instructions, ns: mark.ns }, untilNs);
    const found = compare(mark.position, mark.hashes);
    if (found !== undefined) return found;
  }
  if (end.how === 'paused')
    machine.runTo({ instructions: end.position.instructions, exits: end.position.exits, ns: end.position.ns }, untilNs);
  else machine.runTo({}, untilNs);
  return compare(end.position, end.hashes);
}

/** Where two runs part, and the first thing that then differs. */
export interface Parting {
  /** Both runs are the same up to here; the instruction that follows makes the difference. */
  readonly instructions: number;
  readonly what: string;
}

/**
 * The first instruction after which two runs differ, found by halving. Both functions give a machine in the state of its run behind so
 * many instructions, any number of times. Undefined: they are the same after `until` instructions.
 */
export function findParting(
  reference: (instructions: number) => InlineMachine,
  suspect: (instructions: number) => InlineMachine,
  from: number,
  until: number,
): Parting | undefined {
  const difference = (instructions: number): string | undefined =>
    describeDifference(reference(instructions), suspect(instructions));
  let what = difference(until);
  if (what === undefined) return undefined;
  let same = from;
  let different = until;
  while (different - same > 1) {
    const middle = Math.floor((same + different) / 2);
    const found = difference(middle);
    if (found === undefined) same = middle;
    else {
      different = middle;
      what = found;
    }
  }
  return { instructions: same, what };
}

/** The first thing in which two machines differ, in words; undefined: nothing. */
function describeDifference(a: InlineMachine, b: InlineMachine): string | undefined {
  const part = firstDifference(countedParts(a), countedParts(b), 'machine');
  const pagesA = pageHashes(a.memory);
  const pagesB = pageHashes(b.memory);
  const page = [...pagesA.keys(), ...pagesB.keys()].find((number) => pagesA.get(number) !== pagesB.get(number));
  if (page !== undefined) {
    const [x, y] = [a, b].map(({ memory }) => memory.frame(page as Parameters<typeof memory.frame>[0]));
    const at = x!.findIndex((byte, i) => byte !== y![i]);
    const bytes = at < 0 ? '' : ` at 0x${at.toString(16)}: 0x${x![at]!.toString(16)} and 0x${y![at]!.toString(16)}`;
    return `${describePage(a, page)}${bytes}`;
  }
  return part === undefined ? undefined : `${part.path}: ${String(part.a)} and ${String(part.b)}`;
}
