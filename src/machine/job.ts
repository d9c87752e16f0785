/**
 * A run of a machine on a thread of its own: what the thread is told and what it tells. Plain data, so that it crosses
 * to a Worker in Node and in a browser alike.
 */
import type { LinearRange } from './linear-map.ts';
import type { DmLogForm } from '../device-model/log.ts';
import type { NicOptions } from '../device-model/nics.ts';
import type { DomainConfig } from '../hypervisor/domain-builder/domain-builder.ts';
import type { RunOutcome } from './exit-status.ts';
import type { SplitMemory } from './split-machine.ts';

export interface MachineJob {
  readonly name: string;
  readonly domain: DomainConfig;
  readonly nics: readonly NicOptions[];
  readonly clock: 'virtual' | 'host';
  readonly seed: number;
  /** xentrace event mask; undefined: no trace. */
  readonly traceMask?: number;
  /** Form of the device model's log; undefined: no log. */
  readonly logForm?: DmLogForm;
  readonly capture: boolean;
  /** Nanoseconds of the machine's clock after which the run is given up. */
  readonly untilNs: number;
  /** Characters typed for COM1: a frame ring (net/frame-ring.ts) over this buffer. */
  readonly consoleInput?: SharedArrayBuffer;
}

/** One half of a machine whose device model has a thread of its own. */
export interface SplitJob {
  readonly half: 'guest' | 'deviceModel';
  readonly split: SplitMemory;
  readonly job: MachineJob;
}

export interface JobResult {
  readonly outcome: RunOutcome;
  /** Instructions the guest retired, and the machine's clock at the end, in nanoseconds. */
  readonly instructions: number;
  readonly ns: number;
  readonly mapCache: { readonly hits: number; readonly remaps: number };
  /** Guest-virtual addresses: of device pages as their exits told (gfn, page), of the rest as the kernel's tables map it at the end. */
  readonly linear: { readonly mmio: readonly (readonly [number, bigint])[]; readonly kernel: readonly LinearRange[] };
}

export type JobMessage =
  | { readonly kind: 'console' | 'trace' | 'pcap'; readonly bytes: Uint8Array }
  | { readonly kind: 'log'; readonly text: string }
  | { readonly kind: 'say'; readonly level: 'debug' | 'info' | 'warn'; readonly text: string }
  /** The machine is built and about to run. */
  | { readonly kind: 'started' }
  /** The device model's thread serves: index (4-byte words of the memory) of the futex word to raise for console input. */
  | { readonly kind: 'serving'; readonly futex: number }
  /** The device model's thread is done. */
  | { readonly kind: 'mapCache'; readonly counters: JobResult['mapCache'] }
  | { readonly kind: 'end'; readonly result: JobResult }
  /** The run could not be made or broke: `isUser` when the message is one a user can act on. */
  | { readonly kind: 'failed'; readonly message: string; readonly isUser: boolean; readonly stack: string };
