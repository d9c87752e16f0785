/**
 * A vCPU without an instruction set, for tests: its "guest" is a generator whose steps are accesses, port I/O, hypercalls …
 * RAM accesses go straight through the p2m; everything else leaves with the exit a real engine would raise, and goes on
 * with what the hypervisor completed.
 */
import { gva, PAGE_SIZE, pageOffset, gpaToGfn } from '../../base/address.ts';
import type { Gfn, Gpa, Gva, Maddr, Mfn } from '../../base/address.ts';
import { EptQualification, ExitReason, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE, Reg, StringKind } from '../../cpu/interface.ts';
import type {
  EventType,
  LinearTranslation,
  SegmentState,
  Vcpu,
  VcpuEvent,
  VcpuRegisters,
  VcpuState,
  VmExit,
} from '../../cpu/interface.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { P2m } from '../mm/p2m.ts';

export type Guest<T = void> = Generator<ExitReason, T, void>;

/** An exception the guest got for what it did. */
export class GuestFault extends Error {
  readonly vector: number;
  readonly errorCode: number;
  constructor(vector: number, errorCode: number) {
    super(`vector ${vector}, error code ${errorCode}`);
    this.vector = vector;
    this.errorCode = errorCode;
  }
}

const hardwareException = 3;

class FakeRegisters implements VcpuRegisters {
  readonly words = new Uint32Array(32);
  readonly segments: SegmentState[] = Array.from({ length: 8 }, () => ({
    selector: 8,
    base: 0n,
    limit: 0xffff_ffff,
    accessRights: 0xa09b,
  }));
  readonly debug = new Array<bigint>(8).fill(0n);
  rip: Gva = gva(0xffff_ffff_8100_0000n);
  rflags = 0x202;
  gdtrBase = 0n;
  gdtrLimit = 0;
  idtrBase = 0n;
  idtrLimit = 0;
  cr0 = 0x8001_0033;
  cr2 = 0n;
  cr3 = 0n;
  cr4 = 0x20;
  cr8 = 0;
  efer = 0x501;
  fpuRegs = new Uint8Array(512);
  cpl = 0;

  getGpr(index: number): bigint {
    return (BigInt(this.words[index * 2 + 1]!) << 32n) | BigInt(this.words[index * 2]!);
  }

  setGpr(index: number, value: bigint): void {
    this.setGprHalves(index, Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn));
  }

  gprLo(index: number): number {
    return this.words[index * 2]!;
  }

  gprHi(index: number): number {
    return this.words[index * 2 + 1]!;
  }

  setGprHalves(index: number, lo: number, hi: number): void {
    this.words[index * 2] = lo;
    this.words[index * 2 + 1] = hi;
  }

  getSegment(seg: number): SegmentState {
    return this.segments[seg]!;
  }

  setSegment(seg: number, state: SegmentState): void {
    this.segments[seg] = state;
  }

  getDr(index: number): bigint {
    return this.debug[index]!;
  }

  setDr(index: number, value: bigint): void {
    this.debug[index] = value;
  }
}

/** A string instruction; linear addresses equal guest-physical ones unless `linear` says otherwise. */
export interface StringInstruction {
  readonly kind: 'movs' | 'stos' | 'lods' | 'ins' | 'outs';
  readonly size: number;
  readonly count: number;
  readonly source?: number;
  readonly destination?: number;
  readonly value?: number;
  readonly port?: number;
  readonly down?: boolean;
}

