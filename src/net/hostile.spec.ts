/** Frames that no honest guest sends: the host's end of the wire must take anything. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Dom0Endpoint } from './dom0-endpoint.ts';
import { MAX_FRAME, be16, checksum, echoRequestFrame, ipv4Layout, parseIpv4, parseMac } from './frame.ts';
import { Hub } from './hub.ts';
import { StreamDeframer } from './stream-node.ts';
import { UserError } from '../base/errors.ts';

const guest = { mac: parseMac('00:16:3e:00:00:01'), ip: parseIpv4('10.0.2.15') };

function wire() {
  const hub = new Hub({ latencyNs: 0, now: () => 0 });
  const endpoint = new Dom0Endpoint(hub);
  const replies: Uint8Array[] = [];
  const port = hub.attach({ name: 'guest', receive: (frame) => (replies.push(frame.slice()), true) });
  return { hub, endpoint, port, replies };
}

describe('hostile frames', () => {
  it('a mutated echo request gets no reply or one with good checksums, never more', () => {
    const { endpoint } = wire();
    const honest = echoRequestFrame(guest, endpoint, 1, 1, new Uint8Array(56));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(honest.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.integer({ min: 1, max: honest.length }),
        (changes, length) => {
          const w = wire();
          const frame = honest.slice(0, length);
          for (const [at, value] of changes) if (at < length) frame[at] = value;
          w.port.send(frame);
          while (w.hub.poll() > 0);
          expect(w.replies.length).toBeLessThanOrEqual(1);
          for (const reply of w.replies) {
            if (be16(reply, 12) !== 0x0800) continue;
            const ip = ipv4Layout(reply)!;
            expect([checksum(reply, ip.header, ip.payload), checksum(reply, ip.payload, ip.end)]).toEqual([0, 0]);
          }
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('bytes of any kind and length leave the endpoint standing', () => {
    const w = wire();
    const types = [
      [0x08, 0x06],
      [0x08, 0x00],
      [0x86, 0xdd],
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), fc.nat(2), fc.boolean(), (bytes, type, dhcp) => {
        const frame = Uint8Array.of(...new Array<number>(6).fill(0xff), ...guest.mac, ...types[type]!, ...bytes);
        if (dhcp && frame.length > 290) {
          frame.set([0x45, 0], 14);
          frame[23] = 17;
          frame.set([0, 68, 0, 67], 34);
          frame.set([1, 1, 6], 42);
          frame.set([0x63, 0x82, 0x53, 0x63], 42 + 236);
        }
        w.port.send(frame);
        while (w.hub.poll() > 0);
      }),
      { numRuns: 2000, seed: 1 },
    );
    expect(w.replies.every((reply) => reply.length <= MAX_FRAME)).toBe(true);
  });

  it('a stream of any bytes gives frames within bounds or one clear error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }), (pieces) => {
        const deframer = new StreamDeframer();
        try {
          for (const piece of pieces) {
            deframer.push(piece);
            for (let frame = deframer.peek(); frame; frame = deframer.peek()) {
              expect(frame.length).toBeLessThanOrEqual(MAX_FRAME);
              deframer.advance();
            }
          }
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
        }
      }),
      { numRuns: 1000, seed: 1 },
    );
  });
});
