import { describe, expect, it } from 'vitest';
import { gfn, INVALID_MFN } from '../../base/address.ts';
import type { Gfn } from '../../base/address.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE } from '../../cpu/interface.ts';
import { MachineMemory } from './memory.ts';
import { PageAllocator, POISON } from './page-alloc.ts';
import { P2m, P2mAccess, P2mType } from './p2m.ts';

const domain = (seed = 1): { memory: MachineMemory; pages: PageAllocator; p2m: P2m } => {
  const memory = MachineMemory.create({ frames: 512, maxGfn: 0x1000 });
  const pages = new PageAllocator(memory, seed);
  return { memory, pages, p2m: new P2m(memory, pages, 1, 0) };
};

describe('p2m', () => {
  it('has nothing at first: mmio_dm, no frame, no rights', () => {
    const { p2m } = domain();
    for (const at of [0, 0xfff, 0x1000, 0xffffffff, -1, 1.5]) {
      expect([p2m.lookup(gfn(at)), p2m.getMfn(gfn(at)), p2m.getType(gfn(at))]).toEqual([0, INVALID_MFN, P2mType.mmioDm]);
    }
  });

  it('maps guest frames to machine frames by the seed, never to themselves and never in a run', () => {
    const maps = [1, 2, 3].map((seed) => {
      const { p2m } = domain(seed);
      expect(p2m.populate(gfn(0x10), 400)).toBe(400);
      return Array.from({ length: 400 }, (_, i) => p2m.getMfn(gfn(0x10 + i)) as number);
    });
    for (const map of maps) {
      expect(map.some((frame, i) => frame === 0x10 + i)).toBe(false);
      expect(map.some((frame, i) => i > 0 && frame === map[i - 1]! + 1)).toBe(false);
    }
    expect(maps[0]).not.toEqual(maps[1]);
    expect(maps[1]).not.toEqual(maps[2]);
  });

  it('gives the rights of EPT by type and access', () => {
    const { p2m } = domain();
    p2m.populate(gfn(1), 1);
    const frame = p2m.getMfn(gfn(1));
    const rights = (type: P2mType, access: P2mAccess = P2mAccess.rwx): number => {
      p2m.setEntry(gfn(1), frame, type, access);
      return p2m.lookup(gfn(1)) & 0xff;
    };
    expect(rights(P2mType.ramRw)).toBe(NPT_READ | NPT_WRITE | NPT_EXECUTE);
    expect(p2m.lookup(gfn(1)) >>> NPT_MFN_SHIFT).toBe(frame);
    expect(rights(P2mType.ramLogdirty)).toBe(NPT_READ | NPT_EXECUTE);
    expect(rights(P2mType.ioreqServer)).toBe(NPT_READ);
    expect(rights(P2mType.mmioDm)).toBe(0);
    expect(rights(P2mType.ramRw, P2mAccess.rx)).toBe(NPT_READ | NPT_EXECUTE);
    expect(rights(P2mType.ramRw, P2mAccess.n2rwx)).toBe(0);
  });

  it('keeps a frame given back until the last foreign mapping goes, then poisons it', () => {
    const { memory, pages, p2m } = domain();
    const changed: (Gfn | undefined)[] = [];
    p2m.populate(gfn(5), 2);
    p2m.changes.add((at) => changed.push(at));
    const frame = p2m.getMfn(gfn(5));
    const out = new Int32Array(3);
    p2m.foreignMap(gfn(5), 3, out);
    expect(out[0]).toBe(frame * 4096);
    expect(out[2]).toBe(-1);
    expect(p2m.decreaseReservation(gfn(5))).toBe(true);
    expect(p2m.decreaseReservation(gfn(5))).toBe(false);
    expect(changed).toEqual([5]);
    expect(p2m.lookup(gfn(5))).toBe(0);
    expect([pages.owner(frame), memory.u8[frame * 4096]]).toEqual([1, 0]);
    p2m.foreignUnmap(3, out);
    expect(memory.u8[frame * 4096]).toBe(POISON);
    expect(p2m.populate(gfn(5), 1)).toBe(1);
  });

  it('notes writes while log-dirty is on', () => {
    const { p2m } = domain();
    p2m.populate(gfn(0), 8);
    p2m.setLogDirty(true);
    expect(p2m.getType(gfn(3))).toBe(P2mType.ramLogdirty);
    p2m.markDirty(gfn(3));
    expect(p2m.changeType(gfn(3), P2mType.ramLogdirty, P2mType.ramRw)).toBe(true);
    expect(p2m.cleanDirty()).toEqual([3]);
    expect(p2m.cleanDirty()).toEqual([]);
    expect(p2m.getType(gfn(3))).toBe(P2mType.ramLogdirty);
    p2m.setLogDirty(false);
    expect(p2m.getType(gfn(3))).toBe(P2mType.ramRw);
  });

  it('places no frame twice and stops where memory ends', () => {
    const { p2m, pages } = domain();
    expect(p2m.populate(gfn(0), 100)).toBe(100);
    expect(p2m.populate(gfn(99), 5)).toBe(0);
    expect(p2m.populate(gfn(200), 1000)).toBe(412);
    expect(pages.freeFrames).toBe(0);
    expect(p2m.populate(gfn(0xfff), 2)).toBe(0);
  });
});
