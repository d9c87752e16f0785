/** A guest's kernel from its file, whatever form it has. */
import { UserError } from '../base/errors.ts';
import type { KernelImage } from '../hypervisor/domain-builder/domain-builder.ts';
import { isMultiboot, readMultiboot } from '../hypervisor/domain-builder/multiboot.ts';
import { isElf, readElf } from '../hypervisor/domain-builder/elf.ts';
import { compressionOf, decompress } from './archive.ts';
import { extractVmlinux, isBzImage, isDecoded, LARGEST_KERNEL, readBzImage } from './bzimage.ts';

/**
 * A Multiboot image and any other ELF image are taken as they are, or out of a compressed file. Out of a bzImage its vmlinux is
 * taken, which saves the guest the unpacking; one whose compression is not decoded here unpacks itself in the guest. Throws
 * UserError for any other file, and for a damaged one.
 */
export async function loadKernelImage(file: Uint8Array, name: string): Promise<KernelImage> {
  const format = compressionOf(file);
  const plain = format === undefined ? file : await decompress(file, name, LARGEST_KERNEL);
  if (isMultiboot(plain) && !isBzImage(plain)) return { kind: 'multiboot', image: readMultiboot(plain, name) };
  if (isElf(plain)) return { kind: 'elf', elf: readElf(plain, name) };
  if (!isBzImage(plain))
    throw new UserError(
      `${name}: not a kernel image${otherKind(plain, format)}; expected an ELF image (vmlinux), a bzImage (vmlinuz) or a Multiboot image`,
    );
  const image = readBzImage(plain, name);
  if (!isDecoded(image)) return { kind: 'bzimage', ...image };
  return { kind: 'elf', elf: readElf(await extractVmlinux(plain, name), name), setupHeader: image.setupHeader };
}

/** Whether a file that begins so may be a kernel's; what it is else is told by `loadKernelImage`. */
export const mayBeKernel = (head: Uint8Array): boolean =>
  compressionOf(head) !== undefined || isElf(head) || isBzImage(head) || isMultiboot(head);

/** What a file is that somebody may take for a kernel, in words behind a comma. */
function otherKind(file: Uint8Array, compressed: string | undefined): string {
  const text = (at: number, length: number): string => String.fromCharCode(...file.subarray(at, at + length));
  const kind = ((): string | undefined => {
    if (text(0, 4) === '\x27\x05\x19\x56') return "a U-Boot image, another processor's";
    if (text(0x38, 4) === 'ARM\x64') return 'an arm64 kernel';
    if (text(0x38, 4) === 'RSC\x05') return 'a RISC-V kernel';
    if (text(0, 6) === '070701' || text(0, 6) === '070702')
      return 'a cpio archive, as an initial ramdisk is; give it with --initrd';
    if (text(0x8001, 5) === 'CD001') return 'a CD image; this machine boots no disks';
    if (text(0, 4) === 'QFI\xfb') return 'a qcow2 disk image; this machine boots no disks';
    if (text(257, 5) === 'ustar') return 'a tar archive';
    if (text(0, 4) === 'PK\x03\x04') return 'a zip archive';
    if (text(0, 2) === 'MZ') return 'a program for EFI or Windows';
    if (file[510] === 0x55 && file[511] === 0xaa) return 'a boot sector or a disk image; this machine boots no disks';
    return undefined;
  })();
  return kind === undefined ? (compressed === undefined ? '' : `, but something else packed by ${compressed}`) : `, but ${kind}`;
}
