/** Cells of the control block that a function keeps in locals: general registers, lazy flags, XMM registers, where tables lie. */
import {
  CB_GPR,
  CB_JUMP_CACHE,
  CB_JUMP_EPOCH,
  CB_LF_CF,
  CB_LF_KIND,
  CB_LF_OF,
  CB_LF_RESULT,
  CB_LF_SRC1,
  CB_LF_SRC2,
  CB_STATUS,
  CB_TLB,
  CB_XMM,
} from '../memory/control-block.ts';
import type { Encoder } from '../wasm/encoder.ts';
import { i32, i64, v128, type Stmt, type V128, type ValType } from '../wasm/expr.ts';
import type { Local } from '../wasm/module.ts';

const ZERO = i32.const(0);
const FLAG_WORDS = new Set<number>([CB_LF_KIND, CB_LF_CF, CB_LF_OF, CB_STATUS]);
const FLAGS = new Set<number>([...FLAG_WORDS, CB_LF_RESULT, CB_LF_SRC1, CB_LF_SRC2]);
const XMM_END = CB_XMM + 16 * 16;

type CellType = 'i32' | 'i64' | 'v128';

export const isFlag = (offset: number): boolean => FLAGS.has(offset);
export const isVector = (offset: number): boolean => offset >= CB_XMM && offset < XMM_END;
const isGeneral = (offset: number): boolean => offset < CB_GPR + 16 * 8;
/** What only helpers change: where the TLB and the jump cache for the present privilege lie. */
const LOOKUPS = new Set<number>([CB_TLB, CB_JUMP_CACHE, CB_JUMP_EPOCH]);
export const isCell = (offset: number): boolean =>
  isGeneral(offset) || FLAGS.has(offset) || LOOKUPS.has(offset) || isVector(offset);

/** Which cells these are is known when all code of the function is composed. */
export class Cells {
  private readonly cb: number;
  private readonly local: <T extends ValType>(type: T) => Local<T>;
  private readonly locals = new Map<number, Local<CellType>>();
  private readonly written = new Set<number>();

  constructor(cb: number, local: <T extends ValType>(type: T) => Local<T>) {
    this.cb = cb;
    this.local = local;
  }

  wide(offset: number): Local<'i64'> {
    return this.at(offset, 'i64');
  }
  word(offset: number): Local<'i32'> {
    return this.at(offset, 'i32');
  }
  vector(offset: number): Local<'v128'> {
    return this.at(offset, 'v128');
  }
  private at<T extends CellType>(offset: number, type: T): Local<T> {
    let local = this.locals.get(offset);
    if (!local) this.locals.set(offset, (local = this.local<CellType>(type)));
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
      else if (local.type === 'i64') (local as Local<'i64'>).set(i64.load(ZERO, this.cb + offset))(out);
      else (local as Local<'v128'>).set(v128.load(ZERO, this.cb + offset))(out);
    }
  };
  /** All cells that the function changes, to memory. */
  readonly spill: Stmt = (out) => this.store(out, () => true);
  readonly spillFlags: Stmt = (out) => this.store(out, isFlag);
  private store(out: Encoder, which: (offset: number) => boolean): void {
    for (const offset of this.written) {
      if (!which(offset)) continue;
      const local = this.locals.get(offset)!;
      if (local.type === 'i32') i32.store(ZERO, (local as Local<'i32'>).get, this.cb + offset)(out);
      else if (local.type === 'i64') i64.store(ZERO, (local as Local<'i64'>).get, this.cb + offset)(out);
      else v128.store(ZERO, local.get as V128, this.cb + offset)(out);
    }
  }
}
