import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { parseLine } from '../../conformance/transcript.ts';
import type { NicAccess, NicFollower } from '../reading.ts';
import { nicReadings } from '../readings.ts';
import { ne2kReading as chip } from './reading.ts';
import { NE2K_DATA_PORT, NE2K_PAGED_PORTS, NE2K_RESET_PORT, type Ne2kRegister, type Ne2kWritten } from './registers.ts';
import { CMD, ISR, page, portOf, RSR } from './testing/set-up.ts';

const block = chip.blocks[0]!;
const access = (dir: 'read' | 'write', offset: number, data?: number, width: number | undefined = 1): NicAccess => ({
  block,
  dir,
  offset,
  width,
  data: data === undefined ? undefined : BigInt(data),
});
/** A register's own access, by the name that a read or a write has. */
const readOf = (name: Ne2kRegister, data?: number, width?: number): NicAccess => access('read', portOf(name), data, width);
const writeOf = (name: Ne2kRegister | Ne2kWritten, data: number): NicAccess => access('write', portOf(name), data);
const { STA, STP, TXP, ABORT, READ } = CMD;
const { PRX, PTX, RDC } = ISR;
const names = (follower: NicFollower, a: NicAccess): string[] => follower.take(a).registers.map((r) => r.name);

describe('reading of the RTL8029', () => {
  it('names ports by the page that Command selects, and by direction', () => {
    const card = chip.follow();
    expect(names(card, writeOf('EN0_STARTPG', 0x46))).toEqual(['EN0_STARTPG']);
    expect(names(card, readOf('EN0_CLDALO', 0))).toEqual(['EN0_CLDALO']);
    expect(names(card, writeOf('E8390_CMD', ABORT | STP | page(1)))).toEqual(['E8390_CMD']);
    expect(names(card, writeOf('EN1_PHYS0', 0x52))).toEqual(['EN1_PHYS0']);
    expect(names(card, readOf('EN1_CURPAG', 0x47))).toEqual(['EN1_CURPAG']);
    expect(names(card, readOf('EN1_MULT7'))).toEqual(['EN1_MULT7']);
    // A read of Command tells of the page, too.
    card.take(readOf('E8390_CMD', ABORT | STA | page(2)));
    expect(names(card, readOf('EN2_STOPPG', 0xc0))).toEqual(['EN2_STOPPG']);
    card.take(writeOf('E8390_CMD', ABORT | STA));
    expect(card.take(writeOf('EN0_IMR', PRX | PTX | ISR.RXE | ISR.TXE | ISR.OVW | ISR.CNT)).registers[0]).toMatchObject({
      name: 'EN0_IMR',
      fields: 'PRX PTX RXE TXE OVW CNT',
    });
    expect(names(card, access('read', NE2K_DATA_PORT, 0x1234, 2))).toEqual(['NE_DATAPORT']);
    expect(names(card, access('read', NE2K_RESET_PORT, 0))).toEqual(['NE_RESET']);
    expect(names(card, readOf('EN0_TSR', 1, 4))).toEqual([]);
  });

  it('knows the doorbell, and the length where both halves were written', () => {
    const card = chip.follow();
    expect(card.take(writeOf('E8390_CMD', ABORT | TXP | STA)).doorbell).toMatchObject({
      register: 'E8390_CMD',
      kind: 'chip memory',
      length: undefined,
    });
    card.take(writeOf('EN0_TCNTLO', 0x2a));
    card.take(writeOf('EN0_TCNTHI', 0x05));
    expect(card.take(writeOf('E8390_CMD', ABORT | TXP | STA)).doorbell).toMatchObject({ length: 0x52a });
    expect(card.take(writeOf('E8390_CMD', ABORT | TXP | STP)).doorbell).toBeUndefined();
    expect(card.take(writeOf('E8390_CMD', READ | STA)).doorbell).toBeUndefined();
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
          if (addr < NE2K_PAGED_PORTS && size === 1) expect(registers.length).toBeLessThanOrEqual(1);
        }
      }
    }
    expect(frames).toBe(20);
  });

  it('reads the cause of an interrupt from ISR of page 0 alone', () => {
    const card = chip.follow();
    expect(card.take(readOf('EN0_ISR', RDC | PTX | PRX)).cause).toEqual({
      register: 'EN0_ISR',
      transmitted: true,
      received: true,
    });
    expect(card.take(writeOf('EN0_ISR', PRX)).cause).toEqual({ register: 'EN0_ISR', transmitted: false, received: true });
    card.take(writeOf('E8390_CMD', ABORT | STA | page(1)));
    expect(card.take(readOf('EN1_CURPAG', 0x47)).cause).toBeUndefined();
    expect(chip.causeText(RDC | PTX | PRX)).toBe('EN0_ISR (PRX PTX RDC)');
    expect(chip.causeText(0)).toBe('EN0_ISR');
  });

  it('reads what stands before a frame in the ring', () => {
    // Length 64 with the header, next page 0x48, status PRX.
    expect(chip.descriptor('receive', [0x0040_0000 | (0x48 << 8) | RSR.PRX], undefined)).toMatchObject({
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
    expect(lines.registers('write addr=0x7 val=0xff')).toEqual([portOf('EN0_ISR')]);
    expect(lines.registers('asic write val=0x0201')).toEqual([NE2K_DATA_PORT]);
    expect(lines.registers('received len=60')).toEqual([]);
    expect(lines.raised('Set IRQ to 1 (41 3f)')).toEqual({ status: RDC | PRX, mask: 0x3f });
    expect(lines.raised('Set IRQ to 0 (00 3f)')).toBeUndefined();
    expect(lines.mode('x')).toBeUndefined();
    expect(lines.doorbell('x')).toBeUndefined();
    expect(lines.descriptors(['x'])).toEqual([]);
    expect(lines.fetch('x')).toBeUndefined();
    expect(chip.registerAt(block, portOf('EN0_ISR'), undefined)).toBe('EN0_ISR');
    expect(chip.registerAt(block, NE2K_DATA_PORT + 2, undefined)).toBe('NE_DATAPORT');
    expect(chip.registerAt(block, 0x80, undefined)).toBeUndefined();
  });
});
