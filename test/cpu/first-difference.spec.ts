import { afterEach, describe, expect, it, vi } from 'vitest';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { ConstantSite } from '../../src/cpu/compiled/constant-site.ts';
import { ExitReason } from '../../src/cpu/interface.ts';
import type { Engine } from '../../src/cpu/run/engine.ts';
import { i64 } from '../../src/cpu/wasm/expr.ts';
import { COMPILE } from './engine.ts';
import { firstDifference, stateAt, type Subject } from './first-difference.ts';
import { CODE, LongMode } from './long-mode.ts';

// mov ecx, 300; top: add eax, 12345h; rol rax, 3; xor rdx, rax; dec ecx; jnz top
const PROGRAM = 'b92c010000 0545230100 48c1c003 4831c2 ffc9 75f0';
const PLANTED_IN = 0x12345;

const subject =
  (policy: CompilePolicy) =>
  (until: number): Subject => {
    const machine = new LongMode({ ...policy, until });
    machine.load(PROGRAM, { rax: 1n, rdx: 0n });
    const engine = machine.vcpu as Engine;
    return {
      engine,
      run() {
        while (engine.run(700) === ExitReason.budget);
        return engine.dump();
      },
    };
  };

/** The compiler takes one constant for another. */
function plant(): void {
  const { imm } = ConstantSite.prototype;
  vi.spyOn(ConstantSite.prototype, 'imm').mockImplementation(function (this: ConstantSite) {
    const value = imm.call(this);
    return value.constant === PLANTED_IN ? i64.const(PLANTED_IN + 1) : value;
  });
}
afterEach(() => vi.restoreAllMocks());

describe.each(['all', 'regions', 'early'] as const)('the first instruction that compiled code runs otherwise (%s)', (policy) => {
  const make = subject(COMPILE[policy]);

  it('is none where there is no fault, wherever compiled code ends', () => {
    expect(firstDifference(make)).toBeUndefined();
    const expected = make(0).run();
    for (const until of [1, 2, 3, 4, 5, 6, 7, 501, 502, 503, 504, 505, 1499]) expect(make(until).run()).toBe(expected);
  });

  it('is the one with a planted fault, the first time that it is compiled', () => {
    plant();
    const found = firstDifference(make);
    expect(found).toBeDefined();
    const state = stateAt(make(0), found!);
    expect(state!.rip).toBe(CODE + 5n);
    expect([...state!.code.subarray(0, 5)]).toEqual([0x05, 0x45, 0x23, 0x01, 0x00]);
    // Every instruction before it may be compiled.
    expect(make(found!).run()).toBe(make(0).run());
    expect(make(found! + 1).run()).not.toBe(make(0).run());
  });
});
