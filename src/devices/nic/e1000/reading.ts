/** The e1000 as it is read from records and log lines: reading.ts, for this chip. Sources: the manual, as in registers.ts. */
import type { LogLine } from '../../../base/log-line.ts';
import { describeFields, explainAccess, type Explained, type RegisterDef } from '../../registers.ts';
import type {
  DescriptorReading,
  Doorbell,
  InterruptCause,
  Meaning,
  NicAccess,
  NicFollower,
  NicLines,
  NicReading,
  Place,
  RegisterBlock,
} from '../reading.ts';
import {
  CTX_IP,
  CTX_PAYLEN,
  CTX_TCP,
  DESCRIPTOR_SIZE,
  POPTS_IXSM,
  POPTS_TXSM,
  RXD_DD,
  RXD_EOP,
  RXD_VP,
  TXD_DD,
  TXD_EOP,
  TXD_LENGTH,
  TXD_REPORT,
  TXD_TSE,
  TXD_VLE,
  txKind,
} from './descriptors.ts';
import { Eeprom, EEPROM_COMMAND_BITS, EERD_DONE } from './eeprom.ts';
import { lines, readLine } from './log.ts';
import { phyRegisters } from './phy.ts';
import { addr64, INT_RXT0, INT_TXDW, INT_TXQE, TCTL_EN } from './port.ts';
import {
  E1000_BLOCK_SIZE,
  E1000_DEVICE_ID,
  E1000_IO_SIZE,
  E1000_VENDOR_ID,
  e1000IoRegisters,
  e1000Registers,
  fieldMask,
  R,
} from './registers.ts';

const offsetOf = (register: keyof typeof R): number => 4 * R[register];
const IO_DATA = 4;

const mmio: RegisterBlock = { bar: 0x10, space: 'mmio', size: E1000_BLOCK_SIZE, regions: ['e1000-mmio'] };
const ports: RegisterBlock = { bar: 0x14, space: 'pio', size: E1000_IO_SIZE, regions: ['e1000-io'] };

/** Where the registers of a ring lie. */
interface RingRegisters {
  readonly register: 'TDBAL' | 'RDBAL';
  readonly low: number;
  readonly high: number;
  readonly bytes: number;
}
const rings: Readonly<Record<'transmit' | 'receive', RingRegisters>> = {
  transmit: { register: 'TDBAL', low: offsetOf('TDBAL'), high: offsetOf('TDBAH'), bytes: offsetOf('TDLEN') },
  receive: { register: 'RDBAL', low: offsetOf('RDBAL'), high: offsetOf('RDBAH'), bytes: offsetOf('RDLEN') },
};
/** TDLEN and RDLEN have 13 bits, in 128 bytes. */
const MOST_DESCRIPTORS = 0x000fff80 / DESCRIPTOR_SIZE;

const eepromWord: RegisterDef = { name: 'EEPROM', offset: 0, width: 2, count: 64, access: 'ro', doc: 'Word of the EEPROM' };
const wordRead = (number: number, value: number): Explained => ({
  name: `EEPROM[${number}]`,
  register: eepromWord,
  value,
  fields: '',
  doc: eepromWord.doc,
});
const EEPROM_WORD_BITS = 16;

class Follower implements NicFollower {
  /** The chip has one mode. */
  mode: string | undefined;
  /** Registers as last written or read, by offset. */
  private readonly known = new Map<number, number>();
  private ioAddress: number | undefined;
  /** The EEPROM's wires; its words are unknown, and not looked at. */
  private readonly wires = new Eeprom(new Uint8Array(6));
  private word = 0;
  private bits = 0;

  take(access: NicAccess): Meaning {
    if (access.block !== ports) return this.register(access, access.offset & ~3);
    if (access.offset === IO_DATA && this.ioAddress !== undefined && this.ioAddress < E1000_BLOCK_SIZE) {
      return this.register(access, this.ioAddress & ~3);
    }
    if (access.offset === 0 && access.dir === 'write' && access.data !== undefined) this.ioAddress = numberOf(access.data);
    return { registers: explainAccess(e1000IoRegisters, access.offset & ~3, 4, numberOf(access.data), undefined, access.dir) };
  }

  lost(): void {
    this.ioAddress = undefined;
    this.bits = 0;
  }

  place(key: string): Place | undefined {
    if (key === 'transmit ring') return this.ring('transmit');
    return key === 'receive ring' ? this.ring('receive') : undefined;
  }

