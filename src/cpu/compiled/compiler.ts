/**
 * A region of decoded blocks as one WebAssembly function. The same emitters as the interpreter's, with constants for operands. What
 * the blocks retire is counted as there. Budget and kick word are looked at where control goes back, and the interpreter runs the
 * last instructions of a budget, so that a run ends at the block where it always ends: nothing a guest or hypervisor can see differs.
 */
import { CB_CODE_EPOCH, CB_COMPILED_UNTIL, CB_JUMP_CACHE, CB_JUMP_EPOCH, CB_KICK, Status } from '../memory/control-block.ts';
import type { FlagsFrom, Runtime } from '../emit/context.ts';
import { CONDITION_NAMES } from '../emit/flags.ts';
import { HELPER_NAMES } from '../emit/helpers.ts';
import { emitForm, type Interpreter } from '../interpreter/interpreter.ts';
import { conditionExport } from '../interpreter/primitives.ts';
import { OUTCOME_INTERPRET, OUTLINED_SIGNATURE, JUMP_SIGNATURE, pack } from '../interpreter/outlined.ts';
import { jumpEntry, logJump } from '../interpreter/record-site.ts';
import { SPECIAL_EMITTERS } from '../interpreter/special-handlers.ts';
import { jumpOffset, JUMP_RECORD, JUMP_TAG } from '../memory/tlb-layout.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { SPECIAL_COUNT } from '../records/handler-numbers.ts';
import { REC_HANDLER, REC_IMM, REC_INDEX, RECORD_SIZE } from '../records/record.ts';
import { Label, type Encoder } from '../wasm/encoder.ts';
import {
  block as labelled,
  br,
  brTable,
  i32,
  i64,
  loop,
  nop,
  ret,
  seq,
  unreachable,
  when,
  type I64,
  type Stmt,
  type ValType,
} from '../wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder, type FunctionRef, type Local } from '../wasm/module.ts';
import { pageNumber, type Block } from './block.ts';
import { Cells } from './cells.ts';
import { CompiledContext } from './compiled-context.ts';
import { ConstantSite, type Ways } from './constant-site.ts';
import { flagsAfter, flagsBefore, markDeadFlags, type Composed } from './flag-flow.ts';
import type { Frame } from './frame.ts';
import type { Region } from './region.ts';
import type { Structure } from './structure.ts';

const ZERO = i32.const(0);

export interface CompilerParts {
  views: MemoryViews;
  /** Address of the control block. */
  cb: number;
  memory: WebAssembly.Memory;
  meanings: Interpreter['meanings'];
  /** What the generated interpreter exports. */
  interpreter: WebAssembly.Exports;
  /** Address of the ring that computed jumps are noted in. */
  jumpLog: number;
  /** The engine has tail calls. */
  tailCalls: boolean;
}

/** What a region is compiled for. */
export interface Target {
  mode: 'long' | 'legacy';
  /** Linear address of CS:0, and the last offset in CS. */
  csBase: number;
  csLimit: number;
  /** Handler of its first entry; the others follow. */
  firstHandler: number;
  handlerOf(record: number): number;
  /** It looks before each instruction whether it shall end there: CB_COMPILED_UNTIL. */
  stops: boolean;
}

/** Modules made of compiled regions. */
export class RegionModule {
  private readonly parts: CompilerParts;
  private readonly module: ModuleBuilder;
  private readonly imported = new Map<string, FunctionRef>();
  private readonly bodies: Encoder[] = [];
  private readonly runtime: Runtime;

  constructor(parts: CompilerParts) {
    this.parts = parts;
    this.module = new ModuleBuilder(parts.memory);
    const slow = { params: ['i32', 'i32'] as const, results: ['i32'] as const };
    const flag = { params: [] as const, results: ['i32'] as const };
    const later = (name: string, signature: FunctionRef['signature']) => ({
      call: <T extends ValType>(type: T, ...args: Parameters<FunctionRef['call']>[1][]) => ({
        type,
        write: (out: Encoder) =>
          this.import(name, signature)
            .call(type, ...args)
            .write(out),
      }),
    });
    this.runtime = {
      slowRead: later('tryRead', slow),
      slowWrite: later('tryWrite', slow),
      helper: later('helper', { params: ['i32', 'i32', 'i32'], results: ['i32'] }),
      statusFlags: later('statusFlags', flag),
      carryFlag: later('carryFlag', flag),
      condition: CONDITION_NAMES.map((_name, cc) => later(conditionExport(cc), flag)),
      legacyAddress: later('legacyAddress', { params: ['i32', 'i64', 'i32'], results: ['i64'] }),
      helperNumber: (name) => HELPER_NAMES.indexOf(name),
    };
  }

