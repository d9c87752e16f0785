import type { DmRequest } from '../sources/dm-lines.ts';
import type { IoAccess } from './io.ts';

/**
 * Which access of the trace is which request of the device model's log. The two share no clock and no number, but
 * both hold the same requests in the same order with equal address, direction and data: pairing is an alignment of
 * two sequences. Memory grows with the number of accesses and requests.
 */

const ACCESS_REASONS = [
  'served in the hypervisor or not logged: the log has no request at this address',
  "served in the hypervisor or not logged: the log has no request for that device's configuration space",
  "another domain's: the log is of one guest's device model",
  'records lost: the trace is damaged around it',
  'the data is a pointer: nothing to compare',
  'the data is unknown: the line of the text ends before it',
  'no request with equal address, direction and data in this order',
] as const;
export type AccessUnpaired = (typeof ACCESS_REASONS)[number];

const REQUEST_REASONS = [
  'before the trace began',
  'after the trace ended',
  'the trace lost records there',
  'not an access of the guest: the hypervisor records no I/O for it',
  'the log has no answer for it: no data to compare',
  'no access with equal address, direction and data in this order',
] as const;
type RequestUnpaired = (typeof REQUEST_REASONS)[number];

export interface Pairing {
  /** Request of each access, by the access's position in the input, which is access.index for a whole trace; undefined where none. */
  readonly requestOf: readonly (DmRequest | undefined)[];
  /** Access of each request, by request.index. */
  readonly accessOf: readonly (IoAccess | undefined)[];
  readonly pairs: number;
  /** Why an access has no request; undefined where it has one. */
  reasonOf(access: IoAccess): AccessUnpaired | undefined;
  /** Made anew each time: hold on to what is read. */
  readonly unpairedAccesses: readonly { readonly access: IoAccess; readonly reason: AccessUnpaired }[];
  readonly unpairedRequests: readonly { readonly request: DmRequest; readonly reason: RequestUnpaired }[];
}

/** What pairing found, with the reasons as a byte an entry. */
class Paired implements Pairing {
  readonly requestOf: readonly (DmRequest | undefined)[];
  readonly accessOf: readonly (IoAccess | undefined)[];
  readonly pairs: number;
  private readonly accesses: readonly IoAccess[];
  private readonly requests: readonly DmRequest[];
  private readonly accessReasons: Uint8Array;
  private readonly requestReasons: Uint8Array;
  /** Where an access stands, if not at its index. */
  private positions: Map<IoAccess, number> | undefined;

  constructor(
    accesses: readonly IoAccess[],
    requests: readonly DmRequest[],
    pairs: number,
    requestOf: readonly (DmRequest | undefined)[],
    accessOf: readonly (IoAccess | undefined)[],
    accessReasons: Uint8Array,
    requestReasons: Uint8Array,
  ) {
    this.accesses = accesses;
    this.requests = requests;
    this.pairs = pairs;
    this.requestOf = requestOf;
    this.accessOf = accessOf;
    this.accessReasons = accessReasons;
    this.requestReasons = requestReasons;
  }

  reasonOf(access: IoAccess): AccessUnpaired | undefined {
    let at: number | undefined = access.index;
    if (this.accesses[at] !== access) {
      this.positions ??= new Map(this.accesses.map((a, i) => [a, i]));
      at = this.positions.get(access);
    }
    return at === undefined ? undefined : ACCESS_REASONS[this.accessReasons[at]! - 1];
  }

  get unpairedAccesses(): Pairing['unpairedAccesses'] {
    const out: { access: IoAccess; reason: AccessUnpaired }[] = [];
    this.accessReasons.forEach((code, i) => {
      if (code > 0) out.push({ access: this.accesses[i]!, reason: ACCESS_REASONS[code - 1]! });
    });
    return out;
  }

