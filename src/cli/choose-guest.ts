/** The guest that a run boots: a configuration's, a kernel of one's own, the Debian guest, or the tiny one. */
import { UserError } from '../base/errors.ts';
import { guestCommandLine } from '../machine/guest.ts';
import { vifsFor } from '../machine/guest-config.ts';
import { buildLinuxGuest } from '../machine/guest-node.ts';
import type { DomainConfig } from '../machine/job.ts';
import { loadKernelImage, mayBeKernel } from '../machine/kernel.ts';
import { parseXlConfig, type XlConfig } from '../machine/xl-cfg.ts';
import type { InputRules, Inputs } from './inputs.ts';
import { oneLine } from './printable.ts';
import { withProgress } from './progress.ts';

/** What of a command line chooses the guest. */
export interface GuestChoice {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly memory?: number;
  readonly driver: string[];
  readonly shell?: boolean;
  readonly cache?: string;
}

const CONFIG: InputRules = {
  expected: 'a guest configuration, for example guest.cfg of this project',
  most: 1 << 20,
  mayBegin: (head) => !head.includes(0),
};
const KERNEL: InputRules = { expected: "the guest's kernel", most: 1 << 30, mayBegin: mayBeKernel };
const ramdiskOf = (memoryMiB: number): InputRules => ({ expected: "the guest's ramdisk", most: memoryMiB * 2 ** 20 });

export function readConfig(inputs: Inputs, file: string | undefined, { memory, driver }: GuestChoice): XlConfig {
  if (file === undefined)
    return { ...parseXlConfig("name = 'guest'\ntype = 'hvm'\n", 'default', { memory }), vif: vifsFor(driver) };
  return parseXlConfig(new TextDecoder().decode(inputs.read(file, CONFIG)), file, { memory });
}

/** One line that says what runs in place of the guest of the configuration, where xl would boot that from what is not here. */
function standIn({ name, bootsFrom }: XlConfig, file: string | undefined, guest: string): string | undefined {
  if (bootsFrom.length === 0) return undefined;
  const disks = bootsFrom.includes('disk') ? 'disks cannot be booted here' : `${bootsFrom.join(', ')}: not supported here`;
  return `${file ?? name}: no kernel is named and ${disks}: ${guest} runs in place of '${name}'; name a kernel with kernel = 'FILE' or --kernel`;
}

/** The domain to build: the kernel named, else the Debian guest, else (saying so) the tiny guest. */
export async function chooseGuest(
  inputs: Inputs,
  config: XlConfig,
  file: string | undefined,
  options: GuestChoice,
  drivers: readonly string[],
): Promise<DomainConfig> {
  const { type, vcpus, hpet } = config;
  const memoryMiB = config.memory;
  const append = [config.extra, options.append ?? ''].filter(Boolean).join(' ');
  const kernel = options.kernel ?? config.kernel;
  if (kernel === undefined && options.initrd !== undefined)
    throw new UserError('--initrd: it goes with a kernel of your own; give --kernel too');
  if (kernel === undefined && config.ramdisk !== undefined)
    throw new UserError(
      `ramdisk = '${config.ramdisk}': it goes with a kernel of your own; add kernel = 'FILE' to the configuration`,
    );
  if (kernel !== undefined) {
    if (config.bootsFrom.length > 0)
      console.error(
        `xenolith: ${oneLine(file ?? config.name)}: ${config.bootsFrom.join(', ')}: no effect, as --kernel is booted`,
      );
    const ramdisk = options.initrd ?? config.ramdisk;
    return {
      memoryMiB,
      vcpus,
      type,
      hpet,
      commandLine: append,
      kernel: await loadKernelImage(inputs.read(kernel, KERNEL), kernel),
      ...(ramdisk === undefined ? {} : { ramdisk: inputs.read(ramdisk, ramdiskOf(memoryMiB)) }),
    };
  }
  const say = (guest: string): void => {
    const line = standIn(config, file, guest);
    if (line !== undefined) console.error(`xenolith: ${oneLine(line)}`);
  };
  try {
    say('a Debian guest');
    const images = await withProgress((progress) =>
      buildLinuxGuest({ progress, ...(options.cache === undefined ? {} : { cache: options.cache }) }),
    );
    const base = guestCommandLine({ driver: drivers, mode: options.shell ? 'shell' : 'ping' });
    return {
      memoryMiB,
      vcpus,
      type,
      hpet,
      commandLine: [base, append].filter(Boolean).join(' '),
      kernel: await loadKernelImage(inputs.read(images.vmlinux, KERNEL), images.vmlinux),
      ramdisk: inputs.read(images.initrd, ramdiskOf(memoryMiB)),
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`xenolith: ${oneLine(error.message)}; running the tiny guest instead of Debian`);
    // Its assembler is a large library.
    const { assembleTinyGuest, tinyGuestCommandLine } = await import('../machine/tiny-guest/image.ts');
    const image = assembleTinyGuest();
    return {
      memoryMiB,
      vcpus,
      type: 'hvm',
      hpet,
      commandLine: tinyGuestCommandLine({ mode: 'ping', count: 3 }),
      kernel: await loadKernelImage(image, 'tiny guest'),
    };
  }
}

/** What boots, for a reader. */
export function guestText(options: GuestChoice, config: XlConfig, drivers: readonly string[]): string {
  const kernel = options.kernel ?? config.kernel;
  if (kernel !== undefined) return `the kernel ${oneLine(kernel)}`;
  const own = drivers.length === 0 ? '' : ` with its own driver${drivers.length === 1 ? '' : 's'} ${drivers.join(' and ')}`;
  return `a Debian kernel${own}, ${options.shell ? 'with a shell' : 'which pings the host'}`;
}
