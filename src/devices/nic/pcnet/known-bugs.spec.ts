/**
 * What hostile guests did to emulated NICs, one test a line of the list in docs/pcnet.md. test/mutations takes the guard of each
 * out and expects the test to fail.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { COMMAND_NO_MASTER, COMMAND_ON } from '../../testing/pci-config.ts';
import {
  BAR,
  IM,
  MAC,
  MODE,
  RAM,
  RMD1,
  RUNNING,
  RX_RING,
  setUp,
  Status,
  TFEAT,
  TFEAT_MASKS,
  TMD1,
  TMD2,
  TX_RING,
} from './testing/set-up.ts';

const { OWN, STP, ENP } = TMD1;
const BUFFER = 0x6000;

/** Fails a test that would not end. */
function boundAccesses(bus: ReturnType<typeof setUp>['bus'], most: number): void {
  const read = bus.ram.read.bind(bus.ram);
  const begin = bus.ram.accesses;
  bus.ram.read = (gpa, buffer, offset, length) => {
    if (bus.ram.accesses - begin > most) throw new Error(`more than ${most} DMA accesses`);
    return read(gpa, buffer, offset, length);
  };
}

/** A frame to the card, of one byte value. */
const frameOf = (length: number, byte: number): Uint8Array => {
  const frame = new Uint8Array(length).fill(byte);
  frame.set(MAC);
  return frame;
};

/** A started chip with a receive ring of four buffers of 4,096 bytes. */
function started(mode = 0) {
  const at = setUp();
  for (let n = 0; n < 4; n++) at.descriptor(RX_RING, n, 0x1_0000 + n * 0x1000, 4096, OWN);
  at.start({ mode });
  at.bus.ram.bytes.set(frameOf(8192, 0x11), BUFFER);
  return at;
}

