/** The Am79C970A as it is read from records and log lines: reading.ts, for this chip. Sources: as in registers.ts. */
import type { LogLine } from '../../../base/log-line.ts';
import { describeFields, explainAccess, type Explained, type RegisterDef } from '../../registers.ts';
import type {
  DescriptorReading,
  Doorbell,
  InterruptCause,
  Meaning,
  ModeSign,
  NicAccess,
  NicFollower,
  NicLines,
  NicReading,
  Place,
  RegisterBlock,
} from '../reading.ts';
import { lines, readLine } from './log.ts';
import { CSR0_RINT, CSR0_TDMD, CSR0_TINT, CSR4_DPOLL, ENP, R, SWS_STYLE } from './port.ts';
import {
  APROM_SIZE,
  BCR_BASE,
  CSR_BASE,
  PCNET_BLOCK_SIZE,
  PCNET_DEVICE_ID,
  PCNET_VENDOR_ID,
  pcnetRegisters,
  receiveStatusBits,
  transmitErrorBits,
  transmitStatusBits,
} from './registers.ts';

const blocks: readonly RegisterBlock[] = [
  { bar: 0x10, space: 'pio', size: PCNET_BLOCK_SIZE, regions: ['pcnet-io'] },
  { bar: 0x14, space: 'mmio', size: PCNET_BLOCK_SIZE, regions: ['pcnet-mmio'] },
];

/** Bits of CSR0 that are causes, ERR included. */
const CAUSES = 0xff00;
const SOFTWARE_STYLE = [20, 58];
/** The names of BCR20.SWSTYLE: a driver chooses by it how initialization block and descriptors are laid out. */
const styles = Object.values(pcnetRegisters[R.BCR20]!.fields!.find((f) => f.name === 'SWSTYLE')!.values!);
const LANCE = styles[0]!;
const SWAPPED = styles[3]!;
const BLOCK_BYTES = 28;
const BLOCK_BYTES_16 = 24;
const DESCRIPTOR_BYTES = 16;
const DESCRIPTOR_BYTES_16 = 8;

type Port = 'APROM' | 'RDP' | 'RAP' | 'RESET' | 'BDP' | undefined;

class Follower implements NicFollower {
  mode: string | undefined;
  private dwio = false;
  /** Unless the driver sets DPOLL, the chip looks at its rings at every access to a port, if its poll time is over. */
  private polls = true;
  /** Number in RAP; undefined until it is seen. */
  private rap: number | undefined;
  /** Halves of the initialization block's address, as last written. */
  private readonly address: [number | undefined, number | undefined] = [undefined, undefined];

  take({ dir, offset, width, data }: NicAccess): Meaning {
    if (offset >= APROM_SIZE) this.followStyle(dir, offset, width);
    const port = this.port(offset);
    const size = width ?? (this.dwio ? 4 : port === 'APROM' ? 1 : 2);
    const value = Number(BigInt.asUintN(32, data ?? 0n));
    const number = port === 'RDP' || port === 'BDP' ? this.rap : undefined;
    const registers = this.registers(port, number, offset, size, value, dir);
    if (port === 'RAP') this.rap = data === undefined ? undefined : value & 0x7f;
    if (port === 'RESET' && dir === 'read') {
      this.rap = 0;
      this.dwio = false;
    }
    const poll = port === 'APROM' || !this.polls ? undefined : ringBell(registers[0]?.register.name ?? 'RAP');
    if (data === undefined || number === undefined) return { registers, poll };
    const cause = port === 'RDP' && number === 0 ? causeOf(value) : undefined;
    if (dir === 'read') return { registers, cause, poll };
    if (port === 'BDP' ? number === SOFTWARE_STYLE[0] : number === SOFTWARE_STYLE[1]) {
      const sign = modeOf(value);
      this.mode = sign?.mode ?? this.mode;
      return { registers, mode: sign, poll };
    }
    if (port !== 'RDP') return { registers, poll };
    if (number === 4) this.polls = (value & CSR4_DPOLL) === 0;
    const doorbell = number === 0 && (value & CSR0_TDMD) !== 0 ? ringBell('CSR0') : undefined;
    return { registers, cause, place: this.put(number, value), doorbell, poll };
  }

