/** Every port, every register behind RAP, every width and style, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { BCR_BASE, CSR_BASE, pcnetRegisters, STOP_LOCK } from './registers.ts';
import { setUp } from './testing/set-up.ts';

const table: readonly RegisterDef[] = pcnetRegisters;
type Machine = ReturnType<typeof setUp>;
/** Reads and writes a register through RDP or BDP. */
const get = ({ readCsr, readBcr }: Machine, r: RegisterDef): number =>
  r.offset < BCR_BASE ? readCsr((r.offset - CSR_BASE) / 2) : readBcr((r.offset - BCR_BASE) / 2);
const put = ({ writeCsr, writeBcr }: Machine, r: RegisterDef, value: number): void =>
  r.offset < BCR_BASE ? writeCsr((r.offset - CSR_BASE) / 2, value) : writeBcr((r.offset - BCR_BASE) / 2, value);
const indexed = table.filter((r) => r.offset >= CSR_BASE);

/** Values at power-on that are not the table's: from the PROM, or computed. */
const computed: Readonly<Record<string, number>> = { CSR12: 0x5452, CSR13: 0x1200, CSR14: 0x5634, CSR58: 0x0200, BCR4: 0x80c0 };
/** Registers whose write does more than store. */
const special = new Set([
  'CSR0',
  'CSR4',
  'CSR5',
  'CSR16',
  'CSR17',
  'CSR58',
  'CSR76',
  'CSR78',
  'BCR4',
  'BCR5',
  'BCR6',
  'BCR7',
  'BCR18',
  'BCR20',
]);

