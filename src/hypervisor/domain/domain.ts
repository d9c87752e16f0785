/**
 * Domains and their virtual CPUs (Xen: struct domain, struct vcpu). What another thread's hypercall can reach lies in
 * machine memory; these classes are one thread's views of it and may be made as often as one likes.
 */
import {
  SHARED_INFO_EVTCHN_MASK,
  SHARED_INFO_EVTCHN_PENDING,
  SHARED_INFO_VCPU_INFO,
  VCPU_INFO_SIZE,
} from '../../abi/event-channel.ts';
import { ShutdownReason } from '../../abi/sched.ts';
import { DomainCrash } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { maddr, mfn, mfnToMaddr } from '../../base/address.ts';
import type { Maddr, Mfn } from '../../base/address.ts';
import { RUNSTATE_RUNNABLE } from '../../trace/events.ts';
import type { MachineClock } from '../time/clock.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { P2m } from '../mm/p2m.ts';
import type { PageAllocator } from '../mm/page-alloc.ts';
import type { TraceBuffer } from '../trace/trace.ts';

/** One thread of the host: what every part of the hypervisor that runs on it shares. */
export interface Pcpu {
  /** Number of the physical CPU whose trace ring this thread writes. */
  readonly number: number;
  readonly memory: MachineMemory;
  readonly pages: PageAllocator;
  readonly clock: MachineClock;
  readonly trace: TraceBuffer;
  readonly log: Logger;
}

/** HVM_NR_PARAMS: parameters of hvm_op, 0 … 38. */
export const HVM_NR_PARAMS = 39;

export const DOMID_SELF = 0x7ff0;

/** Domain words. */
const SHUTDOWN = 1; // 0: running; otherwise reason + 1
const COMPAT_SHINFO = 2; // 1: 32-bit layout of shared_info
const SHARED_INFO_MFN = 3;
const PCI_CF8 = 4;
const VM_ASSIST = 5;
const MAX_PAGES = 6;
const SHARED_INFO_GFN = 7; // gfn + 1 where the guest put it, 0: nowhere
const PARAMS = 8; // HVM_NR_PARAMS × (lo, hi)
const DOMAIN_STATE_SIZE = (PARAMS + HVM_NR_PARAMS * 2) * 4;

/** vCPU words. */
const RUNSTATE = 0;
const PAUSE_FLAGS = 1;
const FUTEX = 2;
const FUTEX_ADDRESS = 3;
const KICK_WORD = 4;
const IN_GUEST = 5;
const UPCALL_VECTOR = 6;
const VCPU_INFO = 7;
const POLL = 8;
const RUNSTATE_AREA = 9; // lo, hi of a guest-linear address
const INITIALISED = 11;
const NMI_PENDING = 12;
/** In place of a runstate while a thread changes it. */
const RUNSTATE_CHANGING = 4;
/** Doubles, in units of 8 bytes from the start. */
const STATE_ENTRY = 8; // ns
const STATE_TIME = 9; // four: running, runnable, blocked, offline
const TIMER_PERIOD = 13; // ns, 0: none
/** 64-bit integers, in the same units. */
const TSC_OFFSET = 14;
const TSC_ADJUST = 15;
const VCPU_STATE_SIZE = 128;

/** Bits of the pause flags (VPF_*). */
export const VPF_BLOCKED = 1;
export const VPF_BLOCKED_IN_XEN = 2;

/** A virtual CPU's state in machine memory. */
export class VcpuState {
  readonly domid: number;
  readonly id: number;
  private readonly memory: MachineMemory;
  private readonly word: number;
  private readonly base: Maddr;

  constructor(memory: MachineMemory, domid: number, id: number) {
    this.memory = memory;
    this.domid = domid;
    this.id = id;
    this.base = memory.xenheap(`vcpu.d${domid}v${id}`, VCPU_STATE_SIZE);
    this.word = this.base >>> 2;
    if (memory.u32[this.word + INITIALISED] === 0) {
      memory.u32[this.word + INITIALISED] = 1;
      memory.u32[this.word + FUTEX_ADDRESS] = this.base + FUTEX * 4;
      memory.u32[this.word + RUNSTATE] = RUNSTATE_RUNNABLE;
    }
  }

