/** Code pages that change their frame: what the processor must forget, and when. */
import { describe, expect, it } from 'vitest';
import { ExitReason } from '../../src/cpu/interface.ts';
import { CODE, CODE_GPA, DATA, LongMode } from './long-mode.ts';
import { Pte } from './machine.ts';

const LARGE = 0x800000n;
const OFFSET = 0x41000;
/** mov eax, n; ret */
const answer = (n: number): Uint8Array => Uint8Array.from([0xb8, n, 0, 0, 0, 0xc3]);
const INVLPG_RCX = '0f0139';
const RELOAD_CR3 = '0f20d8 0f22d8';

/**
 * Calls `target` twice, stores RDX to the page-table entry at RDI, runs `forget`, calls it again. Gives the answers before and after.
 */
function callAcross(
  machine: LongMode,
  target: bigint,
  entry: number,
  fresh: bigint,
  forget: string,
  invalidated: bigint,
): [bigint, bigint] {
  const window = DATA + 0xe000n;
  machine.tables.map(window, entry & ~0xfff, Pte.write | Pte.accessed | Pte.dirty);
  machine.load(`ffd6 ffd6 4189c0 488917 ${forget} ffd6`, {
    rsi: target,
    rdi: window + BigInt(entry & 0xfff),
    rdx: fresh,
    rcx: invalidated,
  });
  expect(machine.run()).toBe(ExitReason.vmcall);
  expect(machine.trapped()).toBeUndefined();
  return [machine.gpr('r8'), machine.gpr('rax')];
}

describe('a code page mapped to another frame', () => {
  const flags = Pte.write | Pte.accessed | Pte.dirty;
  const target = CODE + 0x1000n;
  const prepare = (more: bigint): LongMode => {
    const machine = new LongMode();
    machine.write(CODE_GPA + 0x1000, answer(1));
    machine.write(CODE_GPA + 0x2000, answer(2));
    machine.tables.map(target, CODE_GPA + 0x1000, flags | more);
    return machine;
  };
  const fresh = (more: bigint): bigint => BigInt(CODE_GPA + 0x2000) | flags | more | Pte.present;

  it.each([
    ['', 0n],
    ['global ', Pte.global],
  ] as const)('%spage: INVLPG of the page', (_name, more) => {
    const machine = prepare(more);
    expect(callAcross(machine, target, machine.tables.entry(target), fresh(more), INVLPG_RCX, target + 0x123n)).toEqual([1n, 2n]);
  });

  it('MOV to CR3', () => {
    const machine = prepare(0n);
    expect(callAcross(machine, target, machine.tables.entry(target), fresh(0n), RELOAD_CR3, 0n)).toEqual([1n, 2n]);
  });

  it('an instruction that lies on two pages, the second of them mapped anew', () => {
    const machine = prepare(0n);
    // mov eax, imm32 over the page's end: its last two bytes and the RET are on the second page.
    const last = target - 3n;
    machine.write(CODE_GPA + 0xffd, Uint8Array.from([0xb8, 5, 0]));
    machine.write(CODE_GPA + 0x1000, Uint8Array.from([1, 0, 0xc3]));
    machine.write(CODE_GPA + 0x2000, Uint8Array.from([2, 0, 0xc3]));
    expect(callAcross(machine, last, machine.tables.entry(target), fresh(0n), INVLPG_RCX, target)).toEqual([0x10005n, 0x20005n]);
    const other = prepare(0n);
    other.write(CODE_GPA + 0xffd, Uint8Array.from([0xb8, 5, 0]));
    other.write(CODE_GPA + 0x1000, Uint8Array.from([1, 0, 0xc3]));
    other.write(CODE_GPA + 0x2000, Uint8Array.from([2, 0, 0xc3]));
    expect(callAcross(other, last, other.tables.entry(target), fresh(0n), RELOAD_CR3, 0n)).toEqual([0x10005n, 0x20005n]);
  });

  it.each([
    ['', 0n],
    ['global ', Pte.global],
  ] as const)('%slarge page: INVLPG of any address in it', (_name, more) => {
    const machine = new LongMode();
    machine.write(OFFSET, answer(3));
    machine.write(0x200000 + OFFSET, answer(4));
    machine.tables.map(LARGE, 0, flags | more, 2);
    expect(
      callAcross(
        machine,
        LARGE + BigInt(OFFSET),
        machine.tables.entry(LARGE, 2),
        0x200000n | flags | more | Pte.large | Pte.present,
        INVLPG_RCX,
        LARGE + 0x1000n,
      ),
    ).toEqual([3n, 4n]);
  });
});
