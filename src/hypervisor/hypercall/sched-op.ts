/** sched_op (hypercall 29) and set_timer_op (15). Structures: public/sched.h. */
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../../abi/errno.ts';
import { VPF_BLOCKED } from '../domain/domain.ts';

import type { HypercallContext } from './context.ts';

const SCHEDOP = { yield: 0, block: 1, shutdown: 2, poll: 3, remoteShutdown: 4 } as const;
/** Most ports of one poll (Xen's limit). */
const MAX_POLL = 128;

export function schedOp(call: HypercallContext): number {
  const { host } = call;
  switch (call.arg(0)) {
    case SCHEDOP.yield:
      return 0;
    case SCHEDOP.block:
      host.block();
      return 0;
    case SCHEDOP.shutdown: {
      const view = call.read(call.pointer(1), 4);
      if (view === undefined) return -EFAULT;
      const reason = view.getUint32(0, true);
      if (reason > 5) return -EINVAL;
      host.domain.shutdown(reason);
      return 0;
    }
    case SCHEDOP.poll:
      return poll(call);
    case SCHEDOP.remoteShutdown:
      return -EPERM;
    default:
      return -ENOSYS;
  }
}

/** Block until one of the ports is pending, or the timeout (absolute ns, 0: none) has come. */
function poll(call: HypercallContext): number {
  const { host } = call;
  const { state, domain, events } = host;
  const view = call.read(call.pointer(1), call.compat ? 16 : 24);
  if (view === undefined) return -EFAULT;
  const ports = call.handle(view, 0, 0);
  const count = view.getUint32(call.compat ? 4 : 8, true);
  const at = call.compat ? 8 : 16;
  const timeout = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
  if (count > MAX_POLL) return -EINVAL;
  const list = call.read(ports, count * 4);
  if (list === undefined) return -EFAULT;
  state.poll = -1;
  state.setPauseFlag(VPF_BLOCKED);
  let first = -1;
  for (let i = 0; i < count; i++) {
    const port = list.getUint32(i * 4, true);
    if (!events.isValid(domain, port) || events.isPending(domain, port)) {
      state.poll = 0;
      state.clearPauseFlag(VPF_BLOCKED);
      return events.isValid(domain, port) ? 0 : -EINVAL;
    }
    if (count === 1) first = port;
  }
  if (first > 0) state.poll = first;
  if (timeout !== 0) host.pollTimer.set(timeout);
  return 0;
}

/** set_timer_op: absolute nanoseconds, 0 stops it. One that is negative or 2^50 ns ahead is a guest's slip: it comes in 100 ms. */
export function setTimerOp(call: HypercallContext): number {
  const timeout = call.arg(0) + (call.compat ? call.arg(1) : call.argHi(0)) * 2 ** 32;
  const now = call.host.pcpu.clock.nowNs();
  if (timeout === 0) call.host.singleshotTimer.stop();
  else if (timeout >= 2 ** 63 || timeout - now >= 2 ** 50) call.host.singleshotTimer.set(now + 1e8);
  else call.host.singleshotTimer.set(timeout);
  return 0;
}
