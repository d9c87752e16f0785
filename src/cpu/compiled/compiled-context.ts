/**
 * An EmitContext for code compiled for one place: operands are constants; registers and lazy flags live in locals of the function.
 * They are written back before anything that may look at them: helpers, flag functions, the way out.
 */
import {
  CB_CODE_EPOCH,
  CB_FPU,
  CB_GPR,
  CB_SEG,
  CB_SLOW_VA,
  CB_ZERO,
  SEG_ACCESS,
  SEG_LIMIT,
  SEG_SIZE,
} from '../memory/control-block.ts';
import { after, EmitContext, signExtend, zeroExtend, type Callable, type IntSize, type Runtime } from '../emit/context.ts';
import type { HelperName } from '../emit/helpers.ts';
import { Seg } from '../interface.ts';
import { laneI64, withI32, withI64 } from '../emit/simd.ts';
import { br, drop, i32, i64, nop, seq, when, type Expr, type I32, type I64, type Stmt, type V128 } from '../wasm/expr.ts';
import type { ValType } from '../wasm/expr.ts';
import { isCell, isFlag, isVector } from './cells.ts';
import type { Frame } from './frame.ts';

const ZERO = i32.const(0);

/** Helpers that never come back to the instruction: they raise. */
const RAISE: ReadonlySet<HelperName> = new Set<HelperName>([
  'undefined',
  'tooLong',
  'divideError',
  'segmentFault',
  'segmentFaultOfRecord',
  'targetRefused',
  'ifRefused',
  'x87NotAvailable',
  'sseNotAvailable',
  'mmxNotAvailable',
  'mxcsrReserved',
]);
/** Helpers that write no memory of the guest. */
const QUIET: ReadonlySet<HelperName> = new Set<HelperName>([
  'sseExact',
  'sseCompare',
  'divide128',
  'rdtsc',
  'rdtscp',
  'x87',
  'fwait',
]);

/** B flag of a segment's access rights: a 32-bit stack pointer. */
const ACCESS_BIG = 1 << 14;
const FLAT_SEGMENTS: ReadonlySet<number> = new Set([Seg.es, Seg.ss, Seg.ds]);

/** The functions of a generated interpreter, for code that keeps flags in locals. */
function withCells(runtime: Runtime, frame: Frame, asked: () => void): Runtime {
  const flags = (callable: Callable): Callable => ({
    call: (type, ...args) => {
      asked();
      return after(frame.cells.spillFlags, callable.call(type, ...args));
    },
  });
  return {
    ...runtime,
    statusFlags: flags(runtime.statusFlags),
    carryFlag: flags(runtime.carryFlag),
    condition: runtime.condition.map(flags),
    legacyAddress: {
      // Segments are flat where a region runs, but for FS and GS.
      call: <T extends ValType>(type: T, ...[segment, offset, access]: Expr<ValType>[]): Expr<T> =>
        FLAT_SEGMENTS.has((segment as I32).constant ?? -1)
          ? (i64.and(offset as I64, i64.const(0xffffffff)) as Expr<ValType> as Expr<T>)
          : runtime.legacyAddress.call(type, segment!, offset!, access!),
    },
  };
}

export class CompiledContext extends EmitContext {
  /** The instruction may end here: a fault, an exit. Then it shows the flags of the one before it. */
  leaves = false;
  /** It looks at the flags of the one before it. */
  readsFlags = false;
  /** A helper it calls may write memory that holds code. */
  mayChangeCode = false;
  /** Nobody looks at the flags that it sets. Known when all is composed. */
  flagsDead = false;
  private readonly frame: Frame;
  /** First record of the instruction, and the one of its own. */
  private readonly start: number;
  private readonly at: number;

  constructor(options: ConstructorParameters<typeof EmitContext>[0] & { frame: Frame; start: number; at: number }) {
    super({
      ...options,
      runtime: withCells(options.runtime, options.frame, () => {
        this!.readsFlags = true;
      }),
    });
    this.frame = options.frame;
    this.start = options.start;
    this.at = options.at;
  }

  private readsFlag(offset: number): void {
    if (isFlag(offset)) this.readsFlags = true;
  }
  /** Setting a flag cell that nobody looks at comes down to what working out the value does. */
  private setting(offset: number, value: Expr<ValType>, set: Stmt): Stmt {
    if (!isFlag(offset)) return set;
    return (out) => {
      if (!this.flagsDead) set(out);
      else if (this.leaves) drop(value)(out);
    };
  }

