import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { TestBus } from '../../conformance/test-bus.ts';
import { parseLine } from '../../conformance/transcript.ts';
import type { NicAccess, NicFollower } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { Pcnet } from './core.ts';
import type { PcnetSaved } from './state.ts';
import { pcnetReading as chip } from './reading.ts';

const block = chip.blocks[1]!;
const access = (dir: 'read' | 'write', offset: number, data?: number, width?: number): NicAccess => ({
  block,
  dir,
  offset,
  width,
  data: data === undefined ? undefined : BigInt(data),
});
const names = (follower: NicFollower, a: NicAccess): string[] => follower.take(a).registers.map((r) => r.name);

describe('reading of the Am79C970A', () => {
  it('names the register behind RAP, in both styles', () => {
    const card = chip.follow();
    expect(names(card, access('read', 0x10, 0, 2))).toEqual(['RDP']);
    expect(names(card, access('write', 0x12, 3, 2))).toEqual(['RAP']);
    expect(card.take(access('write', 0x10, 0x0300, 2)).registers).toMatchObject([{ name: 'CSR3', fields: 'IDONM TINTM' }]);
    card.take(access('write', 0x12, 20, 2));
    expect(card.take(access('write', 0x16, 2, 2))).toMatchObject({
      registers: [{ name: 'BCR20', fields: 'SWSTYLE=PCnet-PCI' }],
      mode: { mode: 'PCnet-PCI', strength: 'proven' },
    });
    expect(names(card, access('write', 0x10, 0, 4))).toEqual(['CSR20']);
    expect(names(card, access('write', 0x14, 88, 4))).toEqual(['RAP']);
    expect([names(card, access('read', 0x10, 0x2621003, 4)), names(card, access('read', 0x1c, 0, 4))]).toEqual([
      ['CSR88'],
      ['BDP32'],
    ]);
    expect(names(card, access('read', 0x18, 0, 4))).toEqual(['RESET32']);
    expect([names(card, access('read', 0x10, 4, 2)), names(card, access('read', 4, 0x34, 1))]).toEqual([['CSR0'], ['APROM4']]);
  });

  it('finds the style by the offsets where no file tells the width', () => {
    const wide = chip.follow();
    expect([
      names(wide, access('write', 0x14, 4)),
      names(wide, access('read', 0x10, 0)),
      names(wide, access('read', 0x1c, 0)),
    ]).toEqual([['RAP'], ['CSR4'], ['BCR4']]);
    const narrow = chip.follow();
    expect([
      names(narrow, access('write', 0x12, 4)),
      names(narrow, access('read', 0x10)),
      names(narrow, access('read', 0x14, 0)),
      names(narrow, access('read', 0x10)),
    ]).toEqual([['RAP'], ['CSR4'], ['RESET'], ['CSR0']]);
  });

  it('knows the doorbell, the cause, and where the initialization block lies', () => {
    const card = chip.follow();
    const put = (n: number, data: number) => (card.take(access('write', 0x12, n, 2)), card.take(access('write', 0x10, data, 2)));
    expect(put(1, 0x1000).place).toMatchObject({ base: 0x1000 });
    expect(put(2, 0x0100).place).toMatchObject({ key: 'initialization block', register: 'CSR1', base: 0x0100_1000, count: 28 });
    expect(put(0, 0x0042).doorbell).toBeUndefined();
    expect(put(0, 0x0048).doorbell).toMatchObject({ register: 'CSR0', kind: 'ring', place: undefined });
    expect(card.take(access('read', 0x10, 0x06f3, 2)).cause).toEqual({ register: 'CSR0', transmitted: true, received: true });
    expect(put(0, 0x0240)).toMatchObject({ cause: { transmitted: true, received: false } });
    expect(put(4, 0x0600).cause).toBeUndefined();
    expect([chip.causeText(0x86f3), chip.causeText(0x33)]).toEqual(['CSR0 (TINT RINT ERR)', 'CSR0']);
    expect(card.place('transmit ring')).toBeUndefined();
  });

  it("follows the transcripts: number, style and software style are the chip's at every access", () => {
    const folder = new URL('../../../../test/transcripts/', import.meta.url);
    let accesses = 0;
    for (const name of readdirSync(folder).filter((file) => file.startsWith('pcnet-'))) {
      let card = chip.follow();
      let bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: new Uint8Array(6) }));
      for (const [i, text] of gunzipSync(readFileSync(new URL(name, folder)))
        .toString()
        .split('\n')
        .entries()) {
        if (text === '') continue;
        const line = parseLine(text, `${name}:${i}`);
        if ('header' in line) {
          card = chip.follow();
          bus = new TestBus((slot, wire) => new Pcnet(slot, wire, { mac: line.header.mac }));
        } else if ('input' in line && (line.input.kind === 'read' || line.input.kind === 'write')) {
          const { kind, addr, size, value } = line.input;
          card.take(access(kind, addr, value, size));
          if (kind === 'read') bus.chip.readBar(1, addr, size);
          else bus.chip.writeBar(1, addr, size, value);
          const state = bus.chip.save();
          const seen = card as unknown as { rap: number | undefined; dwio: boolean };
          accesses++;
          if (seen.rap !== undefined) expect(seen.rap, `${name}:${i + 1}`).toBe((state as PcnetSaved).rap);
        }
      }
    }
    expect(accesses).toBeGreaterThan(3000);
  });

  it('reads descriptors in each layout', () => {
    const read = (direction: 'transmit' | 'receive', words: number[], mode: string) => chip.descriptor(direction, words, mode);
    expect(read('transmit', [0x0100_6000, 0x8300ffc4, 0, 0], 'PCnet-PCI')).toEqual({
      buffer: 0x0100_6000,
      length: 60,
      last: true,
      text: 'ENP STP OWN, 60 bytes',
      bufferWord: 'first',
    });
    expect(read('transmit', [0xc0000000, 0x4200ffc4, 0x6000, 0], 'PCnet-PCI II')).toEqual({
      buffer: 0x6000,
      length: 60,
      last: false,
      text: 'STP ERR, 60 bytes, UFLO BUFF',
      bufferWord: 'third',
    });
    expect(read('receive', [0x0300_8000, 0x00ccf9f8], 'LANCE')).toEqual({
      buffer: 0x8000,
      length: 1544,
      last: true,
      text: 'ENP STP, 1544 bytes, message of 204 bytes',
      bufferWord: 'first',
    });
    expect(read('receive', [0x8000, 0x8000f000, 0, 0], 'PCnet-PCI').length).toBe(4096);
    expect(read('receive', [], 'PCnet-PCI')).toMatchObject({ length: 4096, last: false });
  });

  it('stands in the list, with a block for each BAR', () => {
    expect(nicReadings).toContain(chip);
    expect(chip.blocks.map((b) => [b.bar, b.space, b.size])).toEqual([
      [0x10, 'pio', 32],
      [0x14, 'mmio', 32],
    ]);
    expect(chip.modes).toEqual(['LANCE', 'ILACC', 'PCnet-PCI', 'PCnet-PCI II']);
    expect([
      chip.registerAt(block, 0x12, undefined),
      chip.registerAt(block, 0x1e, undefined),
      chip.registerAt(block, 3, undefined),
    ]).toEqual(['RAP', 'BDP32', 'APROM3']);
  });
});
