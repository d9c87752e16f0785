/** Lines in the words of QEMU's trace events `pcnet_*`, as its log backend prints them. Where QEMU prints a pointer, there is none here: 0x0. */
import { APROM_SIZE } from './registers.ts';
import { hex } from './port.ts';

/** One access that reached the chip, and the PROM bytes it touched. */
export function accessLine(write: boolean, offset: number, size: number, value: number): string {
  return write
    ? `pcnet_ioport_write opaque=0x0 addr=0x${hex(offset, 1)} data=0x${hex(value, 1)} size=${size}`
    : `pcnet_ioport_read opaque=0x0 addr=0x${hex(offset, 1)} size=${size}`;
}

export const apromLine = (write: boolean, offset: number, value: number): string =>
  `pcnet_aprom_${write ? 'writeb' : 'readb'} opaque=0x0 addr=0x${hex(offset % APROM_SIZE, 8)} val=0x${hex(value, 2)}`;

export const resetLine = 'pcnet_s_reset s=0x0';
export const userInterruptLine = 'pcnet_user_int s=0x0';
export const interruptLine = (now: boolean, before: boolean): string =>
  `pcnet_isr_change s=0x0 INTA=${Number(now)}<=${Number(before)}`;
export const initLine = (address: number): string => `pcnet_init s=0x0 init_addr=0x${hex(address, 1)}`;
export const lengthsLine = (rlen: number, tlen: number): string => `pcnet_rlen_tlen s=0x0 rlen=${rlen} tlen=${tlen}`;
export const ringsLine = (ssize32: boolean, rdra: number, rcvrl: number, tdra: number, xmtrl: number): string =>
  `pcnet_ss32_rdra_tdra s=0x0 ss32=${Number(ssize32)} rdra=0x${hex(rdra, 8)}[${rcvrl}] tdra=0x${hex(tdra, 8)}[${xmtrl}]`;
