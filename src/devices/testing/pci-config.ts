/** A PCI function's configuration header by register name, for specs. */
import { byName } from '../../base/testing/by-name.ts';
import { PCI_COMMAND_IO, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY, pciHeader } from '../pci/config-space.ts';

type PciRegister = (typeof pciHeader)[number]['name'];

/** Command of a function that decodes its BARs, without DMA and with it. */
export const COMMAND_NO_MASTER = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
export const COMMAND_ON = COMMAND_NO_MASTER | PCI_COMMAND_MASTER;

export const pciConfig = (device: {
  readConfig(offset: number, size: number): number;
  writeConfig(offset: number, size: number, value: number): void;
}) =>
  byName<PciRegister>(pciHeader, {
    read: (offset, width) => device.readConfig(offset, width),
    write: (offset, width, value) => device.writeConfig(offset, width, value),
  });
