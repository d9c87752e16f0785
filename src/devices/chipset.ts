/** Register tables of the chipset, by the name docs and tools know the chip under. */
import { hostBridgePorts } from './pci/host-bridge.ts';
import { piix3Registers } from './pci/piix3.ts';
import { piix4PmRegisters } from './pci/piix4-pm.ts';
import type { RegisterDef } from './registers.ts';
import { uartRegisters } from './serial/registers.ts';

export const chipsetTables: Readonly<Record<string, readonly RegisterDef[]>> = {
  '440FX': hostBridgePorts,
  PIIX3: piix3Registers,
  PIIX4_PM: piix4PmRegisters,
  '16550A': uartRegisters,
};
