/**
 * What hostile guests did to emulated NICs, one test a line of the list in docs/ne2k_pci.md. test/mutations takes the guard of
 * each out and expects the test to fail.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { NE2K_DATA_PORT } from './registers.ts';
import { COMMAND_ON } from '../../testing/pci-config.ts';
import { CMD, ISR, MAC, portOf, setUp, TSR } from './testing/set-up.ts';

const COMMAND = portOf('E8390_CMD');
const INTERRUPT_STATUS = portOf('EN0_ISR');

/** A frame to the card, of one byte value. */
const frameOf = (length: number, byte: number): Uint8Array => {
  const frame = new Uint8Array(length).fill(byte);
  frame.set(MAC);
  return frame;
};

/** A saved copy of the chip's own memory. */
const memoryOf = (chip: ReturnType<typeof setUp>['chip']): Uint8Array => chip.save()['mem'] as Uint8Array;

describe('ne2k_pci', () => {
  describe('CVE-2007-1321, CVE-2015-5279: pages outside the packet memory', () => {
    it('PSTART, PSTOP, BNRY and CURR take no page behind it', () => {
      const { read, write } = setUp();
      for (const [name, mirror, last] of [
        ['EN0_STARTPG', 'EN2_STARTPG', 0xc0],
        ['EN0_STOPPG', 'EN2_STOPPG', 0xc0],
        ['EN0_BOUNDARY', 'EN0_BOUNDARY', 0xbf],
        ['EN1_CURPAG', 'EN1_CURPAG', 0xbf],
      ] as const) {
        for (const value of [last, last + 1, 0xff]) write(name, value);
        expect(read(mirror), name).toBe(last);
      }
    });

    it('a CURR that a long frame pushed behind it starts at PSTART', () => {
      const { bus, chip, start, write, read } = setUp();
      start(0xb8, 0xc0);
      bus.wire.arrive(frameOf(4000, 0x11));
      expect(read('EN1_CURPAG')).toBe(0xc1);
      write('EN0_BOUNDARY', 0xbf);
      bus.wire.arrive(frameOf(100, 0x22));
      expect(chip.statistics()['rx_packets']).toBe(2);
      expect(toHex(memoryOf(chip).subarray(0xb800, 0xb80a))).toBe(`01b96800${toHex(MAC)}`);
    });
  });

  it('CVE-2015-5278: CURR behind PSTOP: a header is written, and no byte of the frame', () => {
    const { bus, chip, start, write } = setUp();
    start(0x46, 0x60);
    write('EN1_CURPAG', 0x80);
    write('EN0_BOUNDARY', 0xb0);
    const before = memoryOf(chip);
    bus.wire.arrive(frameOf(1000, 0x33));
    const after = memoryOf(chip);
    expect(after.subarray(0x8000, 0x8004)).not.toEqual(before.subarray(0x8000, 0x8004));
    after.set(before.subarray(0x8000, 0x8004), 0x8000);
    expect(Buffer.compare(after, before)).toBe(0);
  });

  it('CVE-2016-2841: PSTOP at or below PSTART: the ring is full, the frame is dropped', () => {
    for (const stop of [0x46, 0x80]) {
      const { bus, chip, start, write } = setUp();
      start(0x80, stop);
      write('EN1_CURPAG', 0x47);
      write('EN0_BOUNDARY', 0x60);
      const before = memoryOf(chip);
      bus.wire.arrive(frameOf(100, 0x44));
      expect(chip.statistics()['rx_no_room']).toBe(1);
      expect(Buffer.compare(memoryOf(chip), before)).toBe(0);
      expect(chip.receive(frameOf(100, 0x44), 100, true)).toBe('dropped');
    }
  });

  it('CVE-2015-8743: a 32-bit access to the last bytes of memory is inside as a whole, or reads ones and writes nothing', () => {
    const { start, remote, readData, writeData, readMemory, writeMemory } = setUp();
    start();
    writeMemory(0xbffc, Uint8Array.of(1, 2, 3, 4));
    for (const address of [0xbffe, 0xbfff]) {
      remote('read', address, 4);
      expect(readData(4)).toBe(0xffffffff);
      remote('write', address, 4);
      writeData(4, 0xdeadbeef);
    }
    remote('read', 0xbffc, 4);
    expect(readData(4)).toBe(0x04030201);
    expect(toHex(readMemory(0xbffc, 4))).toBe('01020304');
    for (const address of [0x20, 0x3ffc, 0x3fff, 0xc000, 0xfffc, 0xffff]) {
      remote('read', address, 4);
      expect(readData(4), `0x${address.toString(16)}`).toBe(0xffffffff);
    }
  });

  describe('CVE-2018-10839: sizes are unsigned and bounded before any arithmetic', () => {
    it('a frame of an impossible size is dropped', () => {
      const { chip, start, read } = setUp();
      start();
      const before = memoryOf(chip);
      const huge = frameOf(0x11000, 0x55);
      for (const size of [-1, 2 ** 31, 2 ** 32 + 60, 0xfffc, 0x10000, 0x11001, NaN])
        expect(chip.receive(huge, size), `${size}`).toBe('dropped');
      expect(chip.receive(huge.subarray(0, 100), 101)).toBe('dropped');
      expect(read('EN1_CURPAG')).toBe(0x47);
      expect(read('EN0_ISR') & ISR.PRX).toBe(0);
      expect(Buffer.compare(memoryOf(chip), before)).toBe(0);
    });

    it('a frame to send that does not lie in memory is not sent, though reported as sent', () => {
      const { bus, start, transmit, read, write } = setUp();
      start();
      for (const [page, length] of [
        [0xbf, 257],
        [0x40, 0x8001],
        [0xff, 0xffff],
      ] as const) {
        write('EN0_ISR', 0xff);
        transmit(page, length);
        expect(bus.wire.sent.length, `${page} ${length}`).toBe(0);
        expect(read('EN0_TSR'), `${page} ${length}`).toBe(TSR.PTX);
        expect(read('EN0_ISR') & ISR.PTX, `${page} ${length}`).toBe(ISR.PTX);
      }
      transmit(0xbf, 256);
      expect(bus.wire.sent.length).toBe(1);
    });
  });

  it('a remote byte count of zero moves nothing in, and a count too large ends nothing', () => {
    const { start, remote, writeData, readData, read, write, readMemory } = setUp();
    start();
    write('EN0_ISR', 0xff);
    remote('write', 0x4000, 0);
    writeData(1, 0x77);
    expect(read('EN0_ISR')).toBe(ISR.RDC);
    expect(read('EN0_CRDALO')).toBe(0);
    expect(readMemory(0x4000, 1)).toEqual(Uint8Array.of(0));
    remote('read', 0xffff, 0xffff);
    write('EN0_ISR', 0xff);
    for (let i = 0; i < 0x4000; i++) expect(readData(4)).toBe(0xffffffff);
    expect(read('EN0_ISR') & ISR.RDC).toBe(ISR.RDC);
  });

  it('CVE-2021-3416 kind: what a sent frame brings about does not come back into the chip while it is busy', () => {
    const { bus, chip, start, transmit, read, readAt, writeAt } = setUp();
    start();
    const seen: (string | number)[] = [];
    bus.wire.onSend = () => {
      writeAt(COMMAND, 1, CMD.ABORT | CMD.TXP | CMD.STA);
      seen.push(readAt(INTERRUPT_STATUS, 1), chip.receive(frameOf(60, 1), 60));
      bus.wire.arrive(frameOf(60, 1));
    };
    transmit(0x40, 60);
    expect(seen).toEqual([0, 'refused']);
    expect(bus.wire.sent.length).toBe(1);
    expect(bus.wire.waitingFrames).toBe(0);
    expect(read('EN0_ISR') & (ISR.PRX | ISR.PTX)).toBe(ISR.PRX | ISR.PTX);
  });
});

