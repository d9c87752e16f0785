/** The guest's page walk as one looks at it from outside: by its tables of the moment, without setting A and D bits. */
import { PAGE_SIZE, pageOffset } from '../base/address.ts';
import { Efer, type VcpuRegisters } from '../cpu/interface.ts';
import type { MachineMemory } from '../hypervisor/mm/memory.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';

/** A guest as a look at its memory needs it. */
export interface Inspected {
  readonly memory: MachineMemory;
  readonly p2m: P2m;
  readonly registers: VcpuRegisters;
}

/** One step of a page walk. */
export interface WalkStep {
  /** `PML4E`, `PDPTE`, `PDE`, `PTE`. */
  readonly entry: string;
  readonly gpa: number;
  readonly value: bigint;
  readonly flags: string;
}

export interface Walk {
  readonly steps: readonly WalkStep[];
  /** Guest-physical address; undefined: nothing is mapped there. */
  readonly gpa: number | undefined;
}

export const CR0_PE = 1;
const CR0_PG = 0x8000_0000;
const CR4_PSE = 1 << 4;
const CR4_PAE = 1 << 5;
const PRESENT = 1n;
const PS = 1n << 7n;
const FRAME = 0x000f_ffff_ffff_f000n;

const FLAGS: readonly (readonly [bit: bigint, name: string])[] = [
  [1n << 0n, 'P'],
  [1n << 1n, 'RW'],
  [1n << 2n, 'US'],
  [1n << 3n, 'PWT'],
  [1n << 4n, 'PCD'],
  [1n << 5n, 'A'],
  [1n << 6n, 'D'],
  [PS, 'PS'],
  [1n << 8n, 'G'],
  [1n << 63n, 'NX'],
];

/** Bytes of guest RAM at a guest-physical address; undefined where some of them are not RAM. */
export function readRam({ memory, p2m }: Pick<Inspected, 'memory' | 'p2m'>, gpa: number, length: number): Uint8Array | undefined {
  const out = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const at = p2m.ramAddress(gpa + done);
    if (at < 0) return undefined;
    const piece = Math.min(length - done, PAGE_SIZE - pageOffset(at));
    out.set(memory.u8.subarray(at, at + piece), done);
    done += piece;
  }
  return out;
}

/** Walks the guest's page tables for a linear address (Intel SDM volume 3, chapter 4: 4-level, PAE and 32-bit paging with PSE-36). */
export function walk(guest: Inspected, linear: bigint): Walk {
  const { registers } = guest;
  const isLong = (registers.efer & Efer.lma) !== 0;
  const address = isLong ? linear : BigInt.asUintN(32, linear);
  if ((registers.cr0 & CR0_PG) === 0) return { steps: [], gpa: Number(address) };
  if (isLong && BigInt.asIntN(48, linear) !== BigInt.asIntN(64, linear)) return { steps: [], gpa: undefined };
  const isPae = (registers.cr4 & CR4_PAE) !== 0;
  const names = isLong ? ['PML4E', 'PDPTE', 'PDE', 'PTE'] : isPae ? ['PDPTE', 'PDE', 'PTE'] : ['PDE', 'PTE'];
  const bits = isPae ? 9n : 10n;
  const entrySize = isPae ? 8 : 4;
  let table = Number(registers.cr3 & (isLong ? FRAME : isPae ? 0xffff_ffe0n : 0xffff_f000n));
  const steps: WalkStep[] = [];
  for (const [i, entry] of names.entries()) {
    const shift = 12n + bits * BigInt(names.length - 1 - i);
    const gpa = table + Number((address >> shift) & (entry === 'PDPTE' && !isLong ? 3n : (1n << bits) - 1n)) * entrySize;
    const bytes = readRam(guest, gpa, entrySize);
    if (bytes === undefined) return { steps, gpa: undefined };
    const view = new DataView(bytes.buffer);
    const value = isPae ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
    const flags = FLAGS.filter(([bit]) => value & bit).map(([, name]) => name);
    steps.push({ entry, gpa, value, flags: flags.join(' ') });
    if (!(value & PRESENT)) return { steps, gpa: undefined };
    const mayBeLarge = isPae ? entry === 'PDE' || (entry === 'PDPTE' && isLong) : (registers.cr4 & CR4_PSE) !== 0;
    const isLarge = entry !== 'PTE' && mayBeLarge && (value & PS) !== 0n;
    if (entry === 'PTE' || isLarge) {
      const inside = (1n << shift) - 1n;
      // PSE-36: bits 20:13 of a PDE that maps 4 MiB are bits 39:32 of the address.
      const frame = isLarge && !isPae ? (value & 0xffc0_0000n) | ((value & 0x1f_e000n) << 19n) : value & FRAME;
      return { steps, gpa: Number((frame & ~inside) | (address & inside)) };
    }
    table = Number(value & FRAME);
  }
  return { steps, gpa: undefined };
}
