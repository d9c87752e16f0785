import { byName, masks } from '../../../../base/testing/by-name.ts';
import { TestBus } from '../../../conformance/test-bus.ts';
import { fromHex } from '../../../conformance/transcript.ts';
import type { RegisterDef } from '../../../registers.ts';
import { COMMAND_ON, pciConfig } from '../../../testing/pci-config.ts';
import { Pcnet, type PcnetOptions } from '../core.ts';
import { pcnetRegisters, receiveStatusBits, transmitErrorBits, transmitStatusBits, type PcnetRegister } from '../registers.ts';

export const MAC = fromHex('525400123456');
/** Where the test bus's RAM begins, and the two BARs. */
export const RAM = 0x100_0000;
export const IO = 0xc000;
export const BAR = 0xe000_0000;

/** Offsets in RAM of initialization block and rings. */
export const BLOCK = 0x1000;
export const RX_RING = 0x2000;
export const TX_RING = 0x3000;

/** Numbers of the registers behind RAP, by the data sheet's names; where it has a name twice, the first. */
function numbers<const N extends string>(kind: 'CSR' | 'BCR', ...names: readonly N[]): Readonly<Record<N, number>> {
  const number = (name: N): number => {
    const found = pcnetRegisters.find((r) => r.name.startsWith(kind) && r.dataSheet === name);
    if (found === undefined) throw new Error(`the data sheet has no ${kind} called '${name}'`);
    return Number(found.name.slice(kind.length));
  };
  return Object.fromEntries(names.map((name) => [name, number(name)])) as Record<N, number>;
}

const csrNumbers = numbers(
  'CSR',
  ...(['Status', 'IADRL', 'IADRU', 'IM', 'TFEAT', 'EXTCTL', 'LADRF0', 'LADRF1', 'LADRF2', 'LADRF3'] as const),
  ...(['PADR0', 'PADR1', 'PADR2', 'MODE', 'POLL', 'PI', 'SWS', 'RCVRC', 'XMTRC', 'RCVRL', 'XMTRL'] as const),
  ...(['CHIPIDL', 'CHIPIDU', 'MFC'] as const),
);
const bcrNumbers = numbers('BCR', 'MC', 'LNKST', 'LED1', 'LED2', 'LED3', 'SWS');

/** A CSR or BCR: by the data sheet's name, or by its number as the table writes it. */
export type Csr = keyof typeof csrNumbers | Extract<PcnetRegister, `CSR${number}`>;
type Bcr = keyof typeof bcrNumbers | Extract<PcnetRegister, `BCR${number}`>;
/** The number that RAP takes for it. */
export const csrNumber = (name: Csr): number => csrNumbers[name as keyof typeof csrNumbers] ?? Number(name.slice(3));
export const bcrNumber = (name: Bcr): number => bcrNumbers[name as keyof typeof bcrNumbers] ?? Number(name.slice(3));

