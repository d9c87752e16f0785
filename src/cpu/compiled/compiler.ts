/**
 * A loop of decoded blocks as one WebAssembly function. The same emitters as the interpreter's, with constants for operands. Blocks
 * end as there: what they retire is counted, budget and kick word looked at, so that nothing a guest or hypervisor can see differs.
 */
import { CB_RIP } from '../memory/control-block.ts';
import type { FlagsFrom, Runtime, Site } from '../emit/context.ts';
import { CONDITION_NAMES } from '../emit/flags.ts';
import { SPECIAL, SPECIAL_COUNT } from '../records/handler-numbers.ts';
import { HELPER_NAMES } from '../emit/helpers.ts';
import { emitForm, type Interpreter } from '../interpreter/interpreter.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { OUTCOME_DONE, OUTCOME_FIND, OUTLINED_SIGNATURE, pack } from '../interpreter/outlined.ts';
import {
  REC_A,
  REC_AUX,
  REC_B,
  REC_DISP,
  REC_HANDLER,
  REC_IMM,
  REC_INDEX,
  REC_INDEX_REG,
  REC_LENGTH,
  REC_NOT_TAKEN,
  REC_RIP,
  REC_SCALE,
  REC_TAKEN,
  RECORD_SIZE,
} from '../records/record.ts';
import { conditionExport } from '../interpreter/primitives.ts';
import { retire } from '../interpreter/record-site.ts';
import { SPECIAL_EMITTERS } from '../interpreter/special-handlers.ts';
import { Label } from '../wasm/encoder.ts';
import {
  block as labelled,
  br,
  brTable,
  i32,
  i64,
  loop,
  ret,
  seq,
  when,
  type I32,
  type I64,
  type Stmt,
  type ValType,
} from '../wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder, type Local } from '../wasm/module.ts';
import { Cells, CompiledContext, withCells } from './compiled-context.ts';
import type { Block } from './loop.ts';

const ZERO = i32.const(0);

export interface CompilerParts {
  views: MemoryViews;
  /** Address of the control block. */
  cb: number;
  memory: WebAssembly.Memory;
  meanings: Interpreter['meanings'];
  /** What the generated interpreter exports. */
  interpreter: WebAssembly.Exports;
}

/** What the parts of one function share. */
interface Shared {
  parts: CompilerParts;
  budget: Local<'i32'>;
  /** Where to go on behind the exit, and the outcome to report. */
  rp: Local<'i32'>;
  outcome: Local<'i32'>;
  status: Local<'i32'>;
  exit: Label;
  /** Number of the block to run next, for the table at the top. */
  next: Local<'i32'>;
  top: Label;
  blocks: readonly Block[];
  labels: readonly Label[];
}

/**
 * Compile these blocks. The function takes up the block whose handler is `firstHandler` + its number among them.
 */
