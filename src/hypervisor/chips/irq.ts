/**
 * The hub of a domain's interrupt lines (Xen: arch/x86/hvm/irq.c): PCI INTx, ISA interrupts and the event-channel
 * callback, all counted by GSI, forwarded to IO-APIC and PICs. State lies in machine memory: a device model's hypercall
 * changes it from its own thread. The state comes first (GsiLines), then the controllers that look at it, then the hub.
 */
import { EINVAL } from '../../abi/errno.ts';
import type { Maddr } from '../../base/address.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import type { MachineMemory } from '../mm/memory.ts';

/** IO-APIC pins, and with them GSIs, of a domain (VIOAPIC_NUM_PINS). */
export const NR_GSIS = 48;

/**
 * The inputs of the interrupt controllers, as the hub drives them. Called with the `irq` lock held; a `vpic` lock may be
 * taken inside, `irq` may not.
 */
export interface InterruptInputs {
  vioapicIrqPositiveEdge(gsi: number): void;
  vpicIrqPositiveEdge(irq: number): void;
  vpicIrqNegativeEdge(irq: number): void;
}

/** What event injection, MSR accesses and upcalls ask of the interrupt controllers. */
export interface InterruptControllers {
  /** vpic[0].int_output: the PICs want to interrupt. */
  vpicIntOutput(): boolean;
  /** This vCPU takes the PICs' interrupt (virtual wire: LVT0 in ExtINT mode, or local APIC disabled). */
  vlapicAcceptPicIntr(vcpu: number): boolean;
  /** Acknowledge the PICs' interrupt: its vector, −1 when there is none any more. */
  vpicAckPendingIrq(vcpu: number): number;
  /** Highest vector requested and above the processor priority, −1 for none. */
  vlapicHasPendingIrq(vcpu: number): number;
  /** Move this vector from IRR to ISR; false when it is gone. */
  vlapicAckPendingIrq(vcpu: number, vector: number): boolean;
  vlapicEnabled(vcpu: number): boolean;
  /** Request a vector at a local APIC (edge when `level` is false) and kick its vCPU. */
  vlapicSetIrq(vcpu: number, vector: number, level: boolean): void;
  /** TPR bits 7:4, as CR8 shows them. */
  getCr8(vcpu: number): number;
  setCr8(vcpu: number, value: number): void;
  /**
   * MSRs of the controllers: APIC_BASE, the x2APIC range, TSC deadline. `undefined`/`'unknown'`: not theirs;
   * `'fault'`: #GP.
   */
  readMsr(vcpu: number, index: number): bigint | 'fault' | undefined;
  writeMsr(vcpu: number, index: number, value: bigint): 'done' | 'fault' | 'unknown';
  /** What is pending, in service and masked, a line each, for a dump. */
  inspect(vcpu: number): string[];
}

export const CallbackVia = { none: 0, gsi: 1, pciIntx: 2, vector: 3 } as const;
export type CallbackVia = (typeof CallbackVia)[keyof typeof CallbackVia];

/** GSI of a PCI function's INTx line: hvm_pci_intx_gsi. */
export const hvmPciIntxGsi = (device: number, intx: number): number => (((device << 2) + (device >> 3) + intx) & 31) + 16;
/** PCI link (0..3: A..D) of it: hvm_pci_intx_link. */
const hvmPciIntxLink = (device: number, intx: number): number => (device + intx) & 3;
/** ISA IRQ 0 is wired to pin 2: hvm_isa_irq_to_gsi. */
const hvmIsaIrqToGsi = (irq: number): number => (irq === 0 ? 2 : irq);

/** Words of the state, in units of 4 bytes; word 0 is its lock. */
const ISA_IRQ = 1;
const PCI_INTX = 2; // 4 words: bit device*4 + intx
const LINK_COUNT = 6; // 4 words
const LINK_ROUTE = 10; // 4 words
const VIA_TYPE = 14;
const VIA_VALUE = 15; // gsi, device << 8 | intx, or vector
const VIA_ASSERTED = 16;
const GSI_COUNT = 17; // NR_GSIS words
const STATE_SIZE = (GSI_COUNT + NR_GSIS) * 4;

/** A domain's lines in machine memory, and the `irq` lock that guards them and the IO-APIC. */
export class GsiLines {
  readonly u32: Uint32Array;
  /** The state's first word. */
  readonly at: number;
  readonly lock: Lock;

