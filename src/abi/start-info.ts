/** struct hvm_start_info and its tables. Source: xen/include/public/arch-x86/hvm/start_info.h; docs/misc/pvh.pandoc. */

export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;

/** Byte offsets. Addresses are guest-physical, 64 bits wide. */
export const HvmStartInfo = {
  magic: 0,
  version: 4,
  flags: 8,
  nrModules: 12,
  modlistPaddr: 16,
  cmdlinePaddr: 24,
  rsdpPaddr: 32,
  memmapPaddr: 40,
  memmapEntries: 48,
  size: 56,
} as const;
export const HvmModlistEntry = { paddr: 0, size: 8, cmdlinePaddr: 16, entrySize: 32 } as const;
export const HvmMemmapEntry = { addr: 0, size: 8, type: 16, entrySize: 24 } as const;

/** Number of the ELF note that gives the 32-bit PVH entry point (public/elfnote.h). */
export const XEN_ELFNOTE_PHYS32_ENTRY = 18;
