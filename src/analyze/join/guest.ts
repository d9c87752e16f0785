import type { ClockAlignment } from './clock.ts';
import type { DeviceWindow, LoggedRegions } from './devices.ts';
import type { DriverStory } from './driver.ts';
import type { CaptureJoin } from './frames.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';
import type { Transmission } from './transmit.ts';
import type { DmLog } from '../sources/dm-log.ts';
import type { Claim, Ref } from '../sources/evidence.ts';
import type { LostEvent } from '../sources/events.ts';
import type { P2mTable } from '../sources/p2m-table.ts';
import type { CapturedFrame } from '../sources/pcap.ts';

/** The TSC rate that a trace's times were made with, and how it is known. */
export interface TscRate {
  readonly hz: number;
  /** assumed: nobody said it, and no file tells it. */
  readonly by: 'told' | 'log header' | 'pairs' | 'console' | 'assumed';
  /** Half width, where it is an estimate. */
  readonly errorHz: number | undefined;
  /** What was told or assumed, where the files tell another. */
  readonly insteadOf: number | undefined;
}

/** What all guests of one set of files share. */
export interface Shared {
  /** All captured frames. */
  readonly frames: readonly CapturedFrame[];
  readonly p2m: P2mTable;
  readonly lost: readonly LostEvent[];
  /** Records of hypercalls seen at all: without them nothing follows from their absence. */
  readonly hypercallRecords: number;
  readonly captureDamage: string | undefined;
  /** Lines of a text or a log that begin as a record and end before its end. */
  readonly cutLines: readonly Ref[];
  readonly gvaOf: (gpa: number) => Claim<bigint>;
  /** undefined for a text, whose times are made already. */
  readonly tscRate: TscRate | undefined;
  /** Whole seconds since 1970 that all wall-clock times of logs and captures here count from. */
  readonly wallBase: number;
  /** Domains with accesses in the files. */
  readonly domains: readonly number[];
  /** Files that were left out, and why: one line each. */
  readonly leftOut: readonly string[];
}

/** One guest with all that the files give of it, joined: the input of paths and stories. */
export interface Guest extends Shared {
  /** undefined where there is a log alone. */
  readonly dom: number | undefined;
  /** The name its log was given with. */
  readonly label: string | undefined;
  /** Its accesses; an access's index is its place here. */
  readonly accesses: readonly IoAccess[];
  /** Name of its log's file. */
  readonly logName: string | undefined;
  /** Its device model's log. */
  readonly log: DmLog | undefined;
  readonly pairing: Pairing | undefined;
  readonly clock: ClockAlignment | undefined;
  readonly clockKind: Claim<'modelled' | 'measured'>;
  /** Virtual interrupts injected, by vector. */
  readonly injections: ReadonlyMap<number, number>;
  readonly windows: readonly DeviceWindow[];
  readonly regions: LoggedRegions;
  /** What its driver did to its NICs. */
  readonly driver: DriverStory;
  readonly capture: CaptureJoin;
  /** The frames it sent, in order. */
  readonly transmissions: readonly Transmission[];
}
