import { describe, expect, it } from 'vitest';
import { BUCKET_SIZE } from './map-cache.ts';
import { Dma } from './dma.ts';
import { MapCache } from './map-cache.ts';
import { DmLog } from './log.ts';
import { FakeHypervisor, HandClock } from './testing/fake-hypervisor.ts';

function setUp(capacity?: number) {
  const hv = new FakeHypervisor(1024);
  const clock = new HandClock();
  const lines: string[] = [];
  const log = new DmLog({
    form: 'trace',
    clock,
    pid: 1,
    sink: (text) => lines.push(...text.trimEnd().split('\n')),
    bufferSize: 1,
  });
  const cache = new MapCache({ hypercalls: hv, clock, log, ...(capacity === undefined ? {} : { capacity }) });
  const writes: string[] = [];
  const dma = new Dma(hv.bytes, cache, clock, (gpa, length) => writes.push(`${gpa.toString(16)}+${length}`));
  const events = (): string[] =>
    lines
      .splice(0)
      .filter((line) => !line.startsWith('#'))
      .map((line) => line.replace(/^[^:]*:/, ''));
  const references = (): number => [...hv.references.values()].reduce((a, b) => a + b, 0);
  return { hv, clock, cache, dma, writes, events, references };
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff);

describe('map cache', () => {
  it('asks the hypervisor once a bucket; every access is logged, a remap only on a miss', () => {
    const { hv, dma, cache, events } = setUp();
    const buffer = new Uint8Array(4);
    dma.read(0x10d400, buffer, 0, 4);
    expect(events()).toEqual([
      'xen_map_cache want 0x10d400',
      'xen_remap_bucket index 0x1',
      'xen_map_cache_return 0x7f000000d400',
    ]);
    dma.read(0x10d404, buffer, 0, 4);
    expect(events()).toEqual(['xen_map_cache want 0x10d404', 'xen_map_cache_return 0x7f000000d404']);
    dma.read(0x3ff000, buffer, 0, 4);
    expect(events()).toEqual([
      'xen_map_cache want 0x3ff000',
      'xen_remap_bucket index 0x3',
      'xen_map_cache_return 0x7f00001ff000',
    ]);
    expect(hv.foreignMaps).toBe(2);
    expect(cache.counters).toMatchObject({ accesses: 3, hits: 1, remaps: 2, failures: 0 });
  });

  it('copies across pages and buckets, whose frames do not follow each other', () => {
    const { hv, dma, writes } = setUp();
    const data = pattern(10_000);
    const at = 2 * BUCKET_SIZE - 5001;
    expect(dma.write(at, data, 0, data.length)).toBe(true);
    expect(hv.peek(at, data.length)).toEqual(data);
    expect(hv.maddr(at) + 8192).not.toBe(hv.maddr(at + 8192));
    const back = new Uint8Array(10_010);
    expect(dma.read(at, back, 10, 10_000)).toBe(true);
    expect(back.subarray(10)).toEqual(data);
    expect(writes).toEqual(['1fec77+905', '1ff000+4096', '200000+4096', '201000+903']);
  });

  it('holes fail page by page: reads give zero, writes are lost, the pages around are served', () => {
    const { hv, dma, writes } = setUp();
    const data = pattern(3 * 4096).fill(0x5a);
    expect(dma.write(0x9f000, data, 0, data.length)).toBe(false); // 0xa0000 on is the VGA hole
    expect(hv.peek(0x9f000, 4096)).toEqual(data.subarray(0, 4096));
    expect(writes).toEqual(['9f000+4096']);
    const back = new Uint8Array(3 * 4096).fill(0xff);
    expect(dma.read(0xbe000, back, 0, back.length)).toBe(false);
    expect([...new Set(back.subarray(0, 8192))]).toEqual([0]);
    expect(back.subarray(8192)).toEqual(hv.peek(0xc0000, 4096));
  });

  it('reads zero outside every bucket, at the ends of the address space too, and keeps nothing of it', () => {
    const { dma, cache } = setUp();
    for (const gpa of [0x40000000, 0xf0000000, 2 ** 40, 2 ** 52 - 2, 2 ** 52, 2 ** 53, -0x2000]) {
      const buffer = new Uint8Array(16).fill(0xee);
      expect(dma.read(gpa, buffer, 4, 8), gpa.toString(16)).toBe(false);
      expect([...buffer]).toEqual([0xee, 0xee, 0xee, 0xee, 0, 0, 0, 0, 0, 0, 0, 0, 0xee, 0xee, 0xee, 0xee]);
      expect(dma.write(gpa, buffer, 0, 16)).toBe(false);
    }
    expect(cache.size).toBe(0);
  });

  it('gives every frame back: eviction, INVALIDATE', () => {
    const { dma, cache, references } = setUp(2);
    const buffer = new Uint8Array(4);
    for (const bucket of [0, 1, 2, 3, 1]) dma.read(bucket * BUCKET_SIZE, buffer, 0, 4);
    expect(cache.size).toBe(2);
    expect(cache.counters.evictions).toBe(3);
    expect(references()).toBe(512);
    cache.invalidate();
    expect(cache.size).toBe(0);
    expect(references()).toBe(0);
  });

  it('does not evict a locked mapping', () => {
    const { cache, dma } = setUp(1);
    const mapping = cache.lookup(0x100000)!;
    cache.lock(mapping);
    dma.read(0x200000, new Uint8Array(4), 0, 4);
    expect(cache.lookup(0x100000)).toBe(mapping);
    cache.unlock(mapping);
    dma.read(0x300000, new Uint8Array(4), 0, 4);
    expect(cache.lookup(0x100000)).not.toBe(mapping);
  });

  it('charges a miss more than a hit', () => {
    const { dma, clock } = setUp();
    const buffer = new Uint8Array(4);
    dma.read(0x1000, buffer, 0, 4);
    const miss = clock.ns;
    dma.read(0x1000, buffer, 0, 4);
    expect(clock.ns).toBeGreaterThan(miss);
    expect(clock.ns - miss).toBeLessThan(miss);
  });
});
