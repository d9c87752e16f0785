/** event_channel_op (hypercall 32). Structures: public/event_channel.h. */
import { EvtchnOp } from '../../abi/event-channel.ts';
import { EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from '../../abi/errno.ts';
import { DOMID_SELF } from '../domain/domain.ts';
import { EvtchnState } from '../events/event-channel.ts';
import type { HypercallContext } from './context.ts';

/** EVTCHNSTAT_*, by state: what the guest is told. */
const STATUS: Readonly<Record<EvtchnState, number>> = {
  [EvtchnState.free]: 0,
  [EvtchnState.reserved]: 0,
  [EvtchnState.unbound]: 1,
  [EvtchnState.interdomain]: 2,
  [EvtchnState.pirq]: 3,
  [EvtchnState.virq]: 4,
  [EvtchnState.ipi]: 5,
};

/** Bytes of each operation's structure. */
const SIZE: Readonly<Record<number, number>> = {
  [EvtchnOp.bindInterdomain]: 12,
  [EvtchnOp.bindVirq]: 12,
  [EvtchnOp.close]: 4,
  [EvtchnOp.send]: 4,
  [EvtchnOp.status]: 24,
  [EvtchnOp.allocUnbound]: 8,
  [EvtchnOp.bindIpi]: 8,
  [EvtchnOp.bindVcpu]: 8,
  [EvtchnOp.unmask]: 4,
  [EvtchnOp.reset]: 2,
};

/**
 * Operations that are known and refused: PIRQs, and FIFO event channels, which are off. A control block is wrong wherever it lies;
 * there is no array to expand without one.
 */
const REFUSED: Readonly<Record<number, number>> = {
  [EvtchnOp.bindPirq]: -EINVAL,
  [EvtchnOp.initControl]: -EINVAL,
  [EvtchnOp.expandArray]: -EOPNOTSUPP,
};

function send({ host }: HypercallContext, port: number): number {
  const result = host.events.send(host.domain, port, true);
  if (result === 0) host.portNotified(port);
  return result;
}

export function eventChannelOp(call: HypercallContext): number {
  const { events, domain } = call.host;
  const op = call.arg(0);
  const address = call.pointer(1);
  const size = SIZE[op];
  if (size === undefined) return REFUSED[op] ?? -ENOSYS;
  const view = call.read(address, size);
  if (view === undefined) return -EFAULT;
  const portResult = (port: number, at: number): number => {
    if (port < 0) return port;
    view.setUint32(at, port, true);
    return call.write(address, 4, at) ? 0 : -EFAULT;
  };
  switch (op) {
    case EvtchnOp.bindInterdomain:
      return portResult(events.bindInterdomain(domain, view.getUint16(0, true), view.getUint32(4, true)), 8);
    case EvtchnOp.bindVirq:
      return portResult(events.bindVirq(domain, view.getUint32(0, true), view.getUint32(4, true)), 8);
    case EvtchnOp.bindIpi:
      return portResult(events.bindIpi(domain, view.getUint32(0, true)), 4);
    case EvtchnOp.allocUnbound: {
      const dom = view.getUint16(0, true);
      if (dom !== DOMID_SELF && dom !== domain.domid) return -EPERM;
      return portResult(events.allocUnbound(domain, view.getUint16(2, true)), 4);
    }
    case EvtchnOp.close:
      return events.close(domain, view.getUint32(0, true), true);
    case EvtchnOp.send:
      return send(call, view.getUint32(0, true));
    case EvtchnOp.bindVcpu:
      return events.bindVcpu(domain, view.getUint32(0, true), view.getUint32(4, true));
    case EvtchnOp.unmask:
      return events.unmask(domain, view.getUint32(0, true));
    case EvtchnOp.reset: {
      const dom = view.getUint16(0, true);
      if (dom !== DOMID_SELF && dom !== domain.domid) return -EPERM;
      events.reset(domain);
      return 0;
    }
    default: {
      const status = events.status(domain, view.getUint16(0, true), view.getUint32(4, true));
      if (typeof status === 'number') return status;
      for (let at = 8; at < 24; at += 4) view.setUint32(at, 0, true);
      view.setUint32(8, STATUS[status.state], true);
      view.setUint32(12, status.vcpu, true);
      if (status.state === EvtchnState.unbound) view.setUint16(16, status.remoteDomid, true);
      if (status.state === EvtchnState.interdomain) {
        view.setUint16(16, status.remoteDomid, true);
        view.setUint32(20, status.remotePort, true);
      }
      if (status.state === EvtchnState.virq) view.setUint32(16, status.virq, true);
      return call.write(address, 24) ? 0 : -EFAULT;
    }
  }
}
