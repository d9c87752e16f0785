/** Helpers of the x87, MMX and SSE emitters: what their instructions do in TypeScript. */
import {
  CB_CR0,
  CB_CR4,
  CB_FPU,
  CB_GPR,
  CB_RFLAGS,
  CB_SEG,
  CB_SLOW_VA,
  Cr0,
  Cr4,
  Flag,
  SEG_BASE,
  SEG_SIZE,
  Status,
  Vector,
} from '../memory/control-block.ts';
import { Reg, Seg } from '../interface.ts';
import { EXTRA_ASIZE_SHIFT, EXTRA_SEG_MASK, EXTRA_STACK, REC_AUX, REC_B, REC_EXTRA, REC_RIP } from '../records/record.ts';
import {
  FPU_CONDITION,
  FPU_FXSAVE,
  FPU_MXCSR,
  FPU_OPERAND_POINTER,
  FPU_RIP,
  FPU_SIZE,
  FPU_SSE_A,
  FPU_SSE_B,
  FPU_STORE,
  Fsw,
  MXCSR_RESET,
} from './state.ts';
import type { FpuHelperName } from './helper-names.ts';
import { SSE_OPERATIONS, SSE_PREDICATE_STEP, SseUnit } from './sse-operations.ts';
import { fxrstor, fxsave } from './x87-control.ts';
import { completeStore, execute, X87_OPERATIONS, x87OperationNumber } from './x87-operations.ts';
import { X87 } from './x87.ts';

/** What of the vCPU these helpers need; core.ts has it. */
export interface FpuHost {
  readonly cb: { readonly base: number; readonly u8: Uint8Array };
  /** Record of the instruction in hand. */
  readonly record: number;
  readonly code64: boolean;
  /** Deliver an exception; does not come back. errorCode left out: none. */
  raise(vector: number, errorCode?: number): never;
  /** Linear address of a segment's offset in legacy modes, checked. */
  segmentAddress(seg: number, offset: number, size: number, write: boolean): number;
  /** Store `size` bytes of `data` at a linear address (a signed double; NaN: not canonical). */
  readonly data: Uint8Array;
  store(linear: number, size: number): void;
}

const OPERATION_MASK = 0xffff;
/** FNINIT gives 037Fh instead. */
const FCW_POWER_UP = 0x40;

/** Real-address forms of the operations whose image depends on the mode, by the number of the protected form. */
const REAL_FORM = new Map(
  ['fnstenv', 'fldenv', 'fnsave', 'frstor'].flatMap((name) =>
    [16, 32].map((bits): [number, number] => [
      x87OperationNumber(`${name} protected${bits}`),
      x87OperationNumber(`${name} real${bits}`),
    ]),
  ),
);

export class FpuHelpers {
  private readonly host: FpuHost;
  private readonly view: DataView;
  private readonly unit: X87;
  private readonly sse: SseUnit;

  constructor(host: FpuHost) {
    this.host = host;
    const { u8, base } = host.cb;
    this.view = new DataView(u8.buffer, u8.byteOffset, u8.byteLength);
    this.unit = new X87(this.view, base + CB_FPU);
    this.sse = new SseUnit(this.view, base + CB_FPU);
  }

  /** State after power-up (SDM vol. 3A table 9-1). */
  reset(): void {
    const from = this.host.cb.base + CB_FPU;
    this.host.cb.u8.fill(0, from, from + FPU_SIZE);
    this.unit.fcw = FCW_POWER_UP;
    this.unit.valid = 0xff;
    this.view.setUint32(from + FPU_MXCSR, MXCSR_RESET, true);
  }

