/** Chips that transcripts may name, and how to build one for a sequence. */
import type { Wire } from '../interfaces.ts';
import { Ne2kPci } from '../nic/ne2k_pci/core.ts';
import { ne2kRegisters } from '../nic/ne2k_pci/registers.ts';
import { Pcnet } from '../nic/pcnet/core.ts';
import { pcnetRegisters } from '../nic/pcnet/registers.ts';
import { E1000 } from '../nic/e1000/core.ts';
import { e1000Registers } from '../nic/e1000/registers.ts';
import { Rtl8139 } from '../nic/rtl8139/core.ts';
import { rtl8139Registers } from '../nic/rtl8139/registers.ts';
import type { PciSlot } from '../pci/pci-device.ts';
import type { RegisterDef } from '../registers.ts';
import type { NicChip } from './test-bus.ts';

export interface Model {
  readonly registers: readonly RegisterDef[];
  make(slot: PciSlot, wire: Wire, mac: Uint8Array): NicChip;
}

export const models: Readonly<Record<string, Model>> = {
  e1000: { registers: e1000Registers, make: (slot, wire, mac) => new E1000(slot, wire, { mac }) },
  rtl8139: { registers: rtl8139Registers, make: (slot, wire, mac) => new Rtl8139(slot, wire, { mac }) },
  ne2k_pci: { registers: ne2kRegisters, make: (slot, wire, mac) => new Ne2kPci(slot, wire, { mac }) },
  pcnet: { registers: pcnetRegisters, make: (slot, wire, mac) => new Pcnet(slot, wire, { mac }) },
};