  constructor(memory: MachineMemory, domid: number) {
    this.u32 = memory.u32;
    const base: Maddr = memory.xenheap(`hvm_irq.d${domid}`, STATE_SIZE);
    this.at = base >>> 2;
    this.lock = new Lock(memory, base, LockOrder.irq, `irq.d${domid}`);
  }

  /** Run `work` with the irq lock held: IO-APIC register accesses and EOIs do. */
  locked<T>(work: () => T): T {
    return this.lock.within(work);
  }

  /** How many lines assert this GSI now: a level-triggered IO-APIC pin looks at its end of interrupt. */
  gsiAssertCount(gsi: number): number {
    return this.u32[this.at + GSI_COUNT + gsi]!;
  }
}

export class HvmIrq {
  private readonly lines: GsiLines;
  private readonly u32: Uint32Array;
  private readonly lock: Lock;
  private readonly at: number;
  private readonly controllers: InterruptInputs;

  constructor(lines: GsiLines, controllers: InterruptInputs) {
    this.lines = lines;
    this.u32 = lines.u32;
    this.at = lines.at;
    this.lock = lines.lock;
    this.controllers = controllers;
  }

  /** GsiLines.gsiAssertCount. */
  gsiAssertCount(gsi: number): number {
    return this.lines.gsiAssertCount(gsi);
  }

  /** Level of a PCI function's INTx line: device 0..31, intx 0..3. */
  setPciIntxLevel(device: number, intx: number, level: boolean): void {
    this.lock.acquire();
    if (level) this.pciIntxAssert(device, intx);
    else this.pciIntxDeassert(device, intx);
    this.lock.release();
  }

  /** Level of an ISA interrupt line, 0..15 (timer, keyboard, serial …). */
  setIsaIrqLevel(irq: number, level: boolean): void {
    if (level) this.isaIrqAssert(irq);
    else this.isaIrqDeassert(irq);
  }

  isaIrqAssert(irq: number): void {
    this.lock.acquire();
    const bit = 1 << irq;
    if (!(this.u32[this.at + ISA_IRQ]! & bit)) {
      this.u32[this.at + ISA_IRQ]! |= bit;
      const gsi = hvmIsaIrqToGsi(irq);
      if (this.count(GSI_COUNT + gsi, 1) === 1) this.assertIrq(gsi, irq);
    }
    this.lock.release();
  }

  isaIrqDeassert(irq: number): void {
    this.lock.acquire();
    const bit = 1 << irq;
    if (this.u32[this.at + ISA_IRQ]! & bit) {
      this.u32[this.at + ISA_IRQ]! &= ~bit;
      if (this.count(GSI_COUNT + hvmIsaIrqToGsi(irq), -1) === 0) this.controllers.vpicIrqNegativeEdge(irq);
    }
    this.lock.release();
  }

  /** hvm_ioapic_assert: a device wired to an IO-APIC pin alone (HPET). `level`: counted, to be deasserted later. */
  ioapicAssert(gsi: number, level: boolean): void {
    this.lock.acquire();
    if (!level || this.count(GSI_COUNT + gsi, 1) === 1) this.controllers.vioapicIrqPositiveEdge(gsi);
    this.lock.release();
  }

  ioapicDeassert(gsi: number): void {
    this.lock.acquire();
    if (this.gsiAssertCount(gsi) > 0) this.count(GSI_COUNT + gsi, -1);
    this.lock.release();
  }

  /** dm_op set_pci_link_route: link 0..3 goes to this ISA IRQ (0: none). Negated error number or 0. */
  setPciLinkRoute(link: number, irq: number): number {
    if (!(link >= 0 && link <= 3 && irq >= 0 && irq <= 15)) return -EINVAL;
    this.lock.acquire();
    const old = this.u32[this.at + LINK_ROUTE + link]!;
    if (old !== irq) {
      this.u32[this.at + LINK_ROUTE + link] = irq;
      if (this.u32[this.at + LINK_COUNT + link] !== 0) {
        if (old && this.count(GSI_COUNT + old, -1) === 0) this.controllers.vpicIrqNegativeEdge(old);
        if (irq && this.count(GSI_COUNT + irq, 1) === 1) this.assertIrq(irq, irq);
      }
    }
    this.lock.release();
    return 0;
  }

  get callbackViaType(): CallbackVia {
    return this.u32[this.at + VIA_TYPE]! as CallbackVia;
  }

  /** Vector of a callback of type vector. */
  get callbackVector(): number {
    return this.u32[this.at + VIA_VALUE]! & 0xff;
  }

  get callbackViaAsserted(): boolean {
    return this.u32[this.at + VIA_ASSERTED] !== 0;
  }

