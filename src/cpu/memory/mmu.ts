/**
 * Two-stage address translation and the TLB: the guest's page tables (SDM vol. 3A, chapter 4), each of whose accesses
 * and whose result go through the hypervisor's p2m. Linear addresses are signed doubles (memory-views.ts).
 */
import { PAGE_SIZE, gfn as toGfn, type Gfn } from '../../base/address.ts';
import { WATCHED_READS } from './code-flags.ts';
import { CB_CPL, CB_CR0, CB_CR3, CB_CR4, CB_EFER, CB_RFLAGS, CB_TLB, Cr0, Cr4, Efer, Flag } from './control-block.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE, type NestedPaging } from '../interface.ts';
import type { ControlBlock, Linear } from './memory-views.ts';
import { linearHigh, linearLow } from './memory-views.ts';
import {
  TLB_ADDEND,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_EXECUTE,
  TLB_FLAGS,
  TLB_GLOBAL,
  TLB_INDEX_MASK,
  TLB_INDEX_SHIFT,
  TLB_LARGE,
  TLB_LISTED,
  TLB_LISTED_GLOBAL,
  TLB_READ,
  TLB_SET_SIZE,
  TLB_SETS,
  TLB_WRITE,
  TlbSet,
} from './tlb-layout.ts';

export const Access = { read: 0, write: 1, fetch: 2 } as const;
export type Access = (typeof Access)[keyof typeof Access];

/** Outcomes of a translation below zero; at or above zero it is a machine address. */
export const PAGE_FAULT = -1;
export const NESTED_FAULT = -2;

const PTE_PRESENT = 1;
const PTE_WRITE = 2;
const PTE_USER = 4;
const PTE_ACCESSED = 0x20;
const PTE_DIRTY = 0x40;
const PTE_LARGE = 0x80;
const PTE_GLOBAL = 0x100;
/** NX in the high half of a 64-bit entry. */
const PTE_NX_HIGH = 0x80000000;

/** #PF error code bits (SDM vol. 3A, 4.7). */
const PageFaultCode = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/** Physical address width shown by CPUID 80000008. */
export const PHYSICAL_ADDRESS_BITS = 39;
/** PAE's PDPTEs: bits 8:5, 2 and 1. */
const PDPTE_RESERVED_LOW = 0x1e6;
const PTE_RESERVED_HIGH = ~((1 << (PHYSICAL_ADDRESS_BITS - 32)) - 1) & 0x000fffff;

/** 2 MiB regions with entries from large pages that are kept apart; beyond that the TLB is emptied. */
const MAX_LARGE_REGIONS = 1 << 16;

/** Words of a TLB entry. */
const TLB_WORDS = TLB_ENTRY_SIZE >> 2;

