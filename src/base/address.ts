/**
 * Addresses and frame numbers, one branded type per address space, so that a value of one space cannot be
 * passed where another is meant. A guest-virtual address needs 64 bits and is a bigint; all others fit a
 * double exactly (physical addresses are at most 52 bits wide).
 */
declare const space: unique symbol;
type In<S extends string, T> = T & { readonly [space]: S };

/** Guest-virtual (linear) address. */
export type Gva = In<'gva', bigint>;
/** Guest-physical address, in bytes. */
export type Gpa = In<'gpa', number>;
/** Guest frame number: gpa >> 12. */
export type Gfn = In<'gfn', number>;
/** Machine frame number: a frame of the host's RAM. */
export type Mfn = In<'mfn', number>;
/** Machine address: byte offset into the host's RAM (the shared WebAssembly memory). */
export type Maddr = In<'maddr', number>;

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;

/** What Xen prints for a frame that is not there (INVALID_MFN, all ones in its 64-bit form). */
export const INVALID_MFN = -1 as Mfn;

export const gva = (value: bigint): Gva => BigInt.asUintN(64, value) as Gva;
export const gpa = (value: number): Gpa => value as Gpa;
export const gfn = (value: number): Gfn => value as Gfn;
export const mfn = (value: number): Mfn => value as Mfn;
export const maddr = (value: number): Maddr => value as Maddr;

export const gpaToGfn = (address: Gpa): Gfn => Math.floor(address / PAGE_SIZE) as Gfn;
export const gfnToGpa = (frame: Gfn): Gpa => (frame * PAGE_SIZE) as Gpa;
export const mfnToMaddr = (frame: Mfn): Maddr => (frame * PAGE_SIZE) as Maddr;
export const maddrToMfn = (address: Maddr): Mfn => (address >>> PAGE_SHIFT) as Mfn;

/** Offset of a physical address in its frame. */
export const pageOffset = (address: number): number => address & (PAGE_SIZE - 1);
