/**
 * What an instruction's emitter writes against. The same emitter serves the interpreter (operands read the decoded
 * record) and constant code (operands are known numbers): only the `Site` differs.
 */
import { PAGE_SIZE } from '../../base/address.ts';
import {
  CB_CPL,
  CB_FPU_TRAP,
  CB_GPR,
  CB_RFLAGS,
  CB_SEG,
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  CB_TLB,
  SEG_BASE,
  SEG_SIZE,
} from '../memory/control-block.ts';
import { TLB_ADDEND, TLB_INDEX_MASK, TLB_INDEX_SHIFT, TLB_READ, TLB_WRITE } from '../memory/tlb-layout.ts';
import { Label } from '../wasm/encoder.ts';
import {
  atomic64,
  brIf,
  choose,
  i32,
  i64,
  loop,
  seq,
  v128,
  when,
  type Expr,
  type I32,
  type I64,
  type Stmt,
  type V128,
  type ValType,
} from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';
import type { HelperName } from './helpers.ts';

export type IntSize = 1 | 2 | 4 | 8;
/** 64-bit mode, or any mode with segment limits (protected, compatibility, real). */
export type Mode = 'long' | 'legacy';

/** Where an instruction's operands come from and where control goes after it. */
export interface Site {
  /** Fields of the decoded instruction. */
  fieldA(): I32;
  fieldB(): I32;
  indexField(): I32;
  scale(): I64;
  disp(): I64;
  imm(): I64;
  imm64(): I64;
  aux(): I32;
  length(): I64;
  rip(): I64;
  /** Instructions this run may still retire, counted at the block's start. */
  budget(): I32;
  /** Address of the record, for the slow paths. */
  record(): I32;
  /** Statements that end the instruction: go on behind it, or leave by a status in `status`. */
  next(): Stmt;
  leave(): Stmt;
  /** End a block of retired instructions, then go to: a chained record, the block at CB_RIP. */
  jumpChained(way: 'taken' | 'notTaken', target: I64): Stmt;
  jumpTo(target: I64): Stmt;
  /** The same for a JMP through a register or memory: it may lead to many places, a SWITCH. */
  jumpComputed(target: I64): Stmt;
}

/** A function that generated code calls for its result. */
export interface Callable {
  call<T extends ValType>(type: T, ...args: Expr<ValType>[]): Expr<T>;
}

/** Functions every generated module has. */
export interface Runtime {
  /** Slow memory path: (record, size | SLOW_*) → Status. Address in CB_SLOW_VA, value in CB_SLOW_VALUE. */
  slowRead: Callable;
  slowWrite: Callable;
  /** A helper in TypeScript: (helper number, record, argument) → Status. */
  helper: Callable;
  /** RFLAGS status bits now. */
  statusFlags: Callable;
  /** CF now, 0 or 1. */
  carryFlag: Callable;
  /** Condition code cc (0..15) → 0 or 1, by the lazy flags whatever their kind. */
  condition: readonly Callable[];
  /** (segment, offset, size | write<<8) → linear address, or -1 when the segment refuses. Legacy modes. */
  legacyAddress: Callable;
  helperNumber(name: HelperName): number;
}

/** slowRead: the instruction will write here too (a write's permissions count). */
export const SLOW_FOR_WRITE = 0x100;
/** The address is a stack address. */
export const SLOW_STACK = 0x200;
/** A 16-byte access whose operand must be aligned. */
export const SLOW_ALIGNED = 0x400;
/** A locked access. */
const SLOW_LOCKED = 0x800;

/** An operand of an instruction. */
export interface Operand {
  readonly size: number;
  readonly isMemory: boolean;
  /** Zero-extended value; for memory this loads (and may leave the instruction). */
  read(): I64;
  /** Sign-extended value. */
  readSigned(): I64;
  write(value: I64): Stmt;
  /** 16-byte operand. */
  readVector(): V128;
  writeVector(value: V128): Stmt;
  /** Linear address of a memory operand. */
  address(): I64;
  /**
   * Read, compute, write back as one access: atomically when the instruction is locked. `compute` gets the old
   * value (sign-extended) and gives the new one; `commit` runs after the write can no longer fail.
   */
  update(compute: (old: Local<'i64'>) => { prepare?: Stmt; value: I64 }, commit: Stmt): Stmt;
}

