/**
 * The registers of the Am79C970A (PCnet-PCI II): the ports of the BARs in their two styles, word I/O (WIO) and double word I/O
 * (DWIO), and behind RAP the control and status registers (CSR) and the bus configuration registers (BCR). An offset below 0x20
 * is one in the BAR; CSR n stands at 0x100 + 2 n and BCR n at 0x200 + 2 n. Names are those of Linux's pcnet32 and of AMD's data
 * sheet (publication 19436); `dataSheet` is the sheet's mnemonic. Reset values are those of QEMU's model; docs/pcnet.md lists
 * where it differs from the data sheet.
 */
import { repeat, type BitField, type RegisterDef } from '../../registers.ts';

/** Registers that a write reaches only while the chip is stopped or suspended. */
export const STOP_LOCK = 'STOP or SPND';
/** The address PROM takes writes while BCR2.APROMWE is set. */
export const APROM_LOCK = 'BCR2.APROMWE';

export const CSR_BASE = 0x100;
export const BCR_BASE = 0x200;

const bit = (lsb: number, name: string, doc?: string): BitField => (doc === undefined ? { name, lsb } : { name, lsb, doc });

type Rest = Omit<RegisterDef, 'name' | 'dataSheet' | 'offset' | 'width' | 'access' | 'doc'> & {
  readonly access?: RegisterDef['access'];
};

const csr = <const N extends number>(n: N, dataSheet: string, doc: string, rest: Rest = {}): RegisterDef<`CSR${N}`> => ({
  access: 'rw',
  ...rest,
  name: `CSR${n}`,
  dataSheet,
  offset: CSR_BASE + 2 * n,
  width: 2,
  doc,
});

const bcr = <const N extends number>(n: N, dataSheet: string, doc: string, rest: Rest = {}): RegisterDef<`BCR${N}`> => ({
  access: 'rw',
  ...rest,
  name: `BCR${n}`,
  dataSheet,
  offset: BCR_BASE + 2 * n,
  width: 2,
  doc,
});

/** Lower and upper half of an address. */
const pair = <const L extends number, const H extends number>(
  low: L,
  high: H,
  dataSheet: string,
  doc: string,
  access: RegisterDef['access'] = 'rw',
): [RegisterDef<`CSR${L}`>, RegisterDef<`CSR${H}`>] => [
  csr(low, `${dataSheet}L`, `${doc}, lower half`, { access, powerOn: 0 }),
  csr(high, `${dataSheet}U`, `${doc}, upper half`, { access, powerOn: 0 }),
];

const ledBits: readonly BitField[] = [
  bit(0, 'COLE'),
  bit(1, 'JABE'),
  bit(2, 'RCVE'),
  bit(3, 'RXPOLE'),
  bit(4, 'XMTE'),
  bit(5, 'RCVME'),
  bit(6, 'LNKSTE', 'Link status'),
  bit(7, 'PSE', 'Pulse stretcher'),
  bit(8, 'FDLSE', 'Full duplex link'),
  bit(14, 'LEDPOL'),
  bit(15, 'LEDOUT', 'The LED is on; follows the link if LNKSTE is set'),
];

