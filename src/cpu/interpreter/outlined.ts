/**
 * Handlers that are functions of their own: (record, budget, computed address) → budget << 32 | record to go on with | outcome.
 * Records are 32 bytes apart, so that the low bits have room for the outcome: 0 go on, one of those here, or a Status to leave with.
 */
import { RECORD_SIZE } from '../records/record.ts';
import { i32, i64, type I32, type I64 } from '../wasm/expr.ts';

export const OUTLINED_SIGNATURE = { params: ['i32', 'i32', 'i64'] as const, results: ['i64'] as const };
export const OUTCOME_MASK = RECORD_SIZE - 1;
/** The run is over; CB_EXIT_STATUS says how. */
export const OUTCOME_DONE = 31;
/** Go on with the block at CB_RIP. */
export const OUTCOME_FIND = 30;
/** Interpret the record, even where compiled code stands for it. */
export const OUTCOME_INTERPRET = 29;

/** What compiled code ends with when it goes to an address: (address, budget) → a result like its own. */
export const JUMP_SIGNATURE = { params: ['i64', 'i32'] as const, results: ['i64'] as const };

/** The result of such a function. */
export const pack = (budget: I32, record: I32, outcome: I32): I64 =>
  i64.or(i64.shl(i64.extendU(budget), i64.const(32)), i64.extendU(i32.or(record, outcome)));
