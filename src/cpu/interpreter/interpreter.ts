/**
 * The interpreter: one WebAssembly function generated from the instruction tables. A loop dispatches over decoded
 * records by br_table; every form of every row is one case. Registers live in the control block; only the record
 * pointer, the instruction budget and the computed address are locals. Rare forms are functions of their own behind one
 * case, so that the loop stays small: the engine's optimising compiler takes more than its share of time over a large function.
 */
import {
  CB_EXIT_STATUS,
  CB_JUMP_CACHE,
  CB_JUMP_EPOCH,
  CB_KICK,
  CB_REST,
  CB_RIP,
  CB_SEG,
  SEG_BASE,
  SEG_HIGH,
  SEG_LOW,
  SEG_MAY,
  SEG_SIZE,
  Status,
} from '../memory/control-block.ts';
import { EmitContext, type Operand, type Runtime } from '../emit/context.ts';
import { defineFlagFunctions } from './primitives.ts';
import { constantOperand, fixedRegister, immediateOperand, memoryOperand, registerOperand } from '../emit/operands.ts';
import { isRare, type Form, type InstructionForms } from '../decode/forms.ts';
import { FIRST_COMPILED, HANDLER_LIMIT, OUTLINED, SPECIAL, SPECIAL_COUNT } from '../records/handler-numbers.ts';
import { HELPER_NAMES } from '../emit/helpers.ts';
import {
  JUMP_SIGNATURE,
  OUTCOME_DONE,
  OUTCOME_FIND,
  OUTCOME_INTERPRET,
  OUTCOME_MASK,
  OUTLINED_SIGNATURE,
  pack,
} from './outlined.ts';
import { JUMP_RECORD, JUMP_TAG } from '../memory/tlb-layout.ts';
import { REC_HANDLER, REC_INDEX, REC_RIP } from '../records/record.ts';
import { findBlock, jumpEntry, RecordSite, type Frame } from './record-site.ts';
import { SPECIAL_EMITTERS } from './special-handlers.ts';
import { bytesOf, type OperandSpec } from '../tables/operands.ts';
import { Label } from '../wasm/encoder.ts';
import {
  block,
  br,
  i32,
  i64,
  loop,
  nop,
  ret,
  seq,
  switchOver,
  unreachable,
  when,
  type I32,
  type Stmt,
  type ValType,
} from '../wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder, type FunctionRef, type Local } from '../wasm/module.ts';

export interface InterpreterImports {
  slowRead(record: number, size: number): number;
  slowWrite(record: number, size: number): number;
  /** The same for compiled code: a fault is announced, not delivered; a write to decoded code is left to the interpreter. */
  tryRead(record: number, size: number): number;
  tryWrite(record: number, size: number): number;
  /** Deliver the fault announced. */
  deliver(): number;
  helper(number: number, record: number, argument: number): number;
  /** Block at CB_RIP: its first record, or 0 to leave. */
  lookup(): number;
  /** Target record of a chained branch (way 0 taken, 1 not taken), or 0 to leave. */
  link(record: number, way: number): number;
  /** See to it that this record is interpreted, even where compiled code stands for it, until the run ends. */
  interpret(record: number): void;
}

const ZERO = i32.const(0);

/** Abstract operands of one form of a row. */
function bindOperands(c: EmitContext, forms: InstructionForms, form: Form): Operand[] {
  const { site } = c;
  const { instruction } = forms;
  const inlineAddress = () =>
    i64.add(
      i64.add(c.readRegister(site.fieldB(), 8, false), i64.shl(c.readRegister(site.indexField(), 8, false), site.scale())),
      site.disp(),
    );
  const address = form.address === 'inline' ? inlineAddress : () => c.ea.get;
  const memory = (operand: OperandSpec) =>
    memoryOperand(c, address, bytesOf(operand.memoryBytes, form.operandSize), instruction.aligned ?? false, 0);
  return instruction.operands.map((operand): Operand => {
    const size = bytesOf(operand.bytes, operand.scales === 'address' ? form.addressSize : form.operandSize);
    switch (operand.kind) {
      case 'implied':
        return fixedRegister(c, operand.register, size);
      case 'one':
        return constantOperand(1);
      case 'size':
        return immediateOperand(() => i64.const(0), size);
      case 'reg':
      case 'opcode':
        return registerOperand(c, site.fieldA(), size);
      case 'number':
        return immediateOperand(() => i64.extendU(site.fieldA()), 1);
      case 'rm':
        return form.address === 'register' ? registerOperand(c, site.fieldB(), size) : memory(operand);
      case 'memory':
      case 'moffs':
        return memory(operand);
      case 'rmRegister':
        return registerOperand(c, site.fieldB(), size);
      case 'st':
        return immediateOperand(() => i64.extendU(site.fieldB()), 1);
      case 'immediate':
        if (operand.second) return immediateOperand(() => i64.extendS(site.aux()), 1);
        return isWide(operand, form) ? immediateOperand(() => site.imm64(), 8) : immediateOperand(() => site.imm(), size);
      case 'relative':
      case 'far':
        return immediateOperand(() => i64.extendS(site.aux()), form.operandSize);
    }
  });
}

