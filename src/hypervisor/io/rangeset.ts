/** A set of whole numbers as inclusive ranges (Xen: common/rangeset.c), in machine memory; its lock is the owner's. */
import { E2BIG } from '../../abi/errno.ts';
import type { Maddr } from '../../base/address.ts';
import type { MachineMemory } from '../mm/memory.ts';

/** Bytes of a set of at most `limit` ranges: f64 count, then start and end of each. */
export const rangesetSize = (limit: number): number => 8 + limit * 16;

export class Rangeset {
  private readonly f64: Float64Array;
  private readonly at: number;
  private readonly limit: number;

  constructor(memory: MachineMemory, base: Maddr, limit: number) {
    this.f64 = memory.f64;
    this.at = base / 8;
    this.limit = limit;
  }

  get count(): number {
    return this.f64[this.at]!;
  }

  clear(): void {
    this.f64[this.at] = 0;
  }

  /** True when one range holds all of start … end. */
  containsRange(start: number, end: number): boolean {
    for (let i = 0; i < this.count; i++) {
      if (this.start(i) <= start && end <= this.end(i)) return true;
    }
    return false;
  }

  overlapsRange(start: number, end: number): boolean {
    for (let i = 0; i < this.count; i++) {
      if (this.start(i) <= end && start <= this.end(i)) return true;
    }
    return false;
  }

  /** Adds start … end, joined with what touches it; −E2BIG when there is no room for one more. */
  addRange(start: number, end: number): number {
    let from = start;
    let to = end;
    for (let i = this.count - 1; i >= 0; i--) {
      if (this.start(i) > to + 1 || this.end(i) < from - 1) continue;
      from = Math.min(from, this.start(i));
      to = Math.max(to, this.end(i));
      this.remove(i);
    }
    return this.append(from, to) ? 0 : -E2BIG;
  }

  /** Takes start … end out; a range may fall in two. −E2BIG when there is no room for that. */
  removeRange(start: number, end: number): number {
    for (let i = this.count - 1; i >= 0; i--) {
      const from = this.start(i);
      const to = this.end(i);
      if (from > end || to < start) continue;
      if (from < start && to > end && this.count === this.limit) return -E2BIG;
      this.remove(i);
      if (from < start) this.append(from, start - 1);
      if (to > end) this.append(end + 1, to);
    }
    return 0;
  }

  private start(i: number): number {
    return this.f64[this.at + 1 + i * 2]!;
  }

  private end(i: number): number {
    return this.f64[this.at + 2 + i * 2]!;
  }

  private append(start: number, end: number): boolean {
    const { count } = this;
    if (count === this.limit) return false;
    this.f64[this.at + 1 + count * 2] = start;
    this.f64[this.at + 2 + count * 2] = end;
    this.f64[this.at] = count + 1;
    return true;
  }

  private remove(i: number): void {
    const last = this.count - 1;
    this.f64[this.at + 1 + i * 2] = this.start(last);
    this.f64[this.at + 2 + i * 2] = this.end(last);
    this.f64[this.at] = last;
  }
}
