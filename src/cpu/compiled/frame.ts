/** What all code of one compiled function shares. */
import type { Label } from '../wasm/encoder.ts';
import type { Local } from '../wasm/module.ts';
import type { Cells } from './cells.ts';

export interface Frame {
  readonly cells: Cells;
  /** Limit of the code segment. */
  readonly csLimit: number;
  /** Instructions this run may still retire. */
  readonly budget: Local<'i32'>;
  /** The record to report on the way out. */
  readonly rp: Local<'i32'>;
  readonly status: Local<'i32'>;
  /** Where a jump goes whose target is not known. */
  readonly target: Local<'i64'>;
  /** Helper that raises, and its argument. */
  readonly raised: Local<'i32'>;
  readonly argument: Local<'i32'>;
  /** CB_CODE_EPOCH when the function began; and whether a helper changed code since. */
  readonly codeEpoch: Local<'i32'>;
  readonly changed: Local<'i32'>;
  /** Number of the entry to go on with, for the table. */
  readonly next: Local<'i32'>;
  readonly table: Label;

  // Ways out, one each for the whole function
  /** Everything is in memory: report `rp` and `status`. */
  readonly leave: Label;
  /** A memory access ended with `status`. */
  readonly failed: Label;
  /** Run helper `raised`. */
  readonly raise: Label;
  /** To `target`, wherever it is. */
  readonly jump: Label;
  /** To the record in `rp`, which shall be interpreted. */
  readonly interpret: Label;
}