  /** An access means its whole register, however narrow it is (register-block.ts). */
  private register({ dir, data: bits }: NicAccess, offset: number): Meaning {
    const data = numberOf(bits);
    const registers = explainAccess(e1000Registers, offset, 4, data, undefined, dir);
    if (bits === undefined) return { registers };
    const cause = causeOf(offset, data);
    const doorbell = dir === 'write' ? this.doorbell(offset, data) : undefined;
    const before = this.known.get(offset);
    this.known.set(offset, data);
    if (dir === 'read') return { registers: [...registers, ...this.behind(offset, data)], cause };
    if (offset === offsetOf('EECD')) this.wires.setWires(data);
    const direction = ringOf(offset);
    return {
      registers: [...registers, ...(offset === offsetOf('MDIC') ? phyAccess(data) : [])],
      place: direction !== undefined && before !== data ? this.ring(direction) : undefined,
      doorbell,
      cause,
    };
  }

  private ring(direction: 'transmit' | 'receive'): Place | undefined {
    const { register, low, high, bytes } = rings[direction];
    const base = this.known.get(low);
    if (base === undefined) return undefined;
    return {
      key: `${direction} ring`,
      direction,
      register,
      base: addr64((base & ~0xf) >>> 0, this.known.get(high) ?? 0),
      descriptorBytes: DESCRIPTOR_SIZE,
      count: (this.known.get(bytes) ?? 0) / DESCRIPTOR_SIZE || MOST_DESCRIPTORS,
    };
  }

  /** A write of TDT, or of TCTL when it turns the transmitter on: what it hands over. */
  private doorbell(offset: number, data: number): Doorbell | undefined {
    const control = this.known.get(offsetOf('TCTL'));
    const tail = this.known.get(offsetOf('TDT'));
    const head = this.known.get(offsetOf('TDH'));
    const bell = (register: 'TDT' | 'TCTL', from: number | undefined, until: number): Doorbell | undefined =>
      from === until
        ? undefined
        : { register, kind: 'ring', place: this.ring('transmit'), index: undefined, length: undefined, from, until };
    if (offset === offsetOf('TDT')) {
      const off = control !== undefined && !(control & TCTL_EN);
      return off ? undefined : bell('TDT', tail ?? head, data & 0xffff);
    }
    const turnedOn = offset === offsetOf('TCTL') && data & TCTL_EN && control !== undefined && !(control & TCTL_EN);
    return turnedOn && tail !== undefined && head !== undefined ? bell('TCTL', head, tail) : undefined;
  }

  /** What a read shows of the things behind a register: a PHY register, a word of the EEPROM. */
  private behind(offset: number, data: number): readonly Explained[] {
    if (offset === offsetOf('MDIC')) return phyAccess(data);
    if (offset === offsetOf('EERD')) return data & EERD_DONE ? [wordRead((data >>> 8) & 0xff, data >>> 16)] : [];
    return offset === offsetOf('EECD') ? this.eepromBit(data) : [];
  }

  /** While the EEPROM is read, each read of EECD shows one bit of a word; the sixteenth makes the word. */
  private eepromBit(data: number): readonly Explained[] {
    const { reading, bitOut, bitsIn } = this.wires.state;
    if (!reading || bitsIn <= EEPROM_COMMAND_BITS) return [];
    const place = bitOut % EEPROM_WORD_BITS;
    if (place === 0) {
      this.word = 0;
      this.bits = 0;
    }
    this.word = ((this.word << 1) | (data & fieldMask('EECD', 'DO') ? 1 : 0)) & 0xffff;
    this.bits++;
    const whole = place === EEPROM_WORD_BITS - 1 && this.bits === EEPROM_WORD_BITS;
    return whole ? [wordRead((bitOut >> 4) % 64, this.word)] : [];
  }
}

const numberOf = (data: bigint | undefined): number => Number(BigInt.asUintN(32, data ?? 0n));

function ringOf(offset: number): 'transmit' | 'receive' | undefined {
  return (['transmit', 'receive'] as const).find((d) => [rings[d].low, rings[d].high, rings[d].bytes].includes(offset));
}

function causeOf(offset: number, data: number): InterruptCause | undefined {
  if (offset !== offsetOf('ICR')) return undefined;
  return { register: 'ICR', transmitted: (data & (INT_TXDW | INT_TXQE)) !== 0, received: (data & INT_RXT0) !== 0 };
}

/** The PHY register that MDIC names: with its data when it is read or written, and nothing else. */
function phyAccess(mdic: number): readonly Explained[] {
  const number = (mdic >>> 16) & 0x1f;
  const register = phyRegisters.find((r) => r.offset === number);
  if (register === undefined || mdic & fieldMask('MDIC', 'ERROR')) return [];
  const value = mdic & fieldMask('MDIC', 'DATA');
  return [{ name: register.name, register, value, fields: describeFields(register.fields ?? [], value), doc: register.doc }];
}

const hex = (n: number): string => `0x${n.toString(16)}`;
const join = (parts: readonly string[]): string => parts.filter((p) => p !== '').join(', ');

