import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { parseLine } from '../../conformance/transcript.ts';
import type { NicAccess, NicFollower } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { ne2kReading as chip } from './reading.ts';

const block = chip.blocks[0]!;
const access = (dir: 'read' | 'write', offset: number, data?: number, width: number | undefined = 1): NicAccess => ({
  block,
  dir,
  offset,
  width,
  data: data === undefined ? undefined : BigInt(data),
});
const names = (follower: NicFollower, a: NicAccess): string[] => follower.take(a).registers.map((r) => r.name);

describe('reading of the RTL8029', () => {
  it('names ports by the page that Command selects, and by direction', () => {
    const card = chip.follow();
    expect(names(card, access('write', 1, 0x46))).toEqual(['EN0_STARTPG']);
    expect(names(card, access('read', 1, 0))).toEqual(['EN0_CLDALO']);
    expect(names(card, access('write', 0, 0x61))).toEqual(['E8390_CMD']);
    expect([
      names(card, access('write', 1, 0x52)),
      names(card, access('read', 7, 0x47)),
      names(card, access('read', 0xf)),
    ]).toEqual([['EN1_PHYS0'], ['EN1_CURPAG'], ['EN1_MULT7']]);
    // A read of Command tells of the page, too.
    card.take(access('read', 0, 0xa2));
    expect(names(card, access('read', 2, 0xc0))).toEqual(['EN2_STOPPG']);
    card.take(access('write', 0, 0x22));
    expect(card.take(access('write', 0xf, 0x3f)).registers[0]).toMatchObject({
      name: 'EN0_IMR',
      fields: 'PRX PTX RXE TXE OVW CNT',
    });
    expect([
      names(card, access('read', 0x10, 0x1234, 2)),
      names(card, access('read', 0x1f, 0)),
      names(card, access('read', 4, 1, 4)),
    ]).toEqual([['NE_DATAPORT'], ['NE_RESET'], []]);
  });

  it('knows the doorbell, and the length where both halves were written', () => {
    const card = chip.follow();
    expect(card.take(access('write', 0, 0x26)).doorbell).toMatchObject({
      register: 'E8390_CMD',
      kind: 'chip memory',
      length: undefined,
    });
    card.take(access('write', 5, 0x2a));
    card.take(access('write', 6, 0x05));
    expect(card.take(access('write', 0, 0x26)).doorbell).toMatchObject({ length: 0x52a });
    expect(card.take(access('write', 0, 0x25)).doorbell).toBeUndefined();
    expect(card.take(access('write', 0, 0x0a)).doorbell).toBeUndefined();
    expect(card.place('transmit ring')).toBeUndefined();
  });

  it('tells the frames of the transcripts by their doorbells', () => {
    const folder = new URL('../../../../test/transcripts/', import.meta.url);
    let frames = 0;
    for (const name of readdirSync(folder).filter((file) => file.startsWith('ne2k_pci-'))) {
      let card = chip.follow();
      let rung: number[] = [];
      for (const [i, text] of gunzipSync(readFileSync(new URL(name, folder)))
        .toString()
        .split('\n')
        .entries()) {
        if (text === '') continue;
        const line = parseLine(text, `${name}:${i}`);
        if ('header' in line) {
          card = chip.follow();
          rung = [];
        } else if ('effect' in line) {
          if (line.effect.kind === 'tx') {
            expect(rung.shift()).toBe(line.effect.bytes.length);
            frames++;
          }
        } else if (line.input.kind === 'read' || line.input.kind === 'write') {
          const { kind, addr, size, value } = line.input;
          rung = [];
          const { doorbell, registers } = card.take(access(kind, addr, value, size));
          if (doorbell) rung.push(doorbell.length!);
          if (addr < 0x10 && size === 1) expect(registers.length).toBeLessThanOrEqual(1);
        }
      }
    }
    expect(frames).toBe(20);
  });

  it('reads the cause of an interrupt from ISR of page 0 alone', () => {
    const card = chip.follow();
    expect(card.take(access('read', 7, 0x43)).cause).toEqual({ register: 'EN0_ISR', transmitted: true, received: true });
    expect(card.take(access('write', 7, 0x01)).cause).toEqual({ register: 'EN0_ISR', transmitted: false, received: true });
    card.take(access('write', 0, 0x62));
    expect(card.take(access('read', 7, 0x47)).cause).toBeUndefined();
    expect([chip.causeText(0x43), chip.causeText(0)]).toEqual(['EN0_ISR (PRX PTX RDC)', 'EN0_ISR']);
  });

  it('reads what stands before a frame in the ring', () => {
    expect(chip.descriptor('receive', [0x00404801], undefined)).toMatchObject({
      length: 60,
      last: true,
      text: 'PRX, next page 0x48, 60 bytes',
    });
    expect(chip.descriptor('receive', [], undefined).length).toBe(0);
    expect(chip.descriptor('transmit', [1, 2, 3], undefined)).toMatchObject({ buffer: undefined, length: undefined });
  });

  it('stands in the list, and reads debug lines of older QEMUs', () => {
    expect(nicReadings).toContain(chip);
    const lines = chip.lines!;
    expect([
      lines.registers('write addr=0x7 val=0xff'),
      lines.registers('asic write val=0x0201'),
      lines.registers('received len=60'),
    ]).toEqual([[7], [16], []]);
    expect([lines.raised('Set IRQ to 1 (41 3f)'), lines.raised('Set IRQ to 0 (00 3f)')]).toEqual([
      { status: 0x41, mask: 0x3f },
      undefined,
    ]);
    expect([lines.mode('x'), lines.doorbell('x'), lines.descriptors(['x']), lines.fetch('x')]).toEqual([
      undefined,
      undefined,
      [],
      undefined,
    ]);
    expect([
      chip.registerAt(block, 7, undefined),
      chip.registerAt(block, 0x12, undefined),
      chip.registerAt(block, 0x80, undefined),
    ]).toEqual(['EN0_ISR', 'NE_DATAPORT', undefined]);
  });
});
