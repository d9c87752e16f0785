/**
 * Finds the loops that the guest spends its time in and has them compiled. Found by samples: where the vCPU stands after so many
 * instructions that it ran in one go. Compiling costs milliseconds, so a loop must have run for longer than that.
 */
import type { CodeCache, CompiledCodeListener } from '../decode/code-cache.ts';
import { FIRST_COMPILED, HANDLER_LIMIT, OUTLINED } from '../records/handler-numbers.ts';
import { REC_HANDLER } from '../records/record.ts';
import { compileLoop, type CompilerParts } from './compiler.ts';
import { loopOf } from './loop.ts';

/** What gets compiled. */
export interface CompilePolicy {
  /** Instructions between samples; 0: a sample before every block. */
  readonly every: number;
  /** Samples of one block that make it worth compiling. */
  readonly samples: number;
  /** Blocks that lie in no loop are compiled too. */
  readonly straight: boolean;
}

/** A block must have been seen for about two million instructions. */
export const HOT_LOOPS_ONLY: CompilePolicy = { every: 1 << 14, samples: 128, straight: false };

export class HotLoops implements CompiledCodeListener {
  private readonly policy: CompilePolicy;
  private readonly parts: CompilerParts;
  private readonly cache: CodeCache;
  /** The interpreter's table of functions that are handlers. */
  private readonly table: WebAssembly.Table;
  /** Samples by first record of a block. */
  private readonly samples = new Map<number, number>();
  private nextHandler = FIRST_COMPILED;
  /** Functions made so far. */
  compiled = 0;

  constructor(policy: CompilePolicy, parts: CompilerParts, cache: CodeCache) {
    this.policy = policy;
    this.parts = parts;
    this.cache = cache;
    this.table = parts.interpreter.handlers as WebAssembly.Table;
    cache.listen(this);
  }

  /** The vCPU stands at this block. May empty the code cache, to have room for handlers again. */
  sample(record: number): void {
    const count = (this.samples.get(record) ?? 0) + 1;
    this.samples.set(record, count);
    if (count === this.policy.samples) this.compile(record);
  }

  private compile(record: number): void {
    const { views, meanings } = this.parts;
    const blocks = loopOf(views, meanings, record, this.policy.straight);
    if (!blocks.length) return;
    if (this.nextHandler + blocks.length > HANDLER_LIMIT) {
      this.cache.flushAll();
      return;
    }
    const first = this.nextHandler;
    const run = compileLoop(this.parts, blocks, first);
    this.compiled++;
    this.nextHandler += blocks.length;
    blocks.forEach((block, i) => {
      this.table.set(first + i - OUTLINED, run);
      views.u16[(block.first + REC_HANDLER) >> 1] = first + i;
    });
  }

  dropped(handler: number): void {
    this.table.set(handler - OUTLINED, null);
  }

  emptied(): void {
    for (let handler = FIRST_COMPILED; handler < this.nextHandler; handler++) this.dropped(handler);
    this.nextHandler = FIRST_COMPILED;
    this.samples.clear();
  }
}
