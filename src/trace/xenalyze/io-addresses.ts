import { CycleSummary } from './cycles.ts';
import type { HvmState, IoAddress } from './domains.ts';

/** Addresses counted one by one, for each vCPU; all others share the last place. */
const ADDRESSES_MAX = 65_536;
const OTHER_ADDRESSES = 0xffffffff;
const MMIO_VGA_START = 0xa0000;
const MMIO_VGA_END = 0xbffff;

/** The entry of a port or an address, made when first seen. */
export function address(table: Map<number, IoAddress>, at: number, va: number): IoAddress {
  let entry = table.get(at);
  if (entry === undefined) {
    if (table.size >= ADDRESSES_MAX && at !== OTHER_ADDRESSES) return address(table, OTHER_ADDRESSES, 0);
    entry = { address: at, va, read: new CycleSummary(), write: new CycleSummary() };
    table.set(at, entry);
  }
  return entry;
}

/** Count an access under its address, the VGA window left out. */
export function enumerateMmio(h: HvmState): void {
  const low = h.mmioGpaLow >>> 0;
  if (h.mmioGpaHigh === 0 && low >= MMIO_VGA_START && low < MMIO_VGA_END) {
    h.vga = true;
    return;
  }
  if (!h.mmioDataValid) return;
  const entry = address(h.mmioAddresses, low, h.mmioVa);
  (h.mmioIsWrite ? entry.write : entry.read).add(h.arcCycles);
}
