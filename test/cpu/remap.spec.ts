/** Code pages that change their frame: what the processor must forget, and when. */
import { describe, expect, it } from 'vitest';
import { gva } from '../../src/base/address.ts';
import { ExitReason } from '../../src/cpu/interface.ts';
import { COMPILE } from './engine.ts';
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

describe('an instruction on two pages whose second page changes', () => {
  const flags = Pte.write | Pte.accessed | Pte.dirty;
  const second = CODE + 0x1000n;
  const PF = 14;
  /** Ways to come to `mov eax, imm32` whose last two bytes, and the RET behind it, lie on the second page: code and where it begins. */
  const ways = {
    // nop × 13
    'falling into it': [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90],
    // xor eax, eax; jz over ten bytes of INT3
    'a taken branch': [0x31, 0xc0, 0x74, 0x09, ...Array.from({ length: 9 }, () => 0xcc)],
    // xor eax, eax; jnz +1; nop × 9
    'a branch not taken': [0x31, 0xc0, 0x75, 0x01, ...Array.from({ length: 9 }, () => 0x90)],
    // nop × 40: more than a block holds
    'falling into it out of a full block': Array.from({ length: 40 }, () => 0x90),
  } as const;
  const machines = { interpreted: COMPILE.never, compiled: COMPILE.all, regions: COMPILE.regions, soon: COMPILE.early };
  const made = new Map<string, LongMode>();
  /** A machine, the second page mapped to a frame where the immediate ends in 1, and the code's address. */
  const prepare = (kind: keyof typeof machines, before: readonly number[]): { machine: LongMode; target: bigint } => {
    const machine = made.get(kind) ?? new LongMode(machines[kind]);
    made.set(kind, machine);
    machine.write(CODE_GPA + 0xffd - before.length, Uint8Array.from([...before, 0xb8, 5, 0]));
    machine.write(CODE_GPA + 0x1000, Uint8Array.from([1, 0, 0xc3]));
    machine.write(CODE_GPA + 0x2000, Uint8Array.from([2, 0, 0xc3]));
    machine.tables.map(second, CODE_GPA + 0x1000, flags);
    machine.vcpu.invalidateNested();
    return { machine, target: second - 3n - BigInt(before.length) };
  };
  /** Calls it often enough for chains and compiled code, changes the second page's entry, calls it again. */
  const callAgain = (machine: LongMode, target: bigint, entry: bigint, forget: string): void => {
    const slot = machine.tables.entry(second);
    const window = DATA + 0xe000n;
    machine.tables.map(window, slot & ~0xfff, flags);
    // mov ecx, 200 / 1: call rsi; dec ecx; jnz 1b / mov r8d, eax; mov [rdi], rdx / mov rcx, second; forget / xor eax, eax; call rsi
    machine.load(`b9c8000000 ffd6 ffc9 75fa 4189c0 488917 4889d9 ${forget} 31c0 ffd6`, {
      rsi: target,
      rdi: window + BigInt(slot & 0xfff),
      rdx: entry,
      rbx: second,
    });
    expect(machine.run()).toBe(ExitReason.vmcall);
  };

  const forgets = { INVLPG: INVLPG_RCX, 'MOV to CR3': RELOAD_CR3 };
  for (const kind of Object.keys(machines) as (keyof typeof machines)[]) {
    for (const [way, code] of Object.entries(ways)) {
      for (const [how, forget] of Object.entries(forgets)) {
        it(`${way}, ${how}, ${kind}: another frame, no frame, no-execute`, () => {
          const { machine, target } = prepare(kind, code);
          callAgain(machine, target, BigInt(CODE_GPA + 0x2000) | flags | Pte.present, forget);
          expect(machine.trapped()).toBeUndefined();
          expect(machine.gpr('r8')).toBe(0x10005n);
          expect(machine.gpr('rax')).toBe(0x20005n);

          const noFrame = prepare(kind, code);
          callAgain(noFrame.machine, noFrame.target, 0n, forget);
          expect(noFrame.machine.trapped()).toMatchObject({ vector: PF, errorCode: 0x10, rip: second - 3n, cr2: second });

          const noExecute = prepare(kind, code);
          const entry = BigInt(CODE_GPA + 0x1000) | flags | Pte.present | Pte.noExecute;
          callAgain(noExecute.machine, noExecute.target, entry, forget);
          expect(noExecute.machine.trapped()).toMatchObject({ vector: PF, errorCode: 0x11, rip: second - 3n, cr2: second });
        });
      }
    }
  }

  it('a single step that decodes it anew leaves the block made from the old page unused', () => {
    const { machine, target } = prepare('interpreted', []);
    machine.load('31c0 ffd6', { rsi: target });
    const again = (): void => void (machine.vcpu.registers.rip = gva(CODE));
    const call = (): bigint => {
      again();
      expect(machine.run()).toBe(ExitReason.vmcall);
      return machine.gpr('rax');
    };
    expect(call()).toBe(0x10005n);
    machine.writeU64(machine.tables.entry(second), BigInt(CODE_GPA + 0x2000) | flags | Pte.present);
    machine.vcpu.invalidateNested();
    // Stepped over once …
    again();
    machine.vcpu.singleStep(true);
    for (let i = 0; i < 3; i++) expect(machine.run()).toBe(ExitReason.monitorTrap);
    machine.vcpu.singleStep(false);
    expect(machine.gpr('rax')).toBe(0x20005n);
    // … and then run.
    expect(call()).toBe(0x20005n);
  });
});
