/**
 * The wire: ports joined by a hub. A frame sent into one port reaches every other port after the hub's latency,
 * in order. A port that has no room keeps its frames waiting (first in, first out) until it says it has room
 * again. The hub counts what is on its way, so that a virtual clock never skips idle time past a frame.
 */
import { UserError } from '../base/errors.ts';
import type { Snapshot } from '../base/snapshot.ts';
import { MAX_FRAME } from './frame.ts';

/** A party on the wire as the hub sees it. */
export interface NetPort {
  readonly name: string;
  /**
   * Take a frame (no FCS); the array is the hub's, valid during the call. False: no room now, keep it; the
   * party calls HubPort.roomAgain() later. A frame the party refuses for good it takes and drops.
   */
  receive(frame: Uint8Array): boolean;
}

/** Which way a frame crosses a port, as the party attached there sees it. */
export type FrameDirection = 'outbound' | 'inbound';
/**
 * Called with every frame that crosses a port: outbound when sent, inbound when the party has taken it. `atNs` is when it
 * crossed, before the party did anything with it.
 */
export type FrameTap = (frame: Uint8Array, direction: FrameDirection, atNs: number) => void;

/** The party's end of its cable. */
export interface HubPort {
  /** Send a frame; the bytes are copied. Frames of length 0 or past MAX_FRAME are counted and dropped. */
  send(frame: Uint8Array): void;
  /** Frames that waited for room may come now. */
  roomAgain(): void;
  /** Frames that wait for room in the party. */
  readonly waitingFrames: number;
  /** Cable in or out. With it out, frames both ways are dropped, waiting ones too. */
  setLink(up: boolean): void;
  readonly counters: PortCounters;
}

export interface PortCounters {
  sent: number;
  sentBytes: number;
  received: number;
  receivedBytes: number;
  /** Link down, bad length, or a full waiting line. */
  dropped: number;
}

export interface HubOptions {
  /** Nanoseconds from send to delivery. */
  readonly latencyNs: number;
  /** Time now, in nanoseconds of the machine's clock. */
  readonly now: () => number;
  /** Frames that may wait at one port for room; more are dropped there. */
  readonly waitingLimit?: number;
}

/** What is on the wire, as plain data: structured-cloneable. */
export interface HubState {
  /** Frames on their way; `from` is the sender's place in the order of attaching. */
  readonly flights: readonly { readonly frame: Uint8Array; readonly from: number; readonly dueNs: number }[];
  readonly ports: readonly {
    readonly linkUp: boolean;
    readonly counters: PortCounters;
    readonly waiting: readonly Uint8Array[];
  }[];
}

interface Flight {
  readonly frame: Uint8Array;
  readonly from: Attached;
  readonly dueNs: number;
}

/** FIFO on an array: shift() without moving the rest each time. */
class Queue<T> {
  private items: T[] = [];
  private head = 0;

  get length(): number {
    return this.items.length - this.head;
  }

  get first(): T | undefined {
    return this.items[this.head];
  }

  /** In order, first out first. */
  toArray(): T[] {
    return this.items.slice(this.head);
  }

  push(item: T): void {
    this.items.push(item);
  }

  shift(): void {
    this.head++;
    if (this.head === this.items.length) this.clear();
    else if (this.head >= 1024) {
      this.items.splice(0, this.head);
      this.head = 0;
    }
  }

  clear(): void {
    this.items = [];
    this.head = 0;
  }
}

class Attached implements HubPort {
  readonly party: NetPort;
  readonly waiting = new Queue<Uint8Array>();
  readonly counters: PortCounters = { sent: 0, sentBytes: 0, received: 0, receivedBytes: 0, dropped: 0 };
  linkUp = true;
  private readonly hub: Hub;
  private readonly tap: FrameTap | undefined;

  constructor(hub: Hub, party: NetPort, tap: FrameTap | undefined) {
    this.hub = hub;
    this.party = party;
    this.tap = tap;
  }

  send(frame: Uint8Array): void {
    if (!this.linkUp || frame.length === 0 || frame.length > MAX_FRAME) {
      this.counters.dropped++;
      return;
    }
    this.counters.sent++;
    this.counters.sentBytes += frame.length;
    this.tap?.(frame, 'outbound', this.hub.now());
    this.hub.launch(this, frame.slice());
  }

