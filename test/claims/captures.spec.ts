/**
 * One run, its capture written in many ways: on two interfaces, tagged, cut, padded, by another clock, in every form of file. What
 * is told of it stays true, and each frame keeps its doorbell.
 */
import { describe, expect, it } from 'vitest';
import { analyze, tellStory, type Analysis, type Story } from '../../src/analyze/index.ts';
import { openTrace } from '../../src/trace/index.ts';
import { Checker, type ClaimFiles } from './check.ts';
import { rawCapture, rawLog, rawTrace, type RawFrame } from './raw.ts';
import { runScenario, type ScenarioGuest } from './scenario.ts';
import { tellAll } from './tell.ts';

/** One frame of a capture file. */
interface Shot {
  readonly ns: bigint;
  readonly data: Uint8Array;
  readonly wire: number;
  /** 0 or 1. */
  readonly face: number;
  /** epb_flags. */
  readonly flags?: number;
}

const pad4 = (n: number): number => (n + 3) & ~3;

/** A pcapng file of two interfaces. */
function pcapng(shots: readonly Shot[], { little = true, simple = false, application = 'Dumpcap' } = {}): Uint8Array {
  const parts: Buffer[] = [];
  const u32 = (...words: number[]): Buffer => {
    const b = Buffer.alloc(4 * words.length);
    words.forEach((w, i) => (little ? b.writeUInt32LE(w >>> 0, 4 * i) : b.writeUInt32BE(w >>> 0, 4 * i)));
    return b;
  };
  const u16 = (...words: number[]): Buffer => {
    const b = Buffer.alloc(2 * words.length);
    words.forEach((w, i) => (little ? b.writeUInt16LE(w, 2 * i) : b.writeUInt16BE(w, 2 * i)));
    return b;
  };
  const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes], pad4(bytes.length));
  const option = (code: number, bytes: Uint8Array): Buffer => Buffer.concat([u16(code, bytes.length), padded(bytes)]);
  const block = (type: number, ...body: Buffer[]): void => {
    const whole = Buffer.concat(body);
    parts.push(u32(type, whole.length + 12), whole, u32(whole.length + 12));
  };
  block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1, 0), u32(0xffffffff, 0xffffffff), option(4, Buffer.from(application)), u32(0));
  for (const name of ['vif1.0-emu', 'xenbr0'])
    block(1, u16(1, 0), u32(0), option(2, Buffer.from(name)), option(9, Uint8Array.of(9)), u32(0));
  for (const { ns, data, wire, face, flags } of shots) {
    if (simple) block(3, u32(wire), padded(data));
    else
      block(
        6,
        u32(face, Number(ns >> 32n), Number(ns & 0xffffffffn), data.length, wire),
        padded(data),
        ...(flags === undefined ? [] : [option(2, u32(flags)), u32(0)]),
      );
  }
  return Uint8Array.from(Buffer.concat(parts));
}

/** A pcap file, either byte order, microseconds or nanoseconds. */
function pcap(shots: readonly Shot[], little: boolean, nanoseconds: boolean): Uint8Array {
  const u32 = (...words: number[]): Buffer => {
    const b = Buffer.alloc(4 * words.length);
    words.forEach((w, i) => (little ? b.writeUInt32LE(w >>> 0, 4 * i) : b.writeUInt32BE(w >>> 0, 4 * i)));
    return b;
  };
  const head = u32(nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, little ? 0x00040002 : 0x00020004, 0, 0, 65535, 1);
  const frames = shots.map(({ ns, data, wire }) =>
    Buffer.concat([
      u32(Number(ns / 1_000_000_000n), Number(ns % 1_000_000_000n) / (nanoseconds ? 1 : 1000), data.length, wire),
      data,
    ]),
  );
  return Uint8Array.from(Buffer.concat([head, ...frames]));
}

/** A frame with a VLAN tag. */
function tagged(data: Uint8Array, vlan: number): Uint8Array {
  return Uint8Array.from([...data.subarray(0, 12), 0x81, 0, vlan >> 8, vlan & 255, ...data.subarray(12)]);
}

const GUESTS: readonly ScenarioGuest[] = [
  { dom: 1, nics: [{ chip: 'rtl8139-cplus', base: 0xf1000000, mac: '00:16:3e:00:00:01' }], packets: 10 },
  { dom: 2, nics: [{ chip: 'rtl8139-c', base: 0xf1000000, mac: '00:16:3e:00:00:02' }], packets: 9 },
];
const run = runScenario(GUESTS, 11);
const plain: readonly Shot[] = rawCapture(run.pcap).map((f) => ({ ...f, face: 0 }));
const SENT = [10, 9];

const HOUR = 3_600_000_000_000n;
const each = (change: (s: Shot, i: number) => Shot | readonly Shot[]): Shot[] => plain.flatMap((s, i) => change(s, i));
/** Each frame on the other interface too, so much later. */
const twice = (again: (s: Shot) => Shot, first: (s: Shot) => Shot = (s) => s): Shot[] =>
  each((s) => [first(s), { ...again(s), face: 1, ns: s.ns + 1500n }]);

