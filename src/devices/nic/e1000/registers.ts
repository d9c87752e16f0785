/**
 * The registers of the 82540EM, once. Names are those of Linux's e1000, `dataSheet` those of Intel's PCI/PCI-X Family of Gigabit
 * Ethernet Controllers Software Developer's Manual (317453), chapter 13, where it spells them otherwise. Reset values and what is
 * decoded at all are those of QEMU's model, which drivers are tested against; where that differs from the manual, docs/e1000.md says so.
 */
import type { BitField, RegisterDef } from '../../registers.ts';
import { statisticsRegisters } from './statistics-registers.ts';

export const bit = (lsb: number, name: string, doc?: string): BitField =>
  doc === undefined ? { name, lsb } : { name, lsb, doc };
const field = (lsb: number, bits: number, name: string, doc?: string): BitField =>
  doc === undefined ? { name, lsb, bits } : { name, lsb, bits, doc };

const interruptBits: readonly BitField[] = [
  bit(0, 'TXDW', 'A transmit descriptor was written back'),
  bit(1, 'TXQE', 'The transmit ring is empty'),
  bit(2, 'LSC', 'The link went up or down'),
  bit(3, 'RXSEQ', 'Receive sequence error'),
  bit(4, 'RXDMT0', 'Few receive descriptors are left'),
  bit(6, 'RXO', 'A frame was lost for want of receive descriptors'),
  bit(7, 'RXT0', 'A frame was received'),
  bit(9, 'MDAC', 'An MDIC access is done'),
  bit(10, 'RXCFG', 'Configuration symbols were received'),
  bit(12, 'PHYINT', 'The PHY interrupts'),
  field(13, 2, 'GPI', 'General purpose pins'),
  bit(15, 'TXD_LOW', 'The transmit ring reached its low threshold'),
  bit(16, 'SRPD', 'A small frame was received'),
];

const none = { access: 'none', width: 4 } as const;
const rw = { access: 'rw', width: 4, reset: 0 } as const;