const fieldsOf = (name: PcnetRegister) => pcnetRegisters.find((r) => r.name === name)!.fields;
/** Bits of the registers, `Status.TDMD`. */
export const Status = masks(
  'Status',
  fieldsOf('CSR0'),
  ...(['INIT', 'STRT', 'STOP', 'TDMD', 'TXON', 'RXON', 'IENA', 'INTR', 'IDON', 'TINT', 'RINT', 'MERR'] as const),
  ...(['MISS', 'CERR', 'BABL', 'ERR'] as const),
);
export const IM = masks('IM', fieldsOf('CSR3'), 'DXSUFLO', 'TINTM', 'IDONM', 'MISSM');
export const TFEAT = masks(
  'TFEAT',
  fieldsOf('CSR4'),
  ...(['JABM', 'JAB', 'TXSTRTM', 'TXSTRT', 'RCVCCOM', 'RCVCCO', 'UINT', 'UINTCMD', 'MFCOM', 'MFCO', 'DPOLL'] as const),
);
export const EXTCTL = masks('EXTCTL', fieldsOf('CSR5'), 'SPND', 'MPINT', 'EXDINT', 'SLPINT', 'SINT');
export const MODE = masks('MODE', fieldsOf('CSR15'), 'LOOP', 'INTL', 'DRCVPA', 'DRCVBC', 'PROM');
export const MC = masks('MC', fieldsOf('BCR2'), 'AWAKE', 'APROMWE');
export const LED = masks('LED', fieldsOf('BCR4'), 'COLE', 'LNKSTE', 'PSE', 'LEDOUT');
export const BSBC = masks('BSBC', fieldsOf('BCR18'), 'DWIO');
export const SWS = masks('SWS', fieldsOf('BCR20'), 'SSIZE32', 'CSRPCNET', 'APERREN');
/** Bits of TMD1 and RMD1, upper half, and of TMD2. */
export const TMD1 = masks('TMD1', transmitStatusBits, 'OWN', 'ERR', 'ADD/NO_FCS', 'STP', 'ENP');
export const RMD1 = masks('RMD1', receiveStatusBits, 'OWN', 'ERR', 'OFLO', 'BUFF', 'STP', 'ENP', 'PAM', 'LAFM', 'BAM');
export const TMD2 = masks('TMD2', transmitErrorBits, 'LCAR', 'UFLO', 'BUFF');

/** A running chip has been initialized, was started, and has both directions on. */
export const RUNNING = Status.INIT | Status.STRT | Status.TXON | Status.RXON;
/** Causes in Status that a one clears. */
export const STATUS_CAUSES = Status.IDON | Status.TINT | Status.RINT | Status.MERR | Status.MISS | Status.CERR | Status.BABL;
/** TFEAT after a reset: each of its causes masked. */
export const TFEAT_MASKS = TFEAT.JABM | TFEAT.TXSTRTM | TFEAT.RCVCCOM | TFEAT.MFCOM;

const portNames = ['RDP', 'RAP', 'RESET', 'BDP'] as const satisfies readonly PcnetRegister[];
type Port = (typeof portNames)[number];
/** The ports of one style, by the data sheet's names, at that style's width. */
const portsOf = (style: 'WIO' | 'DWIO', width: 2 | 4): RegisterDef[] =>
  (pcnetRegisters as readonly RegisterDef[]).flatMap(({ otherwise, ...r }) => {
    if (r.mode === style) return { ...r, name: r.dataSheet ?? r.name, width };
    return otherwise?.mode === style ? { ...r, name: otherwise.name, width } : [];
  });
const wioPorts = portsOf('WIO', 2);
const dwioPorts = portsOf('DWIO', 4);

export interface Rings {
  /** BCR20.SWSTYLE. */
  readonly style?: 0 | 1 | 2 | 3;
  /** Logarithms of the ring lengths. */
  readonly rlen?: number;
  readonly tlen?: number;
  readonly mode?: number;
  /** Where the rings lie in RAM. */
  readonly rx?: number;
  readonly tx?: number;
}

