/** Status flags over a region: what set them before each block, and which settings nobody looks at. */
import type { FlagsFrom } from '../emit/context.ts';
import type { Interpreter } from '../interpreter/interpreter.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { SPECIAL_COUNT } from '../records/handler-numbers.ts';
import { REC_IMM, RECORD_SIZE } from '../records/record.ts';
import type { Block } from './block.ts';
import type { CompiledContext } from './compiled-context.ts';
import type { Region } from './region.ts';

type Meaning = NonNullable<Interpreter['meanings'][number]>;

const SHIFTS = new Set(['shl', 'shr', 'sar']);

/** What set the flags behind an instruction that `before` had set them for. */
export function flagsAfter({ forms, form }: Meaning, immediate: number, before: FlagsFrom): FlagsFrom {
  const { flags, name, operands } = forms.instruction;
  if (flags) return flags === 'kept' ? before : flags;
  if (SHIFTS.has(name) && operands.length === 2) {
    // A count of zero changes nothing.
    const by = operands[1]!.kind;
    const count = by === 'one' ? 1 : by === 'immediate' ? immediate & (form.operandSize === 8 ? 63 : 31) : 0;
    if (count) return 'result';
  }
  return 'any';
}

/** The source of the flags at the end of a block; undefined: what it was before. */
function flagsBehind(
  { i32 }: MemoryViews,
  meanings: Interpreter['meanings'],
  handlerOf: (record: number) => number,
  block: Block,
): FlagsFrom | undefined {
  for (let at = block.last; at >= block.first; at -= RECORD_SIZE) {
    const handler = handlerOf(at);
    if (handler < SPECIAL_COUNT || meanings[handler]!.forms.instruction.flags === 'kept') continue;
    return flagsAfter(meanings[handler]!, i32[(at + REC_IMM) >> 2]!, 'any');
  }
  return undefined;
}

/** The source of the flags at the start of each block of a region: 'any' where ways with different ones meet. */
export function flagsBefore(
  region: Region,
  views: MemoryViews,
  meanings: Interpreter['meanings'],
  handlerOf: (record: number) => number,
): FlagsFrom[] {
  const { blocks, successors, entries } = region;
  const behind = blocks.map((block) => flagsBehind(views, meanings, handlerOf, block));
  const before: (FlagsFrom | undefined)[] = blocks.map(() => undefined);
  const work = [...entries];
  for (const entry of entries) before[entry] = 'any';
  for (let node = work.pop(); node !== undefined; node = work.pop()) {
    const out = behind[node] ?? before[node]!;
    for (const to of successors[node]!) {
      const old = before[to];
      const fresh = old === undefined || old === out ? out : 'any';
      if (fresh === old) continue;
      before[to] = fresh;
      work.push(to);
    }
  }
  return before.map((flags) => flags ?? 'any');
}

/** One record, composed. */
export interface Composed {
  readonly context: CompiledContext;
  /** It sets all flags, whatever they were. */
  readonly setsAll: boolean;
}

/** Marks the settings of flags that are overwritten before anybody looks. `inside`: an edge that can leave nowhere. */
export function markDeadFlags(
  region: Region,
  composed: readonly Composed[][],
  inside: (from: number, to: number) => boolean,
): void {
  const { blocks, successors } = region;
  const liveBefore = new Uint8Array(blocks.length);
  const liveAfter = (node: number): boolean => {
    const block = blocks[node]!;
    // A way out that is no edge: an arm that has not run, a return that goes elsewhere.
    const known = block.ends === 'known' || block.ends === 'call' ? block.targets.length : -1;
    return successors[node]!.length !== known || successors[node]!.some((to) => !inside(node, to) || liveBefore[to]);
  };
  const back = (node: number, mark: boolean): boolean => {
    let live = liveAfter(node);
    const list = composed[node]!;
    for (let i = list.length - 1; i >= 0; i--) {
      const { context, setsAll } = list[i]!;
      if (mark) context.flagsDead = !live;
      if (setsAll) live = false;
      if (context.readsFlags || context.leaves) live = true;
    }
    return live;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let node = blocks.length - 1; node >= 0; node--) {
      if (liveBefore[node] || !back(node, false)) continue;
      liveBefore[node] = 1;
      changed = true;
    }
  }
  for (let node = 0; node < blocks.length; node++) back(node, true);
}