  get waitingFrames(): number {
    return this.waiting.length;
  }

  roomAgain(): void {
    while (this.waiting.length > 0 && this.offer(this.waiting.first!)) this.waiting.shift();
  }

  setLink(up: boolean): void {
    this.linkUp = up;
    if (up) return;
    this.counters.dropped += this.waiting.length;
    this.waiting.clear();
  }

  deliver(frame: Uint8Array, limit: number): void {
    if (!this.linkUp) {
      this.counters.dropped++;
    } else if (this.waiting.length > 0 || !this.offer(frame)) {
      if (this.waiting.length < limit) this.waiting.push(frame);
      else this.counters.dropped++;
    }
  }

  private offer(frame: Uint8Array): boolean {
    const atNs = this.hub.now();
    if (!this.party.receive(frame)) return false;
    this.counters.received++;
    this.counters.receivedBytes += frame.length;
    this.tap?.(frame, 'inbound', atNs);
    return true;
  }
}

export class Hub implements Snapshot<HubState> {
  readonly kind = 'wire';
  readonly version = 1;
  private readonly ports: Attached[] = [];
  private readonly flights = new Queue<Flight>();
  private readonly latencyNs: number;
  /** Time in nanoseconds of the machine's clock. */
  readonly now: () => number;
  private readonly waitingLimit: number;

  constructor(options: HubOptions) {
    this.latencyNs = options.latencyNs;
    this.now = options.now;
    this.waitingLimit = options.waitingLimit ?? 1000;
  }

  /** Gives the party a port. `tap` watches the frames that cross it. */
  attach(party: NetPort, tap?: FrameTap): HubPort {
    const port = new Attached(this, party, tap);
    this.ports.push(port);
    return port;
  }

  /** Frames sent and not yet offered to their receivers. A frame that waits for room is not in flight: it may wait for ever. */
  get inFlight(): number {
    return this.flights.length;
  }

  /** Frames that wait at some port for room. */
  get waiting(): number {
    return this.ports.reduce((sum, port) => sum + port.waiting.length, 0);
  }

  /** Time at which the next frame arrives, Infinity when none is on its way. */
  get nextDueNs(): number {
    return this.flights.first?.dueNs ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Deliver what is due, at most `limit` frames, including replies sent meanwhile when the latency is zero.
   * Gives the number of frames delivered.
   */
  poll(limit = 64): number {
    let delivered = 0;
    while (delivered < limit) {
      const flight = this.flights.first;
      if (flight === undefined || flight.dueNs > this.now()) break;
      this.flights.shift();
      delivered++;
      for (const port of this.ports) if (port !== flight.from) port.deliver(flight.frame, this.waitingLimit);
    }
    return delivered;
  }

  save(): HubState {
    return {
      flights: this.flights.toArray().map(({ frame, from, dueNs }) => ({ frame, from: this.ports.indexOf(from), dueNs })),
      ports: this.ports.map(({ linkUp, counters, waiting }) => ({
        linkUp,
        counters: { ...counters },
        waiting: waiting.toArray(),
      })),
    };
  }

  /** Takes the state of a hub with the same ports, attached in the same order. */
  restore(state: HubState): void {
    const isPort = (from: number): boolean => this.ports[from] !== undefined;
    if (state.ports.length !== this.ports.length || !state.flights.every(({ from }) => isPort(from))) {
      throw new UserError(
        `saved state of a wire with ${state.ports.length} ports: this one has ${this.ports.length} ports; restore it into the same machine`,
      );
    }
    this.flights.clear();
    for (const { frame, from, dueNs } of state.flights) this.flights.push({ frame, from: this.ports[from]!, dueNs });
    state.ports.forEach((saved, i) => {
      const port = this.ports[i]!;
      port.linkUp = saved.linkUp;
      Object.assign(port.counters, saved.counters);
      port.waiting.clear();
      for (const frame of saved.waiting) port.waiting.push(frame);
    });
  }

  /** Called by a port: put a frame on its way. */
  launch(from: Attached, frame: Uint8Array): void {
    this.flights.push({ frame, from, dueNs: this.now() + this.latencyNs });
  }
}
