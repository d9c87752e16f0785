/**
 * Event channels (Xen: common/event_channel.c). The port tables of all domains lie in machine memory under one `event`
 * lock; sending takes no lock. Results below zero are negated error numbers.
 */
import { EEXIST, EINVAL, ENOENT, ENOSPC, EPERM, ESRCH } from '../../abi/errno.ts';
import { EVTCHN_2L_NR_CHANNELS } from '../../abi/event-channel.ts';
import { DOMID_SELF, VPF_BLOCKED_IN_XEN } from '../domain/domain.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import { clearPending2l, isPending2l, maxPorts2l, setPending2l, unmask2l } from './event-2l.ts';
import { Lock, LockOrder } from '../mm/lock.ts';

/** ECS_*. */
export const EvtchnState = { free: 0, reserved: 1, unbound: 2, interdomain: 3, pirq: 4, virq: 5, ipi: 6 } as const;
export type EvtchnState = (typeof EvtchnState)[keyof typeof EvtchnState];

export const VIRQ_TIMER = 0;
const VIRQ_DEBUG = 1;
/** NR_VIRQS. */
const NR_VIRQS = 24;
/** virq_is_global: everything but per-vCPU timer, debug, xenoprof and PMU. */
const virqIsGlobal = (virq: number): boolean => virq !== VIRQ_TIMER && virq !== VIRQ_DEBUG && virq !== 7 && virq !== 13;

/** A port: state 7:0, Xen is the consumer 8, notified vCPU 31:16; remote domain; remote port; virq. */
const ENTRY_WORDS = 4;
const W_STATE = 0;
const W_REMOTE_DOMID = 1;
const W_REMOTE_PORT = 2;
const W_VIRQ = 3;
const CONSUMER_IS_XEN = 0x100;

/** What event_channel_op status reports. */
export interface EvtchnStatus {
  readonly state: EvtchnState;
  readonly vcpu: number;
  readonly remoteDomid: number;
  readonly remotePort: number;
  readonly virq: number;
}

/** How a vCPU is told that its upcall is pending or that it may run on; the scheduler's part of this thread. */
export interface Notifier {
  /** Upcall of this vCPU is pending: interrupt it, wake it. */
  notify(domain: Domain, vcpu: VcpuState): void;
  /** It waits in the hypervisor for this event (VPF_blocked_in_xen) and may go on. */
  unblockInXen(domain: Domain, vcpu: VcpuState): void;
  /** It may wait in sched_op poll. */
  wakePoller(domain: Domain, vcpu: VcpuState): void;
}

export class EventChannels {
  private readonly domains: ReadonlyMap<number, Domain>;
  private readonly tables = new Map<number, number>();
  /** Per domain: port of each virq of each vCPU (virq_to_evtchn), 0: not bound. */
  private readonly virqs = new Map<number, number>();
  private readonly u32: Uint32Array;
  private readonly lock: Lock;
  private readonly notifier: Notifier;

  constructor(domains: ReadonlyMap<number, Domain>, notifier: Notifier) {
    const first = [...domains.values()][0];
    if (first === undefined) throw new Error('event channels need a domain');
    const { memory } = first.pcpu;
    this.domains = domains;
    this.notifier = notifier;
    this.u32 = memory.u32;
    this.lock = new Lock(memory, memory.xenheap('event_lock', 4), LockOrder.event, 'event');
    for (const [domid, domain] of domains) {
      this.virqs.set(domid, memory.xenheap(`virq.d${domid}`, domain.vcpus.length * NR_VIRQS * 4) >>> 2);
      this.tables.set(domid, memory.xenheap(`evtchn.d${domid}`, EVTCHN_2L_NR_CHANNELS * ENTRY_WORDS * 4) >>> 2);
    }
  }

  /** alloc_unbound: a port of `domain` that `remote` may bind; −ENOSPC when none is free. */
  allocUnbound(domain: Domain, remote: number): number {
    return this.lock.within(() => this.allocUnboundLocked(domain, remote, 0, false));
  }

  /** alloc_unbound_xen_event_channel: the guest's end is Xen itself, for this vCPU; the guest cannot touch it. */
  allocUnboundXen(domain: Domain, vcpu: number, remote: number): number {
    return this.lock.within(() => this.allocUnboundLocked(domain, remote, vcpu, true));
  }

  bindInterdomain(domain: Domain, remoteDomid: number, remotePort: number): number {
    const remote = this.resolve(domain, remoteDomid);
    if (remote === undefined) return -ESRCH;
    return this.lock.within(() => {
      const local = this.freePort(domain);
      if (local < 0) return local;
      const there = this.entry(remote, remotePort);
      if (there < 0 || this.state(there) !== EvtchnState.unbound || this.u32[there + W_REMOTE_DOMID] !== domain.domid)
        return -EINVAL;
      const here = this.entry(domain, local);
      this.fill(here, EvtchnState.interdomain, 0, false, remote.domid, remotePort, 0);
      this.u32[there + W_REMOTE_DOMID] = domain.domid;
      this.u32[there + W_REMOTE_PORT] = local;
      this.u32[there + W_STATE] = (this.u32[there + W_STATE]! & ~0xff) | EvtchnState.interdomain;
      // Notifications to the unbound port may have been lost.
      this.setPending(domain, here, local);
      return local;
    });
  }

