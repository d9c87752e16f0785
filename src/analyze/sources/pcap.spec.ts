import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { readCapture } from './pcap.ts';
import { describeFrame } from './ethernet.ts';

const u32 = (little: boolean, ...words: number[]): number[] =>
  words.flatMap((w) => (little ? [w, w >>> 8, w >>> 16, w >>> 24] : [w >>> 24, w >>> 16, w >>> 8, w]).map((b) => b & 255));

const pcap = (little: boolean, magic: number, ...frames: [number, number, number[]][]): Uint8Array =>
  Uint8Array.from([
    ...u32(little, magic),
    ...(little ? [2, 0, 4, 0] : [0, 2, 0, 4]),
    ...u32(little, 0, 0, 65535, 1),
    ...frames.flatMap(([s, f, data]) => [...u32(little, s, f, data.length, data.length), ...data]),
  ]);

/** RFC 826 request, as in the capture of the 8139cp run, frame 2. */
const ARP = [
  ...Array<number>(6).fill(255),
  0,
  0x16,
  0x3e,
  0,
  0,
  1,
  8,
  6,
  0,
  1,
  8,
  0,
  6,
  4,
  0,
  1,
  0,
  0x16,
  0x3e,
  0,
  0,
  1,
  10,
  0,
  2,
  15,
  0,
  0,
  0,
  0,
  0,
  0,
  10,
  0,
  2,
  2,
];

describe('captures', () => {
  it.each([
    [true, 0xa1b2c3d4, 1000],
    [false, 0xa1b2c3d4, 1000],
    [true, 0xa1b23c4d, 1],
  ])('reads pcap (little %s, magic %i)', (little, magic, scale) => {
    const capture = readCapture(pcap(little, magic, [1795363987, 64478 * (scale === 1 ? 1000 : 1), ARP]), 'a.pcap');
    expect(capture.frames).toHaveLength(1);
    expect(capture.frames[0]).toMatchObject({ number: 1, timeUs: 1795363987064478, wireLength: 42 });
    expect(describeFrame(capture.frames[0]!.data)).toBe('ARP who has 10.0.2.2 tell 10.0.2.15');
  });

  it('reads pcapng with resolution and comments', () => {
    const comment = [...new TextEncoder().encode('io 7')];
    const block = (type: number, body: number[]): number[] => [
      ...u32(true, type, body.length + 12),
      ...body,
      ...u32(true, body.length + 12),
    ];
    const ticks = 1_700_000_000_000_001_500n; // nanoseconds
    const bytes = Uint8Array.from([
      ...block(0x0a0d0d0a, [...u32(true, 0x1a2b3c4d), 1, 0, 0, 0, ...Array<number>(8).fill(255)]),
      ...block(1, [1, 0, 0, 0, ...u32(true, 0), 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]),
      ...block(6, [
        ...u32(true, 0, Number(ticks >> 32n), Number(ticks & 0xffffffffn), 42, 42),
        ...ARP,
        0,
        0,
        1,
        0,
        4,
        0,
        ...comment,
        0,
        0,
        0,
        0,
      ]),
    ]);
    const [frame] = readCapture(bytes, 'a.pcapng').frames;
    expect(frame).toMatchObject({ number: 1, wireLength: 42, comments: ['io 7'] });
    expect(frame!.timeUs).toBeCloseTo(1_700_000_000_000_001.5, 0);
  });

  it('gives the frames before the damage', () => {
    const whole = pcap(true, 0xa1b2c3d4, [1, 0, ARP], [2, 0, ARP]);
    const capture = readCapture(whole.subarray(0, whole.length - 5), 'a.pcap');
    expect(capture.frames).toHaveLength(1);
    expect(capture.damage).toMatch(/offset 82: frame of 42 bytes/);
  });

  it('never throws anything but a UserError, whatever the bytes', () => {
    const seed = pcap(true, 0xa1b2c3d4, [1, 0, ARP]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), fc.nat(), fc.nat(255), (noise, useSeed, at, value) => {
        const bytes = useSeed ? seed.slice() : noise;
        if (bytes.length > 0) bytes[at % bytes.length] = value;
        try {
          for (const f of readCapture(bytes, 'x').frames) describeFrame(f.data);
        } catch (error) {
          expect((error as Error).name).toBe('UserError');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('frames', () => {
  it('shortens IPv6 addresses as RFC 5952 does', () => {
    const icmp6 = (from: number[], to: number[], type: number): Uint8Array =>
      Uint8Array.from([
        ...Array<number>(12).fill(0),
        0x86,
        0xdd,
        0x60,
        0,
        0,
        0,
        0,
        8,
        58,
        255,
        ...from,
        ...to,
        type,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
      ]);
    const any = Array<number>(16).fill(0);
    const link = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0x16, 0x3e, 0xff, 0xfe, 0, 0, 1];
    const all = [0xff, 2, ...Array<number>(13).fill(0), 2];
    expect(describeFrame(icmp6(link, all, 133))).toBe('ICMPv6 router solicitation fe80::216:3eff:fe00:1 > ff02::2');
    expect(describeFrame(icmp6(any, all, 135))).toBe('ICMPv6 neighbor solicitation :: > ff02::2');
  });
});