/** An immediate of eight bytes, which takes the place of disp and imm. */
const isWide = (operand: OperandSpec, form: Form): boolean => bytesOf(operand.encoded, form.operandSize) === 8;

/** Operands with the same key are bound alike in every form: immediates and distances of all widths are read from the same field. */
function bindingKey(operand: OperandSpec): string {
  if (operand.kind === 'relative') return 'J';
  return operand.kind === 'immediate' && !operand.second && operand.encoded[2] < 8 ? 'I' : operand.notation;
}

/** Emit one form of a row: the instruction's meaning, then on to the next record. */
export function emitForm(c: EmitContext, forms: InstructionForms, form: Form): Stmt {
  const { instruction } = forms;
  const emit = form.chained ? instruction.emitChained! : instruction.emit;
  const body = emit(c, ...bindOperands(c, forms, form));
  return instruction.ends === 'jump' ? body : seq(body, c.site.next());
}

/** A generated interpreter. */
export interface Interpreter {
  bytes: Uint8Array<ArrayBuffer>;
  /** What a handler stands for, by its number. Rows may share one. */
  meanings: readonly ({ forms: InstructionForms; form: Form } | undefined)[];
}

/** Where a generated interpreter runs. */
export interface Placement {
  /** Address of the control block. */
  cb: number;
  /** Address of the ring that computed jumps are noted in. */
  jumpLog: number;
  memory: WebAssembly.Memory;
  /** The engine has tail calls. */
  tailCalls: boolean;
}

/**
 * Generate the interpreter. Sets the handler of every form. Exports `run(record, budget, share) → budget left` (it ends after
 * `share` instructions of its own, too), `handlers` (the table of functions that are handlers) and what compiled code calls.
 */
