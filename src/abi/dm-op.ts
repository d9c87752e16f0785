/**
 * What a device model may ask of the hypervisor: the dm_op calls (public/hvm/dm_op.h, hypercall 41), foreign
 * mapping (XENMEM) and event channels, as plain functions. `machine` injects an implementation; the device
 * model has no other way to the hypervisor. All run on the caller's thread, as a hypercall does on a pCPU.
 * Results below zero are negated Xen error numbers (abi/errno.ts).
 */
import type { Gfn, Maddr } from '../base/address.ts';

export const IoRangeType = { port: 0, memory: 1, pci: 2 } as const;
export type IoRangeType = (typeof IoRangeType)[keyof typeof IoRangeType];

export interface IoreqServerInfo {
  /** Machine address of the synchronous ioreq page (XENMEM_acquire_resource frame 1). */
  readonly ioreqPage: Maddr;
  /** Machine address of the buffered ioreq page (frame 0). */
  readonly bufioreqPage: Maddr;
  /** The device model's local port for the buffered page. */
  readonly bufioreqPort: number;
}

export interface DeviceModelHypercalls {
  createIoreqServer(handleBufioreq: number): number;
  getIoreqServerInfo(id: number): IoreqServerInfo;
  /** Ranges are inclusive at both ends. For type pci, start = end = SBDF. */
  mapIoRange(id: number, type: IoRangeType, start: number, end: number): number;
  unmapIoRange(id: number, type: IoRangeType, start: number, end: number): number;
  setIoreqServerState(id: number, enabled: boolean): number;
  destroyIoreqServer(id: number): number;
  setPciIntxLevel(segment: number, bus: number, device: number, intx: number, level: 0 | 1): number;
  setIsaIrqLevel(isaIrq: number, level: 0 | 1): number;
  setPciLinkRoute(link: number, isaIrq: number): number;
  modifiedMemory(first: Gfn, count: number): number;
  /** reason as in sched_op shutdown: 0 poweroff, 1 reboot, 3 crash. */
  remoteShutdown(reason: number): number;
  nrVcpus(): number;
  /**
   * Map `count` guest frames from `first`; out[i] gets the machine address of frame first+i, or -1 where the
   * guest has no RAM there. Takes a reference on every frame mapped; foreignUnmap gives it back.
   */
  foreignMap(first: Gfn, count: number, out: Int32Array): number;
  foreignUnmap(first: Gfn, count: number, mapped: Int32Array): number;
  /** Bind the server's per-vCPU port: gives the device model's local port for that vCPU's vp_eport. */
  bindInterdomain(remotePort: number): number;
  evtchnSend(localPort: number): number;
  evtchnUnmask(localPort: number): number;
  /** Machine address of the device model domain's shared_info page (2-level event channels, abi/event-channel.ts). */
  readonly sharedInfo: Maddr;
  /** Machine address of the futex word (i32) on which the device model sleeps; every notification ends here. */
  readonly futex: Maddr;
}
