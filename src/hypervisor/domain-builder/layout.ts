/**
 * A guest's physical address space as Xen's toolstack and hvmloader lay it out (tools/libs/guest/xg_dom_x86.c,
 * tools/firmware/hvmloader/config.h and e820.c).
 */
import { VGA_HOLE_BASE, VGA_HOLE_END } from '../../base/vga.ts';
import { UserError } from '../../base/errors.ts';
import { END_SPECIAL_REGION, NR_SPECIAL_PAGES } from '../domain/hvm-params.ts';
import { gfn, type Gfn, type Gpa, gpa, PAGE_SIZE } from '../../base/address.ts';

const MiB = 0x100000;

export const GuestLayout = {
  /** BIOS data of ours below 1 MiB; the kernel copies what it wants before it takes this memory. */
  gdt: gpa(0x1000),
  startInfo: gpa(0x2000),
  bootParams: gpa(0x7000),
  /** PML4, PDPT, four page directories: 4 GiB by 2 MiB. */
  pageTables: gpa(0x8000),
  commandLine: gpa(0x20000),
  commandLineSize: 0x1000,
  /** Top of conventional memory: the rest up to 640 KiB is the EBDA. */
  ebda: gpa(0x9fc00),
  vgaHole: gpa(VGA_HOLE_BASE),
  bios: gpa(VGA_HOLE_END),
  rsdp: gpa(0xf5b50),
  highRam: gpa(0x100000),
  /** BARs of PCI functions; RAM ends here and goes on at 4 GiB (PCI_MEM_START, HVM_BELOW_4G_RAM_END). */
  mmioHole: gpa(0xf0000000),
  mmioHoleEnd: gpa(0xfc000000),
  /** RAM of the firmware's, reserved in the memory map: ACPI tables (RESERVED_MEMBASE). */
  acpiTables: gpa(0xfc000000),
  acpiTablesSize: 0x10000,
  pciPorts: 0xc000,
} as const;

/** Frames for ioreq servers that ask for frames of the guest's: eight, just before the special pages. */
export const NR_IOREQ_SERVER_PAGES = 8;
export const ioreqServerPfn = gfn(END_SPECIAL_REGION - NR_SPECIAL_PAGES - NR_IOREQ_SERVER_PAGES);

/** Types of memory in a memory map (ACPI, "Address Map"; E820). */
export const E820 = { ram: 1, reserved: 2, acpi: 3, nvs: 4 } as const;

export interface E820Entry {
  address: Gpa;
  size: number;
  type: number;
}

/** Guest RAM in runs of frames: [first, count], lowest first. `memoryMiB` counts what the guest is given in all. */
export function ramRuns(memoryMiB: number): [Gfn, number][] {
  if (!Number.isInteger(memoryMiB) || memoryMiB < 4)
    throw new UserError(`memory = ${memoryMiB}: expected a whole number of MiB, at least 4`);
  const bytes = memoryMiB * MiB;
  const low = Math.min(bytes, GuestLayout.mmioHole);
  const runs: [Gfn, number][] = [
    [gfn(0), GuestLayout.vgaHole / PAGE_SIZE],
    [gfn(GuestLayout.bios / PAGE_SIZE), (low - GuestLayout.bios) / PAGE_SIZE],
  ];
  if (bytes > low) runs.push([gfn(0x100000000 / PAGE_SIZE), (bytes - low) / PAGE_SIZE]);
  return runs;
}

/** The memory map the guest is told. */
export function buildE820(memoryMiB: number): E820Entry[] {
  const bytes = memoryMiB * MiB;
  const low = Math.min(bytes, GuestLayout.mmioHole);
  const map: E820Entry[] = [
    { address: gpa(0), size: GuestLayout.ebda, type: E820.ram },
    { address: GuestLayout.ebda, size: GuestLayout.vgaHole - GuestLayout.ebda, type: E820.reserved },
    { address: gpa(0xf0000), size: 0x10000, type: E820.reserved },
    { address: GuestLayout.highRam, size: low - GuestLayout.highRam, type: E820.ram },
    { address: GuestLayout.acpiTables, size: 0x100000000 - GuestLayout.acpiTables, type: E820.reserved },
  ];
  if (bytes > low) map.push({ address: gpa(0x100000000), size: bytes - low, type: E820.ram });
  return map;
}
