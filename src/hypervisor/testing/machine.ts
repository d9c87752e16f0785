/** A machine for tests: one guest with a FakeVcpu, dom0 inline with a device model that answers from a function. */
import {
  BufioreqHandling,
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_WRITE_POINTER,
  type Ioreq,
  IOREQ_READ,
  IOREQ_VP_EPORT,
  IOREQ_WRITE,
  IoreqState,
  ioreqState,
  newIoreq,
  readBuffered,
  readSlot,
  slotAt,
  stateAt,
  withState,
  writeData,
} from '../../abi/ioreq.ts';
import type { DeviceModelHypercalls, IoreqServerInfo } from '../../abi/dm-op.ts';
import { gfn } from '../../base/address.ts';
import type { Logger } from '../../base/logger.ts';
import { TraceWindowWriter } from '../../trace/writer.ts';
import { VirtualClock } from '../time/clock.ts';
import { deviceModelHypercalls } from '../hypercall/dm.ts';
import { HvmVcpu } from '../vmx/hvm.ts';
import { GsiLines, HvmIrq } from '../chips/irq.ts';
import type { HvmInterrupts, InterruptControllers, InterruptInputs } from '../chips/irq.ts';
import { MachineMemory } from '../mm/memory.ts';
import type { MachineMemoryOptions } from '../mm/memory.ts';
import type { PageAllocator } from '../mm/page-alloc.ts';
import { IoWait, PcpuLoop } from '../sched/schedule.ts';
import type { InlineDom0 } from '../sched/schedule.ts';
import { Hypervisor } from '../setup/setup.ts';
import { Shootdown } from '../mm/shootdown.ts';
import { TraceCollector } from '../trace/trace.ts';
import { FakeVcpu } from './fake-vcpu.ts';

/** The request in one line: "r f2051020 4", "w f2051020 4 = d4e6c400", "w 3f8 1 x16 @1000 down". */
const describe = (p: Readonly<Ioreq>): string => {
  const type = ['pio', 'mmio', 'pci', '', '', '', '', '', 'invalidate'][p.type] ?? p.type;
  const data = ((BigInt(p.dataHi) << 32n) | BigInt(p.dataLo)).toString(16);
  const isWrite = p.dir === IOREQ_WRITE;
  return (
    `${type} ${isWrite ? 'w' : 'r'} ${p.addr.toString(16)} ${p.size}${p.count === 1 ? '' : ` x${p.count}`}` +
    `${p.dataIsPtr ? ` @${data}` : isWrite ? ` = ${data}` : ''}${p.df ? ' down' : ''}`
  );
};

interface FakeControllers extends InterruptControllers, InterruptInputs {
  readonly edges: string[];
  readonly requested: number[];
  output: boolean;
}

interface TestInterrupts extends HvmInterrupts {
  readonly controllers: FakeControllers;
}

/** No local APIC, no PICs: lines end here and are remembered. */
function fakeControllers(): FakeControllers {
  const edges: string[] = [];
  const requested: number[] = [];
  let cr8 = 0;
  return {
    edges,
    requested,
    output: false,
    vioapicIrqPositiveEdge: (gsi) => void edges.push(`gsi ${gsi}`),
    vpicIrqPositiveEdge: (irq) => void edges.push(`irq+ ${irq}`),
    vpicIrqNegativeEdge: (irq) => void edges.push(`irq- ${irq}`),
    vpicIntOutput() {
      return this.output;
    },
    vlapicAcceptPicIntr: () => true,
    inspect: () => [],
    vpicAckPendingIrq() {
      this.output = false;
      return 0x30;
    },
    vlapicHasPendingIrq: () => requested[0] ?? -1,
    vlapicAckPendingIrq: (_vcpu, vector) => requested.shift() === vector,
    vlapicEnabled: () => true,
    vlapicSetIrq: (_vcpu, vector) => void requested.push(vector),
    getCr8: () => cr8,
    setCr8: (_vcpu, value) => {
      cr8 = value;
    },
    readMsr: () => undefined,
    writeMsr: () => 'unknown',
  };
}

export interface TestMachineOptions {
  readonly memory?: Partial<MachineMemoryOptions>;
  readonly seed?: number;
  /** End of guest RAM, in frames; 0xa0000 to 0xfffff is left out. */
  readonly ram?: number;
  /** What the device model answers to a read; default 0x11111111 · size. */
  readonly answer?: (p: Readonly<Ioreq>) => number;
}

