/**
 * The paravirtual console of a PVH guest (public/io/console.h): a page with two rings and an event channel to dom0. This is
 * xenconsoled's part, on the thread of the guest's vCPU: what the guest wrote is handed on while it notifies.
 */
import { gfn, gfnToGpa } from '../../base/address.ts';
import type { Domain } from '../domain/domain.ts';
import { HvmParam, SpecialPage, specialPfn } from '../domain/hvm-params.ts';
import type { P2m } from '../mm/p2m.ts';
import type { EventChannels } from './event-channel.ts';

/** struct xencons_interface: bytes to the guest, bytes from it, and four indices that run free. */
export const XenconsInterface = { in: 0, out: 1024, inCons: 3072, inProd: 3076, outCons: 3080, outProd: 3084 } as const;
export const OUT_SIZE = 2048;

/** What the console works on. */
interface PvConsoleParts {
  readonly domain: Domain;
  readonly events: EventChannels;
  readonly p2m: Pick<P2m, 'ramAddress'>;
  write(bytes: Uint8Array): void;
}

/** Gives a guest its console: the page and the port stand in its HVM parameters. The page must be there. */
export function connectPvConsole({ domain, events }: Pick<PvConsoleParts, 'domain' | 'events'>, dom0: Domain): void {
  // The toolstack's work. dom0's end has no vCPU to wake: the console below is called instead.
  const far = events.allocUnboundXen(dom0, 0, domain.domid);
  const port = events.bindInterdomain(domain, dom0.domid, far);
  if (far < 0 || port < 0) throw new Error('a new domain has no free event channel');
  domain.setParam(HvmParam.consolePfn, specialPfn(SpecialPage.console), 0);
  domain.setParam(HvmParam.consoleEvtchn, port, 0);
}

export class PvConsole {
  private readonly parts: PvConsoleParts;

  constructor(parts: PvConsoleParts) {
    this.parts = parts;
  }

  /** The guest has sent on one of its ports. If it is the console's, hands on what lies in the ring, and tells the guest that there is room. */
  notified(port: number): void {
    const { domain, events } = this.parts;
    if (port === 0 || port !== domain.paramLo(HvmParam.consoleEvtchn)) return;
    const far = events.remote(domain, port);
    if (far?.domid !== 0) return;
    if (!this.drain()) return;
    const dom0 = events.domainOf(far.domid);
    if (dom0 !== undefined) events.notifyViaXen(dom0, far.port);
  }

  /** @returns whether anything was there. Indices of nonsense are left alone, as xenconsoled leaves them. */
  private drain(): boolean {
    const { domain, p2m, write } = this.parts;
    const pfn = domain.paramLo(HvmParam.consolePfn);
    // The guest may have given the page back.
    const at = pfn === 0 ? -1 : p2m.ramAddress(gfnToGpa(gfn(pfn)));
    if (at < 0) return false;
    const { u8, i32 } = domain.pcpu.memory;
    // Each once: another thread of the guest may write meanwhile.
    const cons = Atomics.load(i32, (at + XenconsInterface.outCons) >>> 2) >>> 0;
    const prod = Atomics.load(i32, (at + XenconsInterface.outProd) >>> 2) >>> 0;
    const size = (prod - cons) >>> 0;
    if (size === 0 || size > OUT_SIZE) return false;
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = u8[at + XenconsInterface.out + ((cons + i) & (OUT_SIZE - 1))]!;
    Atomics.store(i32, (at + XenconsInterface.outCons) >>> 2, prod | 0);
    write(bytes);
    return true;
  }
}
