import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { COMMAND_ON } from '../../testing/pci-config.ts';
import {
  BAR,
  BLOCK,
  csrNumber,
  IM,
  IO,
  LED,
  MAC,
  MC,
  MODE,
  RAM,
  RMD1,
  RUNNING,
  RX_RING,
  setUp,
  Status,
  STATUS_CAUSES,
  SWS,
  TFEAT,
  TFEAT_MASKS,
  TMD1,
  TMD2,
  TX_RING,
} from './testing/set-up.ts';

const { OWN, STP, ENP } = TMD1;
const DWIO = 4;
const WIO = 2;
const frameTo = (to: Uint8Array, length: number, seed = 3): Uint8Array => {
  const frame = Uint8Array.from({ length }, (_, i) => (i * seed) & 0xff);
  frame.set(to.subarray(0, length));
  return frame;
};

describe('pcnet', () => {
  it('is 1022:2000 with 32 bytes of ports and of memory', () => {
    const { pci } = setUp();
    for (const [name, value] of [
      ['VendorID', 0x1022],
      ['DeviceID', 0x2000],
      ['Status', 0x0280],
      ['RevisionID', 0x10],
      ['ProgIF', 0],
      ['SubClass', 0],
      ['BaseClass', 2],
      ['SubsystemVendorID', 0],
      ['SubsystemID', 0],
      ['InterruptLine', 0],
      ['InterruptPin', 1],
      ['MinGnt', 6],
      ['MaxLat', 0xff],
    ] as const)
      expect(pci.read(name), name).toBe(value);
    pci.write('BAR0', 0xffffffff);
    pci.write('BAR1', 0xffffffff);
    expect(pci.read('BAR0')).toBe(0xffffffe1);
    expect(pci.read('BAR1')).toBe(0xffffffe0);
  });

  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(5) })).toThrow(UserError);
  });

  it('says who it is: PROM, chip identity', () => {
    const { readAt, readCsr, dwio } = setUp();
    const prom = Uint8Array.from({ length: 16 }, (_, i) => readAt(i, 1));
    const sum = prom.reduce((n, byte, i) => n + (i === 12 || i === 13 ? 0 : byte), 0);
    expect(toHex(prom)).toBe(`525400123456000000110000${toHex(Uint8Array.of(sum & 0xff, sum >> 8))}5757`);
    expect(readCsr('CHIPIDL')).toBe(0x1003);
    expect(readCsr('CHIPIDU')).toBe(0x0262);
    expect(readCsr('PADR0')).toBe(0x5452);
    expect(readCsr('PADR1')).toBe(0x1200);
    expect(readCsr('PADR2')).toBe(0x5634);
    dwio.write('RDP', 0);
    dwio.write('RAP', csrNumber('CHIPIDL'));
    expect(dwio.read('RDP')).toBe(0x02621003);
    expect(readAt(0, DWIO)).toBe(0x12005452);
  });

  it('takes 16-bit or 32-bit accesses, not both, and changes style by a 32-bit write and a reset', () => {
    const { bus, readAt, wio, dwio } = setUp();
    wio.write('RAP', csrNumber('Status'));
    expect(wio.read('RDP')).toBe(Status.STOP);
    expect(dwio.read('RDP')).toBe(0xffffffff);
    expect(readAt(wio.offset('RDP'), 1)).toBe(0xff);
    expect(readAt(0, DWIO)).toBe(0xffffffff);
    dwio.write('RDP', 0);
    expect(wio.read('RDP')).toBe(0xffff);
    expect(dwio.read('RDP')).toBe(Status.STOP);
    expect(dwio.read('RAP')).toBe(csrNumber('Status'));
    expect(readAt(0, 1)).toBe(0xff);
    expect(readAt(0, WIO)).toBe(0xffff);
    expect(bus.read('io', IO + dwio.offset('RDP'), DWIO)).toBe(Status.STOP);
    expect(dwio.read('RESET')).toBe(0);
    expect(wio.read('RDP')).toBe(Status.STOP);
    expect(bus.read('io', IO + wio.offset('RESET'), WIO)).toBe(0);
  });

  it('writes its PROM only while BCR2 lets it', () => {
    const { readAt, writeAt, writeBcr } = setUp();
    writeAt(0, 1, 0xaa);
    expect(readAt(0, 1)).toBe(0x52);
    writeBcr('MC', MC.APROMWE | MC.AWAKE);
    writeAt(0, 1, 0xaa);
    writeAt(2, 2, 0xccbb);
    expect(readAt(0, 1)).toBe(0xaa);
    expect(readAt(2, 2)).toBe(0xccbb);
  });

  for (const style of [0, 2, 3] as const) {
    it(`software style ${style}: initializes, sends and receives`, () => {
      const { bus, chip, readCsr, writeCsr, demand, descriptor, statusOf, miscOf, start } = setUp();
      for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0, 1544, 0);
      start({ style });
      expect(readCsr('RCVRL')).toBe(4);
      expect(readCsr('XMTRL')).toBe(4);
      expect(readCsr('Status') & RUNNING).toBe(RUNNING);
      for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 1544, OWN);
      bus.ram.bytes.set(frameTo(MAC, 100), 0x6000);
      descriptor(TX_RING, 0, 0x6000, 60, OWN | STP);
      descriptor(TX_RING, 1, 0x603c, 40, OWN | ENP);
      demand();
      expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameTo(MAC, 100))]);
      expect(statusOf(TX_RING, 0)).toBe(STP);
      expect(statusOf(TX_RING, 1)).toBe(ENP);
      expect(readCsr('Status') & Status.TINT).toBe(Status.TINT);
      expect(bus.irqLevel).toBe(true);
      bus.wire.arrive(frameTo(MAC, 200));
      expect(statusOf(RX_RING, 0)).toBe(STP | ENP | (style === 0 ? 0 : RMD1.PAM));
      expect(miscOf(RX_RING, 0) & 0xfff).toBe(204);
      expect(readCsr('Status') & Status.RINT).toBe(Status.RINT);
      expect(toHex(bus.ram.bytes.subarray(0x8000, 0x8000 + 204))).toBe(`${toHex(frameTo(MAC, 200))}00000000`);
      writeCsr('Status', STATUS_CAUSES | Status.IENA);
      expect(bus.irqLevel).toBe(false);
      expect(chip.statistics()).toMatchObject({ tx_packets: 1, tx_bytes: 100, rx_packets: 1, rx_bytes: 200, rx_missed: 0 });
    });
  }

  it('spreads a frame over three descriptors, and says so when they are too small', () => {
    const { bus, descriptor, statusOf, miscOf, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 256, OWN);
    start();
    bus.wire.arrive(frameTo(MAC, 600));
    expect([0, 1, 2, 3].map((n) => statusOf(RX_RING, n))).toEqual([STP, 0, ENP | RMD1.PAM, OWN]);
    expect(miscOf(RX_RING, 2)).toBe(604);
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 256, OWN);
    bus.wire.arrive(frameTo(MAC, 900));
    expect([3, 0, 1, 2].map((n) => statusOf(RX_RING, n))).toEqual([STP, 0, RMD1.ERR | RMD1.OFLO | RMD1.BUFF, OWN]);
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
    for (const name of ['LADRF0', 'LADRF1', 'LADRF2', 'LADRF3'] as const) writeCsr(name, 0xffff);
    bus.wire.arrive(frameTo(group, 60));
    writeCsr('MODE', MODE.PROM);
    bus.wire.arrive(frameTo(other, 60));
    writeCsr('MODE', MODE.DRCVBC | MODE.DRCVPA);
    bus.wire.arrive(frameTo(MAC, 60));
    writeCsr('LADRF0', 0);
    expect([0, 1, 2, 3].map((n) => statusOf(RX_RING, n))).toEqual([STP | ENP | RMD1.BAM, STP | ENP | RMD1.LAFM, STP | ENP, OWN]);
  });

  it('misses a frame without a descriptor, or keeps it on a wire that can wait', () => {
    const { bus, chip, descriptor, readCsr, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000, 1544, 0);
    start();
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('refused');
    expect(readCsr('MFC')).toBe(0);
    bus.wire.arrive(frameTo(MAC, 60));
    expect(readCsr('MFC')).toBe(1);
    expect(readCsr('Status') & (Status.ERR | Status.MISS)).toBe(Status.ERR | Status.MISS);
    expect(chip.statistics()['rx_no_room']).toBe(1);
    expect(chip.hasUnread()).toBe(false);
    // A descriptor further on is found.
    descriptor(RX_RING, 2, 0x8000, 1544, OWN);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('accepted');
    expect(readCsr('RCVRC')).toBe(1);
  });

  it('loops frames back with a check sequence, and without a link only inside the chip', () => {
    const { bus, chip, writeCsr, demand, descriptor, statusOf, miscOf, start } = setUp();
    for (let n = 0; n < 4; n++) descriptor(RX_RING, n, 0x8000 + n * 0x800, 1544, OWN);
    start({ mode: MODE.LOOP });
    bus.ram.bytes.set(frameTo(MAC, 80), 0x6000);
    descriptor(TX_RING, 0, 0x6000, 80, OWN | STP | ENP | TMD1['ADD/NO_FCS']);
    demand();
    expect(bus.wire.sent.length).toBe(0);
    expect(statusOf(RX_RING, 0)).toBe(STP | ENP | RMD1.PAM);
    expect(miscOf(RX_RING, 0)).toBe(84);
    chip.setLink(false);
    descriptor(TX_RING, 1, 0x6000, 80, OWN | STP | ENP);
    demand();
    expect(statusOf(TX_RING, 1)).toBe(TMD1.ERR | STP | ENP);
    expect(miscOf(TX_RING, 1)).toBe(TMD2.LCAR);
    expect(statusOf(RX_RING, 1)).toBe(OWN);
    writeCsr('MODE', MODE.LOOP | MODE.INTL);
    descriptor(TX_RING, 2, 0x6000, 80, OWN | STP | ENP);
    demand();
    expect(statusOf(RX_RING, 1)).toBe(STP | ENP | RMD1.PAM);
  });

  it('tells of the link through its LED, and of a lost carrier', () => {
    const { bus, chip, readBcr, readCsr, demand, descriptor, miscOf, start } = setUp();
    start();
    expect(readBcr('LNKST')).toBe(LED.LEDOUT | LED.PSE | LED.LNKSTE);
    chip.setLink(false);
    expect(readBcr('LNKST')).toBe(LED.PSE | LED.LNKSTE);
    descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
    demand();
    bus.wire.arrive(frameTo(MAC, 60));
    const told = Status.ERR | Status.CERR | Status.TINT;
    expect(bus.wire.sent.length).toBe(0);
    expect(miscOf(TX_RING, 0)).toBe(TMD2.LCAR);
    expect(readCsr('Status') & told).toBe(told);
    expect(chip.statistics()).toMatchObject({ tx_errors: 1, rx_packets: 0 });
  });

  it('polls the transmit ring by itself as time passes, unless DPOLL forbids it', () => {
    for (const forbidden of [false, true]) {
      const { bus, writeCsr, descriptor, start, statusOf } = setUp();
      start();
      bus.clock.advance(1000);
      writeCsr('TFEAT', TFEAT_MASKS | (forbidden ? TFEAT.DPOLL : 0));
      descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
      bus.clock.advance(10_000_000);
      expect(bus.wire.sent.length).toBe(forbidden ? 0 : 1);
      expect(statusOf(TX_RING, 0) & OWN).toBe(forbidden ? OWN : 0);
    }
  });

  it('raises a user interrupt, and masks causes', () => {
    const { bus, readCsr, writeCsr, start } = setUp();
    start();
    writeCsr('Status', STATUS_CAUSES | Status.IENA);
    writeCsr('TFEAT', TFEAT_MASKS | TFEAT.UINTCMD);
    // The pin is high until the next access, as in QEMU; UINT stays.
    expect(bus.irqLevel).toBe(true);
    expect(readCsr('TFEAT') & (TFEAT.UINT | TFEAT.UINTCMD)).toBe(TFEAT.UINT);
    expect(readCsr('Status') & Status.INTR).toBe(0);
    expect(bus.irqLevel).toBe(false);
    bus.wire.arrive(frameTo(MAC, 60));
    expect(readCsr('Status') & (Status.MISS | Status.INTR)).toBe(Status.MISS | Status.INTR);
    expect(bus.irqLevel).toBe(true);
    writeCsr('IM', IM.MISSM);
    expect(readCsr('Status') & (Status.MISS | Status.INTR)).toBe(Status.MISS);
    expect(bus.irqLevel).toBe(false);
  });

  it('stops, and resets by its port', () => {
    const { bus, chip, pci, wio, readCsr, writeCsr, readBcr, start } = setUp();
    start();
    writeCsr('Status', Status.STOP);
    expect(readCsr('Status')).toBe(Status.STOP | Status.TXON);
    writeCsr('Status', Status.STOP | Status.STRT | Status.INIT);
    expect(readCsr('Status')).toBe(Status.STOP | Status.TXON);
    writeCsr('Status', Status.STRT | Status.INIT);
    expect(wio.read('RESET')).toBe(0);
    expect(readCsr('Status')).toBe(Status.STOP);
    expect(readCsr('RCVRL')).toBe(1);
    expect(readBcr('SWS')).toBe(SWS.CSRPCNET | SWS.SSIZE32 | 2);
    chip.reset();
    expect(pci.read('Command')).toBe(0);
    expect(bus.irqLevel).toBe(false);
    pci.write('BAR1', BAR);
    pci.write('Command', COMMAND_ON);
    expect(readBcr('SWS')).toBe(SWS.CSRPCNET);
  });

  it('goes on from its saved state, poll timer included', () => {
    const { bus, readCsr, descriptor, start } = setUp();
    start({ rlen: 1 });
    bus.clock.advance(3000);
    readCsr('Status');
    descriptor(TX_RING, 0, 0x6000, 60, OWN | STP | ENP);
    bus.ram.bytes.set(frameTo(MAC, 60), 0x6000);
    bus.replaceChip();
    bus.clock.advance(10_000_000);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameTo(MAC, 60))]);
    const state = structuredClone(bus.chip.save());
    expect(() => bus.chip.restore({ ...state, version: 99 })).toThrow(UserError);
    bus.chip.restore(state);
    expect(bus.chip.save()).toEqual(state);
    expect(readCsr('RCVRL')).toBe(2);
  });

  it("logs in the words of QEMU's trace events", () => {
    const lines: string[] = [];
    const { start, readAt } = setUp({}, (line) => lines.push(line));
    expect(lines.splice(0)).toEqual(['pcnet_s_reset s=0x0']);
    start();
    readAt(4, 1);
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
