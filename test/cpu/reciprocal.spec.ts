import { describe, expect, it } from 'vitest';
import { approximateReciprocal, approximateReciprocalRoot } from '../../src/cpu/fpu/sse-approximate.ts';
import { areClose, isAllowed } from './reciprocal.ts';
import { Random } from './lockstep/random.ts';

const operands = [
  0, 1, 0x7fffff, 0x800000, 0x3f800000, 0x3f800001, 0x3fffffff, 0x40490fdb, 0x7e7fe7ff, 0x7e7fe800, 0x7e800000, 0x7e800c00,
  0x7e800c01, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff,
];

describe('the rule of RCPPS and RSQRTPS', () => {
  it('holds for the vCPU', () => {
    const random = new Random(1);
    for (const operand of [
      ...operands,
      ...operands.map((bits) => (bits | 0x80000000) >>> 0),
      ...Array.from({ length: 20_000 }, () => random.u32()),
    ]) {
      expect(isAllowed('rcp', operand, approximateReciprocal(operand)), `rcp ${operand.toString(16)}`).toBe(true);
      expect(isAllowed('rsqrt', operand, approximateReciprocalRoot(operand)), `rsqrt ${operand.toString(16)}`).toBe(true);
    }
  });

  it.each<['rcp' | 'rsqrt', number, number, string]>([
    ['rcp', 0x3f800000, 0x3f801800, 'an error beyond the bound'],
    ['rcp', 0x3f800000, 0xbf800000, 'the wrong sign'],
    ['rcp', 0, 0x7f7fffff, 'a number for zero'],
    ['rcp', 0x80000001, 0x7f800000, 'the wrong infinity for a denormal'],
    ['rcp', 0x7f800001, 0x7f800001, 'a signalling NaN'],
    ['rcp', 0x7f7fffff, 0x00200000, 'a denormal result'],
    ['rcp', 0x40000000, 0, 'zero for a result that is not tiny'],
    ['rsqrt', 0x40800000, 0x3f001900, 'an error beyond the bound'],
    ['rsqrt', 0xbf800000, 0x7fc00000, 'another NaN for a negative number'],
    ['rsqrt', 0x80000000, 0x7f800000, 'the wrong infinity for -0'],
  ])('%s of %i is not %i: %s', (operation, operand, result) => {
    expect(isAllowed(operation, operand, result)).toBe(false);
  });

  it('says of two results whether one operand can have both', () => {
    expect(areClose(0x3f800000, 0x3f801000)).toBe(true);
    expect(areClose(0x00800000, 0)).toBe(true);
    expect(areClose(0x3f800000, 0x3f802000)).toBe(false);
    expect(areClose(0x3f800000, 0x7f800000)).toBe(false);
    expect(areClose(0x7fc00000, 0x7f800001)).toBe(false);
    expect(areClose(0x01800000, 0)).toBe(false);
    expect(areClose(0x00800000, 0x80000000)).toBe(false);
  });
});
