import { byName, fromField, masks, valueOf } from '../../../../base/testing/by-name.ts';
import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import { E1000, type E1000Options } from '../core.ts';
import type { BitField, RegisterDef } from '../../../registers.ts';
import { COMMAND_ON, pciConfig } from '../../../testing/pci-config.ts';
import {
  contextTxDescriptor,
  dataTxDescriptor,
  DESCRIPTOR_SIZE,
  descriptorMask,
  legacyTxDescriptor,
  POPTS_IXSM,
  POPTS_TXSM,
  rxDescriptor,
  type TxKind,
} from '../descriptors.ts';
import { phyRegisters, type PhyRegister } from '../phy.ts';
import { e1000Registers, type E1000Register } from '../registers.ts';
import type { TxContext } from '../state.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the two BARs. */
export const RAM = 0x100_0000;
export const BAR = 0xe000_0000;
export const IO = 0xc000;
/** Offsets in RAM: rings, and the buffers of the receive ring. */
export const TX_RING = 0x0000;
export const RX_RING = 0x2000;
export const RX_BUFFERS = 0x10000;
/** After a write of RCTL frames are held back no longer than this. */
const HOLD_NS = 1_001_000_000;

/** A register, or one of an array: `TDT`, `MTA[5]`. */
type Named = E1000Register | `${E1000Register}[${number}]`;

const fieldsIn = (table: readonly RegisterDef[], name: string): readonly BitField[] | undefined =>
  table.find((r) => r.name === name)?.fields;
const bits = <const N extends string>(name: E1000Register, ...fields: readonly N[]) =>
  masks(name, fieldsIn(e1000Registers, name), ...fields);
const phyBits = <const N extends string>(name: PhyRegister, ...fields: readonly N[]) =>
  masks(name, fieldsIn(phyRegisters, name), ...fields);
/** Bits of the registers, `RCTL.EN`; `INT` has those of ICR, ICS, IMS and IMC. */
export const CTRL = bits('CTRL', 'RST', 'VME');
export const STATUS = bits('STATUS', 'LU');
export const EECD = bits('EECD', 'SK', 'CS', 'DI', 'DO', 'REQ', 'GNT', 'PRES');
export const EERD = bits('EERD', 'START', 'DONE', 'ADDR', 'DATA');
export const MDIC = bits('MDIC', 'DATA', 'READY', 'ERROR');
export const INT = bits('ICR', 'TXDW', 'TXQE', 'LSC', 'RXSEQ', 'RXDMT0', 'RXO', 'RXT0', 'MDAC');
export const RCTL = bits('RCTL', 'EN', 'SBP', 'UPE', 'MPE', 'LPE', 'RDMTS', 'MO', 'BAM', 'BSIZE', 'VFE');
export const TCTL = bits('TCTL', 'EN');
export const RAH = bits('RAH', 'AV');
export const PHY_CTRL = phyBits(
  'PHY_CTRL',
  ...(['SPEED_SELECT_MSB', 'FULL_DUPLEX', 'RESTART_AUTO_NEG', 'AUTO_NEG_EN', 'LOOPBACK'] as const),
);
export const PHY_STATUS = phyBits('PHY_STATUS', 'LINK_STATUS', 'AUTONEG_COMPLETE');
/** 1000 Mb/s, full duplex. */
export const GIGABIT = PHY_CTRL.SPEED_SELECT_MSB | PHY_CTRL.FULL_DUPLEX;
/** Bits of a receive descriptor's Status. */
export const RXD = masks('receive descriptor', fieldsIn(rxDescriptor, 'Status'), 'DD', 'EOP', 'IXSM', 'VP');
/** Both checksums, for a data descriptor's options. */
export const CHECKSUMS = POPTS_IXSM | POPTS_TXSM;

/** What MDIC takes to read or write a PHY register; the chip's own PHY is at 1. */
export const mdic = (op: 'read' | 'write', register: PhyRegister | number, data = 0, phy = 1): number =>
  valueOf('MDIC', fieldsIn(e1000Registers, 'MDIC'), { OP: op, DATA: data, PHYADD: phy, REGADD: phyNumber(register) });
const phyNumber = (register: PhyRegister | number): number =>
  typeof register === 'number' ? register : phyRegisters.find((r) => r.name === register)!.offset;

/** Flags of Command in a data descriptor; a legacy descriptor has all but TSE. */
const flags = masks('data descriptor', fieldsIn(dataTxDescriptor, 'Command'), 'EOP', 'RS', 'TSE', 'VLE', 'IDE');
type TxFlag = keyof typeof flags;
/** What makes a descriptor one of data. */
const DATA = valueOf('data descriptor', fieldsIn(dataTxDescriptor, 'Command'), { DEXT: 1, DTYP: 'data' });

/** Bits by field name, for the Command word of a transmit descriptor. */
const command = (layout: typeof dataTxDescriptor, names: readonly string[]): number =>
  names.reduce((bits, name) => bits | descriptorMask(layout, 'Command', name), 0);

