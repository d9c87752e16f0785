/** C+ offload: right where headers are honest, and every length and protocol field that it trusts swept against what is in the frame. */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { offload } from './offload.ts';
import { MAC, RAM, setUp } from './testing/set-up.ts';

const LARGE_SEND = 0x08000000;
const IP = 0x00040000;
const UDP = 0x00020000;
const TCP = 0x00010000;
const MSS = (bytes: number): number => bytes << 16;
/** Bytes behind the frame in the chip's buffer, which no offload may touch or send. */
const BEHIND = 64;

/** A sum as the RFC has it, one 16-bit word after the other. */
function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i & 1 ? bytes[i]! : bytes[i]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

interface Headers {
  type?: number;
  version?: number;
  ihl?: number;
  total?: number;
  protocol?: number;
  /** TCP data offset, in words. */
  offset?: number;
  bytes?: number;
}

/** A frame whose headers say what they are told to; the rest is a pattern. */
function packet({ type = 0x0800, version = 4, ihl = 5, total, protocol = 17, offset = 5, bytes = 100 }: Headers): Uint8Array {
  const frame = Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + 3) & 0xff);
  const length = total ?? bytes - 14;
  const ip = [(version << 4) | ihl, 0, length >> 8, length & 0xff, 0, 1, 0, 0, 64, protocol, 0, 0];
  frame.set([2, 0, 0, 0, 0, 1, ...MAC, type >> 8, type & 0xff, ...ip].slice(0, bytes));
  if (protocol === 6 && bytes > 14 + 4 * ihl + 12) frame[14 + 4 * ihl + 12] = offset << 4;
  return frame;
}

/** Where the transport header is. */
const transportOf = (frame: Uint8Array): number => 14 + 4 * (frame[14]! & 0xf);

/** The sum over a whole datagram's transport segment with its pseudo header: 0xffff where its checksum is right. */
function transportSum(frame: Uint8Array): number {
  const at = transportOf(frame);
  const length = ((frame[16]! << 8) | frame[17]!) - (at - 14);
  const pseudo = Uint8Array.of(0, frame[23]!, length >> 8, length & 0xff);
  return sumOf(Uint8Array.from([...frame.subarray(26, 34), ...pseudo, ...frame.subarray(at, at + length)]));
}

/** Runs the offload over a frame with other bytes behind it. */
function run(command: number, frame: Uint8Array) {
  const buffer = new Uint8Array(frame.length + BEHIND).fill(0xa5);
  buffer.set(frame);
  const segments: Uint8Array[] = [];
  const left = offload(command, buffer, frame.length, (length) => {
    if (segments.length > 70_000) throw new Error('no end of segments');
    segments.push(buffer.slice(0, length));
  });
  expect(
    buffer.subarray(frame.length).every((byte) => byte === 0xa5),
    'bytes behind the frame',
  ).toBe(true);
  return { frame: buffer.slice(0, frame.length), left, segments };
}

