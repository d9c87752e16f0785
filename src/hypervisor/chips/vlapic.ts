/**
 * The local APIC of each vCPU (Xen: arch/x86/hvm/vlapic.c). The registers lie in machine memory at their own offsets, as
 * in Xen's APIC page: another thread requests an interrupt by setting a bit of IRR. Everything else is done on the
 * vCPU's own thread.
 */
import { lowBytes } from '../../base/width.ts';
import type { Gpa } from '../../base/address.ts';
import { type RegisterReading, registerReading } from '../../base/registers.ts';
import { lapicRegisters, SELF_IPI } from '../../abi/registers/lapic.ts';
import type { Clock } from '../../base/clock.ts';
import { Listeners } from '../../base/listeners.ts';
import { Emul, type HvmMmioOps, type IoAccess } from '../io/intercept.ts';
import { MIN_TIMER_PERIOD_NS } from './platform-context.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { Timer, TimerQueue } from '../time/timer.ts';

const reg = (name: string): number => lapicRegisters.find((r) => r.name === name)!.offset;
const ID = reg('APIC_ID');
const TPR = reg('APIC_TASKPRI');
const PPR = reg('APIC_PROCPRI');
const EOI = reg('APIC_EOI');
const LDR = reg('APIC_LDR');
const DFR = reg('APIC_DFR');
const SPIV = reg('APIC_SPIV');
const ISR = reg('APIC_ISR0');
const TMR = reg('APIC_TMR0');
const IRR = reg('APIC_IRR0');
const ESR = reg('APIC_ESR');
const ICR = reg('APIC_ICR');
const ICR2 = reg('APIC_ICR2');
const APR = reg('APIC_ARBPRI');
const LVTT = reg('APIC_LVTT');
const LVT0 = reg('APIC_LVT0');
const LVTERR = reg('APIC_LVTERR');
const LVTS = [LVTT, reg('APIC_LVTTHMR'), reg('APIC_LVTPC'), LVT0, reg('APIC_LVT1'), LVTERR];
const TMICT = reg('APIC_TMICT');
const TMCCT = reg('APIC_TMCCT');
const TDCR = reg('APIC_TDCR');

/** Behind the registers: hidden state. */
const BASE_MSR = 0x400; // APIC_BASE bits 31:0
const PENDING_ESR = 0x404;
const TIMER_START = 0x408; // f64: ns at which the count began
const TDT_MSR = 0x410; // f64: TSC deadline, 0 when disarmed
const STATE_SIZE = 0x418;

const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_X2APIC_FIRST = 0x800;
const MSR_X2APIC_LAST = 0x8ff;
const APIC_BASE_BSP = 1 << 8;
const APIC_BASE_EXTD = 1 << 10;
const APIC_BASE_ENABLE = 1 << 11;
const APIC_DEFAULT_PHYS_BASE = 0xfee00000;

const LVT_MASKED = 1 << 16;
const TIMER_PERIODIC = 1 << 17;
const TIMER_TSC_DEADLINE = 2 << 17;
const TIMER_MODE = 3 << 17;
const SPIV_ENABLED = 0x100;
const DeliveryMode = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;
const ESR_SENDILL = 1 << 5;
const ESR_RECVILL = 1 << 6;
/** One count of the timer at divisor 1: a bus of 100 MHz (APIC_BUS_CYCLE_NS). */
const BUS_CYCLE_NS = 10;

/** TIMER_START of a count that does not run. */
const ENDED = -1;

/** Bits a write can change, by offset / 16; -1 for a register that takes no write. */
const writable = new Int32Array(0x40).fill(-1);
const readable = new Uint8Array(0x40);
for (const r of lapicRegisters) {
  if (r.access !== 'ro') writable[r.offset >> 4] = 0;
  if (r.access !== 'wo') readable[r.offset >> 4] = 1;
}
const writableBits = new Uint32Array(0x40);
for (const r of lapicRegisters) writableBits[r.offset >> 4] = r.writable ?? 0xffffffff;

/** APIC identifier of a vCPU: even numbers, as Xen gives. CPUID and the MADT must say the same. */
export const vlapicId = (vcpu: number): number => vcpu * 2;