export class FakeVcpu implements Vcpu {
  readonly registers = new FakeRegisters();
  readonly exit: VmExit = {
    reason: ExitReason.hlt,
    rip: this.registers.rip,
    instructionLength: 3,
    qualification: 0,
    gpa: 0 as Gpa,
    gla: gva(0n),
    isWrite: false,
    size: 0,
    dataLo: 0,
    dataHi: 0,
    port: 0,
    string: StringKind.none,
    rep: false,
    repCount: 1,
    df: false,
    sourceGla: gva(0n),
    destinationGla: gva(0n),
    register: 0,
    gpr: 0,
    vector: 0,
    errorCode: -1,
  };
  readonly kickWord: Maddr;
  instructions = 0;
  /** Instructions every step counts for. */
  perStep = 100;
  /** Interrupt vectors delivered, and what the guest does about each. */
  readonly delivered: number[] = [];
  onInterrupt: (vector: number) => void = () => {};
  readonly invalidated: (Gfn | undefined)[] = [];
  readonly codeInvalidated: Mfn[] = [];
  /** Linear to guest-physical: identity, or what a test makes of it. 'fault': page fault. */
  linear: (address: number) => number | 'fault' = (address) => address;
  windowRequested = false;
  private readonly memory: MachineMemory;
  private readonly p2m: P2m;
  private guest: Guest | undefined;
  private pending: VcpuEvent | undefined;
  private completed: { lo: number; hi: number } | undefined;
  private repsDone = 0;
  private skipped = false;

  constructor(memory: MachineMemory, p2m: P2m) {
    this.memory = memory;
    this.p2m = p2m;
    this.kickWord = memory.xenheap('fake kick word', 4);
  }

  start(program: (vcpu: this) => Guest): void {
    this.guest = program(this);
  }

  run(budget: number): ExitReason {
    this.instructions += Math.min(this.perStep, budget);
    if (Atomics.exchange(this.memory.i32, this.kickWord >>> 2, 0) !== 0) return this.leave(ExitReason.externalInterrupt);
    const event = this.pending;
    this.pending = undefined;
    let next: IteratorResult<ExitReason, void>;
    if (event !== undefined && event.type === hardwareException) {
      next = this.guest!.throw(new GuestFault(event.vector, event.errorCode));
    } else {
      if (event !== undefined) {
        this.delivered.push(event.vector);
        this.onInterrupt(event.vector);
      }
      if (this.windowRequested && this.interruptible) return this.leave(ExitReason.interruptWindow);
      next = this.guest!.next();
    }
    if (next.done) throw new Error('the guest program ended without shutting its domain down');
    return this.leave(next.value);
  }

  private leave(reason: ExitReason): ExitReason {
    this.exit.reason = reason;
    this.registers.rip = gva(this.registers.rip + 3n);
    this.exit.rip = this.registers.rip;
    return reason;
  }

  inject(type: EventType, vector: number, errorCode: number): void {
    this.pending = { type, vector, errorCode, instructionLength: 0 };
  }

  /** Its steps end with their access. */
  readonly instructionInProgress = false;

  get idtVectoring(): VcpuEvent | null {
    return this.pending ?? null;
  }

  finishTaskSwitch(): void {
    this.pending = undefined;
  }

  get injectionPending(): boolean {
    return this.pending !== undefined;
  }

  get interruptible(): boolean {
    return this.pending === undefined && (this.registers.rflags & 0x200) !== 0;
  }

  readonly nmiBlocked = false;

  requestInterruptWindow(on: boolean): void {
    this.windowRequested = on;
  }

  requestNmiWindow(): void {}
  singleStep(): void {}
  interceptException(): void {}

  completeAccess(lo: number, hi: number): void {
    this.completed = { lo, hi };
  }

  completeReps(n: number): void {
    this.repsDone = n;
  }

  skipInstruction(): void {
    this.skipped = true;
  }

  writeCr(register: number, value: bigint): boolean {
    if (register === 0) this.registers.cr0 = Number(value);
    return register !== 4 || value < 0x100000n;
  }

  tscOffset = 0n;

  setTscOffset(lo: number, hi: number): void {
    this.tscOffset = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
  }

  readMsr(index: number): bigint | undefined {
    return index === 0xc000_0080 ? BigInt(this.registers.efer) : undefined;
  }

  writeMsr(index: number, value: bigint): boolean {
    if (index !== 0xc000_0080) return false;
    this.registers.efer = Number(value);
    return true;
  }

  translate(address: Gva): LinearTranslation {
    const at = this.linear(Number(address));
    return at === 'fault' ? { outcome: 'fault', gpa: 0 as Gpa, errorCode: 0 } : { outcome: 'ok', gpa: at as Gpa, errorCode: 0 };
  }

  invalidateNested(gfn?: Gfn): void {
    this.invalidated.push(gfn);
  }

  invalidateCode(frame: Mfn): void {
    this.codeInvalidated.push(frame);
  }

