/**
 * A run of a machine on threads of its own: what the threads are told and what they tell. Plain data, so that it crosses
 * to a Worker in Node and in a browser alike.
 */
import type { RingPair } from '../device-model/device-model.ts';
import type { DmLogForm } from '../device-model/log.ts';
import type { NicOptions } from '../device-model/nics.ts';
import type { TestDeviceOptions } from '../devices/test-devices.ts';
import type { DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import type { FrameDirection } from '../net/hub.ts';
import type { MachineLayout } from '../hypervisor/mm/memory.ts';
import type { RunOutcome } from './exit-status.ts';
import type { BareDomain } from './guest-side.ts';
import type { DeviceModelReport, GuestReport } from './report.ts';
import type { PartRequest, WatchedEvent } from './requests.ts';
import type { MachineState } from './state/machine-state.ts';
import type { Divergence, RecordedRun, Recording } from './state/recording.ts';

/** Machine memory as two threads are handed it; structured-cloneable. */
export interface SplitMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: MachineLayout;
}

export type { DomainConfig };

/** Where the device model runs: in a Worker of its own, or on the guest's thread. */
export type DeviceModelPlacement = 'worker' | 'inline';

/** Where a run is saved, and ends. */
export interface SaveAt {
  /** Seconds of the clock, a VM exit, an instruction, text on the console: the first of these that is reached. */
  readonly seconds?: number;
  readonly exit?: number;
  readonly instruction?: number;
  readonly console?: string;
  /** An i32 that another thread sets to 1 to have the machine saved where it is. */
  readonly asked?: SharedArrayBuffer;
}

export interface MachineJob {
  readonly name: string;
  readonly domain: DomainConfig | BareDomain;
  readonly nics: readonly NicOptions[];
  readonly clock: 'virtual' | 'host';
  /** `worker` needs the host clock. */
  readonly deviceModel: DeviceModelPlacement;
  readonly seed: number;
  /** MachineOptions.epochUs and wireLatencyNs. */
  readonly epochUs?: number;
  readonly wireLatencyNs?: number;
  /** xentrace event mask; undefined: no trace. */
  readonly traceMask?: number;
  /** Form of the device model's log; undefined: no log. */
  readonly logForm?: DmLogForm;
  readonly capture: boolean;
  /** False: machine memory without a SharedArrayBuffer, the device model inline. */
  readonly shared?: boolean;
  /** URL of a module whose default export gives devices beside the machine's own (PlacedDevice[]). */
  readonly deviceModule?: string;
  /** The devices of test programs are there too. */
  readonly testDevices?: TestDeviceOptions;
  /** The forced-emulation prefix is honoured. */
  readonly fep?: boolean;
  /** MachineOptions.exactBudgets. */
  readonly exactBudgets?: boolean;
  /** The machine goes on from this state; its domain has no kernel then. */
  readonly state?: MachineState;
  /** Under the virtual clock: save the machine there, and end. */
  readonly saveAt?: SaveAt;
  /** Make a recording: two i32, the bell and the stop of LiveInput. */
  readonly record?: SharedArrayBuffer;
  /** Bring again what was recorded, and compare. */
  readonly replay?: Recording;
  /** Nanoseconds of the machine's clock after which the run is given up. */
  readonly untilNs: number;
  /** Whoever launched the machine may still send something: a guest that waits for ever under the virtual clock does not end the run. */
  readonly awaitsInput?: boolean;
  /** Characters typed for COM1: a frame ring (net/frame-ring.ts) over this buffer. */
  readonly consoleInput?: SharedArrayBuffer;
  /** Ends of the run at which the vCPU is shown in the log. */
  readonly dumpOn?: readonly RunOutcome[];
  /** The wire's other end in place of the dom0 endpoint. */
  readonly socket?: RingPair;
}

/** What the device model's thread needs of a job: the guest's images are none of it. */
export type DeviceModelJob = Omit<MachineJob, 'domain' | 'state' | 'saveAt' | 'record' | 'replay'> & {
  readonly domain: Pick<DomainConfig, 'hpet'>;
};

/** A thread's part of a job: the whole machine, or one side of it over this memory. */
export type JobPart = {
  /** One word: how many requests the thread has been sent. Undefined: it cannot be woken, and looks often. */
  readonly control?: SharedArrayBuffer;
  /** Ring that what the thread puts out goes into (output-ring.ts); without one it goes out as messages. */
  readonly output?: SharedArrayBuffer;
} & (
  | { readonly part: 'machine'; readonly job: MachineJob }
  | {
      readonly part: 'guest';
      readonly job: MachineJob;
      readonly split: SplitMemory;
      /** The device model's: while that thread waits for room in it, its silence is not its fault. */
      readonly deviceModelOutput?: SharedArrayBuffer;
    }
  | { readonly part: 'device-model'; readonly job: DeviceModelJob; readonly split: SplitMemory }
);

/** A request on its way to a thread; the answer bears the same number. */
export interface NumberedRequest {
  readonly id: number;
  readonly request: PartRequest;
}

export type JobResult = GuestReport & DeviceModelReport;

/** What a machine puts out in order, as much as there is of it. */
export type StreamedOutput =
  | { readonly kind: 'console' | 'trace' | 'pcap'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly text: string }
  | { readonly kind: 'say'; readonly level: 'debug' | 'info' | 'warn'; readonly text: string };

/** What a machine puts out while it runs. */
export type JobOutput =
  | StreamedOutput
  | { readonly kind: 'events'; readonly events: readonly WatchedEvent[] }
  | {
      readonly kind: 'frame';
      readonly nic: number;
      /** As the NIC sees it. */
      readonly direction: FrameDirection;
      readonly ns: number;
      readonly bytes: Uint8Array;
    };

export type JobMessage =
  | JobOutput
  /** Something lies in the thread's ring. */
  | { readonly kind: 'output' }
  /** The machine is built, in this memory, and about to run. */
  | { readonly kind: 'started'; readonly split: SplitMemory | undefined }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown; readonly error?: Failure }
  | { readonly kind: 'ended'; readonly report: GuestReport }
  | { readonly kind: 'served'; readonly report: DeviceModelReport }
  /** The machine's state where `saveAt` wanted it. */
  | { readonly kind: 'saved'; readonly state: MachineState }
  /** A recording is complete. */
  | { readonly kind: 'recorded'; readonly run: RecordedRun }
  /** A replay is over. */
  | { readonly kind: 'replayed'; readonly divergence: Divergence | null }
  /** The run could not be made or broke. */
  | ({ readonly kind: 'failed' } & Failure);

/** An error on its way to another thread: `isUser` when the message is one a user can act on. */
export interface Failure {
  readonly message: string;
  readonly isUser: boolean;
  readonly stack: string;
}

/** `transfer`: buffers that the receiver takes over. */
export type PostJobMessage = (message: JobMessage, transfer?: ArrayBuffer[]) => void;
