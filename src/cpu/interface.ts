/**
 * The vCPU as hardware: what a hypervisor sees of it. The engine knows no device and no Xen; it runs guest
 * instructions until something only the hypervisor can decide happens, then returns a VM exit.
 * Terms and numbers: Intel SDM volume 3C (VMX), chapters 25-28 and appendix C.
 */
import type { Gfn, Gpa, Gva, Maddr, Mfn } from '../base/address.ts';

/** Basic exit reasons (SDM vol. 3C, appendix C), and one of our own outside VMX's range. */
export const ExitReason = {
  exceptionNmi: 0,
  externalInterrupt: 1, // the kick word was set
  tripleFault: 2,
  interruptWindow: 7,
  nmiWindow: 8,
  taskSwitch: 9,
  cpuid: 10,
  hlt: 12,
  invd: 13,
  rdpmc: 15,
  vmcall: 18,
  crAccess: 28, // writes of CR0, CR4 and CR8, reads of CR8
  drAccess: 29,
  ioInstruction: 30,
  msrRead: 31,
  msrWrite: 32,
  monitorTrap: 37, // one instruction done, when single-stepping from outside
  eptViolation: 48,
  wbinvd: 54,
  xsetbv: 55,
  /** The instruction budget of this run is used up. Not a VMX reason: software's preemption timer. */
  budget: 0x1000,
} as const;
export type ExitReason = (typeof ExitReason)[keyof typeof ExitReason];

/** EPT violation qualification bits (SDM vol. 3C table 28-7). */
export const EptQualification = {
  read: 1 << 0,
  write: 1 << 1,
  fetch: 1 << 2,
  readable: 1 << 3,
  writable: 1 << 4,
  executable: 1 << 5,
  glaValid: 1 << 7,
  /** Set: the access to the translated address itself. Clear: an access of the guest page walk. */
  finalAccess: 1 << 8,
} as const;

/** NestedPaging.lookup: permissions in the low bits, the machine frame from bit 8. Zero: nothing there. */
export const NPT_READ = 1;
export const NPT_WRITE = 2;
export const NPT_EXECUTE = 4;
export const NPT_MFN_SHIFT = 8;

/** The second stage of translation, asked on every TLB fill. */
export interface NestedPaging {
  /** (mfn << 8) | permissions, or 0 for a gfn without a frame (the access leaves as an EPT violation). */
  lookup(gfn: Gfn): number;
}

/** String instruction behind an I/O or EPT-violation exit. */
export const StringKind = { none: 0, movs: 1, stos: 2, lods: 3, ins: 4, outs: 5, cmps: 6, scas: 7 } as const;
export type StringKind = (typeof StringKind)[keyof typeof StringKind];

/** What the last exit was. One object, refilled by every exit; which fields count depends on the reason. */
export interface VmExit {
  reason: ExitReason;
  /** Address of the instruction (for budget, externalInterrupt and windows: the next one to run). */
  rip: Gva;
  instructionLength: number;
  qualification: number;
  /** EPT violation: guest-physical and guest-linear address of the first byte refused. */
  gpa: Gpa;
  gla: Gva;
  /**
   * The access (EPT violation with finalAccess; I/O). Size in bytes, 1..8; never crosses a page (the engine
   * splits there, and splits accesses wider than 8). Data of a write in two 32-bit halves, unsigned.
   */
  isWrite: boolean;
  size: number;
  dataLo: number;
  dataHi: number;
  /** I/O: port. */
  port: number;
  /**
   * A string instruction: which, operand size = size, iterations left (RCX as addressed; 1 without REP),
   * direction flag, linear addresses of source (DS:rSI or override) and destination (ES:rDI).
   */
  string: StringKind;
  rep: boolean;
  repCount: number;
  df: boolean;
  sourceGla: Gva;
  destinationGla: Gva;
  /** crAccess: register number; drAccess: number. isWrite tells direction, dataLo/dataHi the value written, gpr the GPR number that gets a read. */
  register: number;
  gpr: number;
  /**
   * exceptionNmi: vector and error code (-1 when none). taskSwitch: TSS selector in dataLo, in qualification who asked
   * (TaskSwitchSource; with idtGate the event is `idtVectoring`).
   */
  vector: number;
  errorCode: number;
}

/** Access rights bits in VMCS form (SDM vol. 3C table 24-2). */
export const Rights = {
  typeMask: 0xf,
  accessed: 1,
  writable: 2,
  expandDown: 4,
  conforming: 4,
  code: 8,
  system: 0,
  nonSystem: 0x10,
  dplShift: 5,
  present: 0x80,
  long: 1 << 13,
  big: 1 << 14,
  granular: 1 << 15,
  unusable: 1 << 16,
} as const;

