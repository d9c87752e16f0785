import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { TraceSummary } from './summary.ts';

/**
 * `TRACE.xti`: what a summary of a large trace found, kept beside it, so that a second look is immediate. It counts only while
 * the trace is the one it was made from. What is in it is checked like any file's content: one that does not fit is not used.
 */

/** Raise it whenever a summary of the same trace may come out otherwise. */
const VERSION = 1;
/** Bytes at both ends of the trace that must be the same. */
const ENDS = 1 << 16;
const LARGEST_INDEX = 256 << 20;

interface IndexFile {
  readonly xti: number;
  readonly key: string;
  readonly summary: unknown;
}

/** What the summary depends on: the file, and how it is read. */
function keyOf(path: string, cpuHz: number, svm: boolean): string {
  const { size, mtimeMs } = statSync(path);
  const hash = createHash('sha256').update(`${VERSION} ${size} ${mtimeMs} ${cpuHz} ${svm}`);
  const fd = openSync(path, 'r');
  try {
    const bytes = new Uint8Array(ENDS);
    for (const offset of [0, Math.max(0, size - ENDS)]) hash.update(bytes.subarray(0, readSync(fd, bytes, 0, ENDS, offset)));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/** 64-bit numbers are texts of their own kind in JSON. */
const BIG = /^#(\d{1,20})$/;
const toJson = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `#${value}` : value);
const fromJson = (_: string, value: unknown): unknown => {
  const m = typeof value === 'string' ? BIG.exec(value) : null;
  return m === null ? value : BigInt(m[1]!);
};

/** A value's form: what kind it has, and for objects and lists that of their parts. */
type Form =
  | 'number'
  | 'string'
  | 'boolean'
  | 'bigint'
  | readonly [Form]
  | { readonly [name: string]: Form }
  | { readonly maybe: Form };

const figures = {
  events: 'number',
  count: 'number',
  cycles: 'number',
  seconds: 'number',
  percent: 'number',
  average: 'number',
  p5: 'number',
  p50: 'number',
  p95: 'number',
} as const;
const named = { name: 'string', ...figures } as const;
const counted = { name: 'string', count: 'number' } as const;
const io = { address: 'number', read: { maybe: figures }, write: { maybe: figures } } as const;
const hvm = {
  exits: [{ reason: 'number', ...named }],
  handlers: [named],
  mmio: [named],
  crWrites: [named],
  cr3WriteResyncs: [named],
  vmcalls: [named],
  pageFaults: [named],
  pageFaultsEmulated: [named],
  pageFaultsNotEmulated: [named],
  pageFaultFixups: [named],
  externalInterrupts: [{ vector: { maybe: 'number' }, name: { maybe: 'string' }, count: 'number' }],
  guestInterrupts: [
    { vector: { maybe: 'number' }, count: 'number', wakeToHaltAlone: figures, wakeToHaltAny: figures, interruptToHalt: figures },
  ],
  pio: [io],
  mmioAddresses: [io],
  vga: 'boolean',
} as const;
const pv = {
  events: [counted],
  hypercalls: [{ number: 'number', name: { maybe: 'string' }, count: 'number' }],
  traps: [{ number: 'number', count: 'number' }],
} as const;
const SUMMARY: Form = {
  cpuHz: 'number',
  records: 'number',
  totalCycles: 'number',
  totalSeconds: 'number',
  pcpus: [{ id: 'number', volume: [{ name: 'string', bytes: 'number' }], running: figures, idle: figures, lost: figures }],
  domains: [
    {
      id: 'number',
      runstates: [named],
      memory: {
        doneBy: [counted],
        doneFor: [counted],
        podPopulated: ['number'],
        podReclaimed: ['number'],
        podReclaimContexts: [{ name: 'string', count: 'number', orders: ['number'] }],
      },
      vcpus: [
        {
          id: 'number',
          runstates: [named],
          runnable: [named],
          affinity: figures,
          affinityByPcpu: [named],
          hvm: { maybe: hvm },
          pv: { maybe: pv },
        },
      ],
      emulateRips: [{ rip: 'bigint', ...named }],
    },
  ],
  notes: ['string'],
  damage: [{ offset: 'number', end: 'number', cpu: { maybe: 'number' }, message: 'string' }],
};

/** Whether a value has a form, and nothing beside it. */
function fits(value: unknown, form: Form): boolean {
  if (typeof form === 'string') return typeof value === form;
  if (Array.isArray(form)) return Array.isArray(value) && value.every((v) => fits(v, (form as readonly [Form])[0]));
  const parts = form as { readonly [name: string]: Form };
  if ('maybe' in parts) return value === null || fits(value, parts['maybe']!);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const names = Object.keys(parts);
  return Object.keys(value).length === names.length && names.every((n) => fits((value as Record<string, unknown>)[n], parts[n]!));
}

const indexPath = (path: string): string => `${path}.xti`;

/** The summary that an earlier look left, or null. */
export function readIndex(path: string, cpuHz: number, svm: boolean): TraceSummary | null {
  try {
    const file = indexPath(path);
    if (statSync(file).size > LARGEST_INDEX) return null;
    const { xti, key, summary } = JSON.parse(readFileSync(file, 'utf8'), fromJson) as IndexFile;
    return xti === VERSION && key === keyOf(path, cpuHz, svm) && fits(summary, SUMMARY) ? (summary as TraceSummary) : null;
  } catch {
    return null;
  }
}

/** Leave a summary for the next look. A folder that cannot be written goes without. */
export function writeIndex(path: string, cpuHz: number, svm: boolean, summary: TraceSummary): void {
  const file = indexPath(path);
  const part = `${file}.${process.pid}`;
  try {
    writeFileSync(part, JSON.stringify({ xti: VERSION, key: keyOf(path, cpuHz, svm), summary } satisfies IndexFile, toJson));
    renameSync(part, file);
  } catch {
    rmSync(part, { force: true });
  }
}