  reset(): void {}
  save(): VcpuState {
    throw new Error('a program of accesses has no state to save');
  }
  countExactly(): void {}
  stopAt(): void {}
  watchFrames(): void {}
  readonly stopped = false;

  restore(): void {}
  codeBytes(): Uint8Array {
    return new Uint8Array(0);
  }

  dump(): string {
    return `RIP:    0010:[<${this.registers.rip.toString(16)}>]`;
  }

  /** Read guest memory at an address: RAM directly, anything else by an EPT violation. */
  *read(address: number, size: number, fields: Partial<VmExit> = {}): Guest<{ lo: number; hi: number }> {
    const at = this.ram(address, NPT_READ);
    if (at !== undefined)
      return {
        lo:
          size === 1
            ? this.memory.view.getUint8(at)
            : size === 2
              ? this.memory.view.getUint16(at, true)
              : this.memory.view.getUint32(at, true),
        hi: size === 8 ? this.memory.view.getUint32(at + 4, true) : 0,
      };
    return (yield* this.violation(address, size, false, 0, 0, fields)) ?? { lo: 0, hi: 0 };
  }

  *write(address: number, size: number, lo: number, hi = 0, fields: Partial<VmExit> = {}): Guest {
    const at = this.ram(address, NPT_WRITE);
    if (at === undefined) {
      yield* this.violation(address, size, true, lo, hi, fields);
      return;
    }
    for (let i = 0; i < size; i++) this.memory.u8[at + i] = i < 4 ? lo >>> (i * 8) : hi >>> ((i - 4) * 8);
  }

  *in(port: number, size: number): Guest<number> {
    this.io(port, size, false, 0);
    yield ExitReason.ioInstruction;
    return this.take().lo;
  }

  *out(port: number, size: number, value: number): Guest {
    this.io(port, size, true, value);
    yield ExitReason.ioInstruction;
    this.take();
  }

  /** A REP string instruction as an engine runs it: element by element, the hypervisor may take several at once. */
  *string(s: StringInstruction): Guest {
    const step = s.down ? -s.size : s.size;
    let left = s.count;
    let source = s.source ?? 0;
    let destination = s.destination ?? 0;
    while (left > 0) {
      const fields: Partial<VmExit> = {
        string: StringKind[s.kind],
        rep: s.count > 1,
        repCount: left,
        df: s.down ?? false,
        sourceGla: gva(BigInt(source)),
        destinationGla: gva(BigInt(destination)),
      };
      this.repsDone = 0;
      let value = { lo: s.value ?? 0, hi: 0 };
      if (s.kind === 'ins') {
        this.io(s.port!, s.size, false, 0, fields);
        yield ExitReason.ioInstruction;
        if (this.repsDone === 0) value = this.take();
      } else if (s.kind === 'movs' || s.kind === 'lods' || s.kind === 'outs') {
        value = yield* this.read(source, s.size, fields);
      }
      if (this.repsDone === 0 && s.kind === 'outs') {
        this.io(s.port!, s.size, true, value.lo, fields);
        yield ExitReason.ioInstruction;
        if (this.repsDone === 0) this.take();
      }
      if (this.repsDone === 0 && (s.kind === 'movs' || s.kind === 'stos' || s.kind === 'ins')) {
        yield* this.write(destination, s.size, value.lo, value.hi, fields);
      }
      const done = Math.max(1, this.repsDone);
      left -= done;
      source += step * done;
      destination += step * done;
    }
    this.repsDone = 0;
  }

