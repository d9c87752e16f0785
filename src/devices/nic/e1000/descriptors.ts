/**
 * The descriptors of the 82540EM (manual, sections 3.2.3 "Receive Descriptor Format" and 3.3.3 to 3.3.7, transmit descriptors), as
 * tables like those of registers: four little-endian 32-bit words, `offset` within the 16 bytes. The chip, the reading of its traces
 * and docs/e1000.md are made from them.
 */
import type { BitField, RegisterDef } from '../../registers.ts';
import { bit } from './registers.ts';

export const DESCRIPTOR_SIZE = 16;

const word = { width: 4, access: 'rw' } as const;
const address: readonly RegisterDef[] = [
  { ...word, name: 'Address', offset: 0, doc: 'Buffer: guest-physical address, lower half' },
  { ...word, name: 'AddressHI', offset: 4, doc: 'Buffer: upper half' },
];

const status: readonly BitField[] = [
  bit(0, 'DD', 'Done: the chip is through with the descriptor'),
  bit(1, 'EC', 'Excess collisions'),
  bit(2, 'LC', 'Late collision'),
  bit(3, 'TU', 'Underrun'),
];

export const legacyTxDescriptor: readonly RegisterDef[] = [
  ...address,
  {
    ...word,
    name: 'Command',
    offset: 8,
    doc: 'Length and command',
    fields: [
      { name: 'Length', lsb: 0, bits: 16, doc: 'Bytes at Address' },
      { name: 'CSO', lsb: 16, bits: 8, doc: 'Where to put a checksum; not used here' },
      bit(24, 'EOP', 'The frame ends here'),
      bit(25, 'IFCS', 'Append the CRC'),
      bit(26, 'IC', 'Insert a checksum; not done here'),
      bit(27, 'RS', 'Report when done'),
      bit(28, 'RPS', 'Report when sent'),
      bit(29, 'DEXT', 'Not a legacy descriptor'),
      bit(30, 'VLE', 'Put a VLAN tag in'),
      bit(31, 'IDE', 'The interrupt may wait'),
    ],
  },
  {
    ...word,
    name: 'Status',
    offset: 12,
    doc: 'Status',
    fields: [
      ...status,
      { name: 'CSS', lsb: 8, bits: 8, doc: 'Where a checksum begins; not used here' },
      { name: 'Special', lsb: 16, bits: 16, doc: 'VLAN tag' },
    ],
  },
];

export const contextTxDescriptor: readonly RegisterDef[] = [
  {
    ...word,
    name: 'IPSetup',
    offset: 0,
    doc: 'IP checksum',
    fields: [
      { name: 'IPCSS', lsb: 0, bits: 8, doc: 'First byte' },
      { name: 'IPCSO', lsb: 8, bits: 8, doc: 'Where to put it' },
      { name: 'IPCSE', lsb: 16, bits: 16, doc: 'Last byte; 0: that of the frame' },
    ],
  },
  {
    ...word,
    name: 'TUSetup',
    offset: 4,
    doc: 'TCP or UDP checksum',
    fields: [
      { name: 'TUCSS', lsb: 0, bits: 8, doc: 'First byte' },
      { name: 'TUCSO', lsb: 8, bits: 8, doc: 'Where to put it' },
      { name: 'TUCSE', lsb: 16, bits: 16, doc: 'Last byte; 0: that of the frame' },
    ],
  },
  {
    ...word,
    name: 'Command',
    offset: 8,
    doc: 'Length and command',
    fields: [
      { name: 'PAYLEN', lsb: 0, bits: 20, doc: 'Large send: bytes after the headers' },
      { name: 'DTYP', lsb: 20, bits: 4, doc: 'Type', values: { 0: 'context' } },
      bit(24, 'TCP', 'TCP, not UDP'),
      bit(25, 'IP', 'IPv4, not IPv6'),
      bit(26, 'TSE', 'For large sends'),
      bit(27, 'RS', 'Report when done'),
      bit(29, 'DEXT', 'Not a legacy descriptor'),
      bit(31, 'IDE', 'The interrupt may wait'),
    ],
  },
  {
    ...word,
    name: 'Segmentation',
    offset: 12,
    doc: 'Status, and segmentation',
    fields: [
      bit(0, 'DD', 'Done'),
      { name: 'HDRLEN', lsb: 8, bits: 8, doc: 'Bytes of headers before the payload' },
      { name: 'MSS', lsb: 16, bits: 16, doc: 'Most bytes of payload in a segment' },
    ],
  },
];

