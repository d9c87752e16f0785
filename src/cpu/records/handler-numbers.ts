/** Numbers of handlers, as records hold them. */

/** Handlers that stand for no instruction. */
export const SPECIAL = {
  /** The block was dropped: find the one at this record's rip. */
  stale: 0,
  /** Runs on into the next block. */
  fallThrough: 1,
  fallThroughChained: 2,
  /** Leave after the one instruction of a single-step block. */
  stepEnd: 3,
  /** Address of a memory operand, into the local the next record uses. */
  eaLong: 4,
  eaLongSegment: 5,
  eaLong32: 6,
  eaLong32Segment: 7,
  eaAbsolute: 8,
  eaAbsoluteSegment: 9,
  eaLegacy32: 10,
  eaLegacy16: 11,
  eaUnchecked32: 12,
  eaUnchecked16: 13,
  undefinedOpcode: 14,
  /** More than 15 bytes. */
  tooLong: 15,
} as const;
export const SPECIAL_COUNT = 16;

/** From here on a handler is a function of its own: entry (number - OUTLINED) of the interpreter's table. */
export const OUTLINED = 4096;
/** From here on these are compiled regions, made while the guest runs. */
export const FIRST_COMPILED = 8192;
export const HANDLER_LIMIT = 16384;
