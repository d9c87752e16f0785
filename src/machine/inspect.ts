/** A machine that stands still, seen from outside: registers and memory. Nothing in the machine changes by looking. */
import { maddr, maddrToMfn, mfn, type Mfn, PAGE_SIZE, pageOffset } from '../base/address.ts';
import { UserError } from '../base/errors.ts';
import { Efer, Reg, Seg, type VcpuRegisters } from '../cpu/interface.ts';
import { CR0_PE, type Inspected, walk } from './page-walk.ts';

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
  const gpa = space === 'gpa' ? Number(address) : walk(guest, address).gpa;
  if (gpa === undefined || gpa >= 2 ** 52) return undefined;
  const host = guest.p2m.ramAddress(gpa);
  return host < 0 ? undefined : host;
}