export class TestMachine extends Hypervisor<TestInterrupts> {
  readonly clock: VirtualClock;
  readonly memory: MachineMemory;
  readonly pages: PageAllocator;
  readonly controllers: FakeControllers;
  readonly engine: FakeVcpu;
  readonly hvm: HvmVcpu;
  readonly loop: PcpuLoop;
  readonly hypercalls: DeviceModelHypercalls;
  readonly requests: Readonly<Ioreq>[] = [];
  readonly console: number[] = [];
  readonly log: string[];
  readonly server: number;
  readonly info: IoreqServerInfo;
  /** False: the device model does not look at its pages. */
  deviceModelRuns = true;
  /** Called with every request before it is answered. */
  onRequest: (p: Readonly<Ioreq>) => void = () => {};
  /** Replaces the whole handling of a synchronous request: gets the slot's machine address. */
  serve: ((slot: number) => void) | undefined;
  /** Whether `serve` is followed by the event. */
  notifies = true;
  nextDeadlineNs = Infinity;
  /** Takes the place of the built-in device model. */
  deviceModel: InlineDom0['deviceModel'] | undefined;
  /** dom0's port for the vCPU's slot. */
  readonly localPort: number;
  private readonly parts: Uint8Array[] = [];
  private readonly windows = new TraceWindowWriter((bytes) => void this.parts.push(bytes.slice()));
  private readonly collector: TraceCollector;
  private readonly answer: (p: Readonly<Ioreq>) => number;

  constructor(options: TestMachineOptions = {}) {
    const clock = new VirtualClock();
    const memory = MachineMemory.create({ frames: 2048, maxGfn: 0x100000, pcpus: 1, tracePages: 16, ...options.memory });
    const lines: string[] = [];
    const log: Logger = { debug() {}, info: (m) => lines.push(m), warn: (m) => lines.push(m) };
    super({
      memory,
      clock,
      pcpu: 0,
      log,
      seed: options.seed ?? 1,
      guest: { domid: 1, name: 'test', vcpus: 1 },
      platform: () => {
        const controllers = fakeControllers();
        return { controllers, irq: new HvmIrq(new GsiLines(memory, 1), controllers) };
      },
    });
    this.clock = clock;
    this.memory = memory;
    this.controllers = this.platform.controllers;
    this.log = lines;
    this.pages = this.pcpu.pages;
    this.collector = new TraceCollector(memory);
    this.pcpu.trace.highWater.add(() => void this.collector.drain(this.windows));
    this.p2m.populate(gfn(0), 0xa0);
    this.p2m.populate(gfn(0x100), (options.ram ?? 0x400) - 0x100);
    this.dom0.vcpus[0]!.shareFutex(this.domain.vcpus[0]!);
    this.engine = new FakeVcpu(this.memory, this.p2m);
    const dom0: InlineDom0 = { state: this.dom0.vcpus[0]!, deviceModel: this.inlineDeviceModel() };
    const shootdown = new Shootdown(memory, this.domain.vcpus[0]!, this.engine);
    this.p2m.changes.add((gfn) => shootdown.invalidateNested(gfn));
    this.hvm = new HvmVcpu({
      pcpu: this.pcpu,
      domain: this.domain,
      id: 0,
      engine: this.engine,
      p2m: this.p2m,
      events: this.events,
      notifier: this.notifier,
      servers: this.servers,
      irq: this.irq,
      controllers: this.controllers,
      handlers: this.handlers,
      timers: this.timers,
      shootdown,
      wait: new IoWait(this.pcpu, this.runqueue, this.domain, dom0),
      memoryMap: [
        { address: 0, size: 0x9fc00, type: 1 },
        { address: 0x100000, size: 0x300000, type: 1 },
      ],
      consoleWrite: (bytes) => void this.console.push(...bytes),
    });
    this.loop = new PcpuLoop(this.pcpu, this.runqueue, this.timers, this.hvm, dom0);
    this.hypercalls = deviceModelHypercalls({
      self: this.dom0,
      target: this.domain,
      p2m: this.p2m,
      events: this.events,
      servers: this.servers,
      irq: this.irq,
      shootdown: new Shootdown(this.memory, this.domain.vcpus[0]!),
    });
    this.answer = options.answer ?? ((p) => (0x1111_1111 * p.size) >>> 0);
    this.server = this.hypercalls.createIoreqServer(BufioreqHandling.atomic);
    this.info = this.hypercalls.getIoreqServerInfo(this.server);
    this.localPort = this.hypercalls.bindInterdomain(this.memory.u32[(this.info.ioreqPage + IOREQ_VP_EPORT) >>> 2]!);
    this.hypercalls.mapIoRange(this.server, 1, 0xf000_0000, 0xf00f_ffff);
    this.hypercalls.mapIoRange(this.server, 1, 0xa0000, 0xbffff);
    this.hypercalls.mapIoRange(this.server, 0, 0x1000, 0x10ff);
    this.hypercalls.mapIoRange(this.server, 0, 0xcf8, 0xcff);
    this.hypercalls.mapIoRange(this.server, 2, 0x18, 0x18);
    this.hypercalls.setIoreqServerState(this.server, true);
  }

  /** Run a guest program to the end of its domain. */
  run(program: (vcpu: FakeVcpu) => Generator<number, void, void>): ReturnType<PcpuLoop['run']> {
    this.engine.start(program as Parameters<FakeVcpu['start']>[0]);
    return this.loop.run();
  }

