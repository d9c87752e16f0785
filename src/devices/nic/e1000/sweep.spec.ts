/** Every register, every width, every offset and straddle, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { phyRegisters } from './phy.ts';
import { byName, fromField } from '../../../base/testing/by-name.ts';
import { E1000_BLOCK_SIZE, e1000IoRegisters, e1000Registers, type E1000Register } from './registers.ts';
import { BAR, EECD, IO, MAC, MDIC, mdic, RAH, setUp } from './testing/set-up.ts';

const widths = [1, 2, 4] as const;
const table: readonly RegisterDef<E1000Register>[] = e1000Registers;

/** Each register, those of arrays one by one. */
const all = table.flatMap((def) =>
  Array.from({ length: def.count ?? 1 }, (_, i) => ({
    def,
    i,
    offset: def.offset + i * (def.stride ?? 4),
    name: `${def.name}[${i}]`,
  })),
);
const byOffset = new Map(all.map((r) => [r.offset, r]));

/** Registers whose write does more than store, or whose read is computed or does something. */
const special = new Set<E1000Register>([
  'CTRL',
  'EECD',
  'EERD',
  'MDIC',
  'ICR',
  'ICS',
  'IMS',
  'IMC',
  'RCTL',
  'TCTL',
  'TDT',
  'RDT',
]);
const readsChange = new Set<E1000Register>(['ICR']);

/** Ends of long arrays, and every other register. */
const sampled = all.filter((r) => (r.def.count ?? 1) <= 32 || r.i < 3 || r.i >= r.def.count! - 3);
/** Offsets around them, for straddles. */
const around = [...new Set(sampled.flatMap((r) => [-3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7].map((d) => r.offset + d)))].filter(
  (o) => o >= 0 && o < E1000_BLOCK_SIZE,
);

/** What a read gives, put together from what each register reads as a whole. */
function expected(values: ReadonlyMap<number, number>, offset: number, size: number): number {
  if (offset % size === 0) return ((values.get(offset & ~3) ?? 0) & widthMask(size)) >>> 0;
  let value = 0;
  for (let at = offset; at < offset + size; ) {
    const step = at % 2 === 0 && at + 2 <= offset + size ? 2 : 1;
    value |= expected(values, at, step) << (8 * (at - offset));
    at += step;
  }
  return value >>> 0;
}

type IoRegister = (typeof e1000IoRegisters)[number]['name'];

/** MDIC's upper four bits, and what they are where there is no such PHY or register. */
const OUTCOME = 0xf0000000;
const FAILED = MDIC.READY | MDIC.ERROR;