/** What the local APICs of a domain ask of the rest. */
export interface VlapicHost {
  /** Wake this vCPU, or make it leave the guest, so that it looks for interrupts. */
  kick(vcpu: number): void;
  nmi(vcpu: number): void;
  init(vcpu: number): void;
  startup(vcpu: number, vector: number): void;
  /** TSC as this vCPU reads it, in ticks. */
  guestTsc(vcpu: number): number;
}

export interface VlapicOptions {
  vcpus: number;
  /** CPUID shows x2APIC: its mode may be turned on. */
  x2apic: boolean;
  /** CPUID shows the TSC-deadline timer. */
  tscDeadline: boolean;
}

/** The local APICs of one domain. */
export class Vlapics implements HvmMmioOps {
  readonly name = 'vlapic';
  readonly options: VlapicOptions;
  /** The end of a level-triggered vector's interrupt, for IO-APICs. */
  readonly eoiBroadcasts = new Listeners<number>();
  private readonly memory: MachineMemory;
  private readonly i32: Int32Array;
  private readonly host: VlapicHost;
  private readonly clock: Clock;
  private readonly bases: number[] = [];
  private readonly timers: Timer[] = [];

  constructor(memory: MachineMemory, domid: number, clock: Clock, timers: TimerQueue, host: VlapicHost, options: VlapicOptions) {
    this.memory = memory;
    this.i32 = memory.i32;
    this.host = host;
    this.clock = clock;
    this.options = options;
    for (let vcpu = 0; vcpu < options.vcpus; vcpu++) {
      this.bases.push(memory.xenheap(`vlapic.d${domid}v${vcpu}`, STATE_SIZE));
      this.timers.push(timers.create(`vlapic.d${domid}v${vcpu}`, (now) => this.timerExpired(vcpu, now)));
      if (this.peek(vcpu, BASE_MSR) === 0) this.reset(vcpu);
    }
  }

  /** Power-on state; an INIT leaves the identifier and the APIC_BASE MSR's mode to the caller, which resets them too. */
  reset(vcpu: number): void {
    this.timers[vcpu]!.stop();
    this.memory.u8.fill(0, this.bases[vcpu]!, this.bases[vcpu]! + STATE_SIZE);
    for (const r of lapicRegisters) if (r.reset !== undefined) this.poke(vcpu, r.offset, r.reset);
    this.poke(vcpu, ID, vlapicId(vcpu) << 24);
    this.poke(vcpu, BASE_MSR, APIC_DEFAULT_PHYS_BASE | APIC_BASE_ENABLE | (vcpu === 0 ? APIC_BASE_BSP : 0));
  }

  // --- requests and acknowledgement

  /** Request a vector; `level` marks it for the IO-APIC's attention at its end. Any thread. */
  setIrq(vcpu: number, vector: number, level: boolean): void {
    if (vector < 16) return this.error(vcpu, ESR_RECVILL);
    if (!this.enabled(vcpu)) return;
    const word = (vector >>> 5) * 16;
    const bit = 1 << (vector & 31);
    const tmr = this.index(vcpu, TMR + word);
    if (level) Atomics.or(this.i32, tmr, bit);
    else Atomics.and(this.i32, tmr, ~bit);
    if (!(Atomics.or(this.i32, this.index(vcpu, IRR + word), bit) & bit)) this.host.kick(vcpu);
  }

  /** Highest vector requested that the processor priority lets through, -1 for none. */
  hasPendingIrq(vcpu: number): number {
    const vector = this.highest(vcpu, IRR);
    if (vector < 0 || !this.enabled(vcpu)) return -1;
    return (vector & 0xf0) > (this.processorPriority(vcpu) & 0xf0) ? vector : -1;
  }

  /** Move a vector from IRR to ISR; false when it is not requested any more. */
  ackPendingIrq(vcpu: number, vector: number): boolean {
    const word = (vector >>> 5) * 16;
    const bit = 1 << (vector & 31);
    if (!(Atomics.and(this.i32, this.index(vcpu, IRR + word), ~bit) & bit)) return false;
    this.i32[this.index(vcpu, ISR + word)]! |= bit;
    return true;
  }

