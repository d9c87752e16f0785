/**
 * What a PC's firmware does to the PCI bus before it starts a kernel, straight on the bus, for specs that have no
 * processor to do it: interrupt links, base addresses, decoding, interrupt lines, the power management block.
 */
import { devfn, pciLink, type PciBus } from '../pci/bus.ts';
import {
  PCI_BAR0,
  PCI_COMMAND,
  PCI_COMMAND_IO,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_INTERRUPT_LINE,
} from '../pci/config-space.ts';
import { PIRQ_FIRST } from '../pci/piix3.ts';
import { PMBA, PMREGMISC } from '../pci/piix4-pm.ts';

interface FirmwareLayout {
  /** First port for I/O BARs. */
  readonly portBase: number;
  /** First guest-physical address for memory BARs. */
  readonly memoryBase: number;
  /** ISA interrupt of PCI links A to D. */
  readonly links: readonly [number, number, number, number];
  /** Ports of the ACPI power management block: PM1a_EVT here, PM1a_CNT 4 above, the PM timer 8 above. */
  readonly pmBase: number;
}

const hvmloaderLayout: FirmwareLayout = { portBase: 0xc000, memoryBase: 0xf0000000, links: [5, 10, 11, 5], pmBase: 0xb000 };

const ISA_BRIDGE = devfn(1, 0);
const POWER_MANAGEMENT = devfn(1, 3);

/** Set the bus up; every BAR gets an address aligned to its size, larger ones first. */
export function setUpPci(bus: PciBus, layout: FirmwareLayout = hvmloaderLayout): void {
  layout.links.forEach((irq, link) => bus.configWrite(ISA_BRIDGE, PIRQ_FIRST + link, 1, irq));

  const wanted = bus.functions.flatMap(([at, device]) => device.config.bars.map((bar) => ({ at, bar })));
  wanted.sort((a, b) => b.bar.size - a.bar.size || a.at - b.at || a.bar.index - b.bar.index);
  const next = { io: layout.portBase, mem: layout.memoryBase };
  for (const { at, bar } of wanted) {
    const base = Math.ceil(next[bar.kind] / bar.size) * bar.size;
    bus.configWrite(at, PCI_BAR0 + bar.index * 4, 4, base);
    next[bar.kind] = base + bar.size;
  }

  for (const [at, device] of bus.functions) {
    const kinds = new Set(device.config.bars.map((bar) => bar.kind));
    if (kinds.size > 0) {
      const command = PCI_COMMAND_MASTER | (kinds.has('io') ? PCI_COMMAND_IO : 0) | (kinds.has('mem') ? PCI_COMMAND_MEMORY : 0);
      bus.configWrite(at, PCI_COMMAND, 2, command);
    }
    const pin = device.config.bytes[0x3d]!;
    if (pin > 0) bus.configWrite(at, PCI_INTERRUPT_LINE, 1, layout.links[pciLink(at >>> 3, pin - 1)]!);
  }

  if (bus.function(POWER_MANAGEMENT)) {
    bus.configWrite(POWER_MANAGEMENT, PMBA, 4, layout.pmBase | 1);
    bus.configWrite(POWER_MANAGEMENT, PMREGMISC, 1, 1);
  }
}
