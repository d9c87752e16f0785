/** One thread's part of a machine, driven by turns: between two of them the thread's event loop has its say. */
import { ShutdownReason } from '../abi/sched.ts';
import type { MachineClock } from '../hypervisor/time/clock.ts';
import type { LoopEnd, PauseAt, PcpuLoop, TurnLimits } from '../hypervisor/sched/schedule.ts';
import type { HvmVcpu } from '../hypervisor/vmx/hvm.ts';
import type { P2m } from '../hypervisor/mm/p2m.ts';
import type { Platform } from '../hypervisor/chips/platform.ts';
import type { DeviceModel } from '../device-model/device-model.ts';
import { formatMac } from '../net/frame.ts';
import { UserError } from '../base/errors.ts';
import { cpuRegisters, readMemory, writeMemory } from './inspect.ts';
import type { MachineJob } from './job.ts';
import { guestLinear } from './report.ts';
import type { DeviceModelRequest, GuestRequest, NicState, PartRequest } from './requests.ts';
import { type DeviceModelWatch, type EventBatch, watchGuest } from './watch.ts';

/** Milliseconds after which a turn may begin again; 'paused': after a request alone; 'ended': no turn is left. */
export type TurnResult = 'ended' | 'paused' | number;

export type Respond = (value: unknown) => void;

export interface Part {
  /** Work until there is nothing to do, or `mustYield`. */
  turn(mustYield: () => boolean): TurnResult;
  /** Sleep until something concerns the part since its last turn, at most so long. Only where its memory is shared. */
  sleep(timeoutMs: number): void;
  /** Do what is asked, and `respond` once it is done. Throws UserError when it cannot be. */
  answer(request: PartRequest, respond: Respond): void;
  /** Hand out what was gathered. */
  flush(): void;
  /** After the last turn, or in place of it: let everything come to rest. */
  finish(): void;
  /** A turn may be long with nothing that comes from outside; shorter ones keep the guest to its speed. */
  readonly turnMs: number;
}

/** Length of a turn that nothing interrupts, in milliseconds of real time. */
const TURN_MS = 100;
const PACED_TURN_MS = 8;
const PACED_SLEEP_MS = 1;

/** The guest's vCPU, paced, paused, stepped and looked at. */
export class GuestRunner {
  paused = false;
  private readonly loop: PcpuLoop;
  private readonly clock: MachineClock;
  private readonly untilNs: number;
  private readonly hvm: HvmVcpu;
  private readonly p2m: P2m;
  private readonly platform: Platform;
  private readonly batch: EventBatch;
  private readonly drainTrace: () => void;
  private factor = Infinity;
  /** Where virtual and real time stood when the present speed was set. */
  private origin = { ns: 0, ms: 0 };
  private pauseAt: PauseAt = {};
  private stepped: Respond | undefined;
  private readonly limits: { -readonly [K in keyof TurnLimits]: TurnLimits[K] };

  constructor(
    loop: PcpuLoop,
    { untilNs, awaitsInput = false }: Pick<MachineJob, 'untilNs' | 'awaitsInput'>,
    { hvm, p2m, platform }: { readonly hvm: HvmVcpu; readonly p2m: P2m; readonly platform: Platform },
    batch: EventBatch,
    drainTrace: () => void,
  ) {
    this.loop = loop;
    this.clock = hvm.domain.pcpu.clock;
    this.untilNs = untilNs;
    this.limits = { mustYield: () => false, limitNs: Infinity, awaitsInput, pauseAt: this.pauseAt };
    this.hvm = hvm;
    this.p2m = p2m;
    this.platform = platform;
    this.batch = batch;
    this.drainTrace = drainTrace;
  }

  get turnMs(): number {
    return this.factor === Infinity ? TURN_MS : PACED_TURN_MS;
  }

