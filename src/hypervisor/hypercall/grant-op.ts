/** grant_table_op (hypercall 20): query_size and the frames of the table itself; nothing is granted to anybody here. */
import { EFAULT, ENOSYS } from '../../abi/errno.ts';
import type { Mfn } from '../../base/address.ts';
import { mfn } from '../../base/address.ts';
import { DOMID_SELF } from '../domain.ts';
import type { HypercallContext, HypercallHost } from './context.ts';

const GNTTABOP_QUERY_SIZE = 6;
/** Most frames of a grant table (Xen's default gnttab_max_frames). */
const MAX_GRANT_FRAMES = 64;

/** Word 0: frames in use; then their frame numbers. */
const table = (host: HypercallHost): number => host.pcpu.memory.xenheap(`grant_table.d${host.domain.domid}`, (1 + MAX_GRANT_FRAMES) * 4) >>> 2;

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
  if (call.arg(0) !== GNTTABOP_QUERY_SIZE) return -ENOSYS;
  const { host } = call;
  const address = call.pointer(1);
  const view = call.read(address, 16);
  if (view === undefined) return -EFAULT;
  if (call.arg(2) !== 1) return -EFAULT;
  const domid = view.getUint16(0, true);
  const own = domid === DOMID_SELF || domid === host.domain.domid;
  view.setUint32(4, own ? Math.max(1, host.pcpu.memory.u32[table(host)]!) : 0, true);
  view.setUint32(8, own ? MAX_GRANT_FRAMES : 0, true);
  // GNTST_okay or GNTST_permission_denied.
  view.setInt16(12, own ? 0 : -8, true);
  return call.write(address, 16) ? 0 : -EFAULT;
}