  /** Hardware and software enabled. */
  enabled(vcpu: number): boolean {
    return this.hwEnabled(vcpu) && (this.peek(vcpu, SPIV) & SPIV_ENABLED) !== 0;
  }

  /** The 8259s' output reaches this vCPU: LINT0 is unmasked ExtINT, or the APIC is off and out of the way. */
  acceptPicIntr(vcpu: number): boolean {
    if (!this.hwEnabled(vcpu)) return vcpu === 0;
    const lvt0 = this.peek(vcpu, LVT0);
    return ((lvt0 >>> 8) & 7) === DeliveryMode.extInt && !(lvt0 & LVT_MASKED);
  }

  getCr8(vcpu: number): number {
    return (this.peek(vcpu, TPR) & 0xf0) >> 4;
  }

  setCr8(vcpu: number, value: number): void {
    this.poke(vcpu, TPR, (value & 0xf) << 4);
  }

  /** Is this vCPU addressed? (vlapic_match_dest; `destination` 8 bits wide, 32 in x2APIC mode.) */
  matchDestination(vcpu: number, destination: number, logical: boolean): boolean {
    const x2 = this.x2apicMode(vcpu);
    if (destination === 0xff || destination === 0xffffffff) return true;
    if (!logical) return destination === vlapicId(vcpu);
    if (x2) {
      const id = vlapicId(vcpu);
      return destination >>> 16 === id >>> 4 && (destination & (1 << (id & 0xf))) !== 0;
    }
    const own = this.peek(vcpu, LDR) >>> 24;
    if (this.peek(vcpu, DFR) >>> 28 === 0xf) return (own & destination) !== 0;
    return own >>> 4 === destination >>> 4 && (own & destination & 0xf) !== 0;
  }

  /**
   * Send a message to whomever it addresses, as the IO-APIC, an MSI or an ICR write does. Lowest priority goes to the
   * enabled vCPU with the lowest processor priority.
   */
  deliver(destination: number, logical: boolean, mode: number, vector: number, level: boolean): void {
    if (mode === DeliveryMode.lowest) {
      let best = -1;
      for (let vcpu = 0; vcpu < this.options.vcpus; vcpu++) {
        if (!this.matchDestination(vcpu, destination, logical) || !this.enabled(vcpu)) continue;
        if (best < 0 || this.processorPriority(vcpu) < this.processorPriority(best)) best = vcpu;
      }
      if (best >= 0) this.setIrq(best, vector, level);
      return;
    }
    for (let vcpu = 0; vcpu < this.options.vcpus; vcpu++) {
      if (this.matchDestination(vcpu, destination, logical)) this.accept(vcpu, mode, vector, level);
    }
  }

  // --- memory-mapped and MSR access

  check(address: Gpa, vcpu: number): boolean {
    const base = this.peek(vcpu, BASE_MSR);
    if ((base & (APIC_BASE_ENABLE | APIC_BASE_EXTD)) !== APIC_BASE_ENABLE) return false;
    const offset = address - ((base & 0xfffff000) >>> 0);
    return offset >= 0 && offset < 0x1000;
  }

  read(access: IoAccess): Emul {
    const offset = access.address & 0xfff;
    const within = offset & 3;
    access.lo = 0;
    access.hi = 0;
    // Registers stand 16 bytes apart; the 12 bytes after each read as zero, and so does what crosses into them.
    if ((offset & 0xc) === 0 && within + access.size <= 4 && offset < 0x400 && readable[offset >> 4]) {
      const value = this.readRegister(access.vcpu, offset & ~0xf) >>> (within * 8);
      access.lo = lowBytes(value, access.size);
    }
    return Emul.okay;
  }

  write(access: IoAccess): Emul {
    const offset = access.address & 0xfff;
    // Only aligned 32-bit writes are defined (SDM 10.4.1).
    if ((offset & 0xf) === 0 && access.size === 4 && offset < 0x400) this.writeRegister(access.vcpu, offset, access.lo);
    return Emul.okay;
  }

