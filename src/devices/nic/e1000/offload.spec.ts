/** Checksums and segmentation: right where the context is honest, and every field of a context and every length swept for lies. */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../conformance/transcript.ts';
import { POPTS_IXSM, POPTS_TXSM } from './descriptors.ts';
import { adaptHeaders, insertChecksum, insertChecksums } from './offload.ts';
import type { TxContext } from './state.ts';
import { CHECKSUMS, CTRL, MAC, setUp } from './testing/set-up.ts';

const BUFFER = 0x8000;
const TCP_FIN = 0x01;
const TCP_PSH = 0x08;
const TCP_ACK = 0x10;

const context = (fields: Partial<TxContext> = {}): TxContext => ({
  ...{ ipcss: 14, ipcso: 24, ipcse: 33, tucss: 34, tucso: 40, tucse: 0 },
  ...{ paylen: 0, hdrLen: 0, mss: 0, ip: true, tcp: false, ...fields },
});

/** A sum as the RFC has it, one 16-bit word after the other. */
function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i & 1 ? bytes[i]! : bytes[i]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** Ethernet, IPv4 or IPv6, and a transport header, with the given lengths; the rest is a pattern. */
function packet({ version = 4, protocol = 17, length = 0, bytes = 100, tagged = false, ihl = 5 } = {}): Uint8Array {
  const frame = Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + 3) & 0xff);
  const ip = tagged ? 18 : 14;
  frame.set([2, 0, 0, 0, 0, 1, ...MAC]);
  if (tagged) frame.set([0x81, 0, 0, 5], 12);
  frame.set(version === 4 ? [8, 0] : [0x86, 0xdd], ip - 2);
  if (version === 4) frame.set([0x40 | ihl, 0, length >> 8, length & 0xff, 0, 1, 0, 0, 64, protocol, 0, 0], ip);
  else frame.set([0x60, 0, 0, 0, length >> 8, length & 0xff, protocol, 64], ip);
  return frame;
}

describe('e1000 checksum offload', () => {
  it('a UDP datagram: both checksums are those of the RFCs', () => {
    const frame = packet({ length: 86 });
    frame.set([0, 0], 40);
    insertChecksums(frame, 100, POPTS_IXSM | POPTS_TXSM, context(), false);
    expect(sumOf(frame.subarray(14, 34))).toBe(0xffff);
    expect(sumOf(frame.subarray(34, 100))).toBe(0xffff);
  });

  it('a sum of zero is sent as 0xffff', () => {
    const frame = new Uint8Array(60);
    frame.set([0xff, 0xff], 34);
    insertChecksum(frame, 60, 34, 40, 0);
    expect(toHex(frame.subarray(40, 42))).toBe('ffff');
  });

  it('first byte, field and last byte, swept over a frame of every size: nothing but the field changes, and only where both its bytes are in range', () => {
    let written = 0;
    for (const size of [1, 2, 13, 14, 33, 41, 42, 60, 61]) {
      for (const start of [0, 1, 2, 13, 14, 34, 40, 41, 42, 59, 60, 61, 255]) {
        for (const field of [0, 1, 12, 16, 40, size - 3, size - 2, size - 1, size, 200, 255]) {
          for (const end of [0, 1, start - 1, start, field, field + 1, size - 2, size - 1, size, 0xffff]) {
            if (field < 0 || end < 0) continue;
            const buffer = Uint8Array.from({ length: 300 }, (_, i) => (i * 11) & 0xff);
            const before = buffer.slice();
            insertChecksum(buffer, size, start, field, end);
            const last = end !== 0 && end < size ? end : size - 1;
            const whole = start <= last && field + 1 <= last;
            const expected = before.slice();
            if (whole) {
              const sum = ~sumOf(before.subarray(start, last + 1)) & 0xffff || 0xffff;
              expected.set([sum >> 8, sum & 0xff], field);
              written++;
            }
            if (Buffer.compare(buffer, expected) !== 0) expect.fail(`size ${size}, start ${start}, field ${field}, end ${end}`);
          }
        }
      }
    }
    expect(written).toBeGreaterThan(1000);
  });
});

