/**
 * The RTL8139 alone, on a test bus: nanoseconds and heap bytes of a register access and of a frame, both modes, both
 * ways. Usage: npx tsx bench/rtl8139.ts [--json]
 */
import { Rtl8139 } from '../src/devices/nic/rtl8139/core.ts';
import { BUFFER, chipAlone, FRAME, MAC, measure, RAM } from './chip-alone.ts';

/** A chip with receiver and transmitter on. */
function setUp() {
  const { chip, view, frame } = chipAlone((slot, wire) => new Rtl8139(slot, wire, { mac: MAC }));
  const write = (offset: number, size: number, value: number): void => chip.writeBar(1, offset, size, value);
  write(0x37, 1, 0x0c);
  write(0x44, 4, 0x0e);
  return { chip, view, write, frame };
}

measure({
  'register read (IntrStatus)': {
    count: 100_000,
    make: () => {
      const { chip } = setUp();
      return () => void chip.readBar(1, 0x3e, 2);
    },
  },
  'register write (IntrMask)': {
    count: 100_000,
    make: () => {
      const { chip } = setUp();
      return () => chip.writeBar(1, 0x3c, 2, 0xe1ff);
    },
  },
  'register write (TxAddr0, above 2 GiB)': {
    count: 100_000,
    make: () => {
      const { chip } = setUp();
      return () => chip.writeBar(1, 0x20, 4, 0xd4e6c400);
    },
  },
  'C+ transmit, 1514 bytes': {
    count: 4000,
    make: () => {
      const { view, write } = setUp();
      write(0xe0, 2, 3);
      write(0x20, 4, RAM);
      view.setUint32(8, RAM + BUFFER, true);
      return () => {
        view.setUint32(0, 0xf0000000 + FRAME, true);
        write(0xd9, 1, 0x40);
      };
    },
  },
  'C transmit, 1514 bytes': {
    count: 4000,
    make: () => {
      const { write } = setUp();
      for (let n = 0; n < 4; n++) write(0x20 + 4 * n, 4, RAM + BUFFER);
      let n = 0;
      return () => {
        write(0x10 + 4 * n, 4, FRAME);
        n = (n + 1) & 3;
      };
    },
  },
  'C+ receive, 1514 bytes': {
    count: 4000,
    make: () => {
      const { chip, view, write, frame } = setUp();
      write(0xe0, 2, 3);
      write(0xe4, 4, RAM + 0x1000);
      view.setUint32(0x1008, RAM + 0x1_0000, true);
      return () => {
        view.setUint32(0x1000, 0xc0000600, true);
        if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
      };
    },
  },
  'C receive, 1514 bytes': {
    count: 4000,
    make: () => {
      const { chip, write, frame } = setUp();
      write(0x44, 4, 0x180e);
      write(0x30, 4, RAM + 0x1_0000);
      return () => {
        if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
        write(0x38, 2, (chip.readBar(1, 0x3a, 2) - 16) & 0xffff);
      };
    },
  },
});
