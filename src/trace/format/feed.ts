import type { Pcpu } from './pcpu.ts';

/** Result of a step that could not be done yet: `await load()`, then repeat it. */
export const NEED_DATA = -1;

/** Where an engine's records come from, in the order of their TSCs: a merge of its own, or another thread's. */
export interface RecordFeed<P extends Pcpu> {
  /** CPUs met so far, by number. */
  readonly pcpus: readonly (P | undefined)[];
  readonly maxActivePcpu: number;
  /** TSCs are counted from this high word, so that they stay exact in a double. Zero below 2^53. */
  readonly tscBaseHigh: number;
  /** How far the file is read, in bytes. */
  readonly position: number;
  /**
   * The merge is another thread's and cannot follow a change of a CPU's clock, nor say where a record lies: what needs
   * either throws NotPlain.
   */
  readonly remote: boolean;
  pcpu(pid: number): P;
  /** Find the first CPUs. 0 or NEED_DATA. */
  start(): number;
  /** The CPU whose record is next, or null at the end. */
  next(): P | null | typeof NEED_DATA;
  /** The record of `p`, which next() gave, is done with. */
  advance(p: P): void;
  load(): Promise<void>;
  resetSkew(): void;
}

/** A trace that a merge in another thread cannot serve: begin again with one of your own. */
export class NotPlain extends Error {
  override name = 'NotPlain';
}

/** A TSC of a feed as the file has it. */
export function tscText(feed: { readonly tscBaseHigh: number }, tsc: number): string {
  if (feed.tscBaseHigh === 0 && Number.isSafeInteger(tsc)) return String(tsc);
  return String(BigInt.asIntN(64, (BigInt(feed.tscBaseHigh) << 32n) + BigInt(tsc)));
}
