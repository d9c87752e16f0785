/** memory_op (hypercall 12). Structures: public/memory.h. */
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../../abi/errno.ts';
import type { Gfn, Mfn } from '../../base/address.ts';
import { INVALID_MFN } from '../../base/address.ts';
import { DOMID_SELF } from '../domain/domain.ts';
import { P2mType, p2mIsRam } from '../mm/p2m.ts';
import { updateDomainWallclock, updateVcpuSystemTime } from '../domain/time.ts';
import { offsetBy } from './context.ts';
import type { HypercallContext } from './context.ts';
import { grantFrame } from './grant-op.ts';
import { latchSharedInfoSize } from './hvm-op.ts';

const XENMEM = {
  increaseReservation: 0,
  decreaseReservation: 1,
  maximumRamPage: 2,
  currentReservation: 3,
  maximumReservation: 4,
  populatePhysmap: 6,
  addToPhysmap: 7,
  memoryMap: 9,
  maximumGpfn: 14,
  removeFromPhysmap: 15,
} as const;
const XENMAPSPACE = { sharedInfo: 0, grantTable: 1 } as const;
/** Frames handled before the call is made again for the rest: nobody else runs meanwhile. */
const MOST_FRAMES = 1024;

/** A continuation has room for so many (Xen: nr_extents of more than UINT_MAX >> MEMOP_EXTENT_SHIFT is refused). */
const MAX_EXTENTS = 0xffff_ffff >>> 6;
/** The operation is in the low 6 bits; the rest is where a continuation goes on, which a guest may also set. */
const MEMOP_EXTENT_SHIFT = 6;

export function memoryOp(call: HypercallContext): number {
  const { host } = call;
  const cmd = call.arg(0);
  const op = cmd & ((1 << MEMOP_EXTENT_SHIFT) - 1);
  const start = cmd >>> MEMOP_EXTENT_SHIFT;
  switch (op) {
    case XENMEM.increaseReservation:
    case XENMEM.decreaseReservation:
    case XENMEM.populatePhysmap:
      return reservation(call, op, start);
    case XENMEM.maximumRamPage:
      return host.pcpu.memory.layout.firstFrame + host.pcpu.memory.layout.frameCount - 1;
    case XENMEM.currentReservation:
    case XENMEM.maximumReservation:
    case XENMEM.maximumGpfn:
      return query(call, op);
    case XENMEM.addToPhysmap:
      return addToPhysmap(call);
    case XENMEM.removeFromPhysmap:
      return removeFromPhysmap(call);
    case XENMEM.memoryMap:
      return memoryMap(call);
    default:
      return -ENOSYS;
  }
}

const isSelf = (call: HypercallContext, domid: number): boolean => domid === DOMID_SELF || domid === call.host.domain.domid;

function query(call: HypercallContext, op: number): number {
  const { host } = call;
  const view = call.read(call.pointer(1), 2);
  if (view === undefined) return -EFAULT;
  if (!isSelf(call, view.getUint16(0, true))) return -EPERM;
  let pages = 0;
  let highest = 0;
  for (let gfn = 0; gfn < host.p2m.maxGfn; gfn++) {
    if (host.p2m.getMfn(gfn as Gfn) === INVALID_MFN) continue;
    pages++;
    highest = gfn;
  }
  if (op === XENMEM.maximumGpfn) return highest;
  return op === XENMEM.maximumReservation ? Math.max(pages, host.domain.maxPages) : pages;
}

/** Reservations. Returns how many extents were done. */
function reservation(call: HypercallContext, op: number, start: number): number {
  const { host } = call;
  const view = call.read(call.pointer(1), call.compat ? 20 : 32);
  if (view === undefined) return start;
  const extents = call.handle(view, 0, 0);
  const count = call.ulong(view, 8, 4);
  const order = view.getUint32(call.compat ? 8 : 16, true);
  const domid = view.getUint16(call.compat ? 16 : 24, true);
  if (!isSelf(call, domid)) return start;
  // A guest without devices of its own may take and give single frames only up to 2 MiB extents.
  if (order > 9) return start;
  if (op === XENMEM.increaseReservation) return -ENOSYS;
  if (count > MAX_EXTENTS || start >= count) return start;
  let done = start;
  let gaveBack = false;
  for (; done < count; done++) {
    if ((done - start) << order >= MOST_FRAMES) {
      call.setArg(0, (op | (done << MEMOP_EXTENT_SHIFT)) >>> 0, 0);
      call.continued = 1;
      break;
    }
    const entry = call.read(offsetBy(extents, done * call.longSize), call.longSize);
    if (entry === undefined) break;
    const first = call.ulong(entry, 0, 0);
    if (op === XENMEM.populatePhysmap) {
      if (!populate(call, first, 1 << order)) break;
      continue;
    }
    let removed = 0;
    while (removed < 1 << order && host.p2m.decreaseReservation((first + removed) as Gfn)) removed++;
    if (removed > 0) gaveBack = true;
    if (removed < 1 << order) break;
  }
  if (gaveBack) host.mapcacheInvalidate();
  return done;
}