  /** Runstate: RUNSTATE_RUNNING … RUNSTATE_OFFLINE. Waits while another thread is just changing it. */
  get runstate(): number {
    for (;;) {
      const state = Atomics.load(this.memory.i32, this.word + RUNSTATE);
      if (state !== RUNSTATE_CHANGING) return state;
    }
  }

  /**
   * Begin a change of runstate: true when it was `from`. Until endRunstateChange, every other thread waits; so what is recorded
   * in between comes before anything another thread makes of the new state.
   */
  beginRunstateChange(from: number): boolean {
    for (;;) {
      const state = Atomics.compareExchange(this.memory.i32, this.word + RUNSTATE, from, RUNSTATE_CHANGING);
      if (state !== RUNSTATE_CHANGING) return state === from;
    }
  }

  /** The new runstate; books the time spent in `from`. */
  endRunstateChange(from: number, to: number, nowNs: number): void {
    const { f64 } = this.memory;
    const at = this.base / 8;
    f64[at + STATE_TIME + from]! += Math.max(0, nowNs - f64[at + STATE_ENTRY]!);
    f64[at + STATE_ENTRY] = nowNs;
    Atomics.store(this.memory.i32, this.word + RUNSTATE, to);
  }

  /** Change from one runstate to another without a record; false when it was not `from`. */
  changeRunstate(from: number, to: number, nowNs: number): boolean {
    if (!this.beginRunstateChange(from)) return false;
    this.endRunstateChange(from, to, nowNs);
    return true;
  }

  /** Nanoseconds at which the present runstate began. */
  get stateEntryNs(): number {
    return this.memory.f64[this.base / 8 + STATE_ENTRY]!;
  }

  /** Nanoseconds spent in a runstate until its last change. */
  stateTimeNs(runstate: number): number {
    return this.memory.f64[this.base / 8 + STATE_TIME + runstate]!;
  }

  /** Period of the vCPU's periodic timer in nanoseconds, 0: off. */
  get periodNs(): number {
    return this.memory.f64[this.base / 8 + TIMER_PERIOD]!;
  }

  set periodNs(ns: number) {
    this.memory.f64[this.base / 8 + TIMER_PERIOD] = ns;
  }

  /** What the vCPU's TSC is ahead of the machine's, modulo 2^64 (cache_tsc_offset). */
  get tscOffset(): bigint {
    return this.memory.view.getBigUint64(this.base + TSC_OFFSET * 8, true);
  }

  set tscOffset(ticks: bigint) {
    this.memory.view.setBigUint64(this.base + TSC_OFFSET * 8, BigInt.asUintN(64, ticks), true);
  }

  /** hvm_get_guest_tsc: the vCPU's TSC while the machine's stands at `tsc` ticks, modulo 2^64. */
  guestTsc(tsc: number): bigint {
    return BigInt.asUintN(64, BigInt(Math.floor(tsc)) + this.tscOffset);
  }

  /** IA32_TSC_ADJUST. */
  get tscAdjust(): bigint {
    return this.memory.view.getBigUint64(this.base + TSC_ADJUST * 8, true);
  }

  set tscAdjust(ticks: bigint) {
    this.memory.view.setBigUint64(this.base + TSC_ADJUST * 8, BigInt.asUintN(64, ticks), true);
  }

  setPauseFlag(flag: number): void {
    Atomics.or(this.memory.i32, this.word + PAUSE_FLAGS, flag);
  }

  /** True when the flag was set. */
  clearPauseFlag(flag: number): boolean {
    return (Atomics.and(this.memory.i32, this.word + PAUSE_FLAGS, ~flag) & flag) !== 0;
  }

  hasPauseFlag(flag: number): boolean {
    return (Atomics.load(this.memory.i32, this.word + PAUSE_FLAGS) & flag) !== 0;
  }

  /** Machine address of the i32 on which the thread that runs this vCPU sleeps. */
  get futex(): Maddr {
    return maddr(this.memory.u32[this.word + FUTEX_ADDRESS]!);
  }

  /** Sleep on another vCPU's word: both run on one thread (inline placement). */
  shareFutex(other: VcpuState): void {
    this.memory.u32[this.word + FUTEX_ADDRESS] = other.futex;
  }

  get futexValue(): number {
    return Atomics.load(this.memory.i32, this.futex >>> 2);
  }

  /** Changes when anybody but this thread raised the word. */
  get outsideKicks(): number {
    return (this.futexValue - this.memory.kicks) | 0;
  }