const table = [
  ...repeat('APROM', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], {
    offset: 0x00,
    width: 1,
    access: 'rw',
    lock: APROM_LOCK,
    doc: 'Address PROM: station address, hardware identity 0x11 in byte 9, checksum in 12 and 13, "WW" in 14 and 15',
  }),
  {
    name: 'RDP',
    offset: 0x10,
    width: 2,
    access: 'rw',
    mode: 'WIO',
    doc: 'Data of the CSR that RAP selects; a 32-bit write here changes to DWIO',
    otherwise: { mode: 'DWIO', name: 'RDP', doc: 'Data of the CSR that RAP selects, 32 bits wide' },
  },
  { name: 'RAP', offset: 0x12, width: 2, access: 'rw', reset: 0, writable: 0x7f, mode: 'WIO', doc: 'Number of the CSR or BCR' },
  {
    name: 'RESET',
    offset: 0x14,
    width: 2,
    access: 'ro',
    mode: 'WIO',
    doc: 'A read resets the chip and gives zero',
    otherwise: { mode: 'DWIO', name: 'RAP', doc: 'Number of the CSR or BCR, 32 bits wide' },
  },
  { name: 'BDP', offset: 0x16, width: 2, access: 'rw', mode: 'WIO', doc: 'Data of the BCR that RAP selects' },
  {
    name: 'RESET32',
    dataSheet: 'RESET',
    offset: 0x18,
    width: 4,
    access: 'ro',
    mode: 'DWIO',
    doc: 'A read resets the chip, back to WIO, and gives zero',
  },
  {
    name: 'BDP32',
    dataSheet: 'BDP',
    offset: 0x1c,
    width: 4,
    access: 'rw',
    mode: 'DWIO',
    doc: 'Data of the BCR that RAP selects, 32 bits wide',
  },
  csr(0, 'Status', 'Controller status', {
    reset: 0x0004,
    fields: [
      bit(0, 'INIT', 'Read the initialization block'),
      bit(1, 'STRT', 'Start'),
      bit(2, 'STOP', 'Stop; every write of it wins'),
      bit(3, 'TDMD', 'Transmit demand: look at the transmit ring now'),
      bit(4, 'TXON', 'Transmitter on'),
      bit(5, 'RXON', 'Receiver on'),
      bit(6, 'IENA', 'Interrupts wanted'),
      bit(7, 'INTR', 'Interrupt pending'),
      bit(8, 'IDON', 'Initialization done'),
      bit(9, 'TINT', 'A descriptor has been sent'),
      bit(10, 'RINT', 'A frame was received'),
      bit(11, 'MERR', 'Memory error'),
      bit(12, 'MISS', 'A frame was lost for want of a descriptor'),
      bit(13, 'CERR', 'Collision error, or no link'),
      bit(14, 'BABL', 'Frame too long'),
      bit(15, 'ERR', 'BABL, CERR, MISS or MERR'),
    ],
  }),
  csr(1, 'IADRL', 'Initialization block: address, lower half', { powerOn: 0 }),
  csr(2, 'IADRU', 'Initialization block: address, upper half; with 16-bit structures its upper byte is that of every address', {
    powerOn: 0,
  }),
  csr(3, 'IM', 'Interrupt masks and deferral', {
    reset: 0,
    fields: [
      bit(2, 'BSWP', 'Byte swap; not here'),
      bit(3, 'EMBA', 'Modified back-off'),
      bit(4, 'DXMT2PD', 'No two part deferral'),
      bit(5, 'LAPPEN', 'Look-ahead packets'),
      bit(6, 'DXSUFLO', 'Transmitter stays on after an underflow'),
      bit(8, 'IDONM'),
      bit(9, 'TINTM'),
      bit(10, 'RINTM'),
      bit(11, 'MERRM'),
      bit(12, 'MISSM'),
      bit(14, 'BABLM'),
    ],
  }),
  csr(4, 'TFEAT', 'Test and features', {
    reset: 0x0115,
    fields: [
      bit(0, 'JABM'),
      bit(1, 'JAB', 'Jabber error'),
      bit(2, 'TXSTRTM'),
      bit(3, 'TXSTRT', 'Transmission began'),
      bit(4, 'RCVCCOM'),
      bit(5, 'RCVCCO', 'Collision counter overflow'),
      bit(6, 'UINT', 'User interrupt pending'),
      bit(7, 'UINTCMD', 'Raise a user interrupt'),
      bit(8, 'MFCOM'),
      bit(9, 'MFCO', 'Missed frame counter overflow'),
      bit(10, 'ASTRP_RCV', 'Strip padding'),
      bit(11, 'APAD_XMT', 'Pad short frames; not here'),
      bit(12, 'DPOLL', 'Do not poll the transmit ring'),
      bit(13, 'TIMER'),
      bit(14, 'DMAPLUS'),
      bit(15, 'EN124', 'CSR124 can be reached'),
    ],
  }),
  csr(5, 'EXTCTL', 'Extended control and interrupt', {
    reset: 0,
    fields: [
      bit(0, 'SPND', 'Suspend'),
      bit(1, 'MPMODE', 'Magic Packet mode'),
      bit(2, 'MPEN'),
      bit(3, 'MPINTE'),
      bit(4, 'MPINT', 'Magic Packet received'),
      bit(5, 'MPPLBA'),
      bit(6, 'EXDINTE'),
      bit(7, 'EXDINT', 'Excessive deferral'),
      bit(8, 'SLPINTE'),
      bit(9, 'SLPINT', 'Sleep interrupt'),
      bit(10, 'SINTE'),
      bit(11, 'SINT', 'System error'),
      bit(14, 'LTINTEN', 'Last transmit interrupt, by TMD1.LTINT'),
      bit(15, 'TOKINTD', 'No interrupt for a frame sent well'),
    ],
  }),
  csr(6, 'RLEN/TLEN', 'Ring lengths as the initialization block had them', {
    access: 'ro',
    reset: 0,
    fields: [
      { name: 'RLEN', lsb: 8, bits: 4 },
      { name: 'TLEN', lsb: 12, bits: 4 },
    ],
  }),
  csr(8, 'LADRF0', 'Logical address filter, bits 15:0', { reset: 0 }),
  csr(9, 'LADRF1', 'Logical address filter, bits 31:16', { reset: 0 }),
  csr(10, 'LADRF2', 'Logical address filter, bits 47:32', { reset: 0 }),
  csr(11, 'LADRF3', 'Logical address filter, bits 63:48', { reset: 0 }),
  csr(12, 'PADR0', 'Physical address, bytes 0 and 1; a reset takes them from the PROM', { powerOn: 0 }),
  csr(13, 'PADR1', 'Physical address, bytes 2 and 3', { powerOn: 0 }),
  csr(14, 'PADR2', 'Physical address, bytes 4 and 5', { powerOn: 0 }),
  csr(15, 'MODE', 'Mode; a reset keeps the bits 0x21c4', {
    powerOn: 0,
    fields: [
      bit(0, 'DRX', 'No receiver'),
      bit(1, 'DTX', 'No transmitter'),
      bit(2, 'LOOP', 'Loopback'),
      bit(3, 'DXMTFCS', 'No FCS'),
      bit(4, 'FCOLL', 'Force collision'),
      bit(5, 'DRTY', 'No retry'),
      bit(6, 'INTL', 'Internal loopback'),
      { name: 'PORTSEL', lsb: 7, bits: 2, doc: 'Medium' },
      bit(9, 'LRT/TSEL'),
      bit(10, 'MENDECL'),
      bit(11, 'DAPC'),
      bit(12, 'DLNKTST', 'No link test'),
      bit(13, 'DRCVPA', 'Not by physical address'),
      bit(14, 'DRCVBC', 'No broadcast'),
      bit(15, 'PROM', 'Every frame'),
    ],
  }),
  csr(16, 'IADRL', 'CSR1 once more', { powerOn: 0 }),
  csr(17, 'IADRU', 'CSR2 once more', { powerOn: 0 }),
  ...pair(18, 19, 'CRBA', 'Current receive buffer'),
  ...pair(20, 21, 'CXBA', 'Current transmit buffer'),
  ...pair(22, 23, 'NRBA', 'Next receive buffer'),
  ...pair(24, 25, 'BADR', 'Receive ring'),
  ...pair(26, 27, 'NRDA', 'Next receive descriptor'),
  ...pair(28, 29, 'CRDA', 'Current receive descriptor'),
  ...pair(30, 31, 'BADX', 'Transmit ring'),
  ...pair(32, 33, 'NXDA', 'Next transmit descriptor'),
  ...pair(34, 35, 'CXDA', 'Current transmit descriptor'),
  ...pair(36, 37, 'NNRD', 'Next but one receive descriptor'),
  ...pair(38, 39, 'NNXD', 'Next but one transmit descriptor'),
  csr(40, 'CRBC', 'Current receive byte count', { powerOn: 0 }),
  csr(41, 'CRST', 'Current receive status', { powerOn: 0 }),
  csr(42, 'CXBC', 'Current transmit byte count', { powerOn: 0 }),
  csr(43, 'CXST', 'Current transmit status', { powerOn: 0 }),
  csr(44, 'NRBC', 'Next receive byte count', { powerOn: 0 }),
  csr(45, 'NRST', 'Next receive status', { powerOn: 0 }),
  csr(46, 'POLL', 'Poll timer', { powerOn: 0 }),
  csr(47, 'PI', 'Polling interval', { powerOn: 0 }),
  csr(58, 'SWS', 'BCR20 once more', { powerOn: 0 }),
  ...pair(60, 61, 'PXDA', 'Previous transmit descriptor', 'ro'),
  csr(62, 'PXBC', 'Previous transmit byte count', { access: 'ro', powerOn: 0 }),
  csr(63, 'PXST', 'Previous transmit status', { access: 'ro', powerOn: 0 }),
  csr(72, 'RCVRC', 'Receive ring counter: descriptors to the end of the ring', { reset: 1 }),
  csr(74, 'XMTRC', 'Transmit ring counter', { reset: 1 }),
  csr(76, 'RCVRL', 'Receive ring length; 0 is taken as 512', { reset: 1 }),
  csr(78, 'XMTRL', 'Transmit ring length; 0 is taken as 512', { reset: 1 }),
  csr(80, 'DMATCFW', 'DMA transfer counter and FIFO watermarks', { access: 'ro', reset: 0x1410 }),
  csr(88, 'CHIPIDL', 'Chip identity, lower half; a 32-bit read gives both', { access: 'ro', reset: 0x1003 }),
  csr(89, 'CHIPIDU', 'Chip identity, upper half: 0x2621 is the Am79C970A', { access: 'ro', reset: 0x0262 }),
  csr(94, 'XMTTDR', 'Transmit time domain reflectometry', { access: 'ro', reset: 0 }),
  csr(100, 'MERRTO', 'Bus timeout', { access: 'ro', reset: 0x0200 }),
  csr(103, 'CSR103', 'Reserved', { access: 'ro', reset: 0x0105 }),
  csr(112, 'MFC', 'Frames missed for want of a descriptor', { reset: 0, lock: STOP_LOCK }),
  csr(114, 'RCVCC', 'Receive collisions; none here', { access: 'ro', reset: 0 }),
  csr(122, 'AFC', 'Advanced features', { access: 'ro', reset: 0 }),
  csr(124, 'TEST', 'Test', { access: 'ro', reset: 0 }),
  bcr(0, 'MSRDA', 'Master mode read active', { access: 'ro', powerOn: 0x0005 }),
  bcr(1, 'MSWRA', 'Master mode write active', { access: 'ro', powerOn: 0x0005 }),
  bcr(2, 'MC', 'Miscellaneous configuration', {
    powerOn: 0x0002,
    fields: [
      bit(0, 'EADISEL'),
      bit(1, 'AWAKE'),
      bit(2, 'ASEL', 'Choose the medium by itself'),
      bit(3, 'XMAUSEL'),
      bit(8, 'APROMWE', 'The address PROM takes writes'),
      bit(12, 'LEDPE'),
      bit(14, 'TMAULOOP', 'Loopback needs no link'),
    ],
  }),
  bcr(4, 'LNKST', 'Link status LED', { powerOn: 0x00c0, fields: ledBits }),
  bcr(5, 'LED1', 'LED 1', { powerOn: 0x0084, fields: ledBits }),
  bcr(6, 'LED2', 'LED 2', { powerOn: 0x0088, fields: ledBits }),
  bcr(7, 'LED3', 'LED 3', { powerOn: 0x0090, fields: ledBits }),
  bcr(9, 'FDC', 'Full duplex', { powerOn: 0, fields: [bit(0, 'FDEN', 'Full duplex'), bit(1, 'AUIFD'), bit(2, 'FDRPAD')] }),
  bcr(16, 'IOBASEL', 'I/O base, lower half', { access: 'none' }),
  bcr(17, 'IOBASEU', 'I/O base, upper half', { access: 'none' }),
  bcr(18, 'BSBC', 'Bursts and bus control', {
    powerOn: 0x9001,
    fields: [
      bit(5, 'BWRITE', 'Burst writes'),
      bit(6, 'BREADE', 'Burst reads'),
      bit(7, 'DWIO', 'Ports are 32 bits wide; a reset clears it'),
      bit(8, 'EXTREQ'),
      bit(9, 'MEMCMD'),
    ],
  }),
  bcr(19, 'EECAS', 'EEPROM control and status; this card has no EEPROM', { powerOn: 0x0002 }),
  bcr(20, 'SWS', 'Software style; written only while the chip is stopped or suspended', {
    powerOn: 0x0200,
    fields: [
      { name: 'SWSTYLE', lsb: 0, bits: 8, values: { 0: 'LANCE', 1: 'ILACC', 2: 'PCnet-PCI', 3: 'PCnet-PCI II' } },
      bit(8, 'SSIZE32', 'Initialization block and descriptors are of 32-bit words'),
      bit(9, 'CSRPCNET'),
      bit(10, 'APERREN'),
    ],
  }),
  bcr(21, 'INTCON', 'Interrupt control', { access: 'none' }),
  bcr(22, 'PCILAT', 'PCI latency: MAX_LAT and MIN_GNT', { powerOn: 0xff06 }),
] as const satisfies readonly RegisterDef[];

