/**
 * The ioreq server: takes requests from the synchronous page (one slot a vCPU) and from the buffered ring, and
 * answers them. Both pages are shared with the hypervisor and, seen from here, hostile: each request is copied
 * once, states may only rise, the ring's length is bounded, and what no hypervisor writes ends the guest, not us.
 * Source: xen/include/public/hvm/ioreq.h; QEMU hw/i386/xen/xen-hvm.c for the order of steps.
 */
import { ioreqServerSlot, xenIoreqServerCreate, xenIoreqServerDestroy, xenIoreqServerState } from '../abi/dm-log-lines.ts';
import {
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_SLOT_NUM,
  BUFIOREQ_WRITE_POINTER,
  BufioreqHandling,
  IOREQ_READ,
  IOREQ_VP_EPORT,
  IOREQS_PER_PAGE,
  IoreqState,
  ioreqState,
  IoreqType,
  readBuffered,
  readSlot,
  slotAt,
  stateAt,
  withState,
  writeData,
} from '../abi/ioreq.ts';
import type { DeviceModelHypercalls } from '../abi/dm-op.ts';
import { ShutdownReason } from '../abi/sched.ts';
import { PAGE_SIZE } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { Listeners } from '../base/listeners.ts';
import type { Snapshot } from '../base/snapshot.ts';
import type { Logger } from '../base/logger.ts';
import type { DeviceTimer } from '../devices/interfaces.ts';
import { cost } from './costs.ts';
import type { EventChannels } from './event-channels.ts';
import { type IoreqDispatch, newServedIoreq, type ServedIoreq } from './ioreq.ts';
import type { DmLog } from './log.ts';
import type { TimerList } from './timers.ts';

/** How long the buffered port stays masked after a ring with something in it: it is polled instead. */
const BUFFERED_POLL_NS = 100_000_000;
/** Tries to read a pair of ring pointers that the hypervisor is rewriting. */
const POINTER_TRIES = 8;

interface IoreqServerOptions {
  readonly memory: ArrayBufferLike;
  readonly hypercalls: DeviceModelHypercalls;
  readonly dispatch: IoreqDispatch;
  readonly events: EventChannels;
  readonly timers: TimerList;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log?: DmLog | undefined;
}

interface IoreqCounters {
  synchronous: number;
  buffered: number;
}

/** What the server knows beside its pages. No request is in service between two turns of the device model. */
export interface IoreqServerState {
  readonly id: number;
  /** Local ports: the buffered page's, and each vCPU's. */
  readonly bufferedPort: number;
  readonly ports: Float64Array;
  readonly slot: number;
  readonly synchronous: number;
  readonly buffered: number;
  readonly stopped: boolean;
}

export class IoreqServer implements Snapshot<IoreqServerState> {
  readonly kind = 'ioreq server';
  readonly version = 1;
  readonly id: number;
  readonly counters: IoreqCounters = { synchronous: 0, buffered: 0 };
  /** A request was served; its object is used again for the next one. */
  readonly served = new Listeners<ServedIoreq>();
  /** The request in service, or the last one. */
  readonly current: ServedIoreq = newServedIoreq();
  private readonly o: IoreqServerOptions;
  private readonly words: Int32Array;
  private readonly page: number;
  private readonly ring: number;
  private readonly bufferedPort: number;
  /** Local port by vCPU. */
  private readonly ports: number[] = [];
  private readonly pollTimer: DeviceTimer;
  private readonly buffered: ServedIoreq = newServedIoreq();
  /** Ring slot to read next; the guest's read pointer must agree modulo the ring's size. */
  private slot = 0;
  private requestInService = false;
  private hasStopped = false;

  /** Creates the server with the hypervisor; it serves after start(). */
  constructor(options: IoreqServerOptions) {
    this.o = options;
    const { hypercalls, log } = options;
    this.words = new Int32Array(options.memory);
    this.id = succeeded(hypercalls.createIoreqServer(BufioreqHandling.atomic), 'create an ioreq server');
    log?.put(xenIoreqServerCreate, { id: this.id });
    const info = hypercalls.getIoreqServerInfo(this.id);
    this.page = info.ioreqPage;
    this.ring = info.bufioreqPage;
    this.bufferedPort = info.bufioreqPort;
    this.pollTimer = options.timers.newTimer(() => this.pollBuffered());
  }

