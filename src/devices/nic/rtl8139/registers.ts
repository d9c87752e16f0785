// biome-ignore-all format: a table, a row a line or a few
/**
 * The registers of the RTL8139C(L)+, once: C mode (the original RTL8139 interface) and C+ mode (descriptor rings).
 * Names are those of Linux's 8139too and 8139cp, `dataSheet` those of Realtek's data sheets (RTL8139C 1.4, RTL8139C(L)+ 1.6).
 * Reset values and partial accesses are those of QEMU's model, which drivers are tested against; where that
 * differs from the data sheet, docs/rtl8139.md says so.
 */
import { repeat, type BitField, type RegisterDef } from '../../registers.ts';

/** Configuration registers open for writing: Cfg9346 mode bits = 11. */
export const CONFIG_LOCK = 'Cfg9346';

const bit = (lsb: number, name: string, doc?: string): BitField => (doc === undefined ? { name, lsb } : { name, lsb, doc });

const interruptBits: readonly BitField[] = [
  bit(0, 'RxOK', 'A frame was received'),
  bit(1, 'RxErr', 'A frame came in damaged'),
  bit(2, 'TxOK', 'A frame has left'),
  bit(3, 'TxErr', 'A frame could not leave'),
  bit(4, 'RxOverflow', 'No room in the receive ring, or no descriptor'),
  bit(5, 'RxUnderrun', 'Read pointer ran past the write pointer, or link change'),
  bit(6, 'RxFIFOOver', 'Receive FIFO overflow'),
  bit(7, 'TxEmpty', 'C+: transmit descriptor unavailable'),
  bit(8, 'SWInt', 'C+: software interrupt'),
  bit(13, 'CableLen', 'Cable length changed'),
  bit(14, 'PCSTimeout', 'Timer reached TimerInt'),
  bit(15, 'PCIErr', 'PCI system error'),
];

const txStatusBits: readonly BitField[] = [
  { name: 'Size', lsb: 0, bits: 13, doc: 'Bytes to send, from TxAddr' },
  bit(13, 'OWN', 'Set by the chip when the buffer is fetched; clearing it starts the transfer'),
  bit(14, 'TUN', 'FIFO underrun'),
  bit(15, 'TOK', 'Sent'),
  { name: 'ERTXTH', lsb: 16, bits: 6, doc: 'Early transmit threshold, in 32 bytes' },
  { name: 'NCC', lsb: 24, bits: 4, doc: 'Collisions' },
  bit(28, 'CDH', 'Heart beat lost'),
  bit(29, 'OWC', 'Out-of-window collision'),
  bit(30, 'TABT', 'Aborted'),
  bit(31, 'CRS', 'Carrier lost'),
];

const perDescriptor = (name: string, first: number): BitField[] =>
  [0, 1, 2, 3].map((n) => ({ name: `${name}${n}`, lsb: first + n }));

