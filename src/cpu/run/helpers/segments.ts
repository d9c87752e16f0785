/** Loads of segment registers, their bases, and the instructions on descriptor tables and descriptors. */
import { Seg } from '../../interface.ts';
import {
  CB_CR4,
  CB_GDTR_BASE,
  CB_GDTR_LIMIT,
  CB_IDTR_BASE,
  CB_IDTR_LIMIT,
  CB_RIP,
  CB_SEG,
  CB_SHADOW,
  CB_SHADOW_RIP,
  CB_SLOW_VALUE,
  Cr4,
  Flag,
  SEG_BASE,
  SEG_SELECTOR,
  SEG_SIZE,
  Status,
  Vector,
} from '../../memory/control-block.ts';
import { linearFromHalves } from '../../memory/memory-views.ts';
import type { FarTransfers } from '../../system/far-transfers.ts';
import { CB_KERNEL_GS_BASE } from '../../system/msr.ts';
import { Descriptor, SystemType, type Segmentation } from '../../system/segmentation.ts';
import { StackFrame } from '../../system/stack-frame.ts';
import type { HelperContext, Helpers } from './context.ts';

/** Where the emitter of POP and of LDS packs the segment number and the operand size in one argument. */
const SEGMENT_MASK = 15;
const SIZE_SHIFT = 4;

export function segmentHelpers(c: HelperContext, segmentation: Segmentation, far: FarTransfers): Helpers<'segments'> {
  const { core } = c;
  const { cb } = core;
  const baseOf = (segment: number): number => CB_SEG + segment * SEG_SIZE + SEG_BASE;
  const loaded = (segment: number): number => {
    if (segment !== Seg.ss) return c.stepOver();
    // Interrupts and traps wait for the instruction behind a load of SS.
    core.advance();
    cb.set(CB_SHADOW_RIP, cb.get(CB_RIP));
    cb.set(CB_SHADOW_RIP + 4, cb.get(CB_RIP + 4));
    cb.set(CB_SHADOW, 2);
    return Status.jump;
  };
  const fsgsbase = (): void => {
    if (!(cb.get(CB_CR4) & Cr4.fsgsbase)) core.raise(Vector.ud);
  };
  return {
    loadSegment: () => {
      const segment = c.fieldA();
      segmentation.load(segment, c.value16());
      return loaded(segment);
    },
    popSegment: (argument) => {
      const segment = argument & SEGMENT_MASK;
      const stack = StackFrame.current(core);
      const selector = stack.pop(argument >> SIZE_SHIFT) & 0xffff;
      segmentation.load(segment, selector);
      stack.commit();
      return loaded(segment);
    },
    loadFarPointer: (argument) => {
      const segment = argument & SEGMENT_MASK;
      const size = argument >> SIZE_SHIFT;
      const { selector, lo, hi } = far.pointerInMemory(size);
      segmentation.load(segment, selector);
      const reg = c.fieldA() >> 3;
      if (size === 2) cb.setGpr(reg, (cb.gprLo(reg) & ~0xffff) | lo, cb.gprHi(reg));
      else cb.setGpr(reg, lo, hi);
      return loaded(segment);
    },
    swapgs: () => {
      c.privileged();
      const at = baseOf(Seg.gs);
      const old = cb.get64(at);
      cb.set64(at, cb.get64(CB_KERNEL_GS_BASE));
      cb.set64(CB_KERNEL_GS_BASE, old);
      return Status.next;
    },
    rdBase: (segment) => {
      fsgsbase();
      core.result(cb.get(baseOf(segment)), cb.get(baseOf(segment) + 4));
      return Status.next;
    },
    wrBase: (segment) => {
      fsgsbase();
      const lo = cb.get(CB_SLOW_VALUE);
      const hi = cb.get(CB_SLOW_VALUE + 4);
      if (Number.isNaN(linearFromHalves(lo | 0, hi | 0))) core.gp(0);
      cb.set(baseOf(segment), lo);
      cb.set(baseOf(segment) + 4, hi);
      return Status.next;
    },
  };
}

/** Types of system descriptors that LAR and LSL show, a bit each (SDM vol. 2, LAR, LSL). */
const LAR_TYPES = 0b0001_1011_0011_1110;
const LSL_TYPES = 0b0000_1010_0000_1110;
const LAR_LONG = (1 << SystemType.ldt) | (1 << SystemType.tss) | (1 << SystemType.tssBusy) | (1 << SystemType.callGate);
const LSL_LONG = (1 << SystemType.ldt) | (1 << SystemType.tss) | (1 << SystemType.tssBusy);

