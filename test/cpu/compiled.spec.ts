/** Compiled loops beside the interpreter: the same code run in slices, everything compared after each. */
import { describe, expect, it } from 'vitest';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import type { Engine } from '../../src/cpu/run/engine.ts';
import { ExitReason, Reg } from '../../src/cpu/interface.ts';
import { COMPILE } from './engine.ts';
import { DATA, DATA_GPA, LongMode } from './long-mode.ts';

const NAMES = Object.keys(Reg) as (keyof typeof Reg)[];

/** What a guest and its hypervisor can see. */
function state(machine: LongMode, reason: ExitReason): Record<string, unknown> {
  const { registers, exit, instructions } = machine.vcpu;
  return {
    reason,
    instructions,
    rip: registers.rip,
    rflags: registers.rflags,
    gpr: NAMES.map((name) => registers.getGpr(Reg[name])),
    exit:
      reason === ExitReason.budget
        ? undefined
        : { rip: exit.rip, gpa: exit.gpa, isWrite: exit.isWrite, size: exit.size, data: [exit.dataLo, exit.dataHi] },
    data:
      reason === ExitReason.budget
        ? undefined
        : [0, 1, 2].map((page) => Buffer.from(machine.read(DATA_GPA + page * 0x1000, 0x1000)).toString('base64')),
  };
}

interface Run {
  code: string;
  registers: Partial<Record<keyof typeof Reg, bigint>>;
  prepare?: (machine: LongMode) => void;
  /** Serves exits that are neither the end of the budget nor the VMCALL behind the code. */
  onExit?: (machine: LongMode, reason: ExitReason) => void;
  /** Decoded anew each time round, so that no block is seen twice. */
  alwaysNew?: boolean;
}

/** Runs the code both ways in slices of `budget` to its VMCALL. */
function compareRuns(compile: CompilePolicy, budget: number, { code, registers, prepare, onExit, alwaysNew = false }: Run): void {
  const machines = [new LongMode(COMPILE.never), new LongMode(compile)];
  for (const machine of machines) {
    prepare?.(machine);
    machine.load(code, registers);
  }
  for (let slices = 1; slices < 20_000; slices++) {
    const [expected, got] = machines.map((machine) => {
      const reason = machine.vcpu.run(budget);
      const now = state(machine, reason);
      if (reason !== ExitReason.budget && reason !== ExitReason.vmcall) onExit?.(machine, reason);
      return now;
    });
    expect(got).toEqual(expected);
    if (expected!.reason !== ExitReason.vmcall) continue;
    const [interpreted, compiled] = machines.map(({ vcpu }) => (vcpu as Engine).compiled);
    expect(interpreted).toBe(0);
    if (alwaysNew && compile.samples > 1) expect(compiled).toBe(0);
    else expect(compiled).toBeGreaterThan(0);
    return;
  }
  throw new Error('no end');
}

/** 37 instructions in two blocks: a schoolbook multiplication of big numbers, as Linux has it. */
const MULTIPLY = [
  '4863c7',
  '4829e8',
  '498b0cc3',
  '4c8d24c500000000',
  '4889ca',
  '89c9',
  '48c1ea20',
  '4889c8',
  '490fafc0',
  '4989d5',
  '4d0fafe8',
  '490fafc9',
  '490fafd1',
  '4989c6',
  '89c0',
  '49c1ee20',
  '4c01e9',
  '4c01f1',
  '4989d6',
  '4801da',
  '4c39e9',
  '4989cd',
  '490f43d6',
  '4801f0',
  '49c1e520',
  '4c01e8',
  '4839f0',
  '400f92c6',
  '4d01d4',
  '48c1e920',
  '400fb6f6',
  '49030424',
  '4811ce',
  '49890424',
  '4801d6',
  '83c701',
].join('');
const jumpBack = (length: number): string => `0f85${Buffer.from(Int32Array.of(-(length + 6)).buffer).toString('hex')}`;

