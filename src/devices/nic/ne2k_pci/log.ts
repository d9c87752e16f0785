/** Lines for register accesses in the words of QEMU's trace events `ne2000_*`, as its log backend prints them. */
import { NE2K_PAGED_PORTS } from './registers.ts';
import { hex } from './port.ts';

/**
 * The lines of one access that reached the chip, in QEMU's order: a write is told before its register is, a read after it.
 * @param port offset in the BAR
 * @param size bytes of the access
 */
export function accessLines(write: boolean, port: number, size: number, value: number): string[] {
  const bus = `ne2000_${write ? 'write write' : 'read read'} addr=0x${hex(port, 1)} val=0x${hex(value, 1)}`;
  if (port >= NE2K_PAGED_PORTS || size !== 1) return [bus];
  const register = `ne2000_ioport_${write ? 'write io write' : 'read io read'} addr=0x${hex(port, 2)} val=0x${hex(value, 2)}`;
  return write ? [bus, register] : [register, bus];
}
