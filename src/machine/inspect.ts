/** A machine that stands still, seen from outside: registers and memory. Nothing in the machine changes by looking. */
import { maddr, maddrToMfn, mfn, type Mfn, PAGE_SIZE, pageOffset } from '../base/address.ts';
import { UserError } from '../base/errors.ts';
import { Efer, Reg, Seg, type VcpuRegisters } from '../cpu/interface.ts';
import type { MachineMemory } from '../hypervisor/mm/memory.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';

/** Guest-physical, guest-virtual (by the page tables of the moment), or machine addresses of the host. */
export type AddressSpace = 'gpa' | 'gva' | 'mfn';

/** A vCPU's registers. */
export interface CpuRegisters {
  /** General registers by name, `rax` to `r15`, and `rip`. */
  readonly general: Readonly<Record<string, bigint>>;
  readonly rflags: number;
  /** Names of the bits that are set in RFLAGS. */
  readonly flags: readonly string[];
  readonly control: Readonly<Record<'cr0' | 'cr2' | 'cr3' | 'cr4' | 'cr8' | 'efer', bigint>>;
  readonly segments: Readonly<Record<string, { selector: number; base: bigint; limit: number; accessRights: number }>>;
  readonly mode: 'real' | 'protected' | 'compatibility' | 'long';
  readonly cpl: number;
}

/** Most bytes one look at memory gives. */
const READ_LIMIT = 1 << 24;

const FLAGS: readonly (readonly [number, string])[] = [
  [0, 'CF'],
  [2, 'PF'],
  [4, 'AF'],
  [6, 'ZF'],
  [7, 'SF'],
  [8, 'TF'],
  [9, 'IF'],
  [10, 'DF'],
  [11, 'OF'],
  [14, 'NT'],
  [16, 'RF'],
  [17, 'VM'],
  [18, 'AC'],
];
const CR0_PE = 1;
const CR0_PG = 0x8000_0000;
const CR4_PSE = 1 << 4;
const CR4_PAE = 1 << 5;
const CS_LONG = 1 << 13;

export function cpuRegisters(r: VcpuRegisters): CpuRegisters {
  const { rflags } = r;
  const long = (r.efer & Efer.lma) !== 0;
  return {
    general: {
      ...Object.fromEntries(Object.entries(Reg).map(([name, index]) => [name, r.getGpr(index)])),
      rip: r.rip,
    },
    rflags,
    flags: FLAGS.filter(([bit]) => (rflags >>> bit) & 1).map(([, name]) => name),
    control: {
      cr0: BigInt(r.cr0 >>> 0),
      cr2: r.cr2,
      cr3: r.cr3,
      cr4: BigInt(r.cr4 >>> 0),
      cr8: BigInt(r.cr8),
      efer: BigInt(r.efer >>> 0),
    },
    segments: Object.fromEntries(Object.entries(Seg).map(([name, index]) => [name, { ...r.getSegment(index) }])),
    mode: long
      ? r.getSegment(Seg.cs).accessRights & CS_LONG
        ? 'long'
        : 'compatibility'
      : (r.cr0 & CR0_PE) === 0
        ? 'real'
        : 'protected',
    cpl: r.cpl,
  };
}

/** A guest as the functions here need it. */
interface Inspected {
  readonly memory: MachineMemory;
  readonly p2m: P2m;
  readonly registers: VcpuRegisters;
}

/**
 * Bytes of memory. `mfn`: an address of the host's memory, in bytes.
 * @throws UserError where there is no memory at any of the addresses
 */
export function readMemory(guest: Inspected, space: AddressSpace, address: bigint, length: number): Uint8Array {
  if (!Number.isInteger(length) || length < 0 || length > READ_LIMIT)
    throw new UserError(`${length} bytes of memory cannot be read at once; ask for 0 to ${READ_LIMIT}`);
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const at = BigInt.asUintN(64, address + BigInt(done));
    const host = hostAddress(guest, space, at);
    if (host === undefined) throw new UserError(`no memory at ${space} 0x${at.toString(16)}; ask for addresses that hold memory`);
    const piece = Math.min(length - done, PAGE_SIZE - pageOffset(host));
    bytes.set(guest.memory.u8.subarray(host, host + piece), done);
    done += piece;
  }
  return bytes;
}

