/**
 * The chip's lines as data: QEMU's trace events `ne2000_*` word for word, and what its debug switch (DEBUG_NE2000) printed before; the
 * chip writes the events, its reading reads both.
 */
import { event, plain, readerBehind } from '../../../base/log-line.ts';
import type { DebugLog } from '../../interfaces.ts';
import { NE2K_PAGED_PORTS } from './registers.ts';

const QEMU = 'QEMU 5.0 and later';
const OLD = 'QEMU up to 4.2, DEBUG_NE2000';

export const lines = {
  read: event(QEMU, 'ne2000_read read addr=0x{addr:x} val=0x{value:x}'),
  write: event(QEMU, 'ne2000_write write addr=0x{addr:x} val=0x{value:x}'),
  ioportRead: event(QEMU, 'ne2000_ioport_read io read addr=0x{addr:x2} val=0x{value:x2}'),
  ioportWrite: event(QEMU, 'ne2000_ioport_write io write addr=0x{addr:x2} val=0x{value:x2}'),
  oldRead: plain(OLD, 'NE2000: read addr=0x{addr:x} val={value:x2}'),
  oldWrite: plain(OLD, 'NE2000: write addr=0x{addr:x} val=0x{value:x2}'),
  oldAsicRead: plain(OLD, 'NE2000: asic read val=0x{value:x4}', { by: OLD, text: 'NE2000: asic readl val=0x{value:x4}' }),
  oldAsicWrite: plain(OLD, 'NE2000: asic write val=0x{value:x4}', { by: OLD, text: 'NE2000: asic writel val=0x{value:x4}' }),
  oldSetIrq: plain(OLD, 'NE2000: Set IRQ to {level:d} ({status:x2} {mask:x2})'),
} as const;

/** Reads a line's text without the chip's name. */
export const readLine = readerBehind('NE2000: ', 'ne2000_');

/**
 * Puts the lines of one access that reached the chip, in QEMU's order: a write is told before its register is, a read after it.
 * @param port offset in the BAR
 * @param size bytes of the access
 */
export function putAccess(log: DebugLog, write: boolean, port: number, size: number, value: number): void {
  const fields = { addr: port, value };
  const isRegister = port < NE2K_PAGED_PORTS && size === 1;
  if (write) {
    log(lines.write, fields);
    if (isRegister) log(lines.ioportWrite, fields);
  } else {
    if (isRegister) log(lines.ioportRead, fields);
    log(lines.read, fields);
  }
}