function transmitDescriptor(words: readonly number[]): DescriptorReading {
  const [first = 0, second = 0, command = 0, status = 0] = words;
  const kind = txKind(command);
  const done = [command & TXD_REPORT ? 'report when done' : '', status & TXD_DD ? 'done' : ''];
  if (kind === 'context') {
    const protocols = `context for ${command & CTX_TCP ? 'TCP' : 'UDP'} over ${command & CTX_IP ? 'IPv4' : 'IPv6'}`;
    const asked =
      command & TXD_TSE
        ? `large send of ${(command & CTX_PAYLEN) >>> 0} bytes in segments of ${status >>> 16}, headers of ${(status >>> 8) & 0xff}`
        : `checksum from byte ${second & 0xff} at byte ${(second >>> 8) & 0xff}`;
    return { buffer: undefined, length: undefined, last: false, text: join([protocols, asked, ...done]), bufferWord: 'first' };
  }
  const data = kind === 'data';
  const options = data ? (status >>> 8) & 0xff : 0;
  const length = command & TXD_LENGTH;
  const text = join([
    kind,
    command & TXD_EOP ? 'EOP' : '',
    data && command & TXD_TSE ? 'large send' : '',
    options & POPTS_IXSM ? 'IP checksum' : '',
    options & POPTS_TXSM ? 'TCP or UDP checksum' : '',
    command & TXD_VLE ? `VLAN tag ${hex(status >>> 16)}` : '',
    ...done,
    `${length} bytes`,
  ]);
  return { buffer: addr64(first, second), length, last: (command & TXD_EOP) !== 0, text, bufferWord: 'first' };
}

function receiveDescriptor(words: readonly number[]): DescriptorReading {
  const [first = 0, second = 0, lengths = 0, status = 0] = words;
  const buffer = addr64(first, second);
  if (!(status & RXD_DD)) return { buffer, length: undefined, last: false, text: 'empty', bufferWord: 'first' };
  const length = lengths & 0xffff;
  const last = (status & RXD_EOP) !== 0;
  const text = join([
    'done',
    last ? 'EOP' : '',
    status & RXD_VP ? `VLAN tag ${hex(status >>> 16)} taken off` : '',
    `${length} bytes`,
  ]);
  return { buffer, length, last, text, bufferWord: 'first' };
}

/** Registers that a line of the chip is about. */
const lineRegisters: readonly (readonly [readonly LogLine[], readonly number[]])[] = [
  [[lines.setIcs], [offsetOf('ICS')]],
  [[lines.setIcr, lines.icrRead], [offsetOf('ICR')]],
  [[lines.rctl], [offsetOf('RCTL')]],
  [[lines.mdicRead, lines.mdicReadUnhandled, lines.mdicWrite, lines.mdicWriteUnhandled], [offsetOf('MDIC')]],
  [[lines.eepromRead, lines.eepromShift], [offsetOf('EECD')]],
  [
    [lines.txDisabled, lines.txWrap, lines.txDescriptor],
    [offsetOf('TCTL'), offsetOf('TDT')],
  ],
];

/** What the chip's lines say (log.ts); none of them prints a doorbell, a descriptor's address or the interrupt line. */
const nicLines: NicLines = {
  prefix: 'e1000',
  registers(text) {
    const place = readLine(lines.unknownRead, text) ?? readLine(lines.unknownWrite, text) ?? readLine(lines.readOnly, text);
    if (place !== undefined) return [place.offset];
    return lineRegisters.find(([about]) => about.some((line) => readLine(line, text) !== undefined))?.[1] ?? [];
  },
  mode: () => undefined,
  doorbell: () => undefined,
  descriptors: () => [],
  fetch: () => undefined,
  raised: () => undefined,
};

export const e1000Reading: NicReading = {
  name: 'e1000',
  title: 'e1000',
  vendorId: E1000_VENDOR_ID,
  deviceIds: [E1000_DEVICE_ID],
  blocks: [mmio, ports],
  drivers: ['e1000'],
  registers: e1000Registers,
  modes: [],
  follow: () => new Follower(),
  places: (direction) => [`${direction} ring`],
  registerAt: (block, offset) => explainAccess(block === ports ? e1000IoRegisters : e1000Registers, offset & ~3, 4, 0)[0]?.name,
  explain: (block, { offset, value, dir }) =>
    explainAccess(block === ports ? e1000IoRegisters : e1000Registers, offset & ~3, 4, value, undefined, dir),
  descriptor: (direction, words) => (direction === 'transmit' ? transmitDescriptor(words) : receiveDescriptor(words)),
  causeText(status) {
    const [register] = explainAccess(e1000Registers, offsetOf('ICR'), 4, status);
    return register!.fields === '' ? register!.name : `${register!.name} (${register!.fields})`;
  },
  lines: nicLines,
};
