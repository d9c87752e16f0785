/**
 * What a guest's own page tables map, read from outside: so that a story can name the guest-virtual address of a
 * buffer, which no record of Xen holds.
 */
import { pageOffset } from '../base/address.ts';

/** A run of linear addresses that maps a run of guest-physical ones. Page-aligned. */
export interface LinearRange {
  readonly gva: bigint;
  readonly gpa: number;
  readonly bytes: number;
}

/** Page-table entries looked at before the walk ends: tables may be shared and loop (Intel SDM 3A, 4.5). */
const MAX_ENTRIES = 2_000_000;
const MAX_RANGES = 100_000;
const PRESENT = 1;
const LARGE = 0x80;
const PML4_KERNEL = 256;

/**
 * Ranges mapped by the upper half of a 4-level address space, the largest first.
 * @param read64 low and high word at a guest-physical address; high −1 where no RAM lies there
 * @param cr3 guest-physical address of the PML4
 */
export function kernelRanges(read64: (gpa: number) => { low: number; high: number }, cr3: number): LinearRange[] {
  const ranges: { gva: bigint; gpa: number; bytes: number }[] = [];
  let left = MAX_ENTRIES;
  const walk = (table: number, level: number, base: bigint): void => {
    for (let i = level === 3 ? PML4_KERNEL : 0; i < 512 && left > 0 && ranges.length < MAX_RANGES; i++) {
      left--;
      const { low, high } = read64(table + i * 8);
      if (high < 0 || (low & PRESENT) === 0) continue;
      const size = 2 ** (12 + 9 * level);
      const gva = BigInt.asUintN(64, base + BigInt(i) * BigInt(size) + (level === 3 ? 0xffff_0000_0000_0000n : 0n));
      const address = (high & 0xfffff) * 2 ** 32 + ((low & 0xfffff000) >>> 0);
      if (level > 0 && (level === 3 || (low & LARGE) === 0)) {
        walk(address, level - 1, gva);
        continue;
      }
      const gpa = address - (address % size);
      const last = ranges[ranges.length - 1];
      if (last !== undefined && last.gpa + last.bytes === gpa && last.gva + BigInt(last.bytes) === gva) last.bytes += size;
      else ranges.push({ gva, gpa, bytes: size });
    }
  };
  walk(cr3 - pageOffset(cr3), 3, 0n);
  return ranges.sort((a, b) => b.bytes - a.bytes);
}

/** Linear address of a guest-physical one by the largest range that holds it: Linux' direct map. */
export function linearOf(ranges: readonly LinearRange[], gpa: number): bigint | undefined {
  const range = ranges.find((r) => gpa >= r.gpa && gpa < r.gpa + r.bytes);
  return range === undefined ? undefined : range.gva + BigInt(gpa - range.gpa);
}
