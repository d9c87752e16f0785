/** Every register, every page, every port and width, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { ne2kRegisters } from './registers.ts';
import { setUp } from './testing/set-up.ts';

const table: readonly RegisterDef[] = ne2kRegisters;
const at = (offset: number): RegisterDef | undefined => table.find((r) => offset >= r.offset && offset < r.offset + r.width);
const paged = table.filter((r) => (r.offset & 0xff) < 0x10);

/** Names written that are ordinary storage, and where they can be read back. */
const mirrors = {
  EN0_STARTPG: 'EN2_STARTPG',
  EN0_STOPPG: 'EN2_STOPPG',
  EN0_RSARLO: 'EN0_CRDALO',
  EN0_RSARHI: 'EN0_CRDAHI',
} as const;
/** What reads give that is not storage. */
const constants: Readonly<Record<string, number>> = { EN0_RTL8029ID0: 0x50, EN0_RTL8029ID1: 0x43, EN0_ISR: 0x80 };

/** All pages' registers as they read: page by page, Command last. */
function snapshot({ read, write }: ReturnType<typeof setUp>): number[] {
  const values: number[] = [];
  for (let page = 0; page < 4; page++) {
    write(0, 1, 0x21 | (page << 6));
    for (let port = 1; port < 0x10; port++) values.push(read(port, 1));
  }
  return values;
}

describe('ne2k_pci register sweep', () => {
  it('power-on values are those of the table; places of no register read zero', () => {
    const machine = setUp();
    const values = snapshot(machine);
    values.forEach((value, i) => {
      const register = at((Math.floor(i / 15) << 8) | (1 + (i % 15)));
      const want = register === undefined ? 0 : (constants[register.name] ?? register.powerOn ?? register.reset ?? 0);
      expect(value, register?.name ?? `place ${i}`).toBe(want);
    });
  });

  it('writes change the register they name, in its writable bits, and no other', () => {
    for (const value of [0xff, 0x00, 0x5a, 0xa5]) {
      for (const register of paged) {
        if (register.name === 'E8390_CMD') continue;
        const machine = setUp();
        const page = register.offset >> 8;
        const before = snapshot(machine);
        machine.write(0, 1, 0x21 | (page << 6));
        machine.write(register.offset & 0xff, 1, value);
        const after = snapshot(machine);
        const changed = after.flatMap((v, i) => (v === before[i] ? [] : [at((Math.floor(i / 15) << 8) | (1 + (i % 15)))!.name]));
        const written = register.written?.name ?? register.name;
        const mirror = mirrors[written as keyof typeof mirrors];
        const plain = register.access === 'rw' && register.written === undefined;
        // Pages outside the packet memory are not taken.
        const ring = /BOUNDARY|CURPAG|STARTPG|STOPPG/.test(written);
        const takes = !ring || value <= (/STARTPG|STOPPG/.test(written) ? 0xc0 : 0xbf);
        expect(changed, `${written} = ${value}`).toEqual(
          (plain || mirror) && value !== 0 && takes ? [mirror ?? register.name] : [],
        );
        if (plain && takes && value) expect(machine.get(register.name as 'EN1_CURPAG')).toBe(value);
      }
    }
  });

  it('every name that is written has a place of its own', () => {
    const names = table.flatMap((r) => [r.name, ...(r.written ? [r.written.name] : [])]);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((n) => n.startsWith('EN0_')).length).toBe(28);
  });

  it('ports that are no register, and registers at another width, read ones and take nothing', () => {
    const machine = setUp();
    const { read, write } = machine;
    const before = snapshot(machine);
    for (const size of [1, 2, 4] as const) {
      for (let port = 0; port + size <= 0x100; port++) {
        // Whatever touches the data port or, as a byte, the reset port does something.
        if (port <= 0x13 && port + size > 0x10) continue;
        const bytes = port % size !== 0;
        if ((size === 1 && (port < 0x10 || port === 0x1f)) || (bytes && (port < 0x10 || (port <= 0x1f && port + size > 0x1f))))
          continue;
        expect(read(port, size), `${size} at 0x${port.toString(16)}`).toBe(widthMask(size));
        write(port, size, 0x5a5a5a5a & widthMask(size));
      }
    }
    expect(snapshot(machine)).toEqual(before);
  });

  it('an unaligned access falls apart into aligned ones', () => {
    const { read, write } = setUp();
    write(0, 1, 0x61);
    write(0x01, 2, 0x3412);
    // Byte 1 is a register; byte 2 goes with the rest: two single bytes.
    expect([read(1, 1), read(2, 1), read(1, 2)]).toEqual([0x12, 0x34, 0x3412]);
    expect(read(0x01, 4)).toBe(0x00ffff12);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    const machine = setUp();
    machine.start();
    for (const size of [1, 2, 4] as const) {
      for (let port = -4; port < 0x104; port++) {
        for (const value of [0, 1, 0x1a, 0xffffffff]) {
          machine.write(port, size, (value & widthMask(size)) >>> 0);
          const got = machine.read(port, size);
          expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
        }
      }
    }
    expect(machine.chip.statistics()).toBeDefined();
  });
});