export const dataTxDescriptor: readonly RegisterDef[] = [
  ...address,
  {
    ...word,
    name: 'Command',
    offset: 8,
    doc: 'Length and command',
    fields: [
      { name: 'DTALEN', lsb: 0, bits: 20, doc: 'Bytes at Address; the lower 16 bits count here' },
      { name: 'DTYP', lsb: 20, bits: 4, doc: 'Type', values: { 1: 'data' } },
      bit(24, 'EOP', 'The frame ends here'),
      bit(25, 'IFCS', 'Append the CRC'),
      bit(26, 'TSE', 'Large send'),
      bit(27, 'RS', 'Report when done'),
      bit(28, 'RPS', 'Report when sent'),
      bit(29, 'DEXT', 'Not a legacy descriptor'),
      bit(30, 'VLE', 'Put a VLAN tag in'),
      bit(31, 'IDE', 'The interrupt may wait'),
    ],
  },
  {
    ...word,
    name: 'Status',
    offset: 12,
    doc: 'Status and options',
    fields: [
      ...status,
      bit(8, 'IXSM', 'Put the IP checksum in'),
      bit(9, 'TXSM', 'Put the TCP or UDP checksum in'),
      { name: 'Special', lsb: 16, bits: 16, doc: 'VLAN tag' },
    ],
  },
];

export const rxDescriptor: readonly RegisterDef[] = [
  ...address,
  {
    ...word,
    name: 'Length',
    offset: 8,
    doc: 'Length and checksum',
    fields: [
      { name: 'Length', lsb: 0, bits: 16, doc: 'Bytes in the buffer' },
      { name: 'Checksum', lsb: 16, bits: 16, doc: 'Never written here' },
    ],
  },
  {
    ...word,
    name: 'Status',
    offset: 12,
    doc: 'Status and errors',
    fields: [
      bit(0, 'DD', 'Done: the chip is through with the descriptor'),
      bit(1, 'EOP', 'The frame ends here'),
      bit(2, 'IXSM', 'No checksum was looked at'),
      bit(3, 'VP', 'A VLAN tag was taken off'),
      bit(5, 'TCPCS'),
      bit(6, 'IPCS'),
      bit(7, 'PIF', 'Let in by MTA alone'),
      bit(8, 'CE', 'Bad CRC'),
      bit(9, 'SE', 'Symbol error'),
      bit(10, 'SEQ', 'Sequence error'),
      bit(12, 'CXE', 'Carrier extension error'),
      bit(13, 'TCPE', 'Bad TCP or UDP checksum'),
      bit(14, 'IPE', 'Bad IP checksum'),
      bit(15, 'RXE', 'Receive error'),
      { name: 'Special', lsb: 16, bits: 16, doc: 'VLAN tag' },
    ],
  },
];

export type TxKind = 'legacy' | 'context' | 'data';

/** Mask of a descriptor's bit field, in its word. */
export function descriptorMask(layout: readonly RegisterDef[], wordName: string, name: string): number {
  const field = layout.find((w) => w.name === wordName)?.fields?.find((f) => f.name === name);
  if (!field) throw new Error(`e1000: no field ${name} in ${wordName} of this descriptor`);
  return ((2 ** (field.bits ?? 1) - 1) * 2 ** field.lsb) >>> 0;
}

export const TXD_EOP = descriptorMask(dataTxDescriptor, 'Command', 'EOP');
export const TXD_TSE = descriptorMask(dataTxDescriptor, 'Command', 'TSE');
export const TXD_VLE = descriptorMask(dataTxDescriptor, 'Command', 'VLE');
export const TXD_IDE = descriptorMask(dataTxDescriptor, 'Command', 'IDE');
const TXD_DEXT = descriptorMask(dataTxDescriptor, 'Command', 'DEXT');
/** DTYP 1; the chip looks at this bit alone. */
const TXD_DTYP_D = 0x00100000;
/** The chip writes its status back where the driver asks for it. */
export const TXD_REPORT =
  (descriptorMask(dataTxDescriptor, 'Command', 'RS') | descriptorMask(dataTxDescriptor, 'Command', 'RPS')) >>> 0;
export const TXD_LENGTH = 0xffff;
export const TXD_DD = descriptorMask(dataTxDescriptor, 'Status', 'DD');
/** Status bits that the chip clears when it is done. */
export const TXD_TROUBLE = status.slice(1).reduce((mask, { lsb }) => mask | (1 << lsb), 0);
export const CTX_TCP = descriptorMask(contextTxDescriptor, 'Command', 'TCP');
export const CTX_IP = descriptorMask(contextTxDescriptor, 'Command', 'IP');
export const CTX_PAYLEN = descriptorMask(contextTxDescriptor, 'Command', 'PAYLEN');
/** Options of a data descriptor, shifted down from bit 8 of its Status. */
export const POPTS_IXSM = descriptorMask(dataTxDescriptor, 'Status', 'IXSM') >>> 8;
export const POPTS_TXSM = descriptorMask(dataTxDescriptor, 'Status', 'TXSM') >>> 8;
export const RXD_DD = descriptorMask(rxDescriptor, 'Status', 'DD');
export const RXD_EOP = descriptorMask(rxDescriptor, 'Status', 'EOP');
export const RXD_IXSM = descriptorMask(rxDescriptor, 'Status', 'IXSM');
export const RXD_VP = descriptorMask(rxDescriptor, 'Status', 'VP');

/** Which kind of transmit descriptor a Command word makes. */
export const txKind = (command: number): TxKind =>
  (command & TXD_DEXT) === 0 ? 'legacy' : (command & TXD_DTYP_D) === 0 ? 'context' : 'data';
