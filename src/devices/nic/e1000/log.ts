/**
 * The chip's lines as data: QEMU's e1000 with its debug switch (E1000_DEBUG) on, and its trace event `e1000_receiver_overrun`, word for
 * word; written by the chip and read by its reading.
 */
import { event, plain, readerBehind } from '../../../base/log-line.ts';

const QEMU = 'QEMU, E1000_DEBUG';

export const lines = {
  setIcs: plain(QEMU, 'e1000: set_ics {causes:x}, ICR {icr:x}, IMR {ims:x}'),
  setIcr: plain(QEMU, 'e1000: set_icr {value:x}'),
  icrRead: plain(QEMU, 'e1000: ICR read: {value:x}'),
  rctl: plain(QEMU, 'e1000: RCTL: {rdt:d}, mac_reg[RCTL] = 0x{rctl:x}'),
  mdicRead: plain(QEMU, 'e1000: MDIC read reg 0x{phy:x}'),
  mdicReadUnhandled: plain(QEMU, 'e1000: MDIC read reg {phy:x} unhandled'),
  mdicWrite: plain(QEMU, 'e1000: MDIC write reg 0x{phy:x}, value 0x{value:x}'),
  mdicWriteUnhandled: plain(QEMU, 'e1000: MDIC write reg {phy:x} unhandled'),
  eepromRead: plain(QEMU, 'e1000: reading eeprom bit {bit:d} (reading {reading:d})'),
  eepromShift: plain(QEMU, 'e1000: eeprom bitnum in {bitsIn:d} out {bitOut:d}, reading {reading:d}'),
  txDisabled: plain(QEMU, 'e1000: tx disabled'),
  txDescriptor: plain(QEMU, 'e1000: index {index:d}: 0x{address:q} : {lower:x} {upper:x}'),
  txWrap: plain(QEMU, 'e1000: TDH wraparound @{start:x}, TDT {tdt:x}, TDLEN {tdlen:x}'),
  txSegment: plain(QEMU, 'e1000: frames {frames:d} size {size:d} ipcss {ipcss:d}'),
  txTransport: plain(QEMU, 'e1000: tcp {tcp:d} tucss {tucss:d} len {length:d}'),
  rxNull: plain(QEMU, 'e1000: Null RX descriptor!!'),
  rxWrap: plain(QEMU, 'e1000: RDH wraparound @{start:x}, RDT {rdt:x}, RDLEN {rdlen:x}'),
  overrun: event(
    'QEMU 7.0 and later',
    'e1000_receiver_overrun Receiver overrun: dropped packet of {size:d} bytes, RDH={rdh:d}, RDT={rdt:d}',
  ),
  readOnly: plain(QEMU, 'e1000: e1000_mmio_writel RO {offset:x}: 0x{value:x4}'),
  unknownWrite: plain(QEMU, 'e1000: MMIO unknown write addr=0x{offset:x8},val=0x{value:x8}'),
  unknownRead: plain(QEMU, 'e1000: MMIO unknown read addr=0x{offset:x8}'),
} as const;

/** Reads a line's text without the chip's name. */
export const readLine = readerBehind('e1000: ', 'e1000_');
