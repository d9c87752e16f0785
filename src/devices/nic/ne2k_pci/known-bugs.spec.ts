/**
 * What hostile guests did to emulated NICs, one test a line of the list in docs/ne2k_pci.md. test/mutations takes the guard of
 * each out and expects the test to fail.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { IO, MAC, setUp } from './testing/set-up.ts';

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
      const { get, put } = setUp();
      for (const [name, mirror, last] of [
        ['EN0_STARTPG', 'EN2_STARTPG', 0xc0],
        ['EN0_STOPPG', 'EN2_STOPPG', 0xc0],
        ['EN0_BOUNDARY', 'EN0_BOUNDARY', 0xbf],
        ['EN1_CURPAG', 'EN1_CURPAG', 0xbf],
      ] as const) {
        for (const value of [last, last + 1, 0xff]) put(name, value);
        expect(get(mirror), name).toBe(last);
      }
    });

    it('a CURR that a long frame pushed behind it starts at PSTART', () => {
      const { bus, chip, start, put, get } = setUp();
      start(0xb8, 0xc0);
      bus.wire.arrive(frameOf(4000, 0x11));
      expect(get('EN1_CURPAG')).toBe(0xc1);
      put('EN0_BOUNDARY', 0xbf);
      bus.wire.arrive(frameOf(100, 0x22));
      expect(chip.statistics()['rx_packets']).toBe(2);
      expect(toHex(memoryOf(chip).subarray(0xb800, 0xb80a))).toBe(`01b96800${toHex(MAC)}`);
    });
  });

  it('CVE-2015-5278: CURR behind PSTOP: a header is written, and no byte of the frame', () => {
    const { bus, chip, start, put } = setUp();
    start(0x46, 0x60);
    put('EN1_CURPAG', 0x80);
    put('EN0_BOUNDARY', 0xb0);
    const before = memoryOf(chip);
    bus.wire.arrive(frameOf(1000, 0x33));
    const after = memoryOf(chip);
    expect(after.subarray(0x8000, 0x8004)).not.toEqual(before.subarray(0x8000, 0x8004));
    after.set(before.subarray(0x8000, 0x8004), 0x8000);
    expect(Buffer.compare(after, before)).toBe(0);
  });

  it('CVE-2016-2841: PSTOP at or below PSTART: the ring is full, the frame is dropped', () => {
    for (const stop of [0x46, 0x80]) {
      const { bus, chip, start, put } = setUp();
      start(0x80, stop);
      put('EN1_CURPAG', 0x47);
      put('EN0_BOUNDARY', 0x60);
      const before = memoryOf(chip);
      bus.wire.arrive(frameOf(100, 0x44));
      expect([chip.statistics()['rx_no_room'], Buffer.compare(memoryOf(chip), before)]).toEqual([1, 0]);
      expect(chip.receive(frameOf(100, 0x44), 100, true)).toBe('dropped');
    }
  });

  it('CVE-2015-8743: a 32-bit access to the last bytes of memory is inside as a whole, or reads ones and writes nothing', () => {
    const { start, remote, read, write, readMemory, writeMemory } = setUp();
    start();
    writeMemory(0xbffc, Uint8Array.of(1, 2, 3, 4));
    for (const address of [0xbffe, 0xbfff]) {
      remote(1, address, 4);
      expect(read(0x10, 4)).toBe(0xffffffff);
      remote(2, address, 4);
      write(0x10, 4, 0xdeadbeef);
    }
    remote(1, 0xbffc, 4);
    expect(read(0x10, 4)).toBe(0x04030201);
    expect(toHex(readMemory(0xbffc, 4))).toBe('01020304');
    for (const address of [0x20, 0x3ffc, 0x3fff, 0xc000, 0xfffc, 0xffff]) {
      remote(1, address, 4);
      expect(read(0x10, 4), `0x${address.toString(16)}`).toBe(0xffffffff);
    }
  });

  describe('CVE-2018-10839: sizes are unsigned and bounded before any arithmetic', () => {
    it('a frame of an impossible size is dropped', () => {
      const { chip, start, get } = setUp();
      start();
      const before = memoryOf(chip);
      const huge = frameOf(0x11000, 0x55);
      for (const size of [-1, 2 ** 31, 2 ** 32 + 60, 0xfffc, 0x10000, 0x11001, NaN])
        expect(chip.receive(huge, size), `${size}`).toBe('dropped');
      expect(chip.receive(huge.subarray(0, 100), 101)).toBe('dropped');
      expect([get('EN1_CURPAG'), get('EN0_ISR') & 1, Buffer.compare(memoryOf(chip), before)]).toEqual([0x47, 0, 0]);
    });

    it('a frame to send that does not lie in memory is not sent, though reported as sent', () => {
      const { bus, start, transmit, get, put } = setUp();
      start();
      for (const [page, length] of [
        [0xbf, 257],
        [0x40, 0x8001],
        [0xff, 0xffff],
      ] as const) {
        put('EN0_ISR', 0xff);
        transmit(page, length);
        expect([bus.wire.sent.length, get('EN0_TSR'), get('EN0_ISR') & 2], `${page} ${length}`).toEqual([0, 1, 2]);
      }
      transmit(0xbf, 256);
      expect(bus.wire.sent.length).toBe(1);
    });
  });

  it('a remote byte count of zero moves nothing in, and a count too large ends nothing', () => {
    const { start, remote, write, read, get, put, readMemory } = setUp();
    start();
    put('EN0_ISR', 0xff);
    remote(2, 0x4000, 0);
    write(0x10, 1, 0x77);
    expect([get('EN0_ISR'), get('EN0_CRDALO')]).toEqual([0x40, 0]);
    expect(readMemory(0x4000, 1)).toEqual(Uint8Array.of(0));
    remote(1, 0xffff, 0xffff);
    put('EN0_ISR', 0xff);
    for (let i = 0; i < 0x4000; i++) expect(read(0x10, 4)).toBe(0xffffffff);
    expect(get('EN0_ISR') & 0x40).toBe(0x40);
  });

  it('CVE-2021-3416 kind: what a sent frame brings about does not come back into the chip while it is busy', () => {
    const { bus, chip, start, transmit, get, read } = setUp();
    start();
    const seen: (string | number)[] = [];
    bus.wire.onSend = () => {
      bus.write('io', IO, 1, 0x26);
      seen.push(read(7, 1), chip.receive(frameOf(60, 1), 60));
      bus.wire.arrive(frameOf(60, 1));
    };
    transmit(0x40, 60);
    expect([seen, bus.wire.sent.length, bus.wire.waitingFrames, get('EN0_ISR') & 3]).toEqual([[0, 'refused'], 1, 0, 3]);
  });
});

describe('any device', () => {
  it('CVE-2020-13754 kind: an access of a size the registers do not take reads ones and writes nothing', () => {
    const { chip, get } = setUp();
    const before = chip.save();
    for (const size of [0, 3, 5, 8, 16, -1]) {
      expect(chip.readBar(0, 0x07, size), `${size}`).toBe(0xffffffff);
      chip.writeBar(0, 0x10, size, 0xffffffff);
      chip.writeBar(0, 0, size, 0xffffffff);
    }
    for (const offset of [-1, -4, 0xfd, 0xff, 0x100, 0x1000, NaN]) {
      chip.writeBar(0, offset, 4, 0xffffffff);
      expect(chip.readBar(0, offset, 4)).toBe(0xffffffff);
    }
    expect(chip.save()).toEqual(before);
    expect(get('EN0_ISR')).toBe(0x80);
  });

  it('XSA-126 / CVE-2015-2756 kind: Command cleared in the middle of a transfer ends it cleanly', () => {
    const { bus, chip, start, transmit, get, read } = setUp();
    start();
    bus.wire.onSend = () => chip.writeConfig(4, 2, 0);
    transmit(0x40, 60);
    expect([bus.wire.sent.length, read(7, 1)]).toEqual([1, 0xff]);
    chip.writeConfig(4, 2, 7);
    expect([get('EN0_ISR') & 2, get('EN0_TSR'), get('E8390_CMD') & 4]).toEqual([2, 1, 0]);
  });
});