  override load32(offset: number): I32 {
    if (this.mode === 'legacy' && offset === CB_SEG + Seg.ss * SEG_SIZE + SEG_ACCESS) return i32.const(ACCESS_BIG);
    if (offset === CB_SEG + Seg.cs * SEG_SIZE + SEG_LIMIT) return i32.const(this.frame.csLimit | 0);
    if (!isCell(offset)) return super.load32(offset);
    this.readsFlag(offset);
    return this.frame.cells.word(offset).get;
  }
  override load64(offset: number): I64 {
    if (!isCell(offset)) return super.load64(offset);
    this.readsFlag(offset);
    return this.frame.cells.wide(offset).get;
  }
  override store32(offset: number, value: I32): Stmt {
    if (!isCell(offset)) return super.store32(offset, value);
    this.frame.cells.change(offset);
    return this.setting(offset, value, this.frame.cells.word(offset).set(value));
  }
  override store64(offset: number, value: I64): Stmt {
    if (!isCell(offset)) return super.store64(offset, value);
    this.frame.cells.change(offset);
    return this.setting(offset, value, this.frame.cells.wide(offset).set(value));
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
    if (!isCell(at)) return super.readRegister(offset, size, signed);
    const whole = isVector(at)
      ? laneI64(this.frame.cells.vector(at & ~15).get, (at >> 3) & 1)
      : this.frame.cells.wide(at & ~7).get;
    const value = at & 7 ? i64.shrU(whole, i64.const((at & 7) * 8)) : whole;
    return signed ? signExtend(size, value) : zeroExtend(size, value);
  }

  override storeRegister(offset: I32, extra: number, size: IntSize, value: I64): Stmt {
    const at = known(offset) + extra;
    if (!isCell(at)) return super.storeRegister(offset, extra, size, value);
    const { cells } = this.frame;
    if (isVector(at)) {
      const cell = cells.vector(at & ~15);
      cells.change(at & ~15);
      if (size === 8 && !(at & 7)) return cell.set(withI64(cell.get, (at >> 3) & 1, value));
      if (size === 4 && !(at & 3)) return cell.set(withI32(cell.get, (at >> 2) & 3, i32.wrap(value)));
      throw new Error(`compiled code: ${size} bytes at ${at.toString(16)}`);
    }
    const cell = cells.wide(at & ~7);
    cells.change(at & ~7);
    if (size >= 4) return cell.set(zeroExtend(size, value));
    const shift = BigInt((at & 7) * 8);
    const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
    const part = i64.shl(zeroExtend(size, value), i64.const(shift));
    return cell.set(i64.or(i64.and(cell.get, i64.const(BigInt.asIntN(64, ~mask))), part));
  }

  override readVectorRegister(offset: I32): V128 {
    const at = known(offset);
    return isVector(at) ? this.frame.cells.vector(at).get : super.readVectorRegister(offset);
  }
  override storeVectorRegister(offset: I32, value: V128): Stmt {
    const at = known(offset);
    if (!isVector(at)) return super.storeVectorRegister(offset, value);
    this.frame.cells.change(at);
    return this.frame.cells.vector(at).set(value);
  }

  /** A status that is not zero leaves by the function's one way for it, so that the registers need not be written back before. */
  protected override slow(which: 'slowRead' | 'slowWrite', address: I64, size: number): Stmt {
    this.leaves = true;
    const { rp, failed } = this.frame;
    return seq(
      this.store64(CB_SLOW_VA, address),
      when(
        this.status.tee(this.runtime[which].call('i32', i32.const(this.at), i32.const(size))),
        seq(rp.set(i32.const(this.start)), br(failed)),
      ),
    );
  }

  override helper(name: HelperName, argument = 0): Stmt {
    this.leaves = true;
    const { rp, cells, raise, raised, argument: passed, leave, changed, codeEpoch } = this.frame;
    const number = this.runtime.helperNumber(name);
    if (RAISE.has(name)) {
      return seq(
        rp.set(i32.const(this.at)),
        raised.set(i32.const(number)),
        argument ? passed.set(i32.const(argument)) : passed.set(ZERO),
        br(raise),
      );
    }
    const call = this.runtime.helper.call('i32', i32.const(number), i32.const(this.at), i32.const(argument));
    if (!QUIET.has(name)) this.mayChangeCode = true;
    return seq(
      cells.spill,
      when(this.status.tee(call), seq(rp.set(i32.const(this.at)), br(leave))),
      cells.load,
      QUIET.has(name) ? nop : changed.set(i32.ne(i32.load(ZERO, this.cb + CB_CODE_EPOCH), codeEpoch.get)),
    );
  }
}

/** A register's offset in the control block. Beyond the FPU state nothing is one. */
function known(offset: I32): number {
  if (offset.constant === undefined || offset.constant >= CB_FPU * 3)
    throw new Error('compiled code: a register that is not known');
  return offset.constant;
}
