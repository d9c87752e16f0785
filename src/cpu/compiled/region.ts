/**
 * What is compiled into one function: blocks that lead to each other from a hot one on, over branches, calls and returns, whatever
 * page they lie on. Only what has run is decoded, and only that is taken in: an arm never seen is a way out.
 */
import { RECORD_SIZE } from '../records/record.ts';
import type { Block } from './block.ts';

/** Beyond about 100 KiB of code V8 leaves a function in its baseline tier; a record takes some hundred bytes. */
const MAX_BLOCKS = 40;
const MAX_RECORDS = 300;
/** Where a computed jump leads to many places, as in an interpreter of something. One into a library leads to one. */
const MANY_TARGETS = 4;
const MAX_BLOCKS_COMPUTED = 200;
const MAX_RECORDS_COMPUTED = 1200;
/** Return addresses that a RET compares with before it asks the jump cache. */
const MAX_RETURNS = 4;

export interface Region {
  readonly blocks: readonly Block[];
  /** Blocks that control enters at from outside, by number; the first is the one it was made for. */
  readonly entries: readonly number[];
  /** Blocks each goes on at within the region, by number; those of a return are guesses. */
  readonly successors: readonly (readonly number[])[];
  /** A jump of the region may lead to any of its entries. */
  readonly computed: boolean;
}

/** What the region is made from. */
export interface Surroundings {
  /** The block at a record; none when something in it is not for the compiler. */
  blockAt(record: number): Block | undefined;
  /** A region runs it already. */
  isCompiled(record: number): boolean;
  /** Record of the block at `rip`, as code of the block at `from` finds it now; 0: none that has run. */
  find(rip: number, from: Block): number;
  /** Addresses that the computed jump at a record was seen to lead to. */
  targetsOf(jump: number): Iterable<number>;
  /** Are these blocks, together, worth being compiled? */
  worthwhile(blocks: readonly Block[]): boolean;
}

/** The region from the block at record `head` on; none when the block itself is not for the compiler, or it is not worthwhile. */
export function regionFrom(around: Surroundings, head: number, single: boolean): Region | undefined {
  let blocks: Block[] = [];
  let numbers = new Map<number, number>();
  const tried = new Set<number>();
  let records = 0;
  let maxBlocks = MAX_BLOCKS;
  let maxRecords = MAX_RECORDS;
  const take = (record: number): Block | undefined => {
    if (tried.has(record)) return undefined;
    tried.add(record);
    const block = around.blockAt(record);
    if (!block || numbers.has(block.rip)) return undefined;
    records += (block.last - block.first) / RECORD_SIZE + 1;
    numbers.set(block.rip, blocks.length);
    blocks.push(block);
    return block;
  };
  if (!take(head)) return undefined;
  const callees: { rip: number; from: Block }[] = [];
  const computedTargets: number[] = [];
  let at = 0;
  /** Takes in what the blocks lead to. `through`: what another region runs, too. */
  const grow = (through: boolean): void => {
    for (; at < blocks.length && blocks.length < maxBlocks && records < maxRecords; at++) {
      const block = blocks[at]!;
      const onward = block.ends === 'call' ? [] : [...block.targets];
      if (block.ends === 'call') callees.push({ rip: block.targets[0]!, from: block });
      if (block.returnsTo !== undefined) onward.push(block.returnsTo);
      for (const rip of onward) {
        if (numbers.has(rip)) continue;
        const record = around.find(rip, block);
        if (record && (through || !around.isCompiled(record))) take(record);
      }
      if (through || block.ends !== 'computedJump') continue;
      const targets = [...around.targetsOf(block.last)];
      if (targets.length >= MANY_TARGETS) {
        maxBlocks = MAX_BLOCKS_COMPUTED;
        maxRecords = MAX_RECORDS_COMPUTED;
      }
      for (const rip of targets) {
        const record = around.find(rip, block);
        if (!record || computedTargets.includes(record)) continue;
        take(record);
        computedTargets.push(record);
      }
    }
  };
  if (!single) {
    grow(false);
    for (let i = 0; i < callees.length && blocks.length < maxBlocks && records < maxRecords; i++) {
      const { rip, from } = callees[i]!;
      if (numbers.has(rip)) continue;
      const record = around.find(rip, from);
      if (!record || around.isCompiled(record)) continue;
      take(record);
      grow(false);
    }
    const own = blocks.length;
    maxBlocks = own + MAX_BLOCKS;
    maxRecords = records + MAX_RECORDS;
    at = 0;
    grow(true);
    const back = leadingBack(blocks, numbers, own);
    if (back.length < blocks.length) {
      blocks = back;
      numbers = new Map(blocks.map(({ rip }, i) => [rip, i]));
    }
  }
  if (!around.worthwhile(blocks)) return undefined;
  const successors = blocks.map((block) => block.targets.flatMap((rip) => numbers.get(rip) ?? []));
  const returns = predictReturns(blocks, numbers, successors);
  const entries = entriesOf(blocks, numbers, successors, returns);
  const targets = computedTargets.map((record) => blocks.findIndex((block) => block.first === record)).filter((i) => i >= 0);
  for (const number of targets) if (!entries.includes(number)) entries.push(number);
  return { blocks, entries, successors, computed: targets.length > 0 };
}

