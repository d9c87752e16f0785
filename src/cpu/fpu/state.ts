/**
 * x87, MMX and SSE state in the control block. Offsets in bytes from the FPU area, which has the layout of an FXSAVE
 * image (SDM vol. 1 table 10-2) with one difference: the eight x87 registers stand in physical order (R0 first,
 * where MMX registers alias them), not from the top of the stack.
 */

/** u16. */
export const FPU_FCW = 0x000;
/** u16, with TOP and the summary bits up to date. */
export const FPU_FSW = 0x002;
/** u8: bit i set when physical register i is not empty. */
export const FPU_FTW = 0x004;
/** u16, 11 bits: only set by an instruction that leaves an unmasked exception. */
export const FPU_FOP = 0x006;
/** u64: RIP of the last x87 instruction that is not a control instruction. */
export const FPU_FIP = 0x008;
/** u64: memory operand's offset; only set by an instruction that leaves an unmasked exception. */
export const FPU_FDP = 0x010;
export const FPU_MXCSR = 0x018;
/** 8 × 16 bytes; the upper six of each are zero. MMX register i is the low 8 bytes of the i-th. */
export const FPU_ST = 0x020;
/** 16 × 16 bytes. */
export const FPU_XMM = 0x0a0;
export const FPU_IMAGE_SIZE = 0x200;

/** Memory operand of an x87 instruction on its way in or out: 16 bytes. */
export const FPU_OPERAND = 0x200;
/** u64: offset of the memory operand. */
export const FPU_OPERAND_POINTER = 0x210;
/** i32: what a store instruction found: 1 when the operand is to be written to memory. */
export const FPU_STORE = 0x218;
/** u64: RIP of the x87 instruction in hand. */
export const FPU_RIP = 0x220;
/** i32: condition of FCMOVcc, 0 or 1; predicate of CMPPS and kin. */
export const FPU_CONDITION = 0x228;
/** i32: ZF, PF, CF after FCOMI and kin, in RFLAGS positions; OF, SF, AF are cleared. */
export const FPU_RFLAGS = 0x22c;
/** 128 bytes for FNSTENV, FNSAVE and their loads. */
export const FPU_ENVIRONMENT = 0x240;
/** 16 bytes each: destination and source of an SSE operation on its exact way, and its result. */
export const FPU_SSE_A = 0x2c0;
export const FPU_SSE_B = 0x2d0;
export const FPU_SSE_RESULT = 0x2e0;
/** 48 bytes: a vector with room on both sides, for shifts by bytes and lanes numbered at run time. */
export const FPU_SHIFT = 0x300;
/** An FXSAVE image on its way to or from memory. */
export const FPU_FXSAVE = 0x340;
export const FPU_SIZE = 0x540;

export const MXCSR_MASK = 0xffff;
export const MXCSR_RESET = 0x1f80;
export const FCW_RESET = 0x37f;

/** Status word bits (SDM vol. 1 figure 8-4). Bits 5:0 are the exception flags of FloatFlag. */
export const Fsw = {
  stackFault: 0x40,
  summary: 0x80,
  c0: 0x100,
  c1: 0x200,
  c2: 0x400,
  top: 0x3800,
  c3: 0x4000,
  busy: 0x8000,
} as const;
export const FSW_TOP_SHIFT = 11;
