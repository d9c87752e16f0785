/** A decoded block as the compiler sees it: its records, how it ends, and where it goes on. */
import type { Interpreter } from '../interpreter/interpreter.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { SPECIAL, SPECIAL_COUNT } from '../records/handler-numbers.ts';
import { REC_AUX, REC_LENGTH, REC_RIP, RECORD_SIZE } from '../records/record.ts';

export interface Block {
  /** Its first and its last record. */
  readonly first: number;
  readonly last: number;
  /** Address of its first instruction in the code segment. */
  readonly rip: number;
  /** Instructions it retires. */
  readonly instructions: number;
  /** Addresses it goes on at, where they are known. */
  readonly targets: readonly number[];
  /** Where a call comes back to. */
  readonly returnsTo: number | undefined;
  /** How it ends: at addresses known now, at one read at run time, in a helper that leaves. */
  readonly ends: 'known' | 'call' | 'computedCall' | 'computedJump' | 'return' | 'leaves';
}

/**
 * The block at record `first`; undefined when something in it is not for the compiler.
 * @param mode of the code it holds.
 * @param handlerOf number of the handler that interprets a record, whatever runs it now.
 */
export function readBlock(
  { u8, i32 }: MemoryViews,
  meanings: Interpreter['meanings'],
  first: number,
  mode: 'long' | 'legacy',
  handlerOf: (record: number) => number,
): Block | undefined {
  const rip = ripOf(i32, first);
  let instructions = 0;
  for (let at = first; ; at += RECORD_SIZE) {
    const handler = handlerOf(at);
    if (handler === SPECIAL.fallThroughChained || handler === SPECIAL.fallThrough) {
      // It counts the instruction before it.
      return { first, last: at, rip, instructions, targets: [ripOf(i32, at)], returnsTo: undefined, ends: 'known' };
    }
    if (handler < SPECIAL_COUNT) {
      if (handler < SPECIAL.eaLong || handler > SPECIAL.eaUnchecked16) return undefined;
      continue;
    }
    const meaning = meanings[handler];
    if (!meaning) return undefined;
    instructions++;
    const { ends, chains, name } = meaning.forms.instruction;
    if (!ends) continue;
    if (ends === 'system') return { first, last: at, rip, instructions, targets: [], returnsTo: undefined, ends: 'leaves' };
    const wrap = mode === 'long' ? 0 : 2 ** (meaning.form.operandSize * 8);
    const wrapped = (address: number): number => (wrap ? ((address % wrap) + wrap) % wrap : address);
    const next = wrapped(ripOf(i32, at) + u8[at + REC_LENGTH]!);
    if (chains) {
      const target = wrapped(next + i32[(at + REC_AUX) >> 2]!);
      if (name === 'call') return { first, last: at, rip, instructions, targets: [target], returnsTo: next, ends: 'call' };
      const targets = name === 'jmp' ? [target] : [target, next];
      return { first, last: at, rip, instructions, targets, returnsTo: undefined, ends: 'known' };
    }
    const returnsTo = name === 'call' ? next : undefined;
    return {
      first,
      last: at,
      rip,
      instructions,
      targets: [],
      returnsTo,
      ends: name === 'call' ? 'computedCall' : name === 'ret' ? 'return' : 'computedJump',
    };
  }
}

/** Address of a record's instruction. In 64-bit mode a canonical one, which is signed. */
const ripOf = (i32: Int32Array, record: number): number =>
  i32[(record + REC_RIP + 4) >> 2]! * 2 ** 32 + (i32[(record + REC_RIP) >> 2]! >>> 0);

/** Does the block lie in one page? One that does not holds a single instruction. */
export const crosses = ({ u8 }: MemoryViews, { first, rip }: Block, csBase: number): boolean =>
  offsetInPage(rip + csBase) + u8[first + REC_LENGTH]! > 4096;

export const pageNumber = (address: number): number => Math.floor(address / 4096);
export const offsetInPage = (address: number): number => address - pageNumber(address) * 4096;
