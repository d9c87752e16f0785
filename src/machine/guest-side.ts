/**
 * The guest's side of a machine: memory, hypervisor, platform devices, one HVM domain with one vCPU, all on the guest's
 * thread. Where the device model runs is the business of whoever puts the machine together.
 */
import { ShutdownReason } from '../abi/sched.ts';
import { IOREQ_WRITE, IoreqType, newIoreq } from '../abi/ioreq.ts';
import { gpaToGfn, maddrToMfn, PAGE_SIZE } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/logger.ts';
import type { DeviceModelHypercalls } from '../abi/dm-op.ts';
import type { Vcpu } from '../cpu/interface.ts';
import { DeviceModel, type PlacedDevice, type RecordedSocket, type RingPair } from '../device-model/device-model.ts';
import { DmLog, type DmLogForm } from '../device-model/log.ts';
import type { NicOptions } from '../device-model/nics.ts';
import type { MachineClock } from '../hypervisor/time/clock.ts';
import { DomainBuilder, type DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import { firmwareIo } from '../hypervisor/domain-builder/firmware-io.ts';
import { buildE820, GuestLayout, NR_IOREQ_SERVER_PAGES } from '../hypervisor/domain-builder/layout.ts';
import type { PlacedBar } from '../hypervisor/domain-builder/pci.ts';
import { connectPvConsole } from '../hypervisor/events/pv-console.ts';
import { type Pcpu, VPF_BLOCKED } from '../hypervisor/domain/domain.ts';
import { HvmVcpu, type HvmVcpuOptions } from '../hypervisor/vmx/hvm.ts';
import { NR_SPECIAL_PAGES } from '../hypervisor/domain/hvm-params.ts';
import type { MachineMemory, MachineMemoryOptions } from '../hypervisor/mm/memory.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';
import { Shootdown } from '../hypervisor/mm/shootdown.ts';
import { createPlatform, type PlatformOptions } from '../hypervisor/chips/platform.ts';
import { type InlineDom0, IoWait, type PcpuLoop } from '../hypervisor/sched/schedule.ts';
import { Hypervisor } from '../hypervisor/setup/setup.ts';
import type { TestDeviceOptions } from '../devices/test-devices.ts';
import type { FrameSource } from '../net/frame-ring.ts';
import { RUN_OUTCOMES, type RunOutcome, runOutcome } from './exit-status.ts';
import { PcapngWriter } from '../net/pcapng.ts';
import type { LiveInput, RecordedInput } from './state/inputs.ts';
import { RUNSTATE_RUNNABLE, TRC_MEM } from '../trace/events.ts';

export const GUEST_DOMID = 1;
/** Process id the log shows where no real one is wanted. */
const LOG_PID = 1;
/** Frames beyond the guest's RAM: special pages, ioreq pages, shared_info of both domains, grant frames and what a guest maps besides. */
const SPARE_FRAMES = 256;

/** What an engine is given: the memory it works in, its own area there, the guest's second-stage translation, the clock of RDTSC. */
interface EngineParts {
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

/** A domain without what it boots from: a restored machine has that in its memory. */
export type BareDomain = Omit<DomainConfig, 'kernel' | 'ramdisk' | 'commandLine'>;

export interface MachineOptions {
  /** Without a kernel: the machine is made to be restored into. */
  readonly domain: DomainConfig | BareDomain;
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
  readonly consoleInput?: SharedArrayBuffer | FrameSource;
  /** False: machine memory that this thread alone can use, for where shared memory cannot be had. */
  readonly shared?: boolean;
  /** Devices beside the machine's own. */
  readonly devices?: readonly PlacedDevice[];
  /** The devices of test programs are there too. */
  readonly testDevices?: TestDeviceOptions;
  /** The forced-emulation prefix is honoured (HvmVcpuOptions.fep). */
  readonly fep?: boolean;
  /**
   * The vCPU stops at the very instruction where a budget ends, so that a run which pauses anywhere is the same as one which
   * does not (HvmVcpuOptions.exactBudgets). Whoever saves, records or debugs a run needs it; others go faster without.
   */
  readonly exactBudgets?: boolean;
  /** The wire's other end is on another thread, in place of the dom0 endpoint. */
  readonly socket?: RingPair | RecordedSocket;
  /** Ends of the run at which the vCPU is shown in the log. */
  readonly dumpOn?: readonly RunOutcome[];
  /** Told of every write of a device to guest memory, when it was made. */
  readonly onDma?: (gpa: number, length: number, isWrite: boolean) => void;
  /** Input comes by way of a recording, or out of one; `consoleInput` and `socket` are then left out. */
  readonly input?: LiveInput | readonly RecordedInput[];
  /** With `input`: the wire's other end is a socket; a ring for what the guest sends, or null where nobody listens. */
  readonly socketOut?: SharedArrayBuffer | null;
}

/** Machine code in words, see disassemble-node.ts: apart, because its library loads in Node only. */
export type Disassemble = NonNullable<HvmVcpuOptions['disassemble']>;

/** Where the machine's output goes; what is left out is not made. */
export interface MachineSinks {
  /** COM1, ports 0x12 and 0xe9, console_io. */
  readonly console?: (bytes: Uint8Array) => void;
  readonly trace?: (bytes: Uint8Array) => void;
  readonly log?: (text: string) => void;
  readonly pcap?: (bytes: Uint8Array) => void;
  readonly logger?: Logger;
  /** The disassembler for dumps of a domain that died; without one they show registers alone. */
  readonly disassemble?: Disassemble;
}

/** Machine memory for a guest of this size. */
export const guestMemoryOptions = (
  memoryMiB: number,
  engine: Pick<EngineFactory, 'areaSize'>,
  pcpus: number,
): Partial<MachineMemoryOptions> => ({
  frames: memoryMiB * 256 + GuestLayout.acpiTablesSize / PAGE_SIZE + NR_SPECIAL_PAGES + NR_IOREQ_SERVER_PAGES + SPARE_FRAMES,
  pcpus,
  vcpus: 1,
  engineAreaSize: engine.areaSize,
});

/** Chips inside the hypervisor, as every thread of the machine must see them. */
export const guestPlatform = (config: Pick<DomainConfig, 'hpet'>): PlatformOptions => ({
  vcpus: 1,
  x2apic: true,
  tscDeadline: true,
  hpet: config.hpet,
});

/** Where the guest's side stands. */
interface GuestPlacement {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  /** Physical CPU whose trace ring the guest's thread writes. */
  readonly pcpu: number;
  /** Drain the trace rings: this thread's has become half full. */
  readonly drainTrace: () => void;
  /** Where dom0's vCPU runs: on the same pCPU, or on a thread of its own. */
  readonly deviceModel: 'inline' | 'worker';
}

export class GuestSide extends Hypervisor {
  readonly traceMask: number;
  readonly shootdown: Shootdown;
  /** Where the firmware put the BARs; empty before boot(). */
  bars: readonly PlacedBar[] = [];
  private readonly engine: Vcpu;
  private readonly builder: DomainBuilder | undefined;
  private readonly options: MachineOptions;
  private readonly sinks: MachineSinks;

  /** Makes the hypervisor and builds the domain. Throws UserError when the guest does not fit. */
  constructor(placement: GuestPlacement, options: MachineOptions, sinks: MachineSinks) {
    const { domain: config } = options;
    const { memory, clock } = placement;
    super({
      memory,
      clock,
      pcpu: placement.pcpu,
      log: sinks.logger ?? silentLogger,
      seed: options.seed ?? 1,
      guest: { domid: GUEST_DOMID, name: options.name, vcpus: 1 },
      platform: (parts) => createPlatform(parts, guestPlatform(config)),
    });
    const { pcpu, p2m, dom0, domain } = this;
    const state = domain.vcpus[0]!;
    this.options = options;
    this.sinks = sinks;
    pcpu.trace.highWater.add(placement.drainTrace);
    this.platform.rtc.timeOffsets.add((seconds) => this.sendTimeOffset(seconds));
    // While the domain is built, its p2m alone is traced: what a guest frame's machine frame is must be in the file.
    this.traceMask = sinks.trace === undefined ? 0 : (options.traceMask ?? 0xffff_ffff) >>> 0;
    this.control.eventMask = (this.traceMask & (TRC_MEM | 0xfff)) >>> 0;

    if (placement.deviceModel === 'inline') dom0.vcpus[0]!.shareFutex(state);
    this.engine = options.engine.create({ memory, p2m, area: memory.layout.engineArea[0]!, clock });
    this.shootdown = new Shootdown(memory, state, this.engine);
    p2m.changes.add((gfn) => this.shootdown.invalidateNested(gfn));
    if (!('kernel' in config)) return;
    this.builder = new DomainBuilder({ memory, p2m, setParam: (index, lo, hi) => domain.setParam(index, lo, hi) }, config);
    this.builder.build();
    // A PVH guest's only console that needs no chip. An HVM guest's is its serial port.
    if (config.type === 'pvh') connectPvConsole(this, this.dom0);
  }

  /**
   * The guest's vCPU.
   * @param dom0 the device model that serves it on this thread; undefined: another thread's serves it
   * @param isHeldUp whether that thread waits for somebody to take its output, so that its silence says nothing
   */
  createVcpu(dom0?: InlineDom0, isHeldUp?: () => boolean): HvmVcpu {
    const { pcpu, domain, engine, p2m, events, notifier, servers, irq, platform, handlers, timers, shootdown, runqueue } = this;
    const { console, disassemble } = this.sinks;
    return new HvmVcpu({
      pcpu,
      domain,
      id: 0,
      engine,
      p2m,
      events,
      notifier,
      servers,
      irq,
      controllers: platform.controllers,
      handlers,
      timers,
      shootdown,
      wait: new IoWait(pcpu, runqueue, domain, dom0, isHeldUp),
      memoryMap: buildE820(this.options.domain.memoryMiB),
      ...(console === undefined ? {} : { consoleWrite: console }),
      ...(disassemble === undefined ? {} : { disassemble }),
      fep: this.options.fep ?? false,
      exactBudgets: this.options.exactBudgets ?? false,
    });
  }

  /** The firmware's work, through the device model, which must be serving; then the vCPU stands at the kernel's entry. */
  boot(hvm: HvmVcpu): void {
    const { runqueue } = this;
    const { state } = hvm;
    if (this.builder === undefined) throw new Error('a machine without a kernel cannot boot');
    runqueue.switchTo(state, RUNSTATE_RUNNABLE);
    this.bars = this.builder.setUpFirmware(firmwareIo(hvm.emulator));
    runqueue.switchTo(runqueue.idle, RUNSTATE_RUNNABLE);
    state.clearPauseFlag(VPF_BLOCKED);
    this.builder.enter(hvm.engine.registers);
  }

  /** Shows the vCPU at the end of its loop, where the end is one that was asked to be shown. */
  showAtEnd(loop: PcpuLoop, hvm: HvmVcpu): void {
    loop.endings.add((end) => {
      const reason = this.domain.shutdownReason;
      const outcome = runOutcome(end, reason);
      const asked = reason === ShutdownReason.inspected || (this.options.dumpOn ?? []).includes(outcome);
      if (asked && !hvm.dumped) hvm.inspect(RUN_OUTCOMES[outcome].text);
    });
  }

  /** Trace everything asked for, from here on: the firmware's own accesses have no exit around them that a trace could show. */
  startTrace(): void {
    this.control.eventMask = this.traceMask;
  }

  /** send_timeoffset_req: to every server, by the buffered page. */
  private sendTimeOffset(seconds: number): void {
    const p = newIoreq();
    Object.assign(p, {
      type: IoreqType.timeOffset,
      size: 8,
      count: 1,
      dir: IOREQ_WRITE,
      dataLo: seconds >>> 0,
      dataHi: seconds < 0 ? 0xffffffff : 0,
    });
    if (this.servers.broadcastBuffered(p) > 0) this.warnOnce('Unsuccessful timeoffset update');
  }
}

/** As Xen's tools name the guest's interfaces in dom0: `vif1.0`. A guest without a NIC has an empty capture of the first. */
const vifNames = (count: number): [string, ...string[]] => [
  `vif${GUEST_DOMID}.0`,
  ...Array.from({ length: Math.max(count - 1, 0) }, (_, i) => `vif${GUEST_DOMID}.${i + 1}`),
];

/** The device model of a machine, on whatever thread calls; `pcpu` is that thread's. */
export function createDeviceModel(
  pcpu: Pcpu,
  hypercalls: DeviceModelHypercalls,
  options: Pick<
    MachineOptions,
    'nics' | 'logForm' | 'wireLatencyNs' | 'consoleInput' | 'socket' | 'devices' | 'testDevices' | 'onDma'
  >,
  sinks: MachineSinks,
): DeviceModel {
  const { memory, clock, pages } = pcpu;
  const { log, pcap } = sinks;
  return new DeviceModel({
    memory: memory.memory,
    hypercalls,
    clock,
    logger: pcpu.log,
    log: log === undefined ? undefined : new DmLog({ form: options.logForm ?? 'trace', clock, pid: LOG_PID, sink: log }),
    nics: options.nics,
    console: (bytes) => sinks.console?.(bytes),
    ...(pcap === undefined ? {} : { pcap: new PcapngWriter({ clock, interfaces: vifNames(options.nics.length), sink: pcap }) }),
    ...(options.wireLatencyNs === undefined ? {} : { wireLatencyNs: options.wireLatencyNs }),
    ...(options.consoleInput === undefined ? {} : { consoleInput: options.consoleInput }),
    ...(options.devices === undefined ? {} : { devices: options.devices }),
    ...(options.testDevices === undefined ? {} : { testDevices: options.testDevices }),
    ...(options.socket === undefined ? {} : { socket: options.socket, endpoint: null }),
    ...(options.onDma === undefined ? {} : { onRamRead: (gpa, length) => options.onDma!(gpa, length, false) }),
    // DMA into a frame that code was decoded from: one look at the frame table tells, and only then Xen is told.
    onRamWrite: (gpa, length, maddr) => {
      options.onDma?.(gpa, length, true);
      if (pages.holdsCode(maddrToMfn(maddr))) hypercalls.modifiedMemory(gpaToGfn(gpa), 1);
    },
  });
}
