import { beforeAll, describe, expect, it } from 'vitest';
import { lackOf } from '../../test/needs.ts';
import { openTrace } from '../trace/index.ts';
import { captureFile, type Capture } from '../trace/testing/fixtures.ts';
import { analyze, theGuest, type Analysis, type AnalysisInput } from './join/analysis.ts';
import type { Guest } from './join/guest.ts';
import { ioPaths, registerNames, type IoPath } from './join/path.ts';
import { CostTable } from './join/statistics.ts';
import { tellStory, explainFiles } from './tell/story.ts';
import { renderStory } from './tell/story-text.ts';
import { parseXenalyzeLine } from './sources/xenalyze-text.ts';

const lack = await lackOf('captures');

const HZ = 2_596_090_000;
const text = (capture: Capture, name: string): string[] => Buffer.from(captureFile(capture, name)).toString('utf8').split('\n');

async function inputOf(capture: Capture, change?: (bytes: Uint8Array) => void): Promise<AnalysisInput> {
  const bytes = Uint8Array.from(captureFile(capture, 'trace.bin'));
  change?.(bytes);
  return {
    trace: await openTrace(bytes, { cpuHz: HZ }),
    dmLog: text(capture, 'qemu-dm.log'),
    pcap: captureFile(capture, 'bridge.pcap'),
    console: text(capture, 'serial.log'),
  };
}

const nic = (a: Analysis | Guest): IoPath[] => [...ioPaths(a)].filter((p) => p.window?.chip.name === 'rtl8139');

