/** What the groups of helpers share. A helper gets the emitter's argument; the record in hand is core.record. */
import type { HelperGroup, HELPER_GROUPS } from '../../emit/helpers.ts';
import type { ExitReason } from '../../interface.ts';
import { CB_CR4, CB_SLOW_VA, CB_SLOW_VALUE, Cr4, Status, Vector } from '../../memory/control-block.ts';
import type { Linear } from '../../memory/memory-views.ts';
import { EXTRA_SEG_MASK, REC_A, REC_B, REC_EXTRA } from '../../records/record.ts';
import type { Core } from '../../system/core.ts';

/** Gives a Status or throws: see run/slow-paths.ts. */
export type Helper = (argument: number) => number;
/** The helpers of one group. */
export type Helpers<Group extends HelperGroup> = Record<(typeof HELPER_GROUPS)[Group][number], Helper>;

/** Operands and outcomes of the helper in hand. */
export class HelperContext {
  readonly core: Core;

  constructor(core: Core) {
    this.core = core;
  }

  /** ModRM.reg, as the decoder left it: a register's offset in the control block, or the number of a segment or control register. */
  fieldA(): number {
    return this.core.cb.u16[(this.core.record + REC_A) >> 1]!;
  }
  /** ModRM.rm likewise. */
  fieldB(): number {
    return this.core.cb.u16[(this.core.record + REC_B) >> 1]!;
  }
  /** Segment of the memory operand. */
  segment(): number {
    return this.core.cb.u8[this.core.record + REC_EXTRA]! & EXTRA_SEG_MASK;
  }
  /** The operand that the emitter left. */
  value16(): number {
    return this.core.cb.get(CB_SLOW_VALUE) & 0xffff;
  }
  /** Linear address of the memory operand, as the emitter left it. */
  address(): Linear {
    return this.core.cb.linear(CB_SLOW_VA);
  }

  /** CPL 0 or #GP(0). */
  privileged(): void {
    if (this.core.cpl !== 0) this.core.gp(0);
  }
  /** #UD in real and virtual-8086 mode. */
  protectedOnly(): void {
    const { core } = this;
    if (!core.protectedMode || core.vm86) core.raise(Vector.ud);
  }
  /** UMIP: what shows the system's tables is #GP(0) outside CPL 0. */
  umip(): void {
    const { core } = this;
    if (core.cb.get(CB_CR4) & Cr4.umip && core.cpl !== 0) core.gp(0);
  }

  /** The instruction is done; find the block behind it, because something that it depends on changed. */
  stepOver(): number {
    this.core.advance();
    return Status.jump;
  }
  /** An exit that the hypervisor steps over. */
  exits(reason: ExitReason): never {
    return this.core.leave(reason);
  }
}