/** Bits of IA32_EFER (SDM vol. 4, table 2-2). */
export const Efer = { sce: 1, lme: 1 << 8, lma: 1 << 10, nxe: 1 << 11 } as const;

/** Exit qualification of a task switch, bits 31:30 of VMX's (SDM vol. 3C table 28-2): who asked for it. */
export const TaskSwitchSource = { call: 0, iret: 1, jmp: 2, idtGate: 3 } as const;

/** An event to deliver at the next entry (VM-entry interruption information, SDM 24.8.3). privilegedSoftwareException is INT1. */
export const EventType = {
  externalInterrupt: 0,
  nmi: 2,
  hardwareException: 3,
  softwareInterrupt: 4,
  privilegedSoftwareException: 5,
  softwareException: 6,
} as const;
export type EventType = (typeof EventType)[keyof typeof EventType];

/** An event: errorCode -1 when it has none, instructionLength that of the instruction that made it, or 0. */
export interface VcpuEvent {
  readonly type: EventType;
  readonly vector: number;
  readonly errorCode: number;
  readonly instructionLength: number;
}

/** Result of a guest page walk on behalf of the hypervisor. */
export interface LinearTranslation {
  /** ok: gpa is valid. fault: #PF with errorCode at the address. nested: the walk itself hit a gfn without RAM. */
  outcome: 'ok' | 'fault' | 'nested';
  gpa: Gpa;
  errorCode: number;
}

/** Segment register in VMCS form. Access rights as in SDM 24.4.1 (bit 16 = unusable). */
export interface SegmentState {
  selector: number;
  base: bigint;
  limit: number;
  accessRights: number;
}

export const Reg = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rsp: 4,
  rbp: 5,
  rsi: 6,
  rdi: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
} as const;
export const Seg = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;

/**
 * Registers of a stopped vCPU. 64-bit values as bigint (slow path), and as 32-bit halves for handlers that
 * must not allocate.
 */
export interface VcpuRegisters {
  getGpr(index: number): bigint;
  setGpr(index: number, value: bigint): void;
  gprLo(index: number): number; // unsigned
  gprHi(index: number): number;
  setGprHalves(index: number, lo: number, hi: number): void;
  rip: Gva;
  rflags: number; // all defined bits are below bit 32
  getSegment(seg: number): SegmentState;
  setSegment(seg: number, state: SegmentState): void;
  gdtrBase: bigint;
  gdtrLimit: number;
  idtrBase: bigint;
  idtrLimit: number;
  cr0: number;
  cr2: bigint;
  cr3: bigint;
  cr4: number;
  cr8: number;
  efer: number;
  getDr(index: number): bigint;
  setDr(index: number, value: bigint): void;
  /**
   * x87, MMX and SSE state: an FXSAVE64 image of 512 bytes (struct hvm_hw_cpu's fpu_regs). Reading gives a copy.
   * Setting one of another length, or with a reserved bit of MXCSR, throws a RangeError.
   */
  fpuRegs: Uint8Array;
  /** Current privilege level. */
  readonly cpl: number;
}

/**
 * All that a vCPU needs to go on elsewhere as if nothing had happened; decoded code is none of it. The TLB is: what a guest does to its
 * page tables without a flush shows through it.
 */
export interface VcpuState {
  /** Registers, as the control block lays them out. */
  readonly controlBlock: Uint8Array;
  /** An event injected, or cut short by an exit. */
  readonly pending: VcpuEvent | null;
  readonly nmiBlocked: boolean;
  readonly windowWanted: boolean;
  readonly nmiWindowWanted: boolean;
  /** DR6 bits that MOV SS holds back. */
  readonly heldHits: number;
  /** Instructions retired. */
  readonly retired: number;
  /** State of RDRAND: low and high half. */
  readonly random: Uint32Array;
  /** Accesses of the instruction in hand that were completed: low and high half of each. */
  readonly completed: Uint32Array;
  /** Entries of the TLB, nine words each: index, then the entry. */
  readonly tlb: Uint32Array;
}

export interface Vcpu {
  readonly exit: VmExit;
  readonly registers: VcpuRegisters;
  /** Instructions retired since creation. */
  readonly instructions: number;
  /**
   * Run until the next exit, at most `budget` instructions (checked at block ends, unless they are counted exactly). Delivers a
   * pending injected event first.
   */
  run(budget: number): ExitReason;
  /**
   * A debugger's: run() comes back with `budget` before an instruction at one of these linear addresses, but not before it has done
   * anything. Nothing else changes.
   */
  stopAt(addresses: ReadonlySet<number>): void;
  /**
   * A debugger's: tell of reads and writes by the guest's instructions of these frames, before they are made; an instruction that reads
   * and writes is told of twice. Where `touched` says true, run() comes back with `budget` at the end of the block. What the processor
   * reads for itself (code, page tables, descriptors) is not told.
   */
  watchFrames(
    frames: ReadonlyMap<number, { readonly reads: boolean }>,
    touched: (frame: Mfn, offset: number, length: number, isWrite: boolean) => boolean,
  ): void;
  /** The last run ended, or the vCPU stands, at a stop or behind a write that was watched. */
  readonly stopped: boolean;
  /**
   * Stop at the very instruction at which the budget ends, however code was cut into blocks: what two runs share is then the same
   * wherever one of them was stopped in between.
   */
  countExactly(on: boolean): void;

