import type { Meaning, NicAccess, NicFollower, NicReading, Place, RegisterBlock } from '../../src/devices/nic/reading.ts';
import { explainAccess } from '../../src/devices/registers.ts';
import { TOY_DEVICE_ID, TOY_VENDOR_ID } from './core.ts';
import { lines, readLine } from './log.ts';
import { TOY_BLOCK_SIZE, toyRegisters } from './registers.ts';

const block: RegisterBlock = { bar: 0x10, space: 'mmio', size: TOY_BLOCK_SIZE, regions: ['toy-mmio'] };

class Follower implements NicFollower {
  mode: string | undefined;
  private address: number | undefined;

  take({ dir, offset, width = 4, data }: NicAccess): Meaning {
    const value = Number(data ?? 0n);
    const registers = explainAccess(toyRegisters, offset, width, value, undefined, dir);
    if (data === undefined) return { registers };
    if (offset === 8) return { registers, cause: { register: 'Cause', transmitted: value !== 0, received: false } };
    if (dir === 'read') return { registers };
    if (offset === 0) {
      this.address = value;
      return { registers, place: this.place('transmit buffer') };
    }
    if (offset !== 4) return { registers };
    const place = this.place('transmit buffer');
    const doorbell = {
      register: 'Send',
      kind: 'buffer',
      place,
      index: 0,
      length: value,
      from: undefined,
      until: undefined,
    } as const;
    return { registers, doorbell };
  }

  place(key: string): Place | undefined {
    if (key !== 'transmit buffer' || this.address === undefined) return undefined;
    const direction = 'transmit';
    return { key, direction, register: 'Address', base: this.address, descriptorBytes: undefined, count: undefined };
  }

  lost(): void {
    this.address = undefined;
  }
}

export const toyReading: NicReading = {
  name: 'toy',
  title: 'Toy',
  vendorId: TOY_VENDOR_ID,
  deviceIds: [TOY_DEVICE_ID],
  blocks: [block],
  drivers: ['toynet'],
  registers: toyRegisters,
  modes: [],
  follow: () => new Follower(),
  places: (direction) => (direction === 'transmit' ? ['transmit buffer'] : []),
  registerAt: (_, offset) => toyRegisters.find((r) => offset >= r.offset && offset < r.offset + r.width)?.name,
  explain: (_, { offset, width, value, dir }) => explainAccess(toyRegisters, offset, width, value, undefined, dir),
  descriptor: () => ({ buffer: undefined, length: undefined, last: true, text: '', bufferWord: 'first' }),
  causeText: (status) => (status & 1 ? 'Cause (Sent)' : 'Cause'),
  lines: {
    prefix: 'toy',
    registers: (text) => (readLine(lines.sends, text) === undefined ? [] : [4]),
    mode: () => undefined,
    doorbell: () => undefined,
    descriptors: () => [],
    fetch(text) {
      const sends = readLine(lines.sends, text);
      return sends && { gpa: sends.gpa, bytes: sends.bytes };
    },
    raised: () => undefined,
  },
};