const negative = (n: number): bigint => BigInt.asUintN(64, BigInt(-n));
const RUNS: Record<string, Run> = {
  'two blocks with memory, flags and carries': {
    code: `${MULTIPLY}${jumpBack(MULTIPLY.length / 2)}`,
    registers: {
      rdi: negative(300),
      rbp: negative(300),
      r11: DATA,
      r10: DATA + 0x1000n,
      rbx: 1n << 32n,
      r8: 0xdeadbeefn,
      r9: 0x12345678n,
      rsi: 0n,
    },
    prepare: (machine) => {
      for (let i = 0; i < 0x2000; i += 8) machine.writeU64(DATA_GPA + i, BigInt.asUintN(64, BigInt(i + 1) * 0x9e3779b97f4a7c15n));
    },
  },
  // outer: mov ecx, 20; inner: test cl, 1; jz skip; add ah, cl; add ax, 3; skip: rol rax, 5; adc dl, ah; dec ecx; jnz inner;
  // dec ebx; jnz outer
  'loops in loops, a jump over, partial registers': {
    code: 'b914000000 f6c101 7406 00cc 6683c003 48c1c005 10e2 ffc9 75eb ffcb 75e2',
    registers: { rax: 1n, rbx: 400n, rdx: 0n },
  },
  // top: push rcx; call f; pop rcx; dec ecx; jnz top; vmcall; f: lea rax, [rax+rcx*4+3]; xor rax, [rsp+8]; ret
  'calls and returns': {
    code: '51 e808000000 59 ffc9 75f5 0f01c1 90 488d448803 4833442408 c3',
    registers: { rcx: 500n, rax: 5n },
  },
  // top: mov eax, [rsi]; add [rdi+rcx*4], eax; add rsi, 0x20; dec ecx; jnz top; page 5 is not there
  'a page without RAM on the way': {
    code: '8b06 01048f 4881c620000000 ffc9 75f0',
    registers: { rsi: DATA + 0x4000n, rdi: DATA, rcx: 400n },
    prepare: (machine) => machine.makeMmio(5),
    onExit: (machine, reason) => {
      expect(reason).toBe(ExitReason.eptViolation);
      machine.vcpu.completeAccess((Number(machine.vcpu.exit.gpa) & 0xffff) * 3, 0);
    },
  },
  // top: xor edx, edx; mov rax, rsi; div rcx; add rbx, rax; dec rcx; jmp top
  'a divide error at last': { code: '31d2 4889f0 48f7f1 4801c3 48ffc9 ebf0', registers: { rsi: 1_000_000n, rcx: 400n, rbx: 0n } },
  // top: add eax, imm; test cl, cl; jnz skip; add dword [imm], 1; skip: dec ecx; jnz top
  'code that changes itself now and then': {
    code: '0501000000 84c9 7507 8305f1ffffff01 ffc9 75ec',
    registers: { rax: 0n, rcx: 2000n },
  },
  // top: add eax, imm; add dword [imm], 1; dec ecx; jnz top
  'code that changes itself each time': {
    code: '0501000000 8305f5ffffff01 ffc9 75f0',
    registers: { rax: 0n, rcx: 300n },
    alwaysNew: true,
  },
  // top: mov rdi, rbx; mov ecx, 40; rep stosb; rdtsc; add rax, rdx; dec ebp; jnz top
  'string instructions and RDTSC': {
    code: '4889df b928000000 f3aa 0f31 4801d0 ffcd 75ee',
    registers: { rbx: DATA + 0xff0n, rbp: 300n, rax: 7n },
  },
};

describe.each(Object.entries(RUNS))('%s', (_name, run) => {
  it.each([7, 1000])('every block compiled, slices of %i', (budget) => compareRuns(COMPILE.all, budget, run));
  it.each([45, 1000])('regions compiled at second sight, slices of %i', (budget) => compareRuns(COMPILE.regions, budget, run));
  it.each([45, 1000])('regions compiled soon, slices of %i', (budget) => compareRuns(COMPILE.early, budget, run));
  it.each([800])('warm regions compiled, slices of %i', (budget) => compareRuns(COMPILE.warm, budget, run));
});