  /**
   * HVM_PARAM_CALLBACK_IRQ: type in bits 63:56 (`viaHi` bits 31:24), its value in the low bits. The caller then
   * re-evaluates the upcall of every vCPU.
   */
  setCallbackVia(viaLo: number, viaHi: number): void {
    let type = (viaHi >>> 24) + 1;
    if ((type === CallbackVia.gsi && viaLo === 0 && viaHi === 0) || type > CallbackVia.vector) type = CallbackVia.none;
    this.lock.acquire();
    if (this.callbackViaAsserted) this.callbackLevel(false);
    if (type === CallbackVia.gsi) {
      const gsi = viaLo & 0xff;
      if (gsi === 0 || gsi >= NR_GSIS) type = CallbackVia.none;
      this.u32[this.at + VIA_VALUE] = gsi;
    } else if (type === CallbackVia.pciIntx) {
      this.u32[this.at + VIA_VALUE] = (((viaLo >>> 11) & 31) << 8) | (viaLo & 3);
    } else {
      this.u32[this.at + VIA_VALUE] = viaLo & 0xff;
    }
    this.u32[this.at + VIA_TYPE] = type;
    if (this.callbackViaAsserted) this.callbackLevel(true);
    this.lock.release();
  }

  /** Level of the callback line: asserted while vCPU 0's upcall_pending is set (hvm_set_callback_irq_level). */
  setCallbackIrqLevel(asserted: boolean): void {
    this.lock.acquire();
    if (this.callbackViaAsserted !== asserted) {
      this.u32[this.at + VIA_ASSERTED] = asserted ? 1 : 0;
      this.callbackLevel(asserted);
    }
    this.lock.release();
  }

  private callbackLevel(asserted: boolean): void {
    const value = this.u32[this.at + VIA_VALUE]!;
    const type = this.callbackViaType;
    if (type === CallbackVia.gsi) {
      const count = this.count(GSI_COUNT + value, asserted ? 1 : -1);
      if (asserted && count === 1) {
        this.controllers.vioapicIrqPositiveEdge(value);
        if (value <= 15) this.controllers.vpicIrqPositiveEdge(value);
      } else if (!asserted && count === 0 && value <= 15) {
        this.controllers.vpicIrqNegativeEdge(value);
      }
    } else if (type === CallbackVia.pciIntx) {
      if (asserted) this.pciIntxAssert(value >>> 8, value & 3);
      else this.pciIntxDeassert(value >>> 8, value & 3);
    }
  }

  private pciIntxAssert(device: number, intx: number): void {
    if (!this.changeBit(device * 4 + intx, true)) return;
    const gsi = hvmPciIntxGsi(device, intx);
    if (this.count(GSI_COUNT + gsi, 1) === 1) this.controllers.vioapicIrqPositiveEdge(gsi);
    const link = hvmPciIntxLink(device, intx);
    const irq = this.u32[this.at + LINK_ROUTE + link]!;
    if (this.count(LINK_COUNT + link, 1) === 1 && irq && this.count(GSI_COUNT + irq, 1) === 1) this.assertIrq(irq, irq);
  }

  private pciIntxDeassert(device: number, intx: number): void {
    if (!this.changeBit(device * 4 + intx, false)) return;
    this.count(GSI_COUNT + hvmPciIntxGsi(device, intx), -1);
    const link = hvmPciIntxLink(device, intx);
    const irq = this.u32[this.at + LINK_ROUTE + link]!;
    if (this.count(LINK_COUNT + link, -1) === 0 && irq && this.count(GSI_COUNT + irq, -1) === 0) {
      this.controllers.vpicIrqNegativeEdge(irq);
    }
  }

  /** Set or clear an INTx bit; false when it was so already. */
  private changeBit(bit: number, on: boolean): boolean {
    const word = this.at + PCI_INTX + (bit >>> 5);
    const mask = 1 << (bit & 31);
    const was = (this.u32[word]! & mask) !== 0;
    if (was === on) return false;
    this.u32[word]! ^= mask;
    return true;
  }

  private count(word: number, by: 1 | -1): number {
    return (this.u32[this.at + word]! += by);
  }

  private assertIrq(gsi: number, irq: number): void {
    this.controllers.vioapicIrqPositiveEdge(gsi);
    this.controllers.vpicIrqPositiveEdge(irq);
  }
}

/** An HVM domain's interrupt side, as attached on this thread. */
export interface HvmInterrupts {
  readonly irq: HvmIrq;
  readonly controllers: InterruptControllers;
}
