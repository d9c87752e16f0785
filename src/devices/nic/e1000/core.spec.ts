import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { TXD_DD } from './descriptors.ts';
import { fromField, toField } from '../../../base/testing/by-name.ts';
import {
  CHECKSUMS,
  CTRL,
  EECD,
  EERD,
  GIGABIT,
  INT,
  MAC,
  mdic,
  MDIC,
  PHY_CTRL,
  PHY_STATUS,
  RAH,
  RAM,
  RCTL,
  RX_BUFFERS,
  RX_RING,
  RXD,
  setUp,
  STATUS,
} from './testing/set-up.ts';

const BUFFER = 0x8000;
const MS = 1_000_000;

const frameOf = (length: number, to: ArrayLike<number> = MAC): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => to[i] ?? i & 0xff);
/** RCTL: the receiver is on, and takes broadcast frames. */
const ON = RCTL.BAM | RCTL.EN;
const BROADCAST = [255, 255, 255, 255, 255, 255];

describe('e1000', () => {
  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(5) })).toThrow(UserError);
  });

  it('sends: descriptors add up to a frame, done is reported where it is asked for, TXDW and TXQE are pending', () => {
    const { bus, descriptor, read, startTransmitter, txStatus, write } = setUp();
    startTransmitter();
    bus.ram.bytes.set(frameOf(300), BUFFER);
    descriptor(0, 'legacy', BUFFER, 100, []);
    descriptor(1, 'legacy', BUFFER + 100, 200, ['EOP', 'RS']);
    write('TDT', 2);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameOf(300))]);
    expect(txStatus(0)).toBe(0);
    expect(txStatus(1)).toBe(TXD_DD);
    expect(read('TDH')).toBe(2);
    expect(read('ICR')).toBe(INT.TXDW | INT.TXQE);
    expect(read('ICR')).toBe(0);
    expect(read('TPT')).toBe(1);
    expect(read('TOTL')).toBe(304);
    expect(read('PTC511')).toBe(1);
  });

  it('receives: CRC counted, buffers of the size that RCTL says, as many as the frame takes', () => {
    for (const [bsize, size] of [
      [0, 2048],
      [1, 1024],
      [2, 512],
      [3, 256],
    ] as const) {
      const { bus, read, received, startReceiver } = setUp();
      startReceiver(ON | toField(RCTL.BSIZE, bsize));
      bus.wire.arrive(frameOf(1000));
      const used = Math.ceil(1004 / size);
      expect(read('RDH'), `${size}`).toBe(used);
      const numbers = Array.from({ length: used }, (_, n) => n);
      for (const n of numbers)
        expect(received(n), `${n}`).toMatchObject(
          n === used - 1 ? { length: 1004 - n * size, status: RXD.DD | RXD.EOP | RXD.IXSM } : { length: size, status: RXD.DD },
        );
      const data = numbers.map((n) =>
        bus.ram.bytes.subarray(RX_BUFFERS + 0x800 * n, RX_BUFFERS + 0x800 * n + Math.min(size, 1000 - n * size)),
      );
      expect(Buffer.concat(data).equals(frameOf(1000))).toBe(true);
      expect(read('ICR') & INT.RXT0).toBe(INT.RXT0);
      expect(read('PRC1023')).toBe(1);
      expect(read('GPRC')).toBe(1);
      expect(read('TORL')).toBe(1004);
    }
  });

  it('holds frames back for a second after a write of RCTL', () => {
    const { bus, read, startReceiver, write } = setUp();
    startReceiver();
    bus.clock.advance(2000.4 * MS);
    write('RCTL', ON);
    bus.wire.arrive(frameOf(60));
    bus.clock.advance(2999.9 * MS);
    expect(bus.wire.waitingFrames).toBe(1);
    expect(read('RDH')).toBe(0);
    bus.clock.advance(3000 * MS);
    expect(bus.wire.waitingFrames).toBe(0);
    expect(read('RDH')).toBe(1);
  });

  describe('a frame without room', () => {
    it('waits on the wire until the driver gives descriptors', () => {
      const { bus, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      for (let n = 0; n < 3; n++) bus.wire.arrive(frameOf(60));
      expect(bus.wire.waitingFrames).toBe(3);
      expect(read('MPC')).toBe(0);
      write('RDT', 2);
      expect(bus.wire.waitingFrames).toBe(1);
      expect(read('RDH')).toBe(2);
    });

    it('is lost when the receiver was turned off meanwhile', () => {
      const { bus, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      bus.wire.arrive(frameOf(60));
      write('RCTL', 0);
      bus.clock.advance(5000 * MS);
      expect(bus.wire.waitingFrames).toBe(0);
      expect(read('TPR')).toBe(0);
    });

    it('is lost and counted when it needs more descriptors than there are, unless the wire has flow control', () => {
      const { chip, read, startReceiver, write } = setUp();
      startReceiver(ON | toField(RCTL.BSIZE, 3));
      write('RDT', 2);
      expect(chip.receive(frameOf(1000), 1000, true)).toBe('refused');
      expect(read('MPC')).toBe(0);
      expect(read('RNBC')).toBe(0);
      expect(read('ICR') & INT.RXO).toBe(0);
      expect(chip.receive(frameOf(1000), 1000)).toBe('dropped');
      expect(read('MPC')).toBe(1);
      expect(read('RNBC')).toBe(1);
      expect(read('ICR') & INT.RXO).toBe(INT.RXO);
      expect(chip.statistics()['rx_no_room']).toBe(1);
    });

    it('is lost when the wire can hold it no longer', () => {
      const { chip, read, startReceiver, write } = setUp();
      startReceiver();
      write('RDT', 0);
      expect(chip.receive(frameOf(60), 60, true)).toBe('refused');
      expect(chip.receive(frameOf(60), 60, false)).toBe('dropped');
      expect(read('MPC')).toBe(1);
      write('RCTL', 0);
      expect(chip.receive(frameOf(60), 60, true)).toBe('refused');
      expect(chip.receive(frameOf(60), 60, false)).toBe('dropped');
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
      startReceiver(ON | toField(RCTL.RDMTS, rdmts));
      const low: number[] = [];
      for (let taken = 1; taken < 16; taken++) {
        bus.wire.arrive(frameOf(60));
        if (read('ICR') & INT.RXDMT0) low.push(15 - taken);
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
    const { EN, UPE, MPE, BAM, MO } = RCTL;
    expect(passes(EN, [...MAC])).toBe(true);
    expect(passes(EN, other)).toBe(false);
    expect(passes(EN | UPE, other)).toBe(true);
    expect(passes(EN, BROADCAST)).toBe(false);
    expect(passes(EN | BAM, BROADCAST)).toBe(true);
    expect(passes(EN, group)).toBe(false);
    expect(passes(EN | MPE, group)).toBe(true);
    expect(passes(EN | MPE, other)).toBe(false);
    [4, 3, 2, 0].forEach((shift, mo) => {
      const hash = (0x5634 >> shift) & 0xfff;
      const one = (write: ReturnType<typeof setUp>['write']): void => write(`MTA[${hash >> 5}]`, 1 << (hash & 31));
      expect(passes(EN | toField(MO, mo), group, one), `${mo}`).toBe(true);
      expect(passes(EN | toField(MO, (mo + 1) & 3), group, one), `${mo}`).toBe(false);
    });
    for (const n of [1, 7, 15] as const) {
      const address = (valid: boolean) => (write: ReturnType<typeof setUp>['write']) => {
        write(`RAL[${n}]`, 0x00000002);
        write(`RAH[${n}]`, (valid ? RAH.AV : 0) | 0x900);
      };
      expect(passes(EN, other, address(true)), `${n}`).toBe(true);
      expect(passes(EN, other, address(false)), `${n}`).toBe(false);
    }
  });

  it('VLAN tags: put in, taken off, filtered', () => {
    const { bus, descriptor, read, received, startReceiver, startTransmitter, write } = setUp();
    startTransmitter();
    startReceiver(ON | RCTL.VFE);
    write('CTRL', read('CTRL') | CTRL.VME);
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
    expect(read('RDH')).toBe(1);
    expect(received(0)).toEqual({ length: 64, status: RXD.DD | RXD.EOP | RXD.IXSM | RXD.VP, special: 0x2345 });
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
      expect(causes(at, INT.LSC, INT.LSC)).toBe(128_000);
      at.write('ITR', 100);
      expect(causes(at, INT.LSC, INT.LSC)).toBe(128_000);
      at.write('ITR', 1000);
      expect(causes(at, INT.LSC, INT.LSC)).toBe(256_000);
    });

    it('RADV counts for RXT0 while RDTR is not 0; the shortest delay wins', () => {
      const at = setUp();
      at.write('ITR', 0xffff);
      at.write('RADV', 1000);
      expect(causes(at, INT.RXT0, INT.LSC)).toBe(0xffff * 256);
      at.write('RDTR', 1);
      expect(causes(at, INT.RXT0, INT.LSC)).toBe(1000 * 1024);
      expect(causes(at, INT.LSC, INT.LSC)).toBe(0xffff * 256);
    });

    it('TADV counts after a descriptor with IDE, once', () => {
      const at = setUp();
      at.startTransmitter();
      at.write('TADV', 500);
      at.descriptor(0, 'legacy', BUFFER, 60, ['EOP', 'RS', 'IDE']);
      at.write('TDT', 1);
      expect(causes(at, INT.TXDW, INT.LSC)).toBe(500 * 1024);
      expect(causes(at, INT.TXDW, INT.LSC)).toBe(128_000);
    });
  });

  describe('link', () => {
    it('the cable goes out and in: STATUS, the PHY and LSC say so; it is negotiated for half a second', () => {
      const { bus, chip, descriptor, read, readPhy, startTransmitter, write } = setUp();
      startTransmitter();
      const up = (): boolean => (read('STATUS') & STATUS.LU) !== 0;
      const phy = (): number => readPhy('PHY_STATUS') & (PHY_STATUS.LINK_STATUS | PHY_STATUS.AUTONEG_COMPLETE);
      expect(up()).toBe(true);
      expect(phy()).toBe(PHY_STATUS.LINK_STATUS);
      chip.setLink(false);
      expect(up()).toBe(false);
      expect(phy()).toBe(0);
      expect(read('ICR') & INT.LSC).toBe(INT.LSC);
      descriptor(0, 'legacy', BUFFER, 60);
      write('TDT', 1);
      expect(bus.wire.sent.length).toBe(0);
      expect(read('TPT')).toBe(1);
      bus.clock.advance(10.7 * MS);
      chip.setLink(true);
      expect(up()).toBe(false);
      expect(read('ICR') & INT.LSC).toBe(0);
      bus.clock.advance(509.9 * MS);
      expect(up()).toBe(false);
      bus.clock.advance(510 * MS);
      expect(up()).toBe(true);
      expect(phy()).toBe(PHY_STATUS.LINK_STATUS | PHY_STATUS.AUTONEG_COMPLETE);
      expect(read('ICR') & INT.LSC).toBe(INT.LSC);
    });

    it('a driver may ask for a new negotiation; without auto-negotiation the link is up at once', () => {
      const { chip, read, writePhy } = setUp();
      writePhy('PHY_CTRL', PHY_CTRL.AUTO_NEG_EN | PHY_CTRL.RESTART_AUTO_NEG | GIGABIT);
      expect(read('STATUS') & STATUS.LU).toBe(0);
      expect(read('MDIC') >>> 28).toBe(MDIC.READY >>> 28);
      writePhy('PHY_CTRL', GIGABIT);
      chip.setLink(true);
      expect(read('STATUS') & STATUS.LU).toBe(STATUS.LU);
      expect(read('ICR') & INT.LSC).toBe(INT.LSC);
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
    const { SK, CS, DI, DO, REQ } = EECD;
    const shiftIn = (bits: number, count: number): void => {
      for (let i = count - 1; i >= 0; i--) {
        const wires = REQ | CS | ((bits >> i) & 1 ? DI : 0);
        for (const clock of [0, SK, 0]) write('EECD', wires | clock);
      }
    };
    const word = (n: number): number => {
      write('EECD', REQ);
      write('EECD', REQ | CS);
      shiftIn((0b110 << 6) | n, 9);
      let value = 0;
      for (let i = 0; i < 16; i++) {
        write('EECD', REQ | CS | SK);
        value = (value << 1) | fromField(DO, read('EECD'));
        write('EECD', REQ | CS);
      }
      write('EECD', 0);
      return value;
    };
    const byRegister = (n: number): number => {
      write('EERD', toField(EERD.ADDR, n) | EERD.START);
      const value = read('EERD');
      expect(value & EERD.DONE).toBe(EERD.DONE);
      return fromField(EERD.DATA, value);
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
    write('MDIC', mdic('read', 'PHY_STATUS'));
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
      step(() => write('IMS', INT.TXDW | INT.TXQE | INT.LSC | INT.RXSEQ | INT.RXDMT0 | INT.RXT0));
      step(() => context(0, { tse: true, hdrLen: 54, mss: 100, paylen: 500 }));
      bus.ram.bytes.set(frameOf(600), BUFFER);
      step(() => {
        descriptor(1, 'data', BUFFER, 130, ['TSE', 'IDE'], { options: CHECKSUMS });
        write('TDT', 2);
      });
      const { REQ, CS, DI, SK } = EECD;
      for (const wires of [0, CS, CS | DI, CS | DI | SK, CS | DI, CS | DI | SK, CS | DI, CS, CS | SK])
        step(() => write('EECD', REQ | wires));
      step(() => {
        descriptor(2, 'data', BUFFER + 130, 424, ['TSE', 'RS', 'EOP']);
        write('TDT', 3);
      });
      step(() => read('ICR'));
      step(() => write('RDT', read('RDH')));
      step(() => bus.wire.arrive(frameOf(60)));
      step(() => bus.chip.setLink(false));
      step(() => bus.chip.setLink(true));
      step(() => write('RCTL', ON | RCTL.UPE | RCTL.MPE));
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
    write('ICS', INT.RXSEQ | INT.RXDMT0 | 0x20 | INT.RXO);
    expect(bus.irqLevel).toBe(true);
    chip.reset();
    expect(bus.irqLevel).toBe(false);
    const again = chip.save();
    expect(again.registers).toEqual(fresh.registers);
    expect(again.phy).toEqual(fresh.phy);
    expect(again.tx).toEqual(fresh.tx);
    expect(again.holdNs).toBe(fresh.holdNs);
    expect(RAM).toBe(0x1000000);
  });
});
