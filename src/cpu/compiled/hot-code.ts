/**
 * Finds the code that the guest spends its time in and has it compiled. Found by samples: where the interpreter stands after so many
 * instructions of its own; what compiled code runs is not counted. What is found is compiled with what it leads to (region.ts).
 */
import type { CodeCache, CodePage } from '../decode/code-cache.ts';
import type { ControlBlock } from '../memory/memory-views.ts';
import { JUMP_LOG_ENTRIES, JUMP_LOG_ENTRY_SIZE, JUMP_LOG_FIRST } from '../interpreter/record-site.ts';
import { FIRST_COMPILED, HANDLER_LIMIT, OUTLINED } from '../records/handler-numbers.ts';
import { REC_HANDLER } from '../records/record.ts';
import { crosses, offsetInPage, pageNumber, readBlock, type Block } from './block.ts';
import { instantiate, RegionModule, type CompilerParts } from './compiler.ts';
import { regionFrom, type Region, type Surroundings } from './region.ts';
import { structure } from './structure.ts';

/** What gets compiled. */
export interface CompilePolicy {
  /** Interpreted instructions between samples; 0: a sample before every block. */
  readonly every: number;
  /** Samples of one block that make it worth looking at; and again at twice as many, and so on. */
  readonly samples: number;
  /** Samples that a region must have, all its blocks together: so many, and so many more for each of its instructions. */
  readonly regionSamples: number;
  readonly samplesPerInstruction: number;
  /** Regions that make a module: one costs more than its functions. It is made with fewer when they were met in `patience` samples. */
  readonly batch: number;
  readonly patience: number;
  /** WebAssembly that may be there, in bytes: with more, all decoded code goes, and what runs then is found anew. */
  readonly maxBytes: number;
  /** Each block is compiled by itself: for tests that want every way in and out. */
  readonly single: boolean;
  /**
   * Compiled code runs up to this many retired instructions, and ends there to the instruction; the interpreter runs the rest. For
   * finding the instruction that it runs otherwise; undefined: it runs without end.
   */
  readonly until?: number;
}

/**
 * A sample stands for 4,096 interpreted instructions, some 40 µs. Compiling takes about half a millisecond for a module and a few
 * microseconds for each instruction: a region has run for as long as that.
 */
export const WARM_CODE: CompilePolicy = {
  every: 4096,
  samples: 8,
  regionSamples: 12,
  samplesPerInstruction: 1,
  batch: 8,
  patience: 12,
  maxBytes: 64 << 20,
  single: false,
};

/** Of a computed jump, so many targets are kept; of so many jumps. */
const MAX_JUMP_TARGETS = 300;
const MAX_JUMPS = 4096;
/** So many of the jumps noted last are looked at with each sample: most lead where they led before. */
const JUMPS_A_SAMPLE = 16;
/** A region is made anew when its computed jumps led to so many places that it does not hold, and to a quarter of what it holds. */
const UNKNOWN_TARGETS = 3;

/** The mode that code runs in, as far as it matters here. */
export interface CodeMode {
  readonly bits: 16 | 32 | 64;
  readonly csBase: number;
  readonly csLimit: number;
  /** ES, SS and DS are flat, and the stack pointer has 32 bits. */
  readonly flat: boolean;
}

/** A region in use. */
interface Installed {
  readonly firstHandler: number;
  /** First records of its entries, whose handlers lead to it. */
  readonly records: readonly number[];
  readonly pages: ReadonlySet<CodePage>;
  /** Records of its computed jumps. */
  readonly jumps: readonly number[];
  /** Code of it changed before it was put to use. */
  dropped: boolean;
  /** Places its computed jumps led to since that it does not hold. */
  unknownTargets: number;
}

