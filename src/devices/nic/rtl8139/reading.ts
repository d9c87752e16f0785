/** The RTL8139 as it is read from records and log lines: reading.ts, for this chip. Sources: Realtek's data sheets, as in registers.ts. */
import { explainAccess, type RegisterDef } from '../../registers.ts';
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
  PrintedDescriptor,
  RegisterBlock,
} from '../reading.ts';
import { lines, readLine } from './log.ts';
import { addr64, CMD_RESET, CP_RX_ENABLE, CP_TX_ENABLE, INT_RX_OK, INT_TX_OK, TX_OWN } from './port.ts';
import { RTL8139_BLOCK_SIZE, RTL8139_DEVICE_ID, RTL8139_VENDOR_ID, rtl8139Registers } from './registers.ts';
import {
  CP_TX_END_OF_RING,
  CP_TX_FIRST,
  CP_TX_LAST,
  CP_TX_OWN,
  CP_TX_SIZE_MASK,
  CPLUS_RING_SIZE,
  DESCRIPTOR_SIZE,
} from './transmit.ts';

const offsetOf = (name: string): number => rtl8139Registers.find((r) => r.name === name || r.otherwise?.name === name)!.offset;

const TX_STATUS = offsetOf('TxStatus0');
const TX_ADDR = offsetOf('TxAddr0');
const RX_BUF = offsetOf('RxBuf');
const INTR_STATUS = offsetOf('IntrStatus');
const TX_POLL = offsetOf('TxPoll');
const CHIP_CMD = offsetOf('ChipCmd');
const CP_CMD = offsetOf('CpCmd');
const RX_RING = offsetOf('RxRingAddr');

const TX_POLL_NPQ = 0x40;
/** TxStatus, bits 12:0. */
const TX_STATUS_SIZE = 0x1fff;
/** TxStatus, bits 21:16: early transmit threshold. */
const TX_STATUS_EARLY = 0x3f0000;
/** C+: no descriptor to send. It comes with TxOK. */
const INT_TX_EMPTY = 0x80;
const BUFFERS = 4;

const blocks: readonly RegisterBlock[] = [
  { bar: 0x10, space: 'pio', size: RTL8139_BLOCK_SIZE, regions: ['rtl8139'] },
  { bar: 0x14, space: 'mmio', size: RTL8139_BLOCK_SIZE, regions: ['rtl8139'] },
];

const ringAt = (direction: 'transmit' | 'receive', register: string, base: number): Place => ({
  key: `${direction} ring`,
  direction,
  register,
  base,
  descriptorBytes: DESCRIPTOR_SIZE,
  count: CPLUS_RING_SIZE,
});

class Follower implements NicFollower {
  mode: string | undefined;
  /** Address registers as last written, by offset. */
  private readonly written = new Map<number, number>();

  take(access: NicAccess): Meaning {
    const { offset, dir } = access;
    const width = access.width ?? registerAt(offset)?.width ?? 1;
    const data = Number(BigInt.asUintN(32, access.data ?? 0n));
    const sign = dir === 'write' && access.data !== undefined ? modeByWrite(offset, data) : undefined;
    // A dump of the tally in C+ mode looks much like a transmission in C mode.
    const counts = sign !== undefined && (sign.mode === 'C+' || this.mode === undefined);
    if (counts) this.mode = sign.mode;
    const registers = explainAccess(rtl8139Registers, offset, width, data, this.mode, dir);
    if (access.data === undefined) return { registers };
    if (dir === 'read') return { registers, cause: causeOf(offset, width, data) };
    const place = this.put(offset, data);
    return {
      registers,
      mode: counts ? sign : undefined,
      reset: offset === CHIP_CMD && (data & CMD_RESET) !== 0,
      place,
      doorbell: this.doorbell(offset, data),
      cause: causeOf(offset, width, data),
    };
  }

  lost(): void {
    // No register is reached by an index.
  }

  place(key: string): Place | undefined {
    if (key === 'transmit ring') return this.ring('transmit', 'TxRingAddr', TX_ADDR);
    if (key === 'receive ring') return this.ring('receive', 'RxRingAddr', RX_RING);
    if (key === 'receive buffer') return this.buffer(key, 'receive', 'RxBuf', RX_BUF);
    const n = /^transmit buffer ([0-3])$/.exec(key)?.[1];
    return n === undefined ? undefined : this.buffer(key, 'transmit', `TxAddr${n}`, TX_ADDR + 4 * Number(n));
  }