  private import(name: string, signature: FunctionRef['signature']): FunctionRef {
    let ref = this.imported.get(name);
    if (!ref) this.imported.set(name, (ref = this.module.import(name, signature)));
    return ref;
  }

  add(region: Region, shape: Structure, target: Target): void {
    const { parts, runtime } = this;
    const compiler = new RegionCompiler(parts, runtime, region, shape, target, (name, signature) => this.import(name, signature));
    this.bodies.push(compiler.encode());
  }

  /** Bytes of the module; its functions are exported by their numbers. */
  finish(): Uint8Array<ArrayBuffer> {
    this.bodies.forEach((body, i) => {
      this.module.add(OUTLINED_SIGNATURE, body, String(i));
    });
    return this.module.finish();
  }
}

/** Instantiate a finished module. */
export function instantiate(parts: CompilerParts, module: WebAssembly.Module): WebAssembly.Exports {
  const imports = { memory: parts.memory, ...parts.interpreter } as WebAssembly.ModuleImports;
  return new WebAssembly.Instance(module, { env: imports }).exports;
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

class RegionCompiler {
  private readonly parts: CompilerParts;
  private readonly runtime: Runtime;
  private readonly region: Region;
  private readonly target: Target;
  private readonly shape: Structure;
  private readonly fb = new FunctionBuilder(OUTLINED_SIGNATURE);
  private readonly frame: Frame;
  private readonly ea: Local<'i64'>;
  private readonly numbers: ReadonlyMap<number, number>;
  private readonly bodies: Stmt[];
  /** Labels of nodes: where a forward edge or a loop goes. */
  private readonly ahead: Label[];
  private readonly tops: Label[];
  /** Instructions from any point to the next look at the budget, at most. */
  private readonly bound: number;
  private readonly importer: (name: string, signature: FunctionRef['signature']) => FunctionRef;

  constructor(
    parts: CompilerParts,
    runtime: Runtime,
    region: Region,
    shape: Structure,
    target: Target,
    importer: (name: string, signature: FunctionRef['signature']) => FunctionRef,
  ) {
    this.parts = parts;
    this.runtime = runtime;
    this.region = region;
    this.target = target;
    this.importer = importer;
    this.shape = shape;
    const { fb } = this;
    this.frame = {
      cells: new Cells(parts.cb, (type) => fb.local(type)),
      csLimit: target.csLimit,
      rp: fb.param('i32', 0),
      budget: fb.param('i32', 1),
      status: fb.local('i32'),
      target: fb.local('i64'),
      raised: fb.local('i32'),
      argument: fb.local('i32'),
      codeEpoch: fb.local('i32'),
      changed: fb.local('i32'),
      next: fb.local('i32'),
      table: new Label(),
      leave: new Label(),
      failed: new Label(),
      raise: new Label(),
      jump: new Label(),
      interpret: new Label(),
    };
    this.ea = fb.param('i64', 2);
    this.numbers = new Map(region.blocks.map(({ rip }, i) => [rip, i]));
    this.ahead = region.blocks.map(() => new Label());
    this.tops = region.blocks.map(() => new Label());
    this.bound = this.longestWay();
    this.bodies = this.compose();
  }

  /** Most instructions on a way without a look at the budget: the graph without edges of kind loop and table has no cycle. */
  private longestWay(): number {
    const { region, shape } = this;
    const from = new Int32Array(region.blocks.length);
    let most = 0;
    for (let i = shape.order.length - 1; i >= 0; i--) {
      const node = shape.order[i]!;
      let longest = 0;
      for (const to of region.successors[node]!) {
        const kind = shape.edge(node, to);
        if (kind === 'inline' || kind === 'forward') longest = Math.max(longest, from[to]!);
      }
      from[node] = longest + region.blocks[node]!.instructions;
      most = Math.max(most, from[node]!);
    }
    return most;
  }

  private compose(): Stmt[] {
    const { region, parts, target, frame, runtime, fb } = this;
    const { views, meanings } = parts;
    const temporaries = new Temporaries(fb);
    const before = flagsBefore(region, views, meanings, target.handlerOf);
    const composed: Composed[][] = [];
    const bodies = region.blocks.map((block, i) => {
      const body: Stmt[] = [];
      const list: Composed[] = [];
      composed.push(list);
      let start = -1;
      let flagsFrom: FlagsFrom = before[i]!;
      for (let at = block.first; at <= block.last; at += RECORD_SIZE) {
        const handler = target.handlerOf(at);
        const meaning = handler < SPECIAL_COUNT ? undefined : meanings[handler]!;
        if (start < 0) {
          start = at;
          if (target.stops) body.push(this.stopBefore(at));
        }
        temporaries.reset();
        const site = new ConstantSite(views, frame, at, this.waysFrom(i));
        const context = new CompiledContext({
          site,
          runtime,
          cb: parts.cb,
          local: temporaries.take,
          status: frame.status,
          ea: this.ea,
          frame,
          start,
          at,
          locked: meaning?.form.locked ?? false,
          mode: target.mode,
          flagsFrom,
        });
        site.context = context;
        if (!meaning) {
          body.push(SPECIAL_EMITTERS[handler]!(context));
          list.push({ context, setsAll: false });
          continue;
        }
        start = -1;
        body.push(emitForm(context, meaning.forms, meaning.form));
        const after = flagsAfter(meaning, views.i32[(at + REC_IMM) >> 2]!, flagsFrom);
        list.push({ context, setsAll: after !== 'any' && (meaning.forms.instruction.flags ?? after) !== 'kept' });
        flagsFrom = after;
      }
      return seq(...body);
    });
    markDeadFlags(region, composed, (from, to) => {
      const kind = this.shape.edge(from, to);
      return (kind === 'inline' || kind === 'forward') && this.samePage(from, to);
    });
    return bodies;
  }

  /** The interpreter goes on from a record when so much is left of the budget. */
  private stopBefore(record: number): Stmt {
    const { frame, parts } = this;
    const left = i32.sub(frame.budget.get, i32.const(parts.views.u8[record + REC_INDEX]!));
    return when(
      i32.leS(left, i32.load(ZERO, parts.cb + CB_COMPILED_UNTIL)),
      seq(frame.rp.set(i32.const(record)), br(frame.interpret)),
    );
  }

  /** How block `from` goes on. */
  private waysFrom(from: number): Ways {
    const { region, frame } = this;
    const block = region.blocks[from]!;
    const out = (target: I64): Stmt => seq(frame.target.set(target), br(frame.jump));
    return (target, jump) => {
      if (target.constant !== undefined) {
        const to = block.targets.includes(target.constant) ? this.numbers.get(target.constant) : undefined;
        return to === undefined ? out(target) : this.edge(from, to, target);
      }
      const guesses = region.successors[from]!.map((to) =>
        when(i64.eq(frame.target.get, i64.const(region.blocks[to]!.rip)), this.edge(from, to, frame.target.get)),
      );
      const elsewhere = jump ? logJump(this.parts.jumpLog, frame.next, jump, frame.target.get) : nop;
      return seq(frame.target.set(target), ...guesses, region.computed ? this.toAnyEntry() : nop, elsewhere, br(frame.jump));
    };
  }

  /** From block `from` to block `to`. Another page may show something else by now: the jump cache tells. */
  private edge(from: number, to: number, target: I64): Stmt {
    const { region, frame } = this;
    const b = region.blocks[to]!;
    const go = this.along(from, to, b);
    if (this.samePage(from, to)) return go;
    const index = jumpOffset((b.rip % 2 ** 32) | 0);
    const { cells } = frame;
    const cache = cells.word(CB_JUMP_CACHE).get;
    const known = i32.and(
      i64.eq(i64.load(cache, index + JUMP_TAG), i64.xor(cells.wide(CB_JUMP_EPOCH).get, i64.const(b.rip))),
      i32.eq(i32.load(cache, index + JUMP_RECORD), i32.const(b.first)),
    );
    return seq(when(known, go), frame.target.set(target), br(frame.jump));
  }

  private samePage(from: number, to: number): boolean {
    const page = (number: number): number => pageNumber(this.region.blocks[number]!.rip + this.target.csBase);
    return page(from) === page(to);
  }

  private along(from: number, to: number, block: Block): Stmt {
    const { shape, frame } = this;
    const kind = shape.edge(from, to);
    if (kind === 'inline') return (out) => this.tree(to)(out);
    if (kind === 'forward') return br(this.ahead[to]!);
    const look = when(
      i32.or(i32.leS(frame.budget.get, i32.const(this.bound)), i32.load(ZERO, this.parts.cb + CB_KICK)),
      seq(frame.rp.set(i32.const(block.first)), br(frame.interpret)),
    );
    if (kind === 'loop') return seq(look, br(this.tops[to]!));
    return seq(look, frame.next.set(i32.const(shape.entries.indexOf(to))), br(frame.table));
  }

  /** To the entry of this function that the jump cache finds at `target`, if it finds one. */
  private toAnyEntry(): Stmt {
    const { frame, shape, parts } = this;
    const { cells, target, next, rp } = frame;
    const inBudget = i32.eqz(i32.or(i32.leS(frame.budget.get, i32.const(this.bound)), i32.load(ZERO, parts.cb + CB_KICK)));
    return seq(
      next.set(jumpEntry(cells.word(CB_JUMP_CACHE).get, target.get)),
      when(
        i64.eq(i64.load(next.get, JUMP_TAG), i64.xor(target.get, cells.wide(CB_JUMP_EPOCH).get)),
        seq(
          rp.set(i32.load(next.get, JUMP_RECORD)),
          next.set(i32.sub(i32.load16U(rp.get, REC_HANDLER), i32.const(this.target.firstHandler))),
          when(i32.and(i32.ltU(next.get, i32.const(shape.entries.length)), inBudget), br(frame.table)),
        ),
      ),
    );
  }

  /** A node and all that it dominates: those behind labels follow it. */
  private tree(node: number): Stmt {
    return (out) => {
      const { shape, tops, bodies } = this;
      const inner: Stmt = (into) => this.nested(shape.labelled[node]!, bodies[node]!)(into);
      if (shape.isLoop[node]) loop(tops[node]!, inner)(out);
      else inner(out);
    };
  }

  /** `body`, which may branch to each of `nodes`, and their code behind it. */
  private nested(nodes: readonly number[], body: Stmt): Stmt {
    return (out) => {
      for (const node of nodes) {
        out.byte(0x02);
        out.byte(0x40);
        out.open(this.ahead[node]!);
      }
      body(out);
      for (let i = nodes.length - 1; i >= 0; i--) {
        out.close(this.ahead[nodes[i]!]!);
        out.byte(0x0b);
        this.tree(nodes[i]!)(out);
      }
    };
  }

  /** The function's body. */
  encode(): Encoder {
    const { fb, frame, shape, parts, ahead, region, runtime } = this;
    const { cells, rp, budget, status, next } = frame;
    const labels = shape.entries.map((entry) => ahead[entry]!);
    const enter: Stmt = labels.length > 1 ? brTable(next.get, labels, labels[0]!) : br(labels[0]!);
    const looped = shape.tableLoops || region.computed;
    const inside = this.nested(shape.labelled[region.blocks.length]!, enter);
    // Ways out are written inside out: each ends by leaving the function.
    const ways: [Label, Stmt][] = [
      [frame.interpret, seq(cells.spill, ret(pack(budget.get, rp.get, i32.const(OUTCOME_INTERPRET))))],
      [
        frame.jump,
        seq(cells.spill, (out) =>
          this.importer('jump', JUMP_SIGNATURE).finish(parts.tailCalls, frame.target.get, budget.get)(out),
        ),
      ],
      [
        frame.failed,
        seq(
          cells.spill,
          when(i32.eq(status.get, i32.const(Status.writesCode)), ret(pack(budget.get, rp.get, i32.const(OUTCOME_INTERPRET)))),
          (out) =>
            when(
              i32.eq(status.get, i32.const(Status.fault)),
              status.set(this.importer('deliver', { params: [], results: ['i32'] }).call('i32')),
            )(out),
          br(frame.leave),
        ),
      ],
      [
        frame.raise,
        seq(cells.spill, status.set(runtime.helper.call('i32', frame.raised.get, rp.get, frame.argument.get)), br(frame.leave)),
      ],
      [frame.leave, ret(pack(budget.get, rp.get, status.get))],
    ];
    let whole: Stmt = looped ? loop(frame.table, inside) : inside;
    for (const [label, way] of ways) whole = seq(labelled(label, seq(whole, unreachable)), way);
    return fb.encode(
      seq(
        when(i32.leS(budget.get, i32.const(this.bound)), ret(pack(budget.get, rp.get, i32.const(OUTCOME_INTERPRET)))),
        frame.codeEpoch.set(i32.load(ZERO, parts.cb + CB_CODE_EPOCH)),
        labels.length > 1 ? next.set(i32.sub(i32.load16U(rp.get, REC_HANDLER), i32.const(this.target.firstHandler))) : nop,
        cells.load,
        whole,
      ),
    );
  }
}
