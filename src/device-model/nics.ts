/** The NIC models a guest configuration may name (`model=` of a vif), and how each is built. */
import { UserError } from '../base/errors.ts';
import type { NetDevice, Wire } from '../devices/interfaces.ts';
import { Rtl8139 } from '../devices/nic/rtl8139/core.ts';
import type { AttachOptions } from '../devices/pci/bus.ts';
import type { PciDevice, PciSlot } from '../devices/pci/pci-device.ts';

export interface NicOptions {
  /** `rtl8139`. */
  readonly model: string;
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
  /** PCI revision, where the driver wanted needs another than the chip's own. */
  readonly revision?: number;
  /** PCI device number; the first is 3 when left out, as under Xen's tools. */
  readonly device?: number;
  /** `own`: a wire without the dom0 endpoint and other NICs. `dom0` when left out. */
  readonly wire?: 'dom0' | 'own';
}

interface NicModel {
  readonly attach: AttachOptions;
  make(slot: PciSlot, wire: Wire, options: NicOptions): PciDevice & NetDevice;
}

const models: Readonly<Record<string, NicModel>> = {
  rtl8139: {
    // QEMU's memory BAR is an alias of the I/O block, and its log shows port numbers for both.
    attach: { aliases: { 1: 0 } },
    make: (slot, wire, { mac, revision }) => new Rtl8139(slot, wire, { mac, ...(revision === undefined ? {} : { revision }) }),
  },
};

/** Models that nicModel() knows. */
export const nicModelNames: readonly string[] = Object.keys(models);

export function nicModel(name: string): NicModel {
  const model = Object.hasOwn(models, name) ? models[name] : undefined;
  if (!model) throw new UserError(`NIC model '${name}': expected one of ${nicModelNames.join(', ')}`);
  return model;
}