export class HotCode {
  private readonly policy: CompilePolicy;
  private readonly parts: CompilerParts;
  private readonly views: ControlBlock;
  private readonly cache: CodeCache;
  private readonly mode: CodeMode;
  /** The interpreter's table of functions that are handlers. */
  private readonly table: WebAssembly.Table;
  /** Handlers that compiled ones took the place of. */
  private readonly originals = new Uint16Array(HANDLER_LIMIT - FIRST_COMPILED);
  /** Records whose compiled handler is put aside until the run ends: record and handler by turns. */
  private readonly aside: number[] = [];
  /** Samples by first record of a block. */
  private readonly samples = new Map<number, number>();
  private readonly regions = new Map<CodePage, Set<Installed>>();
  /** Addresses that computed jumps were seen to lead to, by the jump's record. */
  private readonly jumpTargets = new Map<number, Set<number>>();
  /** Regions with computed jumps, by the jump's record. */
  private readonly jumping = new Map<number, Installed>();
  /** One of those that is to be made anew. */
  private outgrown: Installed | undefined;
  /** Entries of the ring of computed jumps read so far. */
  private jumpsRead = 0;
  /** Blocks looked at, by first record; null: not for the compiler. */
  private readonly blocks = new Map<number, Block | null>();
  /** The module being made, its regions in order, and the first records of their blocks. */
  private module: RegionModule | undefined;
  private readonly pending: Installed[] = [];
  private readonly waiting = new Set<number>();
  /** Samples of what waits, since its first region was added. */
  private patience = 0;
  private nextHandler = FIRST_COMPILED;
  /** Freed handlers: number of the first by how many there are. */
  private readonly free = new Map<number, number[]>();
  /** Bytes of the modules made since all code went. */
  private codeBytes = 0;
  /** Functions made so far. */
  compiled = 0;

  constructor(policy: CompilePolicy, parts: CompilerParts, views: ControlBlock, cache: CodeCache, mode: CodeMode) {
    this.policy = policy;
    this.parts = parts;
    this.views = views;
    this.cache = cache;
    this.mode = mode;
    this.table = parts.interpreter.handlers as WebAssembly.Table;
    cache.listen({ pageDropped: (page) => this.dropped(page), emptied: () => this.emptied() });
  }

  /** The interpreter stands at this block. May empty the code cache, to have room for handlers again. */
  sample(record: number): void {
    // What waits is interpreted still, and may be all that runs.
    if (this.waiting.has(record)) {
      if (++this.patience >= this.policy.patience) this.finishModule();
      return;
    }
    if (this.isCompiled(record)) return;
    this.readJumps();
    const count = (this.samples.get(record) ?? 0) + 1;
    this.samples.set(record, count);
    const { outgrown } = this;
    if (outgrown) {
      this.remove(outgrown);
      this.compile(outgrown.records[0]!);
    } else if (count >= this.policy.samples && Number.isInteger(Math.log2(count / this.policy.samples))) this.compile(record);
  }

  /** Takes in what the ring of computed jumps holds. */
  private readJumps(): void {
    const { views, jumpTargets } = this;
    const { jumpLog } = this.parts;
    const written = views.i32[jumpLog >> 2]!;
    const count = Math.min(JUMPS_A_SAMPLE, (written - this.jumpsRead) >>> 0);
    for (let i = written - count; i !== written; i++) {
      const word = (jumpLog + JUMP_LOG_FIRST + (i & (JUMP_LOG_ENTRIES - 1)) * JUMP_LOG_ENTRY_SIZE) >> 2;
      const record = views.i32[word + 2]!;
      let targets = jumpTargets.get(record);
      if (!targets) jumpTargets.set(record, (targets = new Set()));
      const target = views.i32[word + 1]! * 2 ** 32 + views.u32[word]!;
      if (targets.size >= MAX_JUMP_TARGETS || targets.has(target)) continue;
      targets.add(target);
      const region = this.jumping.get(record);
      if (region && ++region.unknownTargets >= Math.max(UNKNOWN_TARGETS, region.records.length / 4)) this.outgrown = region;
    }
    this.jumpsRead = written;
    if (jumpTargets.size > MAX_JUMPS) jumpTargets.clear();
  }

  private isCompiled(record: number): boolean {
    return this.views.u16[(record + REC_HANDLER) >> 1]! >= FIRST_COMPILED || this.waiting.has(record);
  }

