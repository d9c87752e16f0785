import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { createFrameRing, FrameRingConsumer, FrameRingProducer } from './frame-ring.ts';
import { Hub } from './hub.ts';
import { RingPort } from './ring-port.ts';
import { parseStreamAddress, StreamDeframer, StreamNetdev } from './stream-node.ts';

const framed = (...frames: number[][]): Uint8Array =>
  Uint8Array.from(frames.flatMap((frame) => [0, 0, frame.length >> 8, frame.length & 0xff, ...frame]));

describe('stream deframer', () => {
  it('puts frames together however the bytes arrive', () => {
    const bytes = framed([1, 2, 3], [4], [5, 6]);
    for (let step = 1; step <= bytes.length; step++) {
      const deframer = new StreamDeframer();
      const frames: number[][] = [];
      for (let at = 0; at < bytes.length; at += step) {
        deframer.push(bytes.slice(at, at + step));
        for (let frame = deframer.peek(); frame; frame = deframer.peek()) {
          frames.push(Array.from(frame));
          deframer.advance();
        }
      }
      expect(frames).toEqual([[1, 2, 3], [4], [5, 6]]);
    }
  });

  it('refuses a length no frame has', () => {
    const deframer = new StreamDeframer();
    deframer.push(Uint8Array.of(0, 1, 0, 0));
    expect(() => deframer.peek()).toThrow(UserError);
    const zero = new StreamDeframer();
    zero.push(Uint8Array.of(0, 0, 0, 0));
    expect(() => zero.peek()).toThrow(/0 bytes/);
  });
});

describe('stream address', () => {
  it('reads unix and tcp forms and says what is wrong with others', () => {
    expect(parseStreamAddress('unix:/tmp/x')).toEqual({ path: '/tmp/x', listen: false });
    expect(parseStreamAddress('tcp:127.0.0.1:4444,server')).toEqual({ host: '127.0.0.1', port: 4444, listen: true });
    expect(() => parseStreamAddress('udp:1')).toThrow(/expected unix:PATH/);
    expect(() => parseStreamAddress('tcp:h:99999')).toThrow(UserError);
  });
});

describe('stream netdev', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'stream-'));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  async function setUp(listen: boolean) {
    const path = join(dir, 'net.sock');
    const fromMachine = createFrameRing(1 << 17);
    const toMachine = createFrameRing(1 << 17);
    let wakes = 0;
    const netdev = new StreamNetdev({ address: { path, listen }, fromMachine, toMachine, wakeMachine: () => wakes++ });
    let peer: Socket;
    if (listen) {
      const open = netdev.open();
      peer = connect(path);
      await open;
    } else {
      const peerPromise = new Promise<Socket>((resolve) => {
        const server = createServer((socket) => {
          server.close();
          resolve(socket);
        }).listen(path);
      });
      await netdev.open();
      peer = await peerPromise;
    }
    const out = new FrameRingProducer(fromMachine);
    const incoming = new FrameRingConsumer(toMachine);
    return { netdev, peer, out, incoming, wakes: () => wakes };
  }

  it.each([false, true])('carries frames both ways (listening: %s)', async (listen) => {
    const { netdev, peer, out, incoming, wakes } = await setUp(listen);
    const received = new Promise<Buffer>((resolve) => peer.once('data', resolve));
    out.push(Uint8Array.of(9, 8, 7));
    expect(Array.from(await received)).toEqual([0, 0, 0, 3, 9, 8, 7]);
    peer.write(framed([1, 2, 3]));
    await incoming.waitForFrame();
    expect(Array.from(incoming.peek()!)).toEqual([1, 2, 3]);
    expect(wakes()).toBeGreaterThan(0);
    netdev.close();
    peer.destroy();
  });

  it('sends many frames in few pieces, in order, without their padding', async () => {
    const { netdev, peer, out } = await setUp(true);
    const deframer = new StreamDeframer();
    const lengths: number[] = [];
    const done = new Promise<void>((resolve) =>
      peer.on('data', (bytes: Uint8Array) => {
        deframer.push(bytes);
        for (let frame = deframer.peek(); frame; frame = deframer.peek()) {
          lengths.push(frame.length);
          deframer.advance();
        }
        if (lengths.length === 70) resolve();
      }),
    );
    const acknowledgement = new Uint8Array(60);
    acknowledgement.set([8, 0, 0x45, 0, 0, 40], 12);
    out.push(acknowledgement);
    const sizes = Array.from({ length: 69 }, (_, i) => 1400 + i);
    for (const size of sizes) expect(out.push(new Uint8Array(size))).toBe(true);
    await done;
    expect(lengths).toEqual([54, ...sizes]);
    netdev.close();
    peer.destroy();
  });

  it('holds the peer back while the machine takes nothing, and loses no frame', async () => {
    const { netdev, peer, incoming } = await setUp(true);
    const count = 400;
    for (let i = 0; i < count; i++) peer.write(framed(new Array<number>(1000).fill(i & 0xff)));
    let got = 0;
    while (got < count) {
      await incoming.waitForFrame();
      for (let frame = incoming.peek(); frame; frame = incoming.peek()) {
        expect(frame[0]).toBe(got & 0xff);
        incoming.advance();
        got++;
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    netdev.close();
    peer.destroy();
  });

  it('closes both rings when the peer goes away or talks nonsense', async () => {
    const { peer, incoming, out } = await setUp(true);
    peer.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    await incoming.waitForFrame();
    expect(incoming.closed).toBe(true);
    expect(out.push(new Uint8Array(60))).toBe(false);
    peer.destroy();
  });

  it('says so when nobody listens', async () => {
    const netdev = new StreamNetdev({
      address: { path: join(dir, 'none') },
      fromMachine: createFrameRing(1 << 17),
      toMachine: createFrameRing(1 << 17),
      wakeMachine() {},
    });
    await expect(netdev.open()).rejects.toThrow(/start the peer first/);
  });
});

describe('ring port', () => {
  it('joins a hub to the rings and counts what the other thread has no room for', () => {
    const hub = new Hub({ latencyNs: 0, now: () => 0 });
    const toPeer = createFrameRing(1 << 17);
    const fromPeer = createFrameRing(1 << 17);
    const port = new RingPort('stream', hub, new FrameRingProducer(toPeer), new FrameRingConsumer(fromPeer));
    const got: number[] = [];
    const nic = hub.attach({ name: 'nic', receive: (frame) => (got.push(frame[0]!), true) });
    new FrameRingProducer(fromPeer).push(Uint8Array.of(5));
    expect(port.idle).toBe(false);
    expect(port.poll()).toBe(1);
    hub.poll();
    expect(got).toEqual([5]);
    for (let i = 0; i < 3; i++) nic.send(new Uint8Array(60_000).fill(i));
    hub.poll();
    const peer = new FrameRingConsumer(toPeer);
    expect(peer.peek()![0]).toBe(0);
    expect(peer.dropped).toBe(1);
  });
});
