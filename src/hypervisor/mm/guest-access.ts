/**
 * The hypervisor's own accesses to guest memory (Xen: hvm_copy_to_guest_phys and friends, guest_access.h). They follow the
 * p2m frame by frame, mark pages dirty, and tell the engine when a frame with decoded code is written.
 */
import { gva, PAGE_SIZE, pageOffset, gpaToGfn, mfnToMaddr } from '../../base/address.ts';
import type { Gpa, Gva, Maddr } from '../../base/address.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import type { MachineMemory } from './memory.ts';
import { P2mType, p2mIsDiscardWrite, p2mIsRam } from './p2m.ts';
import type { P2m } from './p2m.ts';
import { PGC_CODE } from './page-alloc.ts';

/** Most bytes one hypercall argument may have. */
const MAX_COPY = 0x10_0000;

export class GuestMemory {
  readonly memory: MachineMemory;
  readonly p2m: P2m;
  private readonly engine: Vcpu | undefined;
  /** Halves of the value of the last readPhys. */
  lo = 0;
  hi = 0;

  /** `engine`: the vCPU whose thread this is; without one (building a domain) only physical addresses work. */
  constructor(memory: MachineMemory, p2m: P2m, engine?: Vcpu) {
    this.memory = memory;
    this.p2m = p2m;
    this.engine = engine;
  }

  /** Read 1, 2, 4 or 8 bytes at a guest-physical address into lo and hi; false where there is no RAM. May cross a page. */
  readPhys(gpa: number, size: number): boolean {
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < size; i++) {
      const at = this.p2m.ramAddress(gpa + i);
      if (at === -1) return false;
      const byte = this.memory.u8[at]!;
      if (i < 4) lo |= byte << (i * 8);
      else hi |= byte << ((i - 4) * 8);
    }
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
    return true;
  }

  /** Write 1, 2, 4 or 8 bytes; false where there is no RAM. Writes to read-only memory vanish. */
  writePhys(gpa: number, size: number, lo: number, hi: number): boolean {
    for (let i = 0; i < size; i++) {
      const at = this.writable(gpa + i);
      if (at === -1) return false;
      if (at !== 0) this.memory.u8[at] = i < 4 ? lo >>> (i * 8) : hi >>> ((i - 4) * 8);
    }
    return true;
  }

  /** Copy bytes to guest-physical memory; returns how many were copied before there was no RAM. */
  copyToPhys(gpa: Gpa, bytes: Uint8Array): number {
    for (let done = 0; done < bytes.length; ) {
      const at = this.writable(gpa + done);
      if (at === -1) return done;
      const chunk = Math.min(bytes.length - done, PAGE_SIZE - pageOffset(gpa + done));
      if (at !== 0) this.memory.u8.set(bytes.subarray(done, done + chunk), at);
      done += chunk;
    }
    return bytes.length;
  }

  /** Copy guest-physical memory into `out`; returns how many bytes there were. */
  copyFromPhys(gpa: Gpa, out: Uint8Array): number {
    for (let done = 0; done < out.length; ) {
      const at = this.p2m.ramAddress(gpa + done);
      if (at === -1) return done;
      const chunk = Math.min(out.length - done, PAGE_SIZE - pageOffset(gpa + done));
      out.set(this.memory.u8.subarray(at, at + chunk), done);
      done += chunk;
    }
    return out.length;
  }

  /** copy_from_guest: bytes at a guest-linear address, with the kernel's rights; false when any of it cannot be read. */
  copyFromLinear(address: Gva, out: Uint8Array): boolean {
    return this.eachPage(
      address,
      out.length,
      'read',
      (gpa, done, chunk) => this.copyFromPhys(gpa, out.subarray(done, done + chunk)) === chunk,
    );
  }

  /** copy_to_guest. */
  copyToLinear(address: Gva, bytes: Uint8Array): boolean {
    return this.eachPage(
      address,
      bytes.length,
      'write',
      (gpa, done, chunk) => this.copyToPhys(gpa, bytes.subarray(done, done + chunk)) === chunk,
    );
  }

  private eachPage(
    address: Gva,
    length: number,
    access: 'read' | 'write',
    work: (gpa: Gpa, done: number, chunk: number) => boolean,
  ): boolean {
    const { engine } = this;
    if (engine === undefined || length > MAX_COPY) return false;
    for (let done = 0; done < length; ) {
      const at = gva(address + BigInt(done));
      const walk = engine.translate(at, access, 'supervisor');
      if (walk.outcome !== 'ok') return false;
      const chunk = Math.min(length - done, PAGE_SIZE - Number(at & 0xfffn));
      if (!work(walk.gpa, done, chunk)) return false;
      done += chunk;
    }
    return true;
  }

  /** Machine address to write at: 0 where writes vanish, −1 where there is no RAM. */
  private writable(gpa: number): Maddr | 0 | -1 {
    const gfn = gpaToGfn(gpa as Gpa);
    const type = this.p2m.getType(gfn);
    if (p2mIsDiscardWrite(type)) return 0;
    if (!p2mIsRam(type)) return -1;
    const frame = this.p2m.getMfn(gfn);
    this.p2m.markDirty(gfn);
    if (type === P2mType.ramLogdirty) this.p2m.changeType(gfn, P2mType.ramLogdirty, P2mType.ramRw);
    if (this.engine !== undefined && this.memory.u32[this.memory.frameEntry(frame) >>> 2]! & PGC_CODE)
      this.engine.invalidateCode(frame);
    return (mfnToMaddr(frame) + pageOffset(gpa)) as Maddr;
  }
}
