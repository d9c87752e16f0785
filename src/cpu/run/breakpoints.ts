/** What the debug registers arm. Source: SDM vol. 3B, 18.2. */
import type { CodeFetch } from './code-fetch.ts';
import { CB_DR, CB_RFLAGS, CB_RIP, Flag } from '../memory/control-block.ts';
import type { Core } from '../system/core.ts';
import type { Events } from '../system/events.ts';

export class Breakpoints {
  /** Instruction breakpoints are armed. */
  onInstructions = false;
  private readonly core: Core;
  private readonly events: Events;
  private readonly fetch: CodeFetch;

  constructor(core: Core, events: Events, fetch: CodeFetch) {
    this.core = core;
    this.events = events;
    this.fetch = fetch;
  }

  /** DR0 to DR7 were written. */
  update(): void {
    const { core } = this;
    const { cb, mmu } = core;
    const dr7 = cb.get(CB_DR + 7 * 8);
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
    const dr7 = cb.get(CB_DR + 7 * 8);
    const lin = this.fetch.bits === 64 ? this.core.rip : (this.fetch.csBase + cb.get(CB_RIP)) >>> 0;
    let hits = 0;
    for (let i = 0; i < 4; i++) {
      if ((dr7 >> (2 * i)) & 3 && !((dr7 >> (16 + 4 * i)) & 3) && cb.linear(CB_DR + i * 8) === lin) hits |= 1 << i;
    }
    if (hits) cb.set(CB_DR + 6 * 8, (cb.get(CB_DR + 6 * 8) & ~15) | hits);
    return hits !== 0;
  }
}
