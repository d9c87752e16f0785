/**
 * The map cache: the device model's mapping of guest memory, in 1 MiB buckets. A guest-physical address in a
 * bucket that is mapped costs nothing but a table look-up; only a miss asks the hypervisor, which translates the
 * bucket's gfns through the p2m. Holes fail page by page: each bucket has a bitmap of its valid pages, and a page
 * that failed is asked for again when it is wanted again.
 * Source of the behaviour: QEMU hw/i386/xen/xen-mapcache.c.
 */
import { xenMapCache, xenMapCacheReturn, xenRemapBucket } from '../abi/dm-log-lines.ts';
import { gfn, PAGE_SHIFT, PAGE_SIZE, type Maddr } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import type { Snapshot } from '../base/snapshot.ts';
import type { DeviceModelHypercalls } from '../abi/dm-op.ts';
import { cost } from './costs.ts';
import { hex64 } from '../base/hex.ts';
import type { DmLog } from './log.ts';

const BUCKET_SHIFT = 20;
export const BUCKET_SIZE = 1 << BUCKET_SHIFT;
const PAGES_PER_BUCKET = BUCKET_SIZE / PAGE_SIZE;
/** Physical addresses end here (52 bits, the architectural limit). */
const GPA_LIMIT = 2 ** 52;
/** Where buckets appear in the device model's own address space, as the log shows it. */
const MAPPING_BASE_HIGH = 0x7f00;
/** What foreignMap puts where the guest has no RAM. */
const NO_FRAME = -1;

interface MapCacheCounters {
  /** Accesses, hits and misses alike. */
  accesses: number;
  hits: number;
  /** Buckets or single pages asked from the hypervisor. */
  remaps: number;
  evictions: number;
  /** Accesses to a page the guest does not have. */
  failures: number;
  invalidations: number;
}

/** One mapped bucket. A holder of a locked mapping keeps it and gives it back with unlock(). */
interface Mapping {
  /** Bucket number: gpa >> 20. */
  readonly bucket: number;
  /** Machine address by page of the bucket (int32: read it with >>> 0), NO_FRAME where there is none. */
  readonly frames: Int32Array;
  /** One bit a page: mapped. */
  readonly valid: Uint32Array;
  /** Which megabyte of the device model's address space the bucket appears in. */
  readonly place: number;
  locks: number;
  /** Invalidated while locked: nobody finds it any more, the last unlock unmaps it. */
  stale: boolean;
}

interface MapCacheOptions {
  readonly hypercalls: Pick<DeviceModelHypercalls, 'foreignMap' | 'foreignUnmap'>;
  readonly clock: Clock;
  readonly log?: DmLog | undefined;
  /** Buckets kept; the one mapped longest ago and not locked goes first. */
  readonly capacity?: number;
}

/** The buckets mapped, in the order of their age. No mapping is locked between two requests. */
export interface MapCacheState {
  readonly counters: MapCacheCounters;
  readonly buckets: Float64Array;
  readonly places: Float64Array;
  /** Machine addresses, page by page, bucket behind bucket. */
  readonly frames: Int32Array;
  readonly freePlaces: Float64Array;
  /** Places ever used. */
  readonly placeCount: number;
  /** The bucket found last; -1: none. */
  readonly last: number;
}

export class MapCache implements Snapshot<MapCacheState> {
  readonly kind = 'map cache';
  readonly version = 1;
  readonly counters: MapCacheCounters = { accesses: 0, hits: 0, remaps: 0, evictions: 0, failures: 0, invalidations: 0 };
  private readonly hypercalls: Pick<DeviceModelHypercalls, 'foreignMap' | 'foreignUnmap'>;
  private readonly clock: Clock;
  private readonly log: DmLog | undefined;
  private readonly capacity: number;
  /** Insertion order is age. */
  private readonly buckets = new Map<number, Mapping>();
  private readonly freePlaces: number[] = [];
  private places = 0;
  private last: Mapping | undefined;
  private readonly onePage = new Int32Array(1);

