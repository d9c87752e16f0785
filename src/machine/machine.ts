/**
 * A whole machine with its device model on the guest's own thread. With the virtual clock two runs of it are the same to the
 * byte.
 */
import type { DeviceModel } from '../device-model/device-model.ts';
import { HostClock, type MachineClock, VirtualClock } from '../hypervisor/time/clock.ts';
import { deviceModelHypercalls } from '../hypervisor/hypercall/dm.ts';
import type { Domain } from '../hypervisor/domain/domain.ts';
import type { PlacedBar } from '../hypervisor/domain-builder/pci.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import { MachineMemory } from '../hypervisor/mm/memory.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';
import type { Platform } from '../hypervisor/chips/platform.ts';
import { type InlineDom0, type LoopEnd, PcpuLoop } from '../hypervisor/sched/schedule.ts';
import { TraceCollector } from '../hypervisor/trace/trace.ts';
import { TraceWindowWriter } from '../trace/writer.ts';
import { createDeviceModel, guestMemoryOptions, GuestSide, type MachineOptions, type MachineSinks } from './guest-side.ts';

export type { EngineFactory, MachineOptions, MachineSinks } from './guest-side.ts';

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
  readonly loop: PcpuLoop;
  private readonly collector: TraceCollector;
  private readonly windows: TraceWindowWriter;

  /** Builds the domain, starts its device model and does the firmware's work. Throws UserError when the guest does not fit. */
  constructor(options: MachineOptions, sinks: MachineSinks = {}) {
    const memory = MachineMemory.create(guestMemoryOptions(options.domain.memoryMiB, options.engine, 1), options.shared ?? true);
    const clock = options.clock === 'virtual' ? new VirtualClock(options.epochUs) : new HostClock(memory);
    this.collector = new TraceCollector(memory);
    this.windows = new TraceWindowWriter((bytes) => sinks.trace?.(bytes));
    const drainTrace = (): void => void this.collector.drain(this.windows);
    const guest = new GuestSide({ memory, clock, pcpu: 0, drainTrace, deviceModel: 'inline' }, options, sinks);
    const { pcpu, dom0, domain, p2m, events, servers, irq, shootdown } = guest;
    this.memory = memory;
    this.clock = clock;
    this.domain = domain;
    this.p2m = p2m;
    this.platform = guest.platform;

    const hypercalls = deviceModelHypercalls({ self: dom0, target: domain, p2m, events, servers, irq, shootdown });
    const deviceModel = createDeviceModel(pcpu, hypercalls, options, sinks);
    this.deviceModel = deviceModel;
    const inline: InlineDom0 = {
      state: dom0.vcpus[0]!,
      deviceModel: {
        runUntilIdle: () => deviceModel.runUntilIdle(),
        get nextDeadlineNs() {
          return deviceModel.nextDeadlineNs;
        },
      },
    };
    this.hvm = guest.createVcpu(inline);
    this.loop = new PcpuLoop(pcpu, guest.runqueue, guest.timers, this.hvm, inline);
    deviceModel.start();
    // Binding its ports has raised them once each: the device model looks at that before it sleeps for the first time.
    deviceModel.runUntilIdle();
    guest.boot(this.hvm);
    guest.startTrace();
    this.bars = guest.bars;
  }

  /** Run until the domain is shut down, the clock reaches `untilNs`, or nothing can happen any more. */
  run(untilNs = Infinity): LoopEnd {
    const end = this.loop.run(untilNs);
    this.flush();
    return end;
  }

  /** Hand everything gathered so far to the sinks. */
  flush(): void {
    this.deviceModel.flush();
    this.collector.drain(this.windows);
  }
}