describe('pcnet', () => {
  it('CVE-2015-3209 / XSA-135: transmit descriptors that add up past the buffer: the frame is dropped whole', () => {
    const { bus, chip, descriptor, demand, statusOf } = started();
    descriptor(TX_RING, 0, BUFFER, 4096, OWN | STP);
    descriptor(TX_RING, 1, BUFFER, 4096, OWN);
    descriptor(TX_RING, 2, BUFFER, 4096, OWN);
    descriptor(TX_RING, 3, BUFFER, 60, OWN | ENP);
    demand();
    expect(bus.wire.sent.length).toBe(0);
    expect(chip.statistics()['tx_errors']).toBe(1);
    expect([0, 1, 2, 3].map((n) => statusOf(TX_RING, n) & OWN)).toEqual([0, 0, 0, 0]);
    for (let n = 0; n < 3; n++) descriptor(TX_RING, n, BUFFER, 1364, OWN | (n === 0 ? STP : n === 2 ? ENP : 0));
    demand();
    expect(bus.wire.sent.map((f) => f.length)).toEqual([4092]);
  });

  it('CVE-2015-7504 / XSA-162: a looped frame leaves room for its check sequence', () => {
    for (const [bytes, received] of [
      [4092, 1],
      [4093, 0],
      [4096, 0],
    ] as const) {
      const { bus, chip, descriptor, demand, ram } = started(MODE.LOOP);
      descriptor(TX_RING, 0, BUFFER, bytes, OWN | STP | ENP | TMD1['ADD/NO_FCS']);
      demand();
      expect(bus.wire.sent.length, `${bytes}`).toBe(0);
      expect(chip.statistics()['rx_packets'], `${bytes}`).toBe(received);
      expect(ram.getUint32(0x1_0000 + 4092, true) !== 0).toBe(received === 1);
    }
  });

  it('CVE-2015-7512: a received frame larger than the buffer is cut to 4,092 bytes', () => {
    for (const length of [4092, 4096, 5000, 65535]) {
      const { bus, miscOf, ram } = started();
      bus.wire.arrive(frameOf(length, 0x22));
      expect(ram.getUint32(0x1_0000 + 4088, true), `${length}`).toBe(0x22222222);
      expect(ram.getUint32(0x1_0000 + 4092, true), `${length}`).toBe(0);
      expect(miscOf(RX_RING, 0), `${length}`).toBe(4096);
      expect(ram.getUint32(0x1_1000, true)).toBe(0);
    }
  });

  it('CVE-2016-7909: a ring length of 0 means 512, and every walk of a ring ends', () => {
    const { bus, chip, readCsr, writeCsr, demand, descriptor } = started();
    for (const name of ['RCVRL', 'XMTRL'] as const) {
      writeCsr(name, 0);
      expect(readCsr(name), name).toBe(512);
    }
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0, 4096, 0);
    boundAccesses(bus, 600);
    bus.wire.arrive(frameOf(60, 1));
    expect(chip.statistics()['rx_no_room']).toBe(1);
    // Counters that lie outside the ring.
    for (const [counter, length] of [
      [0, 1],
      [0xffff, 1],
      [0, 2],
      [5, 3],
    ] as const) {
      writeCsr('RCVRC', counter);
      writeCsr('XMTRC', counter);
      writeCsr('RCVRL', length);
      writeCsr('XMTRL', length);
      bus.ram.accesses = 0;
      bus.wire.arrive(frameOf(60, 1));
      demand();
    }
    expect(readCsr('Status') & Status.STRT).toBe(Status.STRT);
  });

  describe('rings of 65,535 descriptors', () => {
    it('a walk goes no further after 65,536 descriptor reads; the next goes on', () => {
      const { bus, demand, descriptor, writeCsr, readCsr, start } = setUp();
      start({ tx: 0x8_0000 });
      writeCsr('TFEAT', TFEAT_MASKS | TFEAT.DPOLL);
      for (let n = 0; n < 0xffff; n++) descriptor(0x8_0000, n, BUFFER, 60, OWN | STP | ENP);
      writeCsr('XMTRL', 0xffff);
      writeCsr('XMTRC', 0xffff);
      let frames = 0;
      bus.wire.send = () => void frames++;
      demand();
      const first = frames;
      expect(first).toBeGreaterThan(0x4000);
      expect(first).toBeLessThan(0x6000);
      expect(readCsr('XMTRC')).toBe(0xffff - first);
      demand();
      expect(frames).toBe(2 * first);
    });

    it('frames that loop into a ring without a descriptor do not search it each time', () => {
      const { bus, demand, descriptor, writeCsr, start } = setUp();
      start({ mode: MODE.LOOP | MODE.INTL, rx: 0x8_0000, tx: 0x4_0000 });
      bus.ram.bytes.set(frameOf(60, 1), BUFFER);
      for (let n = 0; n < 0x400; n++) descriptor(0x4_0000, n, BUFFER, 60, OWN | STP | ENP);
      writeCsr('RCVRL', 0xffff);
      writeCsr('XMTRL', 0x400);
      writeCsr('XMTRC', 0x400);
      boundAccesses(bus, 4 * 65_536);
      demand();
      expect(bus.ram.accesses).toBeGreaterThan(60_000);
    });
  });

  it('transmit descriptors without an end: once round the ring, and nothing is sent', () => {
    const { bus, descriptor, demand } = started();
    for (let n = 0; n < 4; n++) descriptor(TX_RING, n, BUFFER, 60, OWN | STP);
    // Memory that keeps the ownership bit whatever the chip writes.
    bus.ram.write = () => false;
    boundAccesses(bus, 60);
    demand();
    expect(bus.wire.sent.length).toBe(0);
  });

  it('a frame cut short: underflow, once round the ring even if the transmitter stays on', () => {
    for (const stays of [false, true]) {
      const { bus, demand, descriptor, writeCsr, readCsr, statusOf, miscOf } = started();
      if (stays) writeCsr('IM', IM.DXSUFLO);
      descriptor(TX_RING, 0, BUFFER, 60, OWN | STP);
      descriptor(TX_RING, 1, BUFFER, 60, 0);
      boundAccesses(bus, 60);
      demand();
      expect(bus.wire.sent.length).toBe(0);
      expect(statusOf(TX_RING, 0)).toBe(TMD1.ERR | STP);
      expect(miscOf(TX_RING, 0)).toBe(TMD2.BUFF + TMD2.UFLO);
      expect(readCsr('Status') & Status.TXON).toBe(stays ? Status.TXON : 0);
    }
  });

  it('no bytes of a frame begun before a reset leave after it', () => {
    const { bus, wio, descriptor, demand, start } = started();
    bus.ram.bytes.fill(0x5a, BUFFER, BUFFER + 100);
    descriptor(TX_RING, 0, BUFFER, 100, OWN | STP);
    demand();
    wio.read('RESET');
    start();
    descriptor(TX_RING, 0, 0x9000, 60, OWN | STP | ENP);
    demand();
    expect(bus.wire.sent.map(toHex)).toEqual(['00'.repeat(60)]);
  });

  describe('CVE-2021-3416: loopback whose reception transmits again', () => {
    it('a looped frame is delivered once', () => {
      const { bus, chip, descriptor, demand } = started(MODE.LOOP);
      for (let n = 0; n < 4; n++) descriptor(TX_RING, n, BUFFER, 60, OWN | STP | ENP);
      boundAccesses(bus, 400);
      demand();
      expect(bus.wire.sent.length).toBe(0);
      expect(chip.statistics()['rx_packets']).toBe(4);
    });

    it('a looped frame whose bytes lie on the ports starts nothing, on a bus that lets DMA reach them', () => {
      const { bus, chip, descriptor, demand, ram, wio } = started(MODE.LOOP);
      let accesses = 0;
      const ramWrite = bus.ram.write.bind(bus.ram);
      bus.ram.write = (gpa, buffer, offset, length) => {
        if (gpa < BAR || gpa >= BAR + 32) return ramWrite(gpa, buffer, offset, length);
        if (++accesses > 8) throw new Error('the chip re-enters itself');
        for (let i = 0; i + 2 <= length; i += 2)
          bus.write('mem', gpa + i, 2, buffer[offset + i]! | (buffer[offset + i + 1]! << 8));
        return true;
      };
      // A write of it to RDP demands transmission.
      bus.ram.bytes.fill(Status.TDMD | Status.IENA, BUFFER + 6, BUFFER + 60);
      for (let n = 0; n < 4; n++) {
        descriptor(TX_RING, n, BUFFER, 60, OWN | STP | ENP);
        ram.setUint32(RX_RING + 16 * n, BAR + wio.offset('RDP'), true);
      }
      boundAccesses(bus, 400);
      demand();
      expect(accesses).toBe(4);
      expect(chip.statistics()['rx_packets']).toBe(4);
    });

    it('an answer that comes while the frame is being sent waits until the chip is done', () => {
      const { bus, chip, descriptor, demand, statusOf } = started();
      descriptor(TX_RING, 0, BUFFER, 60, OWN | STP | ENP);
      const answers: string[] = [];
      bus.wire.onSend = () => {
        bus.wire.arrive(frameOf(64, 3));
        answers.push(chip.receive(frameOf(64, 3), 64));
        expect(statusOf(RX_RING, 0)).toBe(OWN);
      };
      demand();
      expect(answers).toEqual(['refused']);
      expect(statusOf(RX_RING, 0)).toBe(STP | ENP | RMD1.PAM);
      expect(bus.wire.waitingFrames).toBe(0);
    });
  });

  it('a polling interval of one tick does not keep the timer busy', () => {
    const { bus, readCsr, writeCsr } = started();
    bus.clock.advance(1000);
    writeCsr('POLL', 0xffff);
    writeCsr('PI', 0xffff);
    bus.clock.advance(5000);
    readCsr('Status');
    let fired = 0;
    const clock = bus.clock as unknown as { timers: Set<{ expire: () => void }> };
    for (const timer of clock.timers) {
      const { expire } = timer;
      timer.expire = () => {
        if (++fired > 1000) throw new Error('a timer storm');
        expire();
      };
    }
    bus.clock.advance(50_000_000);
    expect(fired).toBeGreaterThan(100);
    expect(fired).toBeLessThanOrEqual(501);
  });

  it('a frame of an impossible size is dropped', () => {
    const { bus, chip } = started();
    const before = bus.ram.bytes.slice();
    const huge = frameOf(0x11000, 0x55);
    for (const size of [-1, 2 ** 31, 2 ** 32 + 60, 0x11001, NaN]) expect(chip.receive(huge, size), `${size}`).toBe('dropped');
    expect(chip.receive(huge.subarray(0, 100), 101)).toBe('dropped');
    expect(Buffer.compare(bus.ram.bytes, before)).toBe(0);
  });
});

