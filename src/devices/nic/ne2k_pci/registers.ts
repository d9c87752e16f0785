/**
 * The registers of the RTL8029, an NE2000 on PCI: the DP8390's four pages of byte registers, the data port of the remote DMA
 * and the reset port. An offset here is 0x100 × page + port; Command lies at port 0 of every page. Names are those of Linux's
 * 8390.h, `dataSheet` those of National's DP8390D and Realtek's RTL8029(AS) data sheets. Where a place is written as another
 * register than is read there, `written` names it.
 */
import { repeat, type BitField, type RegisterDef } from '../../registers.ts';

const bit = (lsb: number, name: string, doc?: string): BitField => (doc === undefined ? { name, lsb } : { name, lsb, doc });

const interruptBits: readonly BitField[] = [
  bit(0, 'PRX', 'A frame was received'),
  bit(1, 'PTX', 'A frame has left'),
  bit(2, 'RXE', 'A frame came in damaged'),
  bit(3, 'TXE', 'A frame could not leave'),
  bit(4, 'OVW', 'The receive ring ran over'),
  bit(5, 'CNT', 'A tally counter is half full'),
  bit(6, 'RDC', 'Remote DMA is done'),
];

const receiveStatusBits: readonly BitField[] = [
  bit(0, 'PRX', 'Received whole'),
  bit(1, 'CRC', 'CRC error'),
  bit(2, 'FAE', 'Frame alignment error'),
  bit(3, 'FO', 'FIFO overrun'),
  bit(4, 'MPA', 'Missed'),
  bit(5, 'PHY', 'To a group address'),
  bit(6, 'DIS', 'Receiver disabled'),
  bit(7, 'DFR', 'Deferring'),
];

