/**
 * Delivering interrupts at VM entry (Xen: hvm/vmx/intr.c, hvm/irq.c): NMI, then the event-channel vector, then the PICs,
 * then the local APIC; what cannot be delivered now asks for a window.
 */
import { Listeners } from '../../base/listeners.ts';
import { EventType } from '../../cpu/interface.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import { TRC_HVM_INJ_VIRQ, TRC_HVM_INTR_WINDOW } from '../../trace/events.ts';
import { virtualCost } from '../time/clock.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import { upcallPending } from '../events/event-2l.ts';
import { CallbackVia } from '../chips/irq.ts';
import type { HvmIrq, InterruptControllers } from '../chips/irq.ts';

/** hvm_intsrc_*. */
export const IntSource = { none: 0, pic: 1, lapic: 2, nmi: 3, mce: 4, vector: 5 } as const;
export type IntSource = (typeof IntSource)[keyof typeof IntSource];

const NMI_VECTOR = 2;

export class InterruptAssist {
  private readonly domain: Domain;
  private readonly state: VcpuState;
  private readonly engine: Vcpu;
  private readonly irq: HvmIrq;
  private readonly controllers: InterruptControllers;
  /** A vector was injected. */
  readonly injections = new Listeners<number>();
  /** A window was asked for, and has not been closed. */
  windowOpen = false;
  /** Vector of what `pending()` found; −1 where only the acknowledgement tells (PIC). */
  private vector = -1;

  constructor(domain: Domain, state: VcpuState, engine: Vcpu, irq: HvmIrq, controllers: InterruptControllers) {
    this.domain = domain;
    this.state = state;
    this.engine = engine;
    this.irq = irq;
    this.controllers = controllers;
  }

  /** hvm_vcpu_has_pending_irq. */
  pending(): IntSource {
    const { controllers } = this;
    const { id } = this.state;
    if (this.state.nmiPending) {
      this.vector = NMI_VECTOR;
      return IntSource.nmi;
    }
    if (this.irq.callbackViaType === CallbackVia.vector && upcallPending(this.domain, this.state)) {
      this.vector = this.irq.callbackVector;
      return IntSource.vector;
    }
    if (controllers.vpicIntOutput() && controllers.vlapicAcceptPicIntr(id)) {
      this.vector = -1;
      return IntSource.pic;
    }
    this.vector = controllers.vlapicHasPendingIrq(id);
    return this.vector >= 0 ? IntSource.lapic : IntSource.none;
  }

  /** hvm_local_events_need_delivery: something is pending and the vCPU would take it. */
  needsDelivery(): boolean {
    const source = this.pending();
    return source !== IntSource.none && !this.blocked(source);
  }

  /** vmx_intr_assist: before every VM entry. */
  assist(): void {
    const { engine, domain } = this;
    let source = this.pending();
    while (source !== IntSource.none) {
      if (this.blocked(source) || engine.injectionPending) {
        this.openWindow(source);
        return;
      }
      const vector = this.acknowledge(source);
      if (vector >= 0) {
        domain.pcpu.clock.charge(virtualCost.injection);
        domain.pcpu.trace.record(TRC_HVM_INJ_VIRQ, 2, vector, 0);
        this.injections.call(vector);
        engine.inject(source === IntSource.nmi ? EventType.nmi : EventType.externalInterrupt, vector, -1, 0);
        source = this.pending();
        if (source !== IntSource.none) this.openWindow(source);
        else this.closeWindows();
        return;
      }
      source = this.pending();
    }
    this.closeWindows();
  }

  private openWindow(source: IntSource): void {
    const { engine, domain } = this;
    this.windowOpen = true;
    domain.pcpu.trace.record(
      TRC_HVM_INTR_WINDOW,
      3,
      this.vector < 0 ? 0 : this.vector,
      source,
      engine.injectionPending ? 0x8000_0000 : 0,
    );
    if (source === IntSource.nmi) engine.requestNmiWindow(true);
    else engine.requestInterruptWindow(true);
  }

  private closeWindows(): void {
    if (!this.windowOpen) return;
    this.windowOpen = false;
    this.engine.requestInterruptWindow(false);
    this.engine.requestNmiWindow(false);
  }

  /** hvm_interrupt_blocked; the local APIC's own priority is settled by vlapicHasPendingIrq. */
  private blocked(source: IntSource): boolean {
    return source === IntSource.nmi ? this.engine.nmiBlocked : !this.engine.interruptible;
  }

  /** hvm_vcpu_ack_pending_irq: the vector, −1 when it is gone. */
  private acknowledge(source: IntSource): number {
    const { controllers } = this;
    switch (source) {
      case IntSource.nmi:
        this.state.nmiPending = false;
        return NMI_VECTOR;
      case IntSource.pic:
        return controllers.vpicAckPendingIrq(this.state.id);
      case IntSource.lapic:
        return controllers.vlapicAckPendingIrq(this.state.id, this.vector) ? this.vector : -1;
      default:
        return this.vector;
    }
  }
}
