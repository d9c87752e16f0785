/**
 * Debug lines in the words of QEMU's e1000 with its debug switch (E1000_DEBUG) on, and of its trace event
 * `e1000_receiver_overrun`; `%x` there is a number in hexadecimal without leading zeros.
 */
const hex = (n: number): string => (n >>> 0).toString(16);
const hex8 = (n: number): string => `0x${hex(n).padStart(8, '0')}`;

export const lines = {
  setIcs: (causes: number, icr: number, ims: number) => `e1000: set_ics ${hex(causes)}, ICR ${hex(icr)}, IMR ${hex(ims)}`,
  setIcr: (value: number) => `e1000: set_icr ${hex(value)}`,
  icrRead: (value: number) => `e1000: ICR read: ${hex(value)}`,
  rctl: (rdt: number, rctl: number) => `e1000: RCTL: ${rdt}, mac_reg[RCTL] = 0x${hex(rctl)}`,
  mdicRead: (phy: number) => `e1000: MDIC read reg 0x${hex(phy)}`,
  mdicReadUnhandled: (phy: number) => `e1000: MDIC read reg ${hex(phy)} unhandled`,
  mdicWrite: (phy: number, value: number) => `e1000: MDIC write reg 0x${hex(phy)}, value 0x${hex(value)}`,
  mdicWriteUnhandled: (phy: number) => `e1000: MDIC write reg ${hex(phy)} unhandled`,
  eepromRead: (bit: number, reading: boolean) => `e1000: reading eeprom bit ${bit} (reading ${Number(reading)})`,
  eepromShift: (bitsIn: number, bitOut: number, reading: boolean) =>
    `e1000: eeprom bitnum in ${bitsIn} out ${bitOut}, reading ${Number(reading)}`,
  txDisabled: () => 'e1000: tx disabled',
  txDescriptor: (index: number, address: string, lower: number, upper: number) =>
    `e1000: index ${index}: 0x${address} : ${hex(lower)} ${hex(upper)}`,
  txWrap: (start: number, tdt: number, tdlen: number) =>
    `e1000: TDH wraparound @${hex(start)}, TDT ${hex(tdt)}, TDLEN ${hex(tdlen)}`,
  txSegment: (frames: number, size: number, ipcss: number) => `e1000: frames ${frames} size ${size} ipcss ${ipcss}`,
  txTransport: (tcp: boolean, tucss: number, length: number) => `e1000: tcp ${Number(tcp)} tucss ${tucss} len ${length}`,
  rxNull: () => 'e1000: Null RX descriptor!!',
  rxWrap: (start: number, rdt: number, rdlen: number) =>
    `e1000: RDH wraparound @${hex(start)}, RDT ${hex(rdt)}, RDLEN ${hex(rdlen)}`,
  overrun: (size: number, rdh: number, rdt: number) =>
    `e1000_receiver_overrun Receiver overrun: dropped packet of ${size} bytes, RDH=${rdh}, RDT=${rdt}`,
  readOnly: (offset: number, value: number) => `e1000: e1000_mmio_writel RO ${hex(offset)}: 0x${hex(value).padStart(4, '0')}`,
  unknownWrite: (offset: number, value: number) => `e1000: MMIO unknown write addr=${hex8(offset)},val=${hex8(value)}`,
  unknownRead: (offset: number) => `e1000: MMIO unknown read addr=${hex8(offset)}`,
} as const;
