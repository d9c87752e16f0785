import type { DmDma } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, logLine, unknown, type Claim } from '../sources/evidence.ts';

/** Bytes of a map-cache bucket on a 64-bit device model (QEMU hw/xen/xen-mapcache.c, MCACHE_BUCKET_SHIFT 20). */
const BUCKET_BYTES = 1 << 20;

/** A want and its return this many times further apart than usual hold something more than a lookup. */
const LONG_GAP = 5;

/** How one map-cache access went. */
export type MapCacheOutcome = 'hit' | 'miss';

/**
 * What the log's map-cache lines tell together: a bucket that answers with the same distance between guest-physical
 * address and pointer is still the same mapping, so no hypercall was needed.
 */
export class MapCacheHistory {
  private readonly log: DmLog;
  private readonly all: DmDma[];
  /** Answered accesses of each bucket, in the log's order. */
  private readonly byBucket = new Map<number, DmDma[]>();
  /** Usual microseconds between a want and its return: the median. */
  readonly usualGapUs: number | undefined;
  /** The log prints remaps: then a missing one means a hit. */
  readonly remapsLogged: boolean;

  constructor(log: DmLog) {
    this.log = log;
    this.all = [...log.early.dma, ...log.requests.flatMap((r) => r.dma)];
    for (const d of this.all) {
      if (d.pointer === undefined) continue;
      const bucket = Math.floor(d.gpa / BUCKET_BYTES);
      const list = this.byBucket.get(bucket);
      if (list === undefined) this.byBucket.set(bucket, [d]);
      else list.push(d);
    }
    const gaps = this.all
      .map(gapOf)
      .filter((g) => g !== undefined)
      .sort((a, b) => a - b);
    this.usualGapUs = gaps[gaps.length >> 1];
    this.remapsLogged = this.all.some((d) => d.remapIndex !== undefined);
  }

  /** Whether an access found its bucket mapped, as far as the log goes. */
  outcome(dma: DmDma): Claim<MapCacheOutcome> {
    const here = logLine(dma.line, this.log.source);
    if (dma.remapIndex !== undefined)
      return claim('miss', 'proven', `the device model logs a remap of bucket 0x${dma.remapIndex.toString(16)}`, [here]);
    const distance = distanceOf(dma);
    const bucket = Math.floor(dma.gpa / BUCKET_BYTES);
    const before = lastBefore(this.byBucket.get(bucket) ?? [], dma.line);
    const refs = before === undefined ? [here] : [logLine(before.line, this.log.source), here];
    if (before !== undefined && distance !== undefined && distanceOf(before) === distance) {
      return claim(
        'hit',
        this.remapsLogged ? 'proven' : 'strong',
        `the same bucket answered with the same mapping before, at log line ${before.line}`,
        refs,
      );
    }
    if (before !== undefined && distance !== undefined) {
      // Where remaps are printed, none here is a hit on an older mapping; else an older one may have stayed or been made again.
      const older = this.byBucket.get(bucket)!.find((d) => d.line < dma.line && distanceOf(d) === distance);
      if (older === undefined)
        return claim('miss', 'inferred', 'the bucket answers with a mapping that this log has not shown before', refs);
      if (!this.remapsLogged)
        return unknown(
          `the bucket answered with this mapping at log line ${older.line} and with another since: it may have been kept, or made anew`,
          [logLine(older.line, this.log.source), here],
        );
    }
    if (this.remapsLogged) return claim('hit', 'strong', 'the log prints remaps, and none here', refs);
    const gap = gapOf(dma);
    if (gap !== undefined && this.usualGapUs !== undefined && gap > LONG_GAP * this.usualGapUs) {
      return claim(
        'miss',
        'inferred',
        `first use of its bucket in this log, and the answer took ${gap} µs where ${this.usualGapUs} µs is usual`,
        refs,
      );
    }
    return unknown('first use of its bucket in this log: it may have been mapped before the log began', refs);
  }

  /** The miss by which a hit's bucket came to be mapped: the last one before it. Unknown where the log shows none. */
  mappedBy(hit: DmDma): Claim<DmDma> {
    const list = this.byBucket.get(Math.floor(hit.gpa / BUCKET_BYTES)) ?? [];
    for (let i = list.length - 1; i >= 0; i--) {
      const dma = list[i]!;
      if (dma.line >= hit.line) continue;
      const outcome = this.outcome(dma);
      if (outcome.value === 'miss')
        return claim(dma, outcome.strength as 'proven', outcome.why, [logLine(dma.line, this.log.source)]);
    }
    return unknown(
      'no use of the bucket in this log is a miss',
      list[0] === undefined ? [] : [logLine(list[0].line, this.log.source)],
    );
  }

  /** All accesses, and how many mappings (bucket and distance) they used. */
  totals(): { accesses: number; mappings: number; remaps: number } {
    const mappings = new Set(
      this.all.filter((d) => d.pointer !== undefined).map((d) => `${Math.floor(d.gpa / BUCKET_BYTES)} ${distanceOf(d)}`),
    );
    return {
      accesses: this.all.length,
      mappings: mappings.size,
      remaps: this.all.filter((d) => d.remapIndex !== undefined).length,
    };
  }
}

const gapOf = (d: DmDma): number | undefined =>
  d.timeUs === undefined || d.returnTimeUs === undefined ? undefined : d.returnTimeUs - d.timeUs;
const distanceOf = (d: DmDma): bigint | undefined =>
  d.pointer === undefined ? undefined : BigInt('0x' + d.pointer) - BigInt(d.gpa);

/** The last entry before a line, by bisection. */
function lastBefore(sorted: readonly DmDma[], line: number): DmDma | undefined {
  let lo = 0;
  let hi = sorted.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (sorted[mid]!.line < line) lo = mid + 1;
    else hi = mid;
  }
  return sorted[lo - 1];
}
