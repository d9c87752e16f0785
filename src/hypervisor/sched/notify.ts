/** How a thread tells vCPUs of events (Xen: vcpu_mark_events_pending, hvm_assert_evtchn_irq, vcpu_kick). */
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { Notifier } from '../events/event-channel.ts';
import { CallbackVia } from '../chips/irq.ts';
import type { HvmInterrupts } from '../chips/irq.ts';
import type { Runqueue } from './runstate.ts';

export class UpcallNotifier implements Notifier {
  private readonly runqueue: Runqueue;
  private readonly hvm = new Map<number, HvmInterrupts>();

  constructor(runqueue: Runqueue) {
    this.runqueue = runqueue;
  }

  /** Upcalls of this domain go through its interrupt controllers (dom0 has none: it is woken alone). */
  attach(domid: number, interrupts: HvmInterrupts): void {
    this.hvm.set(domid, interrupts);
  }

  notify(domain: Domain, vcpu: VcpuState): void {
    const interrupts = this.hvm.get(domain.domid);
    if (interrupts === undefined) {
      this.runqueue.unblock(vcpu);
      return;
    }
    const { irq, controllers } = interrupts;
    if (vcpu.upcallVector !== 0) {
      if (controllers.vlapicEnabled(vcpu.id)) controllers.vlapicSetIrq(vcpu.id, vcpu.upcallVector, false);
      this.runqueue.unblock(vcpu);
    } else if (irq.callbackViaType === CallbackVia.vector) {
      this.runqueue.unblock(vcpu);
    } else if (vcpu.id === 0) {
      irq.setCallbackIrqLevel(true);
    }
  }

  unblockInXen(_domain: Domain, vcpu: VcpuState): void {
    this.runqueue.unblockInXen(vcpu);
  }

  wakePoller(_domain: Domain, vcpu: VcpuState): void {
    vcpu.poll = 0;
    this.runqueue.unblock(vcpu);
  }
}
