/** A NIC chip as the rest of the project takes it: what it is called, how it is built, which drivers claim it, how it is read. */
import type { NetDevice, Wire } from '../interfaces.ts';
import type { AttachOptions } from '../pci/bus.ts';
import type { PciDevice, PciSlot } from '../pci/pci-device.ts';
import type { RegisterDef } from '../registers.ts';
import type { NicReading } from './reading.ts';

export type NicChip = PciDevice & NetDevice;

export interface NicChipOptions {
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
  /** PCI revision, where a driver needs another than the chip's own. */
  readonly revision?: number | undefined;
}

/** A Linux driver of the chip. */
export interface NicDriver {
  /** Name of the module's file and of the driver in /sys, as `modprobe` takes it: `ne2k-pci`. */
  readonly name: string;
  /** The PCI revision it wants to see; left out: the chip's own. */
  readonly revision?: number;
}

export interface NicModel {
  /** The name users write, QEMU's: `-device NAME` there, `model=NAME` in xl.cfg. The chip's page is `docs/NAME.md`. */
  readonly name: string;
  /** The first is the one to load where none is asked for. */
  readonly drivers: readonly [NicDriver, ...NicDriver[]];
  /** Tables of the chip's page, by the name of their place there; '' holds the registers. */
  readonly tables: Readonly<Record<string, readonly RegisterDef[]>> & { readonly '': readonly RegisterDef[] };
  readonly attach?: AttachOptions;
  readonly reading: NicReading;
  make(slot: PciSlot, wire: Wire, options: NicChipOptions): NicChip;
}