export function compileLoop(parts: CompilerParts, blocks: readonly Block[], firstHandler: number): WebAssembly.ExportValue {
  const module = new ModuleBuilder(parts.memory);
  const slow = { params: ['i32', 'i32'] as const, results: ['i32'] as const };
  const flag = { params: [] as const, results: ['i32'] as const };
  const plain: Runtime = {
    slowRead: module.import('slowRead', slow),
    slowWrite: module.import('slowWrite', slow),
    helper: module.import('helper', { params: ['i32', 'i32', 'i32'], results: ['i32'] }),
    statusFlags: module.import('statusFlags', flag),
    carryFlag: module.import('carryFlag', flag),
    condition: CONDITION_NAMES.map((_name, cc) => module.import(conditionExport(cc), flag)),
    legacyAddress: {
      call: () => {
        throw new Error('compiled code: a segmented address');
      },
    },
    helperNumber: (name) => HELPER_NAMES.indexOf(name),
  };
  const run = module.declare(OUTLINED_SIGNATURE, 'run');
  const fb = new FunctionBuilder(OUTLINED_SIGNATURE);
  const cells = new Cells(parts.cb, (type) => fb.local(type));
  const runtime = withCells(plain, cells);
  const shared: Shared = {
    parts,
    blocks,
    rp: fb.param('i32', 0),
    budget: fb.param('i32', 1),
    outcome: fb.local('i32'),
    status: fb.local('i32'),
    next: fb.local('i32'),
    exit: new Label(),
    top: new Label(),
    labels: blocks.map(() => new Label()),
  };
  const ea = fb.param('i64', 2);
  const temporaries = new Temporaries(fb);
  const code = blocks.map((block, i) => {
    const self = new Label();
    const body: Stmt[] = [];
    let flagsFrom: FlagsFrom = 'any';
    for (let at = block.first; at <= block.last; at += RECORD_SIZE) {
      temporaries.reset();
      const site = new ConstantSite(shared, at, i, self);
      const make = (form: { locked: boolean; mode: 'long' }, from: FlagsFrom): CompiledContext => {
        const c = new CompiledContext({
          site,
          runtime,
          cb: parts.cb,
          local: temporaries.take,
          status: shared.status,
          ea,
          cells,
          ...form,
          flagsFrom: from,
        });
        site.context = c;
        return c;
      };
      const handler = parts.views.u16[(at + REC_HANDLER) >> 1]!;
      if (handler < SPECIAL_COUNT) {
        body.push(SPECIAL_EMITTERS[handler]!(make({ locked: false, mode: 'long' }, 'any')));
        continue;
      }
      const { forms, form } = parts.meanings[handler]!;
      body.push(emitForm(make({ locked: form.locked, mode: 'long' }, flagsFrom), forms, form));
      const { flags } = forms.instruction;
      if (flags !== 'kept') flagsFrom = flags ?? 'any';
    }
    return loop(self, seq(...body));
  });

  const dispatch: Stmt = (out) => {
    const { labels } = shared;
    for (let i = labels.length - 1; i >= 0; i--) {
      out.byte(0x02);
      out.byte(0x40);
      out.open(labels[i]);
    }
    brTable(shared.next.get, labels, labels[0]!)(out);
    code.forEach((body, i) => {
      out.close(labels[i]);
      out.byte(0x0b);
      body(out);
    });
  };
  module.define(
    run,
    fb,
    seq(
      shared.next.set(i32.sub(i32.load16U(shared.rp.get, REC_HANDLER), i32.const(firstHandler))),
      cells.load,
      labelled(shared.exit, loop(shared.top, dispatch)),
      cells.spill,
      ret(pack(shared.budget.get, shared.rp.get, shared.outcome.get)),
    ),
  );
  const imports = { memory: parts.memory, ...parts.interpreter } as WebAssembly.ModuleImports;
  return new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: imports }).exports.run!;
}

/** Locals that no instruction hands on to the next. */
class Temporaries {
  private readonly fb: FunctionBuilder;
  private readonly pool = new Map<ValType, Local<ValType>[]>();
  private readonly taken = new Map<ValType, number>();

  constructor(fb: FunctionBuilder) {
    this.fb = fb;
  }

  reset(): void {
    this.taken.clear();
  }

  readonly take = <T extends ValType>(type: T): Local<T> => {
    let list = this.pool.get(type);
    if (!list) this.pool.set(type, (list = []));
    const n = this.taken.get(type) ?? 0;
    this.taken.set(type, n + 1);
    list[n] ??= this.fb.local<ValType>(type);
    return list[n] as unknown as Local<T>;
  };
}

/** The fields of one record as constants, and ways on within the function or out of it. */
class ConstantSite implements Site {
  context!: CompiledContext;
  private readonly shared: Shared;
  private readonly at: number;
  /** Number of the block, and the label that runs it again. */
  private readonly number: number;
  private readonly self: Label;

  constructor(shared: Shared, at: number, number: number, self: Label) {
    this.shared = shared;
    this.at = at;
    this.number = number;
    this.self = self;
  }

