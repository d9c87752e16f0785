/**
 * A NIC's cable: joins the chip's view of the wire to a port of the hub. The link has flow control, as the chips tell
 * their drivers (IEEE 802.3 annex 31B, PAUSE): frames for which the NIC has no room wait at the hub until it has, at most for
 * the time the longest PAUSE frame asks for. From then on they are handed over and lost, and the chip counts them,
 * until there is room again: a guest that is dead holds nobody up.
 */
import type { Clock } from '../base/clock.ts';
import type { Snapshot } from '../base/snapshot.ts';
import type { NetDevice, Wire } from '../devices/interfaces.ts';
import type { FrameTap, Hub, HubPort, NetPort } from '../net/hub.ts';
import { cost } from './costs.ts';

/** 65,535 quanta of 512 bit times at 100 Mb/s. */
export const LONGEST_PAUSE_NS = 65_535 * 512 * 10;
/** A NIC that asks for a pause itself gets so much: the e1000 asks for a second after each write of RCTL. */
export const LONGEST_HOLD_NS = 1_000_000_000 + LONGEST_PAUSE_NS;
/**
 * 8139too reads 64 frames in one go, acknowledges the interrupt after each, and then waits for the next one although more frames
 * may lie in the ring. On a busy network the next frame soon comes; a peer that waits for an answer sends none. So while frames pile
 * up, the NIC is asked to say it again after this time.
 */
const REMIND_NS = 200_000;
/** A driver gives descriptors back in memory, without a word: how often the ring is looked at while frames wait for it. */
const RING_POLL_NS = 50_000;

/** Deadlines in nanoseconds; Infinity: none. */
export interface NicPortState {
  readonly begun: number;
  readonly expiredCount: number;
  readonly pausedNs: number;
  readonly expired: boolean;
  readonly offerNs: number;
  readonly remindNs: number;
}

export class NicPort<Nic extends NetDevice = NetDevice> implements NetPort, Wire, Snapshot<NicPortState> {
  readonly kind = 'NIC cable';
  readonly version = 1;
  readonly name: string;
  readonly port: HubPort;
  /** Times the wire was paused, and those among them whose pause ran out. */
  readonly pauses = { begun: 0, expired: 0 };
  readonly nic: Nic;
  private readonly clock: Clock;
  /** Since when the NIC has had no room; Infinity: it has. */
  private pausedNs = Number.POSITIVE_INFINITY;
  private expired = false;
  /** When frames that wait are offered again. */
  private offerNs = Number.POSITIVE_INFINITY;
  /** When the NIC is to be asked for frames that the driver may have forgotten. */
  private remindNs = Number.POSITIVE_INFINITY;

  /** `make` builds the chip, with this cable as its wire. `tap` watches the frames that cross the cable. */
  constructor(name: string, hub: Hub, clock: Clock, make: (wire: Wire) => Nic, tap?: FrameTap) {
    this.name = name;
    this.clock = clock;
    this.port = hub.attach(this, tap);
    this.nic = make(this);
  }

  setLink(up: boolean): void {
    this.port.setLink(up);
    this.nic.setLink(up);
  }

  save(): NicPortState {
    const { pauses, pausedNs, expired, offerNs, remindNs } = this;
    return { begun: pauses.begun, expiredCount: pauses.expired, pausedNs, expired, offerNs, remindNs };
  }

  restore({ begun, expiredCount, pausedNs, expired, offerNs, remindNs }: NicPortState): void {
    Object.assign(this.pauses, { begun, expired: expiredCount });
    this.pausedNs = pausedNs;
    this.expired = expired;
    this.offerNs = offerNs;
    this.remindNs = remindNs;
  }

  statistics(): Readonly<Record<string, number>> {
    return this.nic.statistics();
  }

  receive(frame: Uint8Array): boolean {
    const pilesUp = this.nic.hasUnread();
    const result = this.nic.receive(frame, frame.length, !this.expired);
    if (result === 'refused' || result === 'held') {
      this.pause(result === 'held' ? LONGEST_HOLD_NS : LONGEST_PAUSE_NS);
      return false;
    }
    this.clock.charge(cost.frame);
    if (result === 'accepted') {
      if (pilesUp) this.remindNs = this.clock.nowNs() + REMIND_NS;
      this.pausedNs = Number.POSITIVE_INFINITY;
      this.expired = false;
    }
    return true;
  }

  /** Offer again what waits, remind of what lies unread, when it is time to. True: a frame went in. */
  poll(): boolean {
    const due = this.nextDueNs;
    if (due === Number.POSITIVE_INFINITY) return false;
    const now = this.clock.nowNs();
    if (due > now) return false;
    if (this.remindNs <= now) {
      this.nic.remind();
      this.remindNs = this.nic.hasUnread() ? now + REMIND_NS : Number.POSITIVE_INFINITY;
    }
    const before = this.port.waitingFrames;
    if (before === 0 || this.offerNs > now) return false;
    this.port.roomAgain();
    return this.port.waitingFrames < before;
  }

  /** When poll() has something to do, in nanoseconds of the clock; Infinity: nothing waits. */
  get nextDueNs(): number {
    return Math.min(this.remindNs, this.port.waitingFrames > 0 ? this.offerNs : Number.POSITIVE_INFINITY);
  }

  send(buffer: Uint8Array, length: number): void {
    this.clock.charge(cost.frame);
    this.port.send(buffer.subarray(0, length));
  }

  receiverReady(): void {
    this.port.roomAgain();
  }

  /** The NIC has refused a frame. */
  private pause(longestNs: number): void {
    const now = this.clock.nowNs();
    this.offerNs = now + RING_POLL_NS;
    if (this.pausedNs === Number.POSITIVE_INFINITY) {
      this.pausedNs = now;
      this.pauses.begun++;
    } else if (!this.expired && now - this.pausedNs >= longestNs) {
      this.expired = true;
      this.pauses.expired++;
    }
  }
}
