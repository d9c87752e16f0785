/**
 * Physical-to-machine map of a domain (Xen: arch/x86/mm/p2m.c, p2m-ept.c): one 32-bit entry a guest frame, in machine
 * memory, read without a lock from any thread and changed under the `p2m` lock.
 */
import { INVALID_MFN, mfn, mfnToMaddr, pageOffset, gpaToGfn } from '../../base/address.ts';
import type { Gfn, Gpa, Maddr, Mfn } from '../../base/address.ts';
import { Listeners } from '../../base/listeners.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE } from '../../cpu/interface.ts';
import type { NestedPaging } from '../../cpu/interface.ts';
import { TRC_MEM_DECREASE_RESERVATION, TRC_MEM_SET_P2M_ENTRY } from '../../trace/events.ts';
import { Lock, LockOrder } from './lock.ts';
import type { MachineMemory } from './memory.ts';
import type { PageAllocator } from './page-alloc.ts';

/** p2m_type_t; the same numbers in Xen 4.4 and 4.17 (14 and 15 only in 4.17). */
export const P2mType = {
  ramRw: 0,
  invalid: 1,
  ramLogdirty: 2,
  ramRo: 3,
  mmioDm: 4,
  mmioDirect: 5,
  populateOnDemand: 6,
  grantMapRw: 7,
  grantMapRo: 8,
  pagingOut: 9,
  paged: 10,
  pagingIn: 11,
  shared: 12,
  broken: 13,
  mapForeign: 14,
  ioreqServer: 15,
} as const;
export type P2mType = (typeof P2mType)[keyof typeof P2mType];

/** p2m_access_t. */
export const P2mAccess = { n: 0, r: 1, w: 2, rw: 3, x: 4, rx: 5, wx: 6, rwx: 7, rx2rw: 8, n2rwx: 9 } as const;
export type P2mAccess = (typeof P2mAccess)[keyof typeof P2mAccess];

/** Entry: frame 19:0, type 23:20, access 27:24, present 31. Zero: nothing there (reads as mmio_dm, INVALID_MFN). */
const ENTRY_MFN = 0xf_ffff;
const ENTRY_TYPE_SHIFT = 20;
const ENTRY_ACCESS_SHIFT = 24;
const ENTRY_PRESENT = 0x8000_0000;

/** What ept_p2m_type_to_flags leaves of rwx, by type. */
const TYPE_RIGHTS: readonly number[] = (() => {
  const rwx = NPT_READ | NPT_WRITE | NPT_EXECUTE;
  const rights = new Array<number>(16).fill(0);
  rights[P2mType.ramRw] = rwx;
  rights[P2mType.ramLogdirty] = NPT_READ | NPT_EXECUTE;
  rights[P2mType.ramRo] = NPT_READ | NPT_EXECUTE;
  rights[P2mType.shared] = NPT_READ | NPT_EXECUTE;
  rights[P2mType.mmioDirect] = rwx;
  rights[P2mType.grantMapRw] = NPT_READ | NPT_WRITE;
  rights[P2mType.grantMapRo] = NPT_READ;
  rights[P2mType.mapForeign] = NPT_READ | NPT_WRITE;
  rights[P2mType.ioreqServer] = NPT_READ;
  return rights;
})();

/** Rights of an access value (rx2rw is still rx, n2rwx still none). */
const ACCESS_RIGHTS = [0, 1, 2, 3, 4, 5, 6, 7, 5, 0] as const;

/** p2m_is_ram: real memory of the domain. */
export const p2mIsRam = (type: P2mType): boolean =>
  type === P2mType.ramRw ||
  type === P2mType.ramLogdirty ||
  type === P2mType.ramRo ||
  type === P2mType.shared ||
  type === P2mType.ioreqServer;

/** p2m_is_discard_write: writes vanish. */
export const p2mIsDiscardWrite = (type: P2mType): boolean => type === P2mType.ramRo || type === P2mType.grantMapRo;

/** What a p2m needs of the trace ring of the calling thread's pCPU. */
export interface TraceRing {
  record(event: number, ...words: number[]): void;
}

export class P2m implements NestedPaging {
  readonly domid: number;
  readonly maxGfn: number;
  private readonly i32: Int32Array;
  private readonly u32: Uint32Array;
  private readonly table: number;
  private readonly lock: Lock;
  private readonly pages: PageAllocator;
  private readonly dirty: number;
  private readonly trace: TraceRing | undefined;
  /** After every change: cached translations of this gfn (undefined: of any) must be dropped on every vCPU of the domain. */
  readonly changes = new Listeners<Gfn | undefined>();

