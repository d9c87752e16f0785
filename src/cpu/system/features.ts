/**
 * What the vCPU implements, as CPUID feature words: what a hypervisor's policy starts from. Only what is implemented is
 * shown. The model is an in-order Atom (family 6, model 1Ch, stepping 10): a processor that does not speculate, which is
 * what this one is, so that kernels need no mitigations.
 */
import { PHYSICAL_ADDRESS_BITS } from '../memory/mmu.ts';

const bits = (...list: number[]): number => list.reduce((word, bit) => (word | (1 << bit)) >>> 0, 0);

export const engineFeatures = {
  vendor: 'GenuineIntel',
  /** CPUID.1:EAX */
  signature: 0x000106ca,
  /** CPUID.1:ECX: CMPXCHG16B, RDRAND. */
  leaf1c: bits(13, 30),
  /** CPUID.1:EDX: FPU DE PSE TSC MSR PAE CX8 SEP PGE CMOV PAT CLFSH MMX FXSR SSE SSE2. */
  leaf1d: bits(0, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 19, 23, 24, 25, 26),
  /** CPUID.7.0:EBX: FSGSBASE, x87 data pointer for exceptions only, SMEP, ERMS, x87 selectors always zero, SMAP. */
  leaf7b: bits(0, 6, 7, 9, 13, 20),
  /** CPUID.7.0:ECX: UMIP. */
  leaf7c: bits(2),
  leaf7d: 0,
  /** CPUID.80000001:ECX: LAHF in 64-bit mode. */
  ext1c: bits(0),
  /** CPUID.80000001:EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, long mode. */
  ext1d: bits(11, 20, 26, 27, 29),
  physicalAddressBits: PHYSICAL_ADDRESS_BITS,
} as const;
