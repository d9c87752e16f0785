/**
 * A lock-step case and a processor's answer to it, as the records that cross the pipe to native/runner.c
 * (little-endian; the structs there and the offsets here are one contract), and as JSON for regression files.
 */

/** Linear addresses of the two code pages (read-only, executable) and the three data pages (the third read-only). All around is unmapped. */
export const CODE = 0x10000000;
export const CODE_SIZE = 0x2000;
export const DATA = 0x20000000;
export const DATA_SIZE = 0x3000;
export const WRITABLE = 0x2000;

export const REQUEST_SIZE = 816;
export const request = {
  mode: 0,
  codeOffset: 4,
  codeLength: 8,
  gpr: 16,
  rflags: 144,
  fsBase: 152,
  gsBase: 160,
  fx: 176,
  code: 688,
} as const;
export const MAX_CODE = 128;

export const RESULT_SIZE = 704;
export const result = {
  vector: 0,
  errorCode: 4,
  cr2: 8,
  rip: 16,
  rflags: 24,
  gpr: 32,
  fsBase: 160,
  gsBase: 168,
  selectors: 176,
  changes: 188,
  fx: 192,
} as const;
/** Vector of a snippet that did not end by itself. */
export const TIMEOUT_VECTOR = 0xffff;

/** FXSAVE image (SDM vol. 1 table 10-2): offsets of what is compared. */
export const fx = { fcw: 0, fsw: 2, ftw: 4, mxcsr: 24, st: 32, xmm: 160 } as const;

export type Mode = 32 | 64;

/** What an instruction boundary of the snippet leaves undefined. RFLAGS bits, and FSW bits. */
export interface Boundary {
  /** Offset from the snippet's first byte. */
  offset: number;
  undefinedFlags: number;
  undefinedStatus: number;
  /** The instruction here leaves registers and memory undefined when it faults. */
  partial?: boolean;
}

/**
 * Results the manuals give only to a bound: RCPPS and RSQRTPS (relative error), transcendental x87 (units in the last
 * place). halves: the upper halves of RCX, RSI and RDI are left open (REP with 32-bit addresses in 64-bit mode).
 */
type Tolerance = 'none' | 'halves' | 'reciprocal' | 'transcendental';

export interface Case {
  /** The record sent to the runner. */
  record: Uint8Array;
  memorySeed: number;
  boundaries: Boundary[];
  tolerance: Tolerance;
  /** Kinds for the tally. */
  memory: boolean;
  x87: boolean;
  mmx: boolean;
  sse: boolean;
}

/** A case with this code (an INT3 is added) and these registers, for probes and tests that know what they ask. */
export function snippet(
  mode: Mode,
  code: string,
  registers: Readonly<Record<number, bigint>> = {},
  more: { rflags?: number; fcw?: number; xmm?: Readonly<Record<number, readonly number[]>> } = {},
): Case {
  const record = new Uint8Array(REQUEST_SIZE);
  const view = new DataView(record.buffer);
  const bytes = Buffer.from(`${code}cc`, 'hex');
  view.setUint32(request.mode, mode, true);
  view.setUint32(request.codeLength, bytes.length, true);
  record.set(bytes, request.code);
  view.setBigUint64(request.gpr + 4 * 8, BigInt(DATA + 0x1000), true);
  for (const [index, value] of Object.entries(registers)) view.setBigUint64(request.gpr + Number(index) * 8, value, true);
  view.setUint32(request.rflags, more.rflags ?? 0x202, true);
  view.setUint16(request.fx + fx.fcw, more.fcw ?? 0x37f, true);
  view.setUint32(request.fx + fx.mxcsr, 0x1f80, true);
  for (const [index, lanes] of Object.entries(more.xmm ?? {}))
    lanes.forEach((lane, i) => view.setUint32(request.fx + fx.xmm + Number(index) * 16 + i * 4, lane, true));
  return { record, memorySeed: 5, boundaries: [], tolerance: 'none', memory: false, x87: false, mmx: false, sse: false };
}

/** A processor's state after a snippet: the fixed record, and the bytes of data memory that changed (offset << 8 | value). */
export interface Outcome {
  record: Uint8Array;
  changes: Uint32Array;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export interface SavedCase {
  mode: Mode;
  code: string;
  codeOffset: number;
  gpr: string[];
  rflags: number;
  fsBase: string;
  gsBase: string;
  fx: string;
  memorySeed: number;
  boundaries: Boundary[];
  tolerance: Tolerance;
  /** What the real processor answered. */
  expected: { record: string; changes: number[] };
  note?: string;
}

export function save(one: Case, expected: Outcome, note?: string): SavedCase {
  const view = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  return {
    mode: view.getUint32(request.mode, true) as Mode,
    code: hex(one.record.subarray(request.code, request.code + view.getUint32(request.codeLength, true))),
    codeOffset: view.getUint32(request.codeOffset, true),
    gpr: Array.from({ length: 16 }, (_, i) => view.getBigUint64(request.gpr + i * 8, true).toString(16)),
    rflags: Number(view.getBigUint64(request.rflags, true)),
    fsBase: view.getBigUint64(request.fsBase, true).toString(16),
    gsBase: view.getBigUint64(request.gsBase, true).toString(16),
    fx: hex(one.record.subarray(request.fx, request.fx + 416)),
    memorySeed: one.memorySeed,
    boundaries: one.boundaries,
    tolerance: one.tolerance,
    expected: { record: hex(expected.record), changes: [...expected.changes] },
    ...(note === undefined ? {} : { note }),
  };
}

export function load(saved: SavedCase): { one: Case; expected: Outcome } {
  const record = new Uint8Array(REQUEST_SIZE);
  const view = new DataView(record.buffer);
  const code = Buffer.from(saved.code, 'hex');
  view.setUint32(request.mode, saved.mode, true);
  view.setUint32(request.codeOffset, saved.codeOffset, true);
  view.setUint32(request.codeLength, code.length, true);
  saved.gpr.forEach((value, i) => view.setBigUint64(request.gpr + i * 8, BigInt(`0x${value}`), true));
  view.setBigUint64(request.rflags, BigInt(saved.rflags), true);
  view.setBigUint64(request.fsBase, BigInt(`0x${saved.fsBase}`), true);
  view.setBigUint64(request.gsBase, BigInt(`0x${saved.gsBase}`), true);
  record.set(Buffer.from(saved.fx, 'hex'), request.fx);
  record.set(code, request.code);
  return {
    one: {
      record,
      memorySeed: saved.memorySeed,
      boundaries: saved.boundaries,
      tolerance: saved.tolerance,
      memory: true,
      x87: false,
      mmx: false,
      sse: false,
    },
    expected: {
      record: new Uint8Array(Buffer.from(saved.expected.record, 'hex')),
      changes: Uint32Array.from(saved.expected.changes),
    },
  };
}