  readMsr(vcpu: number, index: number): bigint | 'fault' | undefined {
    if (index === MSR_APIC_BASE) return BigInt(this.peek(vcpu, BASE_MSR) >>> 0);
    if (index === MSR_TSC_DEADLINE) return this.options.tscDeadline ? BigInt(this.deadline(vcpu)) : 'fault';
    if (index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST) return undefined;
    const offset = (index - MSR_X2APIC_FIRST) << 4;
    if (
      !this.x2apicMode(vcpu) ||
      offset >= 0x400 ||
      !readable[offset >> 4] ||
      offset === APR ||
      offset === DFR ||
      offset === ICR2
    )
      return 'fault';
    const low = BigInt(this.readRegister(vcpu, offset) >>> 0);
    return offset === ICR ? low | (BigInt(this.peek(vcpu, ICR2) >>> 0) << 32n) : low;
  }

  writeMsr(vcpu: number, index: number, value: bigint): 'done' | 'fault' | 'unknown' {
    if (index === MSR_APIC_BASE) return this.writeBase(vcpu, value);
    if (index === MSR_TSC_DEADLINE) return this.options.tscDeadline ? this.writeDeadline(vcpu, value) : 'fault';
    if (index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST) return 'unknown';
    if (!this.x2apicMode(vcpu)) return 'fault';
    return this.writeX2apic(vcpu, (index - MSR_X2APIC_FIRST) << 4, value);
  }

  /** What a vCPU's local APIC holds, seen from outside. */
  registers(vcpu: number): RegisterReading[] {
    return lapicRegisters
      .filter(({ offset, access }) => access !== 'wo' && offset < 0x400 && readable[offset >> 4])
      .map((register) => registerReading(register, this.readRegister(vcpu, register.offset)));
  }

  private readRegister(vcpu: number, offset: number): number {
    if (offset === PPR) return this.processorPriority(vcpu);
    if (offset === TMCCT) return this.currentCount(vcpu);
    if (offset === ID && this.x2apicMode(vcpu)) return vlapicId(vcpu);
    if (offset === LDR && this.x2apicMode(vcpu)) return ((vlapicId(vcpu) >>> 4) << 16) | (1 << (vlapicId(vcpu) & 0xf));
    return this.peek(vcpu, offset) >>> 0;
  }

  /** A 32-bit write, value unsigned or not. */
  private writeRegister(vcpu: number, offset: number, value: number): void {
    if (writable[offset >> 4] === -1) return;
    const bits = writableBits[offset >> 4]!;
    switch (offset) {
      case EOI:
        return this.endOfInterrupt(vcpu);
      case DFR:
        return this.poke(vcpu, DFR, value | ~bits);
      case SPIV:
        this.poke(vcpu, SPIV, value & bits);
        if (!(value & SPIV_ENABLED)) for (const lvt of LVTS) this.poke(vcpu, lvt, this.peek(vcpu, lvt) | LVT_MASKED);
        return;
      case ESR:
        this.poke(vcpu, ESR, this.peek(vcpu, PENDING_ESR));
        return this.poke(vcpu, PENDING_ESR, 0);
      case ICR:
        this.poke(vcpu, ICR, value & bits);
        return this.sendIpi(vcpu, value & bits, this.peek(vcpu, ICR2) >>> 24);
      case LVTT:
        return this.writeTimerLvt(vcpu, value & bits);
      case TMICT:
        if ((this.peek(vcpu, LVTT) & TIMER_MODE) === TIMER_TSC_DEADLINE) return;
        this.poke(vcpu, TMICT, value);
        return this.startTimer(vcpu, this.clock.nowNs());
      case TDCR:
        return this.writeDivisor(vcpu, value & bits);
      default:
        // A software-disabled APIC keeps its LVT entries masked.
        if (LVTS.includes(offset) && !(this.peek(vcpu, SPIV) & SPIV_ENABLED)) value |= LVT_MASKED;
        this.poke(vcpu, offset, value & bits);
    }
  }