  private ring(direction: 'transmit' | 'receive', register: string, offset: number): Place | undefined {
    const low = this.written.get(offset);
    return low === undefined ? undefined : ringAt(direction, register, addr64(low, this.written.get(offset + 4) ?? 0));
  }

  private buffer(key: string, direction: 'transmit' | 'receive', register: string, offset: number): Place | undefined {
    const base = this.written.get(offset);
    return base === undefined ? undefined : { key, direction, register, base, descriptorBytes: undefined, count: undefined };
  }

  /** Takes a write of an address register. */
  private put(offset: number, data: number): Place | undefined {
    const cplus = this.mode === 'C+';
    if (offset >= TX_ADDR && offset < TX_ADDR + 4 * BUFFERS && offset % 4 === 0) {
      this.written.set(offset, data);
      if (!cplus) return this.place(`transmit buffer ${(offset - TX_ADDR) / 4}`);
      return offset < TX_ADDR + 8 ? this.place('transmit ring') : undefined;
    }
    if (offset === RX_RING || offset === RX_RING + 4 || offset === RX_BUF) {
      this.written.set(offset, data);
      return this.place(offset === RX_BUF ? 'receive buffer' : 'receive ring');
    }
    return undefined;
  }

  private doorbell(offset: number, data: number): Doorbell | undefined {
    if (this.mode === 'C+') {
      if (offset !== TX_POLL || (data & TX_POLL_NPQ) === 0) return undefined;
      return {
        register: 'TxPoll',
        kind: 'ring',
        place: this.place('transmit ring'),
        index: undefined,
        length: undefined,
        from: undefined,
        until: undefined,
      };
    }
    const n = (offset - TX_STATUS) / 4;
    if (!Number.isInteger(n) || n < 0 || n >= BUFFERS || (data & TX_OWN) !== 0) return undefined;
    return {
      register: `TxStatus${n}`,
      kind: 'buffer',
      place: this.place(`transmit buffer ${n}`),
      index: n,
      length: data & TX_STATUS_SIZE,
      from: undefined,
      until: undefined,
    };
  }
}

/** What a write of one register says of the mode. */
function modeByWrite(offset: number, data: number): ModeSign | undefined {
  if (offset === CP_CMD && (data & (CP_TX_ENABLE | CP_RX_ENABLE)) !== 0)
    return { mode: 'C+', strength: 'proven', why: 'the driver set CPlusTxEnb or CPlusRxEnb in CpCmd' };
  if (offset === TX_POLL) return { mode: 'C+', strength: 'strong', why: 'the driver rang TxPoll, which only C+ mode has' };
  const starts = (data & TX_STATUS_SIZE) !== 0 && (data & ~(TX_STATUS_SIZE | TX_STATUS_EARLY)) === 0;
  if (offset >= TX_STATUS && offset < TX_STATUS + 4 * BUFFERS && offset % 4 === 0 && starts)
    return { mode: 'C', strength: 'strong', why: 'the driver started a transfer through TxStatus, which C+ mode has not' };
  return undefined;
}

function causeOf(offset: number, width: number, data: number): InterruptCause | undefined {
  if (offset !== INTR_STATUS || width > 2) return undefined;
  return {
    register: 'IntrStatus',
    transmitted: (data & (INT_TX_OK | INT_TX_EMPTY)) !== 0,
    received: (data & INT_RX_OK) !== 0,
  };
}

const registerAt = (offset: number): RegisterDef | undefined =>
  rtl8139Registers.find((r) => offset >= r.offset && offset < r.offset + r.width);

function descriptor(direction: 'transmit' | 'receive', words: readonly number[]): DescriptorReading {
  const command = words[0] ?? 0;
  const names =
    direction === 'transmit'
      ? [
          command & CP_TX_OWN ? 'OWN' : '',
          command & CP_TX_END_OF_RING ? 'end of ring' : '',
          command & CP_TX_FIRST ? 'first' : '',
          command & CP_TX_LAST ? 'last' : '',
        ]
      : [command & CP_TX_OWN ? 'OWN' : '', command & CP_TX_END_OF_RING ? 'end of ring' : ''];
  // A receive descriptor's buffer has 13 bits, a transmit descriptor's 16.
  const length = command & (direction === 'transmit' ? CP_TX_SIZE_MASK : TX_STATUS_SIZE);
  return {
    buffer: words[2] === undefined ? undefined : addr64(words[2], words[3] ?? 0),
    length,
    last: direction === 'receive' || (command & CP_TX_LAST) !== 0,
    text: [...names.filter((n) => n !== ''), `${length} bytes`].join(', '),
    bufferWord: 'third',
  };
}

