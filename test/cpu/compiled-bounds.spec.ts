/** Guests that would make the compiler work without end, and what bounds it. */
import { describe, expect, it } from 'vitest';
import { FIRST_COMPILED, HANDLER_LIMIT, OUTLINED } from '../../src/cpu/records/handler-numbers.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { ExitReason } from '../../src/cpu/interface.ts';
import type { Engine } from '../../src/cpu/run/engine.ts';
import { COMPILE } from './engine.ts';
import { CODE_GPA, LongMode } from './long-mode.ts';

/** What the engine keeps of compiled code. */
interface Inside {
  hotCode: { table: WebAssembly.Table; nextHandler: number; jumping: Map<number, unknown>; aside: unknown[]; codeBytes: number };
}
const inside = (machine: LongMode): Inside['hotCode'] => (machine.vcpu as unknown as Inside).hotCode;

/** Functions that the table of handlers holds for compiled code. */
function functionsOf(machine: LongMode): number {
  const { table } = inside(machine);
  let count = 0;
  for (let i = FIRST_COMPILED; i < HANDLER_LIMIT; i++) if (table.get(i - OUTLINED) !== null) count++;
  return count;
}

function both(
  compile: CompilePolicy,
  prepare: (machine: LongMode) => void,
): { interpreted: LongMode; compiled: LongMode; regions: number } {
  const [interpreted, compiled] = [COMPILE.never, compile].map((policy) => {
    const machine = new LongMode(policy);
    prepare(machine);
    let reason: ExitReason;
    do reason = machine.vcpu.run(50_000);
    while (reason === ExitReason.budget);
    expect(reason).toBe(ExitReason.vmcall);
    return machine;
  }) as [LongMode, LongMode];
  expect(compiled.vcpu.dump()).toBe(interpreted.vcpu.dump());
  expect(compiled.vcpu.instructions).toBe(interpreted.vcpu.instructions);
  return { interpreted, compiled, regions: (compiled.vcpu as Engine).compiled };
}

describe('bounds of the compiler', () => {
  it('a guest that patches its own loop without end leaves no function behind', () => {
    // outer: mov ecx, 60; inner: add eax, imm; rol rax, 7; dec ecx; jnz inner; add dword [imm], 1; dec ebx; jnz outer
    const code = 'b93c000000 0501000000 48c1c007 ffc9 75f3 8305edffffff01 ffcb 75e3';
    const { compiled, regions } = both(COMPILE.early, (machine) => machine.load(code, { rax: 1n, rbx: 150n }));
    expect(regions).toBeGreaterThan(100);
    expect(functionsOf(compiled)).toBeLessThan(8);
    expect(inside(compiled).nextHandler - FIRST_COMPILED).toBeLessThan(16);
    expect(inside(compiled).aside).toEqual([]);
  });

  it('a guest that jumps at random to hundreds of places has its jump compiled a few dozen times at most', () => {
    const STUBS = 500;
    const STRIDE = 16;
    // top: imul rax, rax, 6364136223846793005 by way of r8; add rax, r9; mov rdx, rax; shr rdx, 40; and edx, 511; cmp edx, 500;
    // jae top; shl edx, 4; add rdx, rsi; dec ebx; jz end; jmp rdx; end: vmcall
    const top = '490fafc0 4c01c8 4889c2 48c1ea28 81e2ff010000 81faf4010000 73e4 c1e204 4801f2 ffcb 7402 ffe2';
    const { compiled, regions } = both({ ...COMPILE.early, samples: 4 }, (machine) => {
      machine.load(top, {
        rax: 1n,
        r8: 6364136223846793005n,
        r9: 1442695040888963407n,
        rbx: 6_000n,
        rsi: 0x401000n,
      });
      for (let i = 0; i < STUBS; i++) {
        // add rdi, i; jmp top
        const at = 0x1000 + i * STRIDE;
        const code = Buffer.alloc(STRIDE, 0x90);
        code.set([0x48, 0x81, 0xc7]);
        code.writeInt32LE(i, 3);
        code[7] = 0xe9;
        code.writeInt32LE(-(at + 12), 8);
        machine.write(CODE_GPA + at, code);
      }
    });
    expect(regions).toBeGreaterThan(0);
    expect(regions).toBeLessThan(40 + STUBS);
    expect(inside(compiled).jumping.size).toBeLessThan(40);
    expect(inside(compiled).nextHandler).toBeLessThan(HANDLER_LIMIT);
  });

  it.each(['all', 'regions', 'early'] as const)(
    'code over a page border is interpreted where it lies on two pages (%s)',
    (policy) => {
      // 4,090 bytes of NOP by a jump over them; then, over the border: mov rax, imm64 (10 bytes); add rbx, rax; dec ecx; jnz back
      const { compiled } = both(COMPILE[policy], (machine) => {
        machine.load('e9f40f0000', { rcx: 300n, rbx: 0n });
        machine.write(CODE_GPA + 0xff9, Buffer.from('48b88877665544332211 4801c3 ffc9 75ef 0f01c1'.replaceAll(' ', ''), 'hex'));
      });
      expect(compiled.gpr('rbx')).toBe(BigInt.asUintN(64, 0x1122334455667788n * 300n));
    },
  );

  it('when there is no room for another function, all code goes and the guest runs on', () => {
    // One behind another: mov ecx, 64; top: add rbx, rcx; dec ecx; jnz top
    const LOOPS = 200;
    const { compiled } = both({ ...COMPILE.early, maxBytes: 20_000 }, (machine) => {
      const parts: Buffer[] = [];
      for (let i = 0; i < LOOPS; i++) parts.push(Buffer.from(`b9400000004801cbffc975f9${'90'.repeat(4)}`, 'hex'));
      machine.load(Buffer.concat(parts).toString('hex'), { rbx: 0n });
    });
    expect(inside(compiled).codeBytes).toBeLessThan(40_000);
    expect((compiled.vcpu as Engine).compiled).toBeGreaterThan(50);
  });
});
