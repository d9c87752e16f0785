/** Every register, every page, every port and width, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import {
  NE2K_DATA_PORT,
  NE2K_PAGED_PORTS,
  NE2K_RESET_PORT,
  ne2kRegisters,
  type Ne2kRegister,
  type Ne2kWritten,
} from './registers.ts';
import { CMD, ISR, page, portOf, setUp } from './testing/set-up.ts';

const table: readonly RegisterDef<Ne2kRegister>[] = ne2kRegisters;
const COMMAND = portOf('E8390_CMD');
const DATA_PORT_END = NE2K_DATA_PORT + 3;
const at = (offset: number): RegisterDef<Ne2kRegister> | undefined =>
  table.find((r) => offset >= r.offset && offset < r.offset + r.width);
const paged = table.filter((r) => (r.offset & 0xff) < NE2K_PAGED_PORTS);

/** Names written that are ordinary storage, and where they can be read back. */
const mirrors = {
  EN0_STARTPG: 'EN2_STARTPG',
  EN0_STOPPG: 'EN2_STOPPG',
  EN0_RSARLO: 'EN0_CRDALO',
  EN0_RSARHI: 'EN0_CRDAHI',
} as const satisfies Partial<Record<Ne2kWritten, Ne2kRegister>>;
/** What reads give that is not storage. */
const constants: Readonly<Partial<Record<Ne2kRegister, number>>> = {
  EN0_RTL8029ID0: 0x50,
  EN0_RTL8029ID1: 0x43,
  EN0_ISR: ISR.RST,
};

/** All pages' registers as they read: page by page, Command last. */
function snapshot({ readAt, writeAt }: ReturnType<typeof setUp>): number[] {
  const values: number[] = [];
  for (let n = 0; n < 4; n++) {
    writeAt(COMMAND, 1, CMD.ABORT | CMD.STP | page(n));
    for (let port = 1; port < NE2K_PAGED_PORTS; port++) values.push(readAt(port, 1));
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
        const before = snapshot(machine);
        machine.writeAt(COMMAND, 1, CMD.ABORT | CMD.STP | page(register.offset >> 8));
        machine.writeAt(portOf(register.name), 1, value);
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
        if (plain && takes && value) expect(machine.read(register.name)).toBe(value);
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
    const { readAt, writeAt } = machine;
    const before = snapshot(machine);
    for (const size of [1, 2, 4] as const) {
      for (let port = 0; port + size <= 0x100; port++) {
        // Whatever touches the data port or, as a byte, the reset port does something.
        if (port <= DATA_PORT_END && port + size > NE2K_DATA_PORT) continue;
        const bytes = port % size !== 0;
        const pagedPort = port < NE2K_PAGED_PORTS;
        const touchesReset = port <= NE2K_RESET_PORT && port + size > NE2K_RESET_PORT;
        if ((size === 1 || bytes) && (pagedPort || touchesReset)) continue;
        expect(readAt(port, size), `${size} at 0x${port.toString(16)}`).toBe(widthMask(size));
        writeAt(port, size, 0x5a5a5a5a & widthMask(size));
      }
    }
    expect(snapshot(machine)).toEqual(before);
  });

  it('an unaligned access falls apart into aligned ones', () => {
    const { read, readAt, write, writeAt } = setUp();
    write('E8390_CMD', CMD.ABORT | CMD.STP | page(1));
    const first = portOf('EN1_PHYS0');
    writeAt(first, 2, 0x3412);
    // Byte 1 is a register; byte 2 goes with the rest: two single bytes.
    expect(read('EN1_PHYS0')).toBe(0x12);
    expect(read('EN1_PHYS1')).toBe(0x34);
    expect(readAt(first, 2)).toBe(0x3412);
    expect(readAt(first, 4)).toBe(0x00ffff12);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    const machine = setUp();
    machine.start();
    for (const size of [1, 2, 4] as const) {
      for (let port = -4; port < 0x104; port++) {
        for (const value of [0, 1, CMD.WRITE | CMD.READ | CMD.STA, 0xffffffff]) {
          machine.writeAt(port, size, (value & widthMask(size)) >>> 0);
          const got = machine.readAt(port, size);
          expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
        }
      }
    }
    expect(machine.chip.statistics()).toBeDefined();
  });
});