/** Registers by the labels that lines have for them. */
const atLabel = (label: string): readonly number[] =>
  rtl8139Registers.filter((r) => (r.log?.label ?? r.name).toLowerCase() === label.trim().toLowerCase()).map((r) => r.offset);

/** What the chip's lines say (log.ts). */
const nicLines: NicLines = {
  prefix: 'rtl8139',
  registers(text) {
    const address = readLine(lines.addressWrite, text);
    if (address !== undefined) return [TX_ADDR + address.offset];
    const status = readLine(lines.statusWrite, text);
    if (status !== undefined) return [TX_STATUS + status.offset];
    const place =
      readLine(lines.arrayRead, text) ?? readLine(lines.notImplementedRead, text) ?? readLine(lines.notImplementedWrite, text);
    if (place !== undefined) return [place.addr];
    const access = readLine(lines.registerRead, text) ?? readLine(lines.registerWrite, text);
    return access === undefined ? [] : atLabel(access.label);
  },
  mode: (text) => (/C\+/.test(text) ? { mode: 'C+', strength: 'proven', why: 'the chip says so' } : undefined),
  doorbell(text) {
    const written = readLine(lines.registerWrite, text);
    if (written === undefined || atLabel(written.label)[0] !== TX_POLL) return undefined;
    return { register: 'TxPoll', data: BigInt(`0x${written.value}`) };
  },
  descriptors(texts) {
    const found: { -readonly [K in keyof PrintedDescriptor]: PrintedDescriptor[K] }[] = [];
    texts.forEach((text, line) => {
      const at = readLine(lines.cplusTxAt, text);
      if (at !== undefined) {
        found.push({ index: at.n, gpa: at.gpa, line, words: undefined, buffer: undefined, sent: undefined });
        return;
      }
      const current = found.at(-1);
      if (current === undefined) return;
      const words = readLine(lines.cplusTx, text);
      if (words !== undefined) {
        current.words = { values: [words.word0, words.word1, words.word2, words.word3], line };
        return;
      }
      const fetched = nicLines.fetch(text);
      if (fetched !== undefined) {
        current.buffer ??= { ...fetched, line };
        return;
      }
      const sent = readLine(lines.cplusSent, text);
      if (sent !== undefined) current.sent = { bytes: sent.bytes, line };
    });
    return found;
  },
  fetch(text) {
    const fetched = readLine(lines.cplusFetch, text) ?? readLine(lines.fetch, text);
    return fetched === undefined ? undefined : { gpa: fetched.gpa, bytes: fetched.bytes };
  },
  raised(text) {
    const set = readLine(lines.setIrq, text);
    return set?.level === 1 ? { status: set.status, mask: set.mask } : undefined;
  },
};

const nameAt = (offset: number, mode: string | undefined): string | undefined =>
  explainAccess(rtl8139Registers, offset, registerAt(offset)?.width ?? 1, 0, mode)[0]?.name;

export const rtl8139Reading: NicReading = {
  name: 'rtl8139',
  title: 'RTL8139',
  vendorId: RTL8139_VENDOR_ID,
  deviceIds: [RTL8139_DEVICE_ID],
  blocks,
  drivers: ['8139cp', '8139too'],
  registers: rtl8139Registers,
  modes: ['C', 'C+'],
  follow: () => new Follower(),
  places: (direction, mode) =>
    mode === 'C+'
      ? [`${direction} ring`]
      : direction === 'receive'
        ? ['receive buffer']
        : [0, 1, 2, 3].map((n) => `transmit buffer ${n}`),
  registerAt: (_, offset, mode) => nameAt(offset, mode),
  explain: (_, { offset, width, value, mode, dir }) => explainAccess(rtl8139Registers, offset, width, value, mode, dir),
  descriptor,
  causeText(status) {
    const [register] = explainAccess(rtl8139Registers, INTR_STATUS, 2, status);
    return register!.fields === '' ? register!.name : `${register!.name} (${register!.fields})`;
  },
  lines: nicLines,
};