/**
 * Writes guest memory.
 * @param onWrite called for every frame that was written: code decoded from it is out of date
 * @throws UserError where there is no RAM
 */
export function writeMemory(guest: Inspected, gpa: number, bytes: Uint8Array, onWrite: (frame: Mfn) => void): void {
  for (let done = 0; done < bytes.length; ) {
    const host = guest.p2m.ramAddress(gpa + done);
    if (host < 0) throw new UserError(`no memory at gpa 0x${(gpa + done).toString(16)}; name addresses that hold memory`);
    const piece = Math.min(bytes.length - done, PAGE_SIZE - pageOffset(host));
    guest.memory.u8.set(bytes.subarray(done, done + piece), host);
    onWrite(maddrToMfn(maddr(host)));
    done += piece;
  }
}

function hostAddress(guest: Inspected, space: AddressSpace, address: bigint): number | undefined {
  if (space === 'mfn') {
    const at = Number(address);
    return guest.memory.isRamFrame(mfn(Math.floor(at / PAGE_SIZE))) ? at : undefined;
  }
  const gpa = space === 'gpa' ? Number(address) : guestPhysical(guest, address);
  if (gpa === undefined || gpa >= 2 ** 52) return undefined;
  const host = guest.p2m.ramAddress(gpa);
  return host < 0 ? undefined : host;
}

/** The guest-physical address that the page tables of the moment give for a linear one; undefined: they give none. */
function guestPhysical({ memory, p2m, registers }: Inspected, linear: bigint): number | undefined {
  const { cr0, cr4, efer } = registers;
  if (((cr0 >>> 0) & CR0_PG) === 0) return Number(BigInt.asUintN(32, linear));
  const cr3 = Number(registers.cr3 & 0x000f_ffff_ffff_ffffn);
  const word = (gpa: number): number | undefined => {
    const at = p2m.ramAddress(gpa);
    return at < 0 ? undefined : memory.u32[at >>> 2]!;
  };
  if ((cr4 & CR4_PAE) === 0) {
    const address = Number(BigInt.asUintN(32, linear));
    const pde = word(cr3 - pageOffset(cr3) + (address >>> 22) * 4);
    if (pde === undefined || (pde & 1) === 0) return undefined;
    if (pde & 0x80 && cr4 & CR4_PSE) return ((pde >>> 13) & 0xff) * 2 ** 32 + ((pde & 0xffc00000) >>> 0) + (address & 0x3fffff);
    const pte = word(((pde & ~0xfff) >>> 0) + ((address >>> 12) & 0x3ff) * 4);
    return pte === undefined || (pte & 1) === 0 ? undefined : ((pte & ~0xfff) >>> 0) + (address & 0xfff);
  }
  const long = (efer & Efer.lma) !== 0;
  if (long && BigInt.asIntN(48, linear) !== BigInt.asIntN(64, linear)) return undefined;
  let table = long ? cr3 - pageOffset(cr3) : cr3 - (cr3 % 32);
  for (let level = long ? 3 : 2; level >= 0; level--) {
    const index = Number((linear >> BigInt(12 + 9 * level)) & (level === 2 && !long ? 3n : 0x1ffn));
    const low = word(table + index * 8);
    const high = word(table + index * 8 + 4);
    if (low === undefined || high === undefined || (low & 1) === 0) return undefined;
    const address = (high & 0xfffff) * 2 ** 32 + ((low & 0xfffff000) >>> 0);
    const size = 2 ** (12 + 9 * level);
    if (level === 0 || (level < 3 && low & 0x80 && (long || level < 2)))
      return address - (address % size) + Number(linear & BigInt(size - 1));
    table = address;
  }
  return undefined;
}
