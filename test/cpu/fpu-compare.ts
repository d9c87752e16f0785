/** Batches of records: made from a seed, run on the model, compared with the processor or with its recorded digests. */
import type { Instruction } from '../../src/cpu/tables/definition.ts';
import type { SseOperation } from '../../src/cpu/fpu/sse-operations.ts';
import { Fsw } from '../../src/cpu/fpu/state.ts';
import type { Choices } from './choices.ts';
import { RECORD } from './native-fpu.ts';
import { isAllowed, type Reciprocal } from './reciprocal.ts';
import { Random } from './lockstep/random.ts';
import { makeSimdCase } from './simd-cases.ts';
import { makeSseCase, runSseModel } from './sse-cases.ts';
import { isTranscendental, makeCase, runModel } from './x87-cases.ts';
import type { X87Case } from './x87-cases.ts';

export interface Batch<C> {
  readonly cases: readonly C[];
  /** One record a case: before the instruction. */
  readonly records: Uint8Array;
}

export const recordAt = (records: Uint8Array, index: number): DataView =>
  new DataView(records.buffer, records.byteOffset + index * RECORD.size, RECORD.size);

function makeBatch<C>(seed: number, count: number, make: (random: Random, record: DataView) => C): Batch<C> {
  const random = new Random(seed);
  const records = new Uint8Array(count * RECORD.size);
  const cases = Array.from({ length: count }, (_, i) => make(random, recordAt(records, i)));
  return { cases, records };
}

export const makeX87Batch = (seed: number, count: number): Batch<X87Case> =>
  makeBatch(seed, count, (random, record) => makeCase(random, record));
export const makeSseBatch = (seed: number, count: number): Batch<SseOperation> =>
  makeBatch(seed, count, (random, record) => makeSseCase(random, record));
export const makeSimdBatch = (seed: number, count: number): Batch<Instruction> =>
  makeBatch(seed, count, (random, record) => makeSimdCase(random, record));

/** A copy of the batch's records after the model ran them. */
export function runX87Batch(batch: Batch<X87Case>): Uint8Array {
  const records = batch.records.slice();
  batch.cases.forEach((c, i) => runModel(c, recordAt(records, i)));
  return records;
}
export function runSseBatch(batch: Batch<SseOperation>): Uint8Array {
  const records = batch.records.slice();
  batch.cases.forEach((c, i) => runSseModel(c, recordAt(records, i)));
  return records;
}

const RFLAGS_RF = 0x10000n;
/** Addresses differ between the processor's run and the model's: keep only whether they were set. */
const ADDRESS_LIMIT = 0x8000n;

/** What is comparable of a record: addresses made alike, RF of a fault dropped. */
function normalize(record: DataView, storesEnvironment: boolean, loadsEnvironment: boolean): Uint8Array {
  const copy = new Uint8Array(record.buffer.slice(record.byteOffset, record.byteOffset + RECORD.size));
  const view = new DataView(copy.buffer);
  if (!loadsEnvironment) {
    for (const at of [8, 16]) if (view.getBigUint64(at, true) > ADDRESS_LIMIT) view.setBigUint64(at, 1n, true);
  }
  if (storesEnvironment) for (const at of [12, 20]) view.setUint32(RECORD.memory + at, 0, true);
  view.setBigUint64(RECORD.rflags, view.getBigUint64(RECORD.rflags, true) & ~RFLAGS_RF, true);
  view.setUint32(28, 0, true); // MXCSR_MASK
  copy.fill(0, 416, 512); // reserved
  return copy;
}

/**
 * The same for x87. On a processor with pointers of its own, FOP, FIP and FDP are compared only while an exception is
 * pending: then every processor has those of the instruction that raised it (SDM vol. 1 8.1.8). In FNSTENV's image they
 * go with the image's own FSW, and the selectors are left out.
 */
export function normalizeX87(c: X87Case, record: DataView, choices: Choices): Uint8Array {
  const { operation } = c.row;
  const stores = /^fn(stenv|save)$/.test(operation);
  const copy = normalize(record, stores, /^(fldenv|frstor)$/.test(operation));
  if (!choices.has('pointers')) return copy;
  const view = new DataView(copy.buffer);
  if (!(view.getUint16(2, true) & Fsw.summary)) copy.fill(0, 6, 24);
  if (stores && view.getUint32(RECORD.signal, true) === 0) {
    const pending = (view.getUint16(RECORD.memory + 4, true) & Fsw.summary) !== 0;
    copy.fill(0, RECORD.memory + 16, RECORD.memory + 18);
    if (!pending) copy.fill(0, RECORD.memory + 18, RECORD.memory + 20);
    copy.fill(0, RECORD.memory + 24, RECORD.memory + 28);
  }
  return copy;
}
export const normalizeSse = (record: DataView): Uint8Array => normalize(record, false, false);

/** Where xmm1 stands, the destination of every SSE case. */
const XMM1 = 176;

/** How far apart the registers of a transcendental result may be: units in the last place. */
const TRANSCENDENTAL_ULP = 1n;

/** Names of what differs; empty when the model and the processor agree. */
export function differences(mine: Uint8Array, theirs: Uint8Array): string[] {
  const fields: [string, number, number][] = [
    ['FCW', 0, 2],
    ['FSW', 2, 4],
    ['FTW', 4, 5],
    ['FOP', 6, 8],
    ['FIP', 8, 16],
    ['FDP', 16, 24],
    ['MXCSR', 24, 28],
    ...Array.from({ length: 8 }, (_, i): [string, number, number] => [`ST${i}`, 32 + i * 16, 48 + i * 16]),
    ...Array.from({ length: 16 }, (_, i): [string, number, number] => [`XMM${i}`, 160 + i * 16, 176 + i * 16]),
    ['memory', RECORD.memory, RECORD.rax],
    ['RAX', RECORD.rax, RECORD.rflags],
    ['RFLAGS', RECORD.rflags, RECORD.signal],
    ['signal', RECORD.signal, RECORD.length],
  ];
  return fields
    .filter(([, from, to]) => {
      for (let i = from; i < to; i++) if (mine[i] !== theirs[i]) return true;
      return false;
    })
    .map(([name]) => name);
}

