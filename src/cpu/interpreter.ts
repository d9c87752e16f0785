/**
 * The interpreter: one WebAssembly function generated from the instruction tables. A loop dispatches over decoded
 * records by br_table; every form of every row is one case. Registers live in the control block; only the record
 * pointer, the instruction budget and the computed address are locals. Rare forms are functions of their own behind one
 * case, so that the loop stays small: the engine's optimising compiler takes more than its share of time over a large function.
 */
import { CB_EXIT_STATUS, CB_KICK, CB_RIP, CB_SEG, SEG_BASE, SEG_HIGH, SEG_LOW, SEG_MAY, SEG_SIZE, Status } from './control-block.ts';
import { EmitContext, type Operand, type Runtime } from './emit/context.ts';
import * as control from './emit/control.ts';
import { carryFlagBody, conditionBody, CONDITION_NAMES, statusFlagsBody } from './emit/flags.ts';
import { constantOperand, fixedRegister, immediateOperand, memoryOperand, registerOperand } from './emit/operands.ts';
import { isRare, operandBytes, type Form, type InstructionForms } from './forms.ts';
import { OUTLINED, SPECIAL_COUNT } from './handler-numbers.ts';
import { HELPER_NAMES } from './helpers.ts';
import { REC_EXTRA, REC_HANDLER, REC_INDEX, RECORD_SIZE } from './record.ts';
import { RecordSite, type Frame } from './record-site.ts';
import { Label } from './wasm/encoder.ts';
import { block, br, i32, i64, loop, memoryCopy, memoryFill, ret, seq, switchOver, unreachable, when, type I32, type I64, type Stmt, type ValType } from './wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder, type FunctionRef, type Local } from './wasm/module.ts';

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
  const top = new Label();
  const leave = new Label();
  const done = new Label();
  const frame: Frame = {
    cb, rp: fb.param('i32', 0), budget: fb.param('i32', 1), scratch: fb.local('i32'), target: fb.local('i64'), lookup, link,
    run: br(top), leave: br(leave), done: br(done),
  };
  const status = fb.local('i32');
  const ea = fb.local('i64');
  const packed = fb.local('i64');
  const site = new RecordSite(frame);

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
  handlers.push(...specialHandlers(() => contextFor(plain), frame, status, ea));
  if (handlers.length !== SPECIAL_COUNT) throw new Error('interpreter: special handlers out of step');
  let outlined = 0;
  // Rows with the same meaning and operands of the same kind (two encodings of one jump, say) share handlers.
  const known = new Map<unknown, Map<string, number>>();
  for (const forms of all) {
    const { emit, emitChained, ends, aligned, rare } = forms.instruction;
    const kinds = forms.instruction.operands.map((o) => o.replace(/^I(b|bs|z|w)$/, 'I').replace(/^J[bz]$/, 'J')).join(' ');
    for (const form of forms.forms()) {
      const meaning = form.chained ? emitChained : emit;
      let same = known.get(meaning);
      if (!same) known.set(meaning, (same = new Map()));
      const key = `${kinds}|${ends}|${aligned}|${rare}|${Object.values(form).join()}`;
      const seen = same.get(key);
      if (seen !== undefined) {
        forms.setHandler(form, seen);
        continue;
      }
      const apart = isRare(forms, form);
      const own = apart ? new OutlinedHandler({ module, runtime, cb, lookup, link }, form) : undefined;
      const c = own?.context ?? contextFor(form);
      const body = emitForm(c, forms, form);
      // A form that does not look at the mode serves both.
      const twin = form.mode === 'legacy' && !c.modeAsked ? forms.handler({ ...form, mode: 'long' }) : -1;
      const handler = twin >= 0 ? twin : own ? OUTLINED + outlined++ : handlers.length;
      forms.setHandler(form, handler);
      same.set(key, handler);
      if (twin >= 0) continue;
      if (own) module.addToTable(own.define(body));
      else handlers.push(body);
    }
  }

  const labels = handlers.map(() => new Label());
  const rare = new Label();
  const number = i32.load16U(frame.rp.get, REC_HANDLER);
  const call = seq(
    packed.set(module.callIndirect('i64', OUTLINED_SIGNATURE, i32.sub(number, i32.const(OUTLINED)), [frame.rp.get, frame.budget.get, ea.get])),
    frame.budget.set(i32.wrap(i64.shrU(packed.get, i64.const(32)))),
    frame.rp.set(i32.and(i32.wrap(packed.get), i32.const(~OUTCOME_MASK))),
    when(i32.eqz(status.tee(i32.and(i32.wrap(packed.get), i32.const(OUTCOME_MASK)))), br(top)),
    when(i32.eq(status.get, i32.const(OUTCOME_DONE)), br(done)),
    br(leave),
  );
  const dispatch = seq(block(rare, switchOver(number, labels, handlers, rare)), call);
  const outer = new Label();
  const whole = seq(
    block(done, loop(outer, seq(
      block(leave, loop(top, dispatch)),
      leaveCode(frame, status, outer),
    ))),
    ret(frame.budget.get),
  );
  module.define(run, fb, whole);
  return module.finish();
}