  /** VMCALL with these arguments; rax as a signed number. */
  *hypercall(number: number, ...args: number[]): Guest<number> {
    const regs = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9];
    this.registers.setGprHalves(Reg.rax, number, 0);
    args.forEach((arg, i) => this.registers.setGpr(regs[i]!, BigInt.asUintN(64, BigInt(arg))));
    // Not stepped over: it is to be made again.
    this.skipped = false;
    while (!this.skipped) yield ExitReason.vmcall;
    return this.registers.gprLo(Reg.rax) | 0;
  }

  *cpuid(leaf: number, subleaf = 0): Guest<{ a: number; b: number; c: number; d: number }> {
    this.registers.setGprHalves(Reg.rax, leaf, 0);
    this.registers.setGprHalves(Reg.rcx, subleaf, 0);
    yield* this.instruction(ExitReason.cpuid);
    const { registers } = this;
    return { a: registers.gprLo(Reg.rax), b: registers.gprLo(Reg.rbx), c: registers.gprLo(Reg.rcx), d: registers.gprLo(Reg.rdx) };
  }

  *rdmsr(index: number): Guest<bigint> {
    this.registers.setGprHalves(Reg.rcx, index, 0);
    yield* this.instruction(ExitReason.msrRead);
    return (BigInt(this.registers.gprLo(Reg.rdx)) << 32n) | BigInt(this.registers.gprLo(Reg.rax));
  }

  *wrmsr(index: number, value: bigint): Guest {
    this.registers.setGprHalves(Reg.rcx, index, 0);
    this.registers.setGprHalves(Reg.rax, Number(value & 0xffff_ffffn), 0);
    this.registers.setGprHalves(Reg.rdx, Number(value >> 32n), 0);
    yield* this.instruction(ExitReason.msrWrite);
  }

  *movToCr(register: number, value: number): Guest {
    Object.assign(this.exit, { isWrite: true, register, dataLo: value >>> 0, dataHi: 0 });
    yield* this.instruction(ExitReason.crAccess);
  }

  *hlt(): Guest {
    yield* this.instruction(ExitReason.hlt);
  }

  /** Run without leaving for so many looks at the clock. */
  *spin(times: number): Guest {
    for (let i = 0; i < times; i++) yield ExitReason.budget;
  }

  /** An instruction that exits and is stepped over; faults arrive as GuestFault. */
  *instruction(reason: ExitReason): Guest {
    this.skipped = false;
    yield reason;
    if (!this.skipped) throw new Error(`instruction with exit reason ${reason} was not stepped over`);
  }

  private *violation(
    address: number,
    size: number,
    isWrite: boolean,
    lo: number,
    hi: number,
    fields: Partial<VmExit>,
  ): Guest<{ lo: number; hi: number } | undefined> {
    for (;;) {
      const q = EptQualification;
      Object.assign(
        this.exit,
        { string: StringKind.none, rep: false, repCount: 1, df: false, sourceGla: gva(0n), destinationGla: gva(0n) },
        fields,
      );
      const at = this.linear(address);
      Object.assign(this.exit, {
        qualification: (isWrite ? q.write : q.read) | q.glaValid | q.finalAccess,
        gpa: (at === 'fault' ? 0 : at) as Gpa,
        gla: gva(BigInt(address)),
        isWrite,
        size,
        dataLo: lo >>> 0,
        dataHi: hi >>> 0,
      });
      this.completed = undefined;
      this.repsDone = 0;
      yield ExitReason.eptViolation;
      if (this.repsDone > 0) return undefined;
      if (this.completed !== undefined) return this.take();
      // Nothing completed: the p2m was mended, try again.
      const ram = this.ram(address, isWrite ? NPT_WRITE : NPT_READ);
      if (ram === undefined) continue;
      if (isWrite) this.memory.u8[ram] = lo;
      return { lo: this.memory.u8[ram]!, hi: 0 };
    }
  }

  private io(port: number, size: number, isWrite: boolean, value: number, fields: Partial<VmExit> = {}): void {
    Object.assign(this.exit, { string: StringKind.none, rep: false, repCount: 1, df: false }, fields);
    Object.assign(this.exit, { qualification: 0, port, size, isWrite, dataLo: value >>> 0, dataHi: 0 });
    this.completed = undefined;
    this.repsDone = 0;
  }

  private take(): { lo: number; hi: number } {
    const { completed } = this;
    this.completed = undefined;
    if (completed === undefined) throw new Error('the hypervisor did not complete the access');
    return completed;
  }

  private ram(address: number, right: number): number | undefined {
    const at = this.linear(address);
    if (at === 'fault') return undefined;
    const entry = this.p2m.lookup(gpaToGfn(at as Gpa));
    return entry & right ? (entry >>> NPT_MFN_SHIFT) * PAGE_SIZE + pageOffset(at) : undefined;
  }
}
