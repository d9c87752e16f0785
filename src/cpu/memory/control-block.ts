/**
 * The vCPU's control block: every register visible to software or to the hypervisor, as a layout in machine memory,
 * so that generated code, this module's TypeScript and a snapshot see the same bytes. Offsets in bytes from the
 * block's base.
 */
export { Efer, Rights } from '../interface.ts';

/** 16 general registers of 8 bytes, numbered as in ModRM. Byte registers AH..BH are at +1 of the first four. */
export const CB_GPR = 0x000;
/** Always zero: what an absent base or index register reads. */
export const CB_ZERO = 0x080;
export const CB_RIP = 0x088;

/**
 * Status flags are kept lazily: the kind of the last operation that set them and its sign-extended operands. With all
 * three values sign-extended to 64 bits, unsigned and signed comparisons give the same answer for every operand size.
 */
export const CB_LF_RESULT = 0x090;
export const CB_LF_SRC1 = 0x098;
export const CB_LF_SRC2 = 0x0a0;
export const CB_LF_KIND = 0x0a8;
/** CF (0 or 1) for the kinds that carry it apart. */
export const CB_LF_CF = 0x0ac;
/** OF (0 or 1) for kind shift. */
export const CB_LF_OF = 0x0b0;
/** Status flags in RFLAGS positions, for kind explicit. */
export const CB_STATUS = 0x0b4;
/** All other RFLAGS bits. */
export const CB_RFLAGS = 0x0b8;

export const LazyKind = { explicit: 0, logic: 1, add: 2, sub: 3, addKeepCf: 4, subKeepCf: 5, shift: 6 } as const;

/** Address of the TLB set for the current privilege; see tlb.ts. */
export const CB_TLB = 0x0bc;
/** Address of the jump cache for the current privilege. */
export const CB_JUMP_CACHE = 0x0c0;
/** How the last run of generated code ended: Status below. */
export const CB_EXIT_STATUS = 0x0c4;
/** Operand of the slow memory path: linear address and value (16 bytes for a vector). */
export const CB_SLOW_VA = 0x0c8;
export const CB_SLOW_VALUE = 0x0d0;
/** Non-zero: leave generated code when RFLAGS.IF or an interrupt shadow changes. */
export const CB_WINDOW = 0x0e0;
/** RIP of the instruction under an STI or MOV SS shadow; CB_SHADOW says whether it counts (1 STI, 2 MOV SS). */
export const CB_SHADOW_RIP = 0x0e8;
export const CB_SHADOW = 0x0f0;
/** Current privilege level. */
export const CB_CPL = 0x0f4;
/** Non-zero: x87 and MMX (bit 0) or SSE (bit 1) instructions may not run now and take the helper to find out why. */
export const CB_FPU_TRAP = 0x0f8;
/** Budget left at the start of the block, stored before a helper that asks for the time. */
export const CB_BUDGET = 0x0fc;
/** Any thread may set this i32 to stop the vCPU at the next block end. A cache line of its own, but for what follows. */
export const CB_KICK = 0x100;
/** Epoch of the jump caches, in bits 63:48 of a u64. */
export const CB_JUMP_EPOCH = 0x108;
/** Budget of the run that the interpreter holds back while it counts its own share. */
export const CB_REST = 0x110;
/** Counts up whenever decoded code is dropped. */
export const CB_CODE_EPOCH = 0x114;
/** Compiled code hands over to the interpreter when so much of the run's budget is left (CompilePolicy.until). */
export const CB_COMPILED_UNTIL = 0x118;

/** Eight segment registers (Seg order) of 32 bytes. */
export const CB_SEG = 0x140;
export const SEG_SIZE = 32;
export const SEG_BASE = 0; // u64
export const SEG_LIMIT = 8; // u32, in bytes
export const SEG_ACCESS = 12; // u32, VMCS access rights
export const SEG_SELECTOR = 16; // u32
/** Lowest and highest offset allowed (expand-down resolved); low > high when nothing is. */
export const SEG_LOW = 20; // u32
export const SEG_HIGH = 24; // u32
/** What data accesses may do: bit 0 read, bit 1 write. */
export const SEG_MAY = 28; // u32

