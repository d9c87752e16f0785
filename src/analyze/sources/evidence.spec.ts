import { describe, expect, it } from 'vitest';
import { readDmLog } from './dm-log.ts';
import { consoleLine, formatRefs, logLine, optionRef, pcapFrame, traceOffset } from './evidence.ts';
import { MapCacheHistory } from '../join/mapcache.ts';
import { CostTable } from '../join/statistics.ts';
import { ioPaths } from '../join/path.ts';
import { analyzeExcerpt, excerpt } from '../testing/excerpts.ts';

describe('references', () => {
  it('are short, each once, neighbouring lines folded', () => {
    expect(
      formatRefs([
        traceOffset(0x2a4c),
        logLine(7),
        logLine(8),
        logLine(9),
        logLine(9),
        logLine(11),
        pcapFrame(3),
        consoleLine(27),
        logLine(4, 'text'),
        optionRef,
      ]),
    ).toBe('trace+0x2a4c, log:7-9, log:11, pcap#3, console:27, text:4, option');
  });
});

describe('map cache', () => {
  const lines = (...dma: [number, string, number?][]): string[] =>
    dma.flatMap(([gpa, pointer, gap = 10], i) => [
      `1@1.${String(i * 10_000).padStart(6, '0')}:xen_map_cache want 0x${gpa.toString(16)}`,
      `1@1.${String(i * 10_000 + gap).padStart(6, '0')}:xen_map_cache_return 0x${pointer}`,
    ]);

  it('tells a hit by the same mapping, a miss by another one or a remap, and else does not know', async () => {
    const log = await readDmLog(
      [
        ...lines(
          [0x100000, '7f0000000000'],
          [0x100010, '7f0000000010'],
          [0x200000, '7f0000100000'],
          [0x100020, '7f0000500020'],
          [0x300000, '7f0000200000', 900],
        ),
        '1@1.100000:xen_map_cache want 0x400000',
        '1@1.100005:xen_remap_bucket index 0x4',
        '1@1.100010:xen_map_cache_return 0x7f0000300000',
      ],
      'log',
    );
    const all = log.early.dma;
    const outcomes = (history: MapCacheHistory): unknown[] =>
      all.map((d) => [history.outcome(d).value, history.outcome(d).strength]);
    expect(outcomes(new MapCacheHistory(log))).toEqual([
      ['hit', 'strong'],
      ['hit', 'proven'],
      ['hit', 'strong'],
      ['miss', 'inferred'],
      ['hit', 'strong'],
      ['miss', 'proven'],
    ]); // remaps are logged, so where none is there was none
    expect(new MapCacheHistory(log).totals()).toEqual({ accesses: 6, mappings: 5, remaps: 1 });

    const without = await readDmLog(
      lines([0x100000, '7f0000000000'], [0x100010, '7f0000000010'], [0x200000, '7f0000100000'], [0x300000, '7f0000200000', 900]),
      'log',
    );
    expect(
      without.early.dma.map((d) => [
        new MapCacheHistory(without).outcome(d).value,
        new MapCacheHistory(without).outcome(d).strength,
      ]),
    ).toEqual([
      [undefined, 'unknown'],
      ['hit', 'strong'],
      [undefined, 'unknown'],
      ['miss', 'inferred'],
    ]);
  });

  it('does not know whether a mapping that comes back was kept', async () => {
    const back = await readDmLog(
      lines([0x100000, '7f0000000000'], [0x100010, '7f0000500010'], [0x100020, '7f0000000020'], [0x100030, '7f0000000030']),
      'log',
    );
    const history = new MapCacheHistory(back);
    expect(back.early.dma.map((d) => history.outcome(d).value)).toEqual([undefined, 'miss', undefined, 'hit']);
    expect(history.outcome(back.early.dma[2]!).why).toContain('may have been kept, or made anew');
  });
});

describe('cost table', () => {
  it('has nearest-rank percentiles of the very times', async () => {
    const a = await analyzeExcerpt(excerpt('8139cp'));
    const table = new CostTable();
    const paths = [...ioPaths(a)];
    for (const p of paths) table.add(p);
    const row = table.rows().find((r) => r.register === 'IntrStatus' && r.dir === 'read')!;
    const times = paths
      .filter((p) => p.registers[0]?.name === 'IntrStatus' && p.access.dir === 'read')
      .map((p) => p.stages.total!)
      .sort((x, y) => x - y);
    expect(times).toHaveLength(2);
    expect([row.count, row.min, row.median, row.p99, row.max, row.total]).toEqual([
      2,
      times[0],
      times[0],
      times[1],
      times[1],
      times[0]! + times[1]!,
    ]);
    expect(table.rows().map((r) => r.total)).toEqual(
      table
        .rows()
        .map((r) => r.total)
        .sort((x, y) => y - x),
    );
  });
});
