/** vcpu_op (hypercall 24). Structures: public/vcpu.h. */
import { VCPU_INFO_SIZE } from '../../abi/event-channel.ts';
import { EFAULT, EINVAL, ENOENT, ENOSYS, ETIME } from '../../abi/errno.ts';
import type { Gfn, Maddr } from '../../base/address.ts';
import { gfnToGpa, PAGE_SIZE, mfnToMaddr } from '../../base/address.ts';
import { markEventsPending } from '../events/event-2l.ts';
import { updateRunstateArea, updateVcpuSystemTime, runstateInfo } from '../domain/time.ts';
import type { HypercallContext } from './context.ts';

const VCPUOP = {
  isUp: 3,
  getRunstateInfo: 4,
  registerRunstateMemoryArea: 5,
  setPeriodicTimer: 6,
  stopPeriodicTimer: 7,
  setSingleshotTimer: 8,
  stopSingleshotTimer: 9,
  registerVcpuInfo: 10,
} as const;
const VCPU_SSHOTTMR_FUTURE = 1;
/** Shortest period Xen accepts: 1 ms. */
const MIN_PERIOD_NS = 1e6;
/** STIME_DELTA_MAX. */
const MAX_PERIOD_NS = 2 ** 62;

export function vcpuOp(call: HypercallContext): number {
  const { host } = call;
  const op = call.arg(0);
  const state = host.domain.vcpus[call.arg(1)];
  const address = call.pointer(2);
  if (state === undefined) return -ENOENT;
  switch (op) {
    case VCPUOP.isUp:
      return 1;
    case VCPUOP.getRunstateInfo:
      return call.writeBytes(address, runstateInfo(state, host.pcpu.clock.nowNs(), call.compat)) ? 0 : -EFAULT;
    case VCPUOP.registerRunstateMemoryArea: {
      const view = call.read(address, call.longSize);
      if (view === undefined) return -EFAULT;
      state.setRunstateArea(view.getUint32(0, true), call.compat ? 0 : view.getUint32(4, true));
      updateRunstateArea(host.domain, state, host.guest);
      return 0;
    }
    case VCPUOP.setPeriodicTimer: {
      const view = call.read(address, 8);
      if (view === undefined) return -EFAULT;
      const period = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
      if (period < MIN_PERIOD_NS || period >= MAX_PERIOD_NS) return -EINVAL;
      state.periodNs = period;
      host.periodicTimer.set(host.pcpu.clock.nowNs() + period);
      return 0;
    }
    case VCPUOP.stopPeriodicTimer:
      state.periodNs = 0;
      host.periodicTimer.stop();
      return 0;
    case VCPUOP.setSingleshotTimer: {
      if (state !== host.state) return -EINVAL;
      const view = call.read(address, call.compat ? 12 : 16);
      if (view === undefined) return -EFAULT;
      const timeout = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
      if (view.getUint32(8, true) & VCPU_SSHOTTMR_FUTURE && timeout < host.pcpu.clock.nowNs()) return -ETIME;
      host.singleshotTimer.set(timeout);
      return 0;
    }
    case VCPUOP.stopSingleshotTimer:
      if (state !== host.state) return -EINVAL;
      host.singleshotTimer.stop();
      return 0;
    case VCPUOP.registerVcpuInfo:
      return registerVcpuInfo(call);
    default:
      return -ENOSYS;
  }
}

/** map_vcpu_info: from now on this vCPU's vcpu_info lies in a page of the guest's choice. Only once. */
function registerVcpuInfo(call: HypercallContext): number {
  const { host } = call;
  const state = host.domain.vcpus[call.arg(1)]!;
  const view = call.read(call.pointer(2), 16);
  if (view === undefined) return -EFAULT;
  const gfn = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  const offset = view.getUint32(8, true);
  if (offset > PAGE_SIZE - VCPU_INFO_SIZE || offset % 8 !== 0) return -EINVAL;
  const old = state.vcpuInfo;
  const inSharedInfo = old === 0 || (old >= host.domain.sharedInfo && old < host.domain.sharedInfo + PAGE_SIZE);
  if (!inSharedInfo) return -EINVAL;
  // A reference for the life of the domain: the guest cannot pull the page away under the hypervisor.
  const frame = host.p2m.getPage(gfn as Gfn);
  if (frame < 0) return -EINVAL;
  const address = host.p2m.ramAddress(gfnToGpa(gfn as Gfn));
  if (address === -1) return -EINVAL;
  const { memory } = host.pcpu;
  const to = (mfnToMaddr(frame) + offset) as Maddr;
  if (old !== 0) memory.u8.copyWithin(to, old, old + VCPU_INFO_SIZE);
  else memory.u8.fill(0, to, to + VCPU_INFO_SIZE);
  state.vcpuInfo = to;
  updateVcpuSystemTime(host.domain, state);
  // Events may have been marked in the old place meanwhile: look at everything once.
  if (host.domain.compatSharedInfo) memory.u32[(to + 4) >>> 2] = 0xffff_ffff;
  else memory.u32.fill(0xffff_ffff, (to + 8) >>> 2, (to + 16) >>> 2);
  markEventsPending(host.domain, state);
  host.reassertUpcalls();
  return 0;
}