const LOADS = { 1: i64.load8U, 2: i64.load16U, 4: i64.load32U, 8: i64.load } as const;
const LOADS_SIGNED = { 1: i64.load8S, 2: i64.load16S, 4: i64.load32S, 8: i64.load } as const;
const STORES = { 1: i64.store8, 2: i64.store16, 4: i64.store32, 8: i64.store } as const;

export const signExtend = (size: IntSize, value: I64): I64 =>
  size === 1 ? i64.extend8S(value) : size === 2 ? i64.extend16S(value) : size === 4 ? i64.extend32S(value) : value;
export const zeroExtend = (size: IntSize, value: I64): I64 =>
  size === 8 ? value : size === 4 ? i64.extendU(i32.wrap(value)) : i64.and(value, i64.const(size === 1 ? 0xff : 0xffff));

const ZERO = i32.const(0);

export class EmitContext {
  readonly site: Site;
  readonly runtime: Runtime;
  /** Address of the control block. */
  readonly cb: number;
  readonly locked: boolean;
  /** Whether the emitter looked at the mode: forms that do not are shared. */
  modeAsked = false;
  private readonly emitMode: Mode;
  private readonly take: <T extends ValType>(type: T) => Local<T>;
  readonly status: Local<'i32'>;
  /** Linear address computed by a preceding address record. */
  readonly ea: Local<'i64'>;
  /** Which kind of operation last set the flags, where the decoder knows. */
  readonly flagsFrom: FlagsFrom;

  constructor(options: {
    site: Site;
    runtime: Runtime;
    cb: number;
    mode: Mode;
    locked?: boolean;
    flagsFrom?: FlagsFrom;
    local: <T extends ValType>(type: T) => Local<T>;
    status: Local<'i32'>;
    ea: Local<'i64'>;
  }) {
    this.site = options.site;
    this.runtime = options.runtime;
    this.cb = options.cb;
    this.emitMode = options.mode;
    this.locked = options.locked ?? false;
    this.flagsFrom = options.flagsFrom ?? 'any';
    this.take = options.local;
    this.status = options.status;
    this.ea = options.ea;
  }

  get mode(): Mode {
    this.modeAsked = true;
    return this.emitMode;
  }

  i32(): Local<'i32'> {
    return this.take('i32');
  }
  i64(): Local<'i64'> {
    return this.take('i64');
  }
  f32(): Local<'f32'> {
    return this.take('f32');
  }
  f64(): Local<'f64'> {
    return this.take('f64');
  }
  v128(): Local<'v128'> {
    return this.take('v128');
  }

  // Control block

  load32(offset: number): I32 {
    return i32.load(ZERO, this.cb + offset);
  }
  load64(offset: number): I64 {
    return i64.load(ZERO, this.cb + offset);
  }
  store32(offset: number, value: I32): Stmt {
    return i32.store(ZERO, value, this.cb + offset);
  }
  store64(offset: number, value: I64): Stmt {
    return i64.store(ZERO, value, this.cb + offset);
  }

  /** A fixed general register (low bytes), zero-extended. */
  gpr(index: number, size: IntSize): I64 {
    return LOADS[size](ZERO, this.cb + CB_GPR + index * 8);
  }
  gprSigned(index: number, size: IntSize): I64 {
    return LOADS_SIGNED[size](ZERO, this.cb + CB_GPR + index * 8);
  }
  setGpr(index: number, size: IntSize, value: I64): Stmt {
    return this.storeRegister(ZERO, CB_GPR + index * 8, size, value);
  }

  /** A register by its control-block offset. A 32-bit write clears the upper half (SDM vol. 1, 3.4.1.1). */
  readRegister(offset: I32, size: IntSize, signed: boolean): I64 {
    return (signed ? LOADS_SIGNED : LOADS)[size](offset, this.cb);
  }
  storeRegister(offset: I32, extra: number, size: IntSize, value: I64): Stmt {
    if (size === 4) return i64.store(offset, i64.extendU(i32.wrap(value)), this.cb + extra);
    return STORES[size](offset, value, this.cb + extra);
  }