describe('pcnet register sweep', () => {
  it('power-on values are those of the table; numbers of no register read zero', () => {
    const machine = setUp();
    for (let n = 0; n < 128; n++) {
      for (const [base, read] of [
        [CSR_BASE, machine.readCsr],
        [BCR_BASE, machine.readBcr],
      ] as const) {
        const register = indexed.find((r) => r.offset === base + 2 * n);
        const want = register === undefined ? 0 : (computed[register.name] ?? register.powerOn ?? register.reset ?? 0);
        expect(read(n), register?.name ?? `${base === CSR_BASE ? 'CSR' : 'BCR'}${n}`).toBe(want);
      }
    }
  });

  it('writes of a stopped chip change the register they name, and no other', () => {
    for (const value of [0xffff, 0x5aa5]) {
      for (const register of indexed) {
        if (special.has(register.name)) continue;
        const machine = setUp();
        const before = indexed.map((r) => get(machine, r));
        put(machine, register, value);
        const changed = indexed.flatMap((r, i) => (get(machine, r) === before[i] ? [] : [r.name]));
        // CSR1 and CSR2 have a second number each.
        const twin = { CSR1: 'CSR16', CSR2: 'CSR17' }[register.name];
        expect(changed, register.name).toEqual(register.access !== 'rw' ? [] : twin ? [register.name, twin] : [register.name]);
        if (register.access === 'rw') expect(get(machine, register)).toBe(value);
      }
    }
  });

  it('numbers of no register take nothing', () => {
    const machine = setUp();
    const before = machine.chip.save();
    for (let n = 0; n < 128; n++) {
      if (!indexed.some((r) => r.offset === CSR_BASE + 2 * n)) machine.writeCsr(n, 0xffff);
      if (!indexed.some((r) => r.offset === BCR_BASE + 2 * n)) machine.writeBcr(n, 0xffff);
    }
    machine.readCsr(before['rap'] as number);
    expect({ ...machine.chip.save(), rap: 0 }).toEqual(before);
  });

  it('write-one-to-clear, aliases, ring lengths and software styles', () => {
    const machine = setUp();
    const { readCsr, writeCsr, readBcr, writeBcr } = machine;
    writeCsr(4, 0xffff);
    expect(readCsr(4)).toBe(0xffff & ~0x026a);
    writeCsr(5, 0xfffe);
    expect(readCsr(5)).toBe(0xfffe & ~0x0a90);
    writeCsr(16, 0x1234);
    writeCsr(17, 0x5678);
    expect([readCsr(1), readCsr(2), readCsr(16), readCsr(17)]).toEqual([0x1234, 0x5678, 0x1234, 0x5678]);
    for (const n of [76, 78]) {
      writeCsr(n, 77);
      expect(readCsr(n)).toBe(77);
      writeCsr(n, 0);
      expect(readCsr(n)).toBe(512);
    }
    for (const [value, want] of [
      [0, 0x0200],
      [1, 0x0101],
      [2, 0x0302],
      [3, 0x0303],
      [4, 0x0200],
      [0xff, 0x0200],
      [0xff02, 0xff02],
      [0x0700, 0x0600],
    ] as const) {
      writeBcr(20, value);
      expect([readBcr(20), readCsr(58)], `${value}`).toEqual([want, want]);
    }
    writeCsr(58, 3);
    expect(readBcr(20)).toBe(0x0303);
    for (let n = 4; n < 8; n++) {
      writeBcr(n, 0x8001);
      expect(readBcr(n)).toBe(0x0001);
      writeBcr(n, 0x0041);
      expect(readBcr(n)).toBe(0x8041);
    }
  });

  it('locked registers keep their value while the chip runs', () => {
    const machine = setUp();
    const { readCsr, writeCsr, readBcr, writeBcr, start } = machine;
    expect(table.filter((r) => r.lock === STOP_LOCK).map((r) => r.name)).toEqual(['CSR112']);
    start();
    writeCsr(112, 9);
    writeBcr(20, 3);
    expect([readCsr(112), readBcr(20)]).toEqual([0, 0x0302]);
    writeCsr(5, 1);
    writeCsr(112, 9);
    writeBcr(20, 3);
    expect([readCsr(112), readBcr(20)]).toEqual([9, 0x0303]);
  });

  it('ports: each style answers at its own width and offsets alone', () => {
    for (const dwio of [false, true]) {
      const machine = setUp();
      const { read, write } = machine;
      if (dwio) write(0x10, 4, 0);
      const answers = (size: number, offset: number): boolean =>
        offset < 0x10 ? (dwio ? size === 4 : size < 4) : dwio ? size === 4 && offset % 4 === 0 : size === 2 && offset < 0x18;
      for (const size of [1, 2, 4] as const) {
        for (let offset = 0; offset < 0x20; offset += size) {
          // The reset ports change the style.
          if (offset + size > (dwio ? 0x18 : 0x14) && offset < (dwio ? 0x1c : 0x16)) continue;
          const value = read(offset, size);
          if (!answers(size, offset))
            expect(value, `${dwio ? 'DWIO' : 'WIO'} ${size} at 0x${offset.toString(16)}`).toBe(widthMask(size));
          else expect(value).not.toBe(widthMask(size));
        }
      }
    }
  });

  it('the table names every port of both styles', () => {
    expect(table.filter((r) => r.offset >= 0x10 && r.offset < 0x20).map((r) => [r.name, r.mode, r.otherwise?.name])).toEqual([
      ['RDP', 'WIO', 'RDP'],
      ['RAP', 'WIO', undefined],
      ['RESET', 'WIO', 'RAP'],
      ['BDP', 'WIO', undefined],
      ['RESET32', 'DWIO', undefined],
      ['BDP32', 'DWIO', undefined],
    ]);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    for (const style of [0, 1, 2, 3] as const) {
      const machine = setUp();
      machine.start({ style, rlen: 7, tlen: 7 });
      for (let n = 0; n < 128; n++) {
        for (const value of [0, 1, 0x42, 0xffff]) {
          machine.writeCsr(n, value);
          machine.writeBcr(n, value & ~0x80);
        }
      }
      for (const size of [1, 2, 4] as const) {
        for (let offset = -4; offset < 0x24; offset++) {
          for (const value of [0, 1, 0x80, 0xffffffff]) {
            machine.write(offset, size, (value & widthMask(size)) >>> 0);
            const got = machine.read(offset, size);
            expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
          }
        }
      }
    }
  });
});
