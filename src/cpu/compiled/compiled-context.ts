/**
 * An EmitContext for code compiled for one place: operands are constants, general registers and lazy flags live in locals of the
 * function. They are written back before anything that may look at them: slow paths, helpers, flag functions, the way out.
 */
import {
  CB_FPU,
  CB_GPR,
  CB_LF_CF,
  CB_LF_KIND,
  CB_LF_OF,
  CB_LF_RESULT,
  CB_LF_SRC1,
  CB_LF_SRC2,
  CB_STATUS,
  CB_ZERO,
} from '../memory/control-block.ts';
import { after, EmitContext, signExtend, zeroExtend, type Callable, type IntSize, type Runtime } from '../emit/context.ts';
import type { HelperName } from '../emit/helpers.ts';
import { i32, i64, seq, type I32, type I64, type Stmt, type ValType } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';

const ZERO = i32.const(0);
const WORDS = new Set<number>([CB_LF_KIND, CB_LF_CF, CB_LF_OF, CB_STATUS]);
const FLAGS = new Set<number>([...WORDS, CB_LF_RESULT, CB_LF_SRC1, CB_LF_SRC2]);

/** Cells of the control block that a function keeps in locals. Which these are is known when all its code is composed. */
export class Cells {
  private readonly cb: number;
  private readonly local: <T extends ValType>(type: T) => Local<T>;
  private readonly locals = new Map<number, Local<'i32'> | Local<'i64'>>();
  private readonly written = new Set<number>();

  constructor(cb: number, local: <T extends ValType>(type: T) => Local<T>) {
    this.cb = cb;
    this.local = local;
  }

  static holds(offset: number): boolean {
    return offset < CB_GPR + 16 * 8 || FLAGS.has(offset);
  }

  wide(offset: number): Local<'i64'> {
    return this.at(offset, 'i64');
  }
  word(offset: number): Local<'i32'> {
    return this.at(offset, 'i32');
  }
  private at<T extends 'i32' | 'i64'>(offset: number, type: T): Local<T> {
    let local = this.locals.get(offset);
    if (!local) this.locals.set(offset, (local = this.local(type) as Local<'i32'> | Local<'i64'>));
    if (local.type !== type) throw new Error(`compiled code: cell ${offset.toString(16)} is no ${type}`);
    return local as unknown as Local<T>;
  }
  change(offset: number): void {
    this.written.add(offset);
  }

  /** All cells from memory. */
  readonly load: Stmt = (out) => {
    for (const [offset, local] of this.locals) {
      if (local.type === 'i32') (local as Local<'i32'>).set(i32.load(ZERO, this.cb + offset))(out);
      else (local as Local<'i64'>).set(i64.load(ZERO, this.cb + offset))(out);
    }
  };
  /** All cells that the function writes back to memory. */
  readonly spill: Stmt = (out) => this.store(out, () => true);
  readonly spillFlags: Stmt = (out) => this.store(out, (offset) => FLAGS.has(offset));
  private store(out: Parameters<Stmt>[0], which: (offset: number) => boolean): void {
    for (const offset of this.written) {
      if (!which(offset)) continue;
      const local = this.locals.get(offset)!;
      if (local.type === 'i32') i32.store(ZERO, (local as Local<'i32'>).get, this.cb + offset)(out);
      else i64.store(ZERO, (local as Local<'i64'>).get, this.cb + offset)(out);
    }
  }
}

/** The functions of a generated interpreter, for code that keeps flags in locals. */
export function withCells(runtime: Runtime, cells: Cells): Runtime {
  const flags = (callable: Callable): Callable => ({
    call: (type, ...args) => after(cells.spillFlags, callable.call(type, ...args)),
  });
  return {
    ...runtime,
    statusFlags: flags(runtime.statusFlags),
    carryFlag: flags(runtime.carryFlag),
    condition: runtime.condition.map(flags),
  };
}

export class CompiledContext extends EmitContext {
  /** The instruction may write memory that holds code. */
  mayChangeCode = false;
  private readonly cells: Cells;

  constructor(options: ConstructorParameters<typeof EmitContext>[0] & { cells: Cells }) {
    super(options);
    this.cells = options.cells;
  }

  override load32(offset: number): I32 {
    return Cells.holds(offset) ? this.cells.word(offset).get : super.load32(offset);
  }
  override load64(offset: number): I64 {
    return Cells.holds(offset) ? this.cells.wide(offset).get : super.load64(offset);
  }
  override store32(offset: number, value: I32): Stmt {
    if (!Cells.holds(offset)) return super.store32(offset, value);
    this.cells.change(offset);
    return this.cells.word(offset).set(value);
  }
  override store64(offset: number, value: I64): Stmt {
    if (!Cells.holds(offset)) return super.store64(offset, value);
    this.cells.change(offset);
    return this.cells.wide(offset).set(value);
  }

  override gpr(index: number, size: IntSize): I64 {
    return this.readRegister(i32.const(CB_GPR + index * 8), size, false);
  }
  override gprSigned(index: number, size: IntSize): I64 {
    return this.readRegister(i32.const(CB_GPR + index * 8), size, true);
  }

  override readRegister(offset: I32, size: IntSize, signed: boolean): I64 {
    const at = known(offset);
    if (at === CB_ZERO) return i64.const(0);
    if (!Cells.holds(at)) return super.readRegister(offset, size, signed);
    const whole = this.cells.wide(at & ~7).get;
    const value = at & 7 ? i64.shrU(whole, i64.const((at & 7) * 8)) : whole;
    return signed ? signExtend(size, value) : zeroExtend(size, value);
  }

  override storeRegister(offset: I32, extra: number, size: IntSize, value: I64): Stmt {
    const at = known(offset) + extra;
    if (!Cells.holds(at)) return super.storeRegister(offset, extra, size, value);
    const cell = this.cells.wide(at & ~7);
    this.cells.change(at & ~7);
    if (size >= 4) return cell.set(zeroExtend(size, value));
    const shift = BigInt((at & 7) * 8);
    const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
    const part = i64.shl(zeroExtend(size, value), i64.const(shift));
    return cell.set(i64.or(i64.and(cell.get, i64.const(BigInt.asIntN(64, ~mask))), part));
  }

  protected override slow(which: 'slowRead' | 'slowWrite', address: I64, size: number): Stmt {
    if (which === 'slowWrite') this.mayChangeCode = true;
    return seq(this.cells.spill, super.slow(which, address, size));
  }

  override helper(name: HelperName, argument = 0): Stmt {
    this.mayChangeCode = true;
    return seq(this.cells.spill, super.helper(name, argument), this.cells.load);
  }
}

/** A register's offset in the control block. Beyond the FPU state nothing is one. */
function known(offset: I32): number {
  if (offset.constant === undefined || offset.constant >= CB_FPU * 3)
    throw new Error('compiled code: a register that is not known');
  return offset.constant;
}