  /** The requests seen so far, one line each. */
  get requestLines(): string[] {
    return this.requests.map(describe);
  }

  /** Everything traced so far, as a trace file. */
  traceFile(): Uint8Array {
    this.collector.drain(this.windows);
    const size = this.parts.reduce((sum, part) => sum + part.length, 0);
    const file = new Uint8Array(size);
    let at = 0;
    for (const part of this.parts) {
      file.set(part, at);
      at += part.length;
    }
    return file;
  }

  /** The guest has seen all its events: upcall, selector and pending bits are clear. */
  clearGuestEvents(): void {
    const info = this.domain.vcpus[0]!.vcpuInfo >>> 2;
    this.memory.u32[info]! &= ~0xff;
    this.memory.u32.fill(0, info + 2, info + 4);
    this.memory.u32.fill(0, this.domain.evtchnPending >>> 2, (this.domain.evtchnPending >>> 2) + 128);
  }

  /** Buffered requests not taken yet, as one line each. */
  takeBuffered(): string[] {
    const { i32 } = this.memory;
    const { bufioreqPage } = this.info;
    const readAt = (bufioreqPage + BUFIOREQ_READ_POINTER) >>> 2;
    const taken: string[] = [];
    const p = newIoreq();
    while (i32[readAt] !== i32[(bufioreqPage + BUFIOREQ_WRITE_POINTER) >>> 2]) {
      i32[readAt]! += readBuffered(i32, bufioreqPage, i32[readAt]! >>> 0, p);
      taken.push(describe(p));
    }
    return taken;
  }

  private inlineDeviceModel(): InlineDom0['deviceModel'] {
    const self = this;
    return {
      runUntilIdle: () => {
        if (self.deviceModel !== undefined) return self.deviceModel.runUntilIdle();
        if (!self.deviceModelRuns) return true;
        self.takeEvents();
        self.serveSlot();
        return true;
      },
      get nextDeadlineNs() {
        return self.deviceModel?.nextDeadlineNs ?? self.nextDeadlineNs;
      },
    };
  }

  /** Clear every pending event channel of dom0. */
  private takeEvents(): void {
    const at = this.dom0.sharedInfo >>> 2;
    this.memory.u32.fill(0, at, at + 4);
    this.memory.u32.fill(0, this.dom0.evtchnPending >>> 2, (this.dom0.evtchnPending >>> 2) + 128);
  }

  private serveSlot(): void {
    const { i32 } = this.memory;
    const slot = slotAt(this.info.ioreqPage, 0);
    const word = Atomics.load(i32, stateAt(slot));
    if (this.serve !== undefined) {
      // A device model of a test's own: called for as long as a request is in the slot.
      if (ioreqState(word) === IoreqState.none) return;
      this.serve(this.info.ioreqPage);
      if (this.notifies) this.hypercalls.evtchnSend(this.localPort);
      return;
    }
    if (ioreqState(word) !== IoreqState.ready) return;
    const p = newIoreq();
    readSlot(i32, slot, word, p);
    Atomics.store(i32, stateAt(slot), withState(word, IoreqState.inProcess));
    this.requests.push(p);
    this.onRequest(p);
    if (p.dir === IOREQ_READ && !p.dataIsPtr) {
      const answer = this.answer(p);
      writeData(i32, slot, { ...p, dataLo: answer, dataHi: p.size === 8 ? answer : 0 });
    }
    Atomics.store(i32, stateAt(slot), withState(word, IoreqState.respReady));
    this.hypercalls.evtchnSend(this.localPort);
  }
}

/** event_channel_op bind_virq: the port. Its argument lies at guest address 0x900. */
export function* bindVirq(vcpu: FakeVcpu, virq: number, target: number): Generator<number, number, void> {
  yield* vcpu.write(0x900, 4, virq);
  yield* vcpu.write(0x904, 4, target);
  const result = yield* vcpu.hypercall(32, 1, 0x900);
  return result < 0 ? result : (yield* vcpu.read(0x908, 4)).lo;
}

/** hvm_op set_param of the own domain; argument at 0xa00. */
export function* setParam(vcpu: FakeVcpu, index: number, lo: number, hi = 0): Generator<number, number, void> {
  yield* vcpu.write(0xa00, 4, 0x7ff0);
  yield* vcpu.write(0xa04, 4, index);
  yield* vcpu.write(0xa08, 8, lo, hi);
  return yield* vcpu.hypercall(34, 0, 0xa00);
}

/** End the guest's domain: sched_op shutdown with this reason, its argument at guest address 0x800. */
export function* shutdown(vcpu: FakeVcpu, reason = 0): Generator<number, void, void> {
  yield* vcpu.write(0x800, 4, reason);
  yield* vcpu.hypercall(29, 2, 0x800);
  yield* vcpu.spin(1);
}
