/** The mode that the vCPU runs in, as far as it decides how code is decoded and which cached translations count. */
import { MAX_CONTEXTS, type CodeCache } from '../decode/code-cache.ts';
import type { Decoder } from '../decode/decoder.ts';
import { Seg } from '../interface.ts';
import {
  CB_CPL,
  CB_CR0,
  CB_CR4,
  CB_EFER,
  CB_FPU_TRAP,
  CB_SEG,
  Cr0,
  Cr4,
  Efer,
  Rights,
  SEG_ACCESS,
  SEG_BASE,
  SEG_HIGH,
  SEG_LIMIT,
  SEG_LOW,
  SEG_MAY,
  SEG_SIZE,
} from '../memory/control-block.ts';
import type { ControlBlock } from '../memory/memory-views.ts';
import type { Mmu } from '../memory/mmu.ts';

export class Mode {
  /** Code segment: 64-bit, or its default size. */
  bits: 16 | 32 | 64 = 16;
  /** Linear address of CS:0; 0 in 64-bit mode. */
  csBase = 0;
  /** Last offset in CS that code may lie at, outside 64-bit mode. */
  csLimit = 0;
  /** In 32-bit code: ES, SS and DS begin at 0, reach over 4 GiB and may be read and written, and the stack pointer has 32 bits. */
  flat = false;
  /** Number of this size, base, limit and flatness: blocks decoded in one context are not run in another. */
  context = 0;
  private readonly contexts = new Map<string, number>();
  private readonly cb: ControlBlock;
  private readonly mmu: Mmu;
  private readonly decoder: Decoder;
  private readonly cache: CodeCache;

  constructor(cb: ControlBlock, mmu: Mmu, decoder: Decoder, cache: CodeCache) {
    this.cb = cb;
    this.mmu = mmu;
    this.decoder = decoder;
    this.cache = cache;
  }

  /** Privilege, CS, CR0, CR4, EFER or RFLAGS.AC may have changed. */
  update(): void {
    const { cb } = this;
    const access = cb.get(CB_SEG + Seg.cs * SEG_SIZE + SEG_ACCESS);
    const long = (cb.get(CB_EFER) & Efer.lma) !== 0 && (access & Rights.long) !== 0;
    const bits = long ? 64 : access & Rights.big ? 32 : 16;
    this.bits = bits;
    this.csBase = long ? 0 : cb.get(CB_SEG + Seg.cs * SEG_SIZE + SEG_BASE);
    this.csLimit = long ? 0xffffffff : cb.get(CB_SEG + Seg.cs * SEG_SIZE + SEG_LIMIT);
    this.decoder.setMode(bits);
    this.flat = this.isFlat();
    this.context = this.contextOf(`${bits}:${this.csBase}:${this.csLimit}:${this.flat}`);
    this.mmu.selectSet();
    this.cache.selectJumpCache(cb.get(CB_CPL) === 3, this.context);
    const cr0 = cb.get(CB_CR0);
    const sse = cr0 & (Cr0.em | Cr0.ts) || !(cb.get(CB_CR4) & Cr4.osfxsr);
    cb.set(CB_FPU_TRAP, (cr0 & (Cr0.em | Cr0.ts) ? 1 : 0) | (sse ? 2 : 0));
  }

  /** ES, SS or DS was loaded. */
  dataSegmentLoaded(): void {
    if (this.isFlat() !== this.flat) this.update();
  }

  private isFlat(): boolean {
    const { cb } = this;
    if (this.bits !== 32) return false;
    for (const segment of [Seg.es, Seg.ss, Seg.ds]) {
      const at = CB_SEG + segment * SEG_SIZE;
      if (cb.get(at + SEG_BASE) || cb.get(at + SEG_LOW) || cb.get(at + SEG_HIGH) !== 0xffffffff || cb.get(at + SEG_MAY) !== 3)
        return false;
    }
    return (cb.get(CB_SEG + Seg.ss * SEG_SIZE + SEG_ACCESS) & Rights.big) !== 0;
  }

  /** A guest may run code in any number of segments: when the numbers are used up, what was decoded goes, and they begin anew. */
  private contextOf(key: string): number {
    let context = this.contexts.get(key);
    if (context === undefined) {
      if (this.contexts.size === MAX_CONTEXTS) {
        this.contexts.clear();
        this.cache.flushAll();
      }
      context = this.contexts.size;
      this.contexts.set(key, context);
    }
    return context;
  }
}