const table = [
  {
    name: 'E8390_CMD',
    dataSheet: 'CR',
    offset: 0x000,
    width: 1,
    access: 'rw',
    powerOn: 0,
    fields: [
      bit(0, 'STP', 'Stop: the chip takes and sends nothing'),
      bit(1, 'STA', 'Start'),
      bit(2, 'TXP', 'Send the frame at TPSR; clears itself'),
      { name: 'RD', lsb: 3, bits: 3, doc: 'Remote DMA', values: { 1: 'read', 2: 'write', 3: 'send packet', 4: 'abort' } },
      { name: 'PS', lsb: 6, bits: 2, doc: 'Page of ports 1 to 15' },
    ],
    doc: 'Command, in every page',
  },
  {
    name: 'EN0_CLDALO',
    dataSheet: 'CLDA0',
    offset: 0x001,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Local DMA address, low byte; reads zero here',
    written: { name: 'EN0_STARTPG', doc: 'First page of the receive ring (PSTART)' },
  },
  {
    name: 'EN0_CLDAHI',
    dataSheet: 'CLDA1',
    offset: 0x002,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Local DMA address, high byte; reads zero here',
    written: { name: 'EN0_STOPPG', doc: 'Page after the receive ring (PSTOP)' },
  },
  {
    name: 'EN0_BOUNDARY',
    dataSheet: 'BNRY',
    offset: 0x003,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'The driver has read up to this page of the receive ring',
  },
  {
    name: 'EN0_TSR',
    dataSheet: 'TSR',
    offset: 0x004,
    width: 1,
    access: 'rw',
    powerOn: 0,
    fields: [
      bit(0, 'PTX', 'Sent'),
      bit(1, 'ND', 'Not deferred'),
      bit(2, 'COL', 'Collided'),
      bit(3, 'ABT', 'Aborted'),
      bit(4, 'CRS', 'Carrier lost'),
      bit(5, 'FU', 'FIFO underrun'),
      bit(6, 'CDH', 'Heart beat lost'),
      bit(7, 'OWC', 'Out-of-window collision'),
    ],
    doc: 'Transmit status',
    written: { name: 'EN0_TPSR', doc: 'Page of the frame to send (TPSR)' },
  },
  {
    name: 'EN0_NCR',
    dataSheet: 'NCR',
    offset: 0x005,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Collisions; none here',
    written: { name: 'EN0_TCNTLO', doc: 'Bytes to send, low byte (TBCR0)' },
  },
  {
    name: 'EN0_FIFO',
    dataSheet: 'FIFO',
    offset: 0x006,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Loopback FIFO; reads zero here',
    written: { name: 'EN0_TCNTHI', doc: 'Bytes to send, high byte (TBCR1)' },
  },
  {
    name: 'EN0_ISR',
    dataSheet: 'ISR',
    offset: 0x007,
    width: 1,
    access: 'w1c',
    reset: 0x80,
    writable: 0x7f,
    fields: [...interruptBits, bit(7, 'RST', 'Reset; cleared by a Command without STP')],
    doc: 'Interrupts pending',
  },
  {
    name: 'EN0_CRDALO',
    dataSheet: 'CRDA0',
    offset: 0x008,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Remote DMA address, low byte',
    written: { name: 'EN0_RSARLO', doc: 'Remote DMA start address, low byte (RSAR0)' },
  },
  {
    name: 'EN0_CRDAHI',
    dataSheet: 'CRDA1',
    offset: 0x009,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Remote DMA address, high byte',
    written: { name: 'EN0_RSARHI', doc: 'Remote DMA start address, high byte (RSAR1)' },
  },
  {
    name: 'EN0_RTL8029ID0',
    dataSheet: '8029ID0',
    offset: 0x00a,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: "'P': this is an RTL8029",
    written: { name: 'EN0_RCNTLO', doc: 'Remote DMA bytes, low byte (RBCR0)' },
  },
  {
    name: 'EN0_RTL8029ID1',
    dataSheet: '8029ID1',
    offset: 0x00b,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: "'C': this is an RTL8029",
    written: { name: 'EN0_RCNTHI', doc: 'Remote DMA bytes, high byte (RBCR1)' },
  },
  {
    name: 'EN0_RSR',
    dataSheet: 'RSR',
    offset: 0x00c,
    width: 1,
    access: 'rw',
    powerOn: 0,
    fields: receiveStatusBits,
    doc: 'Status of the frame received last',
    written: {
      name: 'EN0_RXCR',
      doc: 'Receive configuration (RCR)',
      fields: [
        bit(0, 'SEP', 'Keep damaged frames'),
        bit(1, 'AR', 'Accept runts'),
        bit(2, 'AB', 'Accept broadcast'),
        bit(3, 'AM', 'Accept multicast through MAR'),
        bit(4, 'PRO', 'Every frame'),
        bit(5, 'MON', 'Monitor'),
      ],
    },
  },
  {
    name: 'EN0_COUNTER0',
    dataSheet: 'CNTR0',
    offset: 0x00d,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Frame alignment errors; none here',
    written: {
      name: 'EN0_TXCR',
      doc: 'Transmit configuration (TCR); does nothing here',
      fields: [
        bit(0, 'CRC', 'Append no CRC'),
        { name: 'LB', lsb: 1, bits: 2, doc: 'Loopback' },
        bit(3, 'ATD', 'Auto transmit disable'),
        bit(4, 'OFST', 'Collision offset'),
      ],
    },
  },
  {
    name: 'EN0_COUNTER1',
    dataSheet: 'CNTR1',
    offset: 0x00e,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'CRC errors; none here',
    written: {
      name: 'EN0_DCFG',
      doc: 'Data configuration (DCR)',
      fields: [
        bit(0, 'WTS', 'Data port moves words'),
        bit(1, 'BOS', 'Big endian; not here'),
        bit(2, 'LAS', '32-bit addresses; not here'),
        bit(3, 'LS', 'No loopback'),
        bit(4, 'ARM', 'Send packet command'),
        { name: 'FT', lsb: 5, bits: 2, doc: 'FIFO threshold' },
      ],
    },
  },
  {
    name: 'EN0_COUNTER2',
    dataSheet: 'CNTR2',
    offset: 0x00f,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'Missed frames; none here',
    written: { name: 'EN0_IMR', doc: 'Interrupts wanted (IMR)', fields: interruptBits },
  },
  {
    name: 'NE_DATAPORT',
    dataSheet: 'Remote DMA port',
    offset: 0x010,
    width: 4,
    access: 'rw',
    doc: 'The next byte, word (DCFG.WTS) or, for a 32-bit access, double word at the remote DMA address',
  },
  {
    name: 'NE_RESET',
    dataSheet: 'Reset port',
    offset: 0x01f,
    width: 1,
    access: 'ro',
    doc: 'A read resets the chip and gives zero',
  },
  ...repeat('EN1_PHYS', [0, 1, 2, 3, 4, 5], {
    offset: 0x101,
    width: 1,
    access: 'rw',
    powerOn: 0,
    dataSheet: 'PAR',
    doc: 'Station address; the filter takes that of the PROM',
  }),
  {
    name: 'EN1_CURPAG',
    dataSheet: 'CURR',
    offset: 0x107,
    width: 1,
    access: 'rw',
    powerOn: 0,
    doc: 'The chip writes the next frame to this page',
  },
  ...repeat('EN1_MULT', [0, 1, 2, 3, 4, 5, 6, 7], {
    offset: 0x108,
    width: 1,
    access: 'rw',
    powerOn: 0,
    dataSheet: 'MAR',
    doc: 'Multicast hash filter: one bit for each value of the upper 6 bits of the CRC of the address',
  }),
  { name: 'EN2_STARTPG', dataSheet: 'PSTART', offset: 0x201, width: 1, access: 'ro', doc: 'First page of the receive ring' },
  { name: 'EN2_STOPPG', dataSheet: 'PSTOP', offset: 0x202, width: 1, access: 'ro', doc: 'Page after the receive ring' },
  { name: 'EN2_RNPP', dataSheet: 'RNPP', offset: 0x203, width: 1, access: 'none', doc: 'Remote next packet pointer' },
  { name: 'EN2_TPSR', dataSheet: 'TPSR', offset: 0x204, width: 1, access: 'none', doc: 'Page of the frame to send' },
  { name: 'EN2_LNPP', dataSheet: 'LNPP', offset: 0x205, width: 1, access: 'none', doc: 'Local next packet pointer' },
  { name: 'EN2_ACHI', dataSheet: 'Address counter', offset: 0x206, width: 1, access: 'none', doc: 'Address counter, upper byte' },
  { name: 'EN2_ACLO', dataSheet: 'Address counter', offset: 0x207, width: 1, access: 'none', doc: 'Address counter, lower byte' },
  { name: 'EN2_RXCR', dataSheet: 'RCR', offset: 0x20c, width: 1, access: 'none', doc: 'Receive configuration' },
  { name: 'EN2_TXCR', dataSheet: 'TCR', offset: 0x20d, width: 1, access: 'none', doc: 'Transmit configuration' },
  { name: 'EN2_DCFG', dataSheet: 'DCR', offset: 0x20e, width: 1, access: 'none', doc: 'Data configuration' },
  { name: 'EN2_IMR', dataSheet: 'IMR', offset: 0x20f, width: 1, access: 'none', doc: 'Interrupts wanted' },
  {
    name: 'EN3_9346CR',
    dataSheet: '9346CR',
    offset: 0x301,
    width: 1,
    access: 'none',
    doc: 'EEPROM wires; this card has no EEPROM',
  },
  { name: 'EN3_BPAGE', dataSheet: 'BPAGE', offset: 0x302, width: 1, access: 'none', doc: 'Boot ROM page' },
  {
    name: 'EN3_CONFIG0',
    dataSheet: 'CONFIG0',
    offset: 0x303,
    width: 1,
    access: 'ro',
    powerOn: 0,
    fields: [bit(2, 'BNC', '10BASE2')],
    doc: 'Medium: 10BASE-T',
  },
  {
    name: 'EN3_CONFIG2',
    dataSheet: 'CONFIG2',
    offset: 0x305,
    width: 1,
    access: 'ro',
    powerOn: 0x40,
    fields: [
      { name: 'PL', lsb: 6, bits: 2, doc: 'Network medium', values: { 0: 'auto', 1: '10BASE-T', 2: '10BASE5', 3: '10BASE2' } },
    ],
    doc: 'Medium in use',
  },
  {
    name: 'EN3_CONFIG3',
    dataSheet: 'CONFIG3',
    offset: 0x306,
    width: 1,
    access: 'ro',
    powerOn: 0x40,
    fields: [bit(6, 'FUDUP', 'Full duplex')],
    doc: 'Duplex',
  },
  { name: 'EN3_HLTCLK', dataSheet: 'HLTCLK', offset: 0x309, width: 1, access: 'none', doc: 'Halt clock' },
  { name: 'EN3_8029ASID0', dataSheet: '8029ASID0', offset: 0x30e, width: 1, access: 'none', doc: 'RTL8029AS identity' },
  { name: 'EN3_8029ASID1', dataSheet: '8029ASID1', offset: 0x30f, width: 1, access: 'none', doc: 'RTL8029AS identity' },
] as const satisfies readonly RegisterDef[];