const table = [
  ...repeat('MAC', [0, 1, 2, 3, 4, 5], {
    offset: 0x00, width: 1, access: 'rw', dataSheet: 'IDR',
    doc: 'Station address, loaded from the EEPROM by a reset',
  }),
  ...repeat('MAR', [0, 1, 2, 3, 4, 5, 6, 7], {
    offset: 0x08, width: 1, access: 'rw', powerOn: 0,
    doc: 'Multicast hash filter: one bit for each value of the upper 6 bits of the CRC of the address',
  }),
  ...repeat('TxStatus', [0, 1, 2, 3], {
    offset: 0x10, width: 4, access: 'rw', reset: 0x2000, dataSheet: 'TSD', writable: 0x003f3fff, mode: 'C',
    partial: { readb: 0xf }, fields: txStatusBits,
    doc: 'Transmit status of one of four buffers; a write starts the transfer',
  }, (n) => n > 1 ? undefined : n === 1
    ? { mode: 'C+', name: 'StatsAddrHI', doc: 'Tally counter dump: address, upper half (DTCCR)' }
    : {
        mode: 'C+', name: 'StatsAddr', doc: 'Tally counter dump: 64-byte aligned address, lower half, and command (DTCCR)',
        fields: [bit(3, 'DumpStats', 'Set: dump now; clears when done'), { name: 'Addr', lsb: 6, bits: 26 }],
      }),
  ...repeat('TxAddr', [0, 1, 2, 3], {
    offset: 0x20, width: 4, access: 'rw', powerOn: 0, dataSheet: 'TSAD', mode: 'C', partial: { readw: 0b0101 },
    doc: 'Guest-physical address of the buffer to send',
  }, (n) => ({
    mode: 'C+', name: ['TxRingAddr', 'TxRingAddrHI', 'HiTxRingAddr', 'HiTxRingAddrHI'][n]!,
    doc: ['Normal-priority transmit ring: guest-physical address, lower half (TNPDS)',
      'Normal-priority transmit ring, upper half',
      'High-priority transmit ring, lower half (THPDS); never walked', 'High-priority transmit ring, upper half'][n]!,
  })),
  { name: 'RxBuf', dataSheet: 'RBSTART', offset: 0x30, width: 4, access: 'rw', reset: 0,
    doc: 'C mode receive ring: guest-physical address' },
  { name: 'RxEarlyCnt', dataSheet: 'ERBCR', offset: 0x34, width: 2, access: 'none',
    doc: 'Early receive byte count; no early interrupts here' },
  {
    name: 'RxEarlyStatus', dataSheet: 'ERSR', offset: 0x36, width: 1, access: 'none',
      doc: 'Early receive status; no early interrupts here',
    fields: [bit(0, 'EROK'), bit(1, 'EROVW'), bit(2, 'ERBad'), bit(3, 'ERGood')],
  },
  {
    name: 'ChipCmd', dataSheet: 'CR', offset: 0x37, width: 1, access: 'rw', reset: 0x10, writable: 0x1c, log: { write: 8,
      read: 4 },
    fields: [
      bit(0, 'RxBufEmpty', 'Nothing to read in the C mode receive ring'), bit(2, 'CmdTxEnb', 'Transmitter on'),
      bit(3, 'CmdRxEnb', 'Receiver on'), bit(4, 'CmdReset', 'Reset the chip; reads as set until the first write'),
    ],
    doc: 'Command',
  },
  { name: 'RxBufPtr', dataSheet: 'CAPR', offset: 0x38, width: 2, access: 'rw', doc: 'Driver has read up to here, less 16' },
  { name: 'RxBufAddr', dataSheet: 'CBR', offset: 0x3a, width: 2, access: 'ro',
    doc: 'Chip writes here next in the C mode receive ring' },
  {
    name: 'IntrMask', dataSheet: 'IMR', offset: 0x3c, width: 2, access: 'rw', reset: 0, writable: 0xe1ff, fields: interruptBits,
    log: { suffix: '(w)' }, doc: 'Interrupts wanted',
  },
  {
    name: 'IntrStatus', dataSheet: 'ISR', offset: 0x3e, width: 2, access: 'w1c', reset: 0, writable: 0xe1ff,
      fields: interruptBits,
    log: { suffix: '(w)' }, doc: 'Interrupts pending; a read clears nothing',
  },
  {
    name: 'TxConfig', dataSheet: 'TCR', offset: 0x40, width: 4, access: 'rw', reset: 0x74800000, writable: 0x030f07f0,
    partial: { readb: 0b1000, writeb: 0b0001 }, log: { read: 4 },
    fields: [
      bit(0, 'CLRABT', 'Send the aborted frame again'), { name: 'TXRR', lsb: 4, bits: 4, doc: 'Retries: 16 + 16 × TXRR' },
      { name: 'MXDMA', lsb: 8, bits: 3, doc: 'DMA burst: 16 << MXDMA bytes' }, bit(16, 'CRC', 'Append no CRC'),
      { name: 'LBK', lsb: 17, bits: 2, doc: 'Loopback', values: { 3: 'loopback' } }, bit(19, 'IFG2'),
      { name: 'HWVERID_B', lsb: 22, bits: 2, doc: 'Chip version, lower part' }, { name: 'IFG', lsb: 24, bits: 2,
        doc: 'Interframe gap' },
      { name: 'HWVERID_A', lsb: 26, bits: 5, doc: 'Chip version, upper part (with B: 0x74800000 is the RTL8139C+)' },
    ],
    doc: 'Transmit configuration; written only while the transmitter is on',
  },
  {
    name: 'RxConfig', dataSheet: 'RCR', offset: 0x44, width: 4, access: 'rw', powerOn: 0, writable: 0x0f03ffbf,
    fields: [
      bit(0, 'AcceptAllPhys', 'Every frame'), bit(1, 'AcceptMyPhys', 'Frames to MAC0…5'), bit(2, 'AcceptMulticast',
        'Multicast through MAR'),
      bit(3, 'AcceptBroadcast'), bit(4, 'AcceptRunt'), bit(5, 'AcceptErr'),
      bit(7, 'NoWrap', 'A frame at the end of the ring continues past it, by up to 1.5 KiB'), { name: 'MXDMA', lsb: 8, bits: 3 },
      { name: 'RxBufLen', lsb: 11, bits: 2, doc: 'C mode ring size', values: { 0: '8K', 1: '16K', 2: '32K', 3: '64K' } },
      { name: 'RXFTH', lsb: 13, bits: 3, doc: 'FIFO threshold' }, bit(16, 'RER8'), bit(17, 'MulERINT'), { name: 'ERTH', lsb: 24,
        bits: 4 },
    ],
    doc: 'Receive configuration; a write empties the C mode ring',
  },
  { name: 'Timer', dataSheet: 'TCTR', offset: 0x48, width: 4, access: 'rw', log: { label: 'TCTR Timer' },
    doc: 'Counts up every 30 ns; any write clears it' },
  { name: 'RxMissed', dataSheet: 'MPC', offset: 0x4c, width: 4, access: 'wc', powerOn: 0,
    doc: 'Frames lost for want of room; any write clears it' },
  {
    name: 'Cfg9346', dataSheet: '9346CR', offset: 0x50, width: 1, access: 'rw', powerOn: 0, writable: 0xce,
    fields: [
      bit(0, 'EEDO', 'EEPROM data out'), bit(1, 'EEDI', 'EEPROM data in'), bit(2, 'EESK', 'EEPROM clock'), bit(3, 'EECS',
        'EEPROM select'),
      { name: 'EEM', lsb: 6, bits: 2, doc: 'Operating mode', values: { 0: 'normal', 1: 'autoload', 2: 'program',
        3: 'config-write' } },
    ],
    doc: 'EEPROM wires, and the lock of the configuration registers',
  },
  {
    name: 'Config0', offset: 0x51, width: 1, access: 'rw', reset: 0, writable: 0x07, lock: CONFIG_LOCK,
    fields: [{ name: 'BS', lsb: 0, bits: 3, doc: 'Boot ROM size' }, bit(6, 'PCS'), bit(7, 'SCR')], doc: 'Configuration 0',
  },
  {
    name: 'Config1', offset: 0x52, width: 1, access: 'rw', reset: 0x0c, writable: 0xf3, lock: CONFIG_LOCK,
    fields: [
      bit(0, 'PMEn', 'Power management'), bit(1, 'VPD'), bit(2, 'IOMAP', 'Registers in I/O space'), bit(3, 'MEMMAP',
        'Registers in memory space'),
      bit(4, 'LWACT'), bit(5, 'DVRLOAD', 'Driver is loaded'), bit(6, 'LEDS0'), bit(7, 'LEDS1'),
    ],
    doc: 'Configuration 1',
  },
  { name: 'TimerInt', offset: 0x54, width: 4, access: 'rw', reset: 0, log: { label: 'FlashReg TimerInt' },
    doc: 'PCSTimeout when Timer reaches this; 0 never' },
  {
    name: 'MediaStatus', dataSheet: 'MSR', offset: 0x58, width: 1, access: 'ro',
    fields: [
      bit(0, 'RXPF'), bit(1, 'TXPF'), bit(2, 'LinkFail', 'No link'), bit(3, 'Speed10', '10 Mb/s'), bit(4, 'Aux',
        'Auxiliary power'),
      bit(6, 'RXFCE', 'Receive flow control'), bit(7, 'TXFCE', 'Transmit flow control'),
    ],
    log: { read: 2 }, doc: 'Link state',
  },
  {
    name: 'Config3', offset: 0x59, width: 1, access: 'rw', reset: 0x01, writable: 0x70, lock: CONFIG_LOCK,
    fields: [
      bit(0, 'FBtBEn'), bit(1, 'FuncRegEn'), bit(2, 'CLKRUN_En'), bit(3, 'CardB_En'), bit(4, 'LinkUp', 'Wake up on link change'),
      bit(5, 'Magic', 'Wake up on Magic Packet'), bit(6, 'PARM_En'), bit(7, 'GNTSel'),
    ],
    doc: 'Configuration 3',
  },
  {
    name: 'Config4', offset: 0x5a, width: 1, access: 'rw', powerOn: 0, writable: 0xf5, lock: CONFIG_LOCK,
    fields: [bit(0, 'PBWakeup'), bit(2, 'LWPTN'), bit(4, 'LWPME'), bit(6, 'AnaOff'), bit(7, 'RxFIFOAutoClr')],
      doc: 'Configuration 4',
  },
  { name: 'HltClk', offset: 0x5b, width: 1, access: 'rw', log: { write: 8, read: 2 },
    doc: "'H' stops the clock, 'R' runs it: a stopped chip takes no frame and no timer interrupt" },
  {
    name: 'MultiIntr', dataSheet: 'MULINT', offset: 0x5c, width: 2, access: 'rw', powerOn: 0, writable: 0x0fff,
      log: { suffix: '(w)' },
    fields: [{ name: 'MISR', lsb: 0, bits: 12 }], doc: 'Early interrupt threshold; no early interrupts here',
  },
  { name: 'PCIRevisionID', dataSheet: 'RERID', offset: 0x5e, width: 1, access: 'ro', doc: 'As in configuration space' },
  {
    name: 'TxSummary', dataSheet: 'TSAD', offset: 0x60, width: 2, access: 'ro', log: { label: 'TSAD' },
    fields: [...perDescriptor('OWN', 0), ...perDescriptor('TABT', 4), ...perDescriptor('TUN', 8), ...perDescriptor('TOK', 12)],
    doc: 'OWN, TABT, TUN and TOK of the four transmit buffers',
  },
  {
    name: 'BasicModeCtrl', dataSheet: 'BMCR', offset: 0x62, width: 2, access: 'rw', reset: 0x1000, writable: 0x0200,
      log: { label: 'BasicModeCtrl register', suffix: '(w)' },
    fields: [bit(8, 'Duplex'), bit(9, 'RestartAN', 'Negotiate anew'), bit(12, 'ANE', 'Auto-negotiation'), bit(13, 'Speed100'),
      bit(15, 'Reset', 'Reset the PHY')],
    doc: 'PHY control',
  },
  {
    name: 'BasicModeStatus', dataSheet: 'BMSR', offset: 0x64, width: 2, access: 'rw', reset: 0x782d, writable: 0x00c0,
      log: { label: 'BasicModeStatus register', suffix: '(w)' },
    fields: [
      bit(0, 'ExtCap'), bit(1, 'Jabber'), bit(2, 'Link'), bit(3, 'ANAble'), bit(4, 'RemoteFault'), bit(5, 'ANComplete'),
      bit(11, '10Half'), bit(12, '10Full'), bit(13, '100Half'), bit(14, '100Full'), bit(15, '100T4'),
    ],
    doc: 'PHY status',
  },
  { name: 'NWayAdvert', dataSheet: 'ANAR', offset: 0x66, width: 2, access: 'rw', reset: 0x05e1, log: { suffix: '(w)' },
    doc: 'What the PHY advertises' },
  { name: 'NWayLPAR', dataSheet: 'ANLPAR', offset: 0x68, width: 2, access: 'ro', reset: 0x05e1, log: { suffix: '(w)' },
    doc: 'What the link partner advertises' },
  { name: 'NWayExpansion', dataSheet: 'ANER', offset: 0x6a, width: 2, access: 'rw', reset: 0x0001, log: { suffix: '(w)' },
    doc: 'Auto-negotiation expansion' },
  { name: 'Disconnects', dataSheet: 'DIS', offset: 0x6c, width: 2, access: 'none', doc: 'PHY disconnect counter' },
  { name: 'FalseCarrier', dataSheet: 'FCSC', offset: 0x6e, width: 2, access: 'none', doc: 'PHY false carrier counter' },
  { name: 'FIFOTMS', dataSheet: 'NWAYTR', offset: 0x70, width: 2, access: 'none', doc: 'N-way test' },
  { name: 'RxErrCounter', dataSheet: 'REC', offset: 0x72, width: 2, access: 'none', doc: 'PHY receive error counter' },
  {
    name: 'CSCR', offset: 0x74, width: 2, access: 'ro', reset: 0x0340,
    fields: [
      bit(0, 'PASS_SCR'), bit(2, 'ConStatusEn'), bit(3, 'ConStatus'), bit(5, 'F_Connect'), bit(6, 'F_LINK_100'), bit(7, 'JBEN'),
      bit(8, 'HEART_BIT'), bit(9, 'LD'), bit(11, 'LinkChange', 'The cable went in or out; a read clears it'), bit(15, 'Testfun'),
    ],
    doc: 'Chip status and configuration',
  },
  { name: 'PARA78', dataSheet: 'PHY1_PARM', offset: 0x78, width: 4, access: 'none', doc: 'Transceiver parameter' },
  { name: 'PARA7c', dataSheet: 'TW_PARM', offset: 0x7c, width: 4, access: 'none', doc: 'Twister parameter' },
  { name: 'PARA80', dataSheet: 'PHY2_PARM', offset: 0x80, width: 1, access: 'none', doc: 'Transceiver parameter' },
  { name: 'TxDmaOkLowDesc', dataSheet: 'TDOKLA', offset: 0x82, width: 2, access: 'none',
    doc: 'C+: address of the last descriptor that was sent, lower half' },
  ...repeat('CRC', [0, 1, 2, 3, 4, 5, 6, 7], { offset: 0x84, width: 1, access: 'none', doc: 'CRC of a wake-up frame' }),
  { name: 'FlashRW', dataSheet: 'FLASH', offset: 0xd4, width: 4, access: 'none', doc: 'C+: boot flash' },
  {
    name: 'Config5', offset: 0xd8, width: 1, access: 'rw', reset: 0, writable: 0x7f,
    fields: [bit(0, 'PME_STS'), bit(1, 'LANWake'), bit(2, 'LDPS'), bit(3, 'FIFOAddrPtr'), bit(4, 'UWF'), bit(5, 'MWF'), bit(6,
      'BWF')],
    doc: 'Configuration 5',
  },
  {
    name: 'TxPoll', dataSheet: 'TPPoll', offset: 0xd9, width: 1, access: 'cmd', mode: 'C+', log: { label: 'C+ TxPoll',
      suffix: '(b)' },
    fields: [bit(0, 'FSWInt', 'Software interrupt'), bit(6, 'NPQ', 'Walk the normal-priority ring'), bit(7, 'HPQ',
      'Walk the high-priority ring; does nothing here')],
    doc: 'Doorbell: look for transmit descriptors',
  },
  { name: 'RxMaxSize', dataSheet: 'RMS', offset: 0xda, width: 2, access: 'none', mode: 'C+', doc: 'Longest frame taken (8169)' },
  {
    name: 'CpCmd', dataSheet: 'CPCR', offset: 0xe0, width: 2, access: 'rw', reset: 0, writable: 0x007b, mode: 'C+',
      log: { label: 'C+ command register', suffix: '(w)' },
    fields: [
      bit(0, 'CPlusTxEnb', 'Transmit by descriptors'), bit(1, 'CPlusRxEnb', 'Receive by descriptors'), bit(3, 'PCIMulRW',
        'PCI multiple read and write'),
      bit(4, 'PCIDAC', '64-bit addresses'), bit(5, 'RxChkSum', 'Receive checksum offload'), bit(6, 'RxVlanOn',
        'Take VLAN tags off'),
    ],
    doc: 'C+ command; the first write makes StatsAddr of TxStatus',
  },
  { name: 'IntrMitigate', offset: 0xe2, width: 2, access: 'none', mode: 'C+', log: { label: 'C+ IntrMitigate register',
    suffix: '(w)' }, doc: 'Interrupt mitigation (8169)' },
  { name: 'RxRingAddr', dataSheet: 'RDSAR', offset: 0xe4, width: 4, access: 'rw', reset: 0, mode: 'C+',
    log: { label: 'C+ RxRing low bits' }, doc: 'Receive ring: guest-physical address, lower half; both halves zero: no ring' },
  { name: 'RxRingAddrHI', dataSheet: 'RDSAR+4', offset: 0xe8, width: 4, access: 'rw', reset: 0, mode: 'C+',
    log: { label: 'C+ RxRing high bits' }, doc: 'Receive ring, upper half' },
  { name: 'TxThresh', dataSheet: 'ETThR', offset: 0xec, width: 1, access: 'rw', powerOn: 0, mode: 'C+',
    log: { label: 'C+ TxThresh', suffix: '(b)' }, doc: 'Early transmit threshold' },
  { name: 'FuncEvent', dataSheet: 'FER', offset: 0xf0, width: 4, access: 'none', doc: 'CardBus function event' },
  { name: 'FuncEventMask', dataSheet: 'FEMR', offset: 0xf4, width: 4, access: 'none', doc: 'CardBus function event mask' },
  { name: 'FuncPresetState', dataSheet: 'FPSR', offset: 0xf8, width: 4, access: 'none', doc: 'CardBus function present state' },
  { name: 'FuncForceEvent', dataSheet: 'FFER', offset: 0xfc, width: 4, access: 'none', doc: 'CardBus function force event' },
] as const satisfies readonly RegisterDef[];

export type Rtl8139Register = (typeof table)[number]['name'];

/** All registers, ascending offset. */
export const rtl8139Registers: readonly RegisterDef<Rtl8139Register>[] = table;

/** Bytes of the register block, in both BARs. */
export const RTL8139_BLOCK_SIZE = 256;

/** PCI identity, by which a reader of a trace may know the card. */
export const RTL8139_VENDOR_ID = 0x10ec;
export const RTL8139_DEVICE_ID = 0x8139;