  /** Where the engine wants kicks; 0: the vCPU has no engine (dom0). */
  set kickWord(address: Maddr) {
    this.memory.u32[this.word + KICK_WORD] = address;
  }

  get inGuest(): boolean {
    return Atomics.load(this.memory.i32, this.word + IN_GUEST) !== 0;
  }

  set inGuest(on: boolean) {
    Atomics.store(this.memory.i32, this.word + IN_GUEST, on ? 1 : 0);
  }

  /** Make the vCPU's thread look again at everything that concerns it: out of the guest, or out of its sleep. */
  kick(): void {
    this.memory.kicks++;
    this.kickFromOutside();
  }

  /** As kick(), for what comes from outside the machine although it comes on a thread of the machine. */
  kickFromOutside(): void {
    const { i32, u32 } = this.memory;
    const futex = this.futex >>> 2;
    Atomics.add(i32, futex, 1);
    const kickWord = u32[this.word + KICK_WORD]!;
    if (kickWord !== 0 && this.inGuest) Atomics.store(i32, kickWord >>> 2, 1);
    Atomics.notify(i32, futex);
  }

  /** An NMI waits to be delivered. Set from any thread. */
  get nmiPending(): boolean {
    return Atomics.load(this.memory.i32, this.word + NMI_PENDING) !== 0;
  }

  set nmiPending(pending: boolean) {
    Atomics.store(this.memory.i32, this.word + NMI_PENDING, pending ? 1 : 0);
  }

  /** HVMOP_set_evtchn_upcall_vector; 0: none. */
  get upcallVector(): number {
    return this.memory.u32[this.word + UPCALL_VECTOR]!;
  }

  set upcallVector(vector: number) {
    this.memory.u32[this.word + UPCALL_VECTOR] = vector;
  }

  /** Machine address of its vcpu_info (in shared_info, or where the guest registered it); 0: none yet. */
  get vcpuInfo(): Maddr {
    return maddr(this.memory.u32[this.word + VCPU_INFO]!);
  }

  set vcpuInfo(address: Maddr) {
    this.memory.u32[this.word + VCPU_INFO] = address;
  }

  /** sched_op poll: 0 not polling, −1 several ports, else the port. */
  get poll(): number {
    return Atomics.load(this.memory.i32, this.word + POLL);
  }

  set poll(port: number) {
    Atomics.store(this.memory.i32, this.word + POLL, port);
  }

  get runstateAreaLo(): number {
    return this.memory.u32[this.word + RUNSTATE_AREA]!;
  }

  get runstateAreaHi(): number {
    return this.memory.u32[this.word + RUNSTATE_AREA + 1]!;
  }

  setRunstateArea(lo: number, hi: number): void {
    this.memory.u32[this.word + RUNSTATE_AREA] = lo;
    this.memory.u32[this.word + RUNSTATE_AREA + 1] = hi;
  }
}

/** Domain.shutdown for a thread without a pCPU of its own: the toolstack's. The domain must have been made. */
export function shutdownDomain(memory: MachineMemory, domid: number, vcpus: readonly VcpuState[], reason: number): void {
  const word = memory.xenheap(`domain.d${domid}`, DOMAIN_STATE_SIZE) >>> 2;
  if (Atomics.compareExchange(memory.i32, word + SHUTDOWN, 0, reason + 1) !== 0) return;
  for (const vcpu of vcpus) vcpu.kick();
}

export class Domain {
  readonly domid: number;
  readonly name: string;
  readonly pcpu: Pcpu;
  readonly vcpus: readonly VcpuState[];
  /** dom0 has none. */
  readonly p2m: P2m | undefined;
  private readonly word: number;

  constructor(pcpu: Pcpu, domid: number, name: string, vcpus: number, p2m?: P2m) {
    this.pcpu = pcpu;
    this.domid = domid;
    this.name = name;
    this.p2m = p2m;
    this.word = pcpu.memory.xenheap(`domain.d${domid}`, DOMAIN_STATE_SIZE) >>> 2;
    this.vcpus = Array.from({ length: vcpus }, (_, id) => new VcpuState(pcpu.memory, domid, id));
    if (pcpu.memory.u32[this.word + SHARED_INFO_MFN] === 0) this.createSharedInfo();
  }

