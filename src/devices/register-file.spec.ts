import { describe, expect, it } from 'vitest';
import { RegisterFile } from './register-file.ts';
import type { RegisterDef } from './registers.ts';

const table = [
  { name: 'A', offset: 0, width: 1, access: 'rw', reset: 0x11, doc: '' },
  { name: 'B', offset: 1, width: 1, access: 'rw', powerOn: 0x22, writable: 0x0f, doc: '' },
  { name: 'W', offset: 2, width: 2, access: 'rw', reset: 0x4433, doc: '' },
  {
    name: 'L',
    offset: 4,
    width: 4,
    access: 'rw',
    lock: 'key',
    partial: { readb: 0b0100, writeb: 0b0001, readw: 0b0100 },
    doc: '',
  },
  { name: 'RO', offset: 8, width: 4, access: 'ro', reset: 0xffffffff, doc: '' },
] as const satisfies readonly RegisterDef[];

function setUp(hooks = {}) {
  let open = true;
  const file = new RegisterFile<(typeof table)[number]['name']>(table, 16, hooks, () => open);
  return { file, lock: () => void (open = false) };
}

describe('register file', () => {
  it('starts from power-on values and resets what a reset touches', () => {
    const { file } = setUp();
    expect([file.read(0, 1), file.read(1, 1), file.read(2, 2)]).toEqual([0x11, 0x22, 0x4433]);
    file.write(0, 4, 0xffffffff);
    file.reset();
    expect([file.read(0, 1), file.read(1, 1), file.read(2, 2)]).toEqual([0x11, 0x2f, 0x4433]);
  });

  it('lets a wide access fall apart into bytes, which only byte registers take', () => {
    const { file } = setUp();
    expect(file.read(0, 4)).toBe(0x2211);
    file.write(0, 4, 0x99887766);
    expect([file.read(0, 1), file.read(1, 1), file.read(2, 2)]).toEqual([0x66, 0x27, 0x4433]);
  });

  it('takes the partial accesses the table lists, and no other', () => {
    const { file } = setUp();
    file.write(4, 4, 0x12345678);
    expect([4, 5, 6, 7].map((at) => file.read(at, 1))).toEqual([0, 0, 0x34, 0]);
    expect([file.read(4, 2), file.read(6, 2)]).toEqual([0, 0x1234]);
    file.write(4, 1, 0xff);
    file.write(5, 1, 0xff);
    expect(file.read(4, 4)).toBe(0x123456ff);
  });

  it('splits an unaligned access into aligned ones', () => {
    const seen: [number, number][] = [];
    const { file } = setUp();
    file.log = (_write, _register, offset, size) => seen.push([offset, size]);
    expect(file.read(1, 4)).toBe(0x443322);
    expect(seen).toEqual([
      [1, 1],
      [2, 2],
      [4, 1],
    ]);
    seen.length = 0;
    file.write(2, 4, 0xaabbccdd);
    expect(seen).toEqual([
      [2, 2],
      [4, 1],
      [5, 1],
    ]);
    expect(file.read(2, 2)).toBe(0xccdd);
  });

  it('keeps locked and read-only registers', () => {
    const { file, lock } = setUp();
    file.write(8, 4, 0);
    expect(file.read(8, 4)).toBe(0xffffffff);
    lock();
    file.write(4, 4, 1);
    expect(file.read(4, 4)).toBe(0);
  });

  it('reads ones past the block and takes nothing there', () => {
    const { file } = setUp();
    expect([file.read(16, 1), file.read(16, 2), file.read(16, 4)]).toEqual([0xff, 0xffff, 0xffffffff]);
    file.write(16, 4, 1);
    expect(file.read(14, 4)).toBe(0xffff0000);
  });

  it('hooks see whole values', () => {
    const written: number[] = [];
    const { file } = setUp({ L: { read: () => 0x80000001, write: (v: number) => written.push(v) } });
    expect(file.read(4, 4)).toBe(0x80000001);
    expect(file.read(6, 1)).toBe(0);
    file.write(4, 1, 0x7f);
    file.write(4, 4, 0xfffffffe);
    expect(written).toEqual([0x7f, 0xfffffffe]);
  });
});