  /** `guest`: index of the domain's table in the machine's layout. `trace`: ring of the calling thread's pCPU. */
  constructor(memory: MachineMemory, pages: PageAllocator, domid: number, guest: number, trace?: TraceRing) {
    const area = memory.layout.p2m[guest];
    if (area === undefined) throw new Error(`no p2m table for guest ${guest}`);
    this.domid = domid;
    this.maxGfn = memory.layout.options.maxGfn;
    this.i32 = memory.i32;
    this.u32 = memory.u32;
    this.table = area.base >>> 2;
    this.pages = pages;
    this.trace = trace;
    this.lock = new Lock(memory, memory.xenheap(`p2m.d${domid}`, 8), LockOrder.p2m, `p2m.d${domid}`);
    this.dirty = memory.xenheap(`log_dirty.d${domid}`, Math.ceil(this.maxGfn / 32) * 4) >>> 2;
  }

  lookup(gfn: Gfn): number {
    const entry = this.entry(gfn);
    if (entry === 0) return 0;
    const rights = TYPE_RIGHTS[(entry >>> ENTRY_TYPE_SHIFT) & 15]! & ACCESS_RIGHTS[(entry >>> ENTRY_ACCESS_SHIFT) & 15]!;
    return rights === 0 ? 0 : ((entry & ENTRY_MFN) << NPT_MFN_SHIFT) | rights;
  }

  /** Machine frame behind a guest frame, INVALID_MFN where there is none. */
  getMfn(gfn: Gfn): Mfn {
    const entry = this.entry(gfn);
    return entry === 0 ? INVALID_MFN : mfn(entry & ENTRY_MFN);
  }

  /** mmio_dm for every guest frame that has no entry. */
  getType(gfn: Gfn): P2mType {
    const entry = this.entry(gfn);
    return entry === 0 ? P2mType.mmioDm : (((entry >>> ENTRY_TYPE_SHIFT) & 15) as P2mType);
  }

  getAccess(gfn: Gfn): P2mAccess {
    const entry = this.entry(gfn);
    return entry === 0 ? P2mAccess.n : (((entry >>> ENTRY_ACCESS_SHIFT) & 15) as P2mAccess);
  }

  /**
   * Put a frame (or INVALID_MFN: remove) at a guest frame. References of frames are the caller's business. False when the
   * guest frame lies beyond what a p2m holds.
   */
  setEntry(gfn: Gfn, frame: Mfn, type: P2mType, access: P2mAccess = P2mAccess.rwx): boolean {
    if (!(gfn >= 0 && gfn < this.maxGfn)) return false;
    this.lock.within(() => this.put(gfn, frame, type, access));
    this.changes.call(gfn);
    return true;
  }

  /** p2m_change_type_one: change the type if it is `from`; true when it was. */
  changeType(gfn: Gfn, from: P2mType, to: P2mType): boolean {
    const changed = this.lock.within(() => {
      const entry = this.entry(gfn);
      if (entry === 0 || ((entry >>> ENTRY_TYPE_SHIFT) & 15) !== from) return false;
      this.put(gfn, mfn(entry & ENTRY_MFN), to, ((entry >>> ENTRY_ACCESS_SHIFT) & 15) as P2mAccess);
      return true;
    });
    if (changed) this.changes.call(gfn);
    return changed;
  }

  /**
   * Give the domain `count` frames of RAM from `first` on. Returns how many were placed: fewer when memory is used up, a
   * guest frame is taken already or lies out of range.
   */
  populate(first: Gfn, count: number): number {
    for (let i = 0; i < count; i++) {
      const gfn = (first + i) as Gfn;
      if (!(gfn >= 0 && gfn < this.maxGfn) || this.entry(gfn) !== 0) return i;
      const frame = this.pages.alloc(this.domid, gfn);
      if (frame === undefined) return i;
      this.setEntry(gfn, frame, P2mType.ramRw);
    }
    return count;
  }

  /**
   * Take a guest frame's RAM away (XENMEM_decrease_reservation): the entry goes, cached translations go, then the owner's
   * reference. The frame is freed once no foreign mapping holds it. False when there was no RAM.
   */
  decreaseReservation(gfn: Gfn): boolean {
    const frame = this.lock.within(() => {
      const entry = this.entry(gfn);
      if (entry === 0 || !p2mIsRam(((entry >>> ENTRY_TYPE_SHIFT) & 15) as P2mType)) return INVALID_MFN;
      this.put(gfn, INVALID_MFN, P2mType.invalid, P2mAccess.n);
      return mfn(entry & ENTRY_MFN);
    });
    if (frame === INVALID_MFN) return false;
    this.trace?.record(TRC_MEM_DECREASE_RESERVATION, 3, gfn, 0, this.domid);
    this.changes.call(gfn);
    this.pages.putPageAllocRef(frame);
    return true;
  }

