/**
 * The interpreter: one WebAssembly function generated from the instruction tables. A loop dispatches over decoded
 * records by br_table; every form of every row is one case. Registers live in the control block; only the record
 * pointer, the instruction budget and the computed address are locals.
 */
import {
  CB_EXIT_STATUS, CB_JUMP_CACHE, CB_JUMP_EPOCH, CB_KICK, CB_RIP, CB_SEG, SEG_BASE, SEG_HIGH, SEG_LOW, SEG_MAY, SEG_SIZE, Status,
} from './control-block.ts';
import { EmitContext, type Operand, type Runtime, type Site } from './emit/context.ts';
import * as control from './emit/control.ts';
import { carryFlagBody, conditionBody, CONDITION_NAMES, statusFlagsBody } from './emit/flags.ts';
import { constantOperand, fixedRegister, immediateOperand, memoryOperand, registerOperand } from './emit/operands.ts';
import { operandBytes, type Form, type InstructionForms } from './forms.ts';
import { HELPER_NAMES } from './helpers.ts';
import {
  REC_A, REC_AUX, REC_B, REC_DISP, REC_EXTRA, REC_HANDLER, REC_IMM, REC_IMM64, REC_INDEX, REC_INDEX_REG, REC_LENGTH, REC_NOT_TAKEN, REC_RIP,
  REC_SCALE, REC_TAKEN, RECORD_SIZE,
} from './record.ts';
import { JUMP_INDEX_FOLD, JUMP_INDEX_MASK, JUMP_INDEX_SHIFT, JUMP_RECORD, JUMP_TAG } from './tlb-layout.ts';
import { Label } from './wasm/encoder.ts';
import { block, br, i32, i64, loop, memoryCopy, memoryFill, ret, seq, switchOver, when, type I32, type I64, type Stmt, type ValType } from './wasm/expr.ts';
import { FunctionBuilder, Local, ModuleBuilder } from './wasm/module.ts';

/** Handlers that stand for no instruction. */
export const SPECIAL = {
  /** The block was dropped: find the one at this record's rip. */
  stale: 0,
  /** Runs on into the next block. */
  fallThrough: 1,
  fallThroughChained: 2,
  /** Leave after the one instruction of a single-step block. */
  stepEnd: 3,
  /** Address of a memory operand, into the local the next record uses. */
  eaLong: 4,
  eaLongSegment: 5,
  eaLong32: 6,
  eaLong32Segment: 7,
  eaAbsolute: 8,
  eaAbsoluteSegment: 9,
  eaLegacy32: 10,
  eaLegacy16: 11,
  eaUnchecked32: 12,
  eaUnchecked16: 13,
  undefinedOpcode: 14,
  /** More than 15 bytes. */
  tooLong: 15,
} as const;
const SPECIAL_COUNT = 16;

export interface InterpreterImports {
  slowRead(record: number, size: number): number;
  slowWrite(record: number, size: number): number;
  helper(number: number, record: number, argument: number): number;
  /** Block at CB_RIP: its first record, or 0 to leave. */
  lookup(): number;
  /** Target record of a chained branch (way 0 taken, 1 not taken), or 0 to leave. */
  link(record: number, way: number): number;
}

const ZERO = i32.const(0);

class RecordSite implements Site {
  constructor(shared: Shared) {
    this.shared = shared;
    this.rp = shared.rp.get;
  }

  private readonly shared: Shared;
  private readonly rp: I32;

  fieldA(): I32 { return i32.load16U(this.rp, REC_A); }
  fieldB(): I32 { return i32.load16U(this.rp, REC_B); }
  indexField(): I32 { return i32.load16U(this.rp, REC_INDEX_REG); }
  scale(): I64 { return i64.load8U(this.rp, REC_SCALE); }
  disp(): I64 { return i64.load32S(this.rp, REC_DISP); }
  imm(): I64 { return i64.load32S(this.rp, REC_IMM); }
  imm64(): I64 { return i64.load(this.rp, REC_IMM64); }
  aux(): I32 { return i32.load(this.rp, REC_AUX); }
  length(): I64 { return i64.load8U(this.rp, REC_LENGTH); }
  rip(): I64 { return i64.load(this.rp, REC_RIP); }
  record(): I32 { return this.rp; }
  next(): Stmt { return seq(this.shared.rp.set(i32.add(this.rp, i32.const(RECORD_SIZE))), br(this.shared.top)); }
  leave(): Stmt { return br(this.shared.leave); }
  budget(): I32 { return this.shared.budget.get; }

