/**
 * A machine with its device model on a thread of its own: one thread holds the GuestPart, the other the DeviceModelPart, over
 * one memory made by createSplitMemory. Real time only: what two threads do does not repeat to the byte.
 */
import { silentLogger } from '../base/logger.ts';
import type { DeviceModel } from '../device-model/device-model.ts';
import { WorkerLoop } from '../device-model/worker-loop.ts';
import type { DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import { HostClock } from '../hypervisor/time/clock.ts';
import { attachDom0, type Dom0Thread } from '../hypervisor/setup/dom0.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import { createWasmMemory, machineLayout, MachineMemory } from '../hypervisor/mm/memory.ts';
import { PcpuLoop } from '../hypervisor/sched/schedule.ts';
import { TraceCollector } from '../hypervisor/trace/trace.ts';
import { TraceWindowWriter } from '../trace/writer.ts';
import {
  createDeviceModel,
  type EngineFactory,
  GUEST_DOMID,
  guestMemoryOptions,
  guestPlatform,
  GuestSide,
  type MachineOptions,
  type MachineSinks,
} from './guest-side.ts';
import type { MachineJob, PostJobMessage, SplitMemory } from './job.ts';
import { answerDeviceModel, GuestRunner, type Part, type Respond, type TurnResult } from './part.ts';
import { deviceModelReport, guestReport } from './report.ts';
import type { PartRequest } from './requests.ts';
import { DeviceModelWatch, EventBatch, ownWires } from './watch.ts';

/** dom0 on pCPU 0, the guest's vCPU on pCPU 1. */
const GUEST_PCPU = 1;
const PCPUS = 2;
/** Pages of a trace ring: the guest's thread alone drains them, whenever its own is half full. */
const TRACE_PAGES = 256;
/** Longest wait for the other thread to do its part, in milliseconds. */
const HANDSHAKE_MS = 30_000;

/** The word by which the two threads keep step. */
const Step = { none: 0, built: 1, serving: 2, booted: 3, awake: 4, tracing: 5, running: 6, guestDone: 7, stopped: 8 } as const;

/** Machine memory for a guest of this size. */
export function createSplitMemory(config: Pick<DomainConfig, 'memoryMiB'>, engine: Pick<EngineFactory, 'areaSize'>): SplitMemory {
  const layout = machineLayout({
    ...guestMemoryOptions(config.memoryMiB, engine, PCPUS),
    tracePages: TRACE_PAGES,
    xenheapSize: 0x200000,
  });
  return { memory: createWasmMemory(layout), layout };
}

class Handshake {
  private readonly i32: Int32Array;
  private readonly word: number;

  constructor(memory: MachineMemory) {
    this.i32 = memory.i32;
    this.word = memory.xenheap('split machine', 4) >>> 2;
  }

  get step(): number {
    return Atomics.load(this.i32, this.word);
  }

  set step(step: number) {
    Atomics.store(this.i32, this.word, step);
    Atomics.notify(this.i32, this.word);
  }

  /** Sleep until the other side has come to this step; false when it has not in time. */
  await(step: number): boolean {
    for (let seen = this.step; seen < step; seen = this.step) {
      if (Atomics.wait(this.i32, this.word, seen, HANDSHAKE_MS) === 'timed-out') return false;
    }
    return true;
  }
}

interface GuestLimits extends Pick<MachineJob, 'untilNs' | 'awaitsInput'> {
  /** Whether the device model's thread waits for somebody to take its output, so that its silence says nothing. */
  readonly isDeviceModelHeldUp?: () => boolean;
}

/** The guest's side of the machine, on a thread of its own. */
export class GuestPart implements Part {
  private readonly handshake: Handshake;
  private readonly guest: GuestSide;
  private readonly runner: GuestRunner;
  private readonly loop: PcpuLoop;
  private readonly hvm: HvmVcpu;
  private readonly batch: EventBatch;
  private readonly post: PostJobMessage;
  private readonly drainTrace: () => void;

  /** Builds the domain, waits until the device model serves it, and does the firmware's work. */
  constructor(split: SplitMemory, options: MachineOptions, sinks: MachineSinks, limits: GuestLimits, post: PostJobMessage) {
    const memory = new MachineMemory(split.memory, split.layout);
    const handshake = new Handshake(memory);
    const clock = new HostClock(memory);
    const collector = new TraceCollector(memory);
    const windows = new TraceWindowWriter((bytes) => sinks.trace?.(bytes));
    const drainTrace = (): void => void collector.drain(windows);
    const guest = new GuestSide({ memory, clock, pcpu: GUEST_PCPU, drainTrace, deviceModel: 'worker' }, options, sinks);
    const { dom0, p2m, platform } = guest;
    const hvm = guest.createVcpu(undefined, limits.isDeviceModelHeldUp);
    this.handshake = handshake;
    this.guest = guest;
    this.hvm = hvm;
    this.post = post;
    this.drainTrace = drainTrace;
    this.batch = new EventBatch(post);
    handshake.step = Step.built;
    try {
      if (!handshake.await(Step.serving)) throw new Error("the device model's thread did not start");
      guest.boot(hvm);
      // The trace begins while the other thread is awake, which then shows first that its vCPU runs.
      handshake.step = Step.booted;
      dom0.vcpus[0]!.kick();
      let ready = handshake.await(Step.awake);
      guest.startTrace();
      handshake.step = Step.tracing;
      ready &&= handshake.await(Step.running);
      if (!ready) throw new Error("the device model's thread does not answer");
      post({ kind: 'started', split });
      this.loop = new PcpuLoop(guest.pcpu, guest.runqueue, guest.timers, hvm);
      guest.showAtEnd(this.loop, hvm);
      this.runner = new GuestRunner(this.loop, limits, { hvm, p2m, platform }, this.batch, drainTrace);
    } catch (error) {
      this.finish();
      throw error;
    }
  }

  get turnMs(): number {
    return this.runner.turnMs;
  }

  turn(mustYield: () => boolean): TurnResult {
    const result = this.runner.turn(mustYield);
    if (result === 'paused' || typeof result === 'number') return result;
    const { domain, p2m } = this.guest;
    this.post({ kind: 'ended', report: guestReport(result, { domain, hvm: this.hvm, p2m }) });
    return 'ended';
  }

  sleep(timeoutMs: number): void {
    this.loop.sleep(timeoutMs);
  }

  answer({ to, request }: PartRequest, respond: Respond): void {
    if (to !== 'guest') throw new Error(`the guest's thread cannot answer '${request.kind}'`);
    this.runner.answer(request, respond);
  }

  flush(): void {
    this.batch.flush();
  }

  finish(): void {
    this.handshake.step = Step.guestDone;
    this.guest.dom0.vcpus[0]!.kick();
    this.handshake.await(Step.stopped);
    this.drainTrace();
    this.batch.flush();
  }
}

/** A machine's options as far as they concern the device model. */
type DeviceModelPartOptions = Pick<
  MachineOptions,
  'name' | 'nics' | 'logForm' | 'wireLatencyNs' | 'consoleInput' | 'socket' | 'devices' | 'testDevices'
> & {
  readonly domain: Pick<DomainConfig, 'hpet'>;
};

/** The device model's side, on a thread of its own. Whatever comes from outside (console input, the wire) kicks dom0's vCPU. */
export class DeviceModelPart implements Part {
  readonly turnMs = 100;
  private readonly handshake: Handshake;
  private readonly dom0: Dom0Thread;
  private readonly deviceModel: DeviceModel;
  private readonly loop: WorkerLoop;
  private readonly watch: DeviceModelWatch;
  private readonly batch: EventBatch;
  private readonly post: PostJobMessage;

  /** Waits until the guest's thread has built its domain, then serves it. */
  constructor(split: SplitMemory, options: DeviceModelPartOptions, sinks: MachineSinks, post: PostJobMessage) {
    const memory = new MachineMemory(split.memory, split.layout);
    const handshake = new Handshake(memory);
    if (!handshake.await(Step.built)) throw new Error("the guest's thread did not build its domain");
    const dom0 = attachDom0({
      memory: split.memory,
      layout: split.layout,
      guest: { domid: GUEST_DOMID, name: options.name, vcpus: 1 },
      guestPcpu: GUEST_PCPU,
      platform: guestPlatform(options.domain),
      log: sinks.logger ?? silentLogger,
    });
    this.handshake = handshake;
    this.dom0 = dom0;
    this.post = post;
    this.batch = new EventBatch(post);
    this.deviceModel = createDeviceModel(dom0.pcpu, dom0.hypercalls, options, sinks);
    this.watch = new DeviceModelWatch(this.deviceModel, dom0.clock, this.batch, post, ownWires(options.nics));
    this.deviceModel.start();
    handshake.step = Step.serving;
    const stopped = (): boolean => {
      const { step } = handshake;
      if (step === Step.booted) {
        handshake.step = Step.awake;
        handshake.await(Step.tracing);
        dom0.vcpu.announce();
        handshake.step = Step.running;
      }
      return step === Step.guestDone;
    };
    this.loop = new WorkerLoop({
      deviceModel: this.deviceModel,
      words: memory.i32,
      futex: dom0.futex,
      stopped,
      now: () => dom0.clock.nowNs(),
      sleep: (seen, timeoutMs) => dom0.vcpu.sleep(seen, timeoutMs),
    });
  }

  turn(mustYield: () => boolean): TurnResult {
    const result = this.loop.turn(mustYield);
    return result === 'stopped' ? 'ended' : result;
  }

  sleep(timeoutMs: number): void {
    this.loop.sleep(timeoutMs);
  }

  answer({ to, request }: PartRequest, respond: Respond): void {
    if (to !== 'device-model') throw new Error(`the device model's thread cannot answer '${request.kind}'`);
    respond(answerDeviceModel(this.deviceModel, this.watch, request, () => {}));
  }

  flush(): void {
    this.batch.flush();
    this.deviceModel.flush();
  }

  finish(): void {
    this.deviceModel.stop();
    this.batch.flush();
    this.dom0.vcpu.stop();
    this.handshake.step = Step.stopped;
    this.post({ kind: 'served', report: deviceModelReport(this.deviceModel) });
  }
}