  /** A 16-byte register by its control-block offset. */
  readVectorRegister(offset: I32): V128 {
    return v128.load(offset, this.cb);
  }
  storeVectorRegister(offset: I32, value: V128): Stmt {
    return v128.store(offset, value, this.cb);
  }

  cpl(): I32 {
    return this.load32(CB_CPL);
  }
  rflags(): I32 {
    return this.load32(CB_RFLAGS);
  }
  segmentBase(seg: number): I64 {
    return this.load64(CB_SEG + seg * SEG_SIZE + SEG_BASE);
  }
  nextRip(): I64 {
    return i64.add(this.site.rip(), this.site.length());
  }

  // Memory

  /** The entry of the current TLB set for this address. */
  private tlbEntry(address: Local<'i64'>): I32 {
    return i32.add(
      this.load32(CB_TLB),
      i32.and(i32.shrU(i32.wrap(address.get), i32.const(TLB_INDEX_SHIFT)), i32.const(TLB_INDEX_MASK)),
    );
  }

  /** True when the whole access lies in the page whose tag this entry holds. */
  private hit(entry: I32, tag: number, address: Local<'i64'>, size: number): I32 {
    const last = size === 1 ? address.get : i64.add(address.get, i64.const(size - 1));
    return i64.eq(i64.load(entry, tag), i64.and(last, i64.const(-PAGE_SIZE)));
  }

  private host(entry: Local<'i32'>, address: Local<'i64'>): I32 {
    return i32.add(i32.wrap(address.get), i32.load(entry.get, TLB_ADDEND));
  }

  /** Leave the instruction when `status` is not zero. */
  protected checkStatus(call: I32): Stmt {
    return when(this.status.tee(call), this.site.leave());
  }

  /** The slow path of an access. */
  protected slow(which: 'slowRead' | 'slowWrite', address: I64, size: number): Stmt {
    return seq(
      this.store64(CB_SLOW_VA, address),
      this.checkStatus(this.runtime[which].call('i32', this.site.record(), i32.const(size))),
    );
  }

  /** Load `size` bytes at a linear address; zero- or sign-extended. `flags`: SLOW_* bits for the slow path. */
  loadMemory(size: IntSize, address: I64, signed = false, flags = 0): I64 {
    const va = this.i64();
    const entry = this.i32();
    const fast = (signed ? LOADS_SIGNED : LOADS)[size](this.host(entry, va));
    const slowValue = (signed ? LOADS_SIGNED : LOADS)[size](ZERO, this.cb + CB_SLOW_VALUE);
    return after(
      seq(va.set(address), entry.set(this.tlbEntry(va))),
      choose(this.hit(entry.get, TLB_READ, va, size), fast, after(this.slow('slowRead', va.get, size | flags), slowValue)),
    );
  }

  storeMemory(size: IntSize, address: I64, value: I64, flags = 0): Stmt {
    const va = this.i64();
    const entry = this.i32();
    const data = this.i64();
    return seq(
      va.set(address),
      data.set(value),
      entry.set(this.tlbEntry(va)),
      when(
        this.hit(entry.get, TLB_WRITE, va, size),
        STORES[size](this.host(entry, va), data.get),
        seq(this.store64(CB_SLOW_VALUE, data.get), this.slow('slowWrite', va.get, size | flags)),
      ),
    );
  }

  /** 16-byte load; `aligned`: a misaligned address is #GP(0) (SDM vol. 1, 10.4.6.? on movaps and memory operands). */
  loadVector(address: I64, aligned: boolean): V128 {
    const va = this.i64();
    const entry = this.i32();
    const hit = this.hit(entry.get, TLB_READ, va, 16);
    return after(
      seq(va.set(address), entry.set(this.tlbEntry(va))),
      choose(
        aligned ? i32.and(hit, i64.eqz(i64.and(va.get, i64.const(15)))) : hit,
        v128.load(this.host(entry, va)),
        after(this.slow('slowRead', va.get, 16 | (aligned ? SLOW_ALIGNED : 0)), v128.load(ZERO, this.cb + CB_SLOW_VALUE)),
      ),
    );
  }