  bindVirq(domain: Domain, virq: number, vcpu: number): number {
    if (!(virq >= 0 && virq < NR_VIRQS) || (virqIsGlobal(virq) && vcpu !== 0)) return -EINVAL;
    if (domain.vcpus[vcpu] === undefined) return -ENOENT;
    return this.lock.within(() => {
      if (this.virqPort(domain, virq, vcpu) !== 0) return -EEXIST;
      const port = this.freePort(domain);
      if (port > 0) {
        this.fill(this.entry(domain, port), EvtchnState.virq, vcpu, false, 0, 0, virq);
        this.u32[this.virqWord(domain, virq, vcpu)] = port;
      }
      return port;
    });
  }

  bindIpi(domain: Domain, vcpu: number): number {
    if (domain.vcpus[vcpu] === undefined) return -ENOENT;
    return this.lock.within(() => {
      const port = this.freePort(domain);
      if (port > 0) this.fill(this.entry(domain, port), EvtchnState.ipi, vcpu, false, 0, 0, 0);
      return port;
    });
  }

  /** `byGuest`: a port whose consumer is Xen is refused. */
  close(domain: Domain, port: number, byGuest: boolean): number {
    return this.lock.within(() => {
      const entry = this.entry(domain, port);
      if (entry < 0) return -EINVAL;
      const state = this.state(entry);
      if (state === EvtchnState.free || state === EvtchnState.reserved) return -EINVAL;
      if (byGuest && this.u32[entry]! & CONSUMER_IS_XEN) return -EINVAL;
      if (state === EvtchnState.interdomain) {
        const remote = this.domains.get(this.u32[entry + W_REMOTE_DOMID]!);
        const there = remote === undefined ? -1 : this.entry(remote, this.u32[entry + W_REMOTE_PORT]!);
        if (there >= 0) {
          this.u32[there + W_STATE] = (this.u32[there + W_STATE]! & ~0xff) | EvtchnState.unbound;
          this.u32[there + W_REMOTE_DOMID] = domain.domid;
          this.u32[there + W_REMOTE_PORT] = 0;
        }
      }
      if (state === EvtchnState.virq) {
        this.u32[this.virqWord(domain, this.u32[entry + W_VIRQ]!, this.u32[entry]! >>> 16)] = 0;
      }
      clearPending2l(domain, port);
      this.u32.fill(0, entry, entry + ENTRY_WORDS);
      return 0;
    });
  }

  /** event_channel_op send. `byGuest`: a port whose consumer is Xen is refused. */
  send(domain: Domain, port: number, byGuest = false): number {
    const entry = this.entry(domain, port);
    if (entry < 0) return -EINVAL;
    if (byGuest && this.u32[entry]! & CONSUMER_IS_XEN) return -EINVAL;
    const state = this.state(entry);
    if (state === EvtchnState.interdomain) {
      const remote = this.domains.get(this.u32[entry + W_REMOTE_DOMID]!);
      const remotePort = this.u32[entry + W_REMOTE_PORT]!;
      const there = remote === undefined ? -1 : this.entry(remote, remotePort);
      if (remote === undefined || there < 0) return -EINVAL;
      if (this.u32[there]! & CONSUMER_IS_XEN) {
        const vcpu = remote.vcpus[this.u32[there]! >>> 16];
        if (vcpu !== undefined && vcpu.hasPauseFlag(VPF_BLOCKED_IN_XEN)) this.notifier.unblockInXen(remote, vcpu);
      } else {
        this.setPending(remote, there, remotePort);
      }
      return 0;
    }
    if (state === EvtchnState.ipi) {
      this.setPending(domain, entry, port);
      return 0;
    }
    return state === EvtchnState.unbound ? 0 : -EINVAL;
  }

  /** notify_via_xen_event_channel: Xen sends on its end of a port. */
  notifyViaXen(domain: Domain, port: number): void {
    this.send(domain, port);
  }

  /** Deliver a virtual interrupt to a vCPU, if it has bound it. */
  sendVirq(domain: Domain, vcpu: number, virq: number): void {
    const port = this.virqPort(domain, virq, vcpu);
    if (port !== 0) this.setPending(domain, this.entry(domain, port), port);
  }

  status(domain: Domain, domid: number, port: number): EvtchnStatus | number {
    const target = this.resolve(domain, domid);
    if (target === undefined) return -ESRCH;
    if (target !== domain && domain.domid !== 0) return -EPERM;
    const entry = this.entry(target, port);
    if (entry < 0) return -EINVAL;
    return {
      state: this.state(entry),
      vcpu: this.u32[entry]! >>> 16,
      remoteDomid: this.u32[entry + W_REMOTE_DOMID]!,
      remotePort: this.u32[entry + W_REMOTE_PORT]!,
      virq: this.u32[entry + W_VIRQ]!,
    };
  }

