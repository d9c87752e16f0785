/**
 * What hostile guests did to emulated NICs, one test a line of the list in docs/e1000.md. test/mutations takes the guard of each out
 * and expects the test to fail.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { COMMAND_NO_MASTER, COMMAND_ON } from '../../testing/pci-config.ts';
import { E1000_BLOCK_SIZE } from './registers.ts';
import { BAR, CHECKSUMS, CTRL, GIGABIT, INT, MAC, PHY_CTRL, RCTL, RX_BUFFERS, RX_RING, setUp, TCTL } from './testing/set-up.ts';

const BUFFER = 0x8000;
const TSE = ['TSE', 'RS', 'EOP'] as const;
/** RCTL: the receiver is on, and takes broadcast frames. */
const ON = RCTL.BAM | RCTL.EN;
/** What stands in registers after a reset. */
const CTRL_RESET = 0x140240;
const VET_RESET = 0x8100;

/** Bytes of a frame to us: address, then a pattern. */
const frameOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => MAC[i] ?? i & 0xff);

/** A transmitter with a context in descriptor 0 and a large send of `length` bytes in descriptor 1; the frames that leave. */
function largeSend(context: Parameters<ReturnType<typeof setUp>['context']>[1], length: number) {
  const at = setUp();
  at.startTransmitter();
  at.bus.ram.bytes.set(frameOf(length), BUFFER);
  at.context(0, { tse: true, ...context });
  at.descriptor(1, 'data', BUFFER, length, TSE, { options: CHECKSUMS });
  at.boundAccesses(10_000);
  at.bus.wire.onSend = () => {
    if (at.bus.wire.sent.length > 10_000) throw new Error('no end of frames');
  };
  at.write('TDT', 2);
  return at;
}

