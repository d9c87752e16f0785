/** hvm_op (hypercall 34). Structures: public/hvm/hvm_op.h, params.h. */
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, EPERM, ESRCH } from '../../abi/errno.ts';
import { DOMID_SELF, HVM_NR_PARAMS } from '../domain/domain.ts';
import { HvmParam } from '../domain/hvm-params.ts';
import type { HypercallContext } from './context.ts';

const HVMOP = { setParam: 0, getParam: 1, flushTlbs: 5, getTime: 10, setEvtchnUpcallVector: 23 } as const;

/** Parameters a guest may write of itself (xsm: others are the toolstack's). */
const GUEST_WRITABLE: ReadonlySet<number> = new Set([
  HvmParam.callbackIrq,
  HvmParam.vm86Tss,
  HvmParam.vm86TssSized,
  HvmParam.acpiIoportsLocation,
  HvmParam.vmGenerationIdAddr,
  HvmParam.storeEvtchn,
  HvmParam.consoleEvtchn,
  HvmParam.x87FipWidth,
]);
/** Parameters a guest may read of itself. */
const GUEST_READABLE: ReadonlySet<number> = new Set([...GUEST_WRITABLE, HvmParam.storePfn, HvmParam.consolePfn, HvmParam.altp2m]);

/** Deprecated: PAE enabled, DM domain, memory events, nested HVM, port of the buffered page. */
const DEPRECATED: ReadonlySet<number> = new Set([4, 13, 20, 21, 22, 23, HvmParam.nestedhvm, 25, HvmParam.bufioreqEvtchn, 30]);

/** hvm_allow_set_param, hvm_allow_get_param: 0, or why a guest may not. */
function refused(index: number, set: boolean): number {
  if (DEPRECATED.has(index)) return -EINVAL;
  if (set && index === HvmParam.altp2m) return -EEXIST;
  return (set ? GUEST_WRITABLE : GUEST_READABLE).has(index) ? 0 : -EPERM;
}

export function hvmOp(call: HypercallContext): number {
  const { host } = call;
  switch (call.arg(0)) {
    case HVMOP.setParam:
    case HVMOP.getParam:
      return param(call, call.arg(0) === HVMOP.setParam);
    case HVMOP.flushTlbs:
      return call.arg(1) === 0 && call.argHi(1) === 0 ? 0 : -EINVAL;
    case HVMOP.getTime: {
      const view = call.blank();
      const now = host.pcpu.clock.nowNs();
      view.setUint32(0, now >>> 0, true);
      view.setUint32(4, Math.floor(now / 2 ** 32), true);
      return call.write(call.pointer(1), 8) ? 0 : -EFAULT;
    }
    case HVMOP.setEvtchnUpcallVector: {
      const view = call.read(call.pointer(1), 8);
      if (view === undefined) return -EFAULT;
      const vcpu = host.domain.vcpus[view.getUint32(0, true)];
      const vector = view.getUint8(4);
      if (vector < 0x10) return -EINVAL;
      if (vcpu === undefined) return -ENOENT;
      vcpu.upcallVector = vector;
      host.reassertUpcalls();
      return 0;
    }
    default:
      return -ENOSYS;
  }
}

function param(call: HypercallContext, set: boolean): number {
  const { host } = call;
  const address = call.pointer(1);
  const view = call.read(address, 16);
  if (view === undefined) return -EFAULT;
  const domid = view.getUint16(0, true);
  const index = view.getUint32(4, true);
  if (index >= HVM_NR_PARAMS) return -EINVAL;
  // Another domain's are not the guest's to see; there is dom0 alone.
  if (domid !== DOMID_SELF && domid !== host.domain.domid) return domid === 0 ? -EPERM : -ESRCH;
  const why = refused(index, set);
  if (why < 0) return why;
  if (!set) {
    view.setUint32(8, host.domain.paramLo(index), true);
    view.setUint32(12, host.domain.paramHi(index), true);
    return call.write(address, 16) ? 0 : -EFAULT;
  }
  const lo = view.getUint32(8, true);
  const hi = view.getUint32(12, true);
  host.domain.setParam(index, lo, hi);
  if (index === HvmParam.callbackIrq) {
    latchSharedInfoSize(call);
    host.irq.setCallbackVia(lo, hi);
    host.reassertUpcalls();
  }
  return 0;
}

/** hvm_latch_shinfo_size: the layout of shared_info follows the mode in which the guest sets things up. */
export function latchSharedInfoSize(call: HypercallContext): void {
  const { domain } = call.host;
  if (domain.compatSharedInfo !== call.compat) domain.compatSharedInfo = call.compat;
}