  get unpairedRequests(): Pairing['unpairedRequests'] {
    const out: { request: DmRequest; reason: RequestUnpaired }[] = [];
    this.requestReasons.forEach((code, i) => {
      if (code > 0) out.push({ request: this.requests[i]!, reason: REQUEST_REASONS[code - 1]! });
    });
    return out;
  }
}

const PIO = 0;
const COPY = 1;
const PCI_CONFIG = 2;
const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

/** Where a request's address lies for the guest: PCI_CONFIG came from port 0xcfc + (register & 3). */
function requestAddress(request: DmRequest): { space: 'mmio' | 'pio'; addr: number } | undefined {
  const { type, addr } = request.request;
  if (type === PIO) return { space: 'pio', addr };
  if (type === COPY) return { space: 'mmio', addr };
  if (type === PCI_CONFIG) return { space: 'pio', addr: CONFIG_DATA + (addr % 4) };
  return undefined;
}

/** Pairs accesses with requests, one to one and in order. */
export function pairRequests(accesses: readonly IoAccess[], requests: readonly DmRequest[]): Pairing {
  // The older log form may leave the direction open; then it is left out of every comparison.
  const withDirection = requests.every((r) => r.dir !== undefined || r.data === undefined);
  const ids = new Map<string, number>();
  const id = (space: string, addr: number, dir: string | undefined, data: bigint): number => {
    const key = `${space} ${addr} ${withDirection ? dir : ''} ${BigInt.asUintN(32, data)}`;
    let n = ids.get(key);
    if (n === undefined) ids.set(key, (n = ids.size));
    return n;
  };
  const logged = new Set<string>();
  /** SBDFs with a configuration request in the log. */
  const configured = new Set<number>();
  const b: number[] = [];
  const bIndex: number[] = [];
  for (const request of requests) {
    const at = requestAddress(request);
    if (at === undefined) continue;
    logged.add(`${at.space} ${at.addr}`);
    if (request.request.type === PCI_CONFIG) configured.add(Math.floor(request.request.addr / 2 ** 32));
    const data = request.data ?? (request.dir === undefined ? request.request.data : undefined);
    if (data === undefined) continue;
    b.push(id(at.space, at.addr, request.dir, data));
    bIndex.push(request.index);
  }
  const absent = absentConfig(accesses, configured);
  // A log is of one guest's device model: the domain that fits it best is that guest.
  const domains = new Map<number, { key: number[]; index: number[] }>();
  accesses.forEach((access, i) => {
    if (access.data === undefined || absent.has(access) || !logged.has(`${access.space} ${access.addr}`)) return;
    let side = domains.get(access.dom);
    if (side === undefined) domains.set(access.dom, (side = { key: [], index: [] }));
    side.key.push(id(access.space, access.addr, access.dir, access.data));
    side.index.push(i);
  });
  let best: { dom: number; index: number[]; match: Int32Array; pairs: number } | undefined;
  for (const [dom, { key, index }] of domains) {
    const match = new Int32Array(key.length).fill(-1);
    align(key, b, 0, key.length, 0, b.length, match, true);
    settleVcpus(accesses, key, index, b, match);
    const pairs = match.reduce((n, j) => n + (j < 0 ? 0 : 1), 0);
    if (best === undefined || pairs > best.pairs) best = { dom, index, match, pairs };
  }
  const aIndex = best?.index ?? [];
  const matchA = best?.match ?? new Int32Array(0);

  const requestOf: (DmRequest | undefined)[] = new Array<undefined>(accesses.length).fill(undefined);
  const accessOf: (IoAccess | undefined)[] = new Array<undefined>(requests.length).fill(undefined);
  let pairs = 0;
  let firstPaired = Infinity;
  let lastPaired = -1;
  for (let i = 0; i < aIndex.length; i++) {
    if (matchA[i]! < 0) continue;
    const access = accesses[aIndex[i]!]!;
    const request = requests[bIndex[matchA[i]!]!]!;
    requestOf[aIndex[i]!] = request;
    accessOf[request.index] = access;
    firstPaired = Math.min(firstPaired, request.index);
    lastPaired = Math.max(lastPaired, request.index);
    pairs++;
  }

  const accessReasons = new Uint8Array(accesses.length);
  const code = (reason: AccessUnpaired): number => ACCESS_REASONS.indexOf(reason) + 1;
  accesses.forEach((access, i) => {
    if (requestOf[i] !== undefined) return;
    accessReasons[i] = code(
      !logged.has(`${access.space} ${access.addr}`)
        ? 'served in the hypervisor or not logged: the log has no request at this address'
        : absent.has(access)
          ? "served in the hypervisor or not logged: the log has no request for that device's configuration space"
          : best !== undefined && best.pairs > 0 && access.dom !== best.dom
            ? "another domain's: the log is of one guest's device model"
            : access.lost !== undefined
              ? 'records lost: the trace is damaged around it'
              : access.data === undefined
                ? access.dataCut
                  ? 'the data is unknown: the line of the text ends before it'
                  : 'the data is a pointer: nothing to compare'
                : 'no request with equal address, direction and data in this order',
    );
  });

  const requestReasons = new Uint8Array(requests.length);
  const lossBetween = lossAfter(accesses, requestOf);
  let previous = -1;
  for (const request of requests) {
    const { index } = request;
    if (accessOf[index] !== undefined) {
      previous = index;
      continue;
    }
    const reason: RequestUnpaired =
      requestAddress(request) === undefined
        ? 'not an access of the guest: the hypervisor records no I/O for it'
        : pairs > 0 && index < firstPaired
          ? 'before the trace began'
          : pairs > 0 && index > lastPaired
            ? 'after the trace ended'
            : request.data === undefined && request.dir !== undefined
              ? 'the log has no answer for it: no data to compare'
              : lossBetween.has(previous)
                ? 'the trace lost records there'
                : 'no access with equal address, direction and data in this order';
    requestReasons[index] = REQUEST_REASONS.indexOf(reason) + 1;
  }
  return new Paired(accesses, requests, pairs, requestOf, accessOf, accessReasons, requestReasons);
}