  private writeX2apic(vcpu: number, offset: number, value: bigint): 'done' | 'fault' {
    const low = Number(BigInt.asUintN(32, value));
    if (offset === ICR) {
      if (value & 0xffffffffn & ~0xccfffn) return 'fault';
      this.poke(vcpu, ICR, low);
      this.poke(vcpu, ICR2, Number(value >> 32n));
      this.sendIpi(vcpu, low, Number(value >> 32n));
      return 'done';
    }
    if (value >> 32n || offset >= 0x400) return 'fault';
    if (offset === SELF_IPI) {
      if (low > 0xff) return 'fault';
      this.setIrq(vcpu, low, false);
      return 'done';
    }
    if (writable[offset >> 4] === -1 || offset === LDR || offset === DFR || offset === ICR2) return 'fault';
    if ((offset === EOI || offset === ESR) && low !== 0) return 'fault';
    if (offset !== EOI && offset !== ESR && (low & ~writableBits[offset >> 4]! & ~(1 << 12)) !== 0) return 'fault';
    this.writeRegister(vcpu, offset, low);
    return 'done';
  }

  private writeBase(vcpu: number, value: bigint): 'done' | 'fault' {
    const low = Number(BigInt.asUintN(32, value));
    const old = this.peek(vcpu, BASE_MSR);
    const mode = (v: number): number => (v >>> 10) & 3;
    if (value >> 32n || low & 0x2ff || (low & APIC_BASE_BSP) !== (old & APIC_BASE_BSP)) return 'fault';
    // x2APIC without enable is no state; from x2APIC only "off" is reachable, from "off" only xAPIC (SDM 10.12.5).
    if (
      mode(low) === 1 ||
      (mode(low) === 3 && !this.options.x2apic) ||
      (mode(old) === 3 && mode(low) === 2) ||
      (mode(old) === 0 && mode(low) === 3)
    )
      return 'fault';
    if (mode(low) === 0 && mode(old) !== 0) {
      this.reset(vcpu);
    }
    this.poke(vcpu, BASE_MSR, low);
    return 'done';
  }

  // --- vectors

  private hwEnabled(vcpu: number): boolean {
    return (this.peek(vcpu, BASE_MSR) & APIC_BASE_ENABLE) !== 0;
  }

  private x2apicMode(vcpu: number): boolean {
    return (this.peek(vcpu, BASE_MSR) & APIC_BASE_EXTD) !== 0;
  }

  /** Highest vector whose bit is set in a 256-bit register, -1 for none. */
  private highest(vcpu: number, offset: number): number {
    const top = this.index(vcpu, offset + 0x70);
    for (let i = 7; i >= 0; i--) {
      const word = Atomics.load(this.i32, top - (7 - i) * 4);
      if (word !== 0) return i * 32 + 31 - Math.clz32(word);
    }
    return -1;
  }

  /** A line for a dump: on or off, priorities, vectors pending and in service, the timer. */
  inspect(vcpu: number): string[] {
    const vectors = (offset: number): string => {
      const found: string[] = [];
      for (let v = 0; v < 256; v++)
        if (this.peek(vcpu, offset + (v >>> 5) * 16) & (1 << (v & 31))) found.push(`0x${v.toString(16).padStart(2, '0')}`);
      return found.join(' ') || 'none';
    };
    const timer = this.peek(vcpu, LVTT);
    const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;
    return [
      `local APIC: ${this.enabled(vcpu) ? 'on' : 'off'}, TPR ${hex(this.peek(vcpu, TPR) & 0xff)}, PPR ${hex(this.processorPriority(vcpu))}, ` +
        `pending (IRR) ${vectors(IRR)}, in service (ISR) ${vectors(ISR)}, timer vector ${hex(timer & 0xff)}${timer & LVT_MASKED ? ' masked' : ''}`,
    ];
  }

  private processorPriority(vcpu: number): number {
    const tpr = this.peek(vcpu, TPR) & 0xff;
    const isr = this.highest(vcpu, ISR);
    return isr >= 0 && (isr & 0xf0) > (tpr & 0xf0) ? isr & 0xf0 : tpr;
  }

