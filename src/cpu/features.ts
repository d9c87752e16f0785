/**
 * What the vCPU implements, as CPUID leaves: the "hardware" values that a hypervisor's policy starts from. Only what is
 * implemented is shown. The model is an in-order Atom (family 6, model 1Ch, stepping 10): a processor that does not
 * speculate, which is what this one is, so that kernels need no mitigations.
 */
import { PHYSICAL_ADDRESS_BITS } from './mmu.ts';

export interface CpuidLeaf {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

const SIGNATURE = 0x106ca;

/** CPUID.1:EDX */
export const FeatureEdx = {
  fpu: 1 << 0, de: 1 << 2, pse: 1 << 3, tsc: 1 << 4, msr: 1 << 5, pae: 1 << 6, mce: 1 << 7, cx8: 1 << 8, apic: 1 << 9, sep: 1 << 11, mtrr: 1 << 12,
  pge: 1 << 13, mca: 1 << 14, cmov: 1 << 15, pat: 1 << 16, clfsh: 1 << 19, mmx: 1 << 23, fxsr: 1 << 24, sse: 1 << 25, sse2: 1 << 26,
} as const;
/** CPUID.1:ECX */
export const FeatureEcx = { cx16: 1 << 13, x2apic: 1 << 21, tscDeadline: 1 << 24, rdrand: 1 << 30, hypervisor: 1 << 31 } as const;

const all = (bits: Record<string, number>): number => Object.values(bits).reduce((a, b) => a | b, 0) >>> 0;
const BRAND = 'Xenolith vCPU (x86-64, in order)'.padEnd(48, '\0');

const leaf = (eax: number, ebx = 0, ecx = 0, edx = 0): CpuidLeaf => ({ eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
const text = (s: string, at: number): number =>
  s.charCodeAt(at) | (s.charCodeAt(at + 1) << 8) | (s.charCodeAt(at + 2) << 16) | (s.charCodeAt(at + 3) << 24);

/** A leaf as the processor itself would answer; leaves it does not have are zero. */
export function nativeCpuid(index: number, subleaf: number): CpuidLeaf {
  const n = index >>> 0;
  switch (n) {
    case 0: return leaf(7, text('GenuineIntel', 0), text('GenuineIntel', 8), text('GenuineIntel', 4));
    case 1: return leaf(SIGNATURE, (64 / 8) << 8, FeatureEcx.cx16 | FeatureEcx.rdrand, all(FeatureEdx) & ~FeatureEdx.mtrr & ~FeatureEdx.mca & ~FeatureEdx.mce);
    // Leaf 7: FSGSBASE, SMEP, ERMS, SMAP; UMIP.
    case 7: return subleaf === 0 ? leaf(0, (1 << 0) | (1 << 7) | (1 << 9) | (1 << 20), 1 << 2, 0) : leaf(0);
    case 0x80000000: return leaf(0x80000008);
    // LAHF in 64-bit mode; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
    case 0x80000001: return leaf(0, 0, 1, (1 << 11) | (1 << 20) | (1 << 26) | (1 << 27) | (1 << 29));
    case 0x80000002: case 0x80000003: case 0x80000004: {
      const at = (n - 0x80000002) * 16;
      return leaf(text(BRAND, at), text(BRAND, at + 4), text(BRAND, at + 8), text(BRAND, at + 12));
    }
    // The TSC runs at a constant rate.
    case 0x80000007: return leaf(0, 0, 0, 1 << 8);
    case 0x80000008: return leaf(PHYSICAL_ADDRESS_BITS | (48 << 8));
    default: return leaf(0);
  }
}
