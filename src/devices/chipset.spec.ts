import { describe, expect, it } from 'vitest';
import { chipsetTables } from './chipset.ts';
import { devfn } from './pci/bus.ts';
import { HostBridge } from './pci/host-bridge.ts';
import { Piix3 } from './pci/piix3.ts';
import { Piix4Pm } from './pci/piix4-pm.ts';
import { widthMask, type RegisterDef } from './registers.ts';
import { Uart16550 } from './serial/uart16550.ts';
import { pcBus } from './testing/pc-bus.ts';

/** How a spec reaches the registers of a table. */
interface Access {
  read(register: RegisterDef): number;
  write(register: RegisterDef, value: number): void;
}

const PM_BASE = 0xb000;

function makeAccess(): Record<string, Access> {
  const { bus, ports } = pcBus();
  const nothing = (): void => {};
  bus.attach(devfn(0, 0), new HostBridge(bus.slot(devfn(0, 0)), bus, ports));
  bus.attach(devfn(1, 0), new Piix3(bus.slot(devfn(1, 0)), ports, { setPciLinkRoute: nothing, reset: nothing }));
  bus.attach(devfn(1, 3), new Piix4Pm(bus.slot(devfn(1, 3)), ports, { powerOff: nothing }));
  bus.configWrite(devfn(1, 3), 0x40, 4, PM_BASE | 1);
  bus.configWrite(devfn(1, 3), 0x80, 1, 1);
  const uart = new Uart16550({ setIrq: nothing, transmit: nothing });
  const port = (base: number): Access => ({
    read: (r) => ports.read(base + r.offset, r.width),
    write: (r, value) => ports.write(base + r.offset, r.width, value),
  });
  return {
    '440FX': port(0xcf8),
    PIIX3: {
      read: (r) => bus.configRead(devfn(1, 0), r.offset, r.width),
      write: (r, value) => bus.configWrite(devfn(1, 0), r.offset, r.width, value),
    },
    PIIX4_PM: port(PM_BASE),
    '16550A': { read: (r) => uart.read(r.offset), write: (r, value) => uart.write(r.offset, r.width, value) },
  };
}

/** Registers that are a window or a FIFO: what is written does not come back. */
const windows = new Set(['CONFDATA', 'RBR', 'IIR']);

describe.each(Object.entries(chipsetTables))('registers of %s', (chip, table) => {
  it('hold their reset values', () => {
    const access = makeAccess()[chip]!;
    for (const register of table)
      if (register.reset !== undefined) expect(access.read(register), register.name).toBe(register.reset);
  });

  it('keep the bits that are writable and no others', () => {
    for (const register of table) {
      if (windows.has(register.name)) continue;
      const ones = widthMask(register.width);
      const kept = register.access === 'rw' ? (register.writable ?? ones) : 0;
      for (const value of [ones, 0, 0x55555555 & ones, 0xaaaaaaaa & ones]) {
        const access = makeAccess()[chip]!;
        const before = access.read(register);
        access.write(register, value >>> 0);
        expect(access.read(register), `${register.name} = 0x${value.toString(16)}`).toBe(
          (((before & ~kept) | (value & kept)) & ones) >>> 0,
        );
      }
    }
  });
});