  private handlerOf(record: number): number {
    const { u16 } = this.views;
    const handler = u16[(record + REC_HANDLER) >> 1]!;
    return handler >= FIRST_COMPILED ? this.originals[handler - FIRST_COMPILED]! : handler;
  }

  private blockAt(record: number): Block | undefined {
    let block = this.blocks.get(record);
    if (block !== undefined) return block ?? undefined;
    const { views, mode, parts } = this;
    const read = readBlock(views, parts.meanings, record, mode.bits === 64 ? 'long' : 'legacy', (at) => this.handlerOf(at));
    block = read && !crosses(views, read, mode.csBase) ? read : null;
    this.blocks.set(record, block);
    return block ?? undefined;
  }

  private surroundings(): Surroundings {
    const { cache, mode } = this;
    return {
      blockAt: (record) => this.blockAt(record),
      isCompiled: (record) => this.isCompiled(record),
      find: (rip, from) => {
        const linear = rip + mode.csBase;
        if (pageNumber(linear) === pageNumber(from.rip + mode.csBase)) {
          const found = cache.pageOf(from.first)?.blocks.get(offsetInPage(linear));
          if (found !== undefined) return found;
        }
        return cache.cached((rip % 2 ** 32) | 0, Math.floor(rip / 2 ** 32) | 0);
      },
      targetsOf: (jump) => this.jumpTargets.get(jump) ?? [],
      worthwhile: (blocks) => this.worthwhile(blocks),
    };
  }

  private compile(record: number): void {
    const { mode } = this;
    if (mode.bits === 16 || (mode.bits === 32 && !mode.flat)) return;
    const region = regionFrom(this.surroundings(), record, this.policy.single);
    if (!region) return;
    const shape = structure(region.successors, region.entries);
    const firstHandler = this.takeHandlers(shape.entries.length);
    if (!firstHandler) {
      this.cache.flushAll();
      return;
    }
    this.module ??= new RegionModule(this.parts);
    this.module.add(region, shape, {
      mode: mode.bits === 64 ? 'long' : 'legacy',
      csBase: mode.csBase,
      csLimit: mode.csLimit,
      firstHandler,
      handlerOf: (at) => this.handlerOf(at),
      stops: this.policy.until !== undefined,
    });
    const records = shape.entries.map((entry) => region.blocks[entry]!.first);
    for (const { first } of region.blocks) this.waiting.add(first);
    this.pending.push({
      firstHandler,
      records,
      pages: this.pagesOf(region.blocks),
      jumps: region.blocks.filter(({ ends }) => ends === 'computedJump').map(({ last }) => last),
      dropped: false,
      unknownTargets: 0,
    });
    if (this.pending.length >= this.policy.batch) this.finishModule();
  }

  /** The module being made is compiled, and what it holds put to use. */
  private finishModule(): void {
    const { module, pending, parts } = this;
    if (!module) return;
    const bytes = module.finish();
    // A module lives while any of its functions does: none is taken off before all are gone.
    this.codeBytes += bytes.length;
    if (this.codeBytes > this.policy.maxBytes) {
      this.cache.flushAll();
      return;
    }
    const run = instantiate(parts, new WebAssembly.Module(bytes));
    this.module = undefined;
    this.patience = 0;
    pending.forEach((region, i) => {
      // Its code may have changed while it waited.
      if (region.dropped) this.release(region);
      else this.install(region, run[i]!);
    });
    this.compiled += pending.length;
    pending.length = 0;
    this.waiting.clear();
  }

  private worthwhile(blocks: readonly Block[]): boolean {
    const { regionSamples, samplesPerInstruction } = this.policy;
    let seen = 0;
    let needed = regionSamples;
    for (const { first, instructions } of blocks) {
      seen += this.samples.get(first) ?? 0;
      needed += instructions * samplesPerInstruction;
    }
    return seen >= needed;
  }

  private pagesOf(blocks: Region['blocks']): Set<CodePage> {
    return new Set(blocks.map((block: Block) => this.cache.pageOf(block.first)!));
  }

