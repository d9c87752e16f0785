import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { MAC, setUp } from './testing/set-up.ts';

/** A frame to `to`, `length` bytes, counting. */
const frameTo = (to: Uint8Array, length: number): Uint8Array => {
  const frame = Uint8Array.from({ length }, (_, i) => (i * 3) & 0xff);
  frame.set(to.subarray(0, length));
  return frame;
};

describe('ne2k_pci', () => {
  it('is 10ec:8029 with one I/O BAR of 256 ports', () => {
    const { chip } = setUp();
    expect([chip.readConfig(0, 4), chip.readConfig(8, 4), chip.readConfig(0x2c, 4), chip.readConfig(0x3d, 1)]).toEqual([
      0x802910ec, 0x02000000, 0x11001af4, 1,
    ]);
    chip.writeConfig(0x10, 4, 0xffffffff);
    chip.writeConfig(0x14, 4, 0xffffffff);
    expect([chip.readConfig(0x10, 4), chip.readConfig(0x14, 4)]).toEqual([0xffffff01, 0]);
  });

  it('wants six bytes of MAC', () => {
    expect(() => setUp({ mac: new Uint8Array(7) })).toThrow(UserError);
  });

  it('has its address in the PROM, each byte twice, and says that it is a 16-bit card', () => {
    const { start, readMemory } = setUp();
    start();
    expect(toHex(readMemory(0, 32))).toMatch(/^525254540000121234345656.{32}57575757$/);
  });

  it('moves bytes, words and double words through the data port, and tells when it is done', () => {
    const { start, put, get, remote, read, write } = setUp();
    start();
    remote(2, 0x4000, 4);
    for (const byte of [1, 2, 3, 4]) write(0x10, 1, byte);
    expect(get('EN0_ISR')).toBe(0x40);
    put('EN0_DCFG', 0x49);
    put('EN0_ISR', 0x40);
    remote(1, 0x4000, 8);
    expect([read(0x10, 2), get('EN0_CRDALO'), get('EN0_ISR')]).toEqual([0x0201, 2, 0]);
    expect([read(0x10, 2), read(0x10, 4), get('EN0_CRDALO'), get('EN0_CRDAHI'), get('EN0_ISR')]).toEqual([
      0x0403, 0, 8, 0x40, 0x40,
    ]);
  });

  it('sends what lies at the transmit page', () => {
    const { bus, chip, start, writeMemory, transmit, get } = setUp();
    start();
    const frame = frameTo(MAC, 61);
    writeMemory(0x4000, frame);
    transmit(0x40, 61);
    expect([bus.wire.sent.map(toHex), get('EN0_TSR'), get('EN0_ISR') & 2, get('E8390_CMD') & 4, bus.irqLevel]).toEqual([
      [toHex(frame)],
      1,
      2,
      0,
      true,
    ]);
    expect(chip.statistics()).toMatchObject({ tx_packets: 1, tx_bytes: 61 });
  });

  it('receives into its ring, header first, and round its end', () => {
    const { bus, start, get, put, readMemory } = setUp();
    start(0x46, 0x4e);
    for (const length of [60, 500, 700]) {
      bus.wire.arrive(frameTo(MAC, length));
      put('EN0_BOUNDARY', get('EN1_CURPAG') - 1);
    }
    expect([get('EN1_CURPAG'), get('EN0_ISR') & 1, get('EN0_RSR')]).toEqual([0x4d, 1, 1]);
    bus.wire.arrive(frameTo(new Uint8Array(6).fill(255), 600));
    expect([get('EN1_CURPAG'), get('EN0_RSR')]).toEqual([0x48, 0x21]);
    expect(toHex(readMemory(0x4d00, 8))).toBe('21485c02ffffffff');
    expect(toHex(readMemory(0x4600, 2))).toBe(toHex(frameTo(MAC, 600).subarray(252, 254)));
  });

  it('pads short frames, and filters by PROM address, broadcast, multicast hash and promiscuous mode', () => {
    const { bus, chip, start, put, readMemory } = setUp();
    start();
    const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
    const taken = (): number => chip.statistics()['rx_packets']!;
    bus.wire.arrive(frameTo(MAC, 20));
    expect(toHex(readMemory(0x4700, 4))).toBe('01484000');
    bus.wire.arrive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60));
    bus.wire.arrive(frameTo(group, 60));
    expect(taken()).toBe(1);
    put('EN0_RXCR', 0x08);
    bus.wire.arrive(frameTo(group, 60));
    bus.wire.arrive(frameTo(new Uint8Array(6).fill(255), 60));
    expect(taken()).toBe(1);
    for (let i = 0; i < 8; i++) put(`EN1_MULT${i as 0}`, 0xff);
    bus.wire.arrive(frameTo(group, 60));
    expect(taken()).toBe(2);
    put('EN0_RXCR', 0x10);
    bus.wire.arrive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60));
    expect([taken(), chip.statistics()['rx_filtered']]).toEqual([3, 4]);
  });

  it('drops a frame without room, or keeps it on a wire that can wait', () => {
    const { bus, chip, start, put, get } = setUp();
    start(0x46, 0x4e);
    bus.wire.arrive(frameTo(MAC, 700));
    bus.wire.arrive(frameTo(MAC, 60));
    expect([chip.statistics()['rx_no_room'], chip.statistics()['rx_packets']]).toEqual([1, 1]);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('refused');
    expect(chip.receive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60), 60, true)).toBe('dropped');
    put('EN0_BOUNDARY', get('EN1_CURPAG') - 1);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('accepted');
    start(0x46, 0x4a);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('dropped');
  });

  it('tells of frames left unread, and raises the interrupt for them again', () => {
    const { bus, chip, start, put, get } = setUp();
    start();
    expect(chip.hasUnread()).toBe(false);
    bus.wire.arrive(frameTo(MAC, 60));
    put('EN0_ISR', 0xff);
    expect([chip.hasUnread(), bus.irqLevel]).toEqual([true, false]);
    chip.remind();
    expect([get('EN0_ISR'), bus.irqLevel]).toEqual([1, true]);
    put('EN0_BOUNDARY', get('EN1_CURPAG') - 1);
    put('EN0_ISR', 0xff);
    chip.remind();
    expect([chip.hasUnread(), bus.irqLevel]).toEqual([false, false]);
  });

  it('neither sends nor takes with the cable out', () => {
    const { bus, chip, start, transmit } = setUp();
    start();
    chip.setLink(false);
    transmit(0x40, 60);
    bus.wire.arrive(frameTo(MAC, 60));
    expect([bus.wire.sent.length, chip.statistics()['rx_packets']]).toEqual([0, 0]);
    chip.setLink(true);
    transmit(0x40, 60);
    expect(bus.wire.sent.length).toBe(1);
  });

  it('resets by its port, and keeps all but the pin and the header over a bus reset', () => {
    const { bus, chip, start, get, put, read } = setUp();
    start();
    bus.wire.arrive(frameTo(MAC, 60));
    expect(bus.irqLevel).toBe(true);
    bus.chip.reset();
    expect([bus.irqLevel, chip.config.command, chip.readConfig(0x10, 4)]).toEqual([false, 0, 1]);
    chip.writeConfig(0x10, 4, 0xc000);
    chip.writeConfig(4, 2, 7);
    expect([get('EN1_CURPAG'), get('EN0_ISR')]).toEqual([0x48, 1]);
    expect([read(0x1f, 1), get('EN0_ISR')]).toEqual([0, 0x80]);
    put('E8390_CMD', 0x22);
    expect(get('EN0_ISR')).toBe(0);
  });

  it('goes on from its saved state', () => {
    const { bus, start, writeMemory, get, put, readMemory, transmit } = setUp();
    start();
    writeMemory(0x4000, frameTo(MAC, 100));
    bus.wire.arrive(frameTo(MAC, 90));
    bus.replaceChip();
    expect([get('EN1_CURPAG'), get('EN0_ISR') & 1, bus.irqLevel]).toEqual([0x48, 1, true]);
    expect(toHex(readMemory(0x4704, 90))).toBe(toHex(frameTo(MAC, 90)));
    transmit(0x40, 100);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameTo(MAC, 100))]);
    put('EN0_ISR', 0xff);
    const state = structuredClone(bus.chip.save());
    expect(() => bus.chip.restore({ ...state, device: 'rtl8139' })).toThrow(UserError);
    bus.chip.restore(state);
    expect(bus.chip.save()).toEqual(state);
  });

  it("logs in the words of QEMU's trace events", () => {
    const lines: string[] = [];
    const { read, write } = setUp({}, (line) => lines.push(line));
    write(0x00, 1, 0x21);
    read(0x07, 1);
    read(0x10, 2);
    expect(lines).toEqual([
      'ne2000_write write addr=0x0 val=0x21',
      'ne2000_ioport_write io write addr=0x00 val=0x21',
      'ne2000_ioport_read io read addr=0x07 val=0x80',
      'ne2000_read read addr=0x7 val=0x80',
      'ne2000_read read addr=0x10 val=0x52',
    ]);
  });
});
