/** Going to and fro in a run under the virtual clock: the same machine once more, on this thread, at any place of its run. */
import type { RegisterReading } from '../base/registers.ts';
import { UserError } from '../base/errors.ts';
import { type HappeningKind, Timeline } from '../debug/timeline.ts';
import { type Writer, whoWroteMemory, whoWroteRegister } from '../debug/who.ts';
import { engineFactory } from '../machine/engine-factory.ts';
import { type AddressSpace, type CpuRegisters, cpuRegisters, readMemory } from '../machine/inspect.ts';
import type { MachineJob } from '../machine/job.ts';
import { answerDeviceModel } from '../machine/part.ts';
import type { ChipName, NicState } from '../machine/requests.ts';

/** A place of a run. */
export interface Moment {
  /** Instructions that the vCPU has retired. */
  readonly instructions: number;
  /** VM exits, counted as a trace shows them. */
  readonly exits: number;
  /** Nanoseconds of the machine's clock. */
  readonly ns: number;
  /** The run is over there. */
  readonly isEnd: boolean;
}

/** Who wrote something, and where that was. */
export interface Who {
  readonly by: Writer['by'];
  readonly at: Moment;
  /** One clause more: address of the instruction, or the request in service. */
  readonly text: string;
}

/** What one can step to. */
export type StepKind = 'instruction' | HappeningKind;

export class Travel {
  private readonly timeline: Timeline;

  /** Over a run of the debugger's. */
  constructor(timeline: Timeline) {
    this.timeline = timeline;
  }

  /** @throws UserError for a machine that lives in real time */
  static async of(job: MachineJob): Promise<Travel> {
    if (job.clock !== 'virtual')
      throw new UserError("a machine in real time runs differently each time; set clock: 'virtual' to go back in its run");
    const { name, domain, nics, seed, traceMask } = job;
    const nothing = (): void => {};
    const timeline = await Timeline.ofMachine(
      {
        name,
        domain,
        nics,
        clock: 'virtual',
        seed,
        engine: engineFactory(),
        shared: false,
        ...(traceMask === undefined ? {} : { traceMask }),
      },
      { ...(traceMask === undefined ? {} : { trace: nothing }), ...(job.capture ? { pcap: nothing } : {}) },
    );
    return new Travel(timeline);
  }

  get here(): Moment {
    const { instructions, exits, ns } = this.timeline.position;
    return { instructions, exits, ns, isEnd: this.timeline.end !== undefined };
  }

  /** To the first place that has come to what is named, wherever it lies; the end, where the run ends before. */
  goTo(place: { readonly instructions?: number; readonly exits?: number; readonly ns?: number }): Moment {
    this.timeline.goTo(place);
    return this.here;
  }

  /** To the last place that is not behind a moment, in nanoseconds: within a VM exit no machine stands, so it is before the exit. */
  goToMoment(ns: number): Moment {
    const { timeline } = this;
    timeline.goTo({ ns });
    const { instructions } = timeline.position;
    // An instruction is a nanosecond; what lies further behind came with an exit, whose instruction may count before it or behind it.
    for (let back = 0; back <= 1 && instructions > back && timeline.position.ns >= ns + 1; back++)
      timeline.goTo({ instructions: instructions - back });
    return this.here;
  }

  /** On (+1) or back (-1) by one; the place stays where there is none. */
  step(kind: StepKind, direction: 1 | -1): Moment {
    const { timeline } = this;
    if (kind === 'instruction') timeline.goTo({ instructions: Math.max(0, timeline.position.instructions + direction) });
    else if (direction > 0) timeline.next((happening) => happening.kind === kind);
    else timeline.previous((happening) => happening.kind === kind);
    return this.here;
  }

  registers(): CpuRegisters {
    return cpuRegisters(this.timeline.machine.hvm.engine.registers);
  }

  /** A NIC as it was: model, MAC, registers, counters. */
  nic(index = 0): NicState {
    const { deviceModel } = this.timeline.machine;
    return answerDeviceModel(deviceModel, undefined, { kind: 'nic', nic: index }, () => {})!;
  }

  chip(name: ChipName): readonly RegisterReading[] {
    const { vlapics, vioapic } = this.timeline.machine.platform.controllers;
    return name === 'lapic' ? vlapics.registers(0) : vioapic.registers();
  }

  memory(space: AddressSpace, address: number | bigint, length: number): Uint8Array {
    const { memory, p2m, hvm } = this.timeline.machine;
    return readMemory({ memory, p2m, registers: hvm.engine.registers }, space, BigInt(address), length);
  }

  /** The last write of any of these bytes of guest-physical memory before here. The place stays. */
  whoWrote(gpa: number, length: number): Who {
    return this.who(whoWroteMemory(this.timeline, gpa, length));
  }

  /** The last change of a NIC's register before here; undefined: it has none of that name. The place stays. */
  whoWroteRegister(name: string, nic = 0): Who | undefined {
    const writer = whoWroteRegister(this.timeline, nic, name);
    return writer && this.who(writer);
  }

  private who({ by, position, text }: Writer): Who {
    const { instructions, exits, ns } = position;
    return { by, at: { instructions, exits, ns, isEnd: false }, text };
  }
}
