/**
 * What hostile guests did to emulated NICs, one test a line of the list in docs/rtl8139.md. test/mutations takes
 * the guard of each out and expects the test to fail.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import {
  CMD_RESET,
  CMD_RX_EMPTY,
  CMD_RX_ENABLE,
  CMD_TX_ENABLE,
  INT_RX_OK,
  INT_RX_OVERFLOW,
  INT_TIMEOUT,
  INT_TX_OK,
  POLL_NORMAL,
  RX_BUF_LEN,
  RX_NO_WRAP,
  TX_LOOPBACK,
} from './port.ts';
import { BAR, FIRST, LAST, MAC, OWN, RAM, RECEIVED, RX_EVERY_FRAME, setUp } from './testing/set-up.ts';

const OWN_FIRST_LAST = (OWN | FIRST | LAST) >>> 0;
const LARGE_SEND = 0x08000000;
const CHECKSUMS = 0x00070000;
const BUFFER = 0x8000;

/** Ethernet + IPv4 + TCP frame whose length fields say what they are told to. */
function tcpFrame({ ihl = 5, total = 20 + 20 + 400, offset = 5, bytes = 14 + 20 + 20 + 400 } = {}): Uint8Array {
  const frame = Uint8Array.from({ length: bytes }, (_, i) => (i * 7) & 0xff);
  frame.set([2, 0, 0, 0, 0, 1, ...MAC, 8, 0, 0x40 | ihl, 0, total >> 8, total & 0xff, 0, 1, 0, 0, 64, 6].slice(0, bytes));
  if (bytes > 14 + 4 * ihl + 12) frame[14 + 4 * ihl + 12] = offset << 4;
  return frame;
}

/** Sends one frame as one C+ descriptor. */
function sendCplus(frame: Uint8Array, command: number) {
  const at = setUp();
  at.startCplus();
  at.bus.ram.bytes.set(frame, BUFFER);
  at.descriptor(0, (OWN_FIRST_LAST | command | frame.length) >>> 0, 0, BUFFER);
  at.bus.wire.onSend = () => {
    if (at.bus.wire.sent.length > 1000) throw new Error('no end of frames');
  };
  at.write('TxPoll', POLL_NORMAL);
  return at.bus.wire.sent;
}

/** Fails a test that would not end. */
function boundAccesses(bus: ReturnType<typeof setUp>['bus'], most: number): void {
  const read = bus.ram.read.bind(bus.ram);
  bus.ram.read = (gpa, buffer, offset, length) => {
    if (bus.ram.accesses > most) throw new Error(`more than ${most} DMA accesses`);
    return read(gpa, buffer, offset, length);
  };
}

