import {
  DATA_HVM,
  DATA_NONE,
  POST_GENERIC,
  POST_NONE,
  POST_PF_XEN,
  POST_SHADOW_EMULATE,
  POST_SHADOW_FAULT,
  POST_SHADOW_FIXUP,
  POST_SHADOW_MMIO,
  POST_SHADOW_PROPAGATE,
} from './domains.ts';
import type { HvmState, ShadowFault, TracedPcpu, Vcpu } from './domains.ts';
import { CycleSummary } from './cycles.ts';
import { ERR_RECORD } from './errors.ts';
import type { Engine } from './engine.ts';
import { enumerateMmio } from './io-addresses.ts';
import { TRC_HVM_PF_XEN64, TRC_SHADOW_RESYNC_FULL } from '../events.ts';

/** Page faults under shadow paging: TRC_SHADOW records and PF_XEN. Rare today, so plain bigints will do. */

const PF_NOT_SHADOW = 1;
const PF_FAST_MMIO = 3;
const PF_MMIO = 5;
const PF_FIXUP = 6;
const PF_EMULATE = 8;
const PF_UNSHADOW_USER = 9;
const PF_LAST_FAULT = 11;
const SHADOW_WRMAP_BF = 12;
const SHADOW_PREALLOC_UNPIN = 13;
const SHADOW_RESYNC_ONLY = 15;
const PF_NON_EMULATE = 12;

export const PF_NAMES: readonly (string | undefined)[] = [
  undefined,
  'propagate',
  'fast propagate',
  'fast mmio',
  'false fast path',
  'mmio',
  'fixup',
  'dom dying',
  'emulate',
  'unshadow:user-mode',
  'unshadow:evt inj',
  'unshadow:unhandled instr',
  'fixup|mmio',
  '(no handler)',
];
export const PF_EMULATE_NAMES = [
  'non-linmap',
  'linmap l1',
  'linmap l2',
  'linmap l3',
  'linmap l4',
  'early unshadow',
  'set changed',
  'set unchanged',
  'set flush',
  'set error',
  'promote',
  'demote',
  'unpin',
  'unhook',
] as const;
export const PF_NON_EMULATE_NAMES = ['va user', 'va kernel', 'eip user', 'eip kernel'] as const;
export const PF_FIXUP_NAMES = [
  'unpin',
  'unhook',
  'unsync',
  'oos-add',
  'oos-evict',
  'promote',
  'update',
  'wrmap',
  'wrmap-bf',
] as const;

/** Bits of a fault's flags. */
const SET_AD = 1 << 0;
const SET_A = 1 << 1;
const SET_CHANGED = 1 << 5;
const SET_FLUSH = 1 << 6;
const SET_ERROR = 1 << 7;
const DEMOTE = 1 << 8;
const PROMOTE = 1 << 9;
const WRMAP = 1 << 10;
const WRMAP_BRUTE_FORCE = 1 << 12;
const EARLY_UNSHADOW = 1 << 13;
const PREALLOC_UNHOOK = 1 << 17;
const UNSYNC = 1 << 18;
const OOS_FIXUP_ADD = 1 << 19;
const OOS_FIXUP_EVICT = 1 << 20;
const FLAG_LETTERS: readonly [number, string][] = [
  [1 << 2, 'g'],
  [1 << 3, 'p'],
  [DEMOTE, 'D'],
  [PROMOTE, 'P'],
  [WRMAP, 'w'],
  [1 << 11, 'G'],
  [EARLY_UNSHADOW, 'e'],
  [PREALLOC_UNHOOK, 'H'],
  [UNSYNC, 'u'],
  [OOS_FIXUP_ADD, 'a'],
  [OOS_FIXUP_EVICT, 'x'],
];

const flagString = (flags: number): string =>
  ((flags & SET_AD) !== 0 ? 'd' : (flags & SET_A) !== 0 ? 'a' : '-') +
  FLAG_LETTERS.map(([bit, letter]) => ((flags & bit) !== 0 ? letter : '-')).join('');

