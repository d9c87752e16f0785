/**
 * What a chip is given and what it gives. A chip knows its registers, its bus, a wire and a clock, and
 * nothing of Xen, threads or files.
 */
import type { RegisterReading } from './registers.ts';

import type { LineFields, LogLine } from '../base/log-line.ts';

/**
 * A device's way to guest memory, by guest-physical address (a PCI bus address *is* the GPA). It reaches RAM
 * only: whatever else lies there, the device's own registers included, reads as zero and takes no write, so
 * that DMA can never come back as a register access. Addresses are doubles; those past 2^52 are no RAM.
 */
export interface DmaBus {
  /**
   * Copies `length` bytes at `gpa` into `buffer` at `offset`. Bytes that are not RAM become zero.
   * @returns false when any byte was not RAM
   */
  read(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  /** Copies `length` bytes of `buffer` at `offset` to `gpa`; bytes that fall outside RAM are lost. */
  write(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
}

/** A one-shot timer of a device; the callback runs on the device's own thread, never inside `arm`. */
export interface DeviceTimer {
  /** Fires once when the clock reaches `atNs` (at once if that is past); replaces an earlier deadline. */
  arm(atNs: number): void;
  cancel(): void;
}

/** The machine's clock as a device sees it. base/clock.ts's Clock plus timers. */
export interface DeviceClock {
  /** Nanoseconds since the machine was switched on. */
  nowNs(): number;
  newTimer(expire: () => void): DeviceTimer;
}

/**
 * What a NIC did with a frame. `refused`: no room now, the wire keeps the frame (first in, first out) and offers it
 * again after the NIC has called `receiverReady`. `held`: the same, but the NIC itself asks for a pause of a second at most.
 * `dropped`: gone, by filter, overrun or a receiver that is off.
 */
export type ReceiveResult = 'accepted' | 'refused' | 'held' | 'dropped';

/** The cable plugged into a NIC, as the NIC sees it. */
export interface Wire {
  /**
   * Takes a frame (destination MAC first, no FCS): bytes 0 … length-1 of `buffer`, which belongs to the chip
   * and holds them during this call only.
   */
  send(buffer: Uint8Array, length: number): void;
  /** The NIC that refused a frame may have room again. Called often: must be cheap with nothing queued. */
  receiverReady(): void;
}

/** A NIC, as the cable sees it. */
export interface NetDevice {
  /**
   * A frame arrives (no FCS): bytes 0 … length-1 of `frame`, which the NIC does not keep. `canWait`: the link has flow control
   * (802.3 PAUSE), so that a frame that would be lost for want of a descriptor or of room in the ring is refused, and the driver
   * told; a driver that makes room in memory alone is not noticed, and the wire offers again by itself.
   */
  receive(frame: Uint8Array, length: number, canWait?: boolean): ReceiveResult;
  /** Do frames lie in the NIC's own ring that the driver has not read? Never where the driver is handed descriptors. */
  hasUnread(): boolean;
  /** If frames lie unread, the driver waits for a receive interrupt and none is pending: raise it again. */
  remind(): void;
  /** Cable in (true) or out. */
  setLink(up: boolean): void;
  /** Counters under the names `ethtool -S` gives them. */
  statistics(): Readonly<Record<string, number>>;
  /** What the chip's registers hold, seen from outside: nothing changes by it. */
  registers(): readonly RegisterReading[];
}

/** Takes lines of the chip's catalogue (nic/<chip>/log.ts) and what each tells. */
export type DebugLog = <T extends string, O extends string>(line: LogLine<T, O>, fields: LineFields<T>) => void;

/** The level of one interrupt line: true is asserted, whatever its electrical sense. */
export type IrqLine = (level: boolean) => void;