  storeVector(address: I64, value: V128, aligned: boolean): Stmt {
    const va = this.i64();
    const entry = this.i32();
    const data = this.v128();
    const hit = this.hit(entry.get, TLB_WRITE, va, 16);
    return seq(
      va.set(address),
      data.set(value),
      entry.set(this.tlbEntry(va)),
      when(
        aligned ? i32.and(hit, i64.eqz(i64.and(va.get, i64.const(15)))) : hit,
        v128.store(this.host(entry, va), data.get),
        seq(
          v128.store(ZERO, data.get, this.cb + CB_SLOW_VALUE),
          this.slow('slowWrite', va.get, 16 | (aligned ? SLOW_ALIGNED : 0)),
        ),
      ),
    );
  }

  /** Read-modify-write of a memory operand: see Operand.update. Write permission counts from the start. */
  updateMemory(size: IntSize, address: I64, compute: (old: Local<'i64'>) => { prepare?: Stmt; value: I64 }, commit: Stmt): Stmt {
    const va = this.i64();
    const entry = this.i32();
    const host = this.i32();
    const old = this.i64();
    const fresh = this.i64();
    const { prepare, value } = compute(old);
    const work = seq(prepare ?? (() => {}), fresh.set(value));
    const canBeAtomic = size === 1 ? i32.const(1) : i64.eqz(i64.and(va.get, i64.const(size - 1)));
    const hit = this.hit(entry.get, TLB_WRITE, va, size);
    const lookup = seq(
      va.set(address),
      entry.set(this.tlbEntry(va)),
      host.set(choose(this.locked ? i32.and(hit, canBeAtomic) : hit, this.host(entry, va), ZERO)),
    );
    const slowFlags = size | SLOW_FOR_WRITE | (this.locked ? SLOW_LOCKED : 0);
    const slowPath = seq(
      this.slow('slowRead', va.get, slowFlags),
      old.set(LOADS_SIGNED[size](ZERO, this.cb + CB_SLOW_VALUE)),
      work,
      this.store64(CB_SLOW_VALUE, fresh.get),
      this.slow('slowWrite', va.get, slowFlags),
    );
    if (!this.locked) {
      return seq(
        lookup,
        when(i32.eqz(host.get), slowPath, seq(old.set(LOADS_SIGNED[size](host.get)), work, STORES[size](host.get, fresh.get))),
        commit,
      );
    }
    const again = new Label();
    const seen = this.i64();
    const atomicPath = loop(
      again,
      seq(
        old.set(LOADS_SIGNED[size](host.get)),
        work,
        seen.set(atomic64.cmpxchg(size)(host.get, zeroExtend(size, old.get), zeroExtend(size, fresh.get))),
        brIf(again, i64.ne(signExtend(size, seen.get), old.get)),
      ),
    );
    return seq(lookup, when(i32.eqz(host.get), slowPath, atomicPath), commit);
  }

  // Leaving to TypeScript

  /** Run a helper with a number the emitter knows; it may end the instruction. Execution goes on behind it otherwise. */
  helper(name: HelperName, argument = 0): Stmt {
    const number = i32.const(this.runtime.helperNumber(name));
    return this.checkStatus(this.runtime.helper.call('i32', number, this.site.record(), i32.const(argument)));
  }

  /** #NM/#UD checks of an x87 (1) or SSE/MMX (2) instruction: nothing on the fast path but one load. */
  checkFpu(bit: 1 | 2): Stmt {
    return when(
      i32.and(this.load32(CB_FPU_TRAP), i32.const(bit)),
      this.helper(bit === 1 ? 'x87NotAvailable' : 'sseNotAvailable'),
    );
  }
}

/**
 * What set the flags before a condition is asked, as far as is known. The interpreter tells apart sub, logic and any; result:
 * something that left LF_RESULT, such as INC.
 */
export type FlagsFrom = 'sub' | 'logic' | 'add' | 'result' | 'any';

/** Statements, then a value. */
export function after<T extends ValType>(before: Stmt, value: Expr<T>): Expr<T> {
  return {
    type: value.type,
    write(out) {
      before(out);
      value.write(out);
    },
  };
}
