/** From a guest's configuration to what the domain builder and the device model take. */
import type { NicOptions } from '../device-model/nics.ts';
import { parseMac } from '../net/frame.ts';
import type { KernelImage } from '../hypervisor/domain-builder/domain-builder.ts';
import { isElf, readElf } from '../hypervisor/domain-builder/elf.ts';
import { extractVmlinux, isBzImage, readBzImage } from './bzimage.ts';
import type { GuestDriver } from './guest.ts';
import type { XlVif } from './xl-cfg.ts';

/** Xen's own MAC prefix with a number of ours, for a vif that names none. */
const defaultMac = (index: number): string => `00:16:3e:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
/** The driver 8139too refuses the C+ chip's revision, 0x20. */
const REVISION: Readonly<Record<GuestDriver, number>> = { '8139cp': 0x20, '8139too': 0x10 };

export const nicOptions = (vifs: readonly XlVif[], driver: GuestDriver): NicOptions[] =>
  vifs.map(({ model, mac }, i) => ({ model, mac: parseMac(mac ?? defaultMac(i)), revision: REVISION[driver] }));

/**
 * A kernel file as the builder takes it: ELF as it is; out of a bzImage the vmlinux where that can be had (the boot is
 * then several times shorter), else the bzImage itself.
 */
export async function loadKernel(file: Uint8Array, name: string, type: 'hvm' | 'pvh'): Promise<KernelImage> {
  if (isElf(file) || !isBzImage(file)) return { kind: 'elf', elf: readElf(file, name) };
  try {
    return { kind: 'elf', elf: readElf(await extractVmlinux(file, name), name) };
  } catch (error) {
    if (type === 'pvh') throw error;
    return { kind: 'bzimage', ...readBzImage(file, name) };
  }
}