describe('headers that lie: the IP length ends inside its own, the TCP or the UDP header', () => {
  for (const [version, protocol, header] of [
    [4, 17, 8],
    [4, 6, 20],
    [6, 17, 8],
    [6, 6, 20],
  ] as const) {
    for (const tagged of [false, true]) {
      it(`IPv${version}, protocol ${protocol}${tagged ? ', tagged' : ''}: bytes unchanged up to ${header - 1} of it, a checksum from there on`, () => {
        const ip = tagged ? 18 : 14;
        const tucss = ip + (version === 4 ? 20 : 40);
        const fields = context({ ipcss: ip, ipcso: ip + 10, ipcse: tucss - 1, tucss, tucso: tucss + (protocol === 6 ? 16 : 6) });
        for (let length = 0; length <= header + 4; length++) {
          const frame = packet({ version, protocol, tagged, length: length + (version === 4 ? 20 : 0) });
          const before = toHex(frame);
          insertChecksums(frame, frame.length, POPTS_TXSM | (version === 4 ? POPTS_IXSM : 0), fields, false);
          expect(toHex(frame) === before, `${length}`).toBe(length < header);
        }
      });
    }
  }

  it('every IP length, with options, of every protocol: unchanged, or the one checksum', () => {
    for (const ihl of [0, 4, 5, 6, 15]) {
      for (const protocol of [0, 1, 6, 17, 41, 255]) {
        for (const length of [0, 19, 20, 23, 24, 27, 28, 31, 32, 39, 40, 59, 60, 79, 80, 86, 87, 1500, 0xffff]) {
          const frame = packet({ ihl, protocol, length });
          const before = frame.slice();
          const tucss = 14 + 4 * ihl;
          insertChecksums(frame, 100, POPTS_TXSM, context({ tucss, tucso: tucss + 6 }), false);
          const need = protocol === 6 ? 20 : protocol === 17 ? 8 : 0;
          const lie = ihl >= 5 && length - 4 * ihl < need;
          const changed = [...frame.keys()].filter((i) => frame[i] !== before[i]);
          if (lie) expect(changed, `${ihl} ${protocol} ${length}`).toEqual([]);
          else expect(changed.every((i) => i === tucss + 6 || i === tucss + 7)).toBe(true);
          if (!lie) expect(changed.length, `${ihl} ${protocol} ${length}`).toBeGreaterThan(0);
        }
      }
    }
  });

  it('on the wire', () => {
    const { bus, context: put, descriptor, startTransmitter, write } = setUp();
    startTransmitter();
    const frame = packet({ length: 20 + 7 });
    bus.ram.bytes.set(frame, BUFFER);
    put(0, { tucso: 40, tcp: false });
    descriptor(1, 'data', BUFFER, 100, ['EOP'], { options: CHECKSUMS });
    write('TDT', 2);
    expect(bus.wire.sent.map(toHex)).toEqual([toHex(frame)]);
  });
});