const table = [
  {
    name: 'CTRL',
    offset: 0x0000,
    width: 4,
    access: 'rw',
    reset: 0x00140240,
    doc: 'Device control',
    fields: [
      bit(0, 'FD', 'Full duplex'),
      bit(3, 'LRST', 'Link reset'),
      bit(5, 'ASDE', 'Detect the speed'),
      bit(6, 'SLU', 'Set the link up'),
      bit(7, 'ILOS', 'Invert loss of signal'),
      field(8, 2, 'SPEED', 'Speed'),
      bit(11, 'FRCSPD', 'Force the speed'),
      bit(12, 'FRCDPLX', 'Force the duplex mode'),
      bit(18, 'SDP0_DATA', 'Software defined pin'),
      bit(19, 'SDP1_DATA'),
      bit(20, 'ADVD3WUC'),
      bit(21, 'EN_PHY_PWR_MGMT'),
      bit(22, 'SDP0_IODIR'),
      bit(23, 'SDP1_IODIR'),
      bit(26, 'RST', 'Reset; clears itself'),
      bit(27, 'RFCE', 'Receive flow control'),
      bit(28, 'TFCE', 'Transmit flow control'),
      bit(30, 'VME', 'Take VLAN tags off and put them in'),
      bit(31, 'PHY_RST', 'Reset the PHY'),
    ],
  },
  {
    name: 'STATUS',
    offset: 0x0008,
    width: 4,
    access: 'ro',
    reset: 0x80080783,
    doc: 'Device status',
    fields: [
      bit(0, 'FD', 'Full duplex'),
      bit(1, 'LU', 'The link is up'),
      field(2, 2, 'FUNC', 'Function of the device'),
      bit(4, 'TXOFF', 'Transmission is paused'),
      bit(5, 'TBIMODE'),
      { name: 'SPEED', lsb: 6, bits: 2, doc: 'Speed', values: { 0: '10', 1: '100', 2: '1000' } },
      field(8, 2, 'ASDV', 'Detected speed'),
      bit(10, 'MTXCKOK', 'The transmit clock runs'),
      bit(11, 'PCI66', '66 MHz bus'),
      bit(12, 'BUS64', '64-bit bus'),
      bit(13, 'PCIX_MODE'),
      field(14, 2, 'PCIXSPD'),
      bit(19, 'GIO_MASTER_ENABLE'),
      bit(31, 'PHYRA'),
    ],
  },
  {
    name: 'EECD',
    offset: 0x0010,
    width: 4,
    access: 'rw',
    writable: 0x77,
    doc: 'EEPROM wires (Microwire)',
    fields: [
      bit(0, 'SK', 'Clock'),
      bit(1, 'CS', 'Select'),
      bit(2, 'DI', 'Data in'),
      bit(3, 'DO', 'Data out'),
      field(4, 2, 'FWE', 'Flash write enable'),
      bit(6, 'REQ', 'Software wants the EEPROM'),
      bit(7, 'GNT', 'Software has it'),
      bit(8, 'PRES', 'An EEPROM is there'),
      bit(9, 'SIZE', '256 words instead of 64'),
    ],
  },
  {
    name: 'EERD',
    offset: 0x0014,
    width: 4,
    access: 'rw',
    reset: 0,
    doc: 'EEPROM read: one word',
    fields: [
      bit(0, 'START', 'Read; the answer is there at once'),
      bit(4, 'DONE', 'DATA is valid'),
      field(8, 8, 'ADDR', 'Word'),
      field(16, 16, 'DATA'),
    ],
  },
  { ...none, name: 'CTRL_EXT', offset: 0x0018, doc: 'Extended device control' },
  { ...none, name: 'FLA', offset: 0x001c, doc: 'Flash access' },
  {
    name: 'MDIC',
    offset: 0x0020,
    width: 4,
    access: 'rw',
    reset: 0,
    doc: 'PHY register access; done at once',
    fields: [
      field(0, 16, 'DATA'),
      field(16, 5, 'REGADD', 'PHY register'),
      field(21, 5, 'PHYADD', 'PHY; there is one, at 1'),
      { name: 'OP', lsb: 26, bits: 2, doc: 'Operation', values: { 1: 'write', 2: 'read' } },
      bit(28, 'READY', 'Done'),
      bit(29, 'INT_EN', 'Interrupt when done'),
      bit(30, 'ERROR', 'No such PHY or register'),
    ],
  },
  { ...none, name: 'FCAL', offset: 0x0028, doc: 'Flow control address, lower half' },
  { ...none, name: 'FCAH', offset: 0x002c, doc: 'Flow control address, upper half' },
  { ...none, name: 'FCT', offset: 0x0030, doc: 'Flow control type' },
  { name: 'VET', offset: 0x0038, width: 4, access: 'rw', reset: 0x8100, doc: 'EtherType that makes a frame a VLAN frame' },
  {
    name: 'ICR',
    offset: 0x00c0,
    width: 4,
    access: 'w1c',
    reset: 0,
    fields: interruptBits,
    doc: 'Interrupts pending; a read clears all',
  },
  {
    ...rw,
    name: 'ITR',
    offset: 0x00c4,
    writable: 0xffff,
    fields: [field(0, 16, 'INTERVAL', 'In 256 ns')],
    doc: 'Shortest time between interrupts',
  },
  {
    name: 'ICS',
    offset: 0x00c8,
    width: 4,
    access: 'rw',
    reset: 0,
    fields: interruptBits,
    doc: 'A one makes the interrupt pending; a read gives ICR and clears nothing',
  },
  { name: 'IMS', offset: 0x00d0, width: 4, access: 'rw', reset: 0, fields: interruptBits, doc: 'Interrupts wanted; a one adds' },
  {
    name: 'IMC',
    offset: 0x00d8,
    width: 4,
    access: 'cmd',
    reset: 0,
    fields: interruptBits,
    doc: 'A one takes the interrupt out of IMS',
  },
  {
    ...rw,
    name: 'RCTL',
    offset: 0x0100,
    doc: 'Receive control; a write holds frames back for a second',
    fields: [
      bit(1, 'EN', 'Receiver on'),
      bit(2, 'SBP', 'Store bad frames'),
      bit(3, 'UPE', 'Every unicast frame'),
      bit(4, 'MPE', 'Every multicast frame'),
      bit(5, 'LPE', 'Frames of more than 1,522 bytes'),
      field(6, 2, 'LBM', 'Loopback; does nothing here'),
      {
        name: 'RDMTS',
        lsb: 8,
        bits: 2,
        doc: 'RXDMT0 when so much of the ring is left',
        values: { 0: '1/2', 1: '1/4', 2: '1/8' },
      },
      field(12, 2, 'MO', 'Which 12 bits of the address index MTA'),
      bit(15, 'BAM', 'Broadcast'),
      field(16, 2, 'BSIZE', 'Buffer size: 2048, 1024, 512, 256; with BSEX 2048, 16384, 8192, 4096'),
      bit(18, 'VFE', 'Filter by VFTA'),
      bit(19, 'CFIEN'),
      bit(20, 'CFI'),
      bit(22, 'DPF', 'Drop PAUSE frames'),
      bit(23, 'PMCF', 'Pass MAC control frames'),
      bit(25, 'BSEX', 'Larger buffers'),
      bit(26, 'SECRC', 'Strip the CRC'),
    ],
  },
  { ...none, name: 'FCTTV', offset: 0x0170, doc: 'Flow control transmit timer value' },
  { ...none, name: 'TXCW', offset: 0x0178, doc: 'Transmit configuration word' },
  { ...none, name: 'RXCW', offset: 0x0180, doc: 'Receive configuration word' },
  {
    ...rw,
    name: 'TCTL',
    offset: 0x0400,
    doc: 'Transmit control; a write looks for descriptors',
    fields: [
      bit(1, 'EN', 'Transmitter on'),
      bit(3, 'PSP', 'Pad short frames; does nothing here'),
      field(4, 8, 'CT', 'Collisions before giving up'),
      field(12, 10, 'COLD', 'Collision distance'),
      bit(22, 'SWXOFF'),
      bit(24, 'RTLC'),
      bit(25, 'NRTU'),
    ],
  },
  { ...none, name: 'TIPG', offset: 0x0410, doc: 'Gap between frames' },
  { ...rw, name: 'AIT', offset: 0x0458, dataSheet: 'AIFS', writable: 0xffff, doc: 'Adaptive gap between frames' },
  { name: 'LEDCTL', offset: 0x0e00, width: 4, access: 'rw', reset: 0x602, doc: 'Lights' },
  {
    name: 'PBA',
    offset: 0x1000,
    width: 4,
    access: 'rw',
    reset: 0x00100030,
    fields: [field(0, 16, 'RXA', 'KiB for receive'), field(16, 16, 'TXA', 'KiB for transmit')],
    doc: 'Packet buffer allocation',
  },
  { ...none, name: 'FCRTL', offset: 0x2160, doc: 'Flow control receive threshold, low' },
  { ...none, name: 'FCRTH', offset: 0x2168, doc: 'Flow control receive threshold, high' },
  { ...rw, name: 'RDFH', offset: 0x2410, writable: 0x1fff, doc: 'Receive FIFO head; storage alone' },
  { ...rw, name: 'RDFT', offset: 0x2418, writable: 0x1fff, doc: 'Receive FIFO tail; storage alone' },
  { ...rw, name: 'RDFHS', offset: 0x2420, writable: 0x1fff, doc: 'Receive FIFO head saved; storage alone' },
  { ...rw, name: 'RDFTS', offset: 0x2428, writable: 0x1fff, doc: 'Receive FIFO tail saved; storage alone' },
  { ...rw, name: 'RDFPC', offset: 0x2430, writable: 0x1fff, doc: 'Frames in the receive FIFO; storage alone' },
  { ...rw, name: 'RDBAL', offset: 0x2800, doc: 'Receive ring: guest-physical address, lower half; bits 3:0 count as zero' },
  { ...rw, name: 'RDBAH', offset: 0x2804, doc: 'Receive ring: upper half' },
  { ...rw, name: 'RDLEN', offset: 0x2808, writable: 0x000fff80, doc: 'Receive ring: bytes' },
  { ...rw, name: 'RDH', offset: 0x2810, writable: 0xffff, doc: 'Receive ring: the chip fills this descriptor next' },
  {
    ...rw,
    name: 'RDT',
    offset: 0x2818,
    writable: 0xffff,
    doc: 'Doorbell: the first descriptor after those that the driver gives to the receiver',
  },
  { ...rw, name: 'RDTR', offset: 0x2820, writable: 0xffff, doc: 'Receive interrupt delay; other than 0 it makes RADV count' },
  { ...none, name: 'RXDCTL', offset: 0x2828, doc: 'Receive descriptor control' },
  { ...rw, name: 'RADV', offset: 0x282c, writable: 0xffff, doc: 'Longest receive interrupt delay, in 1,024 ns' },
  { ...none, name: 'RSRPD', offset: 0x2c00, doc: 'Size of a small frame' },
  { ...none, name: 'TXDMAC', offset: 0x3000, doc: 'Transmit DMA control' },
  { ...rw, name: 'TDFH', offset: 0x3410, writable: 0x7ff, doc: 'Transmit FIFO head; storage alone' },
  { ...rw, name: 'TDFT', offset: 0x3418, writable: 0x7ff, doc: 'Transmit FIFO tail; storage alone' },
  { ...rw, name: 'TDFHS', offset: 0x3420, writable: 0x1fff, doc: 'Transmit FIFO head saved; storage alone' },
  { ...rw, name: 'TDFTS', offset: 0x3428, writable: 0x1fff, doc: 'Transmit FIFO tail saved; storage alone' },
  { ...rw, name: 'TDFPC', offset: 0x3430, writable: 0x1fff, doc: 'Frames in the transmit FIFO; storage alone' },
  { ...rw, name: 'TDBAL', offset: 0x3800, doc: 'Transmit ring: guest-physical address, lower half; bits 3:0 count as zero' },
  { ...rw, name: 'TDBAH', offset: 0x3804, doc: 'Transmit ring: upper half' },
  { ...rw, name: 'TDLEN', offset: 0x3808, writable: 0x000fff80, doc: 'Transmit ring: bytes' },
  { ...rw, name: 'TDH', offset: 0x3810, writable: 0xffff, doc: 'Transmit ring: the chip takes this descriptor next' },
  {
    ...rw,
    name: 'TDT',
    offset: 0x3818,
    writable: 0xffff,
    doc: 'Doorbell: the first descriptor after those that the driver wants sent',
  },
  { ...none, name: 'TIDV', offset: 0x3820, doc: 'Transmit interrupt delay' },
  { ...rw, name: 'TXDCTL', offset: 0x3828, doc: 'Transmit descriptor control; storage alone' },
  {
    ...rw,
    name: 'TADV',
    offset: 0x382c,
    writable: 0xffff,
    doc: 'Longest transmit interrupt delay, in 1,024 ns, after a descriptor with IDE',
  },
  { ...none, name: 'TSPMT', offset: 0x3830, doc: 'TCP segmentation pad and minimum threshold' },
  ...statisticsRegisters,
  { ...none, name: 'RXCSUM', offset: 0x5000, doc: 'Receive checksum control' },
  {
    ...rw,
    name: 'MTA',
    offset: 0x5200,
    count: 128,
    doc: 'Multicast hash filter: one bit for each value of 12 bits of the address',
  },
  {
    ...rw,
    name: 'RAL',
    offset: 0x5400,
    count: 16,
    stride: 8,
    doc: 'Station address, first four bytes; the first pair comes from the EEPROM',
  },
  {
    ...rw,
    name: 'RAH',
    offset: 0x5404,
    count: 16,
    stride: 8,
    fields: [
      field(0, 16, 'RAH', 'Last two bytes'),
      field(16, 2, 'AS', 'Destination or source'),
      bit(31, 'AV', 'The address counts'),
    ],
    doc: 'Station address, last two bytes',
  },
  { ...rw, name: 'VFTA', offset: 0x5600, count: 128, doc: 'VLAN filter: one bit for each VLAN' },
  { ...rw, name: 'WUC', offset: 0x5800, doc: 'Wake-up control; storage alone' },
  { ...rw, name: 'WUFC', offset: 0x5808, doc: 'Wake-up filter control; storage alone' },
  { ...rw, name: 'WUS', offset: 0x5810, doc: 'Wake-up status; storage alone' },
  { name: 'MANC', offset: 0x5820, width: 4, access: 'ro', reset: 0x00222300, doc: 'Management control' },
  { ...rw, name: 'IPAV', offset: 0x5838, doc: 'Which IP addresses count; storage alone' },
  { ...rw, name: 'IP4AT', offset: 0x5840, count: 7, doc: 'IPv4 addresses for wake-up, every second register; storage alone' },
  { ...rw, name: 'IP6AT', offset: 0x5880, count: 4, doc: 'IPv6 address for wake-up; storage alone' },
  { ...none, name: 'WUPL', offset: 0x5900, doc: 'Length of a wake-up frame' },
  { ...rw, name: 'WUPM', offset: 0x5a00, count: 32, doc: 'Wake-up frame; storage alone' },
  { ...rw, name: 'SWSM', offset: 0x5b50, doc: 'Software semaphore; storage alone' },
  {
    ...rw,
    name: 'FFLT',
    offset: 0x5f00,
    count: 7,
    writable: 0x7ff,
    doc: 'Flexible filter lengths, every second register; storage alone',
  },
  {
    ...rw,
    name: 'FFMT',
    offset: 0x9000,
    count: 255,
    writable: 0xf,
    doc: 'Flexible filter masks, every second register; storage alone',
  },
  { ...rw, name: 'FFVT', offset: 0x9800, count: 255, doc: 'Flexible filter values, every second register; storage alone' },
  { ...rw, name: 'PBM', offset: 0x10000, count: 16384, doc: 'Packet buffer memory; storage alone' },
] as const satisfies readonly RegisterDef[];

