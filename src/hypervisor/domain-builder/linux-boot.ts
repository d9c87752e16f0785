/**
 * Linux by the 32-bit and the 64-bit boot protocol: boot_params ("zero page"), identity page tables, GDT.
 * Source: Documentation/arch/x86/boot.rst ("32-bit Boot Protocol", "64-bit Boot Protocol") and zero-page.rst.
 */
import { PAGE_SIZE } from '../../base/address.ts';
import type { Gpa } from '../../base/address.ts';
import { type E820Entry, GuestLayout } from './layout.ts';

/** Offsets in boot_params. */
const BootParams = {
  acpiRsdpAddr: 0x070,
  extRamdiskImage: 0x0c0,
  extRamdiskSize: 0x0c4,
  e820Entries: 0x1e8,
  setupHeader: 0x1f1,
  vidMode: 0x1fa,
  bootFlag: 0x1fe,
  header: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  cmdlineSize: 0x238,
  e820Table: 0x2d0,
  size: 0x1000,
} as const;

const E820_MAX = 128;
const LOADED_HIGH = 1;
/** "Undefined" loader: one without a number of its own. */
const LOADER_UNDEFINED = 0xff;

export interface BootParamsInput {
  /** From the bzImage, for offset 0x1f1; without one a minimal header is made. */
  setupHeader?: Uint8Array;
  commandLine: Gpa;
  ramdisk?: { address: Gpa; size: number };
  rsdp: Gpa;
  e820: readonly E820Entry[];
}

export function buildBootParams(input: BootParamsInput): Uint8Array {
  const page = new Uint8Array(BootParams.size);
  const v = new DataView(page.buffer);
  if (input.setupHeader)
    page.set(input.setupHeader.subarray(0, BootParams.e820Table - BootParams.setupHeader), BootParams.setupHeader);
  else {
    v.setUint16(BootParams.bootFlag, 0xaa55, true);
    v.setUint32(BootParams.header, 0x53726448, true); // "HdrS"
    v.setUint16(BootParams.version, 0x020f, true);
    v.setUint32(BootParams.initrdAddrMax, 0x7fffffff, true);
    v.setUint32(BootParams.kernelAlignment, 0x200000, true);
    v.setUint32(BootParams.cmdlineSize, GuestLayout.commandLineSize - 1, true);
  }
  v.setUint16(BootParams.vidMode, 0xffff, true); // normal
  page[BootParams.typeOfLoader] = LOADER_UNDEFINED;
  page[BootParams.loadflags]! |= LOADED_HIGH;
  v.setUint32(BootParams.cmdLinePtr, input.commandLine, true);
  if (input.ramdisk) {
    v.setUint32(BootParams.ramdiskImage, input.ramdisk.address, true);
    v.setUint32(BootParams.ramdiskSize, input.ramdisk.size, true);
  }
  v.setBigUint64(BootParams.acpiRsdpAddr, BigInt(input.rsdp), true);
  const map = input.e820.slice(0, E820_MAX);
  page[BootParams.e820Entries] = map.length;
  map.forEach((entry, i) => {
    const at = BootParams.e820Table + i * 20;
    v.setBigUint64(at, BigInt(entry.address), true);
    v.setBigUint64(at + 8, BigInt(entry.size), true);
    v.setUint32(at + 16, entry.type, true);
  });
  return page;
}

/** Page tables that map the first 4 GiB onto themselves by pages of 2 MiB, to lie at `base`: PML4, PDPT, four directories. */
export function identityPageTables(base: Gpa): Uint8Array {
  const PRESENT_RW = 3;
  const PAGE_PSE = 0x80;
  const bytes = new Uint8Array(6 * PAGE_SIZE);
  const v = new DataView(bytes.buffer);
  v.setUint32(0, base + 0x1000 + PRESENT_RW, true);
  for (let i = 0; i < 4; i++) v.setUint32(0x1000 + i * 8, base + 0x2000 + i * 0x1000 + PRESENT_RW, true);
  for (let i = 0; i < 2048; i++) v.setUint32(0x2000 + i * 8, i * 0x200000 + PAGE_PSE + PRESENT_RW, true);
  return bytes;
}

/** __BOOT_CS 0x10 (code of `bits`) and __BOOT_DS 0x18, flat, as the boot protocol wants them in the GDT. */
export const bootGdt = (bits: 32 | 64): Uint8Array => {
  const gdt = new Uint8Array(32);
  gdt.set([0xff, 0xff, 0, 0, 0, 0x9b, bits === 64 ? 0xaf : 0xcf, 0], 0x10);
  gdt.set([0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0], 0x18);
  return gdt;
};
