/** grant_table_op (hypercall 20): size, version and the frames of the table itself; nothing is granted to anybody here. */
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../../abi/errno.ts';
import type { Mfn } from '../../base/address.ts';
import { mfn } from '../../base/address.ts';
import { DOMID_SELF } from '../domain/domain.ts';
import type { HypercallContext, HypercallHost } from './context.ts';

const GNTTABOP = { querySize: 6, setVersion: 8, getVersion: 10 } as const;
/** Grant tables are of version 1 (gnttab=max-ver:1). */
const VERSION = 1;
/** Most frames of a grant table (Xen's default gnttab_max_frames). */
const MAX_GRANT_FRAMES = 64;

/** Word 0: frames in use; then their frame numbers. */
const table = (host: HypercallHost): number =>
  host.pcpu.memory.xenheap(`grant_table.d${host.domain.domid}`, (1 + MAX_GRANT_FRAMES) * 4) >>> 2;

/** Frame `index` of the grant table, made on first use; undefined past the limit. */
export function grantFrame(host: HypercallHost, index: number): Mfn | undefined {
  if (!(index >= 0 && index < MAX_GRANT_FRAMES)) return undefined;
  const { pages, memory } = host.pcpu;
  const base = table(host);
  const { domid } = host.domain;
  for (let i = memory.u32[base]!; i <= index; i++) {
    const frame = pages.alloc(domid);
    if (frame === undefined) return undefined;
    // Xen's own reference, as for shared_info.
    pages.getPage(frame, domid);
    memory.u32[base + 1 + i] = frame;
    memory.u32[base] = i + 1;
  }
  return mfn(memory.u32[base + 1 + index]!);
}

export function grantTableOp(call: HypercallContext): number {
  switch (call.arg(0)) {
    case GNTTABOP.querySize:
      return querySize(call);
    case GNTTABOP.setVersion:
      return setVersion(call);
    case GNTTABOP.getVersion:
      return getVersion(call);
    default:
      return -ENOSYS;
  }
}

const isOwn = (call: HypercallContext, domid: number): boolean => domid === DOMID_SELF || domid === call.host.domain.domid;

/** Version 2 is answered as by a hypervisor that does not know it. The version in force goes out in any case. */
function setVersion(call: HypercallContext): number {
  const view = call.read(call.pointer(1), 4);
  if (view === undefined) return -EFAULT;
  const wanted = view.getUint32(0, true);
  view.setUint32(0, VERSION, true);
  if (!call.write(call.pointer(1), 4)) return -EFAULT;
  return wanted === VERSION ? 0 : wanted === 2 ? -ENOSYS : -EINVAL;
}

function getVersion(call: HypercallContext): number {
  const view = call.read(call.pointer(1), 8);
  if (view === undefined) return -EFAULT;
  if (!isOwn(call, view.getUint16(0, true))) return -EPERM;
  view.setUint32(4, VERSION, true);
  return call.write(call.pointer(1), 4, 4) ? 0 : -EFAULT;
}

function querySize(call: HypercallContext): number {
  const { host } = call;
  const address = call.pointer(1);
  const view = call.read(address, 16);
  if (view === undefined) return -EFAULT;
  if (call.arg(2) !== 1) return -EFAULT;
  const own = isOwn(call, view.getUint16(0, true));
  view.setUint32(4, own ? Math.max(1, host.pcpu.memory.u32[table(host)]!) : 0, true);
  view.setUint32(8, own ? MAX_GRANT_FRAMES : 0, true);
  // GNTST_okay or GNTST_permission_denied.
  view.setInt16(12, own ? 0 : -8, true);
  return call.write(address, 16) ? 0 : -EFAULT;
}