export type E1000Register = (typeof table)[number]['name'];

export const e1000Registers: readonly RegisterDef<E1000Register>[] = table;

/** The two ports of the I/O BAR (manual, section 13.2.2). */
export const e1000IoRegisters = [
  { name: 'IOADDR', offset: 0, width: 4, access: 'rw', reset: 0, doc: 'Offset of the register that IODATA means' },
  { name: 'IODATA', offset: 4, width: 4, access: 'rw', doc: 'The register at IOADDR, as a 32-bit access' },
] as const satisfies readonly RegisterDef[];

/** Bytes of the memory BAR and of the I/O BAR. */
export const E1000_BLOCK_SIZE = 0x20000;
export const E1000_IO_SIZE = 0x40;
export const E1000_VENDOR_ID = 0x8086;
/** 82540EM. */
export const E1000_DEVICE_ID = 0x100e;

/** Place of a register, or of the first of an array, in units of 4 bytes: `values[R.TDT]`. */
export const R = Object.fromEntries(table.map((r) => [r.name, r.offset >> 2])) as Readonly<Record<E1000Register, number>>;

/** Mask of a bit field, from the register table. */
export function fieldMask(register: E1000Register, name: string): number {
  const found = e1000Registers.find((r) => r.name === register)?.fields?.find((f) => f.name === name);
  if (!found) throw new Error(`e1000: register ${register} has no field ${name}`);
  return ((2 ** (found.bits ?? 1) - 1) * 2 ** found.lsb) >>> 0;
}
