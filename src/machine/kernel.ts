/** A guest's kernel from its file, whatever form it has. */
import { UserError } from '../base/errors.ts';
import type { KernelImage } from '../hypervisor/domain-builder/domain-builder.ts';
import { isElf, readElf } from '../hypervisor/domain-builder/elf.ts';
import { extractVmlinux, isBzImage, isDecoded, readBzImage } from './bzimage.ts';

/**
 * An ELF image is taken as it is. Out of a bzImage its vmlinux is taken, which saves the guest the unpacking; one whose
 * compression is not decoded here unpacks itself in the guest. Throws UserError for any other file, and for a damaged one.
 */
export async function loadKernelImage(file: Uint8Array, name: string): Promise<KernelImage> {
  if (isElf(file)) return { kind: 'elf', elf: readElf(file, name) };
  if (!isBzImage(file)) throw new UserError(`${name}: neither an ELF image (vmlinux) nor a bzImage (vmlinuz)`);
  const image = readBzImage(file, name);
  if (image.has64bitEntry && !isDecoded(image)) return { kind: 'bzimage', ...image };
  return { kind: 'elf', elf: readElf(await extractVmlinux(file, name), name) };
}