const u32 = (p: TracedPcpu, i: number): bigint => BigInt(p.words[p.data + i]! >>> 0);
const u64 = (p: TracedPcpu, i: number): bigint => (u32(p, i + 1) << 32n) | u32(p, i);
const hex = (value: bigint): string => value.toString(16);
const NO_CORRESPONDING = 0xffffffffffffffffn;
const SIGN_BITS = 0xffff000000000000n;
const highBit = (va: bigint): boolean => (va & (1n << 47n)) !== 0n;

/** Split a faulting address into page table indices, and see whether it lies in Windows' linear page tables. */
function preprocess(engine: Engine, e: ShadowFault, levels: number): void {
  const bits = (count: bigint, shift: bigint): number => Number((e.va >> shift) & ((1n << count) - 1n));
  const index = e.ptIndex;
  switch (levels) {
    case 4:
      if ((e.va & SIGN_BITS) !== (highBit(e.va) ? SIGN_BITS : 0n))
        engine.warn(`Strange, va ${hex(e.va)} not properly sign extended for 4-level pagetables\n`);
      index[4] = bits(9n, 39n);
      index[3] = bits(9n, 30n);
      index[2] = bits(9n, 21n);
      index[1] = bits(9n, 12n);
      index[0] = bits(9n, 3n);
      break;
    case 3:
      index[3] = bits(2n, 30n);
      index[2] = bits(9n, 21n);
      index[1] = bits(9n, 12n);
      index[0] = bits(9n, 3n);
      break;
    case 2:
      index[2] = bits(10n, 22n);
      index[1] = bits(10n, 12n);
      index[0] = bits(10n, 2n);
      break;
    case 0:
      break;
    default:
      engine.warn(`Don't know how to handle ${levels}-level pagetables\n`);
  }
  e.correspondingVa = NO_CORRESPONDING;
  e.ptLevel = 0;
  const low = (n: bigint): bigint => (1n << n) - 1n;
  // Shifts of 32-bit numbers drop what leaves the word, as in C.
  const word = (value: number, shift: number): bigint => BigInt((value << shift) >>> 0);
  const wide = (value: number, shift: bigint): bigint => BigInt(value) << shift;
  if (levels === 2 && index[2] === 768) {
    if (index[1] === 768) {
      e.ptLevel = 2;
      e.correspondingVa = low(22n) | word(index[0], 22);
    } else {
      e.ptLevel = 1;
      e.correspondingVa = low(12n) | word(index[1], 22) | word(index[0], 12);
    }
  } else if (levels === 3 && index[3] === 3 && index[2] >> 2 === 0) {
    if (index[2] === 3 && index[1] >> 2 === 0) {
      if (index[1] === 3 && index[0] >> 2 === 0) {
        e.ptLevel = 3;
        e.correspondingVa = low(30n) | word(index[0], 30);
      } else {
        e.ptLevel = 2;
        e.correspondingVa = low(21n) | word(index[1], 30) | word(index[2], 21);
      }
    } else {
      e.ptLevel = 1;
      e.correspondingVa = low(12n) | word(index[0], 12) | word(index[1], 21) | word(index[2], 30);
    }
  } else if (levels === 4 && index[4] === 0x1ed) {
    if (index[3] !== 0x1ed) {
      e.ptLevel = 1;
      e.correspondingVa = low(12n) | wide(index[0], 12n) | wide(index[1], 21n) | wide(index[2], 30n) | wide(index[3], 39n);
    } else if (index[2] !== 0x1ed) {
      e.ptLevel = 2;
      e.correspondingVa = low(21n) | wide(index[0], 21n) | wide(index[1], 30n) | wide(index[2], 39n);
    } else if (index[1] !== 0x1ed) {
      e.ptLevel = 3;
      e.correspondingVa = low(30n) | wide(index[0], 30n) | wide(index[1], 39n);
    } else {
      e.ptLevel = 4;
      e.correspondingVa = low(39n) | wide(index[0], 39n);
    }
    if (highBit(e.correspondingVa)) e.correspondingVa |= SIGN_BITS;
  }
}

