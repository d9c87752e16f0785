import { describe, expect, it } from 'vitest';
import type { NicAccess } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { CP_TX_SIZE_MASK } from './transmit.ts';
import { rtl8139Reading as chip } from './reading.ts';

const mmio = chip.blocks[1]!;
const write = (offset: number, width: number, data: number): NicAccess => ({
  block: mmio,
  dir: 'write',
  offset,
  width,
  data: BigInt(data),
});

describe('reading of the RTL8139', () => {
  it('reads the length of a transmit descriptor as the chip does: 16 bits', () => {
    for (const length of [60, 0x1fff, 0x2000, 0x2001, 0xffff]) {
      const read = chip.descriptor('transmit', [0xf0000000 + length, 0, 0x1000, 0], 'C+');
      expect(read.length).toBe(length & CP_TX_SIZE_MASK);
      expect(read.text).toBe(`OWN, end of ring, first, last, ${length} bytes`);
    }
  });

  it('knows the doorbells of each mode and the places that they stand for', () => {
    const cplus = chip.follow();
    expect(cplus.take(write(0x20, 4, 0xd4e6c400)).place).toMatchObject({ key: 'transmit buffer 0', base: 0xd4e6c400 });
    expect(cplus.take(write(0xe0, 2, 3)).mode).toMatchObject({ mode: 'C+', strength: 'proven' });
    expect(cplus.take(write(0x24, 4, 1)).place).toMatchObject({
      key: 'transmit ring',
      register: 'TxRingAddr',
      base: 0x1d4e6c400,
    });
    expect(cplus.take(write(0xd9, 1, 0x80)).doorbell).toBeUndefined();
    expect(cplus.take(write(0xd9, 1, 0x40)).doorbell).toMatchObject({
      register: 'TxPoll',
      kind: 'ring',
      place: { base: 0x1d4e6c400 },
    });
    const c = chip.follow();
    c.take(write(0x28, 4, 0x5000));
    expect(c.take(write(0x18, 4, 0x3c)).doorbell).toMatchObject({
      register: 'TxStatus2',
      kind: 'buffer',
      index: 2,
      length: 60,
      place: { base: 0x5000 },
    });
    expect(c.take(write(0x18, 4, 0x203c)).doorbell).toBeUndefined();
  });

  it('stands in the list, with a block for each BAR', () => {
    expect(nicReadings).toContain(chip);
    expect(chip.blocks.map((b) => [b.bar, b.space, b.size])).toEqual([
      [0x10, 'pio', 256],
      [0x14, 'mmio', 256],
    ]);
  });

  it('reads the cause of an interrupt from IntrStatus alone', () => {
    const cause = (offset: number, data: bigint) =>
      chip.follow().take({ block: mmio, dir: 'read', offset, width: 2, data }).cause;
    expect(cause(0x3e, 0x5n)).toEqual({ register: 'IntrStatus', transmitted: true, received: true });
    expect(cause(0x3e, 0x80n)).toEqual({ register: 'IntrStatus', transmitted: true, received: false });
    expect(cause(0x3c, 0x5n)).toBeUndefined();
    expect(chip.causeText(0x5)).toBe('IntrStatus (RxOK TxOK)');
  });
});
