/**
 * A whole machine with its device model on the guest's own thread. With the virtual clock two runs of it are the same to the
 * byte.
 */
import { ShutdownReason } from '../abi/sched.ts';
import { UserError } from '../base/errors.ts';
import { restoreSaved, saved, type Snapshot } from '../base/snapshot.ts';
import type { DeviceModel, DeviceModelState } from '../device-model/device-model.ts';
import type { IoreqServerState } from '../device-model/ioreq-server.ts';
import type { EventChannels } from '../hypervisor/events/event-channel.ts';
import type { IoreqServers } from '../hypervisor/io/ioreq.ts';
import type { TimerQueue } from '../hypervisor/time/timer.ts';
import { HostClock, type MachineClock, VirtualClock } from '../hypervisor/time/clock.ts';
import { deviceModelHypercalls } from '../hypervisor/hypercall/dm.ts';
import type { Domain } from '../hypervisor/domain/domain.ts';
import type { PlacedBar } from '../hypervisor/domain-builder/pci.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import { MachineMemory } from '../hypervisor/mm/memory.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';
import type { Platform } from '../hypervisor/chips/platform.ts';
import { type InlineDom0, type LoopEnd, type PauseAt, PcpuLoop } from '../hypervisor/sched/schedule.ts';
import { TraceCollector } from '../hypervisor/trace/trace.ts';
import { TraceWindowWriter } from '../trace/writer.ts';
import { HypercallGate } from './state/gate.ts';
import { restoreImage, saveImage } from './state/image.ts';
import { InputGate } from './state/inputs.ts';
import type { MachineConfig, MachineState, Position } from './state/machine-state.ts';
import { createDeviceModel, guestMemoryOptions, GuestSide, type MachineOptions, type MachineSinks } from './guest-side.ts';

export type { EngineFactory, MachineOptions, MachineSinks } from './guest-side.ts';

/** What of a machine lies in no part of its own. */
interface Loose {
  /** Kicks that this thread sent. */
  readonly kicks: number;
  readonly warnings: readonly string[];
  readonly bars: readonly PlacedBar[];
}

/** Where a machine's files go on after it was restored: the same ones, or new ones that begin with their headers. */
export type Outputs = 'continued' | 'new';

export class InlineMachine {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly domain: Domain;
  readonly dom0: Domain;
  readonly p2m: P2m;
  readonly events: EventChannels;
  readonly servers: IoreqServers;
  readonly timers: TimerQueue;
  readonly platform: Platform;
  readonly hvm: HvmVcpu;
  readonly deviceModel: DeviceModel;
  readonly loop: PcpuLoop;
  private readonly guest: GuestSide;
  private readonly options: MachineOptions;
  private readonly gate: HypercallGate;
  private readonly inputs: InputGate | undefined;
  private readonly collector: TraceCollector;
  private readonly windows: TraceWindowWriter;

  /**
   * Builds the domain, starts its device model and does the firmware's work; or takes a `state` of a machine of the same options, whose
   * domain then has no kernel. Throws UserError when the guest does not fit, or the state.
   */
  constructor(options: MachineOptions, sinks: MachineSinks = {}, state?: MachineState, outputs: Outputs = 'continued') {
    const memory = MachineMemory.create(guestMemoryOptions(options.domain.memoryMiB, options.engine, 1), options.shared ?? true);
    // The hypervisor's structures are found where they were.
    if (state !== undefined) restoreImage(memory, state.image);
    const clock = options.clock === 'virtual' ? new VirtualClock(options.epochUs) : new HostClock(memory);
    this.collector = new TraceCollector(memory);
    this.windows = new TraceWindowWriter((bytes) => sinks.trace?.(bytes));
    const drainTrace = (): void => void this.collector.drain(this.windows);
    const guest = new GuestSide({ memory, clock, pcpu: 0, drainTrace, deviceModel: 'inline' }, options, sinks);
    const { pcpu, dom0, domain, p2m, events, servers, irq, shootdown } = guest;
    this.options = options;
    this.guest = guest;
    this.memory = memory;
    this.clock = clock;
    this.domain = domain;
    this.dom0 = dom0;
    this.p2m = p2m;
    this.events = events;
    this.servers = servers;
    this.timers = guest.timers;
    this.platform = guest.platform;

    this.gate = new HypercallGate(deviceModelHypercalls({ self: dom0, target: domain, p2m, events, servers, irq, shootdown }));
    if (state !== undefined) this.gate.close(serverState(state));
    const { input, socketOut } = options;
    const inputs =
      input === undefined
        ? undefined
        : new InputGate(
            input,
            () => clock.nowNs(),
            () => domain.shutdown(ShutdownReason.interrupted),
          );
    this.inputs = inputs;
    const wires =
      inputs === undefined
        ? options
        : {
            ...options,
            consoleInput: inputs.console,
            ...(socketOut === undefined
              ? {}
              : { socket: { source: inputs.socket, ...(socketOut === null ? {} : { fromMachine: socketOut }) } }),
          };
    const deviceModel = createDeviceModel(pcpu, this.gate.calls, wires, sinks);
    this.deviceModel = deviceModel;
    const inline: InlineDom0 = {
      state: dom0.vcpus[0]!,
      deviceModel: {
        runUntilIdle: () => deviceModel.runUntilIdle(),
        get nextDeadlineNs() {
          return deviceModel.nextDeadlineNs;
        },
        ...(inputs === undefined
          ? {}
          : {
              takeInput: (round: number) => inputs.takeInput(round),
              awaitInput: (round: number, nowNs: number, untilNs: number) => inputs.awaitInput(round, nowNs, untilNs),
            }),
      },
    };
    this.hvm = guest.createVcpu(inline);
    this.loop = new PcpuLoop(pcpu, guest.runqueue, guest.timers, this.hvm, inline);
    guest.showAtEnd(this.loop, this.hvm);
    deviceModel.start();
    if (state !== undefined) {
      this.restore(state, outputs);
      return;
    }
    // Binding its ports has raised them once each: the device model looks at that before it sleeps for the first time.
    deviceModel.runUntilIdle();
    guest.boot(this.hvm);
    guest.startTrace();
  }