  private install(region: Installed, run: WebAssembly.ExportValue): void {
    const { u16 } = this.views;
    region.records.forEach((record, i) => {
      const handler = region.firstHandler + i;
      this.table.set(handler - OUTLINED, run);
      this.originals[handler - FIRST_COMPILED] = this.handlerOf(record);
      // What another region enters at stays its entry.
      if (u16[(record + REC_HANDLER) >> 1]! < FIRST_COMPILED) u16[(record + REC_HANDLER) >> 1] = handler;
    });
    for (const jump of region.jumps) this.jumping.set(jump, region);
    for (const page of region.pages) {
      const set = this.regions.get(page);
      if (set) set.add(region);
      else this.regions.set(page, new Set([region]));
    }
  }

  /** The interpreter shall run this record itself, until the run ends. */
  interpret(record: number): void {
    const { u16 } = this.views;
    const handler = u16[(record + REC_HANDLER) >> 1]!;
    if (handler < FIRST_COMPILED) return;
    this.aside.push(record, handler);
    u16[(record + REC_HANDLER) >> 1] = this.originals[handler - FIRST_COMPILED]!;
  }

  /** Compiled code stands again for what was put aside. */
  runEnded(): void {
    const { aside } = this;
    if (!aside.length) return;
    const { u16 } = this.views;
    for (let i = 0; i < aside.length; i += 2) u16[(aside[i]! + REC_HANDLER) >> 1] = aside[i + 1]!;
    aside.length = 0;
  }

  /** Nothing that was put aside comes back: its code is about to go. */
  private forget(region: Installed): void {
    const { aside } = this;
    const end = region.firstHandler + region.records.length;
    for (let i = aside.length - 2; i >= 0; i -= 2)
      if (aside[i + 1]! >= region.firstHandler && aside[i + 1]! < end) aside.splice(i, 2);
  }

  private remove(region: Installed): void {
    const { u16 } = this.views;
    this.forget(region);
    region.records.forEach((record, i) => {
      const handler = region.firstHandler + i;
      if (u16[(record + REC_HANDLER) >> 1] === handler) {
        u16[(record + REC_HANDLER) >> 1] = this.originals[handler - FIRST_COMPILED]!;
      }
      this.table.set(handler - OUTLINED, null);
    });
    this.release(region);
    if (this.outgrown === region) this.outgrown = undefined;
    for (const jump of region.jumps) if (this.jumping.get(jump) === region) this.jumping.delete(jump);
    for (const page of region.pages) this.regions.get(page)?.delete(region);
  }

  private release(region: Installed): void {
    const { length } = region.records;
    const list = this.free.get(length);
    if (list) list.push(region.firstHandler);
    else this.free.set(length, [region.firstHandler]);
  }

  private takeHandlers(count: number): number {
    const freed = this.free.get(count)?.pop();
    if (freed !== undefined) return freed;
    if (this.nextHandler + count > HANDLER_LIMIT) return 0;
    this.nextHandler += count;
    return this.nextHandler - count;
  }

  /** The page's blocks are about to go. */
  private dropped(page: CodePage): void {
    for (const region of this.regions.get(page) ?? []) this.remove(region);
    for (const region of this.pending) if (region.pages.has(page)) region.dropped = true;
    this.regions.delete(page);
    for (const record of page.blocks.all()) {
      this.samples.delete(record);
      this.blocks.delete(record);
    }
  }

  private emptied(): void {
    this.aside.length = 0;
    this.module = undefined;
    this.pending.length = 0;
    this.waiting.clear();
    for (let handler = FIRST_COMPILED; handler < this.nextHandler; handler++) this.table.set(handler - OUTLINED, null);
    this.nextHandler = FIRST_COMPILED;
    this.codeBytes = 0;
    this.patience = 0;
    this.free.clear();
    this.regions.clear();
    this.samples.clear();
    this.blocks.clear();
    this.jumpTargets.clear();
    this.jumping.clear();
    this.outgrown = undefined;
  }
}