/** Accesses of the configuration data port while the address latch names a device that no request of the log is for. */
function absentConfig(accesses: readonly IoAccess[], configured: ReadonlySet<number>): Set<IoAccess> {
  const absent = new Set<IoAccess>();
  const latches = new Map<number, number>();
  for (const access of accesses) {
    if (access.space !== 'pio') continue;
    if (access.addr === CONFIG_ADDRESS && access.dir === 'write' && access.data !== undefined)
      latches.set(access.dom, Number(BigInt.asUintN(32, access.data)));
    const latch = latches.get(access.dom);
    if (
      access.addr >= CONFIG_DATA &&
      access.addr < CONFIG_DATA + 4 &&
      latch !== undefined &&
      latch >= 0x80000000 &&
      !configured.has((latch >>> 8) & 0xffff)
    )
      absent.add(access);
  }
  return absent;
}

/** Indices of paired requests after which, and before the next paired one, the trace lost records. */
function lossAfter(accesses: readonly IoAccess[], requestOf: readonly (DmRequest | undefined)[]): Set<number> {
  const after = new Set<number>();
  let previous = -1;
  let damaged = false;
  accesses.forEach((access, i) => {
    if (access.lost !== undefined || access.lossBefore) damaged = true;
    const request = requestOf[i];
    if (request !== undefined) {
      if (damaged) after.add(previous);
      previous = request.index;
      damaged = access.lost !== undefined;
    }
  });
  if (damaged) after.add(previous);
  return after;
}

/**
 * Several vCPUs: their requests may reach the device model in another order than their records stand in the trace,
 * but each vCPU's own stay in order. What the common order left over is settled within each vCPU's order.
 */