/** PF_XEN. @returns true: the exit is to be closed as this fault */
export function pfXenProcess(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState): boolean {
  const e = h.fault;
  const wide = p.event === TRC_HVM_PF_XEN64;
  const levels = v.guestPagingLevels;
  if (wide && levels !== 4) engine.warn(`Strange, PF_XEN64 but guest_paging_levels ${levels}!\n`);
  else if (!wide && levels === 4) engine.warn(`Strange, PF_XEN but guest_paging_levels ${levels}!\n`);
  if (engine.options.exact) {
    // xenalyze expects address and error code the other way round.
    e.va = wide ? u64(p, 0) : u32(p, 0);
    e.errorCode = p.words[p.data + (wide ? 2 : 1)]!;
  } else {
    e.errorCode = p.words[p.data]!;
    e.va = wide ? u64(p, 1) : u32(p, 1);
  }
  if (wide && (e.va & 0xffff800000000000n) !== (highBit(e.va) ? 0xffff800000000000n : 0n)) {
    engine.warn(`hvm_pf_xen_preprocess: invalid va ${hex(e.va)}`);
  }
  if (h.mmioDataValid) {
    e.pfCase = PF_MMIO;
  } else {
    preprocess(engine, e, levels);
    e.pfCase = e.ptLevel > 0 ? PF_EMULATE : PF_NON_EMULATE;
  }
  if (engine.text) {
    const i = e.ptIndex;
    const out = engine.line(93);
    if (e.pfCase === PF_EMULATE) {
      out.str(
        ` pf_xen:emulate va ${hex(e.va)} ec ${(e.errorCode >>> 0).toString(16)} level ${e.ptLevel} corr ${hex(e.correspondingVa)}`,
      );
    } else {
      out.str(` pf_xen va ${hex(e.va)} ec ${(e.errorCode >>> 0).toString(16)}`);
    }
    out.str(` e->pt_index[${i[0]} ${i[1]} ${i[2]} ${i[3]} ${i[4]}]\n`);
  }
  return true;
}

export function shadowProcess(engine: Engine, p: TracedPcpu): void {
  const v = p.current!;
  if (v.dataType === DATA_NONE) engine.setDataType(v, DATA_HVM);
  const h = v.hvm!;
  const minor = p.event & 0xff;
  const levels = ((p.event >>> 8) & 15) + 2;
  if (!h.vmexitValid) {
    if (engine.text) faultDump(engine, p, 33);
    return;
  }
  if (minor <= PF_NOT_SHADOW && v.guestPagingLevels !== levels) {
    engine.warn(`shadow_process: Changing guest paging levels to ${levels}\n`);
    v.guestPagingLevels = levels;
  }
  if (minor <= PF_LAST_FAULT) h.fault.pfCase = minor;
  switch (minor) {
    case PF_NOT_SHADOW:
      fault(engine, p, v, h, levels, 'shadow_propagate_process', POST_SHADOW_PROPAGATE);
      return;
    case PF_FIXUP:
      fault(engine, p, v, h, levels, 'shadow_fixup_process', POST_SHADOW_FIXUP);
      return;
    case PF_EMULATE:
      emulate(engine, p, v, h, levels);
      return;
    case PF_MMIO:
    case PF_FAST_MMIO:
      mmio(engine, p, v, h, levels);
      return;
    case PF_UNSHADOW_USER:
    case PF_UNSHADOW_USER + 1:
    case PF_LAST_FAULT:
      other(engine, p, v, h, levels, minor);
      return;
    case SHADOW_RESYNC_ONLY - 1:
    case SHADOW_RESYNC_ONLY:
      if (engine.text)
        engine.line(32).str(` oos resync ${p.event === TRC_SHADOW_RESYNC_FULL ? 'full' : 'only'} gfn ${hex(u64(p, 0))}\n`);
      h.resyncs++;
      return;
    case SHADOW_PREALLOC_UNPIN:
      if (engine.text) engine.line(32).str(` prealloc-unpin gfn ${hex(u64(p, 0))}\n`);
      if (h.preallocUnpin) engine.warn('Strange, more than one prealloc_unpin per arc!\n');
      h.preallocUnpin = true;
      return;
    case SHADOW_WRMAP_BF:
      if (engine.text) engine.line(32).str(` wrmap-bf gfn ${hex(u64(p, 0))}\n`);
      h.wrmapBruteForce = true;
      return;
    default:
      if (minor > PF_LAST_FAULT) {
        engine.warnOnce('shadow generic', 'Warning: processing shadow as generic\n');
        engine.processGeneric(p);
        return;
      }
      h.inflight[0] = p.event;
      for (let i = 0; i < 4; i++) h.inflight[1 + i] = p.words[p.data + i]!;
      if (engine.text) faultDump(engine, p, 93);
      setPost(engine, h, POST_SHADOW_FAULT, 'shadow_fault_generic_process');
  }
}

