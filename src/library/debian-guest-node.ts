/** The Debian guest, for Machine's options. */
import { guestCommandLine } from '../machine/guest.ts';
import { buildLinuxGuest } from '../machine/guest-node.ts';
import type { MachineOptions } from './options.ts';

export type DebianGuestOptions = NonNullable<Parameters<typeof guestCommandLine>[0]> & {
  /** Folder where packages and images are kept. */
  readonly cache?: string;
  /** Use only what is there already. */
  readonly offline?: boolean;
};

/**
 * A stock Debian kernel with an initramfs that drives the NIC: `mode: 'ping'` pings the host and powers off, `shell` waits for
 * commands. Fetched with the system's apt and kept. Spread it into a machine's options.
 * @throws UserError when no Debian kernel can be had here
 */
export async function debianGuest(
  options: DebianGuestOptions = {},
): Promise<Pick<MachineOptions, 'kernel' | 'initrd' | 'commandLine'>> {
  const { cache, offline, ...line } = options;
  const images = await buildLinuxGuest({
    ...(cache === undefined ? {} : { cache }),
    ...(offline === undefined ? {} : { offline }),
  });
  return { kernel: images.vmlinux, initrd: images.initrd, commandLine: guestCommandLine(line) };
}
