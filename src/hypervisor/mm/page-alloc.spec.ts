import { describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../../base/address.ts';
import type { Mfn } from '../../base/address.ts';
import { MachineMemory } from './memory.ts';
import { DOMID_FREE, PageAllocator, POISON } from './page-alloc.ts';

const machine = (frames: number, seed: number): { memory: MachineMemory; pages: PageAllocator } => {
  const memory = MachineMemory.create({ frames, maxGfn: 0x1000 });
  return { memory, pages: new PageAllocator(memory, seed) };
};

const takeAll = (pages: PageAllocator): number[] => {
  const frames: number[] = [];
  for (let f = pages.alloc(1); f !== undefined; f = pages.alloc(1)) frames.push(f);
  return frames;
};

describe('frame allocator', () => {
  it('hands out every frame once, in no run, and by the seed alone', () => {
    const orders = [1, 2, 3].map((seed) => takeAll(machine(2048, seed).pages));
    for (const order of orders) {
      expect(new Set(order).size).toBe(2048);
      expect(order.filter((f, i) => i > 0 && Math.abs(f - order[i - 1]!) === 1 && i < 2044)).toEqual([]);
    }
    expect(orders[0]).not.toEqual(orders[1]);
    expect(orders[1]).not.toEqual(orders[2]);
    expect(takeAll(machine(2048, 2).pages)).toEqual(orders[1]);
  });

  it('never gives a frame the number it was told to avoid', () => {
    const { pages } = machine(256, 7);
    const next = takeAll(machine(256, 7).pages)[0]!;
    expect(pages.alloc(1, next)).not.toBe(next);
  });

  it('frees a frame with its last reference, poisons it, and scrubs it before it is handed out again', () => {
    const { memory, pages } = machine(8, 1);
    const frame = pages.alloc(3)!;
    expect(pages.owner(frame)).toBe(3);
    expect(pages.getPage(frame, 4)).toBe(false);
    expect(pages.getPage(frame, 3)).toBe(true);
    memory.u8[frame * PAGE_SIZE] = 1;
    pages.putPageAllocRef(frame);
    pages.putPageAllocRef(frame);
    expect(memory.u8[frame * PAGE_SIZE]).toBe(1);
    expect(pages.references(frame)).toBe(1);
    pages.putPage(frame);
    expect(pages.owner(frame)).toBe(DOMID_FREE);
    expect(memory.frame(frame).every((byte) => byte === POISON)).toBe(true);
    expect(pages.getPage(frame, 3)).toBe(false);
    expect(() => pages.putPage(frame)).toThrow(/twice/);
    expect(takeAll(pages)).toContain(frame);
    expect(memory.frame(frame).every((byte) => byte === 0)).toBe(true);
  });

  it('is one allocator for all threads attached to the memory', () => {
    const { memory, pages } = machine(64, 5);
    const other = new PageAllocator(new MachineMemory(memory.memory, memory.layout), 99);
    const mine = pages.alloc(1) as Mfn;
    expect(other.owner(mine)).toBe(1);
    expect(other.freeFrames).toBe(63);
    expect(other.alloc(1)).not.toBe(mine);
  });

  it('poisons what nobody holds, and only that', () => {
    const { memory, pages } = machine(16, 1);
    const frame = pages.alloc(1)!;
    pages.poisonFree();
    const first = memory.layout.firstFrame;
    for (let f = first as number; f < first + 16; f++) {
      expect(memory.u8[f * PAGE_SIZE + 100]).toBe(f === frame ? 0 : POISON);
    }
  });
});