export function generateInterpreter(all: readonly InstructionForms[], placement: Placement): Interpreter {
  const { cb, jumpLog, memory, tailCalls } = placement;
  const module = new ModuleBuilder(memory);
  const slowSignature = { params: ['i32', 'i32'] as const, results: ['i32'] as const };
  const slowRead = module.import('slowRead', slowSignature);
  const slowWrite = module.import('slowWrite', slowSignature);
  const tryRead = module.import('tryRead', slowSignature);
  const tryWrite = module.import('tryWrite', slowSignature);
  const deliver = module.import('deliver', { params: [], results: ['i32'] });
  const helper = module.import('helper', { params: ['i32', 'i32', 'i32'], results: ['i32'] });
  const lookup = module.import('lookup', { params: [], results: ['i32'] });
  const link = module.import('link', slowSignature);
  const interpret = module.import('interpret', { params: ['i32'], results: [] });

  const { carryFlag, statusFlags, condition } = defineFlagFunctions(module, cb);
  const legacyAddress = module.declare({ params: ['i32', 'i64', 'i32'], results: ['i64'] }, 'legacyAddress');
  const runSignature = { params: ['i32', 'i32', 'i32'] as const, results: ['i32'] as const };
  const run = module.declare(runSignature, 'run');
  const jump = module.declare(JUMP_SIGNATURE, 'jump');

  // Imports as functions of this module: compiled code calls them without a way through JavaScript of its own.
  for (const [name, target] of [
    ['tryRead', tryRead],
    ['tryWrite', tryWrite],
    ['deliver', deliver],
    ['helper', helper],
  ] as const) {
    const ref = module.declare(target.signature, name);
    const fb = new FunctionBuilder(target.signature);
    module.define(ref, fb, ret(target.call('i32', ...target.signature.params.map((_type, i) => fb.param('i32', i).get))));
  }

  defineLegacyAddress(module, legacyAddress, cb);
  defineJump(module, jump, cb, tailCalls);

  const helperNumbers = new Map(HELPER_NAMES.map((name, i) => [name, i]));
  const runtime: Runtime = {
    slowRead,
    slowWrite,
    helper,
    statusFlags,
    carryFlag,
    condition,
    legacyAddress,
    helperNumber: (name) => helperNumbers.get(name)!,
  };

  const fb = new FunctionBuilder(runSignature);
  const top = new Label();
  const leave = new Label();
  const done = new Label();
  const frame: Frame = {
    cb,
    rp: fb.param('i32', 0),
    budget: fb.param('i32', 1),
    scratch: fb.local('i32'),
    target: fb.local('i64'),
    jumpLog,
    lookup,
    link,
    run: br(top),
    leave: br(leave),
    done: br(done),
  };
  const status = fb.local('i32');
  const ea = fb.local('i64');
  const packed = fb.local('i64');
  const share = fb.param('i32', 2);
  const rest = fb.local('i32');
  const left = fb.local('i32');
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
  const meanings: { forms: InstructionForms; form: Form }[] = [];
  const contextFor = (form: Pick<Form, 'locked' | 'flagsFrom' | 'mode'>): EmitContext => {
    taken = {};
    return new EmitContext({ site, runtime, cb, local, status, ea, ...form });
  };

  const plain = { locked: false, flagsFrom: 'any', mode: 'long' } as const;
  const stepEnd = (c: EmitContext): Stmt =>
    seq(
      c.store64(CB_RIP, c.site.rip()),
      // The record's index counts the instruction before it.
      frame.budget.set(i32.sub(frame.budget.get, i32.load8U(c.site.record(), REC_INDEX))),
      i32.store(ZERO, i32.const(Status.exitRetired), cb + CB_EXIT_STATUS),
      frame.done,
    );
  for (let n = 0; n < SPECIAL_COUNT; n++)
    handlers.push((n === SPECIAL.stepEnd ? stepEnd : SPECIAL_EMITTERS[n]!)(contextFor(plain)));
  let outlined = 0;
  // Rows with the same meaning and operands of the same kind (two encodings of one jump, say) share handlers.
  const known = new Map<unknown, Map<string, number>>();
  for (const forms of all) {
    const { emit, emitChained, ends, aligned, rare } = forms.instruction;
    const kinds = forms.instruction.operands.map(bindingKey).join(' ');
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
      const own = apart ? new OutlinedHandler({ module, runtime, cb, jumpLog, lookup, link }, form) : undefined;
      const c = own?.context ?? contextFor(form);
      const body = emitForm(c, forms, form);
      // A form that does not look at the mode serves both.
      const twin = form.mode === 'legacy' && !c.modeAsked ? forms.handler({ ...form, mode: 'long' }) : -1;
      const handler = twin >= 0 ? twin : own ? OUTLINED + outlined++ : handlers.length;
      forms.setHandler(form, handler);
      same.set(key, handler);
      if (twin >= 0) continue;
      meanings[handler] = { forms, form };
      if (own) module.addToTable(own.define(body));
      else handlers.push(body);
    }
  }

  const labels = handlers.map(() => new Label());
  const rare = new Label();
  const number = i32.load16U(frame.rp.get, REC_HANDLER);
  const function_ = (budget: I32) =>
    module.callIndirect('i64', OUTLINED_SIGNATURE, i32.sub(number, i32.const(OUTLINED)), [frame.rp.get, budget, ea.get]);
  const unpack = seq(
    left.set(i32.wrap(i64.shrU(packed.get, i64.const(32)))),
    frame.rp.set(i32.and(i32.wrap(packed.get), i32.const(~OUTCOME_MASK))),
    status.set(i32.and(i32.wrap(packed.get), i32.const(OUTCOME_MASK))),
  );
  const stopAtRecord = seq(
    i64.store(ZERO, i64.load(frame.rp.get, REC_RIP), cb + CB_RIP),
    i32.store(ZERO, i32.const(Status.stop), cb + CB_EXIT_STATUS),
    br(done),
  );
  // Compiled code gets the whole budget; what it takes is not the interpreter's share, unless there is less left than that.
  const callCompiled = seq(
    i32.store(ZERO, ZERO, cb + CB_REST),
    packed.set(function_(i32.add(frame.budget.get, rest.get))),
    unpack,
    rest.set(i32.sub(left.get, frame.budget.get)),
    when(i32.ltS(rest.get, ZERO), seq(rest.set(ZERO), frame.budget.set(left.get))),
    i32.store(ZERO, rest.get, cb + CB_REST),
    when(i32.eq(status.get, i32.const(OUTCOME_INTERPRET)), seq(interpret.run(frame.rp.get), br(top))),
    when(i32.and(i32.leS(frame.budget.get, ZERO), i32.eqz(status.get)), stopAtRecord),
  );
  const callOutlined = seq(packed.set(function_(frame.budget.get)), unpack, frame.budget.set(left.get));
  const call = seq(
    when(i32.geU(number, i32.const(FIRST_COMPILED)), callCompiled, callOutlined),
    when(i32.eqz(status.get), br(top)),
    when(i32.eq(status.get, i32.const(OUTCOME_DONE)), br(done)),
    when(
      i32.eq(status.get, i32.const(OUTCOME_FIND)),
      seq(frame.target.set(i64.load(ZERO, cb + CB_RIP)), findBlock(frame, frame.target.get), br(top)),
    ),
    br(leave),
  );
  const dispatch = seq(block(rare, switchOver(number, labels, handlers, rare)), call);
  const outer = new Label();
  const whole = seq(
    rest.set(i32.sub(frame.budget.get, share.get)),
    frame.budget.set(share.get),
    i32.store(ZERO, rest.get, cb + CB_REST),
    block(done, loop(outer, seq(block(leave, loop(top, dispatch)), leaveCode(frame, status, outer)))),
    ret(i32.add(frame.budget.get, rest.get)),
  );
  module.define(run, fb, whole);
  if (OUTLINED + outlined > FIRST_COMPILED) throw new Error('interpreter: too many handlers');
  return { bytes: module.finish({ export: 'handlers', size: HANDLER_LIMIT - OUTLINED }), meanings };
}