  /** Where the firmware put the BARs. */
  get bars(): readonly PlacedBar[] {
    return this.guest.bars;
  }

  /** Run until the domain is shut down, the clock reaches `untilNs`, or nothing can happen any more. */
  run(untilNs = Infinity): LoopEnd {
    const end = this.loop.run(untilNs);
    this.flush();
    return end;
  }

  /**
   * Run as run() does, or until the pause. A paused machine can go on or be saved: nothing that follows shows the pause. Under the
   * virtual clock only.
   */
  runTo(pauseAt: PauseAt, untilNs = Infinity): LoopEnd | 'paused' {
    const end = this.loop.run(untilNs, pauseAt);
    if (end === 'paused') this.deviceModel.flush();
    else this.flush();
    return end;
  }

  get position(): Position {
    return { instructions: this.hvm.engine.instructions, exits: this.hvm.vmx.exits, ns: this.clock.nowNs() };
  }

  /** Hand everything gathered so far to the sinks. */
  flush(): void {
    this.deviceModel.flush();
    this.collector.drain(this.windows);
  }

  /** The state of a machine that does not run: before its first run, or paused. Throws UserError under the host clock. */
  save(): MachineState {
    return { ...this.saveParts(), image: saveImage(this.memory) };
  }

  /** save() without the memory. */
  saveParts(): Omit<MachineState, 'image'> {
    // What the device model gathered for its log and capture goes out: a state holds none of it.
    this.deviceModel.flush();
    return {
      config: this.config(),
      position: this.position,
      parts: Object.fromEntries(this.parts().map(([name, part]) => [name, saved(part)])),
    };
  }

  /** Take a state of this machine or of one built alike. After a UserError the machine is of no use any more. */
  restore(state: MachineState, outputs: Outputs = 'continued'): void {
    this.gate.close(serverState(state));
    try {
      restoreImage(this.memory, state.image);
      for (const [name, part] of this.parts()) {
        // A machine without a recording has no input that waits.
        if (part === this.inputs && state.parts[name] === undefined) continue;
        restoreSaved(part, state.parts[name]);
      }
      this.inputs?.goTo(this.loop.save().rounds);
    } finally {
      this.gate.open();
    }
    if (outputs === 'continued') return;
    this.deviceModel.restartOutputs(true);
    this.collector.skip();
    this.guest.startTrace();
  }

  private config(): MachineConfig {
    const { options, clock } = this;
    if (!(clock instanceof VirtualClock))
      throw new UserError('a machine under the host clock cannot be saved; run it with --clock virtual');
    const { memoryMiB, vcpus, type, hpet } = options.domain;
    return {
      name: options.name,
      domain: { memoryMiB, vcpus, type, hpet },
      nics: options.nics,
      clock: 'virtual',
      epochUs: clock.epochUs,
      seed: options.seed ?? 1,
      traceMask: this.guest.traceMask,
      logForm: this.deviceModel.logForm ?? null,
      wireLatencyNs: options.wireLatencyNs ?? 0,
      testDevices: options.testDevices ?? null,
      fep: options.fep ?? false,
      socket: options.socketOut !== undefined || options.socket !== undefined,
    };
  }

  /** In the order in which they are restored: the clock counts the vCPU's instructions, so it comes behind it. */
  private parts(): [string, Snapshot<unknown>][] {
    const { clock, guest } = this;
    const part = <T>(snapshot: Snapshot<T>): Snapshot<unknown> => snapshot as Snapshot<unknown>;
    return [
      ['device model', part(this.deviceModel)],
      ['vCPU', part(this.hvm)],
      ['run queue', part(guest.runqueue)],
      ['run loop', part(this.loop)],
      ...(clock instanceof VirtualClock ? [['clock', part(clock.snapshot)] as [string, Snapshot<unknown>]] : []),
      ...(this.inputs === undefined ? [] : [['input', part(this.inputs)] as [string, Snapshot<unknown>]]),
      ['rest', part(this.loose)],
    ];
  }

  private readonly loose: Snapshot<Loose> = {
    kind: 'machine',
    version: 1,
    save: () => ({ kicks: this.memory.kicks, warnings: this.guest.warnings, bars: this.guest.bars }),
    restore: ({ kicks, warnings, bars }) => {
      this.memory.kicks = kicks;
      this.guest.warnings = warnings;
      this.guest.bars = bars;
    },
  };
}

/** The ioreq server's part of a state. Throws UserError where there is none. */
function serverState(state: MachineState): IoreqServerState {
  const { parts } = (state.parts['device model']?.state ?? {}) as Partial<DeviceModelState>;
  const server = parts?.['ioreq server']?.state as IoreqServerState | undefined;
  if (server === undefined || !(server.ports instanceof Float64Array))
    throw new UserError('saved state: no ioreq server in it; it is not the state of a machine');
  return server;
}