  get sharedInfoMfn(): Mfn {
    return mfn(this.pcpu.memory.u32[this.word + SHARED_INFO_MFN]!);
  }

  get sharedInfo(): Maddr {
    return mfnToMaddr(this.sharedInfoMfn);
  }

  /** True when the guest uses the 32-bit layouts of shared_info and vcpu_info. */
  get compatSharedInfo(): boolean {
    return this.pcpu.memory.u32[this.word + COMPAT_SHINFO] !== 0;
  }

  set compatSharedInfo(on: boolean) {
    this.pcpu.memory.u32[this.word + COMPAT_SHINFO] = on ? 1 : 0;
  }

  /** Machine address of the pending bits, and of the mask bits. */
  get evtchnPending(): Maddr {
    return maddr(this.sharedInfo + SHARED_INFO_EVTCHN_PENDING);
  }

  get evtchnMask(): Maddr {
    return maddr(this.sharedInfo + (this.compatSharedInfo ? SHARED_INFO_EVTCHN_PENDING + 128 : SHARED_INFO_EVTCHN_MASK));
  }

  /** Last value written to port 0xcf8 as four bytes. */
  get pciCf8(): number {
    return this.pcpu.memory.u32[this.word + PCI_CF8]!;
  }

  set pciCf8(value: number) {
    this.pcpu.memory.u32[this.word + PCI_CF8] = value;
  }

  get vmAssist(): number {
    return this.pcpu.memory.u32[this.word + VM_ASSIST]!;
  }

  set vmAssist(bits: number) {
    this.pcpu.memory.u32[this.word + VM_ASSIST] = bits;
  }

  /** Most frames the domain may have; 0: never said. */
  get maxPages(): number {
    return this.pcpu.memory.u32[this.word + MAX_PAGES]!;
  }

  set maxPages(pages: number) {
    this.pcpu.memory.u32[this.word + MAX_PAGES] = pages;
  }

  /** Guest frame at which the guest sees shared_info, −1 for none. */
  get sharedInfoGfn(): number {
    return this.pcpu.memory.u32[this.word + SHARED_INFO_GFN]! - 1;
  }

  set sharedInfoGfn(gfn: number) {
    this.pcpu.memory.u32[this.word + SHARED_INFO_GFN] = gfn + 1;
  }

  paramLo(index: number): number {
    return this.pcpu.memory.u32[this.word + PARAMS + index * 2]!;
  }

  paramHi(index: number): number {
    return this.pcpu.memory.u32[this.word + PARAMS + index * 2 + 1]!;
  }

  /** HVM parameter 0 … HVM_NR_PARAMS−1, as two unsigned halves. */
  setParam(index: number, lo: number, hi = 0): void {
    this.pcpu.memory.u32[this.word + PARAMS + index * 2] = lo;
    this.pcpu.memory.u32[this.word + PARAMS + index * 2 + 1] = hi;
  }

  /** Why the domain was shut down, −1 while it runs. */
  get shutdownReason(): number {
    return Atomics.load(this.pcpu.memory.i32, this.word + SHUTDOWN) - 1;
  }

  /** domain_shutdown: stop the domain for this reason (the first one counts). Callable from any thread. */
  shutdown(reason: number): void {
    shutdownDomain(this.pcpu.memory, this.domid, this.vcpus, reason);
  }

  /** domain_crash: the domain dies, the host lives. Throws: only on the domain's own pCPU thread. */
  crash(reason: string): never {
    this.shutdown(ShutdownReason.crash);
    throw new DomainCrash(this.domid, reason);
  }

  /** Give every vCPU below 32 its place in shared_info again (after the layout became known). */
  mapVcpuInfos(): void {
    for (const vcpu of this.vcpus) {
      if (vcpu.id < 32) vcpu.vcpuInfo = maddr(this.sharedInfo + SHARED_INFO_VCPU_INFO + vcpu.id * VCPU_INFO_SIZE);
    }
  }

  private createSharedInfo(): void {
    const { pages, memory } = this.pcpu;
    const frame = pages.alloc(this.domid);
    if (frame === undefined) throw new Error(`domain ${this.domid}: no frame for shared_info`);
    // Xen's own reference: the guest may give the page away, the frame stays.
    pages.getPage(frame, this.domid);
    memory.u32[this.word + SHARED_INFO_MFN] = frame;
    this.mapVcpuInfos();
  }
}