/** Bytes that an entry of a table maps, by the table's level. */
const PAGE_BYTES = [0, 2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;

export class Mmu {
  private readonly cb: ControlBlock;
  private readonly tlb: number;
  private readonly nested: NestedPaging;
  /** Byte per machine frame: non-zero when code decoded from it is cached, so that writes must be noticed. */
  private readonly codeFlags: number;
  /** Entries filled since they were last flushed, as word addresses: a flush touches these alone. Those of global pages apart. */
  private readonly filled = new FilledEntries();
  private readonly filledGlobal = new FilledEntries();
  /** 2 MiB regions with an entry from a large page, so that INVLPG knows when one address is not enough. */
  private readonly largeRegions = new Set<number>();
  /** gfn → NestedPaging.lookup result, direct-mapped. */
  private readonly nestedTags = new Float64Array(1024).fill(-1);
  private readonly nestedValues = new Int32Array(1024);
  /** Data breakpoints are on: no access takes the fast path. */
  slowOnly = false;

  // Results of the last walk or translation
  errorCode = 0;
  /** Guest-physical address of the page (walk) or of the byte (nested fault). */
  gpa = 0;
  /** Nested permissions of the frame, or of the refused access. */
  nestedPermissions = 0;
  /** The nested fault hit an access of the page walk itself. */
  inWalk = false;
  /** That access was a write (A/D bits). */
  walkWrite = false;
  private pteFlags = 0; // PTE_WRITE and PTE_USER of all levels combined, PTE_GLOBAL, PTE_DIRTY; bit 31: executable
  private large = false;

  constructor(cb: ControlBlock, tlb: number, nested: NestedPaging, codeFlags: number) {
    this.cb = cb;
    this.tlb = tlb;
    this.nested = nested;
    this.codeFlags = codeFlags;
    this.clear();
  }

  // Second stage

  private lookupNested(gfn: number): number {
    const slot = gfn & 1023;
    if (this.nestedTags[slot] === gfn) return this.nestedValues[slot]!;
    const entry = this.nested.lookup(toGfn(gfn));
    this.nestedTags[slot] = gfn;
    this.nestedValues[slot] = entry;
    return entry;
  }

  /** Machine address of a page-table entry at a guest-physical address, or NESTED_FAULT. */
  private tableAddress(gpa: number, write: boolean): number {
    const entry = this.lookupNested(Math.floor(gpa / PAGE_SIZE));
    const need = write ? NPT_READ | NPT_WRITE : NPT_READ;
    if ((entry & need) !== need) {
      this.gpa = gpa;
      this.nestedPermissions = entry & 7;
      this.inWalk = true;
      this.walkWrite = write;
      return NESTED_FAULT;
    }
    return (entry >>> NPT_MFN_SHIFT) * PAGE_SIZE + (gpa & 0xfff);
  }

  // First stage

  /**
   * Guest page walk. Gives 0 with `gpa` = guest-physical address of the 4 KiB page, or PAGE_FAULT with `errorCode`, or
   * NESTED_FAULT. Sets A, and D for a write.
   */
  walk(lin: Linear, access: Access, user: boolean): number {
    const { cb } = this;
    const cr0 = cb.get(CB_CR0);
    if (!(cr0 & Cr0.pg)) {
      this.gpa = (lin >>> 0) - (lin & 0xfff);
      this.pteFlags = PTE_WRITE | PTE_USER | PTE_DIRTY | (1 << 31);
      this.large = false;
      return 0;
    }
    const cr4 = cb.get(CB_CR4);
    return cr4 & Cr4.pae ? this.walk64(lin, access, user, cr0, cr4) : this.walk32(lin, access, user, cr0, cr4);
  }

  private fault(access: Access, user: boolean, present: boolean, reserved: boolean): number {
    const cr4 = this.cb.get(CB_CR4);
    const nx = this.cb.get(CB_EFER) & Efer.nxe && cr4 & Cr4.pae;
    this.errorCode =
      (present ? PageFaultCode.present : 0) |
      (access === Access.write ? PageFaultCode.write : 0) |
      (user ? PageFaultCode.user : 0) |
      (reserved ? PageFaultCode.reserved : 0) |
      (access === Access.fetch && (nx || cr4 & Cr4.smep) ? PageFaultCode.fetch : 0);
    return PAGE_FAULT;
  }

  /** Are these combined rights enough? Sets up nothing. */
  private permitted(rights: number, executable: boolean, access: Access, user: boolean, cr0: number, cr4: number): boolean {
    if (user) {
      if (!(rights & PTE_USER)) return false;
      if (access === Access.write) return (rights & PTE_WRITE) !== 0;
      return access === Access.read || executable;
    }
    if (rights & PTE_USER) {
      if (access === Access.fetch) return !(cr4 & Cr4.smep) && executable;
      if (cr4 & Cr4.smap && !this.smapOpen) return false;
    } else if (access === Access.fetch) return executable;
    return access === Access.read || (rights & PTE_WRITE) !== 0 || !(cr0 & Cr0.wp);
  }

  /** SMAP does not apply to the access at hand: RFLAGS.AC is set and the access is explicit. */
  private get smapOpen(): boolean {
    return !this.implicit && (this.cb.get(CB_RFLAGS) & Flag.ac) !== 0 && this.cb.get(CB_CPL) !== 3;
  }
  /** An implicit supervisor access (descriptor tables, TSS, exception frames): AC opens nothing. */
  implicit = false;

  /**
   * PAE: has one of the four entries at CR3 a reserved bit set? Loading CR3 or turning paging on is #GP(0) then (SDM
   * vol. 3A 4.4.1). Entries without RAM behind them are left to the walk.
   */
  pdptesRefused(cr3: number): boolean {
    const { cb } = this;
    for (let i = 0; i < 4; i++) {
      const at = this.tableAddress(cr3 - (cr3 & 0x1f) + i * 8, false);
      if (at < 0) continue;
      const lo = cb.u32[at >>> 2]!;
      if (lo & PTE_PRESENT && (lo & PDPTE_RESERVED_LOW || cb.u32[(at >>> 2) + 1]! & (PTE_RESERVED_HIGH | PTE_NX_HIGH)))
        return true;
    }
    return false;
  }

  private walk64(lin: Linear, access: Access, user: boolean, cr0: number, cr4: number): number {
    const { cb } = this;
    const long = (cb.get(CB_EFER) & Efer.lma) !== 0;
    const nxe = (cb.get(CB_EFER) & Efer.nxe) !== 0;
    const reservedHigh = (PTE_RESERVED_HIGH | (nxe ? 0 : PTE_NX_HIGH)) >>> 0;
    let table = long
      ? (cb.get(CB_CR3 + 4) & 0x000fffff) * 2 ** 32 + (cb.get(CB_CR3) >>> 12) * PAGE_SIZE
      : cb.get(CB_CR3) - (cb.get(CB_CR3) & 0x1f);
    let rights = PTE_WRITE | PTE_USER;
    let executable = true;
    for (let level = long ? 4 : 3; ; level--) {
      const index = Math.floor(lin / PAGE_BYTES[level]!) & (level === 3 && !long ? 3 : 511);
      const entryGpa = table + index * 8;
      const at = this.tableAddress(entryGpa, false);
      if (at < 0) return at;
      let lo = cb.u32[at >>> 2]!;
      const hi = cb.u32[(at >>> 2) + 1]!;
      if (!(lo & PTE_PRESENT)) return this.fault(access, user, false, false);
      const pdpte = level === 3 && !long;
      if (hi & reservedHigh || (pdpte && (lo & PDPTE_RESERVED_LOW || hi & PTE_NX_HIGH)))
        return this.fault(access, user, true, true);
      const isLarge = (lo & PTE_LARGE) !== 0 && level > 1 && !pdpte;
      if (level === 4 && lo & PTE_LARGE) return this.fault(access, user, true, true);
      if (isLarge && lo & (level === 3 ? 0x3fffe000 : 0x1fe000)) return this.fault(access, user, true, true);
      if (!pdpte) {
        rights &= lo;
        if (hi & PTE_NX_HIGH) executable = false;
      }
      const last = level === 1 || isLarge;
      if (last) {
        if (!this.permitted(rights, executable, access, user, cr0, cr4)) return this.fault(access, user, true, false);
        const want = PTE_ACCESSED | (access === Access.write ? PTE_DIRTY : 0);
        if ((lo & want) !== want) {
          const writable = this.tableAddress(entryGpa, true);
          if (writable < 0) return writable;
          Atomics.or(cb.i32, at >>> 2, want);
          lo |= want;
        }
        const base =
          (hi & 0x000fffff) * 2 ** 32 +
          (lo & 0xfffff000 & (isLarge ? (level === 3 ? 0xc0000000 : 0xffe00000) : -1)) +
          (lo & 0x80000000 ? 2 ** 32 : 0);
        const within = isLarge ? (level === 3 ? linearLow(lin) & 0x3ffff000 : linearLow(lin) & 0x1ff000) : 0;
        this.gpa = base + within;
        this.large = isLarge;
        this.pteFlags = rights | (lo & (PTE_DIRTY | PTE_GLOBAL)) | (executable ? 1 << 31 : 0);
        return 0;
      }
      if (!pdpte && !(lo & PTE_ACCESSED)) {
        const writable = this.tableAddress(entryGpa, true);
        if (writable < 0) return writable;
        Atomics.or(cb.i32, at >>> 2, PTE_ACCESSED);
      }
      table = (hi & 0x000fffff) * 2 ** 32 + (lo >>> 12) * PAGE_SIZE;
    }
  }

  private walk32(lin: Linear, access: Access, user: boolean, cr0: number, cr4: number): number {
    const { cb } = this;
    let table = (cb.get(CB_CR3) >>> 12) * PAGE_SIZE;
    let rights = PTE_WRITE | PTE_USER;
    for (let level = 2; ; level--) {
      const index = level === 2 ? linearLow(lin) >>> 22 : (linearLow(lin) >>> 12) & 1023;
      const entryGpa = table + index * 4;
      const at = this.tableAddress(entryGpa, false);
      if (at < 0) return at;
      let entry = cb.u32[at >>> 2]!;
      if (!(entry & PTE_PRESENT)) return this.fault(access, user, false, false);
      rights &= entry;
      const isLarge = level === 2 && (entry & PTE_LARGE) !== 0 && (cr4 & Cr4.pse) !== 0;
      if (isLarge && entry & 0x3fe000) return this.fault(access, user, true, true);
      if (level === 1 || isLarge) {
        if (!this.permitted(rights, true, access, user, cr0, cr4)) return this.fault(access, user, true, false);
        const want = PTE_ACCESSED | (access === Access.write ? PTE_DIRTY : 0);
        if ((entry & want) !== want) {
          const writable = this.tableAddress(entryGpa, true);
          if (writable < 0) return writable;
          Atomics.or(cb.i32, at >>> 2, want);
          entry |= want;
        }
        this.gpa = isLarge ? ((entry & 0xffc00000) | (linearLow(lin) & 0x3ff000)) >>> 0 : (entry >>> 12) * PAGE_SIZE;
        this.large = isLarge;
        this.pteFlags = rights | (entry & (PTE_DIRTY | PTE_GLOBAL)) | (1 << 31);
        return 0;
      }
      if (!(entry & PTE_ACCESSED)) {
        const writable = this.tableAddress(entryGpa, true);
        if (writable < 0) return writable;
        Atomics.or(cb.i32, at >>> 2, PTE_ACCESSED);
      }
      table = (entry >>> 12) * PAGE_SIZE;
    }
  }

  // TLB

  /** The set that the current privilege uses; stored where generated code finds it. */
  selectSet(): void {
    const { cb } = this;
    const user = cb.get(CB_CPL) === 3;
    const alignmentChecked = user && (cb.get(CB_CR0) & Cr0.am) !== 0 && (cb.get(CB_RFLAGS) & Flag.ac) !== 0;
    let set: number;
    if (this.slowOnly || alignmentChecked) set = TlbSet.none;
    else set = user ? TlbSet.user : this.supervisorSet;
    cb.set(CB_TLB, this.tlb + set * TLB_SET_SIZE);
  }

  /** The set that a supervisor access uses. */
  private get supervisorSet(): number {
    return this.cb.get(CB_CR4) & Cr4.smap && !this.smapOpen ? TlbSet.supervisorSmap : TlbSet.supervisor;
  }

  /**
   * Machine address of the byte at `lin` for a user's or a supervisor's access, filling the TLB; or
   * PAGE_FAULT (errorCode) or NESTED_FAULT (gpa, nestedPermissions, inWalk). Write: false also for code-holding frames,
   * so that a caller must go through the code cache (`codeFlags` says so).
   */
  translate(lin: Linear, access: Access, user: boolean): number {
    const { cb } = this;
    const set = this.tlb + (user ? TlbSet.user : this.supervisorSet) * TLB_SET_SIZE;
    const entry = set + ((linearLow(lin) >>> TLB_INDEX_SHIFT) & TLB_INDEX_MASK);
    const tag = access === Access.read ? TLB_READ : access === Access.write ? TLB_WRITE : TLB_EXECUTE;
    const word = entry >> 2;
    const pageLo = linearLow(lin) & ~0xfff;
    const pageHi = linearHigh(lin);
    if (cb.i32[word + (tag >> 2)] === pageLo && cb.i32[word + (tag >> 2) + 1] === pageHi) {
      return (linearLow(lin) + cb.i32[word + (TLB_ADDEND >> 2)]!) >>> 0;
    }
    const outcome = this.walk(lin, access, user);
    if (outcome < 0) return outcome;
    const nestedEntry = this.lookupNested(Math.floor(this.gpa / PAGE_SIZE));
    const permissions = nestedEntry & 7;
    const need = access === Access.read ? NPT_READ : access === Access.write ? NPT_WRITE : NPT_EXECUTE;
    if (!(permissions & need)) {
      this.gpa += lin & 0xfff;
      this.nestedPermissions = permissions;
      this.inWalk = false;
      return NESTED_FAULT;
    }
    const frame = nestedEntry >>> NPT_MFN_SHIFT;
    if (this.large && this.largeRegions.size >= MAX_LARGE_REGIONS) this.flushAll();
    this.fill(word, pageLo, pageHi, frame, permissions, user);
    return frame * PAGE_SIZE + (lin & 0xfff);
  }

  private fill(word: number, pageLo: number, pageHi: number, frame: number, permissions: number, user: boolean): void {
    const { i32, u8 } = this.cb;
    const cr0 = this.cb.get(CB_CR0);
    const cr4 = this.cb.get(CB_CR4);
    const { pteFlags } = this;
    const executable = (pteFlags & (1 << 31)) !== 0;
    const mayRead =
      permissions & NPT_READ &&
      !(u8[this.codeFlags + frame]! & WATCHED_READS) &&
      this.permitted(pteFlags, executable, Access.read, user, cr0, cr4);
    const mayWrite =
      permissions & NPT_WRITE &&
      pteFlags & PTE_DIRTY &&
      !u8[this.codeFlags + frame] &&
      this.permitted(pteFlags, executable, Access.write, user, cr0, cr4);
    const mayFetch = permissions & NPT_EXECUTE && this.permitted(pteFlags, executable, Access.fetch, user, cr0, cr4);
    this.setTag(word + (TLB_READ >> 2), mayRead, pageLo, pageHi);
    this.setTag(word + (TLB_WRITE >> 2), mayWrite, pageLo, pageHi);
    this.setTag(word + (TLB_EXECUTE >> 2), mayFetch, pageLo, pageHi);
    i32[word + (TLB_ADDEND >> 2)] = (frame * PAGE_SIZE - pageLo) | 0;
    const global = pteFlags & PTE_GLOBAL && cr4 & Cr4.pge ? TLB_GLOBAL : 0;
    const listed = i32[word + (TLB_FLAGS >> 2)]! & (global ? TLB_LISTED_GLOBAL : TLB_LISTED);
    i32[word + (TLB_FLAGS >> 2)] =
      (i32[word + (TLB_FLAGS >> 2)]! & (TLB_LISTED | TLB_LISTED_GLOBAL)) |
      global |
      (this.large ? TLB_LARGE : 0) |
      (global ? TLB_LISTED_GLOBAL : TLB_LISTED);
    if (this.large) this.largeRegions.add(Math.floor((pageHi * 2 ** 32 + (pageLo >>> 0)) / 2 ** 21));
    if (!listed) (global ? this.filledGlobal : this.filled).add(word);
  }

  private setTag(word: number, valid: number | boolean, pageLo: number, pageHi: number): void {
    this.cb.i32[word] = valid ? pageLo : 1;
    this.cb.i32[word + 1] = valid ? pageHi : 0;
  }

  private dropEntry(word: number): void {
    this.setTag(word + (TLB_READ >> 2), false, 0, 0);
    this.setTag(word + (TLB_WRITE >> 2), false, 0, 0);
    this.setTag(word + (TLB_EXECUTE >> 2), false, 0, 0);
  }

  flushAll(): void {
    this.flush(this.filled);
    this.flush(this.filledGlobal);
    this.largeRegions.clear();
  }

  /** Make every entry invalid, whatever the memory held. */
  private clear(): void {
    const first = this.tlb >> 2;
    const end = first + ((TLB_SETS * TLB_SET_SIZE) >> 2);
    for (let word = first; word < end; word += TLB_ENTRY_SIZE >> 2) {
      this.dropEntry(word);
      this.cb.i32[word + (TLB_FLAGS >> 2)] = 0;
    }
    this.filled.count = 0;
    this.filledGlobal.count = 0;
    this.largeRegions.clear();
  }

  /** MOV to CR3: everything but global pages. */
  flushNonGlobal(): void {
    this.flush(this.filled);
  }

  /** Empty one list. An entry may stand in both; what it holds now says where it belongs. */
  private flush(list: FilledEntries): void {
    const { i32 } = this.cb;
    const global = list === this.filledGlobal;
    for (let i = 0; i < list.count; i++) {
      const word = list.words[i]!;
      const flags = i32[word + (TLB_FLAGS >> 2)]!;
      if (((flags & TLB_GLOBAL) !== 0) === global) this.dropEntry(word);
      i32[word + (TLB_FLAGS >> 2)] = flags & ~(global ? TLB_LISTED_GLOBAL : TLB_LISTED);
    }
    list.count = 0;
  }

  /** INVLPG: the page of this address, whatever its size, in every set. True: it was a large one, and all entries of those are gone. */
  flushPage(lin: Linear): boolean {
    const offset = (linearLow(lin) >>> TLB_INDEX_SHIFT) & TLB_INDEX_MASK;
    for (let set = 0; set < TLB_SETS; set++) this.dropEntry((this.tlb + set * TLB_SET_SIZE + offset) >> 2);
    if (!this.largeRegions.has(Math.floor(lin / 2 ** 21))) return false;
    // The large page may be 1 GiB or 4 MiB: drop every entry that came from a large page.
    for (const { words, count } of [this.filled, this.filledGlobal]) {
      for (let i = 0; i < count; i++) if (this.cb.i32[words[i]! + (TLB_FLAGS >> 2)]! & TLB_LARGE) this.dropEntry(words[i]!);
    }
    this.largeRegions.clear();
    return true;
  }

  /** The page at `lin`, just translated, is global. */
  isGlobal(lin: Linear, user: boolean): boolean {
    const entry =
      this.tlb +
      (user ? TlbSet.user : this.supervisorSet) * TLB_SET_SIZE +
      ((linearLow(lin) >>> TLB_INDEX_SHIFT) & TLB_INDEX_MASK);
    return (this.cb.i32[(entry + TLB_FLAGS) >> 2]! & TLB_GLOBAL) !== 0;
  }

  /** The p2m changed for one gfn or for all. Entries do not know their gfn, so all go. */
  invalidateNested(gfn?: Gfn): void {
    if (gfn === undefined) this.nestedTags.fill(-1);
    else this.nestedTags[gfn & 1023] = -1;
    this.flushAll();
  }

  /** Every entry that holds a page: index, tags, addend, flags (tlb-layout.ts). */
  saveTlb(): Uint32Array {
    const { u32 } = this.cb;
    const out: number[] = [];
    for (let index = 0; index < TLB_SETS * TLB_ENTRIES; index++) {
      const word = (this.tlb + index * TLB_ENTRY_SIZE) >> 2;
      const empty = u32[word] === 1 && u32[word + (TLB_WRITE >> 2)] === 1 && u32[word + (TLB_EXECUTE >> 2)] === 1;
      if (!empty) out.push(index, ...u32.subarray(word, word + TLB_WORDS));
    }
    return Uint32Array.from(out);
  }

  /** Takes what saveTlb gave, in place of all entries. Entries that would lead out of the machine's memory are left out. */
  restoreTlb(entries: Uint32Array): void {
    this.flushAll();
    const { i32, u8 } = this.cb;
    for (let at = 0; at + TLB_WORDS < entries.length; at += 1 + TLB_WORDS) {
      const index = entries[at]!;
      if (index >= TLB_SETS * TLB_ENTRIES) continue;
      const word = (this.tlb + index * TLB_ENTRY_SIZE) >> 2;
      const entry = entries.subarray(at + 1, at + 1 + TLB_WORDS);
      const flags = entry[TLB_FLAGS >> 2]! & (TLB_GLOBAL | TLB_LARGE);
      // All valid tags of an entry are the same page.
      const tag = [TLB_READ, TLB_WRITE, TLB_EXECUTE].find((t) => entry[t >> 2] !== 1);
      if (tag === undefined) continue;
      const pageLo = entry[tag >> 2]! | 0;
      const pageHi = entry[(tag >> 2) + 1]! | 0;
      if (((pageLo + entry[TLB_ADDEND >> 2]!) >>> 0) + PAGE_SIZE > u8.length) continue;
      i32.set(entry, word);
      i32[word + (TLB_FLAGS >> 2)] = flags | (flags & TLB_GLOBAL ? TLB_LISTED_GLOBAL : TLB_LISTED);
      (flags & TLB_GLOBAL ? this.filledGlobal : this.filled).add(word);
      if (flags & TLB_LARGE) this.largeRegions.add(Math.floor((pageHi * 2 ** 32 + (pageLo >>> 0)) / 2 ** 21));
    }
  }

  /** The frame now holds decoded code, or is watched: entries that let it be written without notice go. */
  protectCode(frame: number): void {
    this.dropTags(frame, TLB_WRITE);
  }

  /** Reads of the frame are watched now: entries that let it be read without notice go. */
  protectReads(frame: number): void {
    this.dropTags(frame, TLB_READ);
  }

  private dropTags(frame: number, tag: number): void {
    const { i32 } = this.cb;
    for (const { words, count } of [this.filled, this.filledGlobal]) {
      for (let i = 0; i < count; i++) {
        const word = words[i]!;
        if (i32[word + (tag >> 2)]! === 1) continue;
        if ((i32[word + (tag >> 2)]! + i32[word + (TLB_ADDEND >> 2)]!) >>> 12 === frame)
          this.setTag(word + (tag >> 2), false, 0, 0);
      }
    }
  }

  /** The frame holds decoded code, or is watched. */
  holdsCode(frame: number): boolean {
    return this.cb.u8[this.codeFlags + frame] !== 0;
  }

  watchesReads(frame: number): boolean {
    return (this.cb.u8[this.codeFlags + frame]! & WATCHED_READS) !== 0;
  }
}

/** Word addresses of TLB entries. */
class FilledEntries {
  readonly words = new Int32Array(TLB_SETS * TLB_ENTRIES);
  count = 0;

  add(word: number): void {
    this.words[this.count++] = word;
  }
}