function setPost(engine: Engine, h: HvmState, what: number, caller: string): void {
  if (h.postProcess === POST_NONE || h.postProcess === POST_GENERIC) h.postProcess = what;
  else engine.warn(`${caller}: Strange, postprocess already set\n`);
}

function faultDump(engine: Engine, p: TracedPcpu, prefix: number): void {
  const minor = p.event & 0xff;
  const name = minor <= 13 ? PF_NAMES[minor] : undefined;
  const out = engine.line(prefix);
  out.str(` shadow ${name ?? minor} gl ${(p.event >>> 8) & 15} [`);
  for (let i = 0; i < (engine.options.exact ? 4 : p.extra); i++) {
    out.byte(32);
    out.x(p.words[p.data + i]!);
  }
  out.str(' ]\n');
}

function switchLevels(engine: Engine, v: Vcpu, levels: number, caller: string): void {
  if (levels === v.guestPagingLevels) return;
  engine.warn(`${caller}: record paging levels ${levels}, guest paging levels ${v.guestPagingLevels}.  Switching.\n`);
  v.guestPagingLevels = levels;
}

/**
 * Whether a record has the size of its layout. xenalyze's C structures are padded to eight bytes where Xen's are
 * packed, so it refuses some that are whole.
 */
function sized(engine: Engine, p: TracedPcpu, packed: number, padded: number, levels: number, caller: string): boolean {
  const expected = engine.options.exact ? padded : packed;
  if (p.extra === expected) return true;
  engine.warn(`${caller}: expected ${expected * 4} bytes for ${levels}-level guest, got ${p.extra * 4}!\n`);
  engine.error(ERR_RECORD, p);
  return false;
}

function fault(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState, levels: number, caller: string, post: number): void {
  switchLevels(engine, v, levels, caller);
  const e = h.fault;
  if (levels === 2) {
    if (!sized(engine, p, 3, 3, levels, caller)) return;
    e.gl1e = u32(p, 0);
    e.va = u32(p, 1);
    e.flags = p.words[p.data + 2]!;
  } else if (levels === 3) {
    if (!sized(engine, p, 4, 4, levels, caller)) return;
    e.gl1e = u64(p, 0);
    e.va = u32(p, 2);
    e.flags = p.words[p.data + 3]!;
  } else if (levels === 4) {
    if (!sized(engine, p, 5, 6, levels, caller)) return;
    e.gl1e = u64(p, 0);
    e.va = u64(p, 2);
    e.flags = p.words[p.data + 4]!;
  }
  if (post === POST_SHADOW_FIXUP) preprocess(engine, e, levels);
  if (engine.text) {
    const flags = `(${(e.flags >>> 0).toString(16)})${flagString(e.flags)}`;
    const what = post === POST_SHADOW_PROPAGATE ? 'propagate' : (e.flags & UNSYNC) !== 0 ? 'fixup:unsync' : 'fixup';
    const corresponding = what === 'fixup:unsync' ? ` corr ${hex(e.correspondingVa)}` : '';
    engine.line(93).str(` ${what} va ${hex(e.va)} gl1e ${hex(e.gl1e)}${corresponding} flags ${flags}\n`);
  }
  setPost(engine, h, post, caller);
}

