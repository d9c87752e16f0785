import { describe, expect, it } from 'vitest';
import { kernelRanges, linearOf } from './linear-map.ts';

/** Page tables in a map of words: PML4 at 0x1000, entry 273 the direct map in 2 MiB pages, entry 511 one 4 KiB page. */
function tables(): (gpa: number) => { low: number; high: number } {
  const memory = new Map<number, [number, number]>();
  const put = (at: number, low: number, high = 0): void => void memory.set(at, [low, high]);
  put(0x1000 + 273 * 8, 0x2003);
  put(0x2000, 0x3003);
  for (let i = 0; i < 8; i++) put(0x3000 + i * 8, (i * 0x200000) | 0x83);
  put(0x1000 + 511 * 8, 0x4003);
  put(0x4000 + 511 * 8, 0x5003);
  put(0x5000, 0x6003);
  put(0x6000 + 7 * 8, 0xf0000003, 0x80000000); // no-execute
  put(0x1000 + 300 * 8, 0x1003); // a loop
  put(0x1000, 0x7003); // user half: not looked at
  return (gpa) => {
    if (gpa >= 0x100000) return { low: 0, high: -1 };
    const [low, high] = memory.get(gpa) ?? [0, 0];
    return { low, high: high >>> 0 };
  };
}

describe('linear map of a guest kernel', () => {
  it('finds the direct map first, and a single page', () => {
    const ranges = kernelRanges(tables(), 0x1000);
    expect(ranges[0]).toEqual({ gva: 0xffff_8880_0000_0000n, gpa: 0, bytes: 16 << 20 });
    expect(linearOf(ranges, 0x518302)).toBe(0xffff_8880_0051_8302n);
    expect(linearOf(ranges, 0xf00000d9)).toBe(0xffff_ffff_c000_70d9n);
    expect(linearOf(ranges, 0x7fff_0000)).toBeUndefined();
  });

  it('ends where tables loop', () => {
    const loop = kernelRanges((gpa) => ({ low: gpa % 4096 === 300 * 8 || gpa >= 0 ? 0x1003 : 0, high: 0 }), 0x1000);
    expect(Array.isArray(loop)).toBe(true);
  });
});
