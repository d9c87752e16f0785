/**
 * The log byte of Xen's platform device (port 0x12): every byte written goes to the machine's log. The rest of that
 * device, the unplug protocol at ports 0x10 to 0x13, is left out on purpose: a guest that finds it unplugs its
 * emulated NIC. Source: Xen, docs/misc/hvm-emulated-unplug.pandoc.
 */
import type { IoRegion } from './io-space.ts';

export const PLATFORM_LOG_PORT = 0x12;

/** A port that hands every byte written to `take` and reads as ones. */
export const debugPort = (take: (byte: number) => void): IoRegion => ({
  name: 'xen-fixed-log',
  size: 1,
  widest: 1,
  read: () => 0xff,
  write: (_offset, _size, value) => take(value),
});