function emulate(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState, levels: number): void {
  const caller = 'shadow_emulate_process';
  switchLevels(engine, v, levels, caller);
  const e = h.fault;
  if (levels === 2) {
    if (!sized(engine, p, 4, 4, levels, caller)) return;
    e.gl1e = u32(p, 0);
    e.writeValue = u32(p, 1);
    e.va = u32(p, 2);
    e.flags = p.words[p.data + 3]! & 0x1fffffff;
  } else if (levels === 3) {
    if (!sized(engine, p, 6, 6, levels, caller)) return;
    e.gl1e = u64(p, 0);
    e.writeValue = u64(p, 2);
    e.va = u32(p, 4);
    e.flags = p.words[p.data + 5]! & 0x1fffffff;
  } else if (levels === 4) {
    if (!sized(engine, p, 7, 8, levels, caller)) return;
    e.gl1e = u64(p, 0);
    e.writeValue = u64(p, 2);
    e.va = u64(p, 4);
    e.flags = p.words[p.data + 6]! & 0x1fffffff;
  }
  preprocess(engine, e, levels);
  if (engine.text) {
    engine
      .line(93)
      .str(
        ` emulate va ${hex(e.va)} gl1e ${hex(e.gl1e).padStart(8)} wval ${hex(e.writeValue).padStart(8)} flags ${flagString(e.flags)}` +
          `(${(e.flags >>> 0).toString(16)}) pt_level ${e.ptLevel} corr ${hex(e.correspondingVa).padStart(8)}\n`,
      );
  }
  setPost(engine, h, POST_SHADOW_EMULATE, caller);
}

function other(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState, levels: number, minor: number): void {
  switchLevels(engine, v, levels, 'shadow_parse_other');
  const e = h.fault;
  let known = true;
  if (levels === 2) known = sized(engine, p, 2, 2, levels, 'shadow_parse_other');
  else if (levels === 3) known = sized(engine, p, 3, 4, levels, 'shadow_parse_other');
  else if (levels === 4) known = sized(engine, p, 4, 4, levels, 'shadow_parse_other');
  if (!known) return;
  e.gfn = levels === 2 ? u32(p, 0) : u64(p, 0);
  e.va = levels === 2 ? u32(p, 1) : levels === 3 ? u32(p, 2) : u64(p, 2);
  e.pfCase = minor;
  preprocess(engine, e, v.guestPagingLevels);
  if (engine.text) engine.line(93).str(` shadow ${PF_NAMES[minor]!} gfn ${hex(e.gfn)} va ${hex(e.va)}\n`);
  setPost(engine, h, POST_SHADOW_FAULT, 'shadow_emulate_other_process');
}

function mmio(engine: Engine, p: TracedPcpu, v: Vcpu, h: HvmState, levels: number): void {
  const caller = 'shadow_mmio_process';
  switchLevels(engine, v, levels, caller);
  const e = h.fault;
  if (levels === 2 || levels === 3) {
    if (!sized(engine, p, 1, 1, levels, caller)) return;
    e.va = u32(p, 0);
  } else if (levels === 4) {
    if (!sized(engine, p, 2, 2, levels, caller)) return;
    e.va = u64(p, 0);
  }
  h.mmioVa = Number(e.va & 0xffffffffn);
  if (engine.text) engine.line(93).str(` ${e.pfCase === PF_FAST_MMIO ? 'fast ' : ''}mmio va ${hex(e.va)}\n`);
  setPost(engine, h, POST_SHADOW_MMIO, caller);
}