  /** As Part.turn; in place of 'ended' how the loop ended. */
  turn(mustYield: () => boolean): LoopEnd | 'paused' | number {
    // A domain that was shut down from outside ends although it is paused.
    if (this.paused && this.hvm.domain.shutdownReason < 0) return 'paused';
    const { loop, limits } = this;
    limits.mustYield = mustYield;
    limits.pauseAt = this.pauseAt;
    limits.limitNs =
      this.factor === Infinity ? Infinity : this.origin.ns + (performance.now() - this.origin.ms) * 1e6 * this.factor;
    const result = loop.turn(this.untilNs, limits);
    if (result === 'paused') {
      this.pauseAt = {};
      this.paused = true;
      this.stepped?.(undefined);
      this.stepped = undefined;
      return 'paused';
    }
    if (result === 'yield') return 0;
    if (result !== 'sleep') return result;
    const ns = loop.sleepUntilNs - this.clock.nowNs();
    // A guest that waits for real time to come on waits a while, so that its thread does not spin.
    return this.factor === Infinity ? Math.max(0, ns / 1e6) : Math.max(PACED_SLEEP_MS, ns / 1e6 / this.factor);
  }

  /** As Part.answer. */
  answer(request: GuestRequest, respond: Respond): void {
    if (request.kind === 'step') {
      this.pauseAt = { exits: this.hvm.vmx.exits + request.exits };
      this.stepped = respond;
      this.paused = false;
      this.setSpeed(this.factor);
    } else respond(this.answerNow(request));
  }

  private answerNow(request: Exclude<GuestRequest, { kind: 'step' }>): unknown {
    const { hvm, p2m } = this;
    const inspected = { memory: hvm.domain.pcpu.memory, p2m, registers: hvm.engine.registers };
    switch (request.kind) {
      case 'pause':
        this.paused = true;
        return undefined;
      case 'resume':
        this.paused = false;
        this.setSpeed(this.factor);
        return undefined;
      case 'stop':
        hvm.domain.shutdown(request.isShown ? ShutdownReason.inspected : ShutdownReason.interrupted);
        return undefined;
      case 'speed':
        if (this.clock.kind !== 'virtual' && request.factor !== Infinity)
          throw new UserError("a guest's speed can be set under the virtual clock only; make the machine with clock: 'virtual'");
        this.setSpeed(request.factor);
        return undefined;
      case 'flush':
        this.drainTrace();
        return undefined;
      case 'registers':
        return cpuRegisters(hvm.engine.registers);
      case 'linear':
        return guestLinear(hvm, p2m, inspected.memory.u32);
      case 'memory':
        return readMemory(inspected, request.space, request.address, request.length);
      case 'write':
        writeMemory(inspected, request.address, request.bytes, (frame) => hvm.engine.invalidateCode(frame));
        return undefined;
      case 'chip': {
        const { vlapics, vioapic } = this.platform.controllers;
        return request.name === 'lapic' ? vlapics.registers(0) : vioapic.registers();
      }
      case 'watch':
        watchGuest(hvm, request, this.batch);
        return undefined;
    }
  }

  private setSpeed(factor: number): void {
    this.factor = factor;
    this.origin = { ns: this.clock.nowNs(), ms: performance.now() };
  }
}

/** @param wake something lies ready for the device model: its vCPU is to run */
export function answerDeviceModel(
  deviceModel: DeviceModel,
  watch: DeviceModelWatch | undefined,
  request: DeviceModelRequest,
  wake: () => void,
): NicState | undefined {
  const nicOf = (index: number) => {
    const nic = deviceModel.nics[index];
    if (nic === undefined) throw new UserError(`NIC ${index}: the machine has ${deviceModel.nics.length}, numbered from 0`);
    return nic;
  };
  switch (request.kind) {
    case 'input':
      deviceModel.queueInput(request.to, request.bytes);
      wake();
      return undefined;
    case 'nic': {
      const port = nicOf(request.nic);
      return {
        model: deviceModel.nicOptions[request.nic]!.model,
        mac: formatMac(deviceModel.nicOptions[request.nic]!.mac),
        registers: port.nic.registers(),
        statistics: port.statistics(),
      };
    }
    case 'link':
      nicOf(request.nic).setLink(request.up);
      wake();
      return undefined;
    case 'watch':
      watch?.want(request.ioreqs, request.frames);
      return undefined;
  }
}
