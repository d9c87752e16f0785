/** Which blocks of a code page run round and round: the loop that a block lies in, as far as its branches have been followed. */
import { FIRST_COMPILED, SPECIAL, SPECIAL_COUNT } from '../records/handler-numbers.ts';
import type { Interpreter } from '../interpreter/interpreter.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { REC_HANDLER, REC_NOT_TAKEN, REC_RIP, REC_TAKEN, RECORD_SIZE } from '../records/record.ts';

/** Bounds on what is compiled at once: the compiler's time grows faster than the code. */
const MAX_BLOCKS = 24;
const MAX_RECORDS = 256;

export interface Block {
  /** Its first and its last record. */
  readonly first: number;
  readonly last: number;
  /** First records of the blocks it chains to; 0: none, or not known yet. */
  readonly taken: number;
  readonly notTaken: number;
}

/**
 * The blocks on a way from the one at `head` back to it, or to a block that is compiled already, in the order of their addresses;
 * none when there is no such way, or when a record on it is nothing to compile. `straight`: without such a way, the block at `head` alone.
 */
export function loopOf(views: MemoryViews, meanings: Interpreter['meanings'], head: number, straight: boolean): Block[] {
  const blocks = new Map<number, Block>();
  const queue = [head];
  let records = 0;
  for (let i = 0; i < queue.length && blocks.size < MAX_BLOCKS; i++) {
    const block = blockAt(views, meanings, queue[i]!);
    if (!block) continue;
    records += (block.last - block.first) / RECORD_SIZE + 1;
    if (records > MAX_RECORDS) break;
    blocks.set(block.first, block);
    for (const next of [block.taken, block.notTaken]) if (next && !queue.includes(next)) queue.push(next);
  }
  const compiled = (record: number): boolean => views.u16[(record + REC_HANDLER) >> 1]! >= FIRST_COMPILED;
  const goals = new Set([head, ...queue.filter(compiled)]);
  const leads = new Set(goals);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { first, taken, notTaken } of blocks.values()) {
      if (leads.has(first) || !(leads.has(taken) || leads.has(notTaken))) continue;
      leads.add(first);
      grown = true;
    }
  }
  const loop = [...blocks.values()].filter(({ first }) => leads.has(first));
  const closed = loop.some(({ taken, notTaken }) => goals.has(taken) || goals.has(notTaken));
  const rip = ({ first }: Block): number => views.u32[(first + REC_RIP) >> 2]!;
  if (!closed) return straight ? loop.filter(({ first }) => first === head) : [];
  return loop.sort((a, b) => rip(a) - rip(b));
}

function blockAt({ u16, i32 }: MemoryViews, meanings: Interpreter['meanings'], first: number): Block | undefined {
  for (let at = first; ; at += RECORD_SIZE) {
    const handler = u16[(at + REC_HANDLER) >> 1]!;
    if (handler === SPECIAL.fallThroughChained) return { first, last: at, taken: i32[(at + REC_TAKEN) >> 2]!, notTaken: 0 };
    if (handler === SPECIAL.fallThrough) return { first, last: at, taken: 0, notTaken: 0 };
    if (handler < SPECIAL_COUNT) {
      if (handler < SPECIAL.eaLong || handler > SPECIAL.eaAbsoluteSegment) return undefined;
      continue;
    }
    const meaning = meanings[handler];
    if (!meaning || meaning.form.mode !== 'long') return undefined;
    if (!meaning.forms.instruction.ends) continue;
    return meaning.form.chained
      ? { first, last: at, taken: i32[(at + REC_TAKEN) >> 2]!, notTaken: i32[(at + REC_NOT_TAKEN) >> 2]! }
      : { first, last: at, taken: 0, notTaken: 0 };
  }
}