describe('rtl8139', () => {
  describe('CVE-2015-5165 / XSA-140: a frame whose headers lie leaves as it is', () => {
    const lies: [string, Parameters<typeof tcpFrame>[0]][] = [
      ['IP total length below its header', { total: 19 }],
      ['IP total length past the frame', { total: 0xffff }],
      ['IP header below 20 bytes', { ihl: 4 }],
      ['IP header past the frame', { ihl: 15, total: 60, bytes: 14 + 40 }],
      ['frame shorter than the headers', { bytes: 33, total: 19 }],
      ['no room for a TCP header', { total: 39 }],
      ['TCP data offset below 20', { offset: 4 }],
      ['TCP data offset past the segment', { offset: 15, total: 20 + 40 }],
    ];
    for (const [name, shape] of lies) {
      it(`large send: ${name}`, () => {
        const frame = tcpFrame(shape);
        expect(sendCplus(frame, LARGE_SEND | (100 << 16)).map(toHex)).toEqual([toHex(frame)]);
      });
    }
    for (const [name, shape] of lies.slice(0, 5)) {
      it(`checksums: ${name}`, () => {
        const frame = tcpFrame(shape);
        expect(sendCplus(frame, CHECKSUMS).map(toHex)).toEqual([toHex(frame)]);
      });
    }
    it('an honest frame is segmented', () => {
      expect(sendCplus(tcpFrame(), LARGE_SEND | (100 << 16)).map((f) => f.length)).toEqual([154, 154, 154, 154]);
    });
  });

  it('Large send with MSS 0: the frame leaves unsegmented', () => {
    const frame = tcpFrame();
    expect(sendCplus(frame, LARGE_SEND).map(toHex)).toEqual([toHex(frame)]);
  });

  describe('CVE-2021-3416: loopback delivers once and a busy chip refuses re-entry', () => {
    it('a frame sent in loopback is received once and goes nowhere else', () => {
      const { bus, descriptor, startCplus, write, read, ram } = setUp();
      startCplus();
      write('TxConfig', TX_LOOPBACK);
      descriptor(0, OWN_FIRST_LAST + 64, 0, BUFFER);
      bus.ram.bytes.set(MAC, BUFFER);
      for (let n = 0; n < 4; n++) descriptor(0x100 + n, OWN | 0x600, 0, 0x9000 + 0x800 * n);
      write('TxPoll', POLL_NORMAL);
      expect(bus.wire.sent.length).toBe(0);
      expect(read('IntrStatus')).toBe(INT_RX_OK | INT_TX_OK);
      expect([0, 1].map((n) => ram.getUint32(0x1000 + 16 * n, true))).toEqual([RECEIVED + 68, OWN + 0x600]);
    });

    it('receive buffers on the TxPoll register, on a bus that lets DMA reach it, start no transmission', () => {
      const { bus, descriptor, startCplus, write, offset } = setUp();
      startCplus();
      write('TxConfig', TX_LOOPBACK);
      const ramWrite = bus.ram.write.bind(bus.ram);
      let depth = 0;
      bus.ram.write = (gpa, buffer, offset, length) => {
        if (gpa < BAR || gpa >= BAR + 256) return ramWrite(gpa, buffer, offset, length);
        if (++depth > 3) throw new Error('the chip re-enters itself');
        for (let i = 0; i < length; i++) bus.write('mem', gpa + i, 1, buffer[offset + i]!);
        depth--;
        return true;
      };
      bus.ram.bytes.fill(0x40, BUFFER, BUFFER + 64);
      bus.ram.bytes.set(MAC, BUFFER);
      const dataView = new DataView(bus.ram.bytes.buffer);
      for (let n = 0; n < 8; n++) {
        descriptor(n, OWN_FIRST_LAST + 64, 0, BUFFER);
        descriptor(0x100 + n, OWN | 0x600, 0, 0);
        dataView.setUint32(0x1000 + 16 * n + 8, BAR + offset('TxPoll') - 20, true);
      }
      const trail: number[] = [];
      const ramRead = bus.ram.read.bind(bus.ram);
      bus.ram.read = (gpa, buffer, offset, length) => {
        if (length === 16 && gpa < RAM + 0x1000) trail.push((gpa - RAM) / 16);
        return ramRead(gpa, buffer, offset, length);
      };
      write('TxPoll', POLL_NORMAL);
      expect(trail).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    });

    it('an answer that comes while the frame is being sent waits until the chip is done', () => {
      const { bus, chip, descriptor, startCplus, write, ram } = setUp();
      startCplus();
      descriptor(0, OWN_FIRST_LAST + 64, 0, BUFFER);
      descriptor(0x100, OWN | 0x600, 0, 0x9000);
      const answers: string[] = [];
      const answer = new Uint8Array(64);
      answer.set(MAC);
      bus.wire.onSend = () => {
        bus.wire.arrive(answer);
        answers.push(chip.receive(answer, 64));
        expect(ram.getUint32(0x1000, true)).toBe(OWN + 0x600);
      };
      write('TxPoll', POLL_NORMAL);
      expect(answers).toEqual(['refused']);
      expect(ram.getUint32(0x1000, true)).toBe(RECEIVED + 68);
      expect(bus.wire.waitingFrames).toBe(0);
    });
  });

  it('C+ ring larger than 64, no end mark, every descriptor owned: at most 64 frames a doorbell', () => {
    const { bus, descriptor, startCplus, write } = setUp();
    startCplus();
    for (let n = 0; n < 100; n++) descriptor(n, OWN_FIRST_LAST + 60, 0, BUFFER);
    // Memory that keeps the ownership bit whatever the chip writes.
    bus.ram.write = () => false;
    boundAccesses(bus, 1000);
    write('TxPoll', POLL_NORMAL);
    expect(bus.wire.sent.length).toBe(64);
  });

  it('Large sends cut into single bytes: a doorbell takes no descriptor after 16,384 frames', () => {
    const { bus, descriptor, startCplus, write, ram } = setUp();
    startCplus();
    bus.ram.bytes.set(tcpFrame({ total: 0x7fff, bytes: 100 }), BUFFER);
    for (let n = 0; n < 4; n++) descriptor(n, (OWN_FIRST_LAST | LARGE_SEND | (1 << 16) | 0xfff0) >>> 0, 0, BUFFER);
    let frames = 0;
    bus.wire.send = () => void frames++;
    write('TxPoll', POLL_NORMAL);
    expect([frames, ...[0, 1].map((n) => ram.getUint32(16 * n, true) >>> 31)]).toEqual([0x7fff - 40, 0, 1]);
    write('TxPoll', POLL_NORMAL);
    expect(frames).toBe(2 * (0x7fff - 40));
  });

  it('C+ fragments that add up to 64 KiB and more without a last mark: clipped to the 64 KiB buffer', () => {
    const { bus, descriptor, startCplus, write } = setUp();
    startCplus();
    bus.ram.bytes.fill(0x11, BUFFER);
    descriptor(0, OWN | FIRST | 0xffff, 0, BUFFER);
    descriptor(1, OWN | 0xffff, 0, BUFFER);
    descriptor(2, OWN | LAST | 0x1000, 0, BUFFER);
    const lengths: number[] = [];
    bus.wire.send = (_buffer, length) => void lengths.push(length);
    write('TxPoll', POLL_NORMAL);
    expect(lengths).toEqual([65536]);
  });

  it('CVE-2018-17958: a frame size is unsigned and bounded before any arithmetic', () => {
    const { bus, chip, read, write } = setUp();
    write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
    write('RxBuf', RAM + 0x1_0000);
    write('RxConfig', RX_BUF_LEN | RX_EVERY_FRAME);
    const before = bus.ram.bytes.slice();
    const huge = new Uint8Array(0x11000);
    for (const size of [-1, 2 ** 31, 2 ** 32 + 60, 0xfffc, 0x10000, 0x11001, NaN])
      expect(chip.receive(huge, size), `${size}`).toBe('dropped');
    expect(read('RxBufAddr')).toBe(0);
    expect(read('IntrStatus')).toBe(0);
    expect(Buffer.compare(bus.ram.bytes, before)).toBe(0);
    expect(chip.receive(huge.subarray(0, 100), 101)).toBe('dropped');
  });

  it('Receive into a descriptor with a buffer smaller than the frame: overflow flag, nothing written', () => {
    const { bus, chip, descriptor, read, startCplus, write } = setUp();
    startCplus();
    write('RxConfig', RX_EVERY_FRAME);
    descriptor(0x100, OWN | 103, 0, 0x9000);
    bus.ram.written.length = 0;
    bus.wire.arrive(new Uint8Array(100).fill(0xee));
    expect(bus.ram.written).toEqual([]);
    expect(read('IntrStatus')).toBe(INT_RX_OVERFLOW);
    expect(read('RxMissed')).toBe(1);
    descriptor(0x100, OWN | 104, 0, 0x9000);
    bus.wire.arrive(new Uint8Array(100).fill(0xee));
    expect(chip.statistics()).toMatchObject({ rx_packets: 1, rx_no_room: 1 });
  });

  describe('C mode receive: nothing is written beyond the ring', () => {
    /** Frames into a ring of `ring` bytes at RAM + 0x20000, read pointer following; the highest byte written. */
    const highest = (ring: number, config: number, sizes: number[]): number => {
      const { bus, read, write } = setUp();
      write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
      write('RxBuf', RAM + 0x2_0000);
      write('RxConfig', RX_EVERY_FRAME | config);
      bus.ram.written.length = 0;
      for (const size of sizes) {
        bus.wire.arrive(new Uint8Array(size).fill(0xcc));
        write('RxBufPtr', (read('RxBufAddr') - 16) & 0xffff);
      }
      expect(Math.min(...bus.ram.written)).toBeGreaterThanOrEqual(0x2_0000);
      return Math.max(...bus.ram.written) - 0x2_0000 - ring;
    };

    it('a frame at the end of the ring is split', () => {
      expect(highest(8192, 0, Array(20).fill(1500))).toBe(0);
      expect(highest(65536, RX_BUF_LEN | RX_NO_WRAP, Array(60).fill(1514))).toBe(0);
    });

    it('a frame larger than the ring is refused', () => {
      expect(highest(8192, 0, [60, 9000, 60, 60000])).toBeLessThan(0);
    });

    it('in no-wrap mode it may go on for 1.5 KiB behind the ring, and no further', () => {
      const sizes = [...Array(5).fill(1500), 600, 1514, 60];
      expect(highest(8192, RX_NO_WRAP, sizes)).toBeGreaterThan(0);
      expect(highest(8192, RX_NO_WRAP, sizes)).toBeLessThanOrEqual(1536);
      expect(highest(8192, RX_NO_WRAP, [...Array(5).fill(1500), 600, 4000, 60])).toBeLessThanOrEqual(1536);
    });
  });

  it('Timer with TimerInt far in the past: catching up does not loop once per period', () => {
    const { bus, read, write } = setUp();
    write('IntrMask', INT_TIMEOUT);
    write('TimerInt', 1000);
    // A machine that slept for a year: the clock is far ahead when the timer gets to run.
    let fired = 0;
    const clock = bus.clock as unknown as { now: number; timers: Set<{ at: number; expire: () => void }> };
    clock.now = 365 * 86400e9;
    for (const timer of clock.timers) {
      while (timer.at <= clock.now && fired < 100) {
        fired++;
        timer.at = Infinity;
        timer.expire();
      }
    }
    expect(fired).toBe(1);
    expect(read('IntrStatus')).toBe(INT_TIMEOUT);
    expect(read('Timer')).toBe(Math.floor((365 * 86400e9) / 30) % 2 ** 32);
  });

  it('Reset in the middle of a packet: no old bytes leave', () => {
    const { bus, descriptor, startCplus, write } = setUp();
    startCplus();
    bus.ram.bytes.fill(0x5a, BUFFER, BUFFER + 100);
    descriptor(0, OWN | FIRST | 100, 0, BUFFER);
    write('TxPoll', POLL_NORMAL);
    write('ChipCmd', CMD_RESET);
    startCplus();
    descriptor(0, OWN | LAST | 60, 0, 0x9000);
    write('TxPoll', POLL_NORMAL);
    expect(bus.wire.sent.map(toHex)).toEqual(['00'.repeat(60)]);
  });
});