  private endOfInterrupt(vcpu: number): void {
    const vector = this.highest(vcpu, ISR);
    if (vector < 0) return;
    const word = (vector >>> 5) * 16;
    const bit = 1 << (vector & 31);
    this.i32[this.index(vcpu, ISR + word)]! &= ~bit;
    // TMR keeps the trigger mode until the vector is requested again (vlapic_handle_EOI).
    if (Atomics.load(this.i32, this.index(vcpu, TMR + word)) & bit) this.eoiBroadcasts.call(vector);
  }

  private sendIpi(vcpu: number, command: number, destination: number): void {
    const mode = (command >>> 8) & 7;
    const vector = command & 0xff;
    const shorthand = (command >>> 18) & 3;
    const level = (command & 0x8000) !== 0;
    if ((mode === DeliveryMode.fixed || mode === DeliveryMode.lowest) && vector < 16) return this.error(vcpu, ESR_SENDILL);
    if (mode === DeliveryMode.init && level && !(command & 0x4000)) return; // INIT level de-assert: of old CPUs
    if (shorthand === 0) return this.deliver(destination, (command & 0x800) !== 0, mode, vector, false);
    for (let target = 0; target < this.options.vcpus; target++) {
      if (shorthand === 1 ? target === vcpu : shorthand === 2 || target !== vcpu) this.accept(target, mode, vector, false);
    }
  }

  private accept(vcpu: number, mode: number, vector: number, level: boolean): void {
    switch (mode) {
      case DeliveryMode.fixed:
      case DeliveryMode.lowest:
        return this.setIrq(vcpu, vector, level);
      case DeliveryMode.nmi:
        return this.host.nmi(vcpu);
      case DeliveryMode.init:
        return this.host.init(vcpu);
      case DeliveryMode.startup:
        return this.host.startup(vcpu, vector);
      default:
      // SMI and the reserved modes reach nobody here.
    }
  }

  /**
   * Remember an error and, if it is new, raise the error interrupt. An LVTERR with an illegal vector must not raise an
   * error about itself for ever: it is noted once, in the same breath.
   */
  private error(vcpu: number, bit: number): void {
    const lvt = this.peek(vcpu, LVTERR);
    const raise = !(lvt & LVT_MASKED) && this.enabled(vcpu);
    const illegal = raise && (lvt & 0xff) < 16;
    const old = Atomics.or(this.i32, this.index(vcpu, PENDING_ESR), illegal ? bit | ESR_RECVILL : bit);
    if (!(old & bit) && raise && !illegal) this.setIrq(vcpu, lvt & 0xff, false);
  }

  // --- timer

  private divisor(vcpu: number): number {
    const tdcr = this.peek(vcpu, TDCR);
    const code = (tdcr & 3) | ((tdcr & 8) >> 1);
    return 1 << ((code + 1) & 7);
  }

  private currentCount(vcpu: number): number {
    const initial = this.peek(vcpu, TMICT) >>> 0;
    const lvtt = this.peek(vcpu, LVTT);
    if (initial === 0 || (lvtt & TIMER_MODE) === TIMER_TSC_DEADLINE) return 0;
    const start = this.f64(vcpu, TIMER_START);
    if (start === ENDED) return 0;
    const passed = Math.floor((this.clock.nowNs() - start) / (BUS_CYCLE_NS * this.divisor(vcpu)));
    if (passed < initial) return initial - passed;
    return lvtt & TIMER_PERIODIC ? initial - (passed % initial) : 0;
  }

  /** Begin to count from the initial count at time `start`. */
  private startTimer(vcpu: number, start: number): void {
    const initial = this.peek(vcpu, TMICT) >>> 0;
    this.putF64(vcpu, TIMER_START, start);
    if (initial === 0) this.timers[vcpu]!.stop();
    else this.timers[vcpu]!.set(start + this.timerPeriod(vcpu));
  }

