/** A guest's kernel from its file, whatever form it has. */
import { UserError } from '../base/errors.ts';
import type { KernelImage } from '../hypervisor/domain-builder/domain-builder.ts';
import { isMultiboot, readMultiboot } from '../hypervisor/domain-builder/multiboot.ts';
import { isElf, readElf } from '../hypervisor/domain-builder/elf.ts';
import { extractVmlinux, isBzImage, isDecoded, readBzImage } from './bzimage.ts';

/**
 * A Multiboot image and any other ELF image are taken as they are. Out of a bzImage its vmlinux is taken, which saves the guest the
 * unpacking; one whose compression is not decoded here unpacks itself in the guest. Throws UserError for any other file, and for a
 * damaged one.
 */
export async function loadKernelImage(file: Uint8Array, name: string): Promise<KernelImage> {
  if (isMultiboot(file) && !isBzImage(file)) return { kind: 'multiboot', image: readMultiboot(file, name) };
  if (isElf(file)) return { kind: 'elf', elf: readElf(file, name) };
  if (!isBzImage(file))
    throw new UserError(`${name}: not a kernel image; expected an ELF image (vmlinux), a bzImage (vmlinuz) or a Multiboot image`);
  const image = readBzImage(file, name);
  if (image.has64bitEntry && !isDecoded(image)) return { kind: 'bzimage', ...image };
  return { kind: 'elf', elf: readElf(await extractVmlinux(file, name), name) };
}