describe('any device', () => {
  it('CVE-2020-13754 kind: an access of a size the registers do not take reads ones and writes nothing', () => {
    const { chip, read } = setUp();
    const before = chip.save();
    for (const size of [0, 3, 5, 8, 16, -1]) {
      expect(chip.readBar(0, INTERRUPT_STATUS, size), `${size}`).toBe(0xffffffff);
      chip.writeBar(0, NE2K_DATA_PORT, size, 0xffffffff);
      chip.writeBar(0, COMMAND, size, 0xffffffff);
    }
    for (const offset of [-1, -4, 0xfd, 0xff, 0x100, 0x1000, NaN]) {
      chip.writeBar(0, offset, 4, 0xffffffff);
      expect(chip.readBar(0, offset, 4)).toBe(0xffffffff);
    }
    expect(chip.save()).toEqual(before);
    expect(read('EN0_ISR')).toBe(ISR.RST);
  });

  it('XSA-126 / CVE-2015-2756 kind: Command cleared in the middle of a transfer ends it cleanly', () => {
    const { bus, pci, start, transmit, read, readAt } = setUp();
    start();
    bus.wire.onSend = () => pci.write('Command', 0);
    transmit(0x40, 60);
    expect(bus.wire.sent.length).toBe(1);
    expect(readAt(INTERRUPT_STATUS, 1)).toBe(0xff);
    pci.write('Command', COMMAND_ON);
    expect(read('EN0_ISR') & ISR.PTX).toBe(ISR.PTX);
    expect(read('EN0_TSR')).toBe(TSR.PTX);
    expect(read('E8390_CMD') & CMD.TXP).toBe(0);
  });
});