describe('e1000', () => {
  describe('CVE-2012-6075 / XSA-41: a long frame although long packets are off is dropped before it is copied', () => {
    for (const [rctl, name, taken, dropped] of [
      [ON, 'LPE off', 1522, 1523],
      [ON | RCTL.LPE, 'LPE on', 16384, 16385],
    ] as const) {
      it(name, () => {
        const { bus, read, startReceiver } = setUp();
        startReceiver(rctl);
        bus.ram.written.length = 0;
        bus.wire.arrive(frameOf(dropped));
        expect(bus.ram.written).toEqual([]);
        expect(read('RDH')).toBe(0);
        expect(read('ROC')).toBe(1);
        expect(read('TPR')).toBe(0);
        bus.wire.arrive(frameOf(taken));
        expect(read('ROC')).toBe(0);
        expect(read('TPR')).toBe(1);
      });
    }
  });

  it('CVE-2015-6815: a large send with a header length that is there already, and no MSS: no endless loop', () => {
    expect(largeSend({ hdrLen: 54, mss: 0, paylen: 446 }, 500).bus.wire.sent.map((f) => f.length)).toEqual([54, 54]);
    expect(largeSend({ hdrLen: 200, mss: 0, paylen: 300 }, 500).read('TDH')).toBe(2);
    expect(largeSend({ hdrLen: 0, mss: 0, paylen: 500 }, 500).bus.wire.sent.map((f) => f.length)).toEqual([0]);
  });

  it('CVE-2021-20257: large sends of which no bytes are left to split end', () => {
    const at = setUp();
    at.startTransmitter();
    at.boundAccesses(1000);
    at.context(0, { tse: true, hdrLen: 54, mss: 100, paylen: 0 });
    for (let n = 1; n < 8; n++) at.descriptor(n, 'data', BUFFER, 0, n === 7 ? TSE : ['TSE', 'RS']);
    at.write('TDT', 8);
    expect(at.read('TDH')).toBe(8);
    expect(at.bus.wire.sent.length).toBe(0);
    // More than headers and MSS gathered before the large send begins.
    at.descriptor(8, 'data', BUFFER, 300, ['RS']);
    at.descriptor(9, 'data', BUFFER, 0x8000, TSE);
    at.write('TDT', 10);
    expect(at.read('TDH')).toBe(10);
    expect(at.bus.wire.sent.map((f) => f.length)).toEqual([300]);
  });

  describe('CVE-2016-1981: head or tail outside the ring: once round at most', () => {
    for (const [tdh, tdt, tdlen, descriptors] of [
      [0, 100, 128, 8],
      [50, 3, 128, 1],
      [0, 5, 0, 1],
      [0xffff, 0, 128, 1],
      [3, 0xffff, 128, 8],
    ] as const) {
      it(`transmit: TDH ${tdh}, TDT ${tdt}, TDLEN ${tdlen}`, () => {
        const { bus, write, boundAccesses, read, startTransmitter } = setUp();
        startTransmitter();
        boundAccesses(1000);
        write('TCTL', 0);
        write('TDLEN', tdlen);
        write('TDT', tdt);
        write('TDH', tdh);
        let fetched = 0;
        const ramRead = bus.ram.read.bind(bus.ram);
        bus.ram.read = (gpa, buffer, offset, length) => {
          if (length === 16) fetched++;
          return ramRead(gpa, buffer, offset, length);
        };
        write('TCTL', TCTL.EN);
        expect(fetched).toBe(descriptors);
        expect(read('ICR') & INT.TXQE).toBe(INT.TXQE);
      });
    }

    for (const [rdh, rdt, rdlen] of [
      [0, 100, 128],
      [50, 3, 128],
      [0, 5, 0],
      [0xffff, 0, 128],
    ] as const) {
      it(`receive: RDH ${rdh}, RDT ${rdt}, RDLEN ${rdlen}`, () => {
        const { bus, write, boundAccesses, startReceiver, read } = setUp();
        startReceiver(ON | RCTL.LPE);
        boundAccesses(1000);
        write('RDLEN', rdlen);
        write('RDH', rdh);
        write('RDT', rdt);
        // Each descriptor is read, written, its status written, its buffer filled.
        const ring = Math.max(rdlen / 16, 1);
        for (const size of [60, 1500, 9000]) {
          const before = bus.ram.accesses;
          bus.wire.arrive(frameOf(size));
          expect(bus.ram.accesses - before).toBeLessThanOrEqual(4 * ring);
        }
        expect(read('RDH')).toBeLessThan(ring);
        // With its head outside the ring the first frame is lost.
        expect(read('MPC') > 0 || rdh < ring).toBe(true);
      });
    }
  });

  it('CVE-2017-9310, CVE-2020-25707, CVE-2020-28916: a ring of receive descriptors without buffers: once round, then the frame is lost', () => {
    const { bus, words, boundAccesses, read, startReceiver } = setUp();
    startReceiver();
    for (let n = 0; n < 16; n++) words(RX_RING + 16 * n, 0, 0, 0, 0);
    boundAccesses(1000);
    const before = bus.ram.accesses;
    bus.wire.arrive(frameOf(1000));
    expect(bus.ram.accesses - before).toBe(48);
    expect(read('RDH')).toBe(0);
    expect(read('MPC')).toBe(1);
    expect(read('RNBC')).toBe(1);
    expect(read('ICR') & INT.RXO).toBe(INT.RXO);
  });

  describe('CVE-2021-3416: loopback delivers once and a busy chip refuses re-entry', () => {
    const loopback = () => {
      const at = setUp();
      at.startTransmitter();
      at.startReceiver();
      at.writePhy('PHY_CTRL', PHY_CTRL.LOOPBACK | GIGABIT);
      at.bus.ram.bytes.set(frameOf(100), BUFFER);
      return at;
    };

    it('a frame sent in loopback is received once and goes nowhere else', () => {
      const { bus, descriptor, read, write } = loopback();
      descriptor(0, 'legacy', BUFFER, 100);
      write('TDT', 1);
      expect(bus.wire.sent.length).toBe(0);
      for (const name of ['TPT', 'TPR', 'RDH', 'TDH'] as const) expect(read(name), name).toBe(1);
      expect(toHex(bus.ram.bytes.subarray(RX_BUFFERS, RX_BUFFERS + 100))).toBe(toHex(frameOf(100)));
    });

    it('receive buffers on TDT, on a bus that lets DMA reach it, start no transmission', () => {
      const { bus, descriptor, offset: offsetOf, read, words, write } = loopback();
      const ramWrite = bus.ram.write.bind(bus.ram);
      let depth = 0;
      bus.ram.write = (gpa, buffer, offset, length) => {
        if (gpa < BAR || gpa >= BAR + E1000_BLOCK_SIZE) return ramWrite(gpa, buffer, offset, length);
        if (++depth > 3) throw new Error('the chip re-enters itself');
        for (let i = 0; i + 4 <= length; i += 4) {
          bus.write('mem', gpa + i, 4, new DataView(buffer.buffer).getUint32(buffer.byteOffset + offset + i, true));
        }
        depth--;
        return true;
      };
      for (let n = 0; n < 8; n++) descriptor(n, 'legacy', BUFFER, 100);
      for (let n = 0; n < 16; n++) words(RX_RING + 16 * n, BAR + offsetOf('TDT'), 0, 0, 0);
      write('TDT', 4);
      for (const name of ['TDT', 'TDH', 'TPT'] as const) expect(read(name), name).toBe(4);
    });

    it('an answer that comes while a frame is being sent waits until the chip is done', () => {
      const { bus, chip, descriptor, offset: offsetOf, read, received, startReceiver, startTransmitter, write } = setUp();
      startTransmitter();
      startReceiver();
      descriptor(0, 'legacy', BUFFER, 100);
      const answers: string[] = [];
      bus.wire.onSend = () => {
        bus.wire.arrive(frameOf(64));
        answers.push(chip.receive(frameOf(64), 64));
        expect(chip.readBar(0, offsetOf('RDH'), 4)).toBe(0);
        expect(received(0).status).toBe(0);
      };
      write('TDT', 1);
      expect(answers).toEqual(['refused']);
      expect(read('RDH')).toBe(1);
      expect(bus.wire.waitingFrames).toBe(0);
    });
  });

  it('Checksum start or offset beyond the packet: no write outside the frame', () => {
    const frame = frameOf(60);
    for (const context of [
      { tucss: 200, tucso: 255 },
      { tucss: 10, tucso: 255, tucse: 0xffff },
      { tucss: 60, tucso: 16 },
      { tucss: 255, tucso: 16 },
      { tucss: 10, tucso: 59 },
      { tucss: 20, tucso: 16, tucse: 10 },
      { tucss: 10, tucso: 21, tucse: 21 },
    ]) {
      const { bus, context: put, descriptor, startTransmitter, write } = setUp();
      startTransmitter();
      bus.ram.bytes.set(frame, BUFFER);
      // The next frame shows whether anything behind the first one was written.
      put(0, { ...context, ipcss: 200, ipcso: 250, ipcse: 0 });
      descriptor(1, 'data', BUFFER, 60, ['EOP'], { options: CHECKSUMS });
      write('TDT', 2);
      expect(bus.wire.sent.map(toHex), JSON.stringify(context)).toEqual([toHex(frame)]);
    }
  });

  it('Frame over 64 KiB: the buffer is not left; a count of 65,536 bytes is 0', () => {
    const { bus, descriptor, read, startTransmitter, write } = setUp();
    startTransmitter();
    bus.ram.bytes.fill(0x11);
    for (let n = 0; n < 4; n++) descriptor(n, 'legacy', BUFFER, 0xffff, []);
    descriptor(4, 'legacy', BUFFER, 100);
    const lengths: number[] = [];
    bus.wire.send = (_buffer, length) => void lengths.push(length);
    write('TDT', 5);
    // 65,535 + 1 = 0 (mod 65,536), twice; then 100.
    expect(lengths).toEqual([100]);
    expect(read('TDH')).toBe(5);
  });

  it('Context TSE with a header length of 255, the longest: headers never pass their 256 bytes', () => {
    const { bus } = largeSend({ hdrLen: 255, mss: 100, paylen: 245, ipcss: 14, tucss: 34 }, 500);
    expect(bus.wire.sent.map((f) => f.length)).toEqual([355, 355, 300]);
    const headers = bus.wire.sent.map((f) => toHex(f.subarray(54, 255)));
    expect(new Set(headers)).toEqual(new Set([toHex(frameOf(500).subarray(54, 255))]));
  });

  it('Reset in the middle of a packet: all transmit state is cleared, no old bytes leave', () => {
    for (const reset of ['CTRL.RST', 'PCI reset'] as const) {
      const at = setUp();
      const begin = (): void => {
        at.startTransmitter();
        at.bus.ram.bytes.fill(0, 0x9000, 0x9000 + 100);
      };
      begin();
      at.bus.ram.bytes.fill(0x5a, BUFFER, BUFFER + 300);
      at.context(0, { tse: true, hdrLen: 200, mss: 60, paylen: 100 });
      at.descriptor(1, 'data', BUFFER, 300, ['TSE']);
      at.write('TDT', 2);
      at.descriptor(2, 'data', BUFFER, 100, ['TSE'], { options: CHECKSUMS, tag: 5 });
      at.write('TDT', 3);
      at.bus.wire.sent.length = 0;
      if (reset === 'CTRL.RST') at.write('CTRL', at.read('CTRL') | CTRL.RST);
      else {
        at.chip.reset();
        at.pci.write('BAR0', BAR);
        at.pci.write('Command', COMMAND_ON);
      }
      begin();
      at.descriptor(0, 'legacy', 0x9000, 60);
      at.write('TDT', 1);
      // The context is gone, too: a large send without one has no headers and no MSS.
      at.descriptor(1, 'data', 0x9000, 100, TSE);
      at.write('TDT', 2);
      expect(at.bus.wire.sent.map(toHex), reset).toEqual(['00'.repeat(60), '']);
    }
  });

  it('Large sends cut into single bytes: a doorbell takes no descriptor after 16,384 frames', () => {
    const { bus, context, descriptor, read, startTransmitter, write } = setUp();
    startTransmitter();
    write('ICR', 0xffffffff);
    let frames = 0;
    bus.wire.send = () => void frames++;
    context(0, { tse: true, hdrLen: 54, mss: 1, paylen: 0xfffff });
    for (let n = 1; n < 5; n++) descriptor(n, 'data', BUFFER, 0x7fff, ['TSE', 'RS']);
    write('TDT', 5);
    expect(frames).toBe(0x7fff - 54);
    expect(read('TDH')).toBe(2);
    expect(read('ICR')).toBe(INT.TXDW);
    write('TDT', 5);
    expect(frames).toBe(2 * 0x7fff - 54);
    expect(read('TDH')).toBe(3);
  });
});