describe('e1000 segmentation', () => {
  /** What leaves for a large send of `payload` bytes behind 54 of headers. */
  function send(payload: number, mss: number, fields: Partial<TxContext> = {}, options = CHECKSUMS, pieces = 1) {
    const at = setUp();
    at.startTransmitter();
    const frame = packet({ protocol: 6, bytes: 54 + payload, length: 40 + payload });
    frame.set([0, 0, 0, 100, 0, 0, 0, 0, 0x50, TCP_ACK | TCP_PSH | TCP_FIN, 1, 0, 0x12, 0x34, 0, 0], 38);
    at.bus.ram.bytes.set(frame, BUFFER);
    at.context(0, { tse: true, hdrLen: 54, mss, paylen: payload, ...fields });
    for (let n = 0; n < pieces; n++) {
      const from = Math.floor((n * frame.length) / pieces);
      const to = Math.floor(((n + 1) * frame.length) / pieces);
      at.descriptor(1 + n, 'data', BUFFER + from, to - from, n === pieces - 1 ? ['TSE', 'RS', 'EOP'] : ['TSE', 'RS'], {
        options,
      });
    }
    at.write('TDT', 1 + pieces);
    return { ...at, frame };
  }

  it('TCP over IPv4: lengths, identification, sequence, flags and checksums of each segment; the payload is whole', () => {
    for (const pieces of [1, 2, 5]) {
      const { bus, chip, frame, read } = send(1050, 400, {}, CHECKSUMS, pieces);
      const { sent } = bus.wire;
      expect(sent.map((f) => f.length)).toEqual([454, 454, 304]);
      const be16 = (f: Uint8Array, at: number): number => (f[at]! << 8) | f[at + 1]!;
      const headers = sent.map((f) => ({
        length: be16(f, 16),
        identification: be16(f, 18),
        sequence: be16(f, 40),
        flags: f[47],
      }));
      expect(headers).toEqual([
        { length: 440, identification: 1, sequence: 100, flags: TCP_ACK },
        { length: 440, identification: 2, sequence: 500, flags: TCP_ACK },
        { length: 290, identification: 3, sequence: 900, flags: TCP_ACK | TCP_PSH | TCP_FIN },
      ]);
      for (const f of sent) {
        expect(sumOf(f.subarray(14, 34))).toBe(0xffff);
        // The driver put the pseudo header's sum there, without the length: 0x1234 stands for it.
        const pseudo = Uint8Array.of(0x12, 0x34, (f.length - 34) >> 8, (f.length - 34) & 0xff);
        const check = f.slice(34);
        check.set([0, 0], 16);
        expect(~sumOf(Uint8Array.from([...pseudo, ...check])) & 0xffff).toBe(be16(f, 50));
      }
      expect(Buffer.concat(sent.map((f) => f.subarray(54))).equals(frame.subarray(54))).toBe(true);
      expect(read('TSCTC')).toBe(1);
      expect(chip.statistics()).toMatchObject({ tx_large_sends: 1, tx_segments: 3 });
    }
  });

  it('UDP and IPv6: their length fields', () => {
    const { bus } = send(500, 300, { tcp: false, ip: false, tucso: 40 }, 0);
    const lengths = bus.wire.sent.map((f) => ({ ip: (f[18]! << 8) | f[19]!, udp: (f[38]! << 8) | f[39]! }));
    expect(lengths).toEqual([
      { ip: 340, udp: 320 },
      { ip: 240, udp: 220 },
    ]);
  });

  it('offsets of a context, swept: each segment has its size, and no byte but those of the fields changes', () => {
    for (const tcp of [false, true]) {
      for (const ip of [false, true]) {
        for (const ipcss of [0, 1, 14, 34, 54, 55, 56, 57, 58, 59, 60, 100, 254, 255]) {
          for (const tucss of [0, 14, 34, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 100, 200, 250, 255]) {
            for (const tucso of [0, 50, 57, 58, 59, 60, 255]) {
              const buffer = Uint8Array.from({ length: 600 }, (_, i) => (i * 13 + 1) & 0xff);
              const before = buffer.slice();
              const size = 60;
              adaptHeaders(buffer, size, POPTS_TXSM, context({ ipcss, tucss, tucso, tcp, ip, mss: 10, paylen: 100 }), 3);
              const fields = [
                ...(ip ? [ipcss + 2, ipcss + 4] : [ipcss + 4]).map((at) => [at, 2]),
                ...(tcp
                  ? [
                      [tucss + 4, 4],
                      [tucss + 13, 1],
                    ]
                  : [[tucss + 4, 2]]),
                [tucso, 2],
              ] as [number, number][];
              const allowed = new Set(
                fields.filter(([at, n]) => at + n <= size).flatMap(([at, n]) => Array.from({ length: n }, (_, i) => at + i)),
              );
              for (let i = 0; i < buffer.length; i++) {
                if (buffer[i] !== before[i] && !allowed.has(i))
                  expect.fail(`byte ${i}: ip ${ip} ${ipcss}, tcp ${tcp} ${tucss}, sum ${tucso}`);
              }
            }
          }
        }
      }
    }
  });

  it('lengths of a context, swept: a large send ends, moves each byte once, and gives frames no longer than headers and MSS', () => {
    for (const hdrLen of [0, 1, 13, 14, 33, 34, 54, 55, 200, 255]) {
      for (const mss of [0, 1, 50, 536, 1460, 0xffff]) {
        const at = setUp();
        at.boundAccesses(2000);
        for (const paylen of [0, 1, 400, 0xfffff]) {
          for (const bytes of [0, 1, 54, 254, 600]) {
            at.write('CTRL', CTRL.RST);
            at.startTransmitter();
            at.bus.ram.accesses = 0;
            at.bus.ram.bytes.set(packet({ protocol: 6, bytes: 700, length: bytes }), BUFFER);
            at.context(0, { tse: true, hdrLen, mss, paylen });
            at.descriptor(1, 'data', BUFFER, bytes, ['TSE', 'RS', 'EOP'], { options: CHECKSUMS });
            const lengths: number[] = [];
            at.bus.wire.send = (_frame, length) => void lengths.push(length);
            at.write('TDT', 2);
            const what = `header ${hdrLen}, MSS ${mss}, payload ${paylen}, ${bytes} bytes`;
            expect(at.read('TDH'), what).toBe(2);
            if (bytes < hdrLen) expect(lengths, what).toEqual([]);
            else if (mss === 0)
              expect(
                lengths.every((n) => n === hdrLen),
                what,
              ).toBe(true);
            else {
              expect(Math.max(...lengths), what).toBeLessThanOrEqual(hdrLen + mss);
              expect(
                lengths.reduce((n, length) => n + length - hdrLen, 0),
                what,
              ).toBe(bytes - hdrLen);
            }
          }
        }
      }
    }
  });
});
