/** What the thread that launched a machine asks of the machine's threads while they run, and what they tell of one event. */
import type { RegisterReading } from '../base/registers.ts';
import type { GuestReport } from './report.ts';
import type { AddressSpace, CpuRegisters } from './inspect.ts';

/** Asked of the guest's thread. */
export type GuestRequest =
  | { readonly kind: 'pause' | 'resume' | 'registers' | 'linear' | 'flush' }
  /** Shut the domain down as a toolstack does; with its vCPU in the log when `isShown`. */
  | { readonly kind: 'stop'; readonly isShown: boolean }
  /** Run until so many VM exits more, then pause. */
  | { readonly kind: 'step'; readonly exits: number }
  /** Nanoseconds of the virtual clock for each nanosecond of real time; Infinity: as fast as it goes. */
  | { readonly kind: 'speed'; readonly factor: number }
  | { readonly kind: 'memory'; readonly space: AddressSpace; readonly address: bigint; readonly length: number }
  | { readonly kind: 'write'; readonly address: number; readonly bytes: Uint8Array }
  | { readonly kind: 'chip'; readonly name: ChipName }
  | { readonly kind: 'watch'; readonly exits: boolean; readonly interrupts: boolean };

/** Asked of the device model's thread. */
export type DeviceModelRequest =
  | { readonly kind: 'input'; readonly to: number | 'console'; readonly bytes: Uint8Array }
  | { readonly kind: 'nic'; readonly nic: number }
  | { readonly kind: 'link'; readonly nic: number; readonly up: boolean }
  | { readonly kind: 'watch'; readonly ioreqs: boolean; readonly frames: boolean };

export type PartRequest =
  | { readonly to: 'guest'; readonly request: GuestRequest }
  | { readonly to: 'device-model'; readonly request: DeviceModelRequest };

/** Chips inside the hypervisor whose registers can be asked for. */
export type ChipName = 'lapic' | 'ioapic';

/** The state of one NIC. */
export interface NicState {
  readonly model: string;
  readonly mac: string;
  readonly registers: readonly RegisterReading[];
  /** The chip's own counters, under the names `ethtool -S` gives them. */
  readonly statistics: Readonly<Record<string, number>>;
}

/** Answers by kind of request; undefined for those that are only done. */
export interface Answers {
  readonly registers: CpuRegisters;
  readonly memory: Uint8Array;
  readonly chip: readonly RegisterReading[];
  readonly linear: GuestReport['linear'];
  readonly nic: NicState;
}

/** A VM exit. */
export interface ExitEvent {
  readonly kind: 'exit';
  /** Basic exit reason (Intel SDM vol. 3C, appendix C). */
  readonly reason: number;
  readonly reasonName: string;
  readonly rip: bigint;
  /** Time-stamp counter of the machine. */
  readonly tsc: number;
}

/** An interrupt injected into the guest. */
export interface InterruptEvent {
  readonly kind: 'interrupt';
  readonly vector: number;
  readonly tsc: number;
}

/** A request that the device model has served. */
export interface IoreqEvent {
  readonly kind: 'ioreq';
  /** Number of the request since the device model was started, from 1; buffered ones have numbers of their own. */
  readonly serial: number;
  /** By the buffered ring and not by the synchronous page. */
  readonly buffered: boolean;
  readonly type: 'pio' | 'copy' | 'pci config' | 'time offset' | 'invalidate' | 'unknown';
  readonly write: boolean;
  /** Port, or guest-physical address. */
  readonly address: number;
  /** Bytes of one access. */
  readonly size: number;
  readonly count: number;
  /** What was written, or what the device model answered. */
  readonly data: bigint;
  /** The data lies in guest memory, at the address `data`. */
  readonly dataIsPointer: boolean;
  /** When it was served, in nanoseconds of the machine's clock. */
  readonly ns: number;
}

export type WatchedEvent = ExitEvent | InterruptEvent | IoreqEvent;
