/** Operands and control flow of instructions that run from decoded records: the interpreter's, and those it keeps outside its loop. */
import { CB_EXIT_STATUS, CB_JUMP_CACHE, CB_JUMP_EPOCH, CB_KICK, CB_RIP, Status } from '../memory/control-block.ts';
import type { Site } from '../emit/context.ts';
import {
  REC_A,
  REC_AUX,
  REC_B,
  REC_DISP,
  REC_IMM,
  REC_IMM64,
  REC_INDEX,
  REC_INDEX_REG,
  REC_LENGTH,
  REC_NOT_TAKEN,
  REC_RIP,
  REC_SCALE,
  REC_TAKEN,
  RECORD_SIZE,
} from '../records/record.ts';
import { JUMP_HASH, JUMP_HASH_SHIFT, JUMP_INDEX_MASK, JUMP_RECORD, JUMP_TAG } from '../memory/tlb-layout.ts';
import { i32, i64, seq, when, type I32, type I64, type Stmt } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';

const ZERO = i32.const(0);

/** What code that runs records works with. */
export interface Frame {
  /** Address of the control block. */
  cb: number;
  /** The record in hand. */
  rp: Local<'i32'>;
  /** Instructions this run may still retire. */
  budget: Local<'i32'>;
  scratch: Local<'i32'>;
  target: Local<'i64'>;
  /** Address of the ring that computed jumps are noted in. */
  jumpLog: number;
  lookup: { call(type: 'i32', ...args: I32[]): I32 };
  link: { call(type: 'i32', ...args: I32[]): I32 };
  /** Ways on; none returns. Run the record in `rp`; leave with the status local at the record in `rp`; end this run. */
  run: Stmt;
  leave: Stmt;
  done: Stmt;
}

export class RecordSite implements Site {
  private readonly frame: Frame;
  private readonly rp: I32;

  constructor(frame: Frame) {
    this.frame = frame;
    this.rp = frame.rp.get;
  }

  fieldA(): I32 {
    return i32.load16U(this.rp, REC_A);
  }
  fieldB(): I32 {
    return i32.load16U(this.rp, REC_B);
  }
  indexField(): I32 {
    return i32.load16U(this.rp, REC_INDEX_REG);
  }
  scale(): I64 {
    return i64.load8U(this.rp, REC_SCALE);
  }
  disp(): I64 {
    return i64.load32S(this.rp, REC_DISP);
  }
  imm(): I64 {
    return i64.load32S(this.rp, REC_IMM);
  }
  imm64(): I64 {
    return i64.load(this.rp, REC_IMM64);
  }
  aux(): I32 {
    return i32.load(this.rp, REC_AUX);
  }
  length(): I64 {
    return i64.load8U(this.rp, REC_LENGTH);
  }
  rip(): I64 {
    return i64.load(this.rp, REC_RIP);
  }
  record(): I32 {
    return this.rp;
  }
  next(): Stmt {
    return seq(this.frame.rp.set(i32.add(this.rp, i32.const(RECORD_SIZE))), this.frame.run);
  }
  leave(): Stmt {
    return this.frame.leave;
  }
  budget(): I32 {
    return this.frame.budget.get;
  }

  jumpChained(way: 'taken' | 'notTaken', target: I64): Stmt {
    const { frame } = this;
    const link = frame.scratch;
    return seq(
      retire(frame, i32.add(i32.load8U(this.rp, REC_INDEX), i32.const(1)), target),
      when(
        i32.eqz(link.tee(i32.load(this.rp, way === 'taken' ? REC_TAKEN : REC_NOT_TAKEN))),
        seq(
          i64.store(ZERO, target, frame.cb + CB_RIP),
          when(i32.eqz(link.tee(frame.link.call('i32', this.rp, i32.const(way === 'taken' ? 0 : 1)))), frame.done),
        ),
      ),
      frame.rp.set(link.get),
      frame.run,
    );
  }

  jumpComputed(target: I64): Stmt {
    const { frame } = this;
    return seq(
      frame.target.set(target),
      logJump(frame.jumpLog, frame.scratch, this.rp, frame.target.get),
      this.jumpTo(frame.target.get),
    );
  }

  jumpTo(target: I64): Stmt {
    const { frame } = this;
    const to = frame.target;
    return seq(
      to.set(target),
      retire(frame, i32.add(i32.load8U(this.rp, REC_INDEX), i32.const(1)), to.get),
      findBlock(frame, to.get),
      frame.run,
    );
  }
}

/** Where computed jumps lead, for the compiler: a ring of {i64 target, i32 record of the jump}, and before it the number of the next entry. */
export const JUMP_LOG_ENTRIES = 64;
export const JUMP_LOG_ENTRY_SIZE = 16;
export const JUMP_LOG_FIRST = 16;
export const JUMP_LOG_SIZE = JUMP_LOG_FIRST + JUMP_LOG_ENTRIES * JUMP_LOG_ENTRY_SIZE;

export function logJump(log: number, scratch: Local<'i32'>, record: I32, target: I64): Stmt {
  const at = i32.add(
    i32.const(log + JUMP_LOG_FIRST),
    i32.shl(i32.and(scratch.get, i32.const(JUMP_LOG_ENTRIES - 1)), i32.const(4)),
  );
  return seq(
    scratch.set(i32.load(ZERO, log)),
    i64.store(at, target),
    i32.store(at, record, 8),
    i32.store(ZERO, i32.add(scratch.get, i32.const(1)), log),
  );
}

/** A block ends: count its instructions, and end the run at `target` when the budget is gone or the kick word set. */
function retire({ cb, budget, done }: Pick<Frame, 'cb' | 'budget' | 'done'>, instructions: I32, target: I64): Stmt {
  return seq(
    budget.set(i32.sub(budget.get, instructions)),
    when(
      i32.or(i32.leS(budget.get, ZERO), i32.load(ZERO, cb + CB_KICK)),
      seq(i64.store(ZERO, target, cb + CB_RIP), i32.store(ZERO, i32.const(Status.stop), cb + CB_EXIT_STATUS), done),
    ),
  );
}

/** Address of the entry for `to` in the jump cache at `cache`. */
export const jumpEntry = (cache: I32, to: I64): I32 =>
  i32.add(
    cache,
    i32.and(i32.shrU(i32.mul(i32.wrap(to), i32.const(JUMP_HASH)), i32.const(JUMP_HASH_SHIFT)), i32.const(JUMP_INDEX_MASK)),
  );

/** `rp` becomes the block at `to`, through the jump cache; the run ends where none is found. */
export function findBlock({ cb, rp, scratch, lookup, done }: Frame, to: I64): Stmt {
  return seq(
    scratch.set(jumpEntry(i32.load(ZERO, cb + CB_JUMP_CACHE), to)),
    when(
      i64.eq(i64.load(scratch.get, JUMP_TAG), i64.xor(to, i64.load(ZERO, cb + CB_JUMP_EPOCH))),
      rp.set(i32.load(scratch.get, JUMP_RECORD)),
      seq(i64.store(ZERO, to, cb + CB_RIP), when(i32.eqz(rp.tee(lookup.call('i32'))), done)),
    ),
  );
}
