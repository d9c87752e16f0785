import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { BAR, BLOCK, IO, MAC, RAM, RX_RING, setUp, TX_RING } from './testing/set-up.ts';

const OWN = 0x8000;
const STP = 0x0200;
const ENP = 0x0100;
const frameTo = (to: Uint8Array, length: number, seed = 3): Uint8Array => {
  const frame = Uint8Array.from({ length }, (_, i) => (i * seed) & 0xff);
  frame.set(to.subarray(0, length));
  return frame;
};

describe('pcnet', () => {
  it('is 1022:2000 with 32 bytes of ports and of memory', () => {
    const { chip } = setUp();
    expect([
      chip.readConfig(0, 4),
      chip.readConfig(6, 2),
      chip.readConfig(8, 4),
      chip.readConfig(0x2c, 4),
      chip.readConfig(0x3c, 4),
    ]).toEqual([0x20001022, 0x0280, 0x02000010, 0, 0xff060100]);
    chip.writeConfig(0x10, 4, 0xffffffff);
    chip.writeConfig(0x14, 4, 0xffffffff);
    expect([chip.readConfig(0x10, 4), chip.readConfig(0x14, 4)]).toEqual([0xffffffe1, 0xffffffe0]);
  });

  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(5) })).toThrow(UserError);
  });

  it('says who it is: PROM, chip identity', () => {
    const { read, readCsr, write } = setUp();
    const prom = Uint8Array.from({ length: 16 }, (_, i) => read(i, 1));
    const sum = prom.reduce((n, byte, i) => n + (i === 12 || i === 13 ? 0 : byte), 0);
    expect(toHex(prom)).toBe(`525400123456000000110000${toHex(Uint8Array.of(sum & 0xff, sum >> 8))}5757`);
    expect([readCsr(88), readCsr(89), readCsr(12), readCsr(13), readCsr(14)]).toEqual([0x1003, 0x0262, 0x5452, 0x1200, 0x5634]);
    write(0x10, 4, 0);
    write(0x14, 4, 88);
    expect([read(0x10, 4), read(0, 4)]).toEqual([0x02621003, 0x12005452]);
  });

  it('takes 16-bit or 32-bit accesses, not both, and changes style by a 32-bit write and a reset', () => {
    const { bus, read, write } = setUp();
    write(0x12, 2, 0);
    expect([read(0x10, 2), read(0x10, 4), read(0x10, 1), read(0, 4)]).toEqual([4, 0xffffffff, 0xff, 0xffffffff]);
    write(0x10, 4, 0);
    expect([read(0x10, 2), read(0x10, 4), read(0x14, 4), read(0, 1), read(0, 2)]).toEqual([0xffff, 4, 0, 0xff, 0xffff]);
    expect([bus.read('io', IO + 0x10, 4), read(0x18, 4), read(0x10, 2), bus.read('io', IO + 0x14, 2)]).toEqual([4, 0, 4, 0]);
  });

  it('writes its PROM only while BCR2 lets it', () => {
    const { read, write, writeBcr } = setUp();
    write(0, 1, 0xaa);
    expect(read(0, 1)).toBe(0x52);
    writeBcr(2, 0x0102);
    write(0, 1, 0xaa);
    write(2, 2, 0xccbb);
    expect([read(0, 1), read(2, 2)]).toEqual([0xaa, 0xccbb]);
  });

  for (const style of [0, 2, 3] as const) {
    it(`software style ${style}: initializes, sends and receives`, () => {
      const { bus, chip, readCsr, writeCsr, descriptor, statusOf, miscOf, start } = setUp();
      for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0, 1544, 0);
      start({ style });
      expect([readCsr(76), readCsr(78), readCsr(0) & 0x33]).toEqual([4, 4, 0x33]);
      for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 1544, OWN);
      bus.ram.bytes.set(frameTo(MAC, 100), 0x6000);
      descriptor(TX_RING, 0, 0x6000, 60, OWN | STP);
      descriptor(TX_RING, 1, 0x603c, 40, OWN | ENP);
      writeCsr(0, 0x0048);
      expect([bus.wire.sent.map(toHex), statusOf(TX_RING, 0), statusOf(TX_RING, 1), readCsr(0) & 0x0200, bus.irqLevel]).toEqual([
        [toHex(frameTo(MAC, 100))],
        STP,
        ENP,
        0x0200,
        true,
      ]);
      bus.wire.arrive(frameTo(MAC, 200));
      const pam = style === 0 ? 0 : 0x40;
      expect([statusOf(RX_RING, 0), miscOf(RX_RING, 0) & 0xfff, readCsr(0) & 0x0400]).toEqual([STP | ENP | pam, 204, 0x0400]);
      expect(toHex(bus.ram.bytes.subarray(0x8000, 0x8000 + 204))).toBe(`${toHex(frameTo(MAC, 200))}00000000`);
      writeCsr(0, 0x7f40);
      expect(bus.irqLevel).toBe(false);
      expect(chip.statistics()).toMatchObject({ tx_packets: 1, tx_bytes: 100, rx_packets: 1, rx_bytes: 200, rx_missed: 0 });
    });
  }

  it('spreads a frame over three descriptors, and says so when they are too small', () => {
    const { bus, descriptor, statusOf, miscOf, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 256, OWN);
    start();
    bus.wire.arrive(frameTo(MAC, 600));
    expect([0, 1, 2, 3].map((n) => statusOf(RX_RING, n))).toEqual([STP, 0, ENP | 0x40, OWN]);
    expect(miscOf(RX_RING, 2)).toBe(604);
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 256, OWN);
    bus.wire.arrive(frameTo(MAC, 900));
    expect([3, 0, 1, 2].map((n) => statusOf(RX_RING, n))).toEqual([STP, 0, 0x5400, OWN]);
  });

  it('filters by physical address, broadcast, logical address and promiscuous mode', () => {
    const { bus, chip, descriptor, statusOf, writeCsr, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 1544, OWN);
    start();
    const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
    const other = Uint8Array.of(2, 0, 0, 0, 0, 1);
    for (const to of [other, group]) bus.wire.arrive(frameTo(to, 60));
    expect(chip.statistics()['rx_filtered']).toBe(2);
    bus.wire.arrive(frameTo(new Uint8Array(6).fill(255), 60));
    for (let n = 8; n < 12; n++) writeCsr(n, 0xffff);
    bus.wire.arrive(frameTo(group, 60));
    writeCsr(15, 0x8000);
    bus.wire.arrive(frameTo(other, 60));
    writeCsr(15, 0x6000);
    bus.wire.arrive(frameTo(MAC, 60));
    writeCsr(8, 0);
    expect([0, 1, 2, 3].map((n) => statusOf(RX_RING, n))).toEqual([0x310, 0x320, 0x300, OWN]);
  });

  it('misses a frame without a descriptor, or keeps it on a wire that can wait', () => {
    const { bus, chip, descriptor, readCsr, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000, 1544, 0);
    start();
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('refused');
    expect(readCsr(112)).toBe(0);
    bus.wire.arrive(frameTo(MAC, 60));
    expect([readCsr(112), readCsr(0) & 0x9000, chip.statistics()['rx_no_room'], chip.hasUnread()]).toEqual([1, 0x9000, 1, false]);
    // A descriptor further on is found.
    descriptor(RX_RING, 2, 0x8000, 1544, OWN);
    expect([chip.receive(frameTo(MAC, 60), 60, true), readCsr(72)]).toEqual(['accepted', 1]);
  });

  it('loops frames back with a check sequence, and without a link only inside the chip', () => {
    const { bus, chip, writeCsr, descriptor, statusOf, miscOf, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 1544, OWN);
    start({ mode: 0x0004 });
    bus.ram.bytes.set(frameTo(MAC, 80), 0x6000);
    descriptor(TX_RING, 0, 0x6000, 80, OWN | STP | ENP | 0x2000);
    writeCsr(0, 0x0048);
    expect([bus.wire.sent.length, statusOf(RX_RING, 0), miscOf(RX_RING, 0)]).toEqual([0, 0x340, 84]);
    chip.setLink(false);
    descriptor(TX_RING, 1, 0x6000, 80, OWN | STP | ENP);
    writeCsr(0, 0x0048);
    expect([statusOf(TX_RING, 1), miscOf(TX_RING, 1), statusOf(RX_RING, 1)]).toEqual([0x4300, 0x08000000, OWN]);
    writeCsr(15, 0x0044);
    descriptor(TX_RING, 2, 0x6000, 80, OWN | STP | ENP);
    writeCsr(0, 0x0048);
    expect(statusOf(RX_RING, 1)).toBe(0x340);
  });

  it('tells of the link through its LED, and of a lost carrier', () => {
    const { bus, chip, readBcr, readCsr, writeCsr, descriptor, miscOf, start } = setUp();
    start();
    expect(readBcr(4)).toBe(0x80c0);
    chip.setLink(false);
    expect(readBcr(4)).toBe(0x00c0);
    descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
    writeCsr(0, 0x0048);
    bus.wire.arrive(frameTo(MAC, 60));
    expect([
      bus.wire.sent.length,
      miscOf(TX_RING, 0),
      readCsr(0) & 0xa200,
      chip.statistics()['tx_errors'],
      chip.statistics()['rx_packets'],
    ]).toEqual([0, 0x08000000, 0xa200, 1, 0]);
  });

  it('polls the transmit ring by itself as time passes, unless DPOLL forbids it', () => {
    for (const forbidden of [false, true]) {
      const { bus, writeCsr, descriptor, start, statusOf } = setUp();
      start();
      bus.clock.advance(1000);
      writeCsr(4, forbidden ? 0x1115 : 0x0115);
      descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
      bus.clock.advance(10_000_000);
      expect([bus.wire.sent.length, statusOf(TX_RING, 0) & OWN]).toEqual(forbidden ? [0, OWN] : [1, 0]);
    }
  });

  it('raises a user interrupt, and masks causes', () => {
    const { bus, readCsr, writeCsr, start } = setUp();
    start();
    writeCsr(0, 0x7f40);
    writeCsr(4, 0x0195);
    // The pin is high until the next access, as in QEMU; UINT stays.
    expect([bus.irqLevel, readCsr(4) & 0xc0, readCsr(0) & 0x80]).toEqual([true, 0x40, 0]);
    expect(bus.irqLevel).toBe(false);
    bus.wire.arrive(frameTo(MAC, 60));
    expect([readCsr(0) & 0x1080, bus.irqLevel]).toEqual([0x1080, true]);
    writeCsr(3, 0x1000);
    expect([readCsr(0) & 0x1080, bus.irqLevel]).toEqual([0x1000, false]);
  });

  it('stops, and resets by its port', () => {
    const { bus, chip, read, readCsr, writeCsr, readBcr, start } = setUp();
    start();
    writeCsr(0, 0x0004);
    expect(readCsr(0)).toBe(0x0014);
    writeCsr(0, 0x0007);
    expect(readCsr(0)).toBe(0x0014);
    writeCsr(0, 0x0003);
    expect([read(0x14, 2), readCsr(0), readCsr(76), readBcr(20)]).toEqual([0, 4, 1, 0x0302]);
    bus.chip.reset();
    expect([chip.config.command, bus.irqLevel]).toEqual([0, false]);
    chip.writeConfig(0x14, 4, BAR);
    chip.writeConfig(4, 2, 7);
    expect(readBcr(20)).toBe(0x0200);
  });

  it('goes on from its saved state, poll timer included', () => {
    const { bus, readCsr, descriptor, start } = setUp();
    start({ rlen: 1 });
    bus.clock.advance(3000);
    readCsr(0);
    descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
    bus.ram.bytes.set(frameTo(MAC, 60), 0x6000);
    bus.replaceChip();
    bus.clock.advance(10_000_000);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameTo(MAC, 60))]);
    const state = structuredClone(bus.chip.save());
    expect(() => bus.chip.restore({ ...state, version: 99 })).toThrow(UserError);
    bus.chip.restore(state);
    expect(bus.chip.save()).toEqual(state);
    expect(readCsr(76)).toBe(2);
  });

  it("logs in the words of QEMU's trace events", () => {
    const lines: string[] = [];
    const { start, read } = setUp({}, (line) => lines.push(line));
    expect(lines.splice(0)).toEqual(['pcnet_s_reset s=0x0']);
    start();
    read(4, 1);
    const words = lines.filter((line) => !/ioport/.test(line));
    const at = RAM + BLOCK;
    expect(words).toEqual([
      `pcnet_init s=0x0 init_addr=0x${at.toString(16)}`,
      'pcnet_rlen_tlen s=0x0 rlen=2 tlen=2',
      'pcnet_ss32_rdra_tdra s=0x0 ss32=1 rdra=0x01002000[4] tdra=0x01003000[4]',
      'pcnet_aprom_readb opaque=0x0 addr=0x00000004 val=0x34',
    ]);
    expect(lines[0]).toBe('pcnet_ioport_write opaque=0x0 addr=0x12 data=0x14 size=2');
    expect(lines.at(-2)).toBe('pcnet_ioport_read opaque=0x0 addr=0x4 size=1');
  });
});
