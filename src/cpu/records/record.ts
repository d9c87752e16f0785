/**
 * A decoded instruction: a record of 32 bytes in the code cache. Register operands are byte offsets into the control
 * block, so that generated code turns one into an address with a constant. Offsets in bytes.
 */
export const RECORD_SIZE = 32;
export const REC_HANDLER = 0; // u16
export const REC_LENGTH = 2; // u8, bytes of the instruction
export const REC_INDEX = 3; // u8, instructions of the block before this one
export const REC_A = 4; // u16: ModRM.reg or opcode register
export const REC_B = 6; // u16: ModRM.rm register, or the base register of a memory operand
export const REC_INDEX_REG = 8; // u16
export const REC_SCALE = 10; // u8: shift count
export const REC_EXTRA = 11; // u8: segment number (2:0) and EXTRA_* bits
export const REC_DISP = 12; // i32
export const REC_IMM = 16; // i32, sign-extended by its reader
export const REC_AUX = 20; // i32
export const REC_RIP = 24; // u64

/** In REC_AUX of an address record: what the instruction finds before it looks at its memory operand's segment. */
export const BEFORE_SEGMENT = { nothing: 0, pop: 1, x87: 2, x87Control: 3, mmx: 4, sse: 5 } as const;

/** A 64-bit immediate or moffs address takes the place of disp and imm. */
export const REC_IMM64 = REC_DISP;

/** Branches: records the two ways lead to (0: not resolved yet), and the target's distance from the next instruction. */
export const REC_TAKEN = REC_IMM;
export const REC_NOT_TAKEN = REC_DISP;

export const EXTRA_SEG_MASK = 7;
/** The address is relative to SS: a non-canonical one is #SS, not #GP. */
export const EXTRA_STACK = 8;
/** A REP prefix (F3 / F2) on a string instruction. */
export const EXTRA_REP = 16;
export const EXTRA_REPNE = 32;
/** Address size of a string instruction: 16, 32 or 64 as 0, 1, 2 in bits 7:6. */
export const EXTRA_ASIZE_SHIFT = 6;
