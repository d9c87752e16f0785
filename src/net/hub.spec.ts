import { describe, expect, it } from 'vitest';
import { type FrameTap, Hub, type NetPort } from './hub.ts';

class Party implements NetPort {
  readonly name: string;
  readonly got: number[] = [];
  room = true;

  constructor(name: string) {
    this.name = name;
  }

  receive(frame: Uint8Array): boolean {
    if (this.room) this.got.push(frame[0]!);
    return this.room;
  }
}

function setUp({ latencyNs = 0, tap }: { latencyNs?: number; tap?: (name: string) => FrameTap } = {}) {
  const time = { ns: 0 };
  const hub = new Hub({ latencyNs, now: () => time.ns, waitingLimit: 3 });
  const parties = ['a', 'b', 'c'].map((name) => new Party(name));
  const ports = parties.map((party) => hub.attach(party, tap?.(party.name)));
  return { time, hub, parties, ports };
}

describe('hub', () => {
  it("carries a frame to every port but the sender's, after the latency", () => {
    const { time, hub, parties, ports } = setUp({ latencyNs: 500 });
    ports[0]!.send(Uint8Array.of(7));
    expect(hub.inFlight).toBe(1);
    expect(hub.nextDueNs).toBe(500);
    expect(hub.poll()).toBe(0);
    time.ns = 500;
    expect(hub.poll()).toBe(1);
    expect(parties.map((party) => party.got)).toEqual([[], [7], [7]]);
    expect(hub.inFlight).toBe(0);
    expect(hub.nextDueNs).toBe(Infinity);
  });

  it('copies the frame, so that the sender may reuse its buffer', () => {
    const { hub, parties, ports } = setUp();
    const buffer = Uint8Array.of(1);
    ports[0]!.send(buffer);
    buffer[0] = 2;
    hub.poll();
    expect(parties[1]!.got).toEqual([1]);
  });

  it('keeps frames in order for a port without room and drops past its limit; waiting frames are not in flight', () => {
    const { hub, parties, ports } = setUp();
    parties[1]!.room = false;
    for (let i = 1; i <= 5; i++) ports[0]!.send(Uint8Array.of(i));
    hub.poll();
    expect(hub.inFlight).toBe(0);
    expect(hub.waiting).toBe(3);
    expect(ports[1]!.counters.dropped).toBe(2);
    parties[1]!.room = true;
    ports[1]!.roomAgain();
    expect(parties[1]!.got).toEqual([1, 2, 3]);
    expect(parties[2]!.got).toEqual([1, 2, 3, 4, 5]);
  });

  it('loses everything with the cable out', () => {
    const { hub, parties, ports } = setUp();
    ports[1]!.setLink(false);
    ports[0]!.send(Uint8Array.of(1));
    ports[1]!.send(Uint8Array.of(2));
    hub.poll();
    expect(parties[1]!.got).toEqual([]);
    expect(parties[0]!.got).toEqual([]);
    expect(ports[1]!.counters).toMatchObject({ sent: 0, received: 0, dropped: 2 });
  });

  it('taps see a frame outbound when sent and inbound when taken', () => {
    const seen: string[] = [];
    const { hub, parties, ports } = setUp({
      tap: (name) => (frame, direction) => seen.push(`${name} ${direction} ${frame[0]}`),
    });
    parties[1]!.room = false;
    ports[0]!.send(Uint8Array.of(1));
    hub.poll();
    expect(seen).toEqual(['a outbound 1', 'c inbound 1']);
    parties[1]!.room = true;
    ports[1]!.roomAgain();
    expect(seen).toEqual(['a outbound 1', 'c inbound 1', 'b inbound 1']);
  });

  it('bounds the work of one turn even when two parties answer each other for ever', () => {
    const { hub, ports } = setUp();
    const echo: NetPort = { name: 'echo', receive: (frame) => (echoPort.send(frame), true) };
    const echoPort = hub.attach(echo);
    const echo2: NetPort = { name: 'echo2', receive: (frame) => (echoPort2.send(frame), true) };
    const echoPort2 = hub.attach(echo2);
    ports[0]!.send(Uint8Array.of(1));
    expect(hub.poll(10)).toBe(10);
  });
});
