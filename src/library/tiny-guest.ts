/** The guest that comes with the library: a driver in the small, which is there without any file. */
import type { MachineOptions } from './options.ts';
import { type TinyGuestMode, tinyGuestCommandLine } from '../machine/tiny-guest/command-line.ts';

export type TinyGuestOptions = TinyGuestMode;

/** Built with the project, the bytes that `assembleTinyGuest` gives; written so that bundlers take the file along. */
const image = new URL('./tiny-guest.elf', import.meta.url);

/**
 * A guest that finds an RTL8139, sets up its C+ rings and pings 10.0.2.2. Spread it into a machine's options.
 * @param options default: ping three times
 */
export const tinyGuest = (
  options: TinyGuestOptions = { mode: 'ping' },
): Pick<MachineOptions, 'kernel' | 'commandLine' | 'memory'> => ({
  kernel: image,
  commandLine: tinyGuestCommandLine(options),
  memory: 8,
});