  /** The helpers by name, bound. */
  table(): Record<FpuHelperName, (argument: number) => number> {
    return {
      x87: (n) => this.x87(n),
      x87Stored: (n) => this.x87Stored(n),
      x87Environment: (n) => this.x87Environment(n),
      fwait: () => this.fwait(),
      x87NotAvailable: () => this.x87NotAvailable(),
      mmxNotAvailable: () => this.mmxNotAvailable(),
      sseNotAvailable: () => this.sseNotAvailable(),
      fxsave: (n) => this.fxsave(n),
      fxrstor: (n) => this.fxrstor(n),
      fxsaveMisaligned: () => this.fxsaveMisaligned(),
      mxcsrReserved: () => this.host.raise(Vector.gp, 0),
      sseExact: (n) => this.sseExact(n),
      sseCompare: (n) => this.sseCompare(n),
      maskedStore: (n) => this.maskedStore(n),
    };
  }

  /** Raises what an instruction of this unit finds before it looks at its operands. */
  checkAvailable(unit: 'x87' | 'x87Control' | 'mmx' | 'sse'): void {
    if (unit === 'sse') this.sseNotAvailable();
    else if (unit === 'mmx') this.mmxNotAvailable();
    else if (unit === 'x87') this.x87NotAvailable();
    else if (this.cell(CB_CR0) & (Cr0.em | Cr0.ts)) this.host.raise(Vector.nm);
  }

  private cell(offset: number): number {
    return this.view.getUint32(this.host.cb.base + offset, true);
  }
  private field16(offset: number): number {
    return this.view.getUint16(this.host.record + offset, true);
  }

  /** #NM, or #MF for a pending exception. A guest's CR0.NE is on as far as hardware is concerned, as under VMX. */
  private x87NotAvailable(): number {
    if (this.cell(CB_CR0) & (Cr0.em | Cr0.ts)) this.host.raise(Vector.nm);
    if (this.unit.fsw & Fsw.summary) this.host.raise(Vector.mf);
    return Status.next;
  }
  private mmxNotAvailable(): number {
    if (this.cell(CB_CR0) & Cr0.em) this.host.raise(Vector.ud);
    return this.x87NotAvailable();
  }
  private sseNotAvailable(): number {
    if (this.cell(CB_CR0) & Cr0.em || !(this.cell(CB_CR4) & Cr4.osfxsr)) this.host.raise(Vector.ud);
    if (this.cell(CB_CR0) & Cr0.ts) this.host.raise(Vector.nm);
    return Status.next;
  }
  private fwait(): number {
    const cr0 = this.cell(CB_CR0);
    if (cr0 & Cr0.mp && cr0 & Cr0.ts) this.host.raise(Vector.nm);
    if (this.unit.fsw & Fsw.summary) this.host.raise(Vector.mf);
    return Status.next;
  }

  /** argument: operation number, escape opcode's low bits from bit 16. The register number is the record's B field. */
  private x87(argument: number): number {
    const operation = X87_OPERATIONS[argument & OPERATION_MASK]!;
    const { view, host } = this;
    const fpu = host.cb.base + CB_FPU;
    if (!operation.control) {
      view.setBigUint64(fpu + FPU_RIP, view.getBigUint64(host.record + REC_RIP, true), true);
      if (operation.load ?? operation.store) this.operandPointer();
    }
    view.setInt32(fpu + FPU_STORE, 1, true);
    execute(this.unit, operation, this.field16(REC_B) & 7, this.opcode(argument));
    return Status.next;
  }
  private x87Stored(argument: number): number {
    completeStore(this.unit, X87_OPERATIONS[argument & OPERATION_MASK]!, this.opcode(argument));
    return Status.next;
  }
  /** FNSTENV and kin: the number is the protected form's. */
  private x87Environment(argument: number): number {
    const number = argument & OPERATION_MASK;
    const real = !(this.cell(CB_CR0) & Cr0.pe) || (this.cell(CB_RFLAGS) & Flag.vm) !== 0;
    execute(this.unit, X87_OPERATIONS[real ? REAL_FORM.get(number)! : number]!, 0, 0);
    return Status.next;
  }

  /** FOP: escape and ModRM byte; the decoder leaves the latter in the record. */
  private opcode(argument: number): number {
    return ((argument >> 16) << 8) | this.host.cb.u8[this.host.record + REC_AUX]!;
  }

