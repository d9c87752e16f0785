/**
 * CPUID as the guest sees it (Xen: arch/x86/cpuid.c, traps.c cpuid_hypervisor_leaves): the policy's leaves, what depends on
 * the vCPU, and Xen's own leaves at 0x40000000.
 */
import type { Clock } from '../../base/clock.ts';
import { engineFeatures } from '../../cpu/system/features.ts';
import { XEN_MAJOR, XEN_MINOR } from '../hypercall/xen-version.ts';
import { tscScale } from '../domain/time.ts';

export interface CpuidResult {
  a: number;
  b: number;
  c: number;
  d: number;
}

/** What the domain's processor is: feature words as CPUID gives them. The engine must implement every bit set here. */
export interface CpuidPolicy {
  /** Twelve characters. */
  readonly vendor: string;
  /** Leaf 1 eax: stepping, model, family. */
  readonly signature: number;
  readonly leaf1c: number;
  readonly leaf1d: number;
  readonly leaf7b: number;
  readonly leaf7c: number;
  readonly leaf7d: number;
  readonly ext1c: number;
  readonly ext1d: number;
  /** Up to 48 characters. */
  readonly brand: string;
  readonly physicalAddressBits: number;
}

const bits = (...list: number[]): number => list.reduce((word, bit) => (word | (1 << bit)) >>> 0, 0);

/** The engine's features, and what Xen adds: the local APIC in both modes, TSC deadline, TSC adjust, machine check and MTRR MSRs. */
export const defaultCpuidPolicy: CpuidPolicy = {
  ...engineFeatures,
  // x2apic, tsc_deadline, hypervisor
  leaf1c: (engineFeatures.leaf1c | bits(21, 24, 31)) >>> 0,
  // tsc_adjust
  leaf7b: (engineFeatures.leaf7b | bits(1)) >>> 0,
  // mce apic mtrr mca
  leaf1d: (engineFeatures.leaf1d | bits(7, 9, 12, 14)) >>> 0,
  brand: 'Xenolith virtual CPU',
};

const XEN_BASE = 0x4000_0000;
/** Highest of Xen's leaves: base + 5. */
const XEN_LEAVES = 5;
const MSR_HYPERCALL = 0x4000_0000;

/** What the answer depends on besides the policy. */
export interface CpuidContext {
  readonly policy: CpuidPolicy;
  readonly clock: Clock;
  readonly vcpu: number;
  readonly domid: number;
  /** CR4.OSXSAVE, and whether the local APIC is enabled by its MSR. */
  readonly osxsave: boolean;
  readonly apicEnabled: boolean;
}

const fourChars = (text: string, at: number): number => {
  let word = 0;
  for (let i = 0; i < 4; i++) word |= (text.charCodeAt(at + i) || 0) << (i * 8);
  return word >>> 0;
};

/** guest_cpuid: fills `out` for a leaf and subleaf. A leaf past the highest basic one gives zeroes. */
export function guestCpuid(context: CpuidContext, leaf: number, subleaf: number, out: CpuidResult): void {
  out.a = out.b = out.c = out.d = 0;
  if (leaf >= XEN_BASE && leaf < XEN_BASE + 0x100) xenLeaf(context, leaf - XEN_BASE, subleaf, out);
  else if (leaf < XEN_BASE) basicLeaf(context, leaf, subleaf, out);
  else if (leaf >= 0x8000_0000) extendedLeaf(context, leaf, out);
}

const MAX_BASIC_LEAF = 7;

