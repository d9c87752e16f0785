/** Events of a machine, and who listens. */
import type { ExitEvent, InterruptEvent, IoreqEvent } from '../machine/requests.ts';
import type { RunOutcome } from '../machine/exit-status.ts';
import type { JobResult } from '../machine/job.ts';

/** How a machine's run ended. */
export interface MachineEnd {
  readonly outcome: RunOutcome;
  /** The outcome in words. */
  readonly text: string;
  /** Instructions that the guest retired. */
  readonly instructions: number;
  /** The machine's clock at the end, nanoseconds. */
  readonly ns: number;
  readonly mapCache: JobResult['mapCache'];
  readonly nics: JobResult['nics'];
}

/** A frame that crossed the cable of a NIC. */
export interface FrameEvent {
  /** Which NIC, from 0. */
  readonly nic: number;
  /** `out`: the guest sent it; `in`: it reached the NIC. */
  readonly direction: 'out' | 'in';
  /** Nanoseconds of the machine's clock. */
  readonly ns: number;
  /** Destination address first, no FCS. */
  readonly bytes: Uint8Array;
}

/** The events of a machine, each with what its listeners get. */
export interface MachineEvents {
  /** Characters that the guest wrote to its console, as bytes. */
  console: Uint8Array;
  frame: FrameEvent;
  exit: ExitEvent;
  interrupt: InterruptEvent;
  ioreq: IoreqEvent;
  /** Bytes of the trace file. */
  trace: Uint8Array;
  /** Lines of the device model's log, with their ends. */
  log: string;
  /** Bytes of the capture, pcapng. */
  capture: Uint8Array;
  /** What the hypervisor or the device model has to say, a line. */
  warning: string;
  end: MachineEnd;
}

export type EventName = keyof MachineEvents;

export class Emitter {
  private readonly listeners = new Map<EventName, Set<(event: never) => void>>();

  on<Name extends EventName>(name: Name, listener: (event: MachineEvents[Name]) => void): void {
    let set = this.listeners.get(name);
    if (set === undefined) this.listeners.set(name, (set = new Set()));
    set.add(listener);
  }

  off<Name extends EventName>(name: Name, listener: (event: MachineEvents[Name]) => void): void {
    this.listeners.get(name)?.delete(listener);
  }

  emit<Name extends EventName>(name: Name, event: MachineEvents[Name]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])]) (listener as (event: MachineEvents[Name]) => void)(event);
  }

  has(name: EventName): boolean {
    return (this.listeners.get(name)?.size ?? 0) > 0;
  }
}