  /** The emitter left the linear address: FDP is the offset in the segment. */
  private operandPointer(): void {
    const { view, host } = this;
    const at = host.cb.base + CB_FPU + FPU_OPERAND_POINTER;
    const segment = host.cb.u8[host.record + REC_EXTRA]! & EXTRA_SEG_MASK;
    if (host.code64 && segment !== Seg.fs && segment !== Seg.gs) return;
    const base = view.getBigUint64(host.cb.base + CB_SEG + segment * SEG_SIZE + SEG_BASE, true);
    const offset = view.getBigUint64(at, true) - base;
    view.setBigUint64(at, host.code64 ? offset : BigInt.asUintN(32, offset), true);
  }

  /** argument bit 0: 64-bit pointers; bit 1: 16 XMM registers. */
  private fxsave(argument: number): number {
    fxsave(this.unit, this.view, this.host.cb.base + CB_FPU + FPU_FXSAVE, (argument & 1) !== 0, argument & 2 ? 16 : 8);
    return Status.next;
  }
  private fxrstor(argument: number): number {
    if (!fxrstor(this.unit, this.view, this.host.cb.base + CB_FPU + FPU_FXSAVE, (argument & 1) !== 0, argument & 2 ? 16 : 8))
      this.host.raise(Vector.gp, 0);
    return Status.next;
  }

  /** The address is in CB_SLOW_VA. That it is not canonical comes first. */
  private fxsaveMisaligned(): number {
    const { host, view } = this;
    const linear = view.getBigInt64(host.cb.base + CB_SLOW_VA, true);
    const onStack = (host.cb.u8[host.record + REC_EXTRA]! & EXTRA_STACK) !== 0;
    return host.raise(onStack && BigInt.asIntN(48, linear) !== linear ? Vector.ss : Vector.gp, 0);
  }

  /** argument: number of the operation. */
  private sseExact(argument: number): number {
    if (!this.sse.execute(SSE_OPERATIONS[argument]!)) this.host.raise(this.cell(CB_CR4) & Cr4.osxmmexcpt ? Vector.xm : Vector.ud);
    return Status.next;
  }
  /** argument: number of predicate 0's operation; the predicate is in FPU_CONDITION. */
  private sseCompare(argument: number): number {
    return this.sseExact(argument + this.cell(CB_FPU + FPU_CONDITION) * SSE_PREDICATE_STEP);
  }

  /** MASKMOVDQU, MASKMOVQ: argument bytes of FPU_SSE_A by the sign bits of FPU_SSE_B, to DS:rDI or an override. */
  private maskedStore(argument: number): number {
    const { host, view } = this;
    const fpu = host.cb.base + CB_FPU;
    const extra = host.cb.u8[host.record + REC_EXTRA]!;
    const size = extra >> EXTRA_ASIZE_SHIFT;
    const segment = extra & EXTRA_SEG_MASK;
    const index = view.getBigUint64(host.cb.base + CB_GPR + Reg.rdi * 8, true);
    for (let i = 0; i < argument; i++) {
      if (view.getInt8(fpu + FPU_SSE_B + i) >= 0) continue;
      const offset = BigInt.asUintN([16, 32, 64][size]!, index + BigInt(i));
      host.data[0] = view.getUint8(fpu + FPU_SSE_A + i);
      host.store(host.code64 ? this.longAddress(segment, offset) : host.segmentAddress(segment, Number(offset), 1, true), 1);
    }
    return Status.next;
  }

  /** Linear address in 64-bit mode, as a signed double; NaN when not canonical. */
  private longAddress(segment: number, offset: bigint): number {
    const base =
      segment === Seg.fs || segment === Seg.gs
        ? this.view.getBigUint64(this.host.cb.base + CB_SEG + segment * SEG_SIZE + SEG_BASE, true)
        : 0n;
    const linear = BigInt.asIntN(64, base + offset);
    return BigInt.asIntN(48, linear) === linear ? Number(linear) : NaN;
  }
}
