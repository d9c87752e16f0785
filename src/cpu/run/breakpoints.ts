/** What the debug registers arm. Source: SDM vol. 3B, 18.2. */
import { CB_DR, CB_DR6, CB_DR7, CB_RFLAGS, CB_RIP, Flag } from '../memory/control-block.ts';
import type { Core } from '../system/core.ts';
import type { Events } from '../system/events.ts';

export class Breakpoints {
  /** Instruction breakpoints are armed. */
  onInstructions = false;
  private readonly core: Core;
  private readonly events: Events;

  constructor(core: Core, events: Events) {
    this.core = core;
    this.events = events;
  }

  /** DR0 to DR7 were written. */
  update(): void {
    const { core } = this;
    const { cb, mmu } = core;
    const dr7 = cb.get(CB_DR7);
    core.dataBreakpoints = [];
    this.onInstructions = false;
    for (let i = 0; i < 4; i++) {
      if (!((dr7 >> (2 * i)) & 3)) continue;
      const kind = (dr7 >> (16 + 4 * i)) & 3;
      if (kind === 0) this.onInstructions = true;
      else {
        const length = [1, 2, 8, 4][(dr7 >> (18 + 4 * i)) & 3]!;
        const address = cb.linear(CB_DR + i * 8);
        core.dataBreakpoints.push({ index: i, address: address - (address & (length - 1)), length, reads: kind === 3 });
      }
    }
    this.events.keepsRf = this.onInstructions;
    const slow = core.dataBreakpoints.length > 0;
    if (slow !== mmu.slowOnly) {
      mmu.slowOnly = slow;
      mmu.selectSet();
    }
  }

  /** Is RIP at an instruction breakpoint? DR6 says which. */
  hit(): boolean {
    const { cb } = this.core;
    if (cb.get(CB_RFLAGS) & Flag.rf) return false;
    const dr7 = cb.get(CB_DR7);
    const lin = this.core.mode.bits === 64 ? this.core.rip : (this.core.mode.csBase + cb.get(CB_RIP)) >>> 0;
    let hits = 0;
    for (let i = 0; i < 4; i++) {
      if ((dr7 >> (2 * i)) & 3 && !((dr7 >> (16 + 4 * i)) & 3) && cb.linear(CB_DR + i * 8) === lin) hits |= 1 << i;
    }
    if (hits) cb.set(CB_DR6, (cb.get(CB_DR6) & ~15) | hits);
    return hits !== 0;
  }
}
