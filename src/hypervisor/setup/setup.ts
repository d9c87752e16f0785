/**
 * One thread's hypervisor over a machine's memory (Xen: arch/x86/setup.c, smpboot.c): dom0 and one HVM domain, their event
 * channels, ioreq servers and interrupt lines. The first thread's makes them, the next ones find them.
 */
import type { Logger } from '../../base/logger.ts';
import type { MachineClock } from '../time/clock.ts';
import { Domain } from '../domain/domain.ts';
import type { Pcpu, VcpuState } from '../domain/domain.ts';
import { EventChannels } from '../events/event-channel.ts';
import { IoHandlers } from '../io/intercept.ts';
import { IoreqServers } from '../io/ioreq.ts';
import type { HvmInterrupts, HvmIrq } from '../chips/irq.ts';
import type { Platform, PlatformParts } from '../chips/platform.ts';
import type { VlapicHost } from '../chips/vlapic.ts';
import type { MachineMemory } from '../mm/memory.ts';
import { UpcallNotifier } from '../sched/notify.ts';
import { P2m } from '../mm/p2m.ts';
import { PageAllocator } from '../mm/page-alloc.ts';
import { Runqueue } from '../sched/runstate.ts';
import { TimerQueue } from '../time/timer.ts';
import { TraceBuffer, TraceControl } from '../trace/trace.ts';

export interface HypervisorOptions<P extends HvmInterrupts> {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  /** Number of the physical CPU this thread is. */
  readonly pcpu: number;
  readonly log: Logger;
  /** Seed of the order in which frames are handed out; counts on the thread that comes first. */
  readonly seed?: number;
  readonly guest: { readonly domid: number; readonly name: string; readonly vcpus: number };
  /** Physical CPU of the guest's vCPU, where its timers are; default: this one. */
  readonly guestPcpu?: number;
  /** Makes the guest's chips inside the hypervisor. */
  readonly platform: (parts: PlatformParts) => P;
}

export class Hypervisor<P extends HvmInterrupts = Platform> {
  readonly pcpu: Pcpu;
  readonly control: TraceControl;
  readonly p2m: P2m;
  readonly dom0: Domain;
  readonly domain: Domain;
  readonly runqueue: Runqueue;
  readonly platform: P;
  readonly notifier: UpcallNotifier;
  readonly events: EventChannels;
  readonly servers: IoreqServers;
  readonly irq: HvmIrq;
  readonly handlers = new IoHandlers();
  readonly timers: TimerQueue;
  private readonly warned = new Set<string>();

  constructor(options: HypervisorOptions<P>) {
    const { memory, clock, pcpu: number, log, guest, guestPcpu = number } = options;
    const trace = new TraceBuffer(memory, number, clock);
    const pages = new PageAllocator(memory, options.seed);
    this.pcpu = { number, memory, pages, clock, trace, log };
    this.control = new TraceControl(memory);
    this.p2m = new P2m(memory, pages, guest.domid, guest.domid - 1, trace);
    this.dom0 = new Domain(this.pcpu, 0, 'Domain-0', 1);
    this.domain = new Domain(this.pcpu, guest.domid, guest.name, guest.vcpus, this.p2m);
    this.runqueue = new Runqueue(this.pcpu, [...this.dom0.vcpus, ...this.domain.vcpus]);
    this.timers = new TimerQueue(memory, guestPcpu, guestPcpu === number ? undefined : () => this.domain.vcpus[0]!.kick());
    this.platform = options.platform({
      memory,
      domid: guest.domid,
      clock,
      timers: this.timers,
      handlers: this.handlers,
      host: this.vlapicHost(),
    });
    this.irq = this.platform.irq;
    this.notifier = new UpcallNotifier(this.runqueue, new Map([[guest.domid, this.platform]]));
    this.events = new EventChannels(
      new Map([
        [0, this.dom0],
        [guest.domid, this.domain],
      ]),
      this.notifier,
    );
    this.servers = new IoreqServers(this.domain, 0, this.events);
  }

  /** What was warned of already, so that a restored machine does not say it again. */
  get warnings(): readonly string[] {
    return [...this.warned];
  }

  set warnings(texts: readonly string[]) {
    this.warned.clear();
    for (const text of texts) this.warned.add(text);
  }

  /** What a guest can bring about as often as it likes is said the first time. */
  protected warnOnce(what: string): void {
    if (this.warned.has(what)) return;
    this.warned.add(what);
    this.pcpu.log.warn(`d${this.domain.domid}: ${what}`);
  }

  private vlapicHost(): VlapicHost {
    const { runqueue, domain, pcpu } = this;
    const state = (vcpu: number): VcpuState => domain.vcpus[vcpu]!;
    return {
      kick: (vcpu) => runqueue.unblock(state(vcpu)),
      nmi: (vcpu) => {
        state(vcpu).nmiPending = true;
        runqueue.unblock(state(vcpu));
      },
      // With one vCPU an INIT or STARTUP can only be aimed at the sender, whom it does not stop here.
      init: () => this.warnOnce('INIT to its only vCPU ignored'),
      startup: () => this.warnOnce('STARTUP to its only vCPU ignored'),
      guestTsc: (vcpu) => Number(state(vcpu).guestTsc(pcpu.clock.tsc())),
    };
  }
}
