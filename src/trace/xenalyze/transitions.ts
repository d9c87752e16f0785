import { DamageList } from '../format/damage.ts';
import type { ByteSource } from '../format/source.ts';
import type { Transitions } from '../follow/transitions.ts';
import { engineOptions, follow } from './dump.ts';
import type { FollowOptions } from './dump.ts';
import { Follower } from './follower.ts';
import { Notes } from './notes.ts';

/** What is known of a trace when all of it was followed. */
export interface Followed {
  records: number;
  /** Absolute TSC that is time zero. */
  firstTsc: bigint;
  /** From the first TSC to the last. */
  ticks: number;
  /** pCPUs with records, in rising order. */
  pcpus: number[];
  damage: DamageList;
  notes: string[];
}

/**
 * Follow a whole trace and tell what happens, by the same rules by which a summary counts.
 * @param progress called now and then with the bytes read so far
 */
export async function followTransitions(
  source: ByteSource,
  options: Pick<FollowOptions, 'cpuHz' | 'svm' | 'xenMinor'>,
  transitions: Transitions,
  progress: (bytes: number) => void | Promise<void> = () => {},
): Promise<Followed> {
  const engine = new Follower(source, { ...engineOptions({ ...options, exact: false }, false), summary: false });
  const notes = new Notes();
  const damage = new DamageList();
  engine.transitions = transitions;
  engine.onWarning = (line) => notes.add(line);
  engine.onDamage = (one) => damage.add(one);
  await follow(engine, () => progress(engine.merge.position));
  return {
    records: engine.records,
    firstTsc: (BigInt(engine.merge.tscBaseHigh) << 32n) + BigInt(engine.firstTsc),
    ticks: engine.now - engine.firstTsc,
    pcpus: engine.merge.pcpus.flatMap((p) => (p?.summary === true ? [p.pid] : [])),
    damage,
    notes: notes.lines(),
  };
}
