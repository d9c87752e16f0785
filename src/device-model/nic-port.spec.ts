import { describe, expect, it } from 'vitest';
import type { NetDevice, ReceiveResult } from '../devices/interfaces.ts';
import { Hub } from '../net/hub.ts';
import { LONGEST_HOLD_NS, LONGEST_PAUSE_NS, NicPort } from './nic-port.ts';
import { HandClock } from './testing/fake-hypervisor.ts';

/** Takes the first byte of each frame as long as it has descriptors. */
class Nic implements NetDevice {
  room = 2;
  full: ReceiveResult = 'refused';
  readonly got: number[] = [];
  readonly lost: number[] = [];

  receive(frame: Uint8Array, _length: number, canWait?: boolean): ReceiveResult {
    if (this.room === 0 && canWait) return this.full;
    if (this.room === 0) {
      this.lost.push(frame[0]!);
      return 'dropped';
    }
    this.got.push(frame[0]!);
    this.room--;
    return 'accepted';
  }

  unread = false;
  reminded = 0;

  hasUnread(): boolean {
    return this.unread;
  }

  remind(): void {
    this.reminded++;
  }

  setLink(): void {}

  statistics(): Record<string, number> {
    return {};
  }

  registers(): [] {
    return [];
  }
}

/** The NIC on its cable, and a peer at the other end. */
function setUp() {
  const clock = new HandClock();
  const hub = new Hub({ latencyNs: 0, now: () => clock.ns });
  const port = new NicPort('nic', hub, clock, () => new Nic());
  const { nic } = port;
  const peer = hub.attach({ name: 'peer', receive: () => true });
  const send = (...numbers: number[]): void => {
    for (const n of numbers) peer.send(Uint8Array.of(n));
    hub.poll();
  };
  return { clock, port, nic, send };
}

describe('a NIC without room', () => {
  it('pauses the wire; what waits comes in order once the ring has been given back', () => {
    const { clock, port, nic, send } = setUp();
    send(1, 2, 3, 4, 5);
    expect(nic.got).toEqual([1, 2]);
    expect(nic.lost).toEqual([]);
    expect(port.port.waitingFrames).toBe(3);
    nic.room = 2;
    expect(port.poll()).toBe(false);
    expect(nic.got).toEqual([1, 2]); // not yet time to look
    clock.ns = port.nextDueNs;
    expect(port.poll()).toBe(true);
    expect(nic.got).toEqual([1, 2, 3, 4]);
    nic.room = 5;
    send(6);
    expect(nic.got).toEqual([1, 2, 3, 4]);
    clock.ns = port.nextDueNs;
    expect(port.poll()).toBe(true);
    expect(nic.got).toEqual([1, 2, 3, 4, 5, 6]);
    expect(port.nextDueNs).toBe(Infinity);
    expect(nic.lost).toEqual([]);
    expect(port.pauses).toEqual({ begun: 2, expired: 0 });
  });

  it('holds the wire no longer than a PAUSE frame can, then loses frames until it has room', () => {
    const { clock, port, nic, send } = setUp();
    send(1, 2, 3, 4);
    while (nic.lost.length === 0 && clock.ns < 2 * LONGEST_PAUSE_NS) {
      clock.ns = port.nextDueNs;
      port.poll();
    }
    expect(nic.got).toEqual([1, 2]);
    expect(nic.lost).toEqual([3, 4]);
    expect(port.pauses).toEqual({ begun: 1, expired: 1 });
    expect(clock.ns / LONGEST_PAUSE_NS).toBeCloseTo(1, 3);
    send(5);
    expect(nic.lost).toEqual([3, 4, 5]);
    nic.room = 1;
    send(6, 7);
    expect(nic.got).toEqual([1, 2, 6]);
    expect(nic.lost).toEqual([3, 4, 5]);
    expect(port.port.waitingFrames).toBe(1);
  });

  it('that asks for the pause itself gets more than the second it needs, but not for good', () => {
    const { clock, port, nic, send } = setUp();
    nic.full = 'held';
    send(1, 2, 3);
    while (nic.lost.length === 0 && clock.ns < 2 * LONGEST_HOLD_NS) {
      clock.ns = port.nextDueNs;
      port.poll();
    }
    expect(clock.ns).toBeGreaterThan(1e9);
    expect(clock.ns / LONGEST_HOLD_NS).toBeCloseTo(1, 3);
    expect(nic.lost).toEqual([3]);
  });

  it('is asked again about frames that pile up, as long as they lie unread', () => {
    const { clock, port, nic, send } = setUp();
    send(1);
    expect(port.nextDueNs).toBe(Infinity);
    nic.unread = true;
    send(2);
    expect(nic.got).toEqual([1, 2]);
    expect(port.poll()).toBe(false);
    expect(nic.reminded).toBe(0);
    for (let i = 1; i < 4; i++) {
      clock.ns = port.nextDueNs;
      expect(port.poll()).toBe(false);
      expect(nic.reminded).toEqual(i);
    }
    nic.unread = false;
    clock.ns = port.nextDueNs;
    port.poll();
    expect(port.nextDueNs).toBe(Infinity);
  });
});