  lost(): void {
    this.rap = undefined;
  }

  place(key: string): Place | undefined {
    const [low, high] = this.address;
    if (key !== 'initialization block' || low === undefined) return undefined;
    return {
      key,
      // It names both rings; they themselves stand in memory that no access shows.
      direction: 'transmit',
      register: 'CSR1',
      base: ((low | ((high ?? 0) << 16)) >>> 0) as number,
      descriptorBytes: undefined,
      count: this.mode === LANCE ? BLOCK_BYTES_16 : BLOCK_BYTES,
    };
  }

  /** Word or double word ports? Where no file tells the width, the offset may. */
  private followStyle(dir: NicAccess['dir'], offset: number, width: number | undefined): void {
    if (width === 4) this.dwio = true;
    else if (width === 2) this.dwio = false;
    else if (offset === 0x12 || offset === 0x16) this.dwio = false;
    else if (offset === 0x18 || offset === 0x1c || (offset === 0x14 && dir === 'write')) this.dwio = true;
  }

  private port(offset: number): Port {
    if (offset < APROM_SIZE) return 'APROM';
    const ports: Readonly<Record<number, Port>> = this.dwio
      ? { 16: 'RDP', 20: 'RAP', 24: 'RESET', 28: 'BDP' }
      : { 16: 'RDP', 18: 'RAP', 20: 'RESET', 22: 'BDP' };
    return ports[offset];
  }

  /** The register behind RAP where its number is known, else the port. */
  private registers(
    port: Port,
    number: number | undefined,
    offset: number,
    size: number,
    value: number,
    dir: 'read' | 'write',
  ): Explained[] {
    if (number !== undefined) {
      const found = explainAccess(
        pcnetRegisters,
        (port === 'RDP' ? CSR_BASE : BCR_BASE) + 2 * number,
        2,
        value & 0xffff,
        undefined,
        dir,
      );
      if (found.length > 0) return found;
    }
    const style = this.dwio ? 'DWIO' : 'WIO';
    const touched = explainAccess(pcnetRegisters, offset, size, value, style, dir);
    // A 32-bit port lies over places that are ports of their own in the other style.
    return port === undefined || port === 'APROM' ? touched : touched.slice(0, 1);
  }

  private put(number: number, value: number): Place | undefined {
    const half = { 1: 0, 16: 0, 2: 1, 17: 1 }[number];
    if (half === undefined) return undefined;
    this.address[half] = value & 0xffff;
    return this.place('initialization block');
  }
}

function modeOf(value: number): ModeSign | undefined {
  const style = value & SWS_STYLE;
  const mode = styles[style];
  return mode === undefined ? undefined : { mode, strength: 'proven', why: `the driver chose software style ${style} in BCR20` };
}

const causeOf = (value: number): InterruptCause => ({
  register: 'CSR0',
  transmitted: (value & CSR0_TINT) !== 0,
  received: (value & CSR0_RINT) !== 0,
});

/** TDMD in CSR0, or a poll: the chip walks the transmit ring, from the descriptor it came to last. */
const ringBell = (register: string): Doorbell => ({
  register,
  kind: 'ring',
  place: undefined,
  index: undefined,
  length: undefined,
  from: undefined,
  until: undefined,
});

/** Where the longer block names the rings. */
const blockFields: readonly RegisterDef[] = [
  { name: 'RDRA', offset: 0x14, width: 4, access: 'ro', doc: 'Address of the receive ring; the chip reads it at INIT' },
  { name: 'TDRA', offset: 0x18, width: 4, access: 'ro', doc: 'Address of the transmit ring; the chip reads it at INIT' },
];