export function descriptorHelpers(c: HelperContext, segmentation: Segmentation): Helpers<'descriptors'> {
  const { core } = c;
  const { cb } = core;

  const storeTable = (base: number, limit: number): number => {
    c.umip();
    const wide = core.code64;
    core.data32.set([cb.get(limit) & 0xffff, 0, 0, 0]);
    const lo = cb.get(base);
    const hi = cb.get(base + 4);
    for (let i = 0; i < (wide ? 8 : 4); i++) core.data[2 + i] = i < 4 ? lo >>> (8 * i) : hi >>> (8 * (i - 4));
    core.store(c.address(), wide ? 10 : 6);
    return Status.next;
  };
  const loadTable = (base: number, limit: number, size: number): number => {
    c.privileged();
    const wide = core.code64;
    core.load(c.address(), wide ? 10 : 6);
    const { data } = core;
    const word = (at: number) => (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
    const lo = word(2);
    const hi = wide ? word(6) : 0;
    if (wide && Number.isNaN(linearFromHalves(lo | 0, hi | 0))) core.gp(0);
    cb.set(limit, data[0]! | (data[1]! << 8));
    cb.set(base, !wide && size === 2 ? lo & 0xffffff : lo);
    cb.set(base + 4, hi);
    return Status.next;
  };
  const storeSelector = (segment: number): number => {
    c.protectedOnly();
    c.umip();
    core.result(cb.get(CB_SEG + segment * SEG_SIZE + SEG_SELECTOR));
    return Status.next;
  };

  /** LAR, LSL, VERR, VERW: is the descriptor visible from here? */
  const visible = (selector: number, d: Descriptor): boolean => {
    if ((selector & 0xfffc) === 0 || !segmentation.tryRead(selector, d)) return false;
    if (d.isCode && d.isConforming) return true;
    return d.dpl >= Math.max(core.cpl, selector & 3);
  };
  const setZf = (on: boolean): number => {
    core.changeStatus(Flag.zf, on ? Flag.zf : 0);
    return Status.next;
  };
  const verify = (allows: (d: Descriptor) => boolean): number => {
    c.protectedOnly();
    const d = new Descriptor();
    return setZf(visible(c.value16(), d) && allows(d));
  };
  /** LAR and LSL: what the descriptor shows, or the destination as it was. */
  const show = (size: number, types: number, typesLong: number, what: (d: Descriptor) => number): number => {
    c.protectedOnly();
    const d = new Descriptor();
    const good = visible(c.value16(), d) && (!d.isSystem || (((core.longMode ? typesLong : types) >> d.type) & 1) !== 0);
    const reg = c.fieldA() >> 3;
    if (good) core.result(what(d));
    else core.result(cb.gprLo(reg), size === 8 ? cb.gprHi(reg) : 0);
    return setZf(good);
  };

  return {
    sgdt: () => storeTable(CB_GDTR_BASE, CB_GDTR_LIMIT),
    sidt: () => storeTable(CB_IDTR_BASE, CB_IDTR_LIMIT),
    lgdt: (size) => loadTable(CB_GDTR_BASE, CB_GDTR_LIMIT, size),
    lidt: (size) => loadTable(CB_IDTR_BASE, CB_IDTR_LIMIT, size),
    sldt: () => storeSelector(Seg.ldtr),
    str: () => storeSelector(Seg.tr),
    lldt: () => {
      c.protectedOnly();
      c.privileged();
      segmentation.loadLdt(c.value16());
      return Status.next;
    },
    ltr: () => {
      c.protectedOnly();
      c.privileged();
      segmentation.loadTask(c.value16());
      return Status.next;
    },
    verr: () => verify((d) => d.isReadable),
    verw: () => verify((d) => d.isWritableData),
    lar: (size) => show(size, LAR_TYPES, LAR_LONG, (d) => d.hi & 0x00ffff00 & (size === 2 ? 0xffff : ~0)),
    lsl: (size) => show(size, LSL_TYPES, LSL_LONG, (d) => d.limit),
    arpl: () => {
      c.protectedOnly();
      const dst = cb.get(CB_SLOW_VALUE) & 0xffff;
      const src = cb.get(CB_SLOW_VALUE) >>> 16;
      const raise = (dst & 3) < (src & 3);
      core.result(raise ? (dst & ~3) | (src & 3) : dst);
      return setZf(raise);
    },
  };
}
