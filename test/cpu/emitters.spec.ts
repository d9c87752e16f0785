import { describe, expect, it } from 'vitest';
import { CB_GPR } from '../../src/cpu/memory/control-block.ts';
import { LongMode } from './long-mode.ts';
import { CB, compileConstant } from './one-instruction.ts';

describe('one emitter, two operand modes', () => {
  const values: [bigint, bigint][] = [
    [1n, 2n],
    [0xffffffffffffffffn, 1n],
    [0x7fffffffffffffffn, 1n],
    [0x8000000000000000n, 0x8000000000000000n],
    [0x1234n, 0xfedcba9876543210n],
  ];

  for (const [name, operands, code] of [
    ['add', 'Ev Gv', '4801d8'],
    ['sub', 'Ev Gv', '4829d8'],
    ['xor', 'Ev Gv', '4831d8'],
    ['and', 'Ev Gv', '4821d8'],
    ['mov', 'Ev Gv', '4889d8'],
  ] as const) {
    it(`${name} rax, rbx: constant operands do what the record-reading interpreter does`, () => {
      const constant = compileConstant(name, operands, { a: 3 * 8, b: 0, imm: 0 });
      const machine = new LongMode();
      for (const [rax, rbx] of values) {
        constant.memory.setBigUint64(CB + CB_GPR, rax, true);
        constant.memory.setBigUint64(CB + CB_GPR + 3 * 8, rbx, true);
        constant.run();
        machine.load(code, { rax, rbx });
        machine.run();
        expect(constant.memory.getBigUint64(CB + CB_GPR, true)).toBe(machine.gpr('rax'));
        expect(constant.memory.getBigUint64(CB + CB_GPR + 3 * 8, true)).toBe(rbx);
      }
    });
  }

  it('flags too', () => {
    const constant = compileConstant('sub', 'Ev Gv', { a: 3 * 8, b: 0, imm: 0 });
    const machine = new LongMode();
    for (const [rax, rbx] of values) {
      constant.memory.setBigUint64(CB + CB_GPR, rax, true);
      constant.memory.setBigUint64(CB + CB_GPR + 3 * 8, rbx, true);
      constant.run();
      machine.load('4829d8', { rax, rbx });
      machine.run();
      expect(constant.statusFlags() & 0x8d5).toBe(machine.vcpu.registers.rflags & 0x8d5);
    }
  });
});
