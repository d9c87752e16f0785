/**
 * The e1000 alone, on a test bus: nanoseconds and heap bytes of a register access and of a frame, both ways, with a large send.
 * Usage: npx tsx bench/e1000.ts [--json]
 */
import { E1000 } from '../src/devices/nic/e1000/core.ts';
import { R, type E1000Register } from '../src/devices/nic/e1000/registers.ts';
import { BUFFER, chipAlone, FRAME, MAC, measure, RAM } from './chip-alone.ts';

const LARGE_SEND = 54 + 44 * 1460;

/** A chip with both rings of 256 descriptors. */
function setUp() {
  const { bus, chip, view, frame } = chipAlone((slot, wire) => new E1000(slot, wire, { mac: MAC }));
  const words = (at: number, ...values: number[]): void => values.forEach((w, i) => view.setUint32(at + 4 * i, w >>> 0, true));
  const write = (name: E1000Register, value: number): void => chip.writeBar(0, 4 * R[name], 4, value);
  const read = (name: E1000Register): number => chip.readBar(0, 4 * R[name], 4);
  write('TDBAL', RAM);
  write('TDLEN', 4096);
  write('TCTL', 2);
  for (let n = 0; n < 256; n++) words(0x2000 + 16 * n, RAM + 0x40000, 0, 0, 0);
  write('RDBAL', RAM + 0x2000);
  write('RDLEN', 4096);
  write('RDT', 255);
  write('RCTL', 0x8002);
  bus.clock.advance(2e9);
  return { chip, read, words, write, frame };
}

measure({
  'register read (STATUS)': {
    count: 100_000,
    make: () => {
      const { read } = setUp();
      return () => void read('STATUS');
    },
  },
  'register write (IMS)': {
    count: 100_000,
    make: () => {
      const { write } = setUp();
      return () => write('IMS', 0x9d);
    },
  },
  'transmit, 1514 bytes': {
    count: 4000,
    make: () => {
      const { words, write } = setUp();
      for (let n = 0; n < 256; n++) words(16 * n, RAM + BUFFER, 0, 0x0b000000 | FRAME, 0);
      let tail = 0;
      return () => {
        tail = (tail + 1) & 255;
        write('TDT', tail);
      };
    },
  },
  'large send, 64,294 bytes in 44 segments': {
    count: 400,
    make: () => {
      const { words, write } = setUp();
      for (let n = 0; n < 256; n += 2) {
        words(16 * n, 14 | (24 << 8) | (33 << 16), 34 | (50 << 8), 0x27000000 | (LARGE_SEND - 54), (54 << 8) | (1460 << 16));
        words(16 * n + 16, RAM + BUFFER, 0, 0x2f100000 | LARGE_SEND, 0x300);
      }
      let tail = 0;
      return () => {
        tail = (tail + 2) & 255;
        write('TDT', tail);
      };
    },
  },
  'receive, 1514 bytes': {
    count: 4000,
    make: () => {
      const { chip, write, frame } = setUp();
      let tail = 255;
      return () => {
        if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
        tail = (tail + 1) & 255;
        write('RDT', tail);
      };
    },
  },
});
