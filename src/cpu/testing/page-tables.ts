/** Four-level page tables for guests of tests. */
import { PAGE_SIZE } from '../../base/address.ts';

/** Guest memory by guest-physical address. */
export interface GuestMemory {
  write(gpa: number, bytes: Uint8Array): void;
  readU64(gpa: number): bigint;
  writeU64(gpa: number, value: bigint): void;
}

/** Page-table entry bits (SDM vol. 3A table 4-20). */
export const Pte = {
  present: 1n,
  write: 2n,
  user: 4n,
  accessed: 0x20n,
  dirty: 0x40n,
  large: 0x80n,
  global: 0x100n,
  noExecute: 1n << 63n,
} as const;

/** Four-level page tables built in guest frames. */
export class PageTables {
  readonly root: number;
  private next: number;
  private readonly machine: GuestMemory;
  private readonly limit: number;

  /** Tables take frames from gpa `first` on, at most `count`. */
  constructor(machine: GuestMemory, first: number, count: number) {
    this.machine = machine;
    this.next = first;
    this.limit = first + count * PAGE_SIZE;
    this.root = this.take();
  }

  private take(): number {
    const page = this.next;
    if (page >= this.limit) throw new RangeError('no frame left for page tables');
    this.next += PAGE_SIZE;
    this.machine.write(page, new Uint8Array(PAGE_SIZE));
    return page;
  }

  /** Guest-physical address of the entry that maps `linear` at `level` (1 = PTE, 2 = PDE, …), made with its parents. */
  entry(linear: bigint, level = 1): number {
    let table = this.root;
    for (let at = 4; ; at--) {
      const index = Number((linear >> BigInt(12 + 9 * (at - 1))) & 0x1ffn);
      const slot = table + index * 8;
      if (at === level) return slot;
      let entry = this.machine.readU64(slot);
      if (!(entry & Pte.present)) {
        entry = BigInt(this.take()) | Pte.present | Pte.write | Pte.user;
        this.machine.writeU64(slot, entry);
      }
      table = Number(entry & 0xffffffffff000n);
    }
  }

  map(linear: bigint, gpa: number, flags: bigint, level = 1): void {
    this.machine.writeU64(this.entry(linear, level), BigInt(gpa) | flags | Pte.present | (level > 1 ? Pte.large : 0n));
  }
}