interface Way {
  readonly what: string;
  readonly bytes: Uint8Array;
  /** Frames as the clock of the log saw them, in the order of the file. */
  readonly shots: readonly Shot[];
}
const way = (what: string, shots: readonly Shot[], bytes = pcapng(shots), truth = shots): Way => ({ what, bytes, shots: truth });
const sentBy = (s: Shot): boolean => s.data[6] === 0 && s.data[7] === 0x16;

const WAYS: readonly Way[] = [
  way('as it is, pcapng', plain),
  way('in the other byte order', plain, pcapng(plain, { little: false })),
  way('pcap of the other byte order', plain, pcap(plain, false, false)),
  way('pcap of nanoseconds', plain, pcap(plain, true, true)),
  way(
    'on two interfaces',
    twice((s) => s),
  ),
  way(
    'on two interfaces, the second one first in the file',
    twice((s) => s).map((s, i, all) => all[i ^ 1] ?? s),
  ),
  way(
    'on two interfaces, with a VLAN tag on the bridge',
    twice((s) => ({ ...s, data: tagged(s.data, 7), wire: s.wire + 4 })),
  ),
  way(
    'on two interfaces, cut to 64 bytes on the bridge',
    twice((s) => ({ ...s, data: s.data.subarray(0, 64) })),
  ),
  way(
    'with a VLAN tag',
    each((s) => ({ ...s, data: tagged(s.data, 100), wire: s.wire + 4 })),
  ),
  way(
    'cut to 48 bytes',
    each((s) => ({ ...s, data: s.data.subarray(0, 48) })),
  ),
  way(
    'with checksums behind the frames',
    each((s) => ({ ...s, data: Uint8Array.from([...s.data, 1, 2, 3, 4]), wire: s.wire + 4 })),
  ),
  way(
    'with the directions of a vif, where what the guest sends comes in',
    each((s) => ({ ...s, flags: sentBy(s) ? 1 : 2 })),
  ),
  ...[HOUR, -HOUR, 86_400_000_000_000n + 250_000_000n].map((off) => {
    const shifted = each((s) => ({ ...s, ns: s.ns + off }));
    return way(`by a clock that is ${Number(off) / 1e9} s off`, shifted, pcapng(shifted), plain);
  }),
];

const analysisOf = async (bytes: Uint8Array): Promise<Analysis> =>
  analyze({
    trace: await openTrace(run.trace, { cpuHz: run.hz }),
    dmLogs: [...run.logs].map(([dom, log]) => ({ lines: log.split('\n'), name: `log of ${dom}` })),
    pcap: bytes,
  });

const filesOf = (frames: readonly RawFrame[]): ClaimFiles => ({
  records: rawTrace(run.trace),
  hz: run.hz,
  logs: new Map([...run.logs].map(([dom, log]) => [dom, rawLog(log)])),
  frames,
  stations: new Map(run.guests.map((g) => [g.dom, g.nics.map((n) => n.mac)])),
});

describe('a capture, however it was made', () => {
  it.each(WAYS.map((w) => [w.what, w] as const))('%s: each frame keeps its doorbell, and every sentence holds', async (_, w) => {
    const a = await analysisOf(w.bytes);
    expect(a.leftOut).toEqual([]);
    expect(a.frames).toHaveLength(w.shots.length);
    expect(a.guests.map((g) => g.transmissions.filter((t) => t.frame.value !== undefined).length)).toEqual(SENT);
    const checker = new Checker(filesOf(w.shots));
    tellAll(a, checker);
    expect(checker.problems.slice(0, 8).join('\n')).toBe('');
  });

  it('two sights are one frame, with one doorbell', async () => {
    const a = await analysisOf(pcapng(twice((s) => s)));
    for (let n = 1; n <= a.frames.length; n += 2) {
      const domain = String(
        a.guests.find((g) => g.transmissions.some((t) => t.frame.value?.number === n))?.dom ?? GUESTS[0]!.dom,
      );
      const [first, second] = [n, n + 1].map((packet) => tellStory(a, { packet, domain })) as [Story, Story];
      expect(second.subject[0]!.text).toMatch(
        new RegExp(`^Frame ${n + 1} is frame ${n} once more, .*\\(xenbr0 beside vif1\\.0-emu\\), 1\\.5 µs later`),
      );
      expect(second.hops).toEqual(first.hops);
    }
  });

  it('a frame that is sent again is another frame, on the same interface or much later on the other', async () => {
    const first = plain.find(sentBy);
    const later = plain.at(-1)!.ns + 50_000_000n;
    const a = await analysisOf(pcapng([...plain, { ...first!, ns: later }, { ...first!, ns: later + 40_000_000n, face: 1 }]));
    expect(a.guests.map((g) => [...g.capture.sightings.keys()])).toEqual([[], []]);
    for (const number of [plain.length + 1, plain.length + 2])
      expect(tellStory(a, { packet: number }).title).toMatch(/sent by the guest, its doorbell not found in the files$/);
  });

  it('simple packet blocks have no time: their loss is said', async () => {
    const a = await analysisOf(pcapng(plain, { simple: true }));
    expect(a.leftOut).toEqual([
      expect.stringContaining(`frames of the capture that are not read: ${plain.length} in simple packet blocks`),
    ]);
    expect(a.guests.flatMap((g) => g.transmissions).every((t) => t.frame.value === undefined)).toBe(true);
  });
});