describe('C+ checksum offload', () => {
  it('of honest headers: sums are those of the RFCs, with padding behind the datagram and options before it', () => {
    for (const [command, protocol] of [
      [IP | UDP | TCP, 17],
      [IP | UDP | TCP, 6],
    ] as const) {
      for (const ihl of [5, 6, 15]) {
        for (const padding of [0, 1, 17]) {
          const bytes = 200;
          const { frame, left } = run(command, packet({ ihl, protocol, bytes, total: bytes - 14 - padding }));
          expect([left, sumOf(frame.subarray(14, transportOf(frame))), transportSum(frame)]).toEqual([bytes, 0xffff, 0xffff]);
        }
      }
    }
  });

  it('IP length, header length, protocol, version, type and size, swept: the fields asked for change, or nothing does', () => {
    let changes = 0;
    let lies = 0;
    for (const bytes of [14, 33, 34, 41, 42, 53, 54, 100])
      for (const ihl of [0, 4, 5, 6, 15])
        for (const total of [0, 19, 20, 21, 24, 27, 28, 29, 39, 40, 43, 44, 46, 60, 67, 68, 79, 80, 86, 87, 1500, 0xffff])
          for (const protocol of [0, 1, 6, 17, 41, 255])
            for (const [type, version] of [
              [0x0800, 4],
              [0x0800, 6],
              [0x86dd, 4],
              [0x8100, 4],
            ] as const)
              for (const command of [IP, UDP, TCP, UDP | TCP, IP | UDP | TCP]) {
                if (type !== 0x0800 && (total !== 40 || command !== (IP | UDP | TCP))) continue;
                const before = packet({ type, version, ihl, total, protocol, bytes });
                const { frame, left, segments } = run(command, before);
                const what = `${bytes} bytes, type ${type}, version ${version}, header ${ihl}, total ${total}, protocol ${protocol}, ${command}`;
                const changed = [...frame.keys()].filter((i) => frame[i] !== before[i]);
                if (left !== bytes || segments.length > 0) expect.fail(what);
                const header = 4 * ihl;
                const need = command & TCP && protocol === 6 ? 20 : command & UDP && protocol === 17 ? 8 : 0;
                const datagram = type === 0x0800 && version === 4 && ihl >= 5 && total >= header && total <= bytes - 14;
                // An IP length that leaves nothing for a transport header: the sum is that of the pseudo header, as in QEMU.
                const segment = total >= header + need || total === header;
                // A frame that ends before the checksum's place does has none to put in: the IP checksum is all.
                const fieldInFrame = 14 + header + (protocol === 6 ? 18 : 8) <= bytes;
                const honest = datagram && (segment || !fieldInFrame);
                if (!honest) {
                  lies++;
                  if (changed.length > 0) expect.fail(`${what}: bytes ${changed.join()} changed`);
                  continue;
                }
                const fields = new Set<number>();
                if (command & IP) for (const i of [24, 25]) fields.add(i);
                if (need > 0 && segment && fieldInFrame)
                  for (const i of [0, 1]) fields.add(14 + header + (protocol === 6 ? 16 : 6) + i);
                if (!changed.every((i) => fields.has(i))) expect.fail(`${what}: bytes ${changed.join()} changed`);
                if (command & IP && sumOf(frame.subarray(14, 14 + header)) !== 0xffff) expect.fail(`${what}: IP checksum`);
                if (need > 0 && total > header && segment && transportSum(frame) !== 0xffff) expect.fail(`${what}: checksum`);
                if (changed.length > 0) changes++;
              }
    expect([changes > 500, lies > 5000]).toEqual([true, true]);
  });

  for (const [name, protocol, header] of [
    ['UDP', 17, 8],
    ['TCP', 6, 20],
  ] as const)
    it(`an IP length that ends inside the ${name} header leaves the frame's bytes unchanged, on the wire too`, () => {
      for (let length = 1; length <= header + 4; length++) {
        const { bus, descriptor, startCplus, write } = setUp();
        startCplus();
        const frame = packet({ protocol, total: 20 + length });
        bus.ram.bytes.set(frame, 0x8000);
        descriptor(0, (0xb0000000 | IP | UDP | TCP | frame.length) >>> 0, 0, 0x8000);
        write('TxPoll', 0x40);
        expect(bus.wire.sent.length).toBe(1);
        expect(toHex(bus.wire.sent[0]!) === toHex(frame), `${length} bytes`).toBe(length < header);
        expect(toHex(bus.ram.bytes.subarray(0x8000, 0x8000 + 100)), `guest memory at ${RAM + 0x8000}`).toBe(toHex(frame));
      }
    });
});

describe('C+ large send', () => {
  it('lengths, data offset, protocol and MSS, swept: the payload leaves once in segments with good sums, or the frame leaves as it is', () => {
    let cut = 0;
    let whole = 0;
    for (const bytes of [33, 34, 53, 54, 55, 60, 94, 300])
      for (const ihl of [0, 4, 5, 6, 15])
        for (const total of [0, 19, 20, 39, 40, 41, 60, 79, 80, 86, 280, 286, 287, 0xffff])
          for (const protocol of [1, 6, 17])
            for (const offset of [0, 4, 5, 6, 15])
              for (const mss of [0, 1, 100, 0x7ff]) {
                const before = packet({ ihl, total, protocol, offset, bytes });
                // The checksum bits are part of the MSS here.
                const { frame, left, segments } = run(LARGE_SEND | MSS(mss), before);
                const what = `${bytes} bytes, header ${ihl}, total ${total}, protocol ${protocol}, data offset ${offset}, MSS ${mss}`;
                const headers = 4 * ihl + 4 * offset;
                const honest =
                  ihl >= 5 && offset >= 5 && protocol === 6 && mss > 0 && total <= bytes - 14 && total >= headers && bytes >= 34;
                if (!honest) {
                  whole++;
                  if (left !== bytes || segments.length > 0 || toHex(frame) !== toHex(before)) expect.fail(what);
                  continue;
                }
                cut++;
                if (left !== 0) expect.fail(what);
                const payload = total - headers;
                if (segments.length !== Math.ceil(payload / mss)) expect.fail(`${what}: ${segments.length} segments`);
                const data = Buffer.concat(segments.map((s) => s.subarray(14 + headers)));
                if (!data.equals(before.subarray(14 + headers, 14 + total))) expect.fail(`${what}: payload`);
                for (const s of segments) {
                  const good = sumOf(s.subarray(14, 14 + 4 * ihl)) === 0xffff && transportSum(s) === 0xffff;
                  if (!good || s.length - 14 - headers > mss || ((s[16]! << 8) | s[17]!) !== s.length - 14) expect.fail(what);
                }
              }
    expect([cut > 50, whole > 5000]).toEqual([true, true]);
  });
});