function settleVcpus(
  accesses: readonly IoAccess[],
  key: readonly number[],
  index: readonly number[],
  b: readonly number[],
  match: Int32Array,
): void {
  if (new Set(index.map((i) => accesses[i]!.vcpu)).size < 2) return;
  const taken = new Set<number>(match.filter((j) => j >= 0));
  const next = new Int32Array(key.length);
  const after = new Map<number, number>();
  for (let i = key.length - 1; i >= 0; i--) {
    const { vcpu } = accesses[index[i]!]!;
    next[i] = after.get(vcpu) ?? b.length;
    if (match[i]! >= 0) after.set(vcpu, match[i]!);
  }
  const before = new Map<number, number>();
  for (let i = 0; i < key.length; i++) {
    const { vcpu } = accesses[index[i]!]!;
    if (match[i]! < 0) {
      const from = (before.get(vcpu) ?? -1) + 1;
      const until = Math.min(next[i]!, from + MAX_REORDER);
      for (let j = from; j < until; j++) {
        if (b[j] !== key[i] || taken.has(j)) continue;
        match[i] = j;
        taken.add(j);
        break;
      }
    }
    if (match[i]! >= 0) before.set(vcpu, match[i]!);
  }
}

/** Requests looked through for one that another vCPU's overtook. */
const MAX_REORDER = 256;
const GRAMS: readonly number[] = [16, 6, 3, 1];
/** Cells of a table of common subsequences that a leaf may cost, four bytes each. */
const MAX_CELLS = 4_000_000;

/**
 * Aligns a[a0..a1) with b[b0..b1): runs that occur once in each are anchors, the parts between them are aligned in
 * turn. `open`: the ends of the ranges need not meet (the log starts before the trace and ends after it).
 */
function align(
  a: readonly number[],
  b: readonly number[],
  a0: number,
  a1: number,
  b0: number,
  b1: number,
  out: Int32Array,
  open: boolean,
): void {
  const work: { a0: number; a1: number; b0: number; b1: number; openStart: boolean; openEnd: boolean; gram: number }[] = [
    { a0, a1, b0, b1, openStart: open, openEnd: open, gram: 0 },
  ];
  for (let step = work.pop(); step !== undefined; step = work.pop()) {
    let { a0: lo, a1: hi, b0: blo, b1: bhi } = step;
    if (!step.openStart) while (lo < hi && blo < bhi && a[lo] === b[blo]) out[lo++] = blo++;
    if (!step.openEnd) while (lo < hi && blo < bhi && a[hi - 1] === b[bhi - 1]) out[--hi] = --bhi;
    if (lo === hi || blo === bhi) continue;
    let anchors: { a: number; b: number }[] = [];
    let gram = step.gram;
    for (; gram < GRAMS.length && anchors.length === 0; gram++) anchors = findAnchors(a, b, lo, hi, blo, bhi, GRAMS[gram]!);
    if (anchors.length === 0) {
      // With an open end, a rest of repeated single requests has no place of its own: left unpaired.
      if (!step.openStart && !step.openEnd && (hi - lo) * (bhi - blo) <= MAX_CELLS)
        commonSubsequence(a, b, lo, hi, blo, bhi, out);
      continue;
    }
    // Parts between anchors; each anchor is one element, the runs around it grow by the equal ends of the parts.
    let pa = lo;
    let pb = blo;
    anchors.forEach((anchor, i) => {
      out[anchor.a] = anchor.b;
      work.push({ a0: pa, a1: anchor.a, b0: pb, b1: anchor.b, openStart: i === 0 && step.openStart, openEnd: false, gram: 0 });
      pa = anchor.a + 1;
      pb = anchor.b + 1;
    });
    work.push({ a0: pa, a1: hi, b0: pb, b1: bhi, openStart: false, openEnd: step.openEnd, gram: 0 });
  }
}

