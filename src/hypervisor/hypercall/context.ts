/** What a hypercall handler gets: the caller, its arguments, and guest copies of argument structures. */
import type { Gva } from '../../base/address.ts';
import { gva } from '../../base/address.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import { Reg } from '../../cpu/interface.ts';
import type { Domain, Pcpu, VcpuState } from '../domain/domain.ts';
import type { EventChannels } from '../events/event-channel.ts';
import type { GuestMemory } from '../mm/guest-access.ts';
import type { HvmIrq } from '../chips/irq.ts';
import type { P2m } from '../mm/p2m.ts';
import type { Timer } from '../time/timer.ts';

/** An entry of the domain's memory map (struct e820entry). */
export interface E820Entry {
  readonly address: number;
  readonly size: number;
  /** 1 RAM, 2 reserved, 3 ACPI, 4 NVS. */
  readonly type: number;
}

/** The services of the vCPU's thread that hypercalls use. */
export interface HypercallHost {
  readonly pcpu: Pcpu;
  readonly domain: Domain;
  readonly state: VcpuState;
  readonly p2m: P2m;
  readonly engine: Vcpu;
  readonly guest: GuestMemory;
  readonly events: EventChannels;
  readonly irq: HvmIrq;
  readonly singleshotTimer: Timer;
  readonly periodicTimer: Timer;
  /** Ends a sched_op poll that has a timeout. */
  readonly pollTimer: Timer;
  /** Memory map for XENMEM_memory_map; empty: none was made. */
  readonly memoryMap: readonly E820Entry[];
  /** The guest has sent on this port of its own. */
  portNotified(port: number): void;
  /** console_io writes. */
  consoleWrite(bytes: Uint8Array): void;
  /** The guest gave pages back: device models drop their cached mappings before the hypercall returns. */
  mapcacheInvalidate(): void;
  /** Block the calling vCPU (sched_op block, poll) once the hypercall is done. */
  block(): void;
  /** Upcalls may have become deliverable in another way: look at every vCPU again. */
  reassertUpcalls(): void;
}

const REGS_64 = [Reg.rdi, Reg.rsi, Reg.rdx, Reg.r10, Reg.r8, Reg.r9] as const;
const REGS_32 = [Reg.rbx, Reg.rcx, Reg.rdx, Reg.rsi, Reg.rdi, Reg.rbp] as const;

/** Largest argument structure. */
const SCRATCH = 1024;

/** One hypercall in flight. Arguments come from registers, or from a multicall entry. */
export class HypercallContext {
  readonly host: HypercallHost;
  /** The caller runs 32-bit code: structures have the 32-bit layout. */
  compat = false;
  /** Not 0: the call is not done, and is made again with so many arguments as the handler left them (hypercall_create_continuation). */
  continued = 0;
  private readonly bytes = new Uint8Array(SCRATCH);
  private readonly view = new DataView(this.bytes.buffer);
  private readonly lo = new Uint32Array(6);
  private readonly hi = new Uint32Array(6);

  constructor(host: HypercallHost) {
    this.host = host;
  }

  /** Take the arguments from the registers. In 32-bit code the upper halves count as zero. */
  loadRegisters(compat: boolean): void {
    this.compat = compat;
    const { registers } = this.host.engine;
    const regs = compat ? REGS_32 : REGS_64;
    for (let i = 0; i < 6; i++) {
      this.lo[i] = registers.gprLo(regs[i]!);
      this.hi[i] = compat ? 0 : registers.gprHi(regs[i]!);
    }
  }

  /** Put the arguments back where loadRegisters found them: the call will be made again. */
  storeRegisters(): void {
    const { registers } = this.host.engine;
    const regs = this.compat ? REGS_32 : REGS_64;
    for (let i = 0; i < this.continued; i++) registers.setGprHalves(regs[i]!, this.lo[i]!, this.hi[i]!);
  }

  /** Argument n as the low 32 bits, unsigned. */
  arg(n: number): number {
    return this.lo[n]!;
  }

  argHi(n: number): number {
    return this.hi[n]!;
  }

  setArg(n: number, lo: number, hi: number): void {
    this.lo[n] = lo;
    this.hi[n] = hi;
  }

  pointer(n: number): Gva {
    return gva((BigInt(this.hi[n]!) << 32n) | BigInt(this.lo[n]!));
  }

  /** Copy a structure of `size` bytes in, once; undefined when it cannot be read. Valid until the next call. */
  read(address: Gva, size: number): DataView | undefined {
    return this.host.guest.copyFromLinear(address, this.bytes.subarray(0, size)) ? this.view : undefined;
  }

  /** Copy the first `size` bytes of the structure (changed in the view) back; false when they cannot be written. */
  write(address: Gva, size: number, offset = 0): boolean {
    return this.host.guest.copyToLinear(gva(address + BigInt(offset)), this.bytes.subarray(offset, offset + size));
  }

  writeBytes(address: Gva, bytes: Uint8Array): boolean {
    return this.host.guest.copyToLinear(address, bytes);
  }

  /** Zeroed space for a structure that only goes out. */
  blank(): DataView {
    this.bytes.fill(0);
    return this.view;
  }

  /** An unsigned long or pointer of the structure last read, at `at64` or `at32`. */
  ulong(view: DataView, at64: number, at32: number): number {
    return this.compat ? view.getUint32(at32, true) : view.getUint32(at64, true) + view.getUint32(at64 + 4, true) * 2 ** 32;
  }

  handle(view: DataView, at64: number, at32: number): Gva {
    return gva(this.compat ? BigInt(view.getUint32(at32, true)) : view.getBigUint64(at64, true));
  }

  /** Bytes of an unsigned long or pointer. */
  get longSize(): 4 | 8 {
    return this.compat ? 4 : 8;
  }
}

export const offsetBy = (address: Gva, bytes: number): Gva => gva(address + BigInt(bytes));