const isKernel = (levels: number, va: bigint): boolean =>
  levels === 4 ? highBit(va) : (levels === 2 || levels === 3) && (va & 0x80000000n) !== 0n;

/** An exit that was a page fault ends. */
export function shadowPostProcess(engine: Engine, v: Vcpu, h: HvmState): void {
  const e = h.fault;
  const cycles = h.arcCycles;
  const rip = (BigInt(h.ripHigh >>> 0) << 32n) | BigInt(h.ripLow >>> 0);
  if (!engine.options.summary) return;
  switch (h.postProcess) {
    case POST_PF_XEN:
      h.pfXen.add(e.pfCase, cycles);
      if (e.pfCase === PF_EMULATE) {
        emulated(v, rip, cycles);
      } else if (e.pfCase === PF_NON_EMULATE) {
        h.pfXenNonEmulate.add(isKernel(v.guestPagingLevels, rip) ? 3 : 2, cycles);
        h.pfXenNonEmulate.add(isKernel(v.guestPagingLevels, e.va) ? 1 : 0, cycles);
      }
      return;
    case POST_SHADOW_EMULATE: {
      emulated(v, rip, cycles);
      h.pfXen.add(PF_EMULATE, cycles);
      const table = h.pfXenEmulate;
      table.add(e.ptLevel, cycles);
      if (h.preallocUnpin) table.add(12, cycles);
      if ((e.flags & PREALLOC_UNHOOK) !== 0) table.add(13, cycles);
      if ((e.flags & EARLY_UNSHADOW) !== 0) table.add(5, cycles);
      table.add((e.flags & SET_CHANGED) !== 0 ? 6 : 7, cycles);
      if ((e.flags & SET_FLUSH) !== 0) table.add(8, cycles);
      if ((e.flags & SET_ERROR) !== 0) table.add(9, cycles);
      if ((e.flags & PROMOTE) !== 0) table.add(10, cycles);
      if ((e.flags & DEMOTE) !== 0) table.add(11, cycles);
      return;
    }
    case POST_SHADOW_FAULT:
      if (e.pfCase >= PF_NOT_SHADOW && e.pfCase <= PF_LAST_FAULT) h.pfXen.add(e.pfCase, cycles);
      return;
    case POST_SHADOW_FIXUP: {
      h.pfXen.add(PF_FIXUP, cycles);
      const table = h.pfXenFixup;
      if (h.preallocUnpin) table.add(0, cycles);
      if ((e.flags & UNSYNC) !== 0) {
        table.add(2, cycles);
        h.pfXenFixupUnsyncResync.add(Math.min(h.resyncs, 2), cycles);
      }
      if ((e.flags & OOS_FIXUP_ADD) !== 0) table.add(3, cycles);
      if ((e.flags & OOS_FIXUP_EVICT) !== 0) table.add(4, cycles);
      if ((e.flags & PROMOTE) !== 0) table.add(5, cycles);
      const bruteForce = (e.flags & WRMAP_BRUTE_FORCE) !== 0 || h.wrmapBruteForce;
      if ((e.flags & WRMAP) !== 0) {
        table.add(7, cycles);
        if (bruteForce) table.add(8, cycles);
      } else if (bruteForce) {
        engine.warn('Strange: wrmap_bf but not wrmap!\n');
      }
      if ((e.flags & (PROMOTE | UNSYNC)) === 0 && !h.preallocUnpin) table.add(6, cycles);
      return;
    }
    case POST_SHADOW_MMIO:
      if (e.pfCase !== 0) h.pfXen.add(e.pfCase, cycles);
      enumerateMmio(h);
      return;
    default:
      if (e.pfCase !== 0) h.pfXen.add(e.pfCase, cycles);
  }
}

function emulated(v: Vcpu, rip: bigint, cycles: number): void {
  let entry = v.domain.emulateRips.get(rip);
  if (entry === undefined) {
    entry = new CycleSummary();
    v.domain.emulateRips.set(rip, entry);
  }
  entry.add(cycles);
}
