/**
 * A machine with its device model on a thread of its own: one thread calls runGuestThread, the other runDeviceModelThread,
 * over one memory made by createSplitMemory. Real time only: what two threads do does not repeat to the byte.
 */
import { silentLogger } from '../base/logger.ts';
import { runDeviceModel } from '../device-model/worker-loop.ts';
import type { DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import { HostClock } from '../hypervisor/time/clock.ts';
import { attachDom0 } from '../hypervisor/setup/dom0.ts';
import { createWasmMemory, machineLayout, MachineMemory } from '../hypervisor/mm/memory.ts';
import type { MachineLayout } from '../hypervisor/mm/memory.ts';
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
import { deviceModelReport, type DeviceModelReport, guestReport, type GuestReport } from './report.ts';

/** dom0 on pCPU 0, the guest's vCPU on pCPU 1. */
const GUEST_PCPU = 1;
const PCPUS = 2;
/** Pages of a trace ring: the guest's thread alone drains them, whenever its own is half full. */
const TRACE_PAGES = 256;
/** Longest wait for the other thread to do its part, in milliseconds. */
const HANDSHAKE_MS = 30_000;

/** The word by which the two threads keep step. */
const Step = { none: 0, built: 1, serving: 2, booted: 3, awake: 4, tracing: 5, running: 6, guestDone: 7, stopped: 8 } as const;

/** What both threads are handed; structured-cloneable. */
export interface SplitMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: MachineLayout;
}

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

interface GuestThreadEvents {
  /** The guest is about to run. */
  readonly onStarted?: () => void;
  /** Whether the device model's thread waits for somebody to take its output, so that its silence says nothing. */
  readonly isDeviceModelHeldUp?: () => boolean;
}

/** Build the domain and run it on this thread until it is shut down or `untilNs`. */
export function runGuestThread(
  split: SplitMemory,
  options: MachineOptions,
  sinks: MachineSinks,
  untilNs: number,
  { onStarted, isDeviceModelHeldUp }: GuestThreadEvents = {},
): GuestReport {
  const memory = new MachineMemory(split.memory, split.layout);
  const handshake = new Handshake(memory);
  const clock = new HostClock(memory);
  const collector = new TraceCollector(memory);
  const windows = new TraceWindowWriter((bytes) => sinks.trace?.(bytes));
  const drainTrace = (): void => void collector.drain(windows);
  const guest = new GuestSide({ memory, clock, pcpu: GUEST_PCPU, drainTrace, deviceModel: 'worker' }, options, sinks);
  const { dom0, domain, p2m } = guest;
  const hvm = guest.createVcpu(undefined, isDeviceModelHeldUp);
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
    onStarted?.();
    const loop = new PcpuLoop(guest.pcpu, guest.runqueue, guest.timers, hvm);
    guest.showAtEnd(loop, hvm);
    return guestReport(loop.run(untilNs), { domain, hvm, p2m });
  } finally {
    handshake.step = Step.guestDone;
    dom0.vcpus[0]!.kick();
    handshake.await(Step.stopped);
    drainTrace();
  }
}

/** A machine's options as far as they concern the device model. */
type DeviceModelThreadOptions = Pick<
  MachineOptions,
  'name' | 'nics' | 'logForm' | 'wireLatencyNs' | 'consoleInput' | 'socket' | 'testDevices'
> & {
  readonly domain: Pick<DomainConfig, 'hpet'>;
};

/**
 * Serve the guest's domain on this thread until the guest's thread is done. Whatever comes from outside (console input, the
 * wire) kicks dom0's vCPU.
 */
export function runDeviceModelThread(
  split: SplitMemory,
  options: DeviceModelThreadOptions,
  sinks: MachineSinks,
): DeviceModelReport {
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
  const deviceModel = createDeviceModel(dom0.pcpu, dom0.hypercalls, options, sinks);
  deviceModel.start();
  try {
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
    runDeviceModel({
      deviceModel,
      words: memory.i32,
      futex: dom0.futex,
      stopped,
      now: () => dom0.clock.nowNs(),
      sleep: (seen, timeoutMs) => dom0.vcpu.sleep(seen, timeoutMs),
    });
  } finally {
    dom0.vcpu.stop();
    handshake.step = Step.stopped;
  }
  return deviceModelReport(deviceModel);
}