  /** Enable the server and bind a port for each vCPU: from here on requests come. */
  start(): void {
    const { hypercalls, events, log } = this.o;
    log?.put(xenIoreqServerState, { id: this.id, enable: 1 });
    succeeded(hypercalls.setIoreqServerState(this.id, true), 'enable the ioreq server');
    const count = Math.min(succeeded(hypercalls.nrVcpus(), 'ask for the number of vCPUs'), IOREQS_PER_PAGE);
    for (let vcpu = 0; vcpu < count; vcpu++) {
      const remote = Atomics.load(this.words, slotAt(this.page, vcpu) + IOREQ_VP_EPORT / 4) >>> 0;
      const port = succeeded(hypercalls.bindInterdomain(remote), `bind the port of vCPU ${vcpu}`);
      this.ports.push(port);
      if (log?.traces) log.put(ioreqServerSlot, { server: this.id, vcpu, slot: vcpu, mfn: this.page / PAGE_SIZE, port });
      events.bind(port, () => {
        this.serve(vcpu);
        return true;
      });
    }
    events.bind(this.bufferedPort, () => this.bufferedEvent());
  }

  stop(): void {
    const { hypercalls, log } = this.o;
    this.hasStopped = true;
    this.pollTimer.cancel();
    hypercalls.setIoreqServerState(this.id, false);
    log?.put(xenIoreqServerDestroy, { id: this.id });
    hypercalls.destroyIoreqServer(this.id);
  }

  /** Is a synchronous request being served? */
  get inService(): boolean {
    return this.requestInService;
  }

  /** Guest gone wrong: no request is served any more. */
  get stopped(): boolean {
    return this.hasStopped;
  }

  save(): IoreqServerState {
    return {
      id: this.id,
      bufferedPort: this.bufferedPort,
      ports: Float64Array.from(this.ports),
      slot: this.slot,
      synchronous: this.counters.synchronous,
      buffered: this.counters.buffered,
      stopped: this.hasStopped,
    };
  }

  /** Number and ports are given when the server is made: a restored machine's hypercalls answer with those of the state. */
  restore({ slot, synchronous, buffered, stopped }: IoreqServerState): void {
    this.slot = slot % BUFIOREQ_SLOT_NUM;
    Object.assign(this.counters, { synchronous, buffered });
    this.hasStopped = stopped;
  }

  /** Ring slot that is read next. */
  get ringSlot(): number {
    return this.slot;
  }

  /** Serve the slot of this vCPU if it holds a request. */
  private serve(vcpu: number): void {
    if (this.hasStopped) return;
    const { clock, dispatch } = this.o;
    const words = this.words;
    const slot = slotAt(this.page, vcpu);
    const at = stateAt(slot);

    // State, flags and type are one word: one atomic step takes the request and says that it is in service.
    const word = Atomics.load(words, at);
    if (ioreqState(word) !== IoreqState.ready) return;
    const inProcess = withState(word, IoreqState.inProcess);
    if (Atomics.compareExchange(words, at, word, inProcess) !== word) {
      this.endGuest(`ioreq slot ${vcpu} changed while it was taken`);
      return;
    }
    clock.charge(cost.takeRequest);
    // The one look at the page: what it holds from here on does not matter.
    const r = this.current;
    readSlot(words, slot, word, r);
    r.vcpu = vcpu;
    this.counters.synchronous++;
    r.serial = this.counters.synchronous;

    // Buffered writes were made before this access and must be seen before it.
    this.drain();
    if (this.hasStopped) return;
    this.requestInService = true;
    const wrong = dispatch.handle(r);
    this.requestInService = false;
    if (wrong !== undefined) {
      this.endGuest(`ioreq of vCPU ${vcpu}: ${wrong}`);
      return;
    }
    this.served.call(r);
    writeData(words, slot, r);
    clock.charge(cost.finishRequest);
    const ready = withState(word, IoreqState.respReady);
    if (Atomics.compareExchange(words, at, inProcess, ready) !== inProcess) {
      this.endGuest(`ioreq slot ${vcpu} changed while it was in service`);
      return;
    }
    this.o.hypercalls.evtchnSend(this.ports[vcpu]!);
  }