  /** Count the block's instructions up to this one, and stop at `target` when the budget is gone or the kick word set. */
  private retire(target: I64): Stmt {
    const { shared } = this;
    return seq(
      shared.budget.set(i32.sub(shared.budget.get, i32.add(i32.load8U(this.rp, REC_INDEX), i32.const(1)))),
      when(
        i32.or(i32.leS(shared.budget.get, ZERO), i32.load(ZERO, shared.cb + CB_KICK)),
        seq(
          i64.store(ZERO, target, shared.cb + CB_RIP),
          i32.store(ZERO, i32.const(Status.stop), shared.cb + CB_EXIT_STATUS),
          br(shared.done),
        ),
      ),
    );
  }

  jumpChained(way: 'taken' | 'notTaken', target: I64): Stmt {
    const { shared } = this;
    const link = shared.scratch;
    return seq(
      this.retire(target),
      when(
        i32.eqz(link.tee(i32.load(this.rp, way === 'taken' ? REC_TAKEN : REC_NOT_TAKEN))),
        seq(
          i64.store(ZERO, target, shared.cb + CB_RIP),
          when(i32.eqz(link.tee(shared.link.call('i32', this.rp, i32.const(way === 'taken' ? 0 : 1)))), br(shared.done)),
        ),
      ),
      shared.rp.set(link.get),
      br(shared.top),
    );
  }

  jumpTo(target: I64): Stmt {
    const { shared } = this;
    const to = shared.target;
    const entry = shared.scratch;
    return seq(
      to.set(target),
      this.retire(to.get),
      entry.set(i32.add(
        i32.load(ZERO, shared.cb + CB_JUMP_CACHE),
        i32.and(
          i32.shl(i32.xor(i32.wrap(to.get), i32.shrU(i32.wrap(to.get), i32.const(JUMP_INDEX_FOLD))), i32.const(JUMP_INDEX_SHIFT)),
          i32.const(JUMP_INDEX_MASK),
        ),
      )),
      when(
        i64.eq(i64.load(entry.get, JUMP_TAG), i64.xor(to.get, i64.load(ZERO, shared.cb + CB_JUMP_EPOCH))),
        shared.rp.set(i32.load(entry.get, JUMP_RECORD)),
        seq(
          i64.store(ZERO, to.get, shared.cb + CB_RIP),
          when(i32.eqz(shared.rp.tee(shared.lookup.call('i32'))), br(shared.done)),
        ),
      ),
      br(shared.top),
    );
  }
}

interface Shared {
  cb: number;
  rp: Local<'i32'>;
  budget: Local<'i32'>;
  scratch: Local<'i32'>;
  target: Local<'i64'>;
  top: Label;
  leave: Label;
  done: Label;
  lookup: { call(type: 'i32', ...args: I32[]): I32 };
  link: { call(type: 'i32', ...args: I32[]): I32 };
}

/** Abstract operands of one form of a row. */
export function bindOperands(c: EmitContext, forms: InstructionForms, form: Form): Operand[] {
  const { site } = c;
  const { instruction } = forms;
  const inlineAddress = () => i64.add(
    i64.add(c.readRegister(site.fieldB(), 8, false), i64.shl(c.readRegister(site.indexField(), 8, false), site.scale())),
    site.disp(),
  );
  const address = form.address === 'inline' ? inlineAddress : () => c.ea.get;
  return instruction.operands.map((code): Operand => {
    const size = operandBytes(code, form.operandSize);
    const memory = (bytes: number) => memoryOperand(c, address, bytes, instruction.aligned ?? false, 0);
    switch (code) {
      case 'AL': return fixedRegister(c, 0, 1);
      case 'CL': return fixedRegister(c, 1, 1);
      case 'DX': return fixedRegister(c, 2, 2);
      case 'rAX': return fixedRegister(c, 0, size);
      case 'aCX': return fixedRegister(c, 1, form.addressSize);
      case '1': return constantOperand(1);
      case 'st': return immediateOperand(() => i64.extendU(site.fieldB()), 1);
      case '$v': return immediateOperand(() => i64.const(0), form.operandSize);
      case '$a': return immediateOperand(() => i64.const(0), form.addressSize);
      case 'Ib2': return immediateOperand(() => i64.extendS(site.aux()), 1);
    }
    switch (code[0]) {
      case 'E': {
        if (form.address !== 'register') return memory(code === 'Esv' ? 2 : size);
        return registerOperand(c, site.fieldB(), size);
      }
      case 'W': case 'Q':
        return form.address === 'register' ? registerOperand(c, site.fieldB(), size) : memory(size);
      case 'M': case 'O': return memory(size);
      case 'R': case 'U': case 'N': return registerOperand(c, site.fieldB(), code[1] === 'm' ? 8 : size);
      case 'G': case 'V': case 'P': case 'Z': return registerOperand(c, site.fieldA(), size);
      case 'S': case 'C': case 'D': return immediateOperand(() => i64.extendU(site.fieldA()), 1);
      case 'I': return code === 'Iv' && form.operandSize === 8 ? immediateOperand(() => site.imm64(), 8) : immediateOperand(() => site.imm(), size);
      case 'J': case 'A': return immediateOperand(() => i64.extendS(site.aux()), form.operandSize);
      default: throw new Error(`instruction ${instruction.name}: operand code '${code}'`);
    }
  });
}