/**
 * The same for a case that may differ in the last place: C1, and UE at the edge of the denormals, follow the
 * processor's own approximation.
 */
export function transcendentalDifferences(mine: Uint8Array, theirs: Uint8Array): string[] {
  const a = new DataView(mine.buffer);
  const b = new DataView(theirs.buffer);
  // One side tiny, the other not: with underflow unmasked the tiny one has its exponent moved.
  const atEdge = ((a.getUint16(2, true) ^ b.getUint16(2, true)) & 0x10) !== 0;
  return differences(mine, theirs).filter((name) => {
    if (name === 'FSW') {
      const loose = b.getUint16(2, true) & Fsw.stackFault ? 0 : Fsw.c1 | 0x10 | (atEdge ? Fsw.summary | Fsw.busy : 0);
      return ((a.getUint16(2, true) ^ b.getUint16(2, true)) & ~loose) !== 0;
    }
    const register = /^ST(\d)$/.exec(name);
    if (!register) return !(atEdge && name === 'FOP');
    if (atEdge) return false;
    const at = 32 + Number(register[1]) * 16;
    if (a.getUint16(at + 8, true) >> 15 !== b.getUint16(at + 8, true) >> 15) return true;
    const distance = ordinal(a, at) - ordinal(b, at);
    return (distance < 0n ? -distance : distance) > TRANSCENDENTAL_ULP;
  });
}

/** Position among the numbers of its sign, counted in units in the last place. */
function ordinal(view: DataView, at: number): bigint {
  const significand = view.getBigUint64(at, true);
  const exponent = BigInt(view.getUint16(at + 8, true) & 0x7fff);
  return exponent === 0n ? significand : ((exponent - 1n) << 63n) + significand;
}

/** 64-bit FNV-1a digests of all normalized records of each operation, with their number. */
export type Digests = Record<string, [count: number, digest: string]>;

function digest(names: readonly string[], normalized: readonly Uint8Array[]): Digests {
  const sums = new Map<string, { count: number; hi: number; lo: number }>();
  names.forEach((name, i) => {
    let sum = sums.get(name);
    if (!sum) sums.set(name, (sum = { count: 0, hi: 0x811c9dc5, lo: 0x811c9dc5 }));
    sum.count++;
    let { hi, lo } = sum;
    for (const byte of normalized[i]!) {
      lo = Math.imul(lo ^ byte, 0x01000193);
      hi = Math.imul(hi ^ (lo >>> 11) ^ byte, 0x01000193);
    }
    sum.hi = hi;
    sum.lo = lo;
  });
  const hex = (value: number) => (value >>> 0).toString(16).padStart(8, '0');
  return Object.fromEntries(
    [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { count, hi, lo }]) => [name, [count, hex(hi) + hex(lo)]]),
  );
}

/** Digests of a batch's outcome; transcendental instructions have none. */
export function x87Digests(batch: Batch<X87Case>, after: Uint8Array, choices: Choices): Digests {
  const picked = batch.cases.map((c, i) => ({ c, i })).filter(({ c }) => !isTranscendental(c));
  return digest(
    picked.map(({ c }) => `${c.row.encoding} ${c.row.operation}`),
    picked.map(({ c, i }) => normalizeX87(c, recordAt(after, i), choices)),
  );
}
/** The same for SSE. The approximations have none where the processor has bits of its own. */
export function sseDigests(batch: Batch<SseOperation>, after: Uint8Array, choices: Choices): Digests {
  const picked = batch.cases.map((c, i) => ({ c, i })).filter(({ c }) => !choices.has('reciprocals') || !reciprocalOf(c.name));
  return digest(
    picked.map(({ c }) => c.name),
    picked.map(({ i }) => normalizeSse(recordAt(after, i))),
  );
}

/** Which approximation an operation gives, if any. */
export const reciprocalOf = (name: string): Reciprocal | undefined =>
  /^(rcp|rsqrt)[ps]s$/.exec(name)?.[1] as Reciprocal | undefined;

/** The results of one approximation in a record: [operand, result], binary32 encodings. `before` and `after` the instruction. */
export function approximations(c: SseOperation, before: DataView, after: DataView): [operand: number, result: number][] {
  return Array.from({ length: c.name.endsWith('ps') ? 4 : 1 }, (_, i) => [
    before.getUint32(RECORD.memory + i * 4, true),
    after.getUint32(XMM1 + i * 4, true),
  ]);
}

/** An answer with the approximations of another, where both are within the bound; else as it is. */
export function withApproximations(c: SseOperation, before: DataView, theirs: Uint8Array, mine: Uint8Array): Uint8Array {
  const operation = reciprocalOf(c.name);
  if (!operation) return theirs;
  const view = new DataView(theirs.buffer);
  const allowed = [view, new DataView(mine.buffer)].every((after) =>
    approximations(c, before, after).every(([operand, result]) => isAllowed(operation, operand, result)),
  );
  if (!allowed) return theirs;
  const copy = theirs.slice();
  copy.set(mine.subarray(XMM1, XMM1 + approximations(c, before, view).length * 4), XMM1);
  return copy;
}
