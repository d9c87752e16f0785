import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Dom0Endpoint } from './dom0-endpoint.ts';
import { checksum, echoRequestFrame, ipv4Layout, parseIpv4, parseMac } from './frame.ts';
import { Ipv4Reassembler, ipv4Frames } from './ipv4-fragments.ts';

const guest = { mac: parseMac('00:16:3e:00:00:01'), ip: parseIpv4('10.0.2.15') };
const host = parseIpv4('10.0.2.2');
const ethernet = Uint8Array.of(...parseMac('fe:ff:ff:ff:ff:ff'), ...guest.mac, 8, 0);
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
const cut = (payload: Uint8Array, id = 1): Uint8Array[] => ipv4Frames(ethernet, guest.ip, host, 1, payload, id);
const feed = (r: Ipv4Reassembler, frames: readonly Uint8Array[]): (Uint8Array | undefined)[] =>
  frames.map((frame) => r.add(frame, ipv4Layout(frame)!));

describe('IPv4 fragments', () => {
  it('cuts into frames of at most 1514 bytes with good headers', () => {
    const frames = cut(pattern(4008));
    expect(frames.map((frame) => frame.length)).toEqual([1514, 1514, 14 + 20 + 1048]);
    for (const frame of frames) {
      const ip = ipv4Layout(frame)!;
      expect([ip.fragmented, checksum(frame, ip.header, ip.payload)]).toEqual([true, 0]);
    }
    expect(ipv4Layout(cut(pattern(100))[0]!)!.fragmented).toBe(false);
  });

  it('puts any datagram together from its pieces in any order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1481, max: 65_515 }), fc.infiniteStream(fc.nat()), (length, dice) => {
        const payload = pattern(length);
        const frames = cut(payload);
        const order = frames
          .map((frame) => ({ frame, key: dice.next().value }))
          .sort((a, b) => a.key - b.key)
          .map(({ frame }) => frame);
        const results = feed(new Ipv4Reassembler(), order);
        expect(results.slice(0, -1).every((result) => result === undefined)).toBe(true);
        expect(results.at(-1)).toEqual(payload);
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  it('drops a datagram whose pieces overlap, contradict each other or run past 64 KiB', () => {
    const [a, b, c] = cut(pattern(4000)) as [Uint8Array, Uint8Array, Uint8Array];
    expect(feed(new Ipv4Reassembler(), [a, b, b, c])).toEqual([undefined, undefined, undefined, undefined]);
    const far = c.slice();
    far[20] = 0x1f;
    far[21] = 0xff;
    expect(feed(new Ipv4Reassembler(), [a, far, b])).toEqual([undefined, undefined, undefined]);
    const odd = a.subarray(0, 14 + 20 + 13).slice();
    odd[17] = 33;
    odd[16] = 0;
    expect(feed(new Ipv4Reassembler(), [odd])).toEqual([undefined]);
  });

  it('keeps a few datagrams at a time', () => {
    const r = new Ipv4Reassembler();
    const sets = Array.from({ length: 6 }, (_, id) => cut(pattern(3000), id));
    for (const [first, second] of sets) feed(r, [first!, second!]);
    expect(r.add(sets[0]![2]!, ipv4Layout(sets[0]![2]!)!)).toBeUndefined();
    expect(r.add(sets[5]![2]!, ipv4Layout(sets[5]![2]!)!)).toEqual(pattern(3000));
  });

  it('the endpoint answers an echo request of 60,000 bytes whole', () => {
    const sent: Uint8Array[] = [];
    const endpoint = new Dom0Endpoint({ attach: () => ({ send: (frame) => void sent.push(frame) }) });
    const request = echoRequestFrame(guest, endpoint, 5, 1, pattern(60_000));
    for (const frame of cut(request.subarray(34))) endpoint.receive(frame);
    const results = feed(new Ipv4Reassembler(), sent);
    const reply = results.at(-1)!;
    expect([sent.length, reply[0], checksum(reply, 0, reply.length)]).toEqual([Math.ceil(60_008 / 1480), 0, 0]);
    expect(reply.subarray(8)).toEqual(pattern(60_000));
  });
});
