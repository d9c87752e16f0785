/** The fields of one record as constants, and the ways on from it. */
import type { Site } from '../emit/context.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import {
  REC_A,
  REC_AUX,
  REC_B,
  REC_DISP,
  REC_IMM,
  REC_INDEX,
  REC_INDEX_REG,
  REC_LENGTH,
  REC_RIP,
  REC_SCALE,
  RECORD_SIZE,
} from '../records/record.ts';
import { br, i32, i64, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import type { CompiledContext } from './compiled-context.ts';
import type { Frame } from './frame.ts';

/** Where a block goes on. `jump`: the record of a computed jump. */
export type Ways = (target: I64, jump?: I32) => Stmt;

export class ConstantSite implements Site {
  context!: CompiledContext;
  private readonly views: MemoryViews;
  private readonly frame: Frame;
  private readonly at: number;
  private readonly ways: Ways;

  constructor(views: MemoryViews, frame: Frame, at: number, ways: Ways) {
    this.views = views;
    this.frame = frame;
    this.at = at;
    this.ways = ways;
  }

  private u8(field: number): number {
    return this.views.u8[this.at + field]!;
  }
  private u16(field: number): number {
    return this.views.u16[(this.at + field) >> 1]!;
  }
  private i32(field: number): number {
    return this.views.i32[(this.at + field) >> 2]!;
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
    return this.frame.budget.get;
  }
  record(): I32 {
    return i32.const(this.at);
  }

  /** Behind an instruction whose helper may have changed code: if it did, this function is no longer to be trusted. */
  next(): Stmt {
    const { frame, at } = this;
    return (out) => {
      if (!this.context.mayChangeCode) return;
      when(frame.changed.get, seq(frame.rp.set(i32.const(at + RECORD_SIZE)), br(frame.interpret)))(out);
    };
  }

  leave(): Stmt {
    throw new Error('compiled code: an emitter that leaves by itself');
  }

  private retire(): Stmt {
    const { budget } = this.frame;
    return budget.set(i32.sub(budget.get, i32.const(this.u8(REC_INDEX) + 1)));
  }

  jumpChained(_way: 'taken' | 'notTaken', target: I64): Stmt {
    return this.jumpTo(target);
  }

  jumpComputed(target: I64): Stmt {
    return seq(this.retire(), this.ways(target, this.record()));
  }

  jumpTo(target: I64): Stmt {
    return seq(this.retire(), this.ways(target));
  }
}