describe('any device that does DMA', () => {
  it("CVE-2021-3750, CVE-2021-3929, CVE-2023-0330, CVE-2023-3019: descriptors and buffers on the card's own BAR change no register", () => {
    const { bus, descriptor, offset: offsetOf, read, startReceiver, startTransmitter, words, write } = setUp();
    const ramRead = bus.ram.read.bind(bus.ram);
    // A bus on which DMA does come back as register accesses, reads that clear and writes that start things.
    bus.ram.read = (gpa, buffer, offset, length) => {
      if (gpa < BAR || gpa >= BAR + E1000_BLOCK_SIZE) return ramRead(gpa, buffer, offset, length);
      for (let i = 0; i < length; i++) buffer[offset + i] = bus.read('mem', gpa + i, 1);
      return true;
    };
    const ramWrite = bus.ram.write.bind(bus.ram);
    bus.ram.write = (gpa, buffer, offset, length) => {
      if (gpa < BAR || gpa >= BAR + E1000_BLOCK_SIZE) return ramWrite(gpa, buffer, offset, length);
      for (let i = 0; i < length; i++) bus.write('mem', gpa + i, 1, buffer[offset + i]!);
      return true;
    };
    startTransmitter();
    startReceiver();
    descriptor(0, 'legacy', 0, 64);
    words(0, BAR + offsetOf('ICR'), 0);
    write('ICS', INT.MDAC);
    write('TDT', 1);
    // ICR was not read, so nothing cleared it.
    expect(bus.wire.sent.map(toHex)).toEqual(['00'.repeat(64)]);
    expect(read('ICR')).toBe(INT.MDAC | INT.TXQE | INT.TXDW);
    words(RX_RING, BAR, 0);
    bus.wire.arrive(frameOf(100));
    expect(read('CTRL')).toBe(CTRL_RESET);
    expect(read('RCTL')).toBe(ON);
    expect(read('VET')).toBe(VET_RESET);
  });

  it('CVE-2020-13754 kind: an access of a size the registers do not take reads ones and writes nothing', () => {
    const { chip, offset: offsetOf, read } = setUp();
    for (const size of [0, 3, 5, 8, 16, -1]) {
      expect(chip.readBar(0, offsetOf('VET'), size), `${size}`).toBe(0xffffffff);
      chip.writeBar(0, offsetOf('VET'), size, 0xffffffff);
      chip.writeBar(0, offsetOf('RDBAL'), size, 0xffffffff);
    }
    expect(read('VET')).toBe(VET_RESET);
    expect(read('RDBAL')).toBe(0);
    const end = E1000_BLOCK_SIZE;
    for (const offset of [end - 3, end - 2, end - 1, end, 0x100000, -4]) {
      chip.writeBar(0, offset, 4, 0xffffffff);
      expect(chip.readBar(0, offset, 4)).toBe(0xffffffff);
    }
    expect(read('PBM[16383]')).toBe(0);
    expect(read('CTRL')).toBe(CTRL_RESET);
  });

  it('Bus master off: no memory access at all', () => {
    const { bus, pci, descriptor, startReceiver, startTransmitter, write } = setUp();
    startTransmitter();
    startReceiver();
    descriptor(0, 'legacy', BUFFER, 64);
    pci.write('Command', COMMAND_NO_MASTER);
    const before = bus.ram.accesses;
    write('TDT', 1);
    bus.wire.arrive(frameOf(64));
    write('RDT', 14);
    expect(bus.ram.accesses - before).toBe(0);
  });

  it('XSA-126 / CVE-2015-2756 kind: Command cleared in the middle of a transfer ends it cleanly', () => {
    const { bus, chip, descriptor, pci, read, startTransmitter, txStatus, write } = setUp();
    startTransmitter();
    for (let n = 0; n < 4; n++) descriptor(n, 'legacy', BUFFER, 60);
    bus.ram.bytes.fill(0x77, BUFFER, BUFFER + 60);
    bus.wire.onSend = () => {
      pci.write('Command', 0);
      expect(chip.config.barBase(chip.config.bars[0]!)).toBe(-1);
    };
    write('TDT', 4);
    // The descriptors behind the first read as zeros: data of length 0 without an end.
    expect(bus.wire.sent.length).toBe(1);
    expect(read('TDH')).toBe(0xffffffff);
    expect(txStatus(0)).toBe(0);
    bus.wire.onSend = undefined;
    pci.write('Command', COMMAND_ON);
    expect(read('TDH')).toBe(4);
  });

  it('CVE-2018-17958 kind: a frame size is unsigned and bounded before any arithmetic', () => {
    const { bus, chip, read, startReceiver } = setUp();
    startReceiver(ON | RCTL.LPE | RCTL.UPE | RCTL.SBP);
    const before = bus.ram.bytes.slice();
    const huge = new Uint8Array(0x11000);
    for (const size of [-1, 2 ** 31, 2 ** 32 + 60, 0x10000, 0x11001, Number.NaN]) {
      expect(chip.receive(huge, size), `${size}`).toBe('dropped');
    }
    expect(chip.receive(huge.subarray(0, 100), 101)).toBe('dropped');
    expect(read('RDH')).toBe(0);
    expect(read('ICR')).toBe(0);
    expect(Buffer.compare(bus.ram.bytes, before)).toBe(0);
  });
});