  /**
   * Foreign mapping: out[i] is the machine address of guest frame first+i with a reference taken, or −1 where the guest
   * has no writable RAM there.
   */
  foreignMap(first: Gfn, count: number, out: Int32Array): void {
    this.lock.within(() => {
      for (let i = 0; i < count; i++) {
        const gfn = (first + i) as Gfn;
        const type = this.getType(gfn);
        const frame = this.getMfn(gfn);
        const mappable = type === P2mType.ramRw || type === P2mType.ramLogdirty;
        out[i] = mappable && this.pages.getPage(frame, this.domid) ? mfnToMaddr(frame) : -1;
      }
    });
  }

  foreignUnmap(count: number, mapped: Int32Array): void {
    for (let i = 0; i < count; i++) {
      if (mapped[i] !== -1) this.pages.putPage(mfn(mapped[i]! >>> 12));
    }
  }

  /** Take a reference on the RAM frame behind a gfn for the time of an access; INVALID_MFN when it is no RAM. */
  getPage(gfn: Gfn): Mfn {
    return this.lock.within(() => {
      const entry = this.entry(gfn);
      if (entry === 0 || !p2mIsRam(((entry >>> ENTRY_TYPE_SHIFT) & 15) as P2mType)) return INVALID_MFN;
      const frame = mfn(entry & ENTRY_MFN);
      return this.pages.getPage(frame, this.domid) ? frame : INVALID_MFN;
    });
  }

  /** Every RAM page becomes ram_logdirty (on) or ram_rw (off); the bitmap starts empty. */
  setLogDirty(on: boolean): void {
    const from = on ? P2mType.ramRw : P2mType.ramLogdirty;
    const to = on ? P2mType.ramLogdirty : P2mType.ramRw;
    this.lock.within(() => {
      for (let gfn = 0; gfn < this.maxGfn; gfn++) {
        const entry = this.u32[this.table + gfn]!;
        if (entry === 0 || ((entry >>> ENTRY_TYPE_SHIFT) & 15) !== from) continue;
        Atomics.store(this.i32, this.table + gfn, (entry & ~(15 << ENTRY_TYPE_SHIFT)) | (to << ENTRY_TYPE_SHIFT));
      }
      this.u32.fill(0, this.dirty, this.dirty + Math.ceil(this.maxGfn / 32));
    });
    this.changes.call(undefined);
  }

  /** paging_mark_pfn_dirty. */
  markDirty(gfn: Gfn): void {
    if (gfn >= 0 && gfn < this.maxGfn) Atomics.or(this.i32, this.dirty + (gfn >>> 5), 1 << (gfn & 31));
  }

  /** The dirty guest frames since the last call, which are write-protected anew. */
  cleanDirty(): Gfn[] {
    const dirty: Gfn[] = [];
    for (let word = 0; word < Math.ceil(this.maxGfn / 32); word++) {
      let bits = Atomics.exchange(this.i32, this.dirty + word, 0);
      while (bits !== 0) {
        const bit = 31 - Math.clz32(bits & -bits);
        bits &= bits - 1;
        const gfn = (word * 32 + bit) as Gfn;
        dirty.push(gfn);
        this.changeType(gfn, P2mType.ramRw, P2mType.ramLogdirty);
      }
    }
    return dirty;
  }

  /** Machine address of guest RAM, or −1. For accesses of the hypervisor on the domain's own pCPU thread. */
  ramAddress(gpa: number): Maddr | -1 {
    const entry = this.entry(gpaToGfn(gpa as Gpa));
    if (entry === 0 || !p2mIsRam(((entry >>> ENTRY_TYPE_SHIFT) & 15) as P2mType)) return -1;
    return (mfnToMaddr(mfn(entry & ENTRY_MFN)) + pageOffset(gpa)) as Maddr;
  }

  private entry(gfn: Gfn): number {
    // Not of a frame number, negative, or beyond the table: nothing there.
    if (!(gfn >= 0 && gfn < this.maxGfn)) return 0;
    return Atomics.load(this.i32, this.table + gfn);
  }

  private put(gfn: Gfn, frame: Mfn, type: P2mType, access: P2mAccess): void {
    const entry = frame === INVALID_MFN ? 0 : ENTRY_PRESENT | frame | (type << ENTRY_TYPE_SHIFT) | (access << ENTRY_ACCESS_SHIFT);
    Atomics.store(this.i32, this.table + gfn, entry);
    this.trace?.record(TRC_MEM_SET_P2M_ENTRY, 6, gfn, 0, frame, frame === INVALID_MFN ? -1 : 0, type, this.domid);
  }
}