  private u8(field: number): number {
    return this.shared.parts.views.u8[this.at + field]!;
  }
  private u16(field: number): number {
    return this.shared.parts.views.u16[(this.at + field) >> 1]!;
  }
  private i32(field: number): number {
    return this.shared.parts.views.i32[(this.at + field) >> 2]!;
  }
  private i64(field: number): bigint {
    return (BigInt(this.i32(field + 4)) << 32n) | BigInt(this.i32(field) >>> 0);
  }

  fieldA(): I32 {
    return i32.const(this.u16(REC_A));
  }
  fieldB(): I32 {
    return i32.const(this.u16(REC_B));
  }
  indexField(): I32 {
    return i32.const(this.u16(REC_INDEX_REG));
  }
  scale(): I64 {
    return i64.const(this.u8(REC_SCALE));
  }
  disp(): I64 {
    return i64.const(this.i32(REC_DISP));
  }
  imm(): I64 {
    return i64.const(this.i32(REC_IMM));
  }
  imm64(): I64 {
    return i64.const(this.i64(REC_DISP));
  }
  aux(): I32 {
    return i32.const(this.i32(REC_AUX));
  }
  length(): I64 {
    return i64.const(this.u8(REC_LENGTH));
  }
  rip(): I64 {
    return i64.const(this.i64(REC_RIP));
  }
  budget(): I32 {
    return this.shared.budget.get;
  }
  record(): I32 {
    return i32.const(this.at);
  }

  /** Behind an instruction that may have changed code: has it changed this? Then `record` is stale and the interpreter looks again. */
  private unlessChanged(record: number): Stmt {
    if (!this.context.mayChangeCode) return () => {};
    return when(
      i32.eq(i32.load16U(i32.const(this.at), REC_HANDLER), i32.const(SPECIAL.stale)),
      this.leaveFor(i32.const(record), 0),
    );
  }

  /** Out of the function, with everything in its place, to go on with a record. */
  private leaveFor(record: I32, outcome: number): Stmt {
    const { rp, outcome: result, exit } = this.shared;
    return seq(rp.set(record), result.set(i32.const(outcome)), br(exit));
  }

  next(): Stmt {
    return (out) => this.unlessChanged(this.at + RECORD_SIZE)(out);
  }

  /** The slow path or helper that said so found everything in memory, and may have changed it there. */
  leave(): Stmt {
    return ret(pack(this.shared.budget.get, this.record(), this.shared.status.get));
  }

  private retire(target: I64): Stmt {
    const { shared } = this;
    const done = this.leaveFor(ZERO, OUTCOME_DONE);
    return retire({ cb: shared.parts.cb, budget: shared.budget, done }, i32.const(this.u8(REC_INDEX) + 1), target);
  }

  jumpChained(way: 'taken' | 'notTaken', target: I64): Stmt {
    const { shared } = this;
    const field = way === 'taken' ? REC_TAKEN : REC_NOT_TAKEN;
    const link = this.i32(field);
    const number = shared.blocks.findIndex((block) => block.first === link);
    if (link === 0 || number < 0) return seq(this.retire(target), this.leaveChained(field, target));
    const on =
      number === this.number
        ? br(this.self)
        : number > this.number
          ? br(shared.labels[number]!)
          : seq(shared.next.set(i32.const(number)), br(shared.top));
    return seq(this.retire(target), (out) => this.unlessChanged(link)(out), on);
  }

  /** To a block outside the function: by the record's link as it is then, or by the target's address. */
  private leaveChained(field: number, target: I64): Stmt {
    const link = i32.load(i32.const(this.at), field);
    return seq(when(i32.ne(link, ZERO), this.leaveFor(link, 0)), this.leaveToFind(target));
  }

  private leaveToFind(target: I64): Stmt {
    return seq(i64.store(ZERO, target, this.shared.parts.cb + CB_RIP), this.leaveFor(ZERO, OUTCOME_FIND));
  }

  jumpTo(target: I64): Stmt {
    return seq(this.retire(target), this.leaveToFind(target));
  }
}