describe('e1000 register sweep', () => {
  it('the table: 32-bit registers in order, none over another, all inside the block', () => {
    const places = all.map((r) => r.offset).sort((a, b) => a - b);
    expect(new Set(places).size).toBe(places.length);
    expect(places.every((o) => o % 4 === 0 && o < E1000_BLOCK_SIZE)).toBe(true);
    expect(table.every((r) => r.width === 4)).toBe(true);
    expect(table.map((r) => r.offset)).toEqual([...table.map((r) => r.offset)].sort((a, b) => a - b));
    expect(new Set(table.map((r) => r.name)).size).toBe(table.length);
  });

  it('power-on values are those of the table; the first station address is that of the card', () => {
    const { readAt } = setUp();
    for (const { def, offset, name } of all) {
      if (name === 'EECD[0]') expect(readAt(offset, 4)).toBe(EECD.PRES | EECD.GNT | EECD.DO);
      else if (name === 'RAL[0]') expect(readAt(offset, 4)).toBe(0x12005452);
      else if (name === 'RAH[0]') expect(readAt(offset, 4)).toBe(RAH.AV + 0x5634);
      else expect(readAt(offset, 4), name).toBe(def.reset ?? 0);
    }
    expect(MAC.length).toBe(6);
  });

  it('reads: every width at every place, in and between registers, gives what its registers give', () => {
    const { readAt, writeAt } = setUp();
    for (const { def, offset } of sampled) if (!special.has(def.name)) writeAt(offset, 4, (offset * 0x9e3779b1) >>> 0);
    const values = new Map(sampled.map((r) => [r.offset, readAt(r.offset, 4)]));
    let nonZero = 0;
    for (const size of widths) {
      for (const offset of around) {
        // A register that none of the samples is.
        if (
          [offset, offset + size - 1].some((o) => byOffset.has(o & ~3) && !values.has(o & ~3)) ||
          offset + size > E1000_BLOCK_SIZE
        )
          continue;
        const value = readAt(offset, size);
        expect(value, `${size} at 0x${offset.toString(16)}`).toBe(expected(values, offset, size));
        nonZero += Number(value !== 0);
      }
    }
    expect(nonZero).toBeGreaterThan(1000);
  });

  it('writes of 32 bits change the writable bits of one register, and no other', () => {
    const { readAt, writeAt } = setUp();
    for (const value of [0xffffffff, 0, 0x5aa5c33c]) {
      for (const r of sampled) {
        if (special.has(r.def.name)) continue;
        const before = sampled.map((other) => (readsChange.has(other.def.name) ? 0 : readAt(other.offset, 4)));
        writeAt(r.offset, 4, value);
        const mask = r.def.access === 'rw' ? (r.def.writable ?? 0xffffffff) : 0;
        sampled.forEach((other, i) => {
          if (readsChange.has(other.def.name)) return;
          const want = other === r ? (before[i]! & ~mask) | (value & mask) : before[i]!;
          expect(readAt(other.offset, 4), `${other.name} after ${r.name}`).toBe(want >>> 0);
        });
      }
    }
  });

  it('a narrow write writes its whole register; an unaligned one falls apart', () => {
    const { offset, readAt, writeAt, read, write } = setUp();
    const vet = offset('VET');
    for (const at of [0, 1, 2, 3]) {
      write('VET', 0xffffffff);
      writeAt(vet + at, 1, 0x5a);
      expect(read('VET'), `byte ${at}`).toBe(0x5a);
      expect(readAt(vet + at, 1)).toBe(0x5a);
    }
    write('VET', 0xffffffff);
    writeAt(vet + 2, 2, 0x1234);
    expect(read('VET')).toBe(0x1234);
    expect(readAt(vet, 2)).toBe(0x1234);
    expect(readAt(vet + 2, 2)).toBe(0x1234);
    // Byte 0x44 to RDBAL, word 0x2233 to RDBAL, byte 0x11 to RDBAH.
    writeAt(offset('RDBAL') + 1, 4, 0x11223344);
    expect(read('RDBAL')).toBe(0x2233);
    expect(read('RDBAH')).toBe(0x11);
  });

  it('counters that a read clears', () => {
    const clearing = table.filter((r) => r.access === 'rc').map((r) => r.name);
    expect(clearing).toHaveLength(27);
    for (const name of clearing) {
      const { chip, readAt } = setUp();
      const state = chip.save();
      const index = table.find((r) => r.name === name)!.offset >> 2;
      state.registers[index - 1] = 7;
      state.registers[index] = 0xfedcba98;
      chip.restore(state);
      expect(readAt(4 * index, 4), name).toBe(0xfedcba98);
      expect(readAt(4 * index, 4), `${name} again`).toBe(0);
      const low = readAt(4 * index - 4, 4);
      expect(low, name).toBe(/^(GORC|GOTC|TOR|TOT)H$/.test(name) ? 0 : byOffset.has(4 * index - 4) ? 7 : 0);
    }
  });

  it('the I/O BAR reaches every register by IOADDR and IODATA, 32 bits at a time', () => {
    const { bus, offset: offsetOf, readAt, read } = setUp();
    const io = byName<IoRegister>(e1000IoRegisters, {
      read: (port, size) => bus.read('io', IO + port, size),
      write: (port, size, value) => bus.write('io', IO + port, size, value),
    });
    for (const { def, offset, name } of sampled) {
      if (special.has(def.name)) continue;
      io.write('IOADDR', offset);
      io.write('IODATA', 0x89abcdef);
      expect(io.read('IOADDR'), name).toBe(offset);
      expect(io.read('IODATA'), name).toBe(readAt(offset, 4));
    }
    const data = IO + io.offset('IODATA');
    io.write('IOADDR', offsetOf('VET'));
    bus.write('io', data, 2, 0x77);
    bus.write('io', data, 1, 0x77);
    bus.write('io', data + 4, 4, 0x77);
    expect(read('VET')).toBe(0x89abcdef);
    expect(bus.read('io', data, 2)).toBe(0);
    expect(bus.read('io', data + 4, 4)).toBe(0);
    for (const beyond of [E1000_BLOCK_SIZE, 0x8_0000, 0xffffffff]) {
      io.write('IOADDR', beyond);
      io.write('IODATA', 1);
      expect(io.read('IODATA'), `${beyond}`).toBe(0);
    }
  });

  it('PHY registers through MDIC: reset values, writable bits, errors', () => {
    const { read, write } = setUp();
    const access = (register: number, op: 'read' | 'write', data: number, phy = 1): number => {
      write('MDIC', mdic(op, register, data, phy));
      return read('MDIC');
    };
    /** What MDIC says about an access, in its upper four bits. */
    const outcome = (value: number): number => value & OUTCOME;
    for (let n = 0; n < 32; n++) {
      const def = phyRegisters.find((r) => r.offset === n);
      if (def === undefined) {
        expect(outcome(access(n, 'read', 0)), `${n}`).toBe(FAILED);
        expect(outcome(access(n, 'write', 5)), `${n}`).toBe(FAILED);
        continue;
      }
      expect(access(n, 'read', 0xffff), def.name).toBe(mdic('read', n, def.reset!) | MDIC.READY);
      const answer = outcome(access(n, 'write', 0xfdff));
      expect(answer, def.name).toBe(def.access === 'rw' ? MDIC.READY : FAILED);
      const value = fromField(MDIC.DATA, access(n, 'read', 0));
      expect(value, def.name).toBe(def.access === 'rw' ? 0xfdff & (def.writable ?? 0xffff) : def.reset);
    }
    for (const phy of [0, 2, 31]) expect(outcome(access(2, 'read', 0, phy)), `PHY ${phy}`).toBe(FAILED);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    const { bus, chip, startReceiver, startTransmitter } = setUp();
    startTransmitter();
    startReceiver();
    for (const size of widths) {
      for (const offset of around) {
        for (const value of [0, 1, 0x80, 0xffffffff]) {
          bus.write('mem', BAR + offset, size, (value & widthMask(size)) >>> 0);
          const got = bus.read('mem', BAR + offset, size);
          expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
        }
      }
    }
    expect(chip.statistics()).toBeDefined();
  });
});
