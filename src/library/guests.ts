/** What a Linux guest is told, and which of its drivers drives which NIC. */
import { nicModels } from '../devices/nic/models.ts';
import { guestCommandLine } from '../machine/guest.ts';

/** A Linux driver, and the NIC that it wants to find. */
export interface NicDriver {
  /** Name of the module: `8139cp`. */
  readonly driver: string;
  /** QEMU's name of the chip. */
  readonly model: string;
  /** The PCI revision that the driver wants to see; undefined: the chip's own. */
  readonly revision: number | undefined;
}

export const nicDrivers: readonly NicDriver[] = nicModels.flatMap(({ name, drivers }) =>
  drivers.map(({ name: driver, revision }) => ({ driver, model: name, revision })),
);

/** `ping` pings the host three times and powers off; `shell` gives a shell on the console. */
export type DebianMode = 'ping' | 'shell';

/** The kernel command line for the Debian guest of this project. */
export const debianCommandLine = (driver: string, mode: DebianMode): string => guestCommandLine({ driver, mode });