describe('any device that does DMA', () => {
  it("CVE-2021-3750, CVE-2021-3929, CVE-2023-0330, CVE-2023-3019: descriptors and buffers on the card's own BAR change no register", () => {
    const { bus, demand, descriptor, readCsr, ram, wio } = started();
    const own = (gpa: number): boolean => gpa >= BAR && gpa < BAR + 32;
    const ramRead = bus.ram.read.bind(bus.ram);
    // A bus on which DMA does come back as port accesses: reads that reset, writes that start things.
    bus.ram.read = (gpa, buffer, offset, length) => {
      if (!own(gpa)) return ramRead(gpa, buffer, offset, length);
      for (let i = 0; i + 2 <= length; i += 2)
        new DataView(buffer.buffer).setUint16(offset + i, bus.read('mem', gpa + i, 2), true);
      return true;
    };
    descriptor(TX_RING, 0, BUFFER, 16, OWN | STP | ENP);
    ram.setUint32(TX_RING, BAR + wio.offset('RDP'), true);
    demand();
    expect(bus.wire.sent.map(toHex)).toEqual(['00'.repeat(16)]);
    expect(readCsr('Status') & RUNNING).toBe(RUNNING);
    expect(readCsr('RCVRL')).toBe(4);
  });

  it('CVE-2020-13754 kind: an access of a size the ports do not take reads ones and writes nothing', () => {
    const { chip, wio } = setUp();
    const before = chip.save();
    for (const size of [0, 3, 5, 8, 16, -1]) {
      expect(chip.readBar(1, wio.offset('RDP'), size), `${size}`).toBe(0xffffffff);
      chip.writeBar(1, wio.offset('RAP'), size, 0xffffffff);
    }
    for (const offset of [-4, 0x1e, 0x20, 0x1000, NaN]) {
      chip.writeBar(1, offset, 4, 0xffffffff);
      expect(chip.readBar(1, offset, 4)).toBe(0xffffffff);
    }
    expect(chip.readBar(1, -1, 1)).toBe(0xff);
    expect(chip.save()).toEqual(before);
  });

  it('Bus master off: no memory access at all', () => {
    const { bus, pci, descriptor, demand, writeCsr } = started();
    descriptor(TX_RING, 0, BUFFER, 60, OWN | STP | ENP);
    pci.write('Command', COMMAND_NO_MASTER);
    const before = bus.ram.accesses;
    demand();
    bus.wire.arrive(frameOf(60, 1));
    bus.clock.advance(10_000_000);
    writeCsr('Status', Status.STOP);
    writeCsr('Status', Status.INIT);
    expect(bus.ram.accesses - before).toBe(0);
    expect(bus.wire.sent.length).toBe(0);
  });

  it('XSA-126 / CVE-2015-2756 kind: Command cleared in the middle of a transfer ends it cleanly', () => {
    const { bus, chip, pci, demand, descriptor, readCsr, wio, statusOf } = started();
    for (let n = 0; n < 4; n++) descriptor(TX_RING, n, BUFFER, 60, OWN | STP | ENP);
    bus.wire.onSend = () => {
      pci.write('Command', 0);
      expect(chip.config.barBase(chip.config.bars[1]!)).toBe(-1);
    };
    demand();
    expect(bus.wire.sent.length).toBe(1);
    expect(wio.read('RDP')).toBe(0xffff);
    expect(statusOf(TX_RING, 1) & OWN).toBe(OWN);
    bus.wire.onSend = undefined;
    pci.write('Command', COMMAND_ON);
    expect(readCsr('Status') & RUNNING).toBe(RUNNING);
    demand();
    expect(bus.wire.sent.length).toBeGreaterThan(1);
    expect(RAM).toBe(bus.ram.base);
  });
});
