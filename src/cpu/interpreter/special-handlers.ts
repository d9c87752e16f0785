/** What records that stand for no instruction do, by SPECIAL number. Stepping's end is the interpreter's own business. */
import { CB_RIP, CB_SEG, SEG_BASE, Status } from '../memory/control-block.ts';
import type { EmitContext } from '../emit/context.ts';
import { fallThrough } from '../emit/control.ts';
import { SPECIAL } from '../records/handler-numbers.ts';
import { REC_EXTRA } from '../records/record.ts';
import { i32, i64, seq, when, type I64, type Stmt } from '../wasm/expr.ts';

type Emitter = (c: EmitContext) => Stmt;

const base = (c: EmitContext) => c.readRegister(c.site.fieldB(), 8, false);
const sum = (c: EmitContext) =>
  i64.add(i64.add(base(c), i64.shl(c.readRegister(c.site.indexField(), 8, false), c.site.scale())), c.site.disp());
const segment = (c: EmitContext) => i32.and(i32.load8U(c.site.record(), REC_EXTRA), i32.const(7));
const segmentBase = (c: EmitContext) => i64.load(i32.shl(segment(c), i32.const(5)), c.cb + CB_SEG + SEG_BASE);
const mask32 = (v: I64) => i64.and(v, i64.const(0xffffffff));
const mask16 = (v: I64) => i64.and(v, i64.const(0xffff));
const compute =
  (make: (c: EmitContext) => I64): Emitter =>
  (c) =>
    seq(c.ea.set(make(c)), c.site.next());
const checked =
  (offset: (c: EmitContext) => I64): Emitter =>
  (c) =>
    seq(
      c.ea.set(c.runtime.legacyAddress.call('i64', segment(c), offset(c), i32.wrap(c.site.imm()))),
      when(i64.eq(c.ea.get, i64.const(-1)), c.helper('segmentFaultOfRecord')),
      c.site.next(),
    );

export const SPECIAL_EMITTERS: { readonly [number: number]: Emitter } = {
  [SPECIAL.stale]: (c) => seq(c.store64(CB_RIP, c.site.rip()), c.status.set(i32.const(Status.resume)), c.site.leave()),
  [SPECIAL.fallThrough]: fallThrough(false),
  [SPECIAL.fallThroughChained]: fallThrough(true),
  [SPECIAL.eaLong]: compute(sum),
  [SPECIAL.eaLongSegment]: compute((c) => i64.add(sum(c), segmentBase(c))),
  [SPECIAL.eaLong32]: compute((c) => mask32(sum(c))),
  [SPECIAL.eaLong32Segment]: compute((c) => i64.add(mask32(sum(c)), segmentBase(c))),
  [SPECIAL.eaAbsolute]: compute((c) => c.site.imm64()),
  [SPECIAL.eaAbsoluteSegment]: compute((c) => i64.add(c.site.imm64(), segmentBase(c))),
  [SPECIAL.eaLegacy32]: checked((c) => mask32(sum(c))),
  [SPECIAL.eaLegacy16]: checked((c) => mask16(sum(c))),
  [SPECIAL.eaUnchecked32]: compute((c) => mask32(sum(c))),
  [SPECIAL.eaUnchecked16]: compute((c) => mask16(sum(c))),
  [SPECIAL.undefinedOpcode]: (c) => seq(c.helper('undefined'), c.site.next()),
  [SPECIAL.tooLong]: (c) => seq(c.helper('tooLong'), c.site.next()),
};
