import { describe, expect, it } from 'vitest';
import { maddr } from '../../base/address.ts';
import { Lock, LockOrder } from './lock.ts';
import { machineLayout, MachineMemory } from './memory.ts';

describe('machine memory', () => {
  it('lays its areas out without overlap, the frames last', () => {
    const layout = machineLayout({ frames: 1024, vcpus: 2, engineAreaSize: 100_000, pcpus: 3, guests: 2, maxGfn: 0x2000 });
    const areas = [
      layout.xenheap,
      layout.frameTable,
      layout.freeList,
      ...layout.p2m,
      layout.traceInfo,
      ...layout.traceBuffers,
      ...layout.engineArea,
    ];
    let end = 4096;
    for (const { base, size } of areas) {
      expect(base).toBeGreaterThanOrEqual(end);
      end = base + size;
    }
    expect(layout.engineArea.map((a) => [a.base % 0x10000, a.size])).toEqual([
      [0, 0x20000],
      [0, 0x20000],
    ]);
    expect(layout.firstFrame * 4096).toBeGreaterThanOrEqual(end);
    expect(layout.size).toBe((layout.firstFrame + 1024) * 4096);
  });

  it('refuses more than a 32-bit memory holds', () => {
    expect(() => machineLayout({ frames: 0x100000 })).toThrow(/4096 MiB: give the guest less memory/);
  });

  it("finds a named structure again from another thread's view", () => {
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    const a = memory.xenheap('a', 100);
    const b = memory.xenheap('b', 8);
    expect(b).toBeGreaterThanOrEqual(a + 100);
    const other = new MachineMemory(memory.memory, memory.layout);
    expect([other.xenheap('b', 8), other.xenheap('a', 100)]).toEqual([b, a]);
    expect(() => other.xenheap('a', 101)).toThrow(/100 bytes long/);
    expect([...other.xenheapEntries()].map((e) => e.name)).toEqual(['a', 'b']);
    expect(() => memory.xenheap('c', 1 << 24)).toThrow(/full/);
  });
});

describe('locks', () => {
  it('refuse to be taken out of order, twice, or released out of turn', () => {
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    const base = memory.xenheap('locks', 64);
    const event = new Lock(memory, base, LockOrder.event, 'event');
    const irq = new Lock(memory, maddr(base + 4), LockOrder.irq, 'irq');
    irq.acquire();
    expect(() => event.acquire()).toThrow(/'event' \(rank 30\) taken while a lock of rank 60/);
    irq.release();
    event.acquire();
    irq.acquire();
    expect(() => irq.acquire()).toThrow(/lock order/);
    expect(() => event.release()).toThrow(/not the last/);
  });
});