/** Emit one form of a row: the instruction's meaning, then on to the next record. */
export function emitForm(c: EmitContext, forms: InstructionForms, form: Form): Stmt {
  const { instruction } = forms;
  const emit = form.chained ? instruction.emitChained! : instruction.emit;
  const body = emit(c, ...bindOperands(c, forms, form));
  return instruction.ends === 'jump' ? body : seq(body, c.site.next());
}

/**
 * Generate the interpreter for a control block at `cb`. Sets the handler of every form. Exports
 * `run(record, budget) → budget left`, the flag functions, and `fill` and `copy` (bulk memory; typed arrays over shared
 * memory are slow at both).
 */
export function generateInterpreter(all: readonly InstructionForms[], cb: number, memoryPages: number): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(memoryPages);
  const slowSignature = { params: ['i32', 'i32'] as const, results: ['i32'] as const };
  const slowRead = module.import('slowRead', slowSignature);
  const slowWrite = module.import('slowWrite', slowSignature);
  const helper = module.import('helper', { params: ['i32', 'i32', 'i32'], results: ['i32'] });
  const lookup = module.import('lookup', { params: [], results: ['i32'] });
  const link = module.import('link', slowSignature);

  const flagFunction = { params: [] as const, results: ['i32'] as const };
  const carryFlag = module.declare(flagFunction, 'carryFlag');
  const statusFlags = module.declare(flagFunction, 'statusFlags');
  const condition = CONDITION_NAMES.map(() => module.declare(flagFunction));
  const legacyAddress = module.declare({ params: ['i32', 'i64', 'i32'], results: ['i64'] }, 'legacyAddress');
  const runSignature = { params: ['i32', 'i32'] as const, results: ['i32'] as const };
  const run = module.declare(runSignature, 'run');

  const three = { params: ['i32', 'i32', 'i32'], results: [] } as const;
  for (const [name, instruction] of [['fill', memoryFill], ['copy', memoryCopy]] as const) {
    const ref = module.declare(three, name);
    const fb = new FunctionBuilder(three);
    module.define(ref, fb, instruction(fb.param('i32', 0).get, fb.param('i32', 1).get, fb.param('i32', 2).get));
  }

  const cell = { load32: (offset: number) => i32.load(ZERO, cb + offset), load64: (offset: number) => i64.load(ZERO, cb + offset) };
  module.define(carryFlag, new FunctionBuilder(flagFunction), carryFlagBody(cell));
  module.define(statusFlags, new FunctionBuilder(flagFunction), statusFlagsBody(cell, () => carryFlag.call('i32')));
  condition.forEach((ref, cc) => {
    const fb = new FunctionBuilder(flagFunction);
    module.define(ref, fb, conditionBody(cell, cc, () => statusFlags.call('i32'), fb));
  });
  defineLegacyAddress(module, legacyAddress, cb);

  const helperNumbers = new Map(HELPER_NAMES.map((name, i) => [name, i]));
  const runtime: Runtime = {
    slowRead, slowWrite, helper, statusFlags, carryFlag, condition, legacyAddress,
    helperNumber: (name) => helperNumbers.get(name)!,
  };

  const fb = new FunctionBuilder(runSignature);
  const shared: Shared = {
    cb, rp: fb.param('i32', 0), budget: fb.param('i32', 1), scratch: fb.local('i32'), target: fb.local('i64'),
    top: new Label(), leave: new Label(), done: new Label(), lookup, link,
  };
  const status = fb.local('i32');
  const ea = fb.local('i64');
  const site = new RecordSite(shared);

  // Temporaries are shared among handlers: none lives past its handler.
  const pool: Partial<Record<ValType, Local<ValType>[]>> = {};
  let taken: Partial<Record<ValType, number>> = {};
  const local = <T extends ValType>(type: T): Local<T> => {
    const list: Local<ValType>[] = (pool[type] ??= []);
    const n: number = taken[type] ?? 0;
    taken[type] = n + 1;
    list[n] ??= fb.local<ValType>(type);
    return list[n] as unknown as Local<T>;
  };
  const handlers: Stmt[] = [];
  const contextFor = (form: Pick<Form, 'locked' | 'flagsFrom' | 'mode'>): EmitContext => {
    taken = {};
    return new EmitContext({ site, runtime, cb, local, status, ea, ...form });
  };

  const plain = { locked: false, flagsFrom: 'any', mode: 'long' } as const;
  handlers.push(...specialHandlers(() => contextFor(plain), shared, status, ea));
  if (handlers.length !== SPECIAL_COUNT) throw new Error('interpreter: special handlers out of step');
  // Rows with the same meaning and operands of the same kind (two encodings of one jump, say) share handlers.
  const known = new Map<unknown, Map<string, number>>();
  for (const forms of all) {
    const { emit, emitChained, ends, aligned } = forms.instruction;
    const kinds = forms.instruction.operands.map((o) => o.replace(/^I(b|bs|z|w)$/, 'I').replace(/^J[bz]$/, 'J')).join(' ');
    for (const form of forms.forms()) {
      const meaning = form.chained ? emitChained : emit;
      let same = known.get(meaning);
      if (!same) known.set(meaning, (same = new Map()));
      const key = `${kinds}|${ends}|${aligned}|${Object.values(form).join()}`;
      const seen = same.get(key);
      if (seen !== undefined) {
        forms.setHandler(form, seen);
        continue;
      }
      const c = contextFor(form);
      const body = emitForm(c, forms, form);
      // A form that does not look at the mode serves both.
      if (form.mode === 'legacy' && !c.modeAsked) {
        const twin = forms.handler({ ...form, mode: 'long' });
        if (twin >= 0) {
          forms.setHandler(form, twin);
          same.set(key, twin);
          continue;
        }
      }
      forms.setHandler(form, handlers.length);
      same.set(key, handlers.length);
      handlers.push(body);
    }
  }

  const labels = handlers.map(() => new Label());
  const dispatch = switchOver(i32.load16U(shared.rp.get, REC_HANDLER), labels, handlers, shared.done);
  const outer = new Label();
  const whole = seq(
    block(shared.done, loop(outer, seq(
      block(shared.leave, loop(shared.top, dispatch)),
      leaveCode(shared, status, outer),
    ))),
    ret(shared.budget.get),
  );
  module.define(run, fb, whole);
  return module.finish();
}

