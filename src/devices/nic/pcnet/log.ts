/**
 * The chip's lines as data: QEMU's trace events `pcnet_*`, word for word; written by the chip and read by its reading. Where QEMU prints a
 * pointer, there is none here: 0x0.
 */
import { event, readerBehind } from '../../../base/log-line.ts';
import type { DebugLog } from '../../interfaces.ts';
import { APROM_SIZE } from './registers.ts';

const QEMU = 'QEMU 0.15 and later';
const IO = 'QEMU 3.1 and later';

export const lines = {
  ioportRead: event(IO, 'pcnet_ioport_read opaque={chip:p} addr=0x{addr:x} size={size:d}'),
  ioportWrite: event(IO, 'pcnet_ioport_write opaque={chip:p} addr=0x{addr:x} data=0x{value:x} size={size:d}'),
  apromRead: event(QEMU, 'pcnet_aprom_readb opaque={chip:p} addr=0x{addr:x8} val=0x{value:x2}'),
  apromWrite: event(QEMU, 'pcnet_aprom_writeb opaque={chip:p} addr=0x{addr:x8} val=0x{value:x2}'),
  reset: event(QEMU, 'pcnet_s_reset s={chip:p}'),
  userInterrupt: event(QEMU, 'pcnet_user_int s={chip:p}'),
  interrupt: event(QEMU, 'pcnet_isr_change s={chip:p} INTA={now:d}<={before:d}'),
  init: event(QEMU, 'pcnet_init s={chip:p} init_addr=0x{addr:x}'),
  lengths: event(QEMU, 'pcnet_rlen_tlen s={chip:p} rlen={rlen:d} tlen={tlen:d}'),
  rings: event(QEMU, 'pcnet_ss32_rdra_tdra s={chip:p} ss32={ss32:d} rdra=0x{rdra:x8}[{rcvrl:d}] tdra=0x{tdra:x8}[{xmtrl:d}]'),
} as const;

/** What stands for the chip's address. */
export const chip = '0x0';

/** Reads a line's text without the chip's name. */
export const readLine = readerBehind('pcnet_');

/** One access that reached the chip. */
export function putAccess(log: DebugLog, write: boolean, addr: number, size: number, value: number): void {
  if (write) log(lines.ioportWrite, { chip, addr, value, size });
  else log(lines.ioportRead, { chip, addr, size });
}

/** One byte of the PROM that an access touched. */
export function putAprom(log: DebugLog, write: boolean, offset: number, value: number): void {
  const fields = { chip, addr: offset % APROM_SIZE, value };
  if (write) log(lines.apromWrite, fields);
  else log(lines.apromRead, fields);
}
