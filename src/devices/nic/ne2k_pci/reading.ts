/** The RTL8029 as it is read from records and log lines: reading.ts, for this chip. Sources: as in registers.ts. */
import type { LogLine } from '../../../base/log-line.ts';
import { describeFields, explainAccess } from '../../registers.ts';
import type {
  DescriptorReading,
  Doorbell,
  InterruptCause,
  Meaning,
  NicAccess,
  NicFollower,
  NicLines,
  NicReading,
  RegisterBlock,
} from '../reading.ts';
import { lines, readLine } from './log.ts';
import { CMD_PAGE_SHIFT, CMD_STOP, CMD_TRANS, ISR_RX, ISR_TX, R, W } from './port.ts';
import {
  NE2K_BLOCK_SIZE,
  NE2K_DATA_PORT,
  NE2K_DEVICE_ID,
  NE2K_PAGED_PORTS,
  NE2K_VENDOR_ID,
  ne2kRegisters,
  receiveHeader,
  tableOffset,
} from './registers.ts';

const offsetOf = (index: number): number => ne2kRegisters[index]!.offset;
const CMD = offsetOf(R.E8390_CMD);
const ISR = offsetOf(R.EN0_ISR);
const COUNT_LOW = offsetOf(W.EN0_TCNTLO);
const COUNT_HIGH = offsetOf(W.EN0_TCNTHI);

const blocks: readonly RegisterBlock[] = [{ bar: 0x10, space: 'pio', size: NE2K_BLOCK_SIZE, regions: ['ne2000'] }];

class Follower implements NicFollower {
  /** The chip has one mode. */
  mode: string | undefined;
  /** Page of the ports 1 to 15, as Command last said; undefined: unknown. Drivers leave page 0 for some accesses only. */
  private page: number | undefined = 0;
  /** Bytes to send, each half as last written. */
  private readonly count = new Map<number, number>();

  take({ dir, offset, width, data }: NicAccess): Meaning {
    // Registers are bytes; the chip takes nothing wider but at the data port.
    if (offset < NE2K_PAGED_PORTS && width !== undefined && width !== 1) return { registers: [] };
    // Command, data and reset ports are the same in each page.
    if (this.page === undefined && offset > 0 && offset < NE2K_PAGED_PORTS) return { registers: [] };
    const at = tableOffset(offset, this.page ?? 0);
    const size = width ?? (offset === NE2K_DATA_PORT ? 2 : 1);
    const value = Number(BigInt.asUintN(32, data ?? 0n));
    const registers = explainAccess(ne2kRegisters, at, size, value, undefined, dir);
    if (data === undefined) return { registers };
    if (at === CMD) this.page = value >> CMD_PAGE_SHIFT;
    if (dir === 'read') return { registers, cause: causeOf(at, value) };
    if (at === COUNT_LOW || at === COUNT_HIGH) this.count.set(at, value);
    return { registers, doorbell: at === CMD ? this.doorbell(value) : undefined, cause: causeOf(at, value) };
  }

  lost(): void {
    this.page = undefined;
    this.count.clear();
  }

  /** Frames are in the chip's memory: none of its places is in the guest's. */
  place(): undefined {
    return undefined;
  }

  private doorbell(command: number): Doorbell | undefined {
    if (!(command & CMD_TRANS) || command & CMD_STOP) return undefined;
    const low = this.count.get(COUNT_LOW);
    const high = this.count.get(COUNT_HIGH);
    return {
      register: 'E8390_CMD',
      kind: 'chip memory',
      place: undefined,
      index: undefined,
      length: low === undefined || high === undefined ? undefined : low | (high << 8),
      from: undefined,
      until: undefined,
    };
  }
}

function causeOf(at: number, value: number): InterruptCause | undefined {
  if (at !== ISR) return undefined;
  return { register: 'EN0_ISR', transmitted: (value & ISR_TX) !== 0, received: (value & ISR_RX) !== 0 };
}

/** The chip has no descriptors. What stands before a received frame in the ring reads like one. */
function descriptor(direction: 'transmit' | 'receive', words: readonly number[]): DescriptorReading {
  const word = words[0] ?? 0;
  if (direction === 'transmit')
    return { buffer: undefined, length: undefined, last: true, text: 'no descriptor', bufferWord: '' };
  const length = Math.max((word >>> 16) - receiveHeader.bytes, 0);
  const status = describeFields(receiveHeader.status, word & 0xff);
  return {
    buffer: undefined,
    length,
    last: true,
    text: [status, `next page 0x${((word >>> 8) & 0xff).toString(16)}`, `${length} bytes`]
      .filter((part) => part !== '')
      .join(', '),
    bufferWord: '',
  };
}

/** The model's debug lines of older QEMUs (hw/net/ne2000.c, DEBUG_NE2000): `NE2000: write addr=0x7 val=0xff`. */
const nicLines: NicLines = {
  prefix: 'ne2000',
  registers(text) {
    for (const line of [lines.oldAsicRead, lines.oldAsicWrite]) if (readLine(line, text) !== undefined) return [NE2K_DATA_PORT];
    const { oldRead, oldWrite, read, write, ioportRead, ioportWrite } = lines;
    for (const line of [oldRead, oldWrite, read, write, ioportRead, ioportWrite]) {
      const access = readLine(line as LogLine<typeof read.text>, text);
      if (access !== undefined) return [access.addr];
    }
    return [];
  },
  mode: () => undefined,
  doorbell: () => undefined,
  descriptors: () => [],
  fetch: () => undefined,
  raised(text) {
    const set = readLine(lines.oldSetIrq, text);
    return set?.level === 1 ? { status: set.status, mask: set.mask } : undefined;
  },
};

export const ne2kReading: NicReading = {
  name: 'ne2k_pci',
  title: 'RTL8029',
  vendorId: NE2K_VENDOR_ID,
  deviceIds: [NE2K_DEVICE_ID],
  blocks,
  drivers: ['ne2k-pci'],
  registers: ne2kRegisters,
  modes: [],
  follow: () => new Follower(),
  places: () => [],
  /** Of the paged ports, page 0's. */
  registerAt: (_, offset) => ne2kRegisters.find((r) => offset >= r.offset && offset < r.offset + r.width)?.name,
  /** Of the paged ports, page 0's. */
  explain: (_, { offset, width, value, dir }) => explainAccess(ne2kRegisters, offset, width, value, undefined, dir),
  descriptor,
  causeText(status) {
    const register = ne2kRegisters[R.EN0_ISR]!;
    const causes = describeFields(register.fields!, status & 0xff);
    return causes === '' ? register.name : `${register.name} (${causes})`;
  },
  lines: nicLines,
};