/** Rings by the line that prints what the chip read out of the initialization block. */
function printedPlaces(text: string): Place[] {
  const rings = readLine(lines.rings, text);
  if (rings === undefined) return [];
  const descriptorBytes = rings.ss32 === 1 ? DESCRIPTOR_BYTES : DESCRIPTOR_BYTES_16;
  const ring = (direction: Place['direction'], name: string, base: number, count: number): Place => ({
    key: `${direction} ring`,
    direction,
    register: `${name} of the initialization block`,
    base,
    descriptorBytes,
    count,
  });
  return [ring('transmit', 'TDRA', rings.tdra, rings.xmtrl), ring('receive', 'RDRA', rings.rdra, rings.rcvrl)];
}

function descriptor(direction: 'transmit' | 'receive', words: readonly number[], mode: string | undefined): DescriptorReading {
  const [first = 0, second = 0, third = 0] = words;
  const short = mode === LANCE;
  const swapped = mode === SWAPPED;
  const status = short ? (first >>> 16) & 0xff00 : second >>> 16;
  const misc = short ? (direction === 'transmit' ? second & 0xffff0000 : second >>> 16) : swapped ? first : third;
  const length = 4096 - (second & 0xfff);
  const done =
    direction === 'transmit'
      ? describeFields(transmitErrorBits, misc >>> 0)
      : status & ENP
        ? `message of ${misc & 0xfff} bytes`
        : '';
  return {
    // With 16-bit structures the upper byte is that of CSR2.
    buffer: short ? first & 0xff_ffff : swapped ? third : first,
    length,
    last: (status & ENP) !== 0,
    text: [describeFields(direction === 'transmit' ? transmitStatusBits : receiveStatusBits, status), `${length} bytes`, done]
      .filter((part) => part !== '')
      .join(', '),
    bufferWord: swapped ? 'third' : 'first',
  };
}

/** Lines that print where an access went. */
const accessLines = [
  lines.ioportRead,
  lines.ioportWrite,
  lines.apromRead,
  lines.apromWrite,
  lines.debugReadWord,
  lines.debugWriteWord,
  lines.debugReadLong,
  lines.debugWriteLong,
] as readonly LogLine<typeof lines.ioportRead.text>[];
/** Ports, of words and of double words. */
const RDP = [0x10];
const BDP = [0x16, 0x1c];

/** What the chip's lines say (log.ts); none of them prints a doorbell, a descriptor's words or the interrupt's cause. */
const nicLines: NicLines = {
  prefix: 'pcnet',
  registers(text) {
    for (const line of accessLines) {
      const access = readLine(line, text);
      if (access !== undefined) return [access.addr];
    }
    if (readLine(lines.debugReadCsr, text) !== undefined || readLine(lines.debugWriteCsr, text) !== undefined) return RDP;
    return readLine(lines.debugReadBcr, text) !== undefined || readLine(lines.debugWriteBcr, text) !== undefined ? BDP : [];
  },
  mode: () => undefined,
  doorbell: () => undefined,
  places: printedPlaces,
  descriptors: () => [],
  fetch: () => undefined,
  raised: () => undefined,
};

export const pcnetReading: NicReading = {
  name: 'pcnet',
  title: 'Am79C970A',
  vendorId: PCNET_VENDOR_ID,
  deviceIds: [PCNET_DEVICE_ID],
  blocks,
  drivers: ['pcnet32'],
  registers: pcnetRegisters,
  others: { 'initialization block': blockFields },
  modes: styles,
  follow: () => new Follower(),
  /** The rings themselves are named in memory that no access shows: only a line of the chip may tell them. */
  places: (direction) => [`${direction} ring`, 'initialization block'],
  registerAt: (_, offset) => pcnetRegisters.find((r) => offset >= r.offset && offset < r.offset + r.width)?.name,
  /** The registers behind RDP and BDP are known to a follower only. */
  explain: (_, { offset, width, value, dir }) =>
    explainAccess(pcnetRegisters, offset, width, value, width === 4 ? 'DWIO' : 'WIO', dir),
  descriptor,
  causeText(status) {
    const register = pcnetRegisters[R.CSR0]!;
    const causes = describeFields(register.fields!, status & CAUSES);
    return causes === '' ? register.name : `${register.name} (${causes})`;
  },
  lines: nicLines,
};
