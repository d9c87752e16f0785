/**
 * dm_op (Xen: arch/x86/hvm/dm.c) and what else a device model may call, as plain functions on the device model's own thread.
 */
import type { DeviceModelHypercalls, IoRangeType, IoreqServerInfo } from '../../abi/dm-op.ts';
import { EINVAL, ENOENT } from '../../abi/errno.ts';
import type { Gfn, Maddr } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import type { Domain } from '../domain/domain.ts';
import type { EventChannels } from '../events/event-channel.ts';
import type { IoreqServers } from '../io/ioreq.ts';
import type { HvmIrq } from '../chips/irq.ts';
import type { P2m } from '../mm/p2m.ts';
import { PGC_CODE } from '../mm/page-alloc.ts';
import type { Shootdown } from '../mm/shootdown.ts';

export interface DeviceModelHost {
  /** dom0. */
  readonly self: Domain;
  /** The guest it serves, with its p2m. */
  readonly target: Domain;
  readonly p2m: P2m;
  readonly events: EventChannels;
  readonly servers: IoreqServers;
  readonly irq: HvmIrq;
  readonly shootdown: Shootdown;
}

/** The calls of one device model, bound to the domain it serves. */
export function deviceModelHypercalls(host: DeviceModelHost): DeviceModelHypercalls {
  const { self, target, p2m, events, servers, irq, shootdown } = host;
  const { memory } = self.pcpu;
  const bufioreqPorts = new Map<number, number>();

  const getIoreqServerInfo = (id: number): IoreqServerInfo => {
    const info = servers.info(id);
    if (typeof info === 'number') throw new UserError(`ioreq server ${id} does not exist (error ${info})`);
    let port = bufioreqPorts.get(id);
    if (port === undefined) {
      port = info.bufioreqPort === 0 ? 0 : events.bindInterdomain(self, target.domid, info.bufioreqPort);
      bufioreqPorts.set(id, port);
    }
    return { ioreqPage: info.ioreqPage, bufioreqPage: info.bufioreqPage, bufioreqPort: port };
  };

  /** The guest's frames first … first+count−1 were written by DMA. */
  const modifiedMemory = (first: Gfn, count: number): number => {
    if (!(first >= 0 && count >= 0)) return -EINVAL;
    const end = Math.min(first + count, p2m.maxGfn);
    for (let gfn = first as number; gfn < end; gfn++) {
      const frame = p2m.getMfn(gfn as Gfn);
      if (!memory.isRamFrame(frame)) continue;
      p2m.markDirty(gfn as Gfn);
      if (Atomics.load(memory.i32, memory.frameEntry(frame) >>> 2) & PGC_CODE) shootdown.invalidateCode(frame);
    }
    return 0;
  };

  return {
    createIoreqServer: (handleBufioreq) => servers.create(handleBufioreq),
    getIoreqServerInfo,
    mapIoRange: (id: number, type: IoRangeType, start: number, end: number) => servers.mapIoRange(id, type, start, end),
    unmapIoRange: (id: number, type: IoRangeType, start: number, end: number) => servers.unmapIoRange(id, type, start, end),
    setIoreqServerState: (id, enabled) => servers.setState(id, enabled),
    destroyIoreqServer: (id) => {
      bufioreqPorts.delete(id);
      return servers.destroy(id);
    },
    setPciIntxLevel: (segment, bus, device, intx, level) => {
      if (segment !== 0 || bus !== 0 || !(device >= 0 && device <= 31) || !(intx >= 0 && intx <= 3)) return -EINVAL;
      irq.setPciIntxLevel(device, intx, level === 1);
      return 0;
    },
    setIsaIrqLevel: (isaIrq, level) => {
      if (!(isaIrq >= 0 && isaIrq <= 15)) return -EINVAL;
      irq.setIsaIrqLevel(isaIrq, level === 1);
      return 0;
    },
    setPciLinkRoute: (link, isaIrq) => irq.setPciLinkRoute(link, isaIrq),
    modifiedMemory,
    remoteShutdown: (reason) => {
      target.shutdown(reason);
      return 0;
    },
    nrVcpus: () => target.vcpus.length,
    foreignMap: (first, count, out) => {
      if (!(first >= 0) || count > out.length) return -EINVAL;
      p2m.foreignMap(first, count, out);
      return 0;
    },
    foreignUnmap: (_first, count, mapped) => {
      if (count > mapped.length) return -EINVAL;
      p2m.foreignUnmap(count, mapped);
      return 0;
    },
    bindInterdomain: (remotePort) => events.bindInterdomain(self, target.domid, remotePort),
    evtchnSend: (localPort) => events.send(self, localPort),
    evtchnUnmask: (localPort) => (events.isValid(self, localPort) ? events.unmask(self, localPort) : -ENOENT),
    sharedInfo: self.sharedInfo,
    futex: self.vcpus[0]?.futex ?? (0 as Maddr),
  };
}
