/**
 * PCI set-up as hvmloader does it (tools/firmware/hvmloader/pci.c): interrupt links, BARs, interrupt lines, the power
 * management block; all through configuration mechanism #1, so that the guest's own later accesses find what was put there.
 */
import { UserError } from '../../base/errors.ts';
import { GuestLayout } from './layout.ts';

/** Port accesses, 1, 2 or 4 bytes, along the same way the guest's take. */
export interface PortIo {
  in(port: number, size: number): number;
  out(port: number, size: number, value: number): void;
}

/** PM1a event block of the machine: the PIIX4's is put here. */
export const ACPI_PM1A_EVT = 0xb000;
/** ISA interrupts for PCI links (PCI_ISA_IRQ_MASK). */
export const PCI_LINK_IRQS = [5, 10, 11, 5] as const;

const ISA_BRIDGE = 0x08;
const COMMAND = 0x04;
const BAR0 = 0x10;
const BARS = 6;
const INTERRUPT_LINE = 0x3c;
const INTERRUPT_PIN = 0x3d;
const COMMAND_IO = 1;
const COMMAND_MEMORY = 2;
const COMMAND_MASTER = 4;

export interface PlacedBar {
  devfn: number;
  /** Offset in configuration space: 0x10 to 0x24. */
  register: number;
  kind: 'mem' | 'io';
  /** Guest-physical address or port. */
  base: number;
  size: number;
}

/** Set up every function of bus 0; gives where the BARs went. Throws UserError when they do not fit into the hole. */
export function setUpPci(io: PortIo): PlacedBar[] {
  const address = (devfn: number, offset: number): number => (0x80000000 | (devfn << 8) | (offset & 0xfc)) >>> 0;
  const read = (devfn: number, offset: number, size: number): number => {
    io.out(0xcf8, 4, address(devfn, offset));
    return io.in(0xcfc + (offset & 3), size) >>> 0;
  };
  const write = (devfn: number, offset: number, size: number, value: number): void => {
    io.out(0xcf8, 4, address(devfn, offset));
    io.out(0xcfc + (offset & 3), size, value >>> 0);
  };

  PCI_LINK_IRQS.forEach((irq, link) => write(ISA_BRIDGE, 0x60 + link, 1, irq));

  const functions: number[] = [];
  const bars: PlacedBar[] = [];
  for (let devfn = 0; devfn < 256; devfn++) {
    const id = read(devfn, 0, 4);
    if ((id & 0xffff) === 0xffff) {
      // No function 0: no device in this slot.
      if ((devfn & 7) === 0) devfn |= 7;
      continue;
    }
    functions.push(devfn);
    // Bridges have other registers where other functions have BARs.
    if ((read(devfn, 0x0e, 1) & 0x7f) === 0)
      for (let i = 0; i < BARS; i++) {
        const register = BAR0 + i * 4;
        const old = read(devfn, register, 4);
        write(devfn, register, 4, 0xffffffff);
        const mask = read(devfn, register, 4);
        write(devfn, register, 4, old);
        if (mask === 0 || mask === 0xffffffff) continue;
        const kind = mask & 1 ? 'io' : 'mem';
        const bits = kind === 'io' ? mask & 0xfffc & ~3 : mask & ~0xf;
        const size = (bits & -bits) >>> 0;
        bars.push({ devfn, register, kind, base: 0, size });
        if (kind === 'mem' && (mask & 6) === 4) i++; // upper half of a 64-bit BAR, left at zero
      }
    if ((devfn & 7) === 0 && !(read(devfn, 0x0e, 1) & 0x80)) devfn |= 7;
  }

  bars.sort((a, b) => b.size - a.size || a.devfn - b.devfn || a.register - b.register);
  const next: { mem: number; io: number } = { mem: GuestLayout.mmioHole, io: GuestLayout.pciPorts };
  const end = { mem: GuestLayout.mmioHoleEnd as number, io: 0x10000 };
  for (const bar of bars) {
    bar.base = Math.ceil(next[bar.kind] / bar.size) * bar.size;
    next[bar.kind] = bar.base + bar.size;
    if (next[bar.kind] > end[bar.kind])
      throw new UserError(
        `PCI function ${bar.devfn >> 3}.${bar.devfn & 7}: its ${bar.size} bytes of ${bar.kind === 'mem' ? 'memory' : 'ports'} do not fit below 0x${end[bar.kind].toString(16)}`,
      );
    write(bar.devfn, bar.register, 4, bar.base);
  }

  for (const devfn of functions) {
    const kinds = new Set(bars.filter((bar) => bar.devfn === devfn).map((bar) => bar.kind));
    const command = (kinds.has('io') ? COMMAND_IO : 0) | (kinds.has('mem') ? COMMAND_MEMORY : 0);
    if (command) write(devfn, COMMAND, 2, read(devfn, COMMAND, 2) | command | COMMAND_MASTER);
    const pin = read(devfn, INTERRUPT_PIN, 1);
    if (pin >= 1 && pin <= 4) write(devfn, INTERRUPT_LINE, 1, PCI_LINK_IRQS[((devfn >> 3) + pin - 1) & 3]!);
    if (read(devfn, 0, 4) === 0x71138086) {
      write(devfn, 0x40, 4, ACPI_PM1A_EVT | 1); // PMBASE
      write(devfn, 0x80, 1, 1); // PMREGMISC: decode it
    }
  }
  return bars;
}