export type Ne2kRegister = (typeof table)[number]['name'];
/** Registers that are only written, at a place where another is read. */
export type Ne2kWritten = Extract<(typeof table)[number], { readonly written: unknown }>['written']['name'];

/** All registers, ascending offset (0x100 × page + port). */
export const ne2kRegisters: readonly RegisterDef<Ne2kRegister>[] = table;

/** Bytes of the table's block: four pages. */
export const NE2K_TABLE_SIZE = 0x400;
/** Bytes of the I/O BAR. */
export const NE2K_BLOCK_SIZE = 0x100;
/** Ports of the paged registers, of the data port and of the reset port. */
export const NE2K_PAGED_PORTS = 0x10;
export const NE2K_DATA_PORT = 0x10;
export const NE2K_RESET_PORT = 0x1f;

/** PCI identity, by which a reader of a trace may know the card. */
export const NE2K_VENDOR_ID = 0x10ec;
export const NE2K_DEVICE_ID = 0x8029;

/** Offset in the table of a port of the BAR while Command selects `page`. */
export const tableOffset = (port: number, page: number): number =>
  port > 0 && port < NE2K_PAGED_PORTS ? (page << 8) | port : port;

/** A received frame in the ring begins with these four bytes. */
export const receiveHeader = { status: receiveStatusBits, bytes: 4 } as const;