  constructor(options: MapCacheOptions) {
    this.hypercalls = options.hypercalls;
    this.clock = options.clock;
    this.log = options.log?.traces ? options.log : undefined;
    this.capacity = options.capacity ?? 4096;
  }

  /** Buckets mapped now. */
  get size(): number {
    return this.buckets.size;
  }

  save(): MapCacheState {
    const mappings = [...this.buckets.values()];
    const frames = new Int32Array(mappings.length * PAGES_PER_BUCKET);
    mappings.forEach((mapping, i) => frames.set(mapping.frames, i * PAGES_PER_BUCKET));
    return {
      counters: { ...this.counters },
      buckets: Float64Array.from(mappings, ({ bucket }) => bucket),
      places: Float64Array.from(mappings, ({ place }) => place),
      frames,
      freePlaces: Float64Array.from(this.freePlaces),
      placeCount: this.places,
      last: this.last?.bucket ?? -1,
    };
  }

  /**
   * Takes the mappings over with the references that machine memory holds for them: nothing is asked of the hypervisor, and what was
   * mapped before is forgotten without giving references back.
   */
  restore(state: MapCacheState): void {
    if (state.frames.length !== state.buckets.length * PAGES_PER_BUCKET || state.places.length !== state.buckets.length)
      throw new UserError('saved state of the map cache: its buckets and their frames do not belong together');
    Object.assign(this.counters, state.counters);
    this.buckets.clear();
    state.buckets.forEach((bucket, i) => {
      const frames = state.frames.slice(i * PAGES_PER_BUCKET, (i + 1) * PAGES_PER_BUCKET);
      const valid = new Uint32Array(PAGES_PER_BUCKET / 32);
      for (let page = 0; page < PAGES_PER_BUCKET; page++) if (frames[page] !== NO_FRAME) valid[page >>> 5]! |= 1 << (page & 31);
      this.buckets.set(bucket, { bucket, frames, valid, place: state.places[i]!, locks: 0, stale: false });
    });
    this.freePlaces.splice(0, this.freePlaces.length, ...state.freePlaces);
    this.places = state.placeCount;
    this.last = this.buckets.get(state.last);
  }

  /**
   * The mapping that holds `gpa`, with that page valid; undefined when the guest has no RAM there. It stays
   * usable until the next call, longer only between lock() and unlock().
   */
  lookup(gpa: number): Mapping | undefined {
    this.counters.accesses++;
    const log = this.log;
    if (log !== undefined) log.put(xenMapCache, { gpa });
    const mapping = this.find(gpa);
    if (log !== undefined)
      log.put(xenMapCacheReturn, { pointer: mapping === undefined ? '(nil)' : this.ownAddress(mapping, gpa) });
    if (mapping === undefined) this.counters.failures++;
    return mapping;
  }

  /** Is this page of the mapping there? For an access that runs on past the page lookup() was asked for. */
  hasPage(mapping: Mapping, page: number): boolean {
    return ((mapping.valid[page >>> 5]! >>> (page & 31)) & 1) !== 0 || this.mapPage(mapping, page);
  }

  /** Machine address of `gpa`, whose page is valid in `mapping`. */
  maddr(mapping: Mapping, gpa: number): Maddr {
    return ((mapping.frames[(gpa & (BUCKET_SIZE - 1)) >>> PAGE_SHIFT]! >>> 0) + (gpa & (PAGE_SIZE - 1))) as Maddr;
  }

  /** Keep this mapping through evictions and invalidations until unlock(). */
  lock(mapping: Mapping): void {
    mapping.locks++;
  }

  unlock(mapping: Mapping): void {
    mapping.locks--;
    if (mapping.locks === 0 && mapping.stale) this.unmap(mapping);
  }

  /** The guest's memory map may have changed (ioreq type INVALIDATE): forget every mapping; locked ones end with their lock. */
  invalidate(): void {
    this.counters.invalidations++;
    for (const mapping of this.buckets.values()) this.drop(mapping);
  }