/** Behind `leave`: a handler left with `status`. */
function leaveCode(shared: Shared, status: Local<'i32'>, outer: Label): Stmt {
  const index = i32.load8U(shared.rp.get, REC_INDEX);
  const counts = i32.geU(status.get, i32.const(Status.fault));
  const leaves = i32.or(i32.eq(status.get, i32.const(Status.exit)), i32.eq(status.get, i32.const(Status.exitRetired)));
  const stop = i32.or(i32.leS(shared.budget.get, ZERO), i32.load(ZERO, shared.cb + CB_KICK));
  const setStatus = (value: I32) => i32.store(ZERO, value, shared.cb + CB_EXIT_STATUS);
  return seq(
    shared.budget.set(i32.sub(i32.sub(shared.budget.get, index), counts)),
    when(leaves, seq(setStatus(status.get), br(shared.done))),
    when(stop, seq(setStatus(i32.const(Status.stop)), br(shared.done))),
    when(i32.eqz(shared.rp.tee(shared.lookup.call('i32'))), br(shared.done)),
    br(outer),
  );
}

function specialHandlers(context: () => EmitContext, shared: Shared, status: Local<'i32'>, ea: Local<'i64'>): Stmt[] {
  const emitWith = (make: (c: EmitContext) => Stmt): Stmt => make(context());
  const setRip = (c: EmitContext) => c.store64(CB_RIP, c.site.rip());
  const base = (c: EmitContext) => c.readRegister(c.site.fieldB(), 8, false);
  const sum = (c: EmitContext) =>
    i64.add(i64.add(base(c), i64.shl(c.readRegister(c.site.indexField(), 8, false), c.site.scale())), c.site.disp());
  const segment = (c: EmitContext) => i32.and(i32.load8U(c.site.record(), REC_EXTRA), i32.const(7));
  const segmentBase = (c: EmitContext) => i64.load(i32.shl(segment(c), i32.const(5)), c.cb + CB_SEG + SEG_BASE);
  const mask32 = (v: I64) => i64.and(v, i64.const(0xffffffff));
  const mask16 = (v: I64) => i64.and(v, i64.const(0xffff));
  const compute = (make: (c: EmitContext) => I64) => emitWith((c) => seq(ea.set(make(c)), c.site.next()));
  const checked = (offset: (c: EmitContext) => I64) => emitWith((c) => seq(
    ea.set(c.runtime.legacyAddress.call('i64', segment(c), offset(c), i32.wrap(c.site.imm()))),
    when(i64.eq(ea.get, i64.const(-1)), c.helper('segmentFaultOfRecord')),
    c.site.next(),
  ));
  const leaveAs = (value: number) => emitWith((c) => seq(setRip(c), status.set(i32.const(value)), c.site.leave()));
  return [
    leaveAs(Status.resume),
    emitWith((c) => control.fallThrough(false)(c)),
    emitWith((c) => control.fallThrough(true)(c)),
    emitWith((c) => seq(
      setRip(c),
      // The record's index counts the instruction before it.
      shared.budget.set(i32.sub(shared.budget.get, i32.load8U(c.site.record(), REC_INDEX))),
      i32.store(ZERO, i32.const(Status.exitRetired), shared.cb + CB_EXIT_STATUS),
      br(shared.done),
    )),
    compute(sum),
    compute((c) => i64.add(sum(c), segmentBase(c))),
    compute((c) => mask32(sum(c))),
    compute((c) => i64.add(mask32(sum(c)), segmentBase(c))),
    compute((c) => c.site.imm64()),
    compute((c) => i64.add(c.site.imm64(), segmentBase(c))),
    checked((c) => mask32(sum(c))),
    checked((c) => mask16(sum(c))),
    compute((c) => mask32(sum(c))),
    compute((c) => mask16(sum(c))),
    emitWith((c) => seq(c.helper('undefined'), c.site.next())),
    emitWith((c) => seq(c.helper('tooLong'), c.site.next())),
  ];
}