class OutlinedHandler {
  readonly context: EmitContext;
  private readonly module: ModuleBuilder;
  private readonly fb = new FunctionBuilder(OUTLINED_SIGNATURE);

  constructor(
    parts: { module: ModuleBuilder; runtime: Runtime; cb: number } & Pick<Frame, 'jumpLog' | 'lookup' | 'link'>,
    form: Form,
  ) {
    const { fb } = this;
    const { module, runtime, cb, jumpLog, lookup, link } = parts;
    this.module = module;
    const rp = fb.param('i32', 0);
    const budget = fb.param('i32', 1);
    const status = fb.local('i32');
    const end = (outcome: I32) => ret(pack(budget.get, rp.get, outcome));
    const site = new RecordSite({
      cb,
      rp,
      budget,
      scratch: fb.local('i32'),
      target: fb.local('i64'),
      jumpLog,
      lookup,
      link,
      run: end(ZERO),
      leave: end(status.get),
      done: end(i32.const(OUTCOME_DONE)),
    });
    this.context = new EmitContext({
      site,
      runtime,
      cb,
      local: (type) => fb.local(type),
      status,
      ea: fb.param('i64', 2),
      ...form,
    });
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

/**
 * Where compiled code ends that goes on at an address: into compiled code there, or back to the interpreter. It goes back, too, when
 * another thread wants the vCPU.
 */
function defineJump(module: ModuleBuilder, ref: FunctionRef, cb: number, tailCalls: boolean): void {
  const fb = new FunctionBuilder(JUMP_SIGNATURE);
  const target = fb.param('i64', 0);
  const budget = fb.param('i32', 1);
  const at = fb.local('i32');
  const handler = fb.local('i32');
  const find = seq(i64.store(ZERO, target.get, cb + CB_RIP), ret(pack(budget.get, ZERO, i32.const(OUTCOME_FIND))));
  module.define(
    ref,
    fb,
    seq(
      when(i32.load(ZERO, cb + CB_KICK), find),
      at.set(jumpEntry(i32.load(ZERO, cb + CB_JUMP_CACHE), target.get)),
      when(i64.ne(i64.load(at.get, JUMP_TAG), i64.xor(target.get, i64.load(ZERO, cb + CB_JUMP_EPOCH))), find),
      at.set(i32.load(at.get, JUMP_RECORD)),
      handler.set(i32.load16U(at.get, REC_HANDLER)),
      tailCalls
        ? when(
            i32.geU(handler.get, i32.const(FIRST_COMPILED)),
            module.finishIndirect(true, OUTLINED_SIGNATURE, i32.sub(handler.get, i32.const(OUTLINED)), [
              at.get,
              budget.get,
              i64.const(0),
            ]),
          )
        : nop,
      ret(pack(budget.get, at.get, ZERO)),
    ),
  );
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
  module.define(
    ref,
    fb,
    seq(
      at.set(i32.add(i32.mul(seg.get, i32.const(SEG_SIZE)), i32.const(cb + CB_SEG))),
      off.set(i64.and(offset.get, i64.const(0xffffffff))),
      when(i32.eqz(i32.and(i32.load(at.get, SEG_MAY), need)), refused),
      when(i64.ltU(off.get, i64.load32U(at.get, SEG_LOW)), refused),
      // Past the end of a full 4 GiB an access wraps; no processor faults there.
      when(
        i64.gtU(i64.add(off.get, i64.sub(size, i64.const(1))), i64.load32U(at.get, SEG_HIGH)),
        when(i32.ne(i32.load(at.get, SEG_HIGH), i32.const(-1)), refused),
      ),
      ret(i64.and(i64.add(i64.load(at.get, SEG_BASE), off.get), i64.const(0xffffffff))),
    ),
  );
}