  bindVcpu(domain: Domain, port: number, vcpu: number): number {
    if (domain.vcpus[vcpu] === undefined) return -ENOENT;
    return this.lock.within(() => {
      const entry = this.entry(domain, port);
      if (entry < 0 || this.u32[entry]! & CONSUMER_IS_XEN) return -EINVAL;
      const state = this.state(entry);
      const global = state === EvtchnState.virq && virqIsGlobal(this.u32[entry + W_VIRQ]!);
      if (!global && state !== EvtchnState.unbound && state !== EvtchnState.interdomain && state !== EvtchnState.pirq)
        return -EINVAL;
      this.u32[entry] = (this.u32[entry]! & 0xffff) | (vcpu << 16);
      return 0;
    });
  }

  unmask(domain: Domain, port: number): number {
    const entry = this.entry(domain, port);
    if (entry < 0 || this.state(entry) === EvtchnState.free) return -EINVAL;
    const vcpu = domain.vcpus[this.u32[entry]! >>> 16]!;
    if (unmask2l(domain, vcpu, port)) this.notifier.notify(domain, vcpu);
    return 0;
  }

  /** Close every port the guest can close (event_channel_op reset). */
  reset(domain: Domain): void {
    for (let port = 1; port < EVTCHN_2L_NR_CHANNELS; port++) this.close(domain, port, true);
  }

  isPending(domain: Domain, port: number): boolean {
    return isPending2l(domain, port);
  }

  /** True for a port that exists and is in use. */
  isValid(domain: Domain, port: number): boolean {
    const entry = this.entry(domain, port);
    return entry >= 0 && this.state(entry) !== EvtchnState.free;
  }

  /** The port's other end: domain and port, for logs. */
  remote(domain: Domain, port: number): { domid: number; port: number } | undefined {
    const entry = this.entry(domain, port);
    if (entry < 0 || this.state(entry) !== EvtchnState.interdomain) return undefined;
    return { domid: this.u32[entry + W_REMOTE_DOMID]!, port: this.u32[entry + W_REMOTE_PORT]! };
  }

  /** A domain of these ports. */
  domainOf(domid: number): Domain | undefined {
    return this.domains.get(domid);
  }

  private allocUnboundLocked(domain: Domain, remote: number, vcpu: number, consumerIsXen: boolean): number {
    const port = this.freePort(domain);
    if (port < 0) return port;
    const remoteDomid = remote === DOMID_SELF ? domain.domid : remote;
    this.fill(this.entry(domain, port), EvtchnState.unbound, vcpu, consumerIsXen, remoteDomid, 0, 0);
    return port;
  }

  private setPending(domain: Domain, entry: number, port: number): void {
    const vcpu = domain.vcpus[this.u32[entry]! >>> 16];
    if (vcpu === undefined) return;
    if (setPending2l(domain, vcpu, port)) this.notifier.notify(domain, vcpu);
    for (const poller of domain.vcpus) {
      const { poll } = poller;
      if (poll !== 0 && (poll === -1 || poll === port)) this.notifier.wakePoller(domain, poller);
    }
  }

  /** A free port; port 0 is reserved. */
  private freePort(domain: Domain): number {
    const most = maxPorts2l(domain);
    for (let port = 1; port < most; port++) {
      if (this.state(this.entry(domain, port)) === EvtchnState.free) return port;
    }
    return -ENOSPC;
  }

  private virqPort(domain: Domain, virq: number, vcpu: number): number {
    return this.u32[this.virqWord(domain, virq, vcpu)]!;
  }

  private virqWord(domain: Domain, virq: number, vcpu: number): number {
    return this.virqs.get(domain.domid)! + (virqIsGlobal(virq) ? 0 : vcpu) * NR_VIRQS + virq;
  }

  private fill(
    entry: number,
    state: EvtchnState,
    vcpu: number,
    xen: boolean,
    remoteDomid: number,
    remotePort: number,
    virq: number,
  ): void {
    this.u32[entry + W_REMOTE_DOMID] = remoteDomid;
    this.u32[entry + W_REMOTE_PORT] = remotePort;
    this.u32[entry + W_VIRQ] = virq;
    this.u32[entry + W_STATE] = state | (xen ? CONSUMER_IS_XEN : 0) | (vcpu << 16);
  }

  private state(entry: number): EvtchnState {
    return (this.u32[entry]! & 0xff) as EvtchnState;
  }

  /** Index of the port's entry, −1 when the port cannot exist. */
  private entry(domain: Domain, port: number): number {
    if (!(port >= 1 && port < EVTCHN_2L_NR_CHANNELS)) return -1;
    return this.tables.get(domain.domid)! + port * ENTRY_WORDS;
  }

  private resolve(domain: Domain, domid: number): Domain | undefined {
    return domid === DOMID_SELF ? domain : this.domains.get(domid);
  }
}