/** Runtime.legacyAddress: the segment's bounds and rights, then base + offset in 32 bits. */
function defineLegacyAddress(module: ModuleBuilder, ref: ReturnType<ModuleBuilder['declare']>, cb: number): void {
  const fb = new FunctionBuilder(ref.signature);
  const seg = fb.param('i32', 0);
  const offset = fb.param('i64', 1);
  const access = fb.param('i32', 2);
  const at = fb.local('i32');
  const off = fb.local('i64');
  const refused = ret(i64.const(-1));
  const size = i64.extendU(i32.and(access.get, i32.const(0xff)));
  const need = i32.add(i32.shrU(access.get, i32.const(8)), i32.const(1));
  module.define(ref, fb, seq(
    at.set(i32.add(i32.mul(seg.get, i32.const(SEG_SIZE)), i32.const(cb + CB_SEG))),
    off.set(i64.and(offset.get, i64.const(0xffffffff))),
    when(i32.eqz(i32.and(i32.load(at.get, SEG_MAY), need)), refused),
    when(i64.ltU(off.get, i64.load32U(at.get, SEG_LOW)), refused),
    // Past the end of a full 4 GiB an access wraps; no processor faults there.
    when(i64.gtU(i64.add(off.get, i64.sub(size, i64.const(1))), i64.load32U(at.get, SEG_HIGH)), when(i32.ne(i32.load(at.get, SEG_HIGH), i32.const(-1)), refused)),
    ret(i64.and(i64.add(i64.load(at.get, SEG_BASE), off.get), i64.const(0xffffffff))),
  ));
}