  /** The buffered page's event: with something in the ring, poll for a while instead of taking an event each time. */
  private bufferedEvent(): boolean {
    if (this.drain() === 0) return true;
    this.pollTimer.arm(this.o.clock.nowNs() + BUFFERED_POLL_NS);
    return false;
  }

  private pollBuffered(): void {
    if (this.bufferedEvent()) this.o.events.unmask(this.bufferedPort);
  }

  /** Serve what the buffered ring holds now; gives the number of requests. */
  private drain(): number {
    if (this.hasStopped) return 0;
    const words = this.words;
    const readAt = (this.ring + BUFIOREQ_READ_POINTER) >>> 2;
    const writeAt = (this.ring + BUFIOREQ_WRITE_POINTER) >>> 2;
    // The hypervisor now and then lowers both pointers by the same multiple of the ring's size: take a pair that belongs together.
    let read = Atomics.load(words, readAt) >>> 0;
    let write = Atomics.load(words, writeAt) >>> 0;
    for (let tries = 1; Atomics.load(words, readAt) >>> 0 !== read; tries++) {
      if (tries === POINTER_TRIES) return 0;
      read = Atomics.load(words, readAt) >>> 0;
      write = Atomics.load(words, writeAt) >>> 0;
    }
    let left = (write - read) >>> 0;
    if (left === 0) return 0;
    if (left > BUFIOREQ_SLOT_NUM) {
      this.endGuest(`buffered ring holds ${left} slots of ${BUFIOREQ_SLOT_NUM}`);
      return 0;
    }
    if (read % BUFIOREQ_SLOT_NUM !== this.slot) {
      this.endGuest(`read pointer of the buffered ring moved to slot ${read % BUFIOREQ_SLOT_NUM}, expected ${this.slot}`);
      return 0;
    }
    let served = 0;
    while (left > 0 && !this.hasStopped) {
      const used = this.serveBuffered(left);
      left -= used;
      served++;
      // The two halves of an 8-byte write go together.
      Atomics.add(words, readAt, used);
    }
    return served;
  }

  /** Serve one buffered request; gives the slots it took. */
  private serveBuffered(left: number): number {
    const r = this.buffered;
    const slots = readBuffered(this.words, this.ring, this.slot, r);
    r.vcpu = -1;
    if (slots > left) {
      this.endGuest('buffered ring: an 8-byte write with one slot');
      return left;
    }
    this.slot = (this.slot + slots) % BUFIOREQ_SLOT_NUM;
    if (r.dir === IOREQ_READ || (r.type !== IoreqType.copy && r.type !== IoreqType.timeOffset)) {
      this.endGuest(`buffered ring: ${r.dir === IOREQ_READ ? 'a read' : `type ${r.type}`}`);
      return slots;
    }
    this.counters.buffered++;
    r.serial = this.counters.buffered;
    this.o.clock.charge(cost.bufferedSlot);
    this.o.dispatch.handle(r);
    this.served.call(r);
    return slots;
  }

  /** The guest, or what stands between, broke the protocol: stop it; the device model lives on. */
  private endGuest(what: string): void {
    if (this.hasStopped) return;
    this.hasStopped = true;
    this.pollTimer.cancel();
    this.o.logger.warn(`device model: ${what}; the domain is stopped`);
    this.o.hypercalls.remoteShutdown(ShutdownReason.crash);
  }
}

/** Throws unless the hypercall gave a result: nothing works without the ones this server starts with. */
function succeeded(result: number, what: string): number {
  if (result < 0) throw new Error(`device model: cannot ${what}: Xen error ${-result}`);
  return result;
}
