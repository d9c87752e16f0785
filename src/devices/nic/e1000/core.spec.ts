import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { EERD_DONE } from './eeprom.ts';
import { MAC, RAM, RX_BUFFERS, RX_RING, setUp, TX_RING } from './testing/set-up.ts';

const BUFFER = 0x8000;
const MS = 1_000_000;

const frameOf = (length: number, to: ArrayLike<number> = MAC): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => to[i] ?? i & 0xff);
const BROADCAST = [255, 255, 255, 255, 255, 255];

describe('e1000', () => {
  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(5) })).toThrow(UserError);
  });

  it('sends: descriptors add up to a frame, done is reported where it is asked for, TXDW and TXQE are pending', () => {
    const { bus, descriptor, read, ram, startTransmitter, write } = setUp();
    startTransmitter();
    bus.ram.bytes.set(frameOf(300), BUFFER);
    descriptor(0, 'legacy', BUFFER, 100, []);
    descriptor(1, 'legacy', BUFFER + 100, 200, ['EOP', 'RS']);
    write('TDT', 2);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameOf(300))]);
    expect([0, 1].map((n) => ram.getUint32(TX_RING + 16 * n + 12, true))).toEqual([0, 1]);
    expect([read('TDH'), read('ICR'), read('ICR'), read('TPT'), read('TOTL'), read('PTC511')]).toEqual([2, 3, 0, 1, 304, 1]);
  });

  it('receives: CRC counted, buffers of the size that RCTL says, as many as the frame takes', () => {
    for (const [rctl, size] of [
      [0x8002, 2048],
      [0x18002, 1024],
      [0x28002, 512],
      [0x38002, 256],
    ] as const) {
      const { bus, ram, read, startReceiver } = setUp();
      startReceiver(rctl);
      bus.wire.arrive(frameOf(1000));
      const used = Math.ceil(1004 / size);
      expect(read('RDH'), `${size}`).toBe(used);
      const descriptors = Array.from({ length: used }, (_, n) => [
        ram.getUint16(RX_RING + 16 * n + 8, true),
        bus.ram.bytes[RX_RING + 16 * n + 12],
      ]);
      expect(descriptors).toEqual(descriptors.map((_, n) => (n === used - 1 ? [1004 - n * size, 0x07] : [size, 0x01])));
      const data = descriptors.map((_, n) =>
        bus.ram.bytes.subarray(RX_BUFFERS + 0x800 * n, RX_BUFFERS + 0x800 * n + Math.min(size, 1000 - n * size)),
      );
      expect(Buffer.concat(data).equals(frameOf(1000))).toBe(true);
      expect([read('ICR') & 0x80, read('PRC1023'), read('GPRC'), read('TORL')]).toEqual([0x80, 1, 1, 1004]);
    }
  });

  it('holds frames back for a second after a write of RCTL', () => {
    const { bus, read, startReceiver, write } = setUp();
    startReceiver();
    bus.clock.advance(2000.4 * MS);
    write('RCTL', 0x8002);
    bus.wire.arrive(frameOf(60));
    bus.clock.advance(2999.9 * MS);
    expect([bus.wire.waitingFrames, read('RDH')]).toEqual([1, 0]);
    bus.clock.advance(3000 * MS);
    expect([bus.wire.waitingFrames, read('RDH')]).toEqual([0, 1]);
  });

  describe('a frame without room', () => {
    it('waits on the wire until the driver gives descriptors', () => {
      const { bus, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      for (let n = 0; n < 3; n++) bus.wire.arrive(frameOf(60));
      expect([bus.wire.waitingFrames, read('MPC')]).toEqual([3, 0]);
      write('RDT', 2);
      expect([bus.wire.waitingFrames, read('RDH')]).toEqual([1, 2]);
    });

    it('is lost when the receiver was turned off meanwhile', () => {
      const { bus, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      bus.wire.arrive(frameOf(60));
      write('RCTL', 0);
      bus.clock.advance(5000 * MS);
      expect([bus.wire.waitingFrames, read('TPR')]).toEqual([0, 0]);
    });

    it('is lost and counted when it needs more descriptors than there are, unless the wire has flow control', () => {
      const { chip, read, startReceiver, write } = setUp();
      startReceiver(0x38002);
      write('RDT', 2);
      expect(chip.receive(frameOf(1000), 1000, true)).toBe('refused');
      expect([read('MPC'), read('RNBC'), read('ICR') & 0x40]).toEqual([0, 0, 0]);
      expect(chip.receive(frameOf(1000), 1000)).toBe('dropped');
      expect([read('MPC'), read('RNBC'), read('ICR') & 0x40, chip.statistics()['rx_no_room']]).toEqual([1, 1, 0x40, 1]);
    });

    it('is lost when the wire can hold it no longer', () => {
      const { chip, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      expect([chip.receive(frameOf(60), 60, true), chip.receive(frameOf(60), 60, false), read('MPC')]).toEqual([
        'refused',
        'dropped',
        1,
      ]);
      write('RCTL', 0);
      expect([chip.receive(frameOf(60), 60, true), chip.receive(frameOf(60), 60, false)]).toEqual(['refused', 'dropped']);
      expect(chip.statistics()).toMatchObject({ rx_packets: 0, rx_no_room: 1, rx_filtered: 1 });
    });
  });

  it('RXDMT0 when half, a quarter or an eighth of the ring is left', () => {
    for (const [rdmts, left] of [
      [0, 8],
      [1, 4],
      [2, 2],
    ] as const) {
      const { bus, read, startReceiver } = setUp();
      startReceiver(0x8002 | (rdmts << 8));
      const low: number[] = [];
      for (let taken = 1; taken < 16; taken++) {
        bus.wire.arrive(frameOf(60));
        if (read('ICR') & 0x10) low.push(15 - taken);
      }
      expect(low[0]).toBe(left);
      expect(low.at(-1)).toBe(0);
    }
  });

  it('filters: station addresses, broadcast, the multicast table at each of its four offsets, all multicast, everything', () => {
    const other = [2, 0, 0, 0, 0, 9];
    const group = [1, 0, 0x5e, 0x12, 0x34, 0x56];
    const passes = (rctl: number, to: number[], set: (write: ReturnType<typeof setUp>['write']) => void = () => {}): boolean => {
      const { bus, chip, read, startReceiver, write } = setUp();
      set(write);
      startReceiver(rctl);
      bus.wire.arrive(frameOf(60, to));
      expect(chip.statistics()['rx_filtered']).toBe(1 - read('RDH'));
      return read('RDH') === 1;
    };
    expect([
      passes(2, [...MAC]),
      passes(2, other),
      passes(2 | 8, other),
      passes(2, BROADCAST),
      passes(0x8002, BROADCAST),
    ]).toEqual([true, false, true, false, true]);
    expect([passes(2, group), passes(2 | 0x10, group), passes(2 | 0x10, other)]).toEqual([false, true, false]);
    [4, 3, 2, 0].forEach((shift, mo) => {
      const hash = (0x5634 >> shift) & 0xfff;
      const one = (write: ReturnType<typeof setUp>['write']): void => write(`MTA[${hash >> 5}]`, 1 << (hash & 31));
      expect([passes(2 | (mo << 12), group, one), passes(2 | (((mo + 1) & 3) << 12), group, one)], `${mo}`).toEqual([
        true,
        false,
      ]);
    });
    for (const n of [1, 7, 15] as const) {
      const address = (valid: boolean) => (write: ReturnType<typeof setUp>['write']) => {
        write(`RAL[${n}]`, 0x00000002);
        write(`RAH[${n}]`, valid ? 0x80000900 : 0x900);
      };
      expect([passes(2, other, address(true)), passes(2, other, address(false))]).toEqual([true, false]);
    }
  });

  it('VLAN tags: put in, taken off, filtered', () => {
    const { bus, descriptor, ram, read, startReceiver, startTransmitter, write } = setUp();
    startTransmitter();
    startReceiver(0x48002);
    write('CTRL', 0x40140240);
    bus.ram.bytes.set(frameOf(60), BUFFER);
    descriptor(0, 'legacy', BUFFER, 60, ['EOP', 'VLE'], { tag: 0x2345 });
    descriptor(1, 'legacy', BUFFER, 5, ['EOP', 'VLE'], { tag: 0x2345 });
    write('TDT', 2);
    const plain = toHex(frameOf(60));
    expect(bus.wire.sent.map(toHex)).toEqual([
      `${plain.slice(0, 24)}81002345${plain.slice(24)}`,
      '5254001234'.slice(0, 10) + '00000000',
    ]);
    const tagged = bus.wire.sent[0]!;
    bus.wire.arrive(tagged);
    expect(read('RDH')).toBe(0);
    write('VFTA[26]', 1 << 5);
    bus.wire.arrive(tagged);
    expect([
      read('RDH'),
      ram.getUint16(RX_RING + 14, true),
      bus.ram.bytes[RX_RING + 12],
      ram.getUint16(RX_RING + 8, true),
    ]).toEqual([1, 0x2345, 0x0f, 64]);
    expect(toHex(bus.ram.bytes.subarray(RX_BUFFERS, RX_BUFFERS + 60))).toBe(plain);
  });

  describe('interrupt moderation', () => {
    const causes = (at: ReturnType<typeof setUp>, first: number, next: number): number => {
      at.write('ICR', 0xffffffff);
      at.write('IMS', 0xffffffff);
      at.bus.clock.advance(at.bus.clock.nowNs() + 100 * MS);
      at.write('ICS', first);
      const since = at.bus.clock.nowNs();
      expect(at.bus.irqLevel).toBe(true);
      at.write('ICR', 0xffffffff);
      expect(at.bus.irqLevel).toBe(false);
      at.write('ICS', next);
      expect(at.bus.irqLevel).toBe(false);
      at.bus.clock.advance(at.bus.clock.nextNs);
      expect(at.bus.irqLevel).toBe(true);
      return at.bus.clock.nowNs() - since;
    };

    it('128 µs at least between two rises of the pin; ITR makes it longer', () => {
      const at = setUp();
      expect(causes(at, 4, 4)).toBe(128_000);
      at.write('ITR', 100);
      expect(causes(at, 4, 4)).toBe(128_000);
      at.write('ITR', 1000);
      expect(causes(at, 4, 4)).toBe(256_000);
    });

    it('RADV counts for RXT0 while RDTR is not 0; the shortest delay wins', () => {
      const at = setUp();
      at.write('ITR', 0xffff);
      at.write('RADV', 1000);
      expect(causes(at, 0x80, 4)).toBe(0xffff * 256);
      at.write('RDTR', 1);
      expect(causes(at, 0x80, 4)).toBe(1000 * 1024);
      expect(causes(at, 4, 4)).toBe(0xffff * 256);
    });

    it('TADV counts after a descriptor with IDE, once', () => {
      const at = setUp();
      at.startTransmitter();
      at.write('TADV', 500);
      at.descriptor(0, 'legacy', BUFFER, 60, ['EOP', 'RS', 'IDE']);
      at.write('TDT', 1);
      expect(causes(at, 1, 4)).toBe(500 * 1024);
      expect(causes(at, 1, 4)).toBe(128_000);
    });
  });

  describe('link', () => {
    const phyStatus = (at: ReturnType<typeof setUp>): number => {
      at.write('MDIC', 0x08210000);
      return at.read('MDIC') & 0xffff;
    };

    it('the cable goes out and in: STATUS, the PHY and LSC say so; it is negotiated for half a second', () => {
      const at = setUp();
      at.startTransmitter();
      const { bus, chip, read, write } = at;
      expect([read('STATUS') & 2, phyStatus(at) & 0x24]).toEqual([2, 4]);
      chip.setLink(false);
      expect([read('STATUS') & 2, phyStatus(at) & 0x24, read('ICR') & 4]).toEqual([0, 0, 4]);
      at.descriptor(0, 'legacy', BUFFER, 60);
      write('TDT', 1);
      expect([bus.wire.sent.length, read('TPT')]).toEqual([0, 1]);
      bus.clock.advance(10.7 * MS);
      chip.setLink(true);
      expect([read('STATUS') & 2, read('ICR') & 4]).toEqual([0, 0]);
      bus.clock.advance(509.9 * MS);
      expect(read('STATUS') & 2).toBe(0);
      bus.clock.advance(510 * MS);
      expect([read('STATUS') & 2, phyStatus(at) & 0x24, read('ICR') & 4]).toEqual([2, 0x24, 4]);
    });

    it('a driver may ask for a new negotiation; without auto-negotiation the link is up at once', () => {
      const at = setUp();
      const { chip, read, write } = at;
      write('MDIC', 0x04200000 | 0x1340);
      expect([read('STATUS') & 2, read('MDIC') >>> 28]).toEqual([0, 1]);
      write('MDIC', 0x04200000 | 0x0140);
      chip.setLink(true);
      expect([read('STATUS') & 2, read('ICR') & 4]).toEqual([2, 4]);
    });

    it('a frame that came while the link was negotiated is taken when it is up', () => {
      const at = setUp();
      at.startReceiver();
      at.chip.setLink(false);
      at.chip.setLink(true);
      at.bus.wire.arrive(frameOf(60));
      expect(at.read('RDH')).toBe(0);
      at.bus.clock.advance(at.bus.clock.nowNs() + 500 * MS);
      expect(at.read('RDH')).toBe(1);
    });
  });

  it('EEPROM: by its wires and by EERD the same words, which add up to 0xbaba', () => {
    const { read, write } = setUp();
    const shiftIn = (bits: number, count: number): void => {
      for (let i = count - 1; i >= 0; i--) {
        const wires = 0x42 | ((bits >> i) & 1 ? 4 : 0);
        for (const clock of [0, 1, 0]) write('EECD', wires | clock);
      }
    };
    const word = (n: number): number => {
      write('EECD', 0x40);
      write('EECD', 0x42);
      shiftIn((0b110 << 6) | n, 9);
      let value = 0;
      for (let i = 0; i < 16; i++) {
        write('EECD', 0x43);
        value = (value << 1) | ((read('EECD') >> 3) & 1);
        write('EECD', 0x42);
      }
      write('EECD', 0);
      return value;
    };
    const byRegister = (n: number): number => {
      write('EERD', (n << 8) | 1);
      const value = read('EERD');
      expect(value & EERD_DONE).toBe(EERD_DONE);
      return value >>> 16;
    };
    const words = Array.from({ length: 64 }, (_, n) => word(n));
    expect(words).toEqual(Array.from({ length: 64 }, (_, n) => byRegister(n)));
    expect(words.slice(0, 3)).toEqual([0x5452, 0x1200, 0x5634]);
    expect(words.reduce((a, b) => a + b, 0) & 0xffff).toBe(0xbaba);
    expect(byRegister(64)).toBe(0);
  });

  it("says what it does in the words of QEMU's debug lines", () => {
    const log: string[] = [];
    const { bus, descriptor, read, startReceiver, startTransmitter, write, words } = setUp({}, (line) => log.push(line));
    startTransmitter();
    startReceiver();
    log.length = 0;
    descriptor(0, 'legacy', 0x802, 60);
    write('TDT', 1);
    write('MDIC', 0x08210000);
    read('TIDV');
    write('STATUS', 7);
    write('TIPG', 0x602008);
    read('ICR');
    words(RX_RING, 0, 0);
    write('RDT', 1);
    bus.wire.arrive(frameOf(60));
    expect(log).toEqual([
      'e1000: index 0: 0x1000802 : 900003c 0',
      'e1000: set_ics 3, ICR 2, IMR 0',
      'e1000: MDIC read reg 0x1',
      'e1000: MMIO unknown read addr=0x00003820',
      'e1000: e1000_mmio_writel RO 8: 0x0007',
      'e1000: MMIO unknown write addr=0x00000410,val=0x00602008',
      'e1000: ICR read: 3',
      'e1000: Null RX descriptor!!',
      'e1000: set_ics 80, ICR 0, IMR 0',
    ]);
  });

  it('goes on from a saved state, in the middle of everything, as if nothing had been', () => {
    const run = (replace: boolean): string => {
      const at = setUp();
      const { bus, context, descriptor, read, startReceiver, startTransmitter, write } = at;
      const trail: unknown[] = [];
      const step = (action: () => void): void => {
        if (replace) bus.replaceChip();
        action();
        trail.push(bus.irqLevel, bus.wire.waitingFrames, read('ICS'), read('TDH'), read('RDH'), read('STATUS'), read('EECD'));
      };
      step(() => startTransmitter());
      step(() => startReceiver());
      step(() => write('IMS', 0x9f));
      step(() => context(0, { tse: true, hdrLen: 54, mss: 100, paylen: 500 }));
      bus.ram.bytes.set(frameOf(600), BUFFER);
      step(() => {
        descriptor(1, 'data', BUFFER, 130, ['TSE', 'IDE'], { options: 3 });
        write('TDT', 2);
      });
      for (const wires of [0x40, 0x42, 0x46, 0x47, 0x46, 0x47, 0x46, 0x42, 0x43]) step(() => write('EECD', wires));
      step(() => {
        descriptor(2, 'data', BUFFER + 130, 424, ['TSE', 'RS', 'EOP']);
        write('TDT', 3);
      });
      step(() => read('ICR'));
      step(() => write('RDT', read('RDH')));
      step(() => bus.wire.arrive(frameOf(60)));
      step(() => bus.chip.setLink(false));
      step(() => bus.chip.setLink(true));
      step(() => write('RCTL', 0x801a));
      step(() => write('RDT', 12));
      for (let n = 0; n < 8; n++) step(() => bus.clock.advance(bus.clock.nowNs() + 217 * MS));
      trail.push(
        bus.wire.sent.map(toHex),
        toHex(bus.ram.bytes.subarray(0, 0x4000)),
        bus.chip.statistics(),
        bus.irqEdges.filter(Boolean).length > 0,
      );
      return JSON.stringify(trail);
    };
    expect(run(true)).toBe(run(false));
    expect(run(false)).toContain('5254001234560607');
    expect(() => setUp().chip.restore({ device: 'rtl8139', version: 1 })).toThrow(UserError);
  });

  it('a machine that is reset finds the chip as at power-on', () => {
    const { bus, chip, startReceiver, startTransmitter, write } = setUp();
    const fresh = chip.save();
    startTransmitter();
    startReceiver();
    for (const name of ['MTA[3]', 'PBM[9]', 'VFTA[127]', 'RAL[0]', 'VET', 'ITR', 'IMS'] as const) write(name, 0x12345678);
    write('ICS', 0x78);
    expect(bus.irqLevel).toBe(true);
    chip.reset();
    expect(bus.irqLevel).toBe(false);
    const again = chip.save();
    expect(again.registers).toEqual(fresh.registers);
    expect([again.phy, again.tx, again.holdNs, RAM]).toEqual([fresh.phy, fresh.tx, fresh.holdNs, 0x1000000]);
  });
});