export const CB_GDTR_BASE = 0x240; // u64
export const CB_GDTR_LIMIT = 0x248;
export const CB_IDTR_LIMIT = 0x24c;
export const CB_IDTR_BASE = 0x250; // u64
export const CB_CR0 = 0x258;
export const CB_CR4 = 0x25c;
export const CB_CR2 = 0x260; // u64
export const CB_CR3 = 0x268; // u64
export const CB_EFER = 0x270;
export const CB_CR8 = 0x274;
export const CB_DR = 0x280; // 8 × u64
export const CB_DR6 = CB_DR + 6 * 8;
export const CB_DR7 = CB_DR + 7 * 8;
/** MSRs the vCPU holds, u64 each: see msr.ts. */
export const CB_MSR = 0x2c0;
export const CB_XCR0 = 0x3f8; // u64

/** x87, MMX and SSE state: fpu/state.ts lays it out. 0x540 bytes. */
export const CB_FPU = 0x400;
/** Where it keeps x87 registers (MMX registers are their low halves) and XMM registers, 16 bytes each. */
export const CB_X87 = CB_FPU + 0x020;
export const CB_XMM = CB_FPU + 0x0a0;

export const CB_SIZE = 0x1000;

/**
 * What a helper or a run of generated code reports. From `fault` on, one instruction is taken off the budget: an exception
 * counts as one, so that a guest that does nothing but fault comes to its budget's end too.
 */
export const Status = {
  /** Go on with the next record. */
  next: 0,
  /** A VM exit; the instruction has not retired. */
  exit: 1,
  /** Nothing happened: find the block at RIP. */
  resume: 2,
  /** An exception was delivered, or a part of a repeated instruction done; the instruction has not retired. Find the block at RIP. */
  fault: 3,
  /** The instruction retired and set RIP. Find the block there. */
  jump: 4,
  /** A VM exit (or a stop to look around) after the instruction retired. */
  exitRetired: 5,
  /** The budget ran out or the kick word was set, at a block end. */
  stop: 6,
  /** The access would write decoded code: the interpreter runs the instruction. Compiled code alone gets this. */
  writesCode: 7,
} as const;

/** RFLAGS bits. */
export const Flag = {
  cf: 1 << 0,
  one: 1 << 1,
  pf: 1 << 2,
  af: 1 << 4,
  zf: 1 << 6,
  sf: 1 << 7,
  tf: 1 << 8,
  if: 1 << 9,
  df: 1 << 10,
  of: 1 << 11,
  iopl: 3 << 12,
  nt: 1 << 14,
  rf: 1 << 16,
  vm: 1 << 17,
  ac: 1 << 18,
  vif: 1 << 19,
  vip: 1 << 20,
  id: 1 << 21,
} as const;
export const STATUS_FLAGS = Flag.cf | Flag.pf | Flag.af | Flag.zf | Flag.sf | Flag.of;

export const Cr0 = {
  pe: 1,
  mp: 2,
  em: 4,
  ts: 8,
  et: 16,
  ne: 32,
  wp: 1 << 16,
  am: 1 << 18,
  nw: 1 << 29,
  cd: 1 << 30,
  pg: 1 << 31,
} as const;
export const Cr4 = {
  vme: 1,
  pvi: 2,
  tsd: 4,
  de: 8,
  pse: 16,
  pae: 32,
  mce: 64,
  pge: 128,
  pce: 256,
  osfxsr: 512,
  osxmmexcpt: 1024,
  umip: 2048,
  fsgsbase: 1 << 16,
  pcide: 1 << 17,
  osxsave: 1 << 18,
  smep: 1 << 20,
  smap: 1 << 21,
} as const;
/** Debug status and control (SDM vol. 3B, 18.2): BD, BS; GD. */
export const Dr6 = { bd: 1 << 13, bs: 1 << 14 } as const;
export const Dr7 = { gd: 1 << 13 } as const;
export const Vector = {
  de: 0,
  db: 1,
  nmi: 2,
  bp: 3,
  of: 4,
  br: 5,
  ud: 6,
  nm: 7,
  df: 8,
  ts: 10,
  np: 11,
  ss: 12,
  gp: 13,
  pf: 14,
  mf: 16,
  ac: 17,
  mc: 18,
  xm: 19,
} as const;
