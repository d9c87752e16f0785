import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LiveFollower, memorySource, openTrace, summarizeTrace } from '../../trace/index.ts';
import type { LiveWindow, TraceRecord, Transitions } from '../../trace/index.ts';
import { followTransitions } from '../../trace/index.ts';
import { generateTrace } from '../../trace/testing/generator.ts';
import type { Workload } from '../../trace/testing/generator.ts';
import { WindowRing } from './ring.ts';
import { Watcher } from './table.ts';
import { parseTrigger } from './trigger.ts';

/** Every transition as text, in the order they come. */
class Listing implements Transitions {
  readonly lines: string[] = [];
  exit(...a: unknown[]): void {
    this.lines.push(`exit ${a.join(' ')}`);
  }
  runstate(...a: unknown[]): void {
    this.lines.push(`runstate ${a.join(' ')}`);
  }
  injected(...a: unknown[]): void {
    this.lines.push(`injected ${a.join(' ')}`);
  }
  hypercall(...a: unknown[]): void {
    this.lines.push(`hypercall ${a.join(' ')}`);
  }
  io(...a: unknown[]): void {
    this.lines.push(`io ${a.join(' ')}`);
  }
  lost(...a: unknown[]): void {
    this.lines.push(`lost ${a.join(' ')}`);
  }
}

/** Push a stream in pieces of the given size. */
function live(bytes: Uint8Array, piece: number, to: Transitions, window: (w: LiveWindow) => void = () => {}): LiveFollower {
  const follower = new LiveFollower(2.4e9, to);
  for (let at = 0; at < bytes.length; at += piece) follower.push(bytes.subarray(at, at + piece), window);
  follower.end(window);
  return follower;
}

describe('a stream', () => {
  it.each([
    ['plain', { seed: 51, cpus: 3, steps: 3000, windowBytes: 4096 }, 1000],
    ['one byte at a time', { seed: 52, cpus: 2, steps: 60, windowBytes: 512 }, 1],
    ['TSCs past 2^53', { seed: 54, cpus: 2, steps: 500, firstTsc: 2 ** 53 + 2 ** 34 }, 65536],
  ] as [string, Workload, number][])('is followed as the whole file is: %s', async (_, load, piece) => {
    const bytes = generateTrace(load);
    const whole = new Listing();
    await followTransitions(memorySource(bytes), { cpuHz: 2.4e9, svm: false }, whole);
    const came = new Listing();
    const follower = live(bytes, piece, came);
    expect(follower.records).toBe((await summarizeTrace(memorySource(bytes), 2.4e9, false)).records);
    expect(came.lines.length).toBeGreaterThan(20);
    // At the end of a file a CPU's last state is closed; a stream's stays open. The same instant may be told in another order.
    const known = new Set(whole.lines);
    expect(came.lines.filter((l) => !known.has(l))).toEqual([]);
    expect(whole.lines.length - came.lines.length).toBeLessThanOrEqual(load.cpus * 2);
    expect(follower.damage.count + follower.skipped).toBe(0);
  });

  it('records that were lost are told, though a stream tells it late', async () => {
    const bytes = generateTrace({ seed: 53, cpus: 4, steps: 4000, losses: 0.004, windowBytes: 2048 });
    const came = new Listing();
    const follower = live(bytes, 7777, came);
    const summary = await summarizeTrace(memorySource(bytes), 2.4e9, false);
    expect(follower.records).toBe(summary.records);
    const lost = summary.pcpus.reduce((n, p) => n + p.lost.events, 0);
    expect(lost).toBeGreaterThan(3);
    expect(came.lines.filter((l) => l.startsWith('lost')).length).toBe(lost);
  });

  it('whatever bytes come, it ends, and windows behind the damage are read', () => {
    const good = generateTrace({ seed: 55, cpus: 2, steps: 200, windowBytes: 1024 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(2000), fc.integer({ min: 1, max: 5000 }), (junk, at, piece) => {
        const place = Math.min(at & ~3, good.length);
        const stream = new Uint8Array([
          ...good.subarray(0, place),
          ...junk.subarray(0, junk.length & ~3),
          ...good.subarray(place),
        ]);
        const follower = live(stream, piece, new Listing());
        expect(follower.records).toBeGreaterThan(0);
      }),
      { numRuns: 150 },
    );
  });

  it.each([1000, 1 << 20])('a window whose length is damaged costs itself, not those behind it: pieces of %d bytes', (piece) => {
    const good = generateTrace({ seed: 55, cpus: 2, steps: 2000, windowBytes: 1024 });
    const all = live(good, piece, new Listing()).records;
    const bad = Uint8Array.from(good);
    const first = new DataView(bad.buffer).getUint32(8, true);
    // 48 MiB, which the stream does not have.
    new DataView(bad.buffer).setUint32(8, 48 << 20, true);
    const follower = live(bad, piece, new Listing());
    expect(follower.skipped).toBe(12 + first);
    expect(follower.records).toBeGreaterThan(all - 200);
  });

  it('a stream that ends inside a window is read to its last whole record', () => {
    const good = generateTrace({ seed: 55, cpus: 1, steps: 100, windowBytes: 1 << 20 });
    const all = live(good, 100, new Listing()).records;
    const follower = live(good.subarray(0, good.length - 6), 100, new Listing());
    expect(follower.records).toBe(all - 1);
  });

  it('random bytes alone are no record', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), (bytes) => {
        expect(live(bytes, 100, new Listing()).records).toBe(0);
      }),
      { numRuns: 100 },
    );
  });
});