/**
 * The first `own` blocks, and of the others those that lead back to one of them: a loop whose other half was compiled before this half
 * ever ran would else go from function to function.
 */
function leadingBack(blocks: readonly Block[], numbers: ReadonlyMap<number, number>, own: number): Block[] {
  const back = blocks.map((_block, i) => i < own);
  const leads = (rip: number | undefined): boolean => rip !== undefined && back[numbers.get(rip) ?? -1] === true;
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = own; i < blocks.length; i++) {
      const { targets, returnsTo } = blocks[i]!;
      if (back[i] || !(leads(returnsTo) || targets.some(leads))) continue;
      back[i] = true;
      changed = true;
    }
  }
  return blocks.filter((_block, i) => back[i]);
}

/** Adds the places a return may lead to to its successors. Gives the return points for which that was done. */
function predictReturns(blocks: readonly Block[], numbers: ReadonlyMap<number, number>, successors: number[][]): Set<number> {
  const after = (block: Block): number | undefined => (block.returnsTo === undefined ? undefined : numbers.get(block.returnsTo));
  const callers = new Map<number, number[]>();
  blocks.forEach((block, i) => {
    const callee = successors[i]![0];
    const back = after(block);
    if (block.ends !== 'call' || callee === undefined || back === undefined) return;
    const list = callers.get(callee);
    if (!list) callers.set(callee, [back]);
    else if (!list.includes(back)) list.push(back);
  });
  const guesses = blocks.map(() => new Set<number>());
  const covered = new Set<number>();
  for (const [callee, backs] of callers) {
    const seen = new Set([callee]);
    const exits: number[] = [];
    for (const i of seen) {
      const block = blocks[i]!;
      if (block.ends === 'return') exits.push(i);
      const back = after(block);
      if (block.returnsTo !== undefined) {
        if (back !== undefined) seen.add(back);
      } else for (const to of successors[i]!) seen.add(to);
    }
    for (const i of exits) for (const back of backs) guesses[i]!.add(back);
    if (exits.length) for (const back of backs) covered.add(back);
  }
  guesses.forEach((set, i) => {
    if (set.size > MAX_RETURNS) for (const back of set) covered.delete(back);
    else successors[i]!.push(...set);
  });
  return covered;
}

/** The block it was made for, return points that no return of the region leads to, tops of loops, and what nothing else leads to. */
function entriesOf(
  blocks: readonly Block[],
  numbers: ReadonlyMap<number, number>,
  successors: readonly (readonly number[])[],
  predicted: ReadonlySet<number>,
): number[] {
  const entries = [0];
  const add = (number: number | undefined): void => {
    if (number !== undefined && !entries.includes(number)) entries.push(number);
  };
  for (const { returnsTo } of blocks) {
    const number = returnsTo === undefined ? undefined : numbers.get(returnsTo);
    if (number !== undefined && !predicted.has(number)) add(number);
  }
  const seen = new Set<number>();
  const open = new Set<number>();
  const visit = (root: number): void => {
    const stack = [{ node: root, at: 0 }];
    seen.add(root);
    open.add(root);
    while (stack.length) {
      const top = stack[stack.length - 1]!;
      const to = successors[top.node]![top.at++];
      if (to === undefined) {
        open.delete(top.node);
        stack.pop();
      } else if (open.has(to)) add(to);
      else if (!seen.has(to)) {
        seen.add(to);
        open.add(to);
        stack.push({ node: to, at: 0 });
      }
    }
  };
  for (let i = 0; i < entries.length; i++) if (!seen.has(entries[i]!)) visit(entries[i]!);
  blocks.forEach((_block, i) => {
    if (seen.has(i)) return;
    add(i);
    visit(i);
  });
  return entries;
}