  /** Machine address of the i32 kick word: any thread may store non-zero; run() leaves with externalInterrupt at the next block end and clears it. */
  readonly kickWord: Maddr;

  /** Deliver this event at the next run(). errorCode -1: none. cr2 goes into CR2 for a #PF. Replaces one not yet delivered. */
  inject(type: EventType, vector: number, errorCode: number, instructionLength: number): void;
  /** The event whose delivery the last exit cut short, or that waits (IDT-vectoring information, SDM 24.9.3); null: none. */
  readonly idtVectoring: VcpuEvent | null;
  /**
   * After a taskSwitch exit: the switch is being done. The event that asked for it is not delivered any more, an NMI among
   * them blocks the next, an IRET unblocks them. The instruction counts as retired.
   */
  finishTaskSwitch(): void;
  /** True while an injected event has not been delivered (it survives an exit raised while delivering it). */
  readonly injectionPending: boolean;
  /** RFLAGS.IF set, no STI/MOV SS shadow, no event pending: an external interrupt may be injected now. */
  readonly interruptible: boolean;
  readonly nmiBlocked: boolean;
  /** Leave with interruptWindow as soon as the vCPU becomes interruptible. */
  requestInterruptWindow(on: boolean): void;
  requestNmiWindow(on: boolean): void;
  /**
   * Leave with exceptionNmi where the guest's own code raises this exception, before it is delivered (the exception bitmap, SDM vol. 3C
   * 24.6.3). `inject` delivers it after all.
   */
  interceptException(vector: number, on: boolean): void;
  /** Leave with monitorTrap after one instruction. */
  singleStep(on: boolean): void;

  /**
   * Finish the access of the last EPT-violation or I/O exit: the next run() resumes the same instruction, which
   * takes this value where it read (lo, hi: halves, unsigned) or takes the write as done. Accesses of one instruction
   * completed so far are kept until it retires, so that it never repeats one.
   */
  completeAccess(lo: number, hi: number): void;
  /** An access was completed, and its instruction has not retired yet: no interrupt may come before it has (an exception in its place may). */
  readonly instructionInProgress: boolean;
  /** Finish n iterations of the string instruction: counts, pointers and (at zero) rip move on accordingly. */
  completeReps(n: number): void;
  /** Step over the instruction that exited (CPUID, VMCALL, HLT, RDMSR, MOV CR …). */
  skipInstruction(): void;

  /** TSC offset of the VMCS (SDM vol. 3C 24.6.5): what RDTSC adds to the machine's counter, modulo 2^64, in halves. Not part of save(). */
  setTscOffset(lo: number, hi: number): void;
  /** MOV to CR0/CR3/CR4/CR8, XSETBV, as the instruction does: false when it would be #GP, nothing changed then. */
  writeCr(register: number, value: bigint): boolean;
  /** MSRs the vCPU itself holds (EFER, STAR…, FS/GS base, SYSENTER, PAT, TSC_AUX …). undefined/false: not one of them or not a legal value. */
  readMsr(index: number): bigint | undefined;
  writeMsr(index: number, value: bigint): boolean;

  /** Guest page walk for `address` with the current CPL's rights (or supervisor rights). Sets A/D bits as an access would. Reuses one result object. */
  translate(address: Gva, access: 'read' | 'write' | 'fetch', privilege: 'current' | 'supervisor'): LinearTranslation;

  /** The p2m entry of this gfn changed (or all: no argument): drop every cached translation that used it. Own thread only. */
  invalidateNested(gfn?: Gfn): void;
  /** RAM of this frame was written behind the vCPU's back (DMA): drop code decoded from it. Own thread only. */
  invalidateCode(frame: Mfn): void;

  /** INIT state (SDM vol. 3A table 9-1). */
  reset(): void;
  save(): VcpuState;
  /** Throws UserError for a state of another layout. */
  restore(state: VcpuState): void;
  /** Code bytes at a linear address, as the guest may fetch them now; fewer than `length` where a page is not there. */
  codeBytes(address: Gva, length: number): Uint8Array;
  /** Registers in Xen's layout ("RIP: 0010:[<…>]" …). */
  dump(): string;
}