function populate(call: HypercallContext, first: number, count: number): boolean {
  const { host } = call;
  const { maxPages } = host.domain;
  for (let i = 0; i < count; i++) {
    if (host.p2m.getMfn((first + i) as Gfn) !== INVALID_MFN) return false;
  }
  if (maxPages !== 0 && host.pcpu.pages.freeFrames < count) return false;
  return host.p2m.populate(first as Gfn, count) === count;
}

/** XENMEM_add_to_physmap: shared_info or a grant-table frame appears at a guest frame; what was there goes. */
function addToPhysmap(call: HypercallContext): number {
  const { host } = call;
  const { domain, p2m } = host;
  const view = call.read(call.pointer(1), call.compat ? 16 : 24);
  if (view === undefined) return -EFAULT;
  const domid = view.getUint16(0, true);
  const space = view.getUint32(4, true);
  const index = call.ulong(view, 8, 8);
  const gpfn = call.ulong(view, 16, 12);
  if (!isSelf(call, domid)) return -EPERM;
  if (gpfn >= p2m.maxGfn) return -EINVAL;
  let frame: Mfn | undefined;
  if (space === XENMAPSPACE.sharedInfo && index === 0) {
    frame = domain.sharedInfoMfn;
    latchSharedInfoSize(call);
    if (domain.sharedInfoGfn >= 0 && p2m.getMfn(domain.sharedInfoGfn as Gfn) === frame) unmap(call, domain.sharedInfoGfn as Gfn);
  } else if (space === XENMAPSPACE.grantTable) {
    frame = grantFrame(host, index);
  }
  if (frame === undefined) return -EINVAL;
  unmap(call, gpfn as Gfn);
  p2m.setEntry(gpfn as Gfn, frame, P2mType.ramRw);
  if (space === XENMAPSPACE.sharedInfo) {
    domain.sharedInfoGfn = gpfn;
    for (const vcpu of domain.vcpus) updateVcpuSystemTime(domain, vcpu);
    updateDomainWallclock(domain);
  }
  return 0;
}

/** Take what is at a guest frame away: ordinary memory is freed, Xen's own pages are only unhooked. */
function unmap(call: HypercallContext, gfn: Gfn): void {
  const { p2m } = call.host;
  if (p2m.getMfn(gfn) === INVALID_MFN) return;
  if (p2mIsRam(p2m.getType(gfn)) && p2m.decreaseReservation(gfn)) {
    call.host.mapcacheInvalidate();
    return;
  }
  p2m.setEntry(gfn, INVALID_MFN, P2mType.invalid);
}

function removeFromPhysmap(call: HypercallContext): number {
  const { host } = call;
  const view = call.read(call.pointer(1), call.compat ? 8 : 16);
  if (view === undefined) return -EFAULT;
  if (!isSelf(call, view.getUint16(0, true))) return -EPERM;
  const gfn = call.ulong(view, 8, 4) as Gfn;
  if (host.p2m.getMfn(gfn) === INVALID_MFN) return -EINVAL;
  unmap(call, gfn);
  return 0;
}

/** XENMEM_memory_map: the e820 the domain builder made. */
function memoryMap(call: HypercallContext): number {
  const { host } = call;
  const address = call.pointer(1);
  const view = call.read(address, call.compat ? 8 : 16);
  if (view === undefined) return -EFAULT;
  const room = view.getUint32(0, true);
  const buffer = call.handle(view, 8, 4);
  const map = host.memoryMap;
  if (map.length === 0) return -ENOSYS;
  const told = map.slice(0, room);
  const bytes = new Uint8Array(told.length * 20);
  const out = new DataView(bytes.buffer);
  told.forEach((entry, i) => {
    out.setBigUint64(i * 20, BigInt(entry.address), true);
    out.setBigUint64(i * 20 + 8, BigInt(entry.size), true);
    out.setUint32(i * 20 + 16, entry.type, true);
  });
  if (!call.writeBytes(buffer, bytes)) return -EFAULT;
  view.setUint32(0, told.length, true);
  return call.write(address, 4) ? 0 : -EFAULT;
}
