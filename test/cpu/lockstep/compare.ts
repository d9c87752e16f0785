/**
 * Compares two outcomes of one case. What the manuals leave undefined is masked: flags and FSW condition codes by
 * the table that comes with each case (SDM vol. 2, "Flags Affected", as iced-x86 holds it), x87 pointers in registers
 * (FIP, FDP, FOP: the specs of single x87 instructions compare them), results that are specified to a bound, and what
 * this processor chooses otherwise than the vCPU (../choices.ts).
 */
import { type Choices, NO_CHOICES } from '../choices.ts';
import { areClose } from '../reciprocal.ts';
import { type Case, CODE, type Mode, type Outcome, REQUEST_SIZE, fx, request, result } from './case.ts';
import { leftOpen } from './open.ts';

const gprNames = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Transcendental x87: within one unit in the last place of each other (SDM vol. 1 8.3.10). */
const TRANSCENDENTAL_BOUND = 1n;

/** Are FOP, FIP or FDP different? */
export function differentPointers(expected: Outcome, actual: Outcome): boolean {
  const [from, to] = [result.fx + 6, result.fx + 24];
  return Buffer.compare(expected.record.subarray(from, to), actual.record.subarray(from, to)) !== 0;
}

/**
 * Differences as text, one line each; empty when the outcomes agree. `expected` is the real processor's, which makes
 * `choices` otherwise than the vCPU.
 */
export function compare(one: Case, expected: Outcome, actual: Outcome, choices: Choices = NO_CHOICES): string[] {
  const differences: string[] = [];
  const open = leftOpen(one, expected, actual, choices);
  if (open.rest) return differences;
  const input = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  const mode = input.getUint32(request.mode, true) as Mode;
  const e = viewOf(expected.record);
  const a = viewOf(actual.record);
  const check = (name: string, left: bigint | number, right: bigint | number): void => {
    if (left !== right) differences.push(`${name}: expected ${hex(left)}, got ${hex(right)}`);
  };
  const vector = e.getUint32(result.vector, true);
  if (!open.fault) check('vector', vector, a.getUint32(result.vector, true));
  const rip = e.getBigUint64(result.rip, true);
  check('rip', rip, a.getBigUint64(result.rip, true));
  const start = CODE + input.getUint32(request.codeOffset, true);
  const offset = Number(rip) - start;
  const here = one.boundaries.find((boundary) => boundary.offset === offset || (vector === 3 && boundary.offset === offset - 1));
  if (vector !== 3 && here?.partial) return differences;
  if (!open.fault && vector === a.getUint32(result.vector, true)) {
    // Linux reports user accesses to its own half as protection violations, mapped or not (P, bit 0).
    const cr2 = e.getBigUint64(result.cr2, true);
    const hidden = vector === 14 && cr2 >= 1n << 47n ? 1 : 0;
    check('error code', e.getUint32(result.errorCode, true) | hidden, a.getUint32(result.errorCode, true) | hidden);
    if (vector === 14) check('cr2', cr2, a.getBigUint64(result.cr2, true));
  }

  const undefinedFlags = here ? here.undefinedFlags : one.boundaries.reduce((sum, boundary) => sum | boundary.undefinedFlags, 0);
  const undefinedStatus = here
    ? here.undefinedStatus
    : one.boundaries.reduce((sum, boundary) => sum | boundary.undefinedStatus, 0);
  const flagMask = 0x3fffff & ~undefinedFlags & ~open.flags;
  check('rflags', e.getUint32(result.rflags, true) & flagMask, a.getUint32(result.rflags, true) & flagMask);

  for (let i = 0; i < (mode === 64 ? 16 : 8); i++) {
    const mask = one.tolerance === 'halves' && (i === 1 || i === 6 || i === 7) ? 0xffffffffn : 0xffffffffffffffffn;
    check(
      gprNames[i] as string,
      e.getBigUint64(result.gpr + i * 8, true) & mask,
      a.getBigUint64(result.gpr + i * 8, true) & mask,
    );
  }
  if (mode === 64) {
    check('fs base', e.getBigUint64(result.fsBase, true), a.getBigUint64(result.fsBase, true));
    check('gs base', e.getBigUint64(result.gsBase, true), a.getBigUint64(result.gsBase, true));
  }
  ['es', 'cs', 'ss', 'ds', 'fs', 'gs'].forEach((name, i) =>
    check(name, e.getUint16(result.selectors + i * 2, true), a.getUint16(result.selectors + i * 2, true)),
  );

  const f = result.fx;
  const transcendental = one.tolerance === 'transcendental';
  check('fcw', e.getUint16(f + fx.fcw, true), a.getUint16(f + fx.fcw, true));
  // A transcendental result may round the other way: C1, and underflow at the border.
  const statusMask = 0xffff & ~undefinedStatus & ~(transcendental ? 0x0210 : 0);
  check('fsw', e.getUint16(f + fx.fsw, true) & statusMask, a.getUint16(f + fx.fsw, true) & statusMask);
  check('ftw', e.getUint8(f + fx.ftw), a.getUint8(f + fx.ftw));
  check('mxcsr', e.getUint32(f + fx.mxcsr, true), a.getUint32(f + fx.mxcsr, true));
  for (let i = 0; i < 8; i++) {
    const at = f + fx.st + i * 16;
    const left = extended(e, at);
    const right = extended(a, at);
    if (left === right) continue;
    const distance = ordinal(left) > ordinal(right) ? ordinal(left) - ordinal(right) : ordinal(right) - ordinal(left);
    if (transcendental && distance <= TRANSCENDENTAL_BOUND) continue;
    check(`st${i}`, left, right);
  }
  for (let i = 0; i < (mode === 64 ? 16 : 8); i++) {
    for (let k = 0; k < 16; k += 8) {
      const at = f + fx.xmm + i * 16 + k;
      const left = e.getBigUint64(at, true);
      const right = a.getBigUint64(at, true);
      if (left === right) continue;
      if (
        one.tolerance === 'reciprocal' &&
        [0, 4].every((lane) => areClose(e.getUint32(at + lane, true), a.getUint32(at + lane, true)))
      )
        continue;
      check(`xmm${i}[${k}]`, left, right);
    }
  }

  const closed = (changes: Uint32Array): number[] => [...changes].filter((change) => !open.memory.has(change >>> 8));
  const [left, right] = [closed(expected.changes), closed(actual.changes)];
  if (left.length !== right.length || left.some((change, i) => change !== right[i])) {
    const show = (changes: readonly number[]): string =>
      changes
        .slice(0, 20)
        .map((change) => `${(change >>> 8).toString(16)}=${(change & 0xff).toString(16)}`)
        .join(' ');
    const from = Math.max(
      left.findIndex((change, k) => change !== right[k]),
      0,
    );
    differences.push(
      `memory (${left.length} and ${right.length} bytes changed): expected ${show(left.slice(from))}, got ${show(right.slice(from))}`,
    );
  }
  return differences;
}

/** Sign, exponent and significand as one number that grows with the magnitude. */
const extended = (view: DataView, at: number): bigint =>
  (BigInt(view.getUint16(at + 8, true)) << 64n) | view.getBigUint64(at, true);
/** Without the integer bit, neighbours differ by one across powers of two as well. */
const ordinal = (value: bigint): bigint => ((value >> 64n) << 63n) | (value & 0x7fffffffffffffffn);
