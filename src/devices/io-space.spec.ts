import { lowBytes } from '../base/width.ts';
import { describe, expect, it } from 'vitest';
import { IoSpace, type IoRegion } from './io-space.ts';

/** A block of bytes that remembers how it was asked. */
class Block implements IoRegion {
  readonly name: string;
  readonly size: number;
  readonly widest: 1 | 2 | 4;
  readonly bytes: Uint8Array;
  readonly log: string[] = [];

  constructor(name: string, size: number, widest: 1 | 2 | 4 = 4) {
    this.name = name;
    this.size = size;
    this.widest = widest;
    this.bytes = Uint8Array.from({ length: size }, (_, i) => 0x10 + i);
  }

  read(offset: number, size: number): number {
    this.log.push(`r${size}@${offset}`);
    let value = 0;
    for (let i = 0; i < size; i++) value |= (this.bytes[offset + i] ?? 0) << (i * 8);
    return value;
  }

  write(offset: number, size: number, value: number): void {
    this.log.push(`w${size}@${offset}=${value.toString(16)}`);
    for (let i = 0; i < size; i++) this.bytes[offset + i] = value >>> (i * 8);
  }
}

function setUp(widest: 1 | 2 | 4 = 4) {
  const space = new IoSpace('memory');
  const block = new Block('block', 16, widest);
  space.add(block, 0x100);
  return { space, block };
}

describe('io space', () => {
  it('passes an aligned access whole, and answers ones where nobody decodes', () => {
    const { space, block } = setUp();
    expect(space.read(0x104, 4)).toBe(0x17161514);
    expect(block.log).toEqual(['r4@4']);
    expect(space.read(0x200, 2)).toBe(0xffff);
    expect(space.read(0x200, 8)).toBe(0xffffffff);
    expect(space.high).toBe(0xffffffff);
    space.write(0x200, 4, 1);
    expect(block.log).toHaveLength(1);
  });

  it('cuts at natural alignment and at the widest access', () => {
    const { space, block } = setUp();
    expect(space.read(0x101, 4)).toBe(0x14131211);
    expect(block.log).toEqual(['r1@1', 'r2@2', 'r1@4']);
    const narrow = setUp(1);
    expect(narrow.space.read(0x102, 2)).toBe(0x1312);
    expect(narrow.block.log).toEqual(['r1@2', 'r1@3']);
  });

  it('handles 8 bytes in halves, aligned or not, and reads back what it wrote at every offset', () => {
    const { space, block } = setUp();
    expect(space.read(0x100, 8)).toBe(0x13121110);
    expect(space.high).toBe(0x17161514);
    for (const widest of [1, 2, 4] as const) {
      for (const size of [1, 2, 4, 8]) {
        for (let offset = 0; offset + size <= 16; offset++) {
          const s = setUp(widest);
          s.space.write(0x100 + offset, size, 0x89abcdef, 0x01234567);
          const low = s.space.read(0x100 + offset, size);
          expect(low).toBe(lowBytes(0x89abcdef, size));
          expect(s.space.high).toBe(size === 8 ? 0x01234567 : 0);
          for (let i = 0; i < 16; i++) if (i < offset || i >= offset + size) expect(s.block.bytes[i]).toBe(0x10 + i);
        }
      }
    }
    block.log.length = 0;
    space.read(0x10f, 2);
    expect(block.log).toEqual(['r1@15']);
  });

  it('gives a piece to whoever decodes its first byte; the higher priority wins an overlap', () => {
    const space = new IoSpace('port');
    const index = new Block('pci-conf-idx', 4);
    const reset = new Block('reset', 1, 1);
    space.add(index, 0xcf8);
    space.add(reset, 0xcf9, { priority: 1 });
    space.write(0xcf8, 4, 0x80001804);
    space.write(0xcf9, 1, 6);
    expect(index.log).toEqual(['w4@0=80001804']);
    expect(reset.log).toEqual(['w1@0=6']);
  });

  it('tells probe and listener', () => {
    const seen: string[] = [];
    const space = new IoSpace('port', {
      read: (m, offset, size, value) => seen.push(`read ${m.logBase() + offset} ${size} ${value}`),
      write: (m, offset, size, value) => seen.push(`write ${m.logBase() + offset} ${size} ${value}`),
    });
    space.changes.add(() => seen.push(`mapped: ${space.mappings.map((m) => m.region.name).join()}`));
    const mapping = space.add(new Block('b', 4), 0x10, { logBase: () => 0xc100 });
    space.write(0x11, 1, 0x5a);
    space.read(0x11, 1);
    space.remove(mapping);
    expect(seen).toEqual(['mapped: b', `write ${0xc101} 1 90`, `read ${0xc101} 1 90`, 'mapped: ']);
    expect(space.read(0x11, 1)).toBe(0xff);
  });
});