/**
 * A handler that is a function: (record, budget, computed address) → budget << 32 | record to go on with | outcome. Records
 * are 32 bytes apart, so that the low bits have room for the outcome: 0 go on, OUTCOME_DONE end the run, else a Status to leave with.
 */
const OUTLINED_SIGNATURE = { params: ['i32', 'i32', 'i64'] as const, results: ['i64'] as const };
const OUTCOME_MASK = RECORD_SIZE - 1;
const OUTCOME_DONE = 31;

class OutlinedHandler {
  readonly context: EmitContext;
  private readonly module: ModuleBuilder;
  private readonly fb = new FunctionBuilder(OUTLINED_SIGNATURE);

  constructor(parts: { module: ModuleBuilder; runtime: Runtime; cb: number } & Pick<Frame, 'lookup' | 'link'>, form: Form) {
    const { fb } = this;
    const { module, runtime, cb, lookup, link } = parts;
    this.module = module;
    const rp = fb.param('i32', 0);
    const budget = fb.param('i32', 1);
    const status = fb.local('i32');
    const end = (outcome: I32) => ret(i64.or(i64.shl(i64.extendU(budget.get), i64.const(32)), i64.extendU(i32.or(rp.get, outcome))));
    const site = new RecordSite({
      cb, rp, budget, scratch: fb.local('i32'), target: fb.local('i64'), lookup, link,
      run: end(ZERO), leave: end(status.get), done: end(i32.const(OUTCOME_DONE)),
    });
    this.context = new EmitContext({ site, runtime, cb, local: (type) => fb.local(type), status, ea: fb.param('i64', 2), ...form });
  }

  define(body: Stmt): FunctionRef {
    const ref = this.module.declare(OUTLINED_SIGNATURE);
    this.module.define(ref, this.fb, seq(body, unreachable));
    return ref;
  }
}

/** Behind `leave`: a handler left with `status`. */
function leaveCode({ cb, rp, budget, lookup, done }: Frame, status: Local<'i32'>, outer: Label): Stmt {
  const index = i32.load8U(rp.get, REC_INDEX);
  const counts = i32.geU(status.get, i32.const(Status.fault));
  const leaves = i32.or(i32.eq(status.get, i32.const(Status.exit)), i32.eq(status.get, i32.const(Status.exitRetired)));
  const stop = i32.or(i32.leS(budget.get, ZERO), i32.load(ZERO, cb + CB_KICK));
  const setStatus = (value: I32) => i32.store(ZERO, value, cb + CB_EXIT_STATUS);
  return seq(
    budget.set(i32.sub(i32.sub(budget.get, index), counts)),
    when(leaves, seq(setStatus(status.get), done)),
    when(stop, seq(setStatus(i32.const(Status.stop)), done)),
    when(i32.eqz(rp.tee(lookup.call('i32'))), done),
    br(outer),
  );
}

function specialHandlers(context: () => EmitContext, frame: Frame, status: Local<'i32'>, ea: Local<'i64'>): Stmt[] {
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
      frame.budget.set(i32.sub(frame.budget.get, i32.load8U(c.site.record(), REC_INDEX))),
      i32.store(ZERO, i32.const(Status.exitRetired), frame.cb + CB_EXIT_STATUS),
      frame.done,
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