function basicLeaf(context: CpuidContext, leaf: number, subleaf: number, out: CpuidResult): void {
  const { policy, vcpu } = context;
  switch (leaf) {
    case 0:
      out.a = MAX_BASIC_LEAF;
      out.b = fourChars(policy.vendor, 0);
      out.d = fourChars(policy.vendor, 4);
      out.c = fourChars(policy.vendor, 8);
      break;
    case 1:
      out.a = policy.signature;
      // APIC id (vCPU · 2, as Xen gives it), one logical processor, CLFLUSH line of 64 bytes.
      out.b = ((vcpu * 2) << 24) | (1 << 16) | (8 << 8);
      out.c = policy.leaf1c | (context.osxsave ? 1 << 27 : 0);
      out.d = context.apicEnabled ? policy.leaf1d : policy.leaf1d & ~(1 << 9);
      break;
    case 2:
      // Nothing but "see leaf 4".
      out.a = 1;
      out.d = 0xff;
      break;
    case 4:
      cacheLeaf(subleaf, out);
      break;
    case 7:
      if (subleaf === 0) {
        out.b = policy.leaf7b;
        out.c = policy.leaf7c;
        out.d = policy.leaf7d;
      }
      break;
    default:
      break;
  }
}

/** Deterministic cache parameters: 32 KiB data and instruction, 256 KiB and 4 MiB unified; lines of 64 bytes, 8 ways. */
function cacheLeaf(subleaf: number, out: CpuidResult): void {
  const caches = [
    { type: 1, level: 1, sets: 64 },
    { type: 2, level: 1, sets: 64 },
    { type: 3, level: 2, sets: 512 },
    { type: 3, level: 3, sets: 8192 },
  ];
  const cache = caches[subleaf];
  if (cache === undefined) return;
  out.a = cache.type | (cache.level << 5) | (1 << 8);
  out.b = 63 | (7 << 22);
  out.c = cache.sets - 1;
}

function extendedLeaf(context: CpuidContext, leaf: number, out: CpuidResult): void {
  const { policy } = context;
  switch (leaf) {
    case 0x8000_0000:
      out.a = 0x8000_0008;
      break;
    case 0x8000_0001:
      out.c = policy.ext1c;
      out.d = policy.ext1d;
      break;
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004: {
      const at = (leaf - 0x8000_0002) * 16;
      out.a = fourChars(policy.brand, at);
      out.b = fourChars(policy.brand, at + 4);
      out.c = fourChars(policy.brand, at + 8);
      out.d = fourChars(policy.brand, at + 12);
      break;
    }
    case 0x8000_0006:
      // 256 KiB of second-level cache, 8 ways, 64-byte lines.
      out.c = (256 << 16) | (6 << 12) | 64;
      break;
    case 0x8000_0007:
      // Invariant TSC.
      out.d = 1 << 8;
      break;
    case 0x8000_0008:
      out.a = policy.physicalAddressBits | (48 << 8);
      break;
    default:
      break;
  }
}

function xenLeaf(context: CpuidContext, leaf: number, subleaf: number, out: CpuidResult): void {
  const { clock } = context;
  switch (leaf) {
    case 0:
      out.a = XEN_BASE + XEN_LEAVES;
      out.b = fourChars('XenVMMXenVMM', 0);
      out.c = fourChars('XenVMMXenVMM', 4);
      out.d = fourChars('XenVMMXenVMM', 8);
      break;
    case 1:
      out.a = (XEN_MAJOR << 16) | XEN_MINOR;
      break;
    case 2:
      out.a = 1;
      out.b = MSR_HYPERCALL;
      break;
    case 3:
      if (subleaf === 0) {
        // The TSC is not emulated (vtsc off) and is safe to use.
        out.a = 1 << 1;
        out.c = Math.floor(clock.tscHz / 1000);
      } else if (subleaf === 1) {
        const { mul, shift } = tscScale(clock.tscHz);
        out.c = mul;
        out.d = shift >>> 0;
      } else if (subleaf === 2) {
        out.a = Math.floor(clock.tscHz / 1000);
      }
      break;
    case 4:
      // vCPU id and domain id are told, and the per-vCPU upcall vector exists.
      out.a = (1 << 3) | (1 << 4) | (1 << 6);
      out.b = context.vcpu;
      out.c = context.domid;
      break;
    default:
      break;
  }
}