/** An Am79C970A on a test bus, its BARs in place and Command = 7. */
export function setUp(options: Partial<PcnetOptions> = {}, log?: (line: string) => void) {
  const bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: MAC, ...options }), RAM, 0x20_0000, log);
  const { chip } = bus;
  const pci = pciConfig(chip);
  pci.write('BAR0', IO);
  pci.write('BAR1', BAR);
  pci.write('Command', COMMAND_ON);
  const readAt = (offset: number, size: number): number => bus.read('mem', BAR + offset, size);
  const writeAt = (offset: number, size: number, value: number): void => bus.write('mem', BAR + offset, size, value);
  /** The ports of both styles: 16 and 32 bits wide. */
  const wio = byName<Port>(wioPorts, { read: readAt, write: writeAt });
  const dwio = byName<Port>(dwioPorts, { read: readAt, write: writeAt });
  /** Registers behind RAP, in WIO: any number, and those of the table by name. */
  const readCsrAt = (n: number): number => (wio.write('RAP', n), wio.read('RDP'));
  const writeCsrAt = (n: number, value: number): void => (wio.write('RAP', n), wio.write('RDP', value));
  const readBcrAt = (n: number): number => (wio.write('RAP', n), wio.read('BDP'));
  const writeBcrAt = (n: number, value: number): void => (wio.write('RAP', n), wio.write('BDP', value));
  const readCsr = (name: Csr): number => readCsrAt(csrNumber(name));
  const writeCsr = (name: Csr, value: number): void => writeCsrAt(csrNumber(name), value);
  const readBcr = (name: Bcr): number => readBcrAt(bcrNumber(name));
  const writeBcr = (name: Bcr, value: number): void => writeBcrAt(bcrNumber(name), value);
  /** Rings the transmit doorbell. */
  const demand = (): void => writeCsr('Status', Status.TDMD | Status.IENA);
  const ram = new DataView(bus.ram.bytes.buffer);
  let style = 2;
  /** Descriptor `n` of the ring at `ring`: buffer (an offset in RAM), its bytes, status (upper half of the second word). */
  const descriptor = (ring: number, n: number, buffer: number, bytes: number, status: number): void => {
    const bcnt = -bytes & 0xffff;
    if (style === 0) {
      const at = ring + 8 * n;
      ram.setUint32(at, ((RAM + buffer) & 0xff_ffff) | ((status & 0xff00) << 16), true);
      ram.setUint32(at + 4, bcnt, true);
      return;
    }
    const at = ring + 16 * n;
    ram.setUint32(at + (style === 3 ? 8 : 0), RAM + buffer, true);
    ram.setUint32(at + 4, (bcnt | (status << 16)) >>> 0, true);
    ram.setUint32(at + (style === 3 ? 0 : 8), 0, true);
  };
  /** Status of a descriptor, and RMD2 or TMD2. */
  const statusOf = (ring: number, n: number): number =>
    style === 0 ? (ram.getUint32(ring + 8 * n, true) >>> 16) & 0xff00 : ram.getUint16(ring + 16 * n + 6, true);
  const miscOf = (ring: number, n: number): number =>
    style === 0 ? ram.getUint16(ring + 8 * n + 6, true) : ram.getUint32(ring + 16 * n + (style === 3 ? 0 : 8), true);
  /** As a driver does: software style, initialization block, start with interrupts. */
  const start = ({ style: chosen = 2, rlen = 2, tlen = 2, mode = 0, rx = RX_RING, tx = TX_RING }: Rings = {}): void => {
    style = chosen;
    writeBcr('SWS', chosen);
    const wide = chosen !== 0;
    ram.setUint16(BLOCK, mode, true);
    const padr = BLOCK + (wide ? 4 : 2);
    const ladrf = BLOCK + (wide ? 12 : 8);
    bus.ram.bytes.set(MAC, padr);
    bus.ram.bytes.fill(0, ladrf, ladrf + 8);
    if (wide) bus.ram.bytes.set([rlen << 4, tlen << 4], BLOCK + 2);
    ram.setUint32(ladrf + 8, wide ? RAM + rx : (((RAM + rx) & 0xff_ffff) | (rlen << 29)) >>> 0, true);
    ram.setUint32(ladrf + 12, wide ? RAM + tx : (((RAM + tx) & 0xff_ffff) | (tlen << 29)) >>> 0, true);
    writeCsr('IADRL', (RAM + BLOCK) & 0xffff);
    writeCsr('IADRU', (RAM + BLOCK) >>> 16);
    writeCsr('Status', Status.INIT);
    writeCsr('Status', Status.IDON | Status.IENA | Status.STRT);
  };
  return {
    ...{ bus, chip: chip as Pcnet, pci, readAt, writeAt, wio, dwio, ram },
    ...{ readCsr, writeCsr, readBcr, writeBcr, readCsrAt, writeCsrAt, readBcrAt, writeBcrAt },
    ...{ demand, descriptor, statusOf, miscOf, start },
  };
}
