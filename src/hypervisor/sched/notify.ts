/** How a thread tells vCPUs of events (Xen: vcpu_mark_events_pending, hvm_assert_evtchn_irq, vcpu_kick). */
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { Notifier } from '../events/event-channel.ts';
import { CallbackVia } from '../chips/irq.ts';
import type { HvmInterrupts } from '../chips/irq.ts';
import type { Runqueue } from './runstate.ts';

export class UpcallNotifier implements Notifier {
  private readonly runqueue: Runqueue;
  private readonly hvm: ReadonlyMap<number, HvmInterrupts>;

  /** `hvm`: by domid, the interrupt controllers through which a domain's upcalls go (dom0 has none: it is woken alone). */
  constructor(runqueue: Runqueue, hvm: ReadonlyMap<number, HvmInterrupts>) {
    this.runqueue = runqueue;
    this.hvm = hvm;
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