  private find(gpa: number): Mapping | undefined {
    if (!(gpa >= 0 && gpa < GPA_LIMIT)) return undefined;
    const bucket = Math.floor(gpa / BUCKET_SIZE);
    const page = (gpa & (BUCKET_SIZE - 1)) >>> PAGE_SHIFT;
    const last = this.last;
    const mapping = last !== undefined && last.bucket === bucket ? last : this.buckets.get(bucket);
    if (mapping === undefined) return this.remap(bucket, page);
    this.last = mapping;
    if ((mapping.valid[page >>> 5]! >>> (page & 31)) & 1) {
      this.counters.hits++;
      this.clock.charge(cost.mapCacheHit);
      return mapping;
    }
    return this.mapPage(mapping, page) ? mapping : undefined;
  }

  private remap(bucket: number, page: number): Mapping | undefined {
    this.countRemap(bucket);
    const frames = new Int32Array(PAGES_PER_BUCKET).fill(NO_FRAME);
    const first = gfn(bucket * PAGES_PER_BUCKET);
    if (this.hypercalls.foreignMap(first, PAGES_PER_BUCKET, frames) < 0) return undefined;
    const valid = new Uint32Array(PAGES_PER_BUCKET / 32);
    let any = false;
    for (let i = 0; i < PAGES_PER_BUCKET; i++) {
      if (frames[i] === NO_FRAME) continue;
      valid[i >>> 5]! |= 1 << (i & 31);
      any = true;
    }
    // A bucket of nothing but holes is not kept: a guest could fill the cache with them.
    if (!any) return undefined;
    if (this.buckets.size >= this.capacity) this.evict();
    const mapping: Mapping = { bucket, frames, valid, place: this.freePlaces.pop() ?? this.places++, locks: 0, stale: false };
    this.buckets.set(bucket, mapping);
    this.last = mapping;
    return (valid[page >>> 5]! >>> (page & 31)) & 1 ? mapping : undefined;
  }

  /** A page that was a hole when its bucket was mapped may be RAM by now. */
  private mapPage(mapping: Mapping, page: number): boolean {
    if (mapping.stale) return false;
    this.countRemap(mapping.bucket);
    this.onePage[0] = NO_FRAME;
    const failed = this.hypercalls.foreignMap(gfn(mapping.bucket * PAGES_PER_BUCKET + page), 1, this.onePage) < 0;
    if (failed || this.onePage[0] === NO_FRAME) return false;
    mapping.frames[page] = this.onePage[0]!;
    mapping.valid[page >>> 5]! |= 1 << (page & 31);
    return true;
  }

  private countRemap(bucket: number): void {
    this.counters.remaps++;
    if (this.log !== undefined) this.log.put(xenRemapBucket, { index: bucket });
    this.clock.charge(cost.mapCacheRemap);
  }

  private evict(): void {
    for (const mapping of this.buckets.values()) {
      if (mapping.locks > 0) continue;
      this.counters.evictions++;
      this.drop(mapping);
      return;
    }
  }

  private drop(mapping: Mapping): void {
    this.buckets.delete(mapping.bucket);
    if (this.last === mapping) this.last = undefined;
    if (mapping.locks > 0) mapping.stale = true;
    else this.unmap(mapping);
  }

  private unmap(mapping: Mapping): void {
    this.hypercalls.foreignUnmap(gfn(mapping.bucket * PAGES_PER_BUCKET), PAGES_PER_BUCKET, mapping.frames);
    this.freePlaces.push(mapping.place);
  }

  /** The address in the device model's own space, as a C program would print the pointer. */
  private ownAddress(mapping: Mapping, gpa: number): string {
    const low = mapping.place * BUCKET_SIZE + (gpa & (BUCKET_SIZE - 1));
    return `0x${hex64(low % 0x1_0000_0000, MAPPING_BASE_HIGH + Math.floor(low / 0x1_0000_0000))}`;
  }
}
