/** Model-specific registers that the vCPU itself holds. Numbers: SDM vol. 4. All others leave to the hypervisor. */
import { CB_EFER, CB_MSR, CB_SEG, Efer, Cr0, CB_CR0, SEG_BASE, SEG_SIZE } from '../memory/control-block.ts';
import { PHYSICAL_ADDRESS_BITS } from '../memory/mmu.ts';
import { Seg } from '../interface.ts';
import { linearFromBigInt, type ControlBlock } from '../memory/memory-views.ts';

const Msr = {
  sysenterCs: 0x174,
  sysenterEsp: 0x175,
  sysenterEip: 0x176,
  pat: 0x277,
  efer: 0xc0000080,
  star: 0xc0000081,
  lstar: 0xc0000082,
  cstar: 0xc0000083,
  fmask: 0xc0000084,
  fsBase: 0xc0000100,
  gsBase: 0xc0000101,
  kernelGsBase: 0xc0000102,
  tscAux: 0xc0000103,
} as const;

const cell = (n: number): number => CB_MSR + n * 8;
export const CB_SYSENTER_CS = cell(0);
export const CB_SYSENTER_ESP = cell(1);
export const CB_SYSENTER_EIP = cell(2);
const CB_PAT = cell(3);
export const CB_STAR = cell(4);
export const CB_LSTAR = cell(5);
const CB_CSTAR = cell(6);
export const CB_FMASK = cell(7);
export const CB_KERNEL_GS_BASE = cell(8);
export const CB_TSC_AUX = cell(9);

const CELLS = new Map<number, number>([
  [Msr.sysenterCs, CB_SYSENTER_CS],
  [Msr.sysenterEsp, CB_SYSENTER_ESP],
  [Msr.sysenterEip, CB_SYSENTER_EIP],
  [Msr.pat, CB_PAT],
  [Msr.star, CB_STAR],
  [Msr.lstar, CB_LSTAR],
  [Msr.cstar, CB_CSTAR],
  [Msr.fmask, CB_FMASK],
  [Msr.kernelGsBase, CB_KERNEL_GS_BASE],
  [Msr.tscAux, CB_TSC_AUX],
  [Msr.fsBase, CB_SEG + Seg.fs * SEG_SIZE + SEG_BASE],
  [Msr.gsBase, CB_SEG + Seg.gs * SEG_SIZE + SEG_BASE],
]);
const MUST_BE_CANONICAL: readonly number[] = [
  Msr.sysenterEsp,
  Msr.sysenterEip,
  Msr.lstar,
  Msr.cstar,
  Msr.fsBase,
  Msr.gsBase,
  Msr.kernelGsBase,
];
const PAT_RESET = 0x0007040600070406n;

/** MSRs that a guest reads and writes without an exit, as with Xen's MSR bitmap. */
export const WITHOUT_EXIT: ReadonlySet<number> = new Set([
  Msr.sysenterCs,
  Msr.sysenterEsp,
  Msr.sysenterEip,
  Msr.pat,
  Msr.fsBase,
  Msr.gsBase,
  Msr.kernelGsBase,
]);

export function resetMsrs(cb: ControlBlock): void {
  for (let n = 0; n <= 9; n++) cb.set64(cell(n), 0n);
  cb.set64(CB_PAT, PAT_RESET);
}

export function readMsr(cb: ControlBlock, index: number): bigint | undefined {
  if (index === Msr.efer) return BigInt(cb.get(CB_EFER));
  const at = CELLS.get(index);
  return at === undefined ? undefined : cb.get64(at);
}

/** False: not held here, or the value is one that WRMSR refuses. `onModeChange` after EFER, FS or GS base changed. */
export function writeMsr(cb: ControlBlock, index: number, value: bigint, onModeChange: () => void): boolean {
  if (index === Msr.efer) {
    const lma = cb.get(CB_EFER) & Efer.lma;
    if (value & ~BigInt(Efer.sce | Efer.lme | Efer.lma | Efer.nxe)) return false;
    const fresh = Number(value);
    // LME cannot change while paging is on.
    if ((fresh ^ cb.get(CB_EFER)) & Efer.lme && cb.get(CB_CR0) & Cr0.pg) return false;
    cb.set(CB_EFER, (fresh & ~Efer.lma) | lma);
    onModeChange();
    return true;
  }
  const at = CELLS.get(index);
  if (at === undefined) return false;
  if (MUST_BE_CANONICAL.includes(index) && Number.isNaN(linearFromBigInt(value))) return false;
  if (index === Msr.pat) {
    for (let i = 0n; i < 64n; i += 8n) {
      const type = (value >> i) & 0xffn;
      if (type > 7n || type === 2n || type === 3n) return false;
    }
  }
  if (index === Msr.tscAux && value >> 32n) return false;
  if (index === Msr.fmask) value &= 0xffffffffn;
  if (index === Msr.sysenterCs) value &= 0xffffffffn;
  cb.set64(at, value);
  return true;
}

export const PHYSICAL_MASK = (1n << BigInt(PHYSICAL_ADDRESS_BITS)) - 1n;
