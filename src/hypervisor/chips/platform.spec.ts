import { describe, expect, it } from 'vitest';
import { lapicRegisters } from '../../abi/registers/lapic.ts';
import { VirtualClock } from '../time/clock.ts';
import { NR_GSIS } from './irq.ts';
import { MachineMemory } from '../mm/memory.ts';
import { platformMachine } from '../testing/platform.ts';

/** A small generator with a seed (numerical recipes' LCG). */
const generator = (seed: number) => {
  let state = seed >>> 0;
  return (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
};

type Machine = ReturnType<typeof platformMachine>;
type Step = (m: Machine) => unknown;

const PORTS = [0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x4d0, 0x4d1, 0xb000, 0xb002, 0xb008] as const;
const INTERESTING = [
  0, 1, 2, 3, 0x10, 0x30, 0x34, 0x36, 0x55, 0x7f, 0x80, 0xb0, 0xe2, 0xff, 0x100, 0x1ff, 0x8030, 0xa030, 0x10000, 0x20031, 0x40032,
  0x7fffffff, 0x80000000, 0xffffffff,
] as const;

/** One act of a guest that means no good, of a device, or of time. */
function randomStep(next: (below: number) => number): Step {
  const value = next(3) ? INTERESTING[next(INTERESTING.length)]! : next(2 ** 32);
  const lapic = 0xfee00000 + lapicRegisters[next(lapicRegisters.length)]!.offset;
  const hpet = 0xfed00000 + [0, 4, 0x10, 0x20, 0xf0, 0xf4, 0x100, 0x108, 0x10c, 0x120, 0x128, 0x140, 0x148][next(13)]!;
  const port = PORTS[next(PORTS.length)]!;
  const [line, level] = [next(32), next(2) === 1];
  switch (next(12)) {
    case 0:
    case 1:
      return (m) => m.outb(port, value & 0xff);
    case 2:
      return (m) => m.inb(port);
    case 3:
      return (m) => m.mmioWrite(lapic, value);
    case 4:
      return (m) => m.mmioRead(lapic);
    case 5:
      return (m) => m.mmioWrite(hpet, value);
    case 6:
      return (m) => m.mmioRead(hpet);
    case 7:
      return (m) => m.redirect(line, value);
    case 8:
      return (m) => m.hub.setPciIntxLevel(line, 0, level);
    case 9:
      return (m) => (line < 16 ? m.hub.setIsaIrqLevel(line, level) : m.hub.setPciLinkRoute(line & 3, line & 15));
    case 10:
      return (m) => {
        const vector = m.take();
        const pic = m.controllers.vpicAckPendingIrq(0);
        return [vector, pic];
      };
    default:
      return (m) => m.advance(value % 3_000_000);
  }
}

/** An access the local APIC does not take where it was moved or turned off is no fault of a chip. */
const act = (m: Machine, step: Step): unknown => {
  try {
    return step(m);
  } catch (error) {
    if (/was not served/.test((error as Error).message)) return 'not served';
    throw error;
  }
};

const STEPS = 400;

describe('platform devices under a hostile guest', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'neither throw nor keep a lock, and go on from a copy of machine memory (seed %i)',
    (seed) => {
      const next = generator(seed);
      const steps = Array.from({ length: STEPS }, () => randomStep(next));
      const cut = next(STEPS);
      const first = platformMachine();
      let second: Machine | undefined;
      steps.forEach((step, i) => {
        if (i === cut) {
          const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
          memory.u8.set(first.memory.u8);
          const clock = new VirtualClock();
          clock.skipTo(first.clock.nowNs());
          second = platformMachine(memory, clock);
        }
        const result = act(first, step);
        if (second) expect(act(second, step), `step ${i}`).toEqual(result);
        expect(first.memory.heldLocks).toEqual([]);
      });
      expect(second!.clock.nowNs()).toBe(first.clock.nowNs());
      for (let gsi = 0; gsi < NR_GSIS; gsi++) {
        expect(first.hub.gsiAssertCount(gsi)).toBe(second!.hub.gsiAssertCount(gsi));
        expect(first.hub.gsiAssertCount(gsi)).toBeLessThan(64);
      }
      const heap = (m: Machine): Uint8Array =>
        m.memory.u8.slice(m.memory.layout.xenheap.base, m.memory.layout.xenheap.base + m.memory.layout.xenheap.size);
      expect(Buffer.from(heap(first)).equals(Buffer.from(heap(second!)))).toBe(true);
    },
  );
});