describe('the ring', () => {
  it('keeps the last stretch of time, and what it writes is a trace of that', async () => {
    const bytes = generateTrace({ seed: 56, cpus: 2, steps: 20000, windowBytes: 2048 });
    const all: TraceRecord[] = [];
    for await (const r of await openTrace(bytes)) all.push(r);
    const end = all.at(-1)!.ns;
    const ring = new WindowRing(end / 10, 1 << 30);
    const follower = new LiveFollower(2.4e9, new Listing());
    follower.push(bytes, (w) => ring.push(w, follower.arrivedNs));
    const parts: Uint8Array[] = [];
    const written = ring.write((part) => void parts.push(part.slice()));
    const kept: TraceRecord[] = [];
    for await (const r of await openTrace(new Uint8Array(Buffer.concat(parts)))) kept.push(r);
    expect(written).toBe(Buffer.concat(parts).length);
    expect(kept.length).toBeGreaterThan(all.length / 12);
    expect(kept.length).toBeLessThan(all.length / 5);
    for (const cpu of [0, 1]) {
      const own = (list: TraceRecord[]): unknown[] => list.filter((r) => r.cpu === cpu).map((r) => [r.tsc, r.event, r.words]);
      expect(own(kept)).toEqual(own(all).slice(-own(kept).length));
    }
  });

  it('never holds more bytes than it may', () => {
    const ring = new WindowRing(1e12, 10_000);
    for (let i = 0; i < 100; i++) ring.push({ cpu: 0, words: new Int32Array(1016), bytes: 4000, offset: 0 }, i);
    expect(ring.bytes).toBeLessThanOrEqual(10_000);
  });
});

describe('a condition', () => {
  it.each([
    ['io.latency > 5ms', { latency: 5_000_001 }, { latency: 5_000_000 }],
    ['exit.latency>=1us and exit.domid = 3', { latency: 1000, domid: 3 }, { latency: 1000, domid: 4 }],
    ['io.address == 0xf10000d9 && io.write = 1', { address: 0xf10000d9, write: 1 }, { address: 0xf10000d9, write: 0 }],
    ['lost.records > 0', { records: 1 }, { records: 0 }],
    ['wake.latency < 0.5 s', { latency: 1 }, { latency: 6e8 }],
  ])('%s', (text, yes, no) => {
    const trigger = parseTrigger(text);
    expect(trigger.holds(yes as never)).toBe(true);
    expect(trigger.holds(no as never)).toBe(false);
  });

  it.each([
    ['io.latency', /is not a condition/],
    ['io.latency > 5', /lacks a unit/],
    ['io.domid > 5ms', /is not a time/],
    ['disk.latency > 5ms', /unknown figure 'disk.latency'/],
    ['io.latency > 5ms and exit.domid = 1', /do not go together/],
  ])('%s is refused', (text, why) => {
    expect(() => parseTrigger(text)).toThrow(why);
  });
});

describe('the table', () => {
  it('counts what happened since the last one', async () => {
    const bytes = generateTrace({ seed: 57, cpus: 2, steps: 3000 });
    const summary = await summarizeTrace(memorySource(bytes), 2.4e9, false);
    const hits: string[] = [];
    const watcher = new Watcher(
      (ticks) => Math.floor(ticks / 2.4),
      parseTrigger('exit.latency > 1ns'),
      (_, what) => void hits.push(what),
    );
    const follower = live(bytes, 1 << 20, watcher);
    const [title, , ...rows] = watcher.table(follower.nowNs, 1e9, 'vmx');
    expect(title).toMatch(/^trace time \d/);
    const exits = new Map(rows.map((r) => [r.slice(0, 9).trim(), Number(r.slice(24, 34))]));
    for (const d of summary.domains)
      for (const v of d.vcpus)
        if (v.hvm !== null)
          expect([`d${d.id}v${v.id}`, exits.get(`d${d.id}v${v.id}`)]).toEqual([
            `d${d.id}v${v.id}`,
            v.hvm.exits.reduce((n, e) => n + e.events, 0),
          ]);
    expect(hits.length).toBeGreaterThan(100);
    // Nothing happened since: no row.
    expect(watcher.table(follower.nowNs, 1e9, 'vmx')).toHaveLength(2);
  });
});
