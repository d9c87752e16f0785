import { describe, expect, it } from 'vitest';
import { UserError } from '../../../base/errors.ts';
import { toHex } from '../../conformance/transcript.ts';
import { COMMAND_ON } from '../../testing/pci-config.ts';
import { CMD, DCFG, DCFG_BYTES, IO, ISR, MAC, portOf, RSR, RXCR, setUp, TSR } from './testing/set-up.ts';

/** A frame to `to`, `length` bytes, counting. */
const frameTo = (to: Uint8Array, length: number): Uint8Array => {
  const frame = Uint8Array.from({ length }, (_, i) => (i * 3) & 0xff);
  frame.set(to.subarray(0, length));
  return frame;
};

describe('ne2k_pci', () => {
  it('is 10ec:8029 with one I/O BAR of 256 ports', () => {
    const { pci } = setUp();
    for (const [name, value] of [
      ['VendorID', 0x10ec],
      ['DeviceID', 0x8029],
      ['RevisionID', 0],
      ['ProgIF', 0],
      ['SubClass', 0],
      ['BaseClass', 2],
      ['SubsystemVendorID', 0x1af4],
      ['SubsystemID', 0x1100],
      ['InterruptPin', 1],
    ] as const)
      expect(pci.read(name), name).toBe(value);
    pci.write('BAR0', 0xffffffff);
    pci.write('BAR1', 0xffffffff);
    expect(pci.read('BAR0')).toBe(0xffffff01);
    expect(pci.read('BAR1')).toBe(0);
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
    const { start, write, read, remote, readData, writeData } = setUp();
    start();
    remote('write', 0x4000, 4);
    for (const byte of [1, 2, 3, 4]) writeData(1, byte);
    expect(read('EN0_ISR')).toBe(ISR.RDC);
    write('EN0_DCFG', DCFG_BYTES | DCFG.WTS);
    write('EN0_ISR', ISR.RDC);
    remote('read', 0x4000, 8);
    expect(readData(2)).toBe(0x0201);
    expect(read('EN0_CRDALO')).toBe(2);
    expect(read('EN0_ISR')).toBe(0);
    expect(readData(2)).toBe(0x0403);
    expect(readData(4)).toBe(0);
    expect(read('EN0_CRDALO')).toBe(8);
    expect(read('EN0_CRDAHI')).toBe(0x40);
    expect(read('EN0_ISR')).toBe(ISR.RDC);
  });

  it('sends what lies at the transmit page', () => {
    const { bus, chip, start, writeMemory, transmit, read } = setUp();
    start();
    const frame = frameTo(MAC, 61);
    writeMemory(0x4000, frame);
    transmit(0x40, 61);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frame)]);
    expect(read('EN0_TSR')).toBe(TSR.PTX);
    expect(read('EN0_ISR') & ISR.PTX).toBe(ISR.PTX);
    expect(read('E8390_CMD') & CMD.TXP).toBe(0);
    expect(bus.irqLevel).toBe(true);
    expect(chip.statistics()).toMatchObject({ tx_packets: 1, tx_bytes: 61 });
  });

  it('receives into its ring, header first, and round its end', () => {
    const { bus, start, read, write, readMemory } = setUp();
    start(0x46, 0x4e);
    for (const length of [60, 500, 700]) {
      bus.wire.arrive(frameTo(MAC, length));
      write('EN0_BOUNDARY', read('EN1_CURPAG') - 1);
    }
    expect(read('EN1_CURPAG')).toBe(0x4d);
    expect(read('EN0_ISR') & ISR.PRX).toBe(ISR.PRX);
    expect(read('EN0_RSR')).toBe(RSR.PRX);
    bus.wire.arrive(frameTo(new Uint8Array(6).fill(255), 600));
    expect(read('EN1_CURPAG')).toBe(0x48);
    expect(read('EN0_RSR')).toBe(RSR.PHY | RSR.PRX);
    // Status, next page, length.
    expect(toHex(readMemory(0x4d00, 8))).toBe('21485c02ffffffff');
    expect(toHex(readMemory(0x4600, 2))).toBe(toHex(frameTo(MAC, 600).subarray(252, 254)));
  });

  it('pads short frames, and filters by PROM address, broadcast, multicast hash and promiscuous mode', () => {
    const { bus, chip, start, write, readMemory } = setUp();
    start();
    const group = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
    const taken = (): number => chip.statistics()['rx_packets']!;
    bus.wire.arrive(frameTo(MAC, 20));
    expect(toHex(readMemory(0x4700, 4))).toBe('01484000');
    bus.wire.arrive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60));
    bus.wire.arrive(frameTo(group, 60));
    expect(taken()).toBe(1);
    write('EN0_RXCR', RXCR.AM);
    bus.wire.arrive(frameTo(group, 60));
    bus.wire.arrive(frameTo(new Uint8Array(6).fill(255), 60));
    expect(taken()).toBe(1);
    for (const i of [0, 1, 2, 3, 4, 5, 6, 7] as const) write(`EN1_MULT${i}`, 0xff);
    bus.wire.arrive(frameTo(group, 60));
    expect(taken()).toBe(2);
    write('EN0_RXCR', RXCR.PRO);
    bus.wire.arrive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60));
    expect(taken()).toBe(3);
    expect(chip.statistics()['rx_filtered']).toBe(4);
  });

  it('drops a frame without room, or keeps it on a wire that can wait', () => {
    const { bus, chip, start, write, read } = setUp();
    start(0x46, 0x4e);
    bus.wire.arrive(frameTo(MAC, 700));
    bus.wire.arrive(frameTo(MAC, 60));
    expect(chip.statistics()).toMatchObject({ rx_no_room: 1, rx_packets: 1 });
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('refused');
    expect(chip.receive(frameTo(Uint8Array.of(2, 0, 0, 0, 0, 1), 60), 60, true)).toBe('dropped');
    write('EN0_BOUNDARY', read('EN1_CURPAG') - 1);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('accepted');
    start(0x46, 0x4a);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('dropped');
  });

  it('on a wire that can wait, never fills the ring so that it looks empty', () => {
    const { chip, start, write, read } = setUp();
    start(0x46, 0x4e);
    const [free, longest] = [read('EN0_BOUNDARY') - read('EN1_CURPAG') + 8, 1514];
    expect(free).toBe(7);
    expect(chip.receive(frameTo(MAC, 60), 60, true)).toBe('accepted');
    // Six pages are free, and the frame takes six.
    expect(chip.receive(frameTo(MAC, longest), longest, true)).toBe('refused');
    expect(chip.receive(frameTo(MAC, 1200), 1200, true)).toBe('accepted');
    write('EN0_BOUNDARY', read('EN1_CURPAG') - 1);
    expect(chip.receive(frameTo(MAC, longest), longest, true)).toBe('accepted');
    expect(read('EN1_CURPAG')).not.toBe(read('EN0_BOUNDARY'));
  });

  it('tells of frames left unread, and raises the interrupt for them again', () => {
    const { bus, chip, start, write, read } = setUp();
    start();
    expect(chip.hasUnread()).toBe(false);
    bus.wire.arrive(frameTo(MAC, 60));
    write('EN0_ISR', 0xff);
    expect(chip.hasUnread()).toBe(true);
    expect(bus.irqLevel).toBe(false);
    chip.remind();
    expect(read('EN0_ISR')).toBe(ISR.PRX);
    expect(bus.irqLevel).toBe(true);
    write('EN0_BOUNDARY', read('EN1_CURPAG') - 1);
    write('EN0_ISR', 0xff);
    chip.remind();
    expect(chip.hasUnread()).toBe(false);
    expect(bus.irqLevel).toBe(false);
  });

  it('neither sends nor takes with the cable out', () => {
    const { bus, chip, start, transmit } = setUp();
    start();
    chip.setLink(false);
    transmit(0x40, 60);
    bus.wire.arrive(frameTo(MAC, 60));
    expect(bus.wire.sent.length).toBe(0);
    expect(chip.statistics()['rx_packets']).toBe(0);
    chip.setLink(true);
    transmit(0x40, 60);
    expect(bus.wire.sent.length).toBe(1);
  });

  it('resets by its port, and keeps all but the pin and the header over a bus reset', () => {
    const { bus, pci, start, read, write } = setUp();
    start();
    bus.wire.arrive(frameTo(MAC, 60));
    expect(bus.irqLevel).toBe(true);
    bus.chip.reset();
    expect(bus.irqLevel).toBe(false);
    expect(pci.read('Command')).toBe(0);
    expect(pci.read('BAR0')).toBe(1);
    pci.write('BAR0', IO);
    pci.write('Command', COMMAND_ON);
    expect(read('EN1_CURPAG')).toBe(0x48);
    expect(read('EN0_ISR')).toBe(ISR.PRX);
    expect(read('NE_RESET')).toBe(0);
    expect(read('EN0_ISR')).toBe(ISR.RST);
    write('E8390_CMD', CMD.ABORT | CMD.STA);
    expect(read('EN0_ISR')).toBe(0);
  });

  it('goes on from its saved state', () => {
    const { bus, start, writeMemory, read, write, readMemory, transmit } = setUp();
    start();
    writeMemory(0x4000, frameTo(MAC, 100));
    bus.wire.arrive(frameTo(MAC, 90));
    bus.replaceChip();
    expect(read('EN1_CURPAG')).toBe(0x48);
    expect(read('EN0_ISR') & ISR.PRX).toBe(ISR.PRX);
    expect(bus.irqLevel).toBe(true);
    expect(toHex(readMemory(0x4704, 90))).toBe(toHex(frameTo(MAC, 90)));
    transmit(0x40, 100);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frameTo(MAC, 100))]);
    write('EN0_ISR', 0xff);
    const state = structuredClone(bus.chip.save());
    expect(() => bus.chip.restore({ ...state, device: 'rtl8139' })).toThrow(UserError);
    bus.chip.restore(state);
    expect(bus.chip.save()).toEqual(state);
  });

  it("logs in the words of QEMU's trace events", () => {
    const lines: string[] = [];
    const { readAt, readData, write } = setUp({}, (line) => lines.push(line));
    write('E8390_CMD', CMD.ABORT | CMD.STP);
    readAt(portOf('EN0_ISR'), 1);
    readData(2);
    expect(lines).toEqual([
      'ne2000_write write addr=0x0 val=0x21',
      'ne2000_ioport_write io write addr=0x00 val=0x21',
      'ne2000_ioport_read io read addr=0x07 val=0x80',
      'ne2000_read read addr=0x7 val=0x80',
      'ne2000_read read addr=0x10 val=0x52',
    ]);
  });
});