/** An e1000 on a test bus, its BARs in place and Command = 7. Offsets are into RAM. */
export function setUp(options: Partial<E1000Options> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new E1000(slot, wire, { mac: MAC, ...options }), RAM, 0x10_0000, log);
  const { chip } = bus;
  const pci = pciConfig(chip);
  pci.write('BAR0', BAR);
  pci.write('BAR1', IO);
  pci.write('Command', COMMAND_ON);
  const readAt = (offset: number, size: number): number => bus.read('mem', BAR + offset, size);
  const writeAt = (offset: number, size: number, value: number): void => bus.write('mem', BAR + offset, size, value >>> 0);
  const { read, write, offset } = byName<Named>(e1000Registers, { read: readAt, write: writeAt });
  const ram = new DataView(bus.ram.bytes.buffer);
  const words = (at: number, ...values: number[]): void => values.forEach((w, i) => ram.setUint32(at + 4 * i, w >>> 0, true));

  /** Descriptor n of the transmit ring, legacy or data: buffer's offset in RAM, bytes, flags of Command, options, VLAN tag. */
  const descriptor = (
    n: number,
    kind: Exclude<TxKind, 'context'>,
    buffer: number,
    length: number,
    set: readonly TxFlag[] = ['EOP', 'RS'],
    { options = 0, tag = 0 } = {},
  ): void => {
    const bits = kind === 'legacy' ? command(legacyTxDescriptor, set) : set.reduce((all, flag) => all | flags[flag], DATA);
    words(TX_RING + 16 * n, RAM + buffer, 0, bits | length, (tag << 16) | (options << 8));
  };

  /** Descriptor n of the transmit ring, a context: by default that of TCP over IPv4 without options. */
  const context = (n: number, fields: Partial<TxContext> & { tse?: boolean } = {}): void => {
    const c = {
      ...{ ipcss: 14, ipcso: 24, ipcse: 33, tucss: 34, tucso: 50, tucse: 0 },
      ...{ paylen: 0, hdrLen: 0, mss: 0, ip: true, tcp: true, ...fields },
    };
    const set = ['DEXT', ...(c.ip ? ['IP'] : []), ...(c.tcp ? ['TCP'] : []), ...(c.tse ? ['TSE'] : [])];
    words(
      TX_RING + 16 * n,
      c.ipcss | (c.ipcso << 8) | (c.ipcse << 16),
      c.tucss | (c.tucso << 8) | (c.tucse << 16),
      command(contextTxDescriptor, set) | c.paylen,
      (c.hdrLen << 8) | (c.mss << 16),
    );
  };

  /** Transmitter on, its ring of `count` descriptors empty. */
  const startTransmitter = (count = 64): void => {
    write('TDBAL', RAM + TX_RING);
    write('TDBAH', 0);
    write('TDLEN', 16 * count);
    write('TDH', 0);
    write('TDT', 0);
    write('TCTL', TCTL.EN);
  };

  /** Receiver on, with `count` descriptors of 2 KiB buffers, all but one given to it; time passes until it takes frames. */
  const startReceiver = (rctl = RCTL.BAM | RCTL.EN, count = 16): void => {
    for (let n = 0; n < count; n++) words(RX_RING + 16 * n, RAM + RX_BUFFERS + 0x800 * n, 0, 0, 0);
    write('RDBAL', RAM + RX_RING);
    write('RDBAH', 0);
    write('RDLEN', 16 * count);
    write('RDH', 0);
    write('RDT', count - 1);
    write('RCTL', rctl);
    bus.clock.advance(bus.clock.nowNs() + HOLD_NS);
  };

  /** Descriptor n of the receive ring, as the chip left it. */
  const received = (n: number) => {
    const at = RX_RING + DESCRIPTOR_SIZE * n;
    return { length: ram.getUint16(at + 8, true), status: ram.getUint8(at + 12), special: ram.getUint16(at + 14, true) };
  };

  /** Status of descriptor n of the transmit ring. */
  const txStatus = (n: number): number => ram.getUint32(TX_RING + DESCRIPTOR_SIZE * n + 12, true);

  /** A PHY register, through MDIC. */
  const readPhy = (name: PhyRegister): number => {
    write('MDIC', mdic('read', name));
    return fromField(MDIC.DATA, read('MDIC'));
  };
  const writePhy = (name: PhyRegister, value: number): void => write('MDIC', mdic('write', name, value));

  /** Fails a test whose chip goes on and on. */
  const boundAccesses = (most: number): void => {
    const ramRead = bus.ram.read.bind(bus.ram);
    bus.ram.read = (gpa, buffer, offset, length) => {
      if (bus.ram.accesses > most) throw new Error(`more than ${most} DMA accesses`);
      return ramRead(gpa, buffer, offset, length);
    };
  };

  return {
    ...{ bus, chip: chip as E1000, pci, read, write, readAt, writeAt, offset, readPhy, writePhy },
    ...{ ram, words, received, txStatus },
    ...{ descriptor, context, startTransmitter, startReceiver, boundAccesses },
  };
}