describe.skipIf(lack.skip)(lack.title('captures of a real Xen'), () => {
  const analyses = new Map<Capture, Analysis>();
  const guest = (capture: Capture): Guest => theGuest(analyses.get(capture)!);
  beforeAll(async () => {
    for (const capture of ['rtl8139-8139cp-ping', 'rtl8139-8139too-ping', 'lost-records'] as const)
      analyses.set(capture, await analyze(await inputOf(capture)));
  });

  it.each([
    ['rtl8139-8139cp-ping', 344, 289],
    ['rtl8139-8139too-ping', 394, 308],
  ] as const)('%s: every NIC access pairs with the log, one to one in both directions', (capture, reads, writes) => {
    const a = guest(capture);
    const paths = nic(a);
    expect(paths.filter((p) => p.access.dir === 'read')).toHaveLength(reads);
    expect(paths.filter((p) => p.access.dir === 'write')).toHaveLength(writes);
    expect(
      paths.every(
        (p) =>
          p.request !== undefined &&
          p.request.request.addr === p.access.addr &&
          p.request.data === p.access.data &&
          p.request.dir === p.access.dir,
      ),
    ).toBe(true);
    expect(new Set(paths.map((p) => p.request)).size).toBe(paths.length);
    // The other direction: requests of the log that pair with nothing lie after the trace's end, all of them.
    expect(a.pairing!.unpairedAccesses).toEqual([]);
    expect(new Set(a.pairing!.unpairedRequests.map((u) => u.reason))).toEqual(new Set(['after the trace ended']));
    expect(a.pairing!.pairs + a.pairing!.unpairedRequests.length).toBe(a.log!.requests.length);
  });

  it('names registers, widths and routes', () => {
    const paths = nic(analyses.get('rtl8139-8139cp-ping')!);
    const counts = new Map<string, number>();
    for (const p of paths) counts.set(registerNames(p)!, (counts.get(registerNames(p)!) ?? 0) + 1);
    expect(counts.get('TxPoll')).toBe(10);
    expect(counts.get('Cfg9346')).toBe(504);
    expect(counts.get('IntrStatus')).toBe(29);
    expect(paths.every((p) => p.registers.length > 0 && p.width.value === p.request!.request.size)).toBe(true);
    expect(paths.every((p) => p.route.value === 'synchronous ioreq' && p.route.strength === 'proven')).toBe(true);
    expect(paths.filter((p) => p.access.marks.blocked === undefined)).toHaveLength(1); // no wait, and still synchronous
  });

  it('finds the BAR three ways, and by --device where no file tells', () => {
    const { windows } = guest('rtl8139-8139cp-ping');
    expect(windows.find((w) => w.space === 'mmio')).toMatchObject({ base: 0xf1000000, found: { strength: 'strong' } });
    expect(windows.find((w) => w.space === 'mmio')!.found.refs.map((r) => r.file)).toEqual(['dm-log', 'console', 'console']);
    expect(windows.find((w) => w.space === 'pio')).toMatchObject({ base: 0xc100 });
  });

  it('lays the clocks over each other within 200 µs, by every pair', () => {
    for (const analysis of analyses.values()) {
      const a = theGuest(analysis);
      expect(a.clock).toMatchObject({ consistent: true, outliers: [] });
      expect(a.clock!.errorUs).toBeLessThan(200);
      expect(Math.abs(a.clock!.rate - 1)).toBeLessThan(0.0003);
    }
  });

  it('gives every captured frame of the guest its doorbell', () => {
    for (const [capture, sent] of [
      ['rtl8139-8139cp-ping', 12],
      ['rtl8139-8139too-ping', 12],
    ] as const) {
      const a = analyses.get(capture)!;
      const own = a.frames.filter(
        (f) =>
          f.data.subarray(6, 12).join() === [0, 0x16, 0x3e, 0, 0, 1].join() &&
          f.timeUs < theGuest(a).log!.requests.at(-1)!.request.timeUs!,
      );
      const numbers = own.map((f) => f.number);
      expect(numbers.length).toBe(sent);
      for (const packet of numbers)
        expect(tellStory(a, { packet }).title, `frame ${packet}`).toContain('sent through an emulated RTL8139');
    }
  });

  it.each([
    ['rtl8139-8139cp-ping', 4],
    ['rtl8139-8139too-ping', 4],
    ['lost-records', undefined],
  ] as const)('golden story of %s, packet %s', async (capture, packet) => {
    await expect(renderStory(tellStory(analyses.get(capture)!, { packet }))).toMatchFileSnapshot(
      `./testing/golden/${capture}.txt`,
    );
  });

  it("tells a frame of the guest's own whose doorbell is outside the files from one that came in", () => {
    const a = analyses.get('rtl8139-8139cp-ping')!;
    const own = tellStory(a, { packet: 18 });
    expect(own.title).toContain('sent by the guest, its doorbell not found in the files');
    expect(own.subject.map((s) => s.text)).toEqual([
      "The guest sent it: its source address is the guest's (the guest's console names it as its interface's).",
      'It was captured after the last request of the log.',
    ]);
    const received = tellStory(a, { packet: 5 });
    expect(received.subject[0]).toMatchObject({
      strength: 'strong',
      text: expect.stringMatching(/^It came from outside/) as string,
    });
    expect(received.hops.map((h) => h.where)).toEqual(['wire', 'device model', 'device model', 'guest d1v0']);
    expect(received.hops[2]!.text).toBe(
      'writes the frame to guest-physical 0x647f140, the next address it asked its map cache for.',
    );
    expect(received.time[0]!.text).toMatch(
      /^Of 4039\d\.\d µs from the wire to the last step above: .* until the guest read the interrupt cause\.$/,
    );
  });

  it("every way is told in the order of its times, within the clocks' error", () => {
    for (const a of analyses.values()) {
      for (const { number } of a.frames) {
        let last = -Infinity;
        for (const hop of tellStory(a, { packet: number }).hops) {
          if (hop.atNs === undefined) continue;
          expect(hop.atNs, `frame ${number}: ${hop.text}`).toBeGreaterThanOrEqual(last);
          last = Math.max(last, hop.atNs);
        }
      }
    }
  });

  it('says who translated, and when, where nobody did for the packet itself', () => {
    const told = (capture: Capture, packet: number): (string | undefined)[] => {
      const sentence = tellStory(analyses.get(capture)!, { packet }).translation.find((s) =>
        s.text.startsWith('Who translated them'),
      );
      return [sentence?.text.replace(/^.*\(|\).*$/g, ''), sentence?.strength];
    };
    expect(told('rtl8139-8139cp-ping', 4)).toEqual(['0x645d420 at log line 2573, 0x518ee02 at log line 3072', 'inferred']);
    expect(told('rtl8139-8139cp-ping', 1)).toEqual([undefined, undefined]); // its own misses: told one by one
  });

  it('a log alone tells of every transmission, times to the microsecond it holds', async () => {
    const a = await analyze({
      dmLog: text('rtl8139-8139cp-ping', 'qemu-dm.log'),
      pcap: captureFile('rtl8139-8139cp-ping', 'bridge.pcap'),
    });
    const story = tellStory(a, { packet: 7 });
    expect(story.title).toContain('in C+ mode (from the log alone)');
    expect(story.hops.map((h) => h.atNs)).toEqual([0, 780_000, 2_237_000, 3_349_000]);
    const too = await analyze({ dmLog: text('rtl8139-8139too-ping', 'qemu-dm.log') });
    expect(tellStory(too).title).toBe(
      'Transmission 1 of 12: a frame of 90 bytes, sent through an emulated RTL8139 in C mode (from the log alone)',
    );
  });

  it('an answer that came before the guest waited has no stages', () => {
    const quick = [...ioPaths(analyses.get('rtl8139-8139cp-ping')!)].filter(
      (p) => p.request !== undefined && p.access.marks.blocked === undefined && p.access.marks.notified === undefined,
    );
    expect(quick.length).toBeGreaterThan(0);
    for (const p of quick)
      expect(p.stages).toMatchObject({ emulate: undefined, work: undefined, total: expect.any(Number) as number });
  });

  it('text of xenalyze gives the same accesses as the binary', async () => {
    const fromText = theGuest(await analyze({ text: text('rtl8139-8139too-ping', 'trace.xenalyze-dump.txt') }));
    const key = (x: Guest): string[] =>
      x.accesses.map(
        (p) =>
          `${p.dom} ${p.vcpu} ${p.space} ${p.dir} ${p.addr} ${p.data} ${p.exitReason} ${p.rip} ${p.marks.blocked !== undefined} ${p.marks.model?.dom}`,
      );
    expect(key(fromText)).toEqual(key(guest('rtl8139-8139too-ping')));
  });

  it('lost records: what pairs is equal, the gap is named, no time is made up', () => {
    const a = guest('lost-records');
    expect(a.lost).toHaveLength(10);
    expect(a.lost.reduce((n, l) => n + l.count, 0)).toBe(63_660);
    expect(new Set(a.pairing!.unpairedRequests.map((u) => u.reason))).toEqual(
      new Set(['the trace lost records there', 'after the trace ended']),
    );
    for (const p of ioPaths(a))
      if (p.access.lost !== undefined) expect(Object.values(p.stages).every((s) => s === undefined)).toBe(true);
  });

  it('cost table: counts add up, percentiles are in order', () => {
    const table = new CostTable();
    const paths = nic(analyses.get('rtl8139-8139cp-ping')!);
    for (const p of paths) table.add(p);
    const rows = table.rows();
    expect(rows.reduce((n, r) => n + r.count, 0)).toBe(633);
    expect(rows.reduce((n, r) => n + r.share, 0)).toBeCloseTo(1, 9);
    for (const r of rows)
      if (r.timed > 0)
        expect([r.min!, r.median!, r.p99!, r.max!]).toEqual([r.min!, r.median!, r.p99!, r.max!].sort((x, y) => x - y));
  });

  it('a flipped data byte, a flipped address and a cut file change what is told', async () => {
    const a = guest('rtl8139-8139cp-ping');
    const bell = a.accesses.find((x) => x.addr === 0xf10000d9)!;
    const at = bell.record.ref.at; // header word, gpa, data
    const data = await analyze(
      await inputOf('rtl8139-8139cp-ping', (b) => {
        b[at + 8] = 0xc0; // NPQ and HPQ: no log line has that
      }),
    );
    expect(theGuest(data).pairing!.unpairedAccesses.map((u) => u.reason)).toEqual([
      'no request with equal address, direction and data in this order',
    ]);
    expect(renderStory(tellStory(data, { packet: undefined, atSeconds: bell.record.timeNs / 1e9 }), { width: 9999 })).toContain(
      'has no log line that pairs with this access: its work is unknown.',
    );

    const hole = await analyze(
      await inputOf('rtl8139-8139cp-ping', (b) => {
        b.set([0xd9, 0x00, 0x0a, 0x00], at + 4); // gpa 0xa00d9: VGA memory
      }),
    );
    const moved = [...ioPaths(hole)].find((p) => p.access.addr === 0xa00d9)!;
    expect(moved.route).toMatchObject({ value: 'synchronous ioreq', strength: 'strong' });
    expect(moved.route.why).toContain('the address alone would have allowed the buffered page');
    expect(moved.window).toBeUndefined();

    const input = await inputOf('rtl8139-8139cp-ping');
    const cut = await explainFiles({
      ...input,
      trace: await openTrace(captureFile('rtl8139-8139cp-ping', 'trace.bin').subarray(0, 0x1d0000), { cpuHz: HZ }),
      packet: 4,
    });
    expect(renderStory(cut, { width: 9999 })).toContain(
      'Whether a hypercall fell into this request is unknown: the doorbell is not in the trace.',
    );
  });

  it('knows every line shape of the text that matters', () => {
    const kinds = new Set(text('lost-records', 'trace.xenalyze-dump.txt').map((l, i) => parseXenalyzeLine(l, i)?.kind));
    expect(kinds).toEqual(new Set([undefined, 'vmexit', 'vmentry', 'npf', 'io', 'runstate', 'hypercall', 'inject', 'lost']));
  });
});
