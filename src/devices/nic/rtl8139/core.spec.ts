import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { fromHex, toHex } from '../../conformance/transcript.ts';
import {
  CMD_RX_EMPTY,
  CMD_RX_ENABLE,
  CMD_TX_ENABLE,
  CP_RX_ENABLE,
  CP_RX_VLAN,
  CP_TX_ENABLE,
  EECS,
  EEDI,
  EEDO,
  EESK,
  INT_LINK_CHANGE,
  INT_RX_OK,
  INT_RX_OVERFLOW,
  MODE_PROGRAM,
  POLL_NORMAL,
  RX_BROADCAST,
  RX_MULTICAST,
  RX_MY_PHYS,
} from './port.ts';
import { FIRST, LAST, MAC, OWN, RAM, RECEIVED, setUp } from './testing/set-up.ts';

describe('rtl8139', () => {
  it('has its address in registers and EEPROM, and tells its revision', () => {
    const { read, write, station } = setUp();
    expect(station()).toEqual([...MAC]);
    expect(read('PCIRevisionID')).toBe(0x20);
    const word = (address: number): number => {
      const wires = (bits: number): number => {
        write('Cfg9346', MODE_PROGRAM | bits);
        return read('Cfg9346') & EEDO;
      };
      wires(0);
      wires(EECS);
      for (const bit of (0b110_000000 | address).toString(2))
        for (const clock of [0, EESK]) wires(EECS | clock | (bit === '1' ? EEDI : 0));
      let data = 0;
      for (let i = 0; i < 16; i++) {
        wires(EECS);
        data = (data << 1) | wires(EECS | EESK);
      }
      wires(0);
      return data;
    };
    expect([0, 1, 2, 7, 8, 9].map(word)).toEqual([0x8129, 0x10ec, 0x8139, 0x5452, 0x1200, 0x5634]);
  });

  it('can be the revision that 8139too takes', () => {
    const { chip, read } = setUp({ revision: 0x10 });
    expect(chip.readConfig(8, 1)).toBe(0x10);
    expect(read('PCIRevisionID')).toBe(0x10);
  });

  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(5) })).toThrow(UserError);
  });

  it("logs a C+ transmission in the words of QEMU's debug log", () => {
    const lines: string[] = [];
    const { bus, write, descriptor, startCplus } = setUp({}, (line) => lines.push(line));
    startCplus();
    descriptor(0, OWN | FIRST | LAST | 90, 0, 0x802);
    bus.ram.bytes.set(
      Array.from({ length: 90 }, (_, i) => i),
      0x802,
    );
    lines.length = 0;
    write('TxRingAddr', RAM);
    write('TxPoll', POLL_NORMAL);
    expect(lines).toEqual([
      'RTL8139: TxAddr write offset=0x0 val=0x01000000',
      'RTL8139: C+ TxPoll write(b) val=0x40',
      'RTL8139: C+ TxPoll normal priority transmission',
      'RTL8139: +++ C+ mode reading TX descriptor 0 from host memory at 00000000 01000000 = 0x01000000',
      'RTL8139: +++ C+ mode TX descriptor 0 b000005a 00000000 01000802 00000000',
      'RTL8139: +++ C+ Tx mode : transmitting from descriptor 0',
      'RTL8139: +++ C+ Tx mode : descriptor 0 is first segment descriptor',
      'RTL8139: +++ C+ mode transmit reading 90 bytes from host memory at 01000802 to offset 0',
      'RTL8139: +++ C+ Tx mode : descriptor 0 is last segment descriptor',
      'RTL8139: +++ C+ mode transmitting 90 bytes packet',
      'RTL8139: +++ C+ mode reading TX descriptor 1 from host memory at 00000000 01000000 = 0x01000010',
      'RTL8139: +++ C+ mode TX descriptor 1 00000000 00000000 00000000 00000000',
      'RTL8139: C+ Tx mode : descriptor 1 is owned by host',
      'RTL8139: Set IRQ to 1 (0004 e1ff)',
    ]);
    expect(bus.wire.sent.map((frame) => frame.length)).toEqual([90]);
    expect(bus.irqLevel).toBe(true);
  });

  it('receives into a C+ descriptor, and counts', () => {
    const { bus, chip, read, ram, descriptor, startCplus } = setUp();
    startCplus();
    descriptor(0x100, OWN | 0x600, 0, 0x2000);
    bus.wire.arrive(fromHex(`${toHex(MAC)}0200000000010800${'ab'.repeat(50)}`));
    expect(ram.getUint32(0x1000, true)).toBe(RECEIVED + 68);
    expect(read('IntrStatus')).toBe(INT_RX_OK);
    expect(toHex(bus.ram.bytes.subarray(0x2000, 0x2010))).toBe('5254001234560200000000010800abab');
    expect(chip.statistics()).toMatchObject({ rx_packets: 1, rx_bytes: 64, rx_ok: 1, rx_ok_phys: 1, tx_packets: 0 });
  });

  it('writes the tag before it gives a receive descriptor back', () => {
    const { bus, ram, descriptor, write, startCplus } = setUp();
    startCplus();
    write('CpCmd', CP_TX_ENABLE | CP_RX_ENABLE | CP_RX_VLAN);
    descriptor(0x100, OWN | 0x600, 0, 0x2000);
    const seen: number[] = [];
    const dma = bus.ram.write.bind(bus.ram);
    bus.ram.write = (gpa, buffer, offset, length) => {
      const done = dma(gpa, buffer, offset, length);
      if (!(ram.getUint32(0x1000, true) & 0x80000000)) seen.push(ram.getUint32(0x1004, true));
      return done;
    };
    bus.wire.arrive(fromHex(`${toHex(MAC)}020000000001${'81000123'}0800${'ab'.repeat(50)}`));
    expect(seen).toEqual([0x12301]);
  });

  it('lets in what waited when the driver has read on', () => {
    const { bus, read, write } = setUp();
    write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
    write('RxBuf', RAM + 0x4000);
    write('RxConfig', RX_MY_PHYS | RX_MULTICAST | RX_BROADCAST);
    const frame = new Uint8Array(1400).fill(0xff);
    for (let i = 0; i < 7; i++) bus.wire.arrive(frame);
    // Five frames of 1,408 bytes fill an 8 KiB ring but for 1,152: less than the 1,514 the wire waits for.
    expect(read('RxBufAddr')).toBe(5 * 1408);
    expect(bus.wire.waitingFrames).toBe(2);
    write('RxBufPtr', 1408 - 16);
    expect(read('RxBufAddr')).toBe(6 * 1408 - 8192);
    expect(bus.wire.waitingFrames).toBe(1);
  });

  it('counts whole words of the C mode ring: one filled to the last word would look empty', () => {
    const { bus, read, write } = setUp();
    write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
    write('RxBuf', RAM + 0x4000);
    write('RxConfig', RX_MY_PHYS | RX_MULTICAST | RX_BROADCAST);
    write('IntrMask', INT_RX_OVERFLOW);
    for (let i = 0; i < 5; i++) bus.wire.arrive(new Uint8Array(1400).fill(0xff));
    // 1,152 bytes are left; this one with its header and CRC has 1,149 and takes up 1,152.
    bus.wire.arrive(new Uint8Array(1141).fill(0xff));
    expect(read('RxBufAddr')).toBe(5 * 1408);
    expect(read('ChipCmd') & CMD_RX_EMPTY).toBe(0);
    expect(read('IntrStatus')).toBe(INT_RX_OK | INT_RX_OVERFLOW);
    bus.wire.arrive(new Uint8Array(1140).fill(0xff));
    expect(read('RxBufAddr')).toBe(5 * 1408 + 1148);
  });

  it("tells the cable's going and coming by interrupt, PHY, MediaStatus and, once, CSCR", () => {
    const { chip, read, write, field } = setUp();
    const told = () => {
      const interrupt = (read('IntrStatus') & INT_LINK_CHANGE) !== 0;
      write('IntrStatus', 0xffff);
      const link = field('BasicModeStatus', 'Link');
      return { interrupt, link, linkFail: field('MediaStatus', 'LinkFail'), linkChange: field('CSCR', 'LinkChange') };
    };
    expect(told()).toEqual({ interrupt: false, link: 1, linkFail: 0, linkChange: 0 });
    chip.setLink(false);
    expect(told()).toEqual({ interrupt: true, link: 0, linkFail: 1, linkChange: 1 });
    expect(told()).toEqual({ interrupt: false, link: 0, linkFail: 1, linkChange: 0 });
    chip.setLink(true);
    expect(told()).toEqual({ interrupt: true, link: 1, linkFail: 0, linkChange: 1 });
    expect(told()).toEqual({ interrupt: false, link: 1, linkFail: 0, linkChange: 0 });
  });

  it('says again that frames lie unread, to a driver that waits for the interrupt and has none', () => {
    const { bus, chip, read, write } = setUp();
    write('ChipCmd', CMD_TX_ENABLE | CMD_RX_ENABLE);
    write('RxBuf', RAM + 0x4000);
    write('RxConfig', RX_MY_PHYS | RX_MULTICAST | RX_BROADCAST);
    write('IntrMask', INT_RX_OK);
    expect(chip.hasUnread()).toBe(false);
    for (let i = 0; i < 2; i++) bus.wire.arrive(new Uint8Array(60).fill(0xff));
    const status = (): number => {
      chip.remind();
      return read('IntrStatus');
    };
    write('IntrStatus', 0xffff);
    write('RxBufPtr', 68 - 16);
    expect(chip.hasUnread()).toBe(true);
    expect(read('IntrStatus')).toBe(0);
    expect(status()).toBe(1);
    expect(bus.irqLevel).toBe(true);
    write('IntrStatus', 0xffff);
    write('IntrMask', 0); // the driver reads by itself now
    expect(status()).toBe(0);
    write('IntrMask', INT_RX_OK);
    write('RxBufPtr', 2 * 68 - 16);
    expect(chip.hasUnread()).toBe(false);
    expect(status()).toBe(0);
  });

  it('loses and counts no frame that can wait, and says that room has run out', () => {
    const { chip, ram, descriptor, read, write, startCplus } = setUp();
    const frame = fromHex(`${toHex(MAC)}0200000000010800${'ab'.repeat(50)}`);
    const broadcast = new Uint8Array(1400).fill(0xff);
    const overflow = (): boolean => {
      const status = read('IntrStatus');
      write('IntrStatus', 0xffff);
      return (status & INT_RX_OVERFLOW) !== 0;
    };
    startCplus();
    descriptor(0x100, 0x600, 0, 0x2000);
    const before = chip.statistics();
    expect(chip.receive(frame, frame.length, true)).toBe('refused');
    expect(chip.statistics()).toEqual(before);
    expect(overflow()).toBe(true);
    descriptor(0x100, OWN | 0x600, 0, 0x2000);
    expect(chip.receive(frame, frame.length, true)).toBe('accepted');
    expect(overflow()).toBe(false);
    expect(ram.getUint32(0x1000, true)).toBe(RECEIVED + 68);
    // What the filter does not let in waits for nothing.
    expect(
      chip.receive(
        Uint8Array.from(frame, (byte, i) => (i === 0 ? 2 : byte)),
        frame.length,
        true,
      ),
    ).toBe('dropped');
    expect(chip.receive(frame, frame.length, false)).toBe('dropped');
    expect(read('RxMissed')).toBe(1);
    expect(overflow()).toBe(true);

    write('CpCmd', 0);
    write('RxBuf', RAM + 0x4000);
    for (let i = 0; i < 5; i++) chip.receive(broadcast, 1400, true);
    const full = chip.statistics();
    expect(overflow()).toBe(false);
    expect(chip.receive(broadcast, 1400, true)).toBe('refused');
    expect(chip.statistics()).toEqual(full);
    expect(overflow()).toBe(true);
    expect(chip.receive(broadcast, 1400, false)).toBe('dropped');
    expect(read('RxMissed')).toBe(2);
    expect(overflow()).toBe(true);
  });

  it('refuses the state of another device or version', () => {
    const { chip } = setUp();
    expect(() => chip.restore({ ...chip.save(), version: 99 })).toThrow(/'rtl8139' version 99: expected 'rtl8139' version 1/);
    expect(() => chip.restore({ ...chip.save(), device: 'e1000' })).toThrow(UserError);
  });
});
