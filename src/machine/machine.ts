/**
 * A whole machine with its device model on the guest's own thread: memory, hypervisor, platform devices, one HVM domain with
 * one vCPU, device model, wire, trace. With the virtual clock two runs of it are the same to the byte.
 */
import { gpaToGfn, maddrToMfn } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import { IoreqType } from '../abi/ioreq.ts';
import type { Vcpu } from '../cpu/interface.ts';
import { DeviceModel } from '../device-model/device-model.ts';
import { DmLog, type DmLogForm } from '../device-model/log.ts';
import type { NicOptions } from '../device-model/nics.ts';
import { HostClock, type MachineClock, VirtualClock } from '../hypervisor/clock.ts';
import { DomainBuilder, type DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import { firmwareIo } from '../hypervisor/domain-builder/firmware-io.ts';
import { buildE820, GuestLayout, NR_IOREQ_SERVER_PAGES } from '../hypervisor/domain-builder/layout.ts';
import type { PlacedBar } from '../hypervisor/domain-builder/pci.ts';
import { deviceModelHypercalls } from '../hypervisor/dm.ts';
import { Domain, type Pcpu, VPF_BLOCKED } from '../hypervisor/domain.ts';
import { EventChannels } from '../hypervisor/event-channel.ts';
import { HvmVcpu } from '../hypervisor/hvm.ts';
import { NR_SPECIAL_PAGES } from '../hypervisor/hvm-params.ts';
import { IoHandlers } from '../hypervisor/intercept.ts';
import { IoreqServers, newIoreq } from '../hypervisor/ioreq.ts';
import { HvmIrq, type InterruptControllers } from '../hypervisor/irq.ts';
import { MachineMemory } from '../hypervisor/memory.ts';
import { UpcallNotifier } from '../hypervisor/notify.ts';
import { P2m } from '../hypervisor/p2m.ts';
import { PageAllocator } from '../hypervisor/page-alloc.ts';
import { createPlatform, type Platform } from '../hypervisor/platform.ts';
import { Runqueue } from '../hypervisor/runstate.ts';
import { type InlineDom0, IoWait, type LoopEnd, PcpuLoop } from '../hypervisor/schedule.ts';
import { TimerQueue } from '../hypervisor/timer.ts';
import { TraceBuffer, TraceCollector, TraceControl } from '../hypervisor/trace.ts';
import { PcapngWriter } from '../net/pcapng.ts';
import { RUNSTATE_RUNNABLE, TRC_MEM } from '../trace/events.ts';
import { TraceWindowWriter } from '../trace/writer.ts';

const GUEST_DOMID = 1;
/** Process id the log shows where no real one is wanted. */
const LOG_PID = 1;
/** Frames beyond the guest's RAM: special pages, ioreq pages, shared_info of both domains, grant frames and what a guest maps besides. */
const SPARE_FRAMES = 256;

/** What an engine is given: the memory it works in, its own area there, the guest's second-stage translation, the clock of RDTSC. */
export interface EngineParts {
  readonly memory: MachineMemory;
  readonly p2m: P2m;
  /** Machine address and size of the vCPU's own area. */
  readonly area: { readonly base: number; readonly size: number };
  readonly clock: Clock;
}

export interface EngineFactory {
  /** Bytes of machine memory the engine wants for itself. */
  readonly areaSize: number;
  create(parts: EngineParts): Vcpu;
}

export interface MachineOptions {
  readonly domain: DomainConfig;
  readonly name: string;
  readonly nics: readonly NicOptions[];
  readonly clock: 'virtual' | 'host';
  /** Wall clock at power-on for the virtual clock, microseconds since 1970. */
  readonly epochUs?: number;
  /** Seed of the order in which frames are handed out. */
  readonly seed?: number;
  readonly engine: EngineFactory;
  /** xentrace event mask; 0: no trace. */
  readonly traceMask?: number;
  readonly logForm?: DmLogForm;
  /** Nanoseconds a frame is on its way. */
  readonly wireLatencyNs?: number;
  /** Characters typed for COM1, each "frame" some of them (net/frame-ring.ts). */
  readonly consoleInput?: SharedArrayBuffer;
}

/** Where the machine's output goes; what is left out is not made. */
export interface MachineSinks {
  /** COM1, ports 0x12 and 0xe9, console_io. */
  readonly console?: (bytes: Uint8Array) => void;
  readonly trace?: (bytes: Uint8Array) => void;
  readonly log?: (text: string) => void;
  readonly pcap?: (bytes: Uint8Array) => void;
  readonly logger?: Logger;
}

export class InlineMachine {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly domain: Domain;
  readonly p2m: P2m;
  readonly platform: Platform;
  readonly hvm: HvmVcpu;
  readonly deviceModel: DeviceModel;
  /** Where the firmware put the BARs. */
  readonly bars: readonly PlacedBar[];
  readonly #loop: PcpuLoop;
  readonly #collector: TraceCollector;
  readonly #windows: TraceWindowWriter;

  /** Builds the domain, starts its device model and does the firmware's work. Throws UserError when the guest does not fit. */
  constructor(options: MachineOptions, sinks: MachineSinks = {}) {
    const { domain: config } = options;
    const frames = config.memoryMiB * 256 + GuestLayout.acpiTablesSize / 4096 + NR_SPECIAL_PAGES + NR_IOREQ_SERVER_PAGES + SPARE_FRAMES;
    const memory = MachineMemory.create({ frames, pcpus: 1, vcpus: 1, engineAreaSize: options.engine.areaSize });
    const clock = options.clock === 'virtual' ? new VirtualClock(options.epochUs) : new HostClock(memory);
    const trace = new TraceBuffer(memory, 0, clock);
    const pages = new PageAllocator(memory, options.seed ?? 1);
    const pcpu: Pcpu = { number: 0, memory, pages, clock, trace, log: sinks.logger ?? silentLogger };
    this.memory = memory;
    this.clock = clock;
    this.#collector = new TraceCollector(memory);
    this.#windows = new TraceWindowWriter((bytes) => sinks.trace?.(bytes));
    trace.onHighWater = () => void this.#collector.drain(this.#windows);

    // While the domain is built, its p2m alone is traced: what a guest frame's machine frame is must be in the file.
    const control = new TraceControl(memory);
    const traceMask = sinks.trace === undefined ? 0 : (options.traceMask ?? 0xffff_ffff) >>> 0;
    control.eventMask = (traceMask & (TRC_MEM | 0xfff)) >>> 0;

    const p2m = new P2m(memory, pages, GUEST_DOMID, 0, trace);
    this.p2m = p2m;
    const dom0 = new Domain(pcpu, 0, 'Domain-0', 1);
    const domain = new Domain(pcpu, GUEST_DOMID, options.name, 1, p2m);
    this.domain = domain;
    const state = domain.vcpus[0]!;
    const dom0State = dom0.vcpus[0]!;
    dom0State.shareFutex(state);
    const runqueue = new Runqueue(pcpu);
    const notifier = new UpcallNotifier(runqueue);
    const events = new EventChannels(new Map([[0, dom0], [GUEST_DOMID, domain]]), notifier);
    const servers = new IoreqServers(domain, 0, events);
    const handlers = new IoHandlers();
    const timers = new TimerQueue(memory, 0);
    // The controllers attach themselves as soon as they exist; until then no line is raised.
    const irq = new HvmIrq(memory, GUEST_DOMID, undefined as unknown as InterruptControllers);
    this.platform = createPlatform({ memory, domid: GUEST_DOMID, clock, timers, irq }, handlers, {
      kick: (vcpu) => runqueue.unblock(domain.vcpus[vcpu]!),
      nmi: (vcpu) => {
        this.hvm.interrupts.nmiPending = true;
        runqueue.unblock(domain.vcpus[vcpu]!);
      },
      // With one vCPU an INIT or STARTUP can only be aimed at the sender, whom it does not stop here.
      init: () => pcpu.log.warn(`d${GUEST_DOMID}: INIT to its only vCPU ignored`),
      startup: () => pcpu.log.warn(`d${GUEST_DOMID}: STARTUP to its only vCPU ignored`),
      guestTsc: () => clock.tsc(),
      timeOffset: (seconds) => this.#sendTimeOffset(servers, seconds),
    }, { vcpus: 1, x2apic: true, tscDeadline: true, hpet: config.hpet });

    let inline: InlineDom0 | undefined;
    const wait = new IoWait(pcpu, runqueue, domain, () => inline);
    const engine = options.engine.create({ memory, p2m, area: memory.layout.engineArea[0]!, clock });
    this.hvm = new HvmVcpu({
      pcpu, domain, id: 0, engine, p2m, events, notifier, servers, irq, controllers: this.platform.controllers, handlers, timers, wait,
      memoryMap: buildE820(config.memoryMiB),
      consoleWrite: (bytes) => sinks.console?.(bytes),
    });

    const { log, pcap } = sinks;
    const hypercalls = deviceModelHypercalls({ self: dom0, target: domain, p2m, events, servers, irq, shootdown: this.hvm.shootdown });
    this.deviceModel = new DeviceModel({
      memory: memory.memory,
      hypercalls,
      clock,
      logger: pcpu.log,
      log: log === undefined ? undefined : new DmLog({ form: options.logForm ?? 'trace', clock, pid: LOG_PID, sink: log }),
      nics: options.nics,
      console: (bytes) => sinks.console?.(bytes),
      ...(pcap === undefined ? {} : { pcap: new PcapngWriter({ clock, interfaceName: `vif${GUEST_DOMID}.0`, sink: pcap }) }),
      ...(options.wireLatencyNs === undefined ? {} : { wireLatencyNs: options.wireLatencyNs }),
      // DMA into a frame that code was decoded from: one look at the frame table tells, and only then Xen is told.
      onRamWrite: (gpa, _length, maddr) => {
        if (pages.holdsCode(maddrToMfn(maddr))) hypercalls.modifiedMemory(gpaToGfn(gpa), 1);
      },
    });
    const { deviceModel } = this;
    inline = {
      state: dom0State,
      deviceModel: {
        runUntilIdle: () => deviceModel.runUntilIdle(),
        get nextDeadlineNs() {
          return deviceModel.nextDeadlineNs;
        },
      },
    };
    this.#loop = new PcpuLoop(pcpu, runqueue, timers, this.hvm, inline);

    const builder = new DomainBuilder({ memory, p2m, setParam: (index, lo, hi) => domain.setParam(index, lo, hi) }, config);
    builder.build();
    deviceModel.start();
    // Binding its ports has raised them once each: the device model looks at that before it sleeps for the first time.
    deviceModel.runUntilIdle();
    runqueue.switchTo(state, RUNSTATE_RUNNABLE);
    this.bars = builder.setUpFirmware(firmwareIo(this.hvm.emulator));
    runqueue.switchTo(runqueue.idle, RUNSTATE_RUNNABLE);
    state.clearPauseFlag(VPF_BLOCKED);
    builder.enter(engine.registers);
    // From here on the guest runs: the firmware's own accesses have no exit around them that a trace could show.
    control.eventMask = traceMask;
  }

  /** Run until the domain is shut down, the clock reaches `untilNs`, or nothing can happen any more. */
  run(untilNs = Infinity): LoopEnd {
    const end = this.#loop.run(untilNs);
    this.flush();
    return end;
  }

  /** Hand everything gathered so far to the sinks. */
  flush(): void {
    this.deviceModel.flush();
    this.#collector.drain(this.#windows);
  }

  /** send_timeoffset_req: to every server, by the buffered page. */
  #sendTimeOffset(servers: IoreqServers, seconds: number): void {
    const p = newIoreq();
    Object.assign(p, { type: IoreqType.timeOffset, size: 8, count: 1, isWrite: true, dataLo: seconds >>> 0, dataHi: seconds < 0 ? 0xffffffff : 0 });
    if (!servers.sendBuffered(this.deviceModel.server.id, p)) this.hvm.domain.pcpu.log.warn('Unsuccessful timeoffset update');
  }
}