/** Positions of runs of `gram` elements that occur exactly once on each side, thinned to an increasing sequence. */
function findAnchors(
  a: readonly number[],
  b: readonly number[],
  a0: number,
  a1: number,
  b0: number,
  b1: number,
  gram: number,
): { a: number; b: number }[] {
  if (a1 - a0 < gram || b1 - b0 < gram) return [];
  const inA = new RunTable(a, a0, a1, gram);
  const inB = new RunTable(b, b0, b1, gram);
  const candidates: { a: number; b: number }[] = [];
  inA.forEachSingle((i) => {
    const j = inB.single(a, i);
    if (j >= 0) candidates.push({ a: i, b: j });
  });
  candidates.sort((x, y) => x.a - y.a);
  return longestIncreasing(candidates);
}

/** Runs of equal length in one sequence by their content: an open hash table of positions, four bytes each. */
class RunTable {
  private readonly s: readonly number[];
  private readonly gram: number;
  /** Position + 1 of a run's first place, negative when it has several; 0 is free. */
  private readonly slots: Int32Array;

  constructor(s: readonly number[], from: number, to: number, gram: number) {
    this.s = s;
    this.gram = gram;
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2((to - from) * 2 + 2)));
    for (let i = from; i + gram <= to; i++) {
      const slot = this.find(s, i);
      const have = this.slots[slot]!;
      this.slots[slot] = have === 0 ? i + 1 : -Math.abs(have);
    }
  }

  forEachSingle(visit: (at: number) => void): void {
    for (const slot of this.slots) if (slot > 0) visit(slot - 1);
  }

  /** Where the run that stands at `at` of `other` occurs here, if exactly once; else −1. */
  single(other: readonly number[], at: number): number {
    const slot = this.slots[this.find(other, at)]!;
    return slot > 0 ? slot - 1 : -1;
  }

  /** The slot of a run, or the free one where it belongs. */
  private find(s: readonly number[], at: number): number {
    let hash = 0x811c9dc5;
    for (let i = at; i < at + this.gram; i++) hash = Math.imul(hash ^ s[i]!, 0x01000193);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 0x2c1b3c6d);
    const mask = this.slots.length - 1;
    for (let slot = (hash ^ (hash >>> 12)) & mask; ; slot = (slot + 1) & mask) {
      const have = this.slots[slot]!;
      if (have === 0 || this.equal(Math.abs(have) - 1, s, at)) return slot;
    }
  }

  private equal(here: number, s: readonly number[], at: number): boolean {
    for (let i = 0; i < this.gram; i++) if (this.s[here + i] !== s[at + i]) return false;
    return true;
  }
}

/** Longest subsequence with rising b, by patience sorting. */
function longestIncreasing(candidates: readonly { a: number; b: number }[]): { a: number; b: number }[] {
  const tops: number[] = [];
  const before = new Int32Array(candidates.length).fill(-1);
  candidates.forEach((c, i) => {
    let lo = 0;
    let hi = tops.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (candidates[tops[mid]!]!.b < c.b) lo = mid + 1;
      else hi = mid;
    }
    before[i] = lo > 0 ? tops[lo - 1]! : -1;
    tops[lo] = i;
  });
  const result: { a: number; b: number }[] = [];
  for (let i = tops[tops.length - 1] ?? -1; i >= 0; i = before[i]!) result.push(candidates[i]!);
  return result.reverse();
}

function commonSubsequence(
  a: readonly number[],
  b: readonly number[],
  a0: number,
  a1: number,
  b0: number,
  b1: number,
  out: Int32Array,
): void {
  const n = a1 - a0;
  const m = b1 - b0;
  const table = new Uint32Array((n + 1) * (m + 1));
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      table[i * (m + 1) + j] =
        a[a0 + i] === b[b0 + j]
          ? table[(i + 1) * (m + 1) + j + 1]! + 1
          : Math.max(table[(i + 1) * (m + 1) + j]!, table[i * (m + 1) + j + 1]!);
    }
  }
  for (let i = 0, j = 0; i < n && j < m; ) {
    if (a[a0 + i] === b[b0 + j]) out[a0 + i++] = b0 + j++;
    else if (table[(i + 1) * (m + 1) + j]! >= table[i * (m + 1) + j + 1]!) i++;
    else j++;
  }
}
