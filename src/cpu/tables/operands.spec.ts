import { describe, expect, it } from 'vitest';
import { bytesOf, hasAddress, parseOperand, usesModrm } from './operands.ts';

describe('operand notation', () => {
  it('Esv: as wide as the operand size in a register, two bytes in memory', () => {
    const operand = parseOperand('Esv');
    expect(bytesOf(operand.bytes, 8)).toBe(8);
    expect(bytesOf(operand.memoryBytes, 8)).toBe(2);
    expect(operand.scales).toBe('operand');
  });

  it('Ibs: one byte in the code, a value of the operand size', () => {
    const operand = parseOperand('Ibs');
    expect(operand.encoded).toEqual([1, 1, 1]);
    expect(operand.bytes).toEqual([2, 4, 8]);
  });

  it('Iz: four bytes in the code at most', () => {
    expect(parseOperand('Iz').encoded).toEqual([2, 4, 4]);
  });

  it('CL is a word, not C with a size', () => {
    expect(parseOperand('CL')).toMatchObject({ kind: 'implied', register: 1, scales: 'none' });
    expect(parseOperand('Cm')).toMatchObject({ kind: 'number', file: 'none' });
  });

  it('aCX scales with the address size', () => {
    expect(parseOperand('aCX')).toMatchObject({ kind: 'implied', register: 1, scales: 'address' });
  });

  it('a moffs operand has an address and no ModRM byte', () => {
    expect(hasAddress(parseOperand('Ov'))).toBe(true);
    expect(usesModrm(parseOperand('Ov'))).toBe(false);
  });

  it('Rm takes its register from ModRM.rm whatever ModRM.mod says', () => {
    expect(parseOperand('Rm').ignoresMod).toBe(true);
    expect(parseOperand('Ry').ignoresMod).toBe(false);
  });

  it('the same notation is the same object', () => {
    expect(parseOperand('Gv')).toBe(parseOperand('Gv'));
  });

  it.each(['Xv', 'Ek', 'E', '$', ''])('refuses %j', (notation) => {
    expect(() => parseOperand(notation)).toThrow(`operand notation '${notation}'`);
  });
});