export type PcnetRegister = (typeof table)[number]['name'];

/** All registers, ascending offset. */
export const pcnetRegisters: readonly RegisterDef<PcnetRegister>[] = table;

/** Bytes of the table's block. */
export const PCNET_TABLE_SIZE = 0x400;
/** Bytes of each BAR. */
export const PCNET_BLOCK_SIZE = 0x20;
/** Bytes of the address PROM, at the start of each BAR. */
export const APROM_SIZE = 16;

/** PCI identity, by which a reader of a trace may know the card. */
export const PCNET_VENDOR_ID = 0x1022;
export const PCNET_DEVICE_ID = 0x2000;

/** Bits of TMD1 and RMD1 (the word with the status), upper half. */
export const transmitStatusBits: readonly BitField[] = [
  bit(7, 'BPE', 'Bus parity error'),
  bit(8, 'ENP', 'End of packet'),
  bit(9, 'STP', 'Start of packet'),
  bit(10, 'DEF'),
  bit(11, 'ONE'),
  bit(12, 'MORE/LTINT', 'Last transmit interrupt'),
  bit(13, 'ADD/NO_FCS'),
  bit(14, 'ERR'),
  bit(15, 'OWN', 'The chip has it'),
];
export const receiveStatusBits: readonly BitField[] = [
  bit(4, 'BAM', 'Broadcast'),
  bit(5, 'LAFM', 'Logical address filter'),
  bit(6, 'PAM', 'Physical address'),
  bit(7, 'BPE', 'Bus parity error'),
  bit(8, 'ENP', 'End of packet'),
  bit(9, 'STP', 'Start of packet'),
  bit(10, 'BUFF', 'No further buffer'),
  bit(11, 'CRC'),
  bit(12, 'OFLO'),
  bit(13, 'FRAM'),
  bit(14, 'ERR'),
  bit(15, 'OWN', 'The chip has it'),
];
/** Bits of TMD2. */
export const transmitErrorBits: readonly BitField[] = [
  { name: 'TRC', lsb: 0, bits: 4, doc: 'Retries' },
  { name: 'TDR', lsb: 16, bits: 10 },
  bit(26, 'RTRY'),
  bit(27, 'LCAR', 'No carrier'),
  bit(28, 'LCOL'),
  bit(29, 'EXDEF'),
  bit(30, 'UFLO', 'Underflow'),
  bit(31, 'BUFF', 'The next descriptor was missing'),
];