  /** Nanoseconds from the initial count to zero; a periodic timer's not too short for the host (vpt.c). */
  private timerPeriod(vcpu: number): number {
    const period = (this.peek(vcpu, TMICT) >>> 0) * BUS_CYCLE_NS * this.divisor(vcpu);
    return this.peek(vcpu, LVTT) & TIMER_PERIODIC ? Math.max(period, MIN_TIMER_PERIOD_NS) : period;
  }

  private timerExpired(vcpu: number, now: number): void {
    const lvtt = this.peek(vcpu, LVTT);
    if ((lvtt & TIMER_MODE) === TIMER_TSC_DEADLINE) {
      const early = this.deadline(vcpu) - this.host.guestTsc(vcpu);
      if (this.deadline(vcpu) === 0) return;
      if (early > 0) return this.timers[vcpu]!.set(now + Math.ceil((early * 1e9) / this.clock.tscHz));
      this.putF64(vcpu, TDT_MSR, 0);
    } else if (lvtt & TIMER_PERIODIC) {
      // Ticks missed while the vCPU did not run are one tick: the next is the first that lies ahead.
      const period = this.timerPeriod(vcpu);
      const start = this.f64(vcpu, TIMER_START);
      if (this.peek(vcpu, TMICT) !== 0) this.startTimer(vcpu, start + Math.max(1, Math.floor((now - start) / period)) * period);
    }
    if (!(lvtt & LVT_MASKED)) this.setIrq(vcpu, lvtt & 0xff, false);
  }

  private writeTimerLvt(vcpu: number, value: number): void {
    const old = this.peek(vcpu, LVTT);
    if (!(this.peek(vcpu, SPIV) & SPIV_ENABLED)) value |= LVT_MASKED;
    if (!this.options.tscDeadline) value &= ~TIMER_TSC_DEADLINE;
    if ((old & TIMER_TSC_DEADLINE) !== (value & TIMER_TSC_DEADLINE)) {
      this.timers[vcpu]!.stop();
      this.poke(vcpu, TMICT, 0);
      this.putF64(vcpu, TDT_MSR, 0);
    }
    // A one-shot count that has come to its end stays there, whatever the mode becomes, until a new initial count is written.
    if ((old & TIMER_PERIODIC) === 0 && this.currentCount(vcpu) === 0) this.putF64(vcpu, TIMER_START, ENDED);
    this.poke(vcpu, LVTT, value);
  }

  /** The count goes on from where it is, at the new rate. */
  private writeDivisor(vcpu: number, value: number): void {
    const remaining = this.currentCount(vcpu);
    this.poke(vcpu, TDCR, value);
    if (remaining === 0) return;
    const done = (this.peek(vcpu, TMICT) >>> 0) - remaining;
    this.startTimer(vcpu, this.clock.nowNs() - done * BUS_CYCLE_NS * this.divisor(vcpu));
  }

  private deadline(vcpu: number): number {
    return this.f64(vcpu, TDT_MSR);
  }

  private writeDeadline(vcpu: number, value: bigint): 'done' {
    if ((this.peek(vcpu, LVTT) & TIMER_MODE) !== TIMER_TSC_DEADLINE) return 'done';
    const deadline = Number(value);
    this.putF64(vcpu, TDT_MSR, deadline);
    if (deadline === 0) this.timers[vcpu]!.stop();
    else
      this.timers[vcpu]!.set(
        this.clock.nowNs() + Math.max(0, Math.ceil(((deadline - this.host.guestTsc(vcpu)) * 1e9) / this.clock.tscHz)),
      );
    return 'done';
  }

  // --- state

  private index(vcpu: number, offset: number): number {
    return (this.bases[vcpu]! + offset) >>> 2;
  }

  private peek(vcpu: number, offset: number): number {
    return this.i32[(this.bases[vcpu]! + offset) >>> 2]!;
  }

  private poke(vcpu: number, offset: number, value: number): void {
    this.i32[(this.bases[vcpu]! + offset) >>> 2] = value;
  }

  private f64(vcpu: number, offset: number): number {
    return this.memory.f64[(this.bases[vcpu]! + offset) / 8]!;
  }

  private putF64(vcpu: number, offset: number, value: number): void {
    this.memory.f64[(this.bases[vcpu]! + offset) / 8] = value;
  }
}