describe('any device that does DMA', () => {
  it("CVE-2021-3750, CVE-2021-3929, CVE-2023-0330, CVE-2023-3019: descriptors and buffers on the card's own BAR change no register", () => {
    const { bus, descriptor, startCplus, write, read, ram, station } = setUp();
    const ramRead = bus.ram.read.bind(bus.ram);
    // A bus on which DMA does come back as register accesses, reads that clear and writes that start things.
    bus.ram.read = (gpa, buffer, offset, length) => {
      if (gpa < BAR || gpa >= BAR + 256) return ramRead(gpa, buffer, offset, length);
      for (let i = 0; i < length; i++) buffer[offset + i] = bus.read('mem', gpa + i, 1);
      return true;
    };
    const ramWrite = bus.ram.write.bind(bus.ram);
    bus.ram.write = (gpa, buffer, offset, length) => {
      if (gpa < BAR || gpa >= BAR + 256) return ramWrite(gpa, buffer, offset, length);
      for (let i = 0; i < length; i++) bus.write('mem', gpa + i, 1, buffer[offset + i]!);
      return true;
    };
    startCplus();
    descriptor(0, OWN_FIRST_LAST + 64, 0, 0);
    ram.setUint32(8, BAR, true);
    write('TxPoll', POLL_NORMAL);
    expect(bus.wire.sent.map(toHex)).toEqual(['00'.repeat(64)]);
    descriptor(0x100, OWN | 0x600, 0, 0);
    ram.setUint32(0x1008, BAR, true);
    const frame = new Uint8Array(100).fill(0x10);
    frame.set(MAC);
    bus.wire.arrive(frame);
    expect(station()).toEqual([...MAC]);
    expect(read('ChipCmd')).toBe(CMD_TX_ENABLE | CMD_RX_ENABLE | CMD_RX_EMPTY);
  });

  it('CVE-2020-13754 kind: an access of a size the registers do not take reads ones and writes nothing', () => {
    const { chip, read, station } = setUp();
    for (const size of [0, 3, 5, 8, 16, -1]) {
      expect(chip.readBar(1, 0x3c, size), `${size}`).toBe(0xffffffff);
      chip.writeBar(1, 0x44, size, 0xffffffff);
      chip.writeBar(1, 0, size, 0xffffffff);
    }
    expect(station()).toEqual([...MAC]);
    expect(read('RxConfig')).toBe(0);
    for (const offset of [0xfd, 0xfe, 0xff, 0x100, 0x1000]) chip.writeBar(1, offset, 4, 0xffffffff);
    expect(chip.readBar(1, 0x100, 4)).toBe(0xffffffff);
  });

  it('Bus master off: no memory access at all', () => {
    const { bus, chip, descriptor, startCplus, write } = setUp();
    startCplus();
    descriptor(0, OWN_FIRST_LAST + 64, 0, BUFFER);
    descriptor(0x100, OWN | 0x600, 0, 0x9000);
    chip.writeConfig(4, 2, 3);
    const before = bus.ram.accesses;
    write('TxPoll', POLL_NORMAL);
    write('TxStatus0', RAM + 0x2008);
    bus.wire.arrive(new Uint8Array(64).fill(0xff));
    expect(bus.ram.accesses - before).toBe(0);
    expect(bus.wire.sent.length).toBe(0);
  });

  it('XSA-126 / CVE-2015-2756 kind: Command cleared in the middle of a transfer ends it cleanly', () => {
    const { bus, chip, descriptor, startCplus, read, write, ram } = setUp();
    startCplus();
    for (let n = 0; n < 4; n++) descriptor(n, OWN_FIRST_LAST + 60, 0, BUFFER);
    bus.wire.onSend = () => {
      chip.writeConfig(4, 2, 0);
      expect(chip.config.barBase(chip.config.bars[1]!)).toBe(-1);
    };
    write('TxPoll', POLL_NORMAL);
    expect(bus.wire.sent.length).toBe(1);
    expect(read('IntrStatus')).toBe(0xffff);
    expect([0, 1].map((n) => ram.getUint32(16 * n, true) >>> 31)).toEqual([0, 1]);
    bus.wire.onSend = undefined;
    chip.writeConfig(4, 2, 7);
    expect(read('IntrStatus')).toBe(INT_TX_OK);
    write('TxPoll', POLL_NORMAL);
    expect(bus.wire.sent.length).toBe(4);
  });
});
