/** Every register, every width, every offset and straddle, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { phyRegisters } from './phy.ts';
import { E1000_BLOCK_SIZE, e1000Registers } from './registers.ts';
import { BAR, IO, MAC, setUp } from './testing/set-up.ts';

const widths = [1, 2, 4] as const;
const table: readonly RegisterDef[] = e1000Registers;

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
const special = new Set(['CTRL', 'EECD', 'EERD', 'MDIC', 'ICR', 'ICS', 'IMS', 'IMC', 'RCTL', 'TCTL', 'TDT', 'RDT']);
const readsChange = new Set(['ICR']);

/** Ends of long arrays, and every other register. */
const sampled = all.filter((r) => (r.def.count ?? 1) <= 32 || r.i < 3 || r.i >= r.def.count! - 3);
/** Offsets around them, for straddles. */
const around = [...new Set(sampled.flatMap((r) => [-3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7].map((d) => r.offset + d)))].filter(
  (o) => o >= 0 && o < E1000_BLOCK_SIZE,
);

function plain() {
  const at = setUp();
  const readAt = (offset: number, size: number): number => at.bus.read('mem', BAR + offset, size);
  const writeAt = (offset: number, size: number, value: number): void => at.bus.write('mem', BAR + offset, size, value);
  return { ...at, readAt, writeAt };
}

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
    const { readAt } = plain();
    for (const { def, offset, name } of all) {
      if (name === 'EECD[0]') expect(readAt(offset, 4)).toBe(0x188);
      else if (name === 'RAL[0]') expect(readAt(offset, 4)).toBe(0x12005452);
      else if (name === 'RAH[0]') expect(readAt(offset, 4)).toBe(0x80005634);
      else expect(readAt(offset, 4), name).toBe(def.reset ?? 0);
    }
    expect(MAC.length).toBe(6);
  });

  it('reads: every width at every place, in and between registers, gives what its registers give', () => {
    const { readAt, writeAt } = plain();
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
    const { readAt, writeAt } = plain();
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
    const { readAt, writeAt, read, write } = plain();
    for (const at of [0, 1, 2, 3]) {
      write('VET', 0xffffffff);
      writeAt(0x38 + at, 1, 0x5a);
      expect(read('VET'), `byte ${at}`).toBe(0x5a);
      expect(readAt(0x38 + at, 1)).toBe(0x5a);
    }
    write('VET', 0xffffffff);
    writeAt(0x3a, 2, 0x1234);
    expect([read('VET'), readAt(0x38, 2), readAt(0x3a, 2)]).toEqual([0x1234, 0x1234, 0x1234]);
    // Byte 0x44 to RDBAL, word 0x2233 to RDBAL, byte 0x11 to RDBAH.
    writeAt(0x2801, 4, 0x11223344);
    expect([read('RDBAL'), read('RDBAH')]).toEqual([0x2233, 0x11]);
  });

  it('counters that a read clears', () => {
    const clearing = table.filter((r) => r.access === 'rc').map((r) => r.name);
    expect(clearing).toHaveLength(27);
    for (const name of clearing) {
      const { chip, readAt } = plain();
      const state = chip.save();
      const index = table.find((r) => r.name === name)!.offset >> 2;
      state.registers[index - 1] = 7;
      state.registers[index] = 0xfedcba98;
      chip.restore(state);
      expect([readAt(4 * index, 4), readAt(4 * index, 4)], name).toEqual([0xfedcba98, 0]);
      const low = readAt(4 * index - 4, 4);
      expect(low, name).toBe(/^(GORC|GOTC|TOR|TOT)H$/.test(name) ? 0 : byOffset.has(4 * index - 4) ? 7 : 0);
    }
  });

  it('the I/O BAR reaches every register by IOADDR and IODATA, 32 bits at a time', () => {
    const { bus, readAt, read } = plain();
    const io = (offset: number, value: number, size = 4): void => bus.write('io', IO + offset, size, value);
    for (const { def, offset, name } of sampled) {
      if (special.has(def.name)) continue;
      io(0, offset);
      io(4, 0x89abcdef);
      expect([bus.read('io', IO, 4), bus.read('io', IO + 4, 4)], name).toEqual([offset, readAt(offset, 4)]);
    }
    io(0, 0x38);
    io(4, 0x77, 2);
    io(4, 0x77, 1);
    io(8, 0x77);
    expect([read('VET'), bus.read('io', IO + 4, 2), bus.read('io', IO + 8, 4)]).toEqual([0x89abcdef, 0, 0]);
    for (const beyond of [E1000_BLOCK_SIZE, 0x8_0000, 0xffffffff]) {
      io(0, beyond);
      io(4, 1);
      expect(bus.read('io', IO + 4, 4), `${beyond}`).toBe(0);
    }
  });

  it('PHY registers through MDIC: reset values, writable bits, errors', () => {
    const { read, write } = plain();
    const access = (register: number, op: number, data: number, phy = 1): number => {
      write('MDIC', (phy << 21) | (register << 16) | (op << 26) | data);
      return read('MDIC');
    };
    for (let n = 0; n < 32; n++) {
      const def = phyRegisters.find((r) => r.offset === n);
      if (def === undefined) {
        expect([access(n, 2, 0) >>> 28, access(n, 1, 5) >>> 28], `${n}`).toEqual([5, 5]);
        continue;
      }
      expect(access(n, 2, 0xffff), def.name).toBe((0x18200000 | (n << 16) | def.reset!) >>> 0);
      const answer = access(n, 1, 0xfdff) >>> 28;
      expect(answer, def.name).toBe(def.access === 'rw' ? 1 : 5);
      expect(access(n, 2, 0) & 0xffff, def.name).toBe(def.access === 'rw' ? 0xfdff & (def.writable ?? 0xffff) : def.reset);
    }
    expect([0, 2, 31].map((phy) => access(2, 2, 0, phy) >>> 28)).toEqual([5, 5, 5]);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    const { bus, chip, startReceiver, startTransmitter } = plain();
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
