import { expect, it } from 'vitest';
import { Names, Rows } from './rows.ts';

it('rows keep what they were given, past a chunk too', () => {
  const rows = new Rows(2, 3);
  for (const row of [0, 1, 4095, 4096, 9000]) {
    rows.reserve(row);
    rows.setDouble(row, 1, row + 0.5);
    rows.setWord(row, 0, 7 - row);
    rows.setBig(row, 1, 0xffff_8880_1234_5678n + BigInt(row));
  }
  for (const row of [0, 1, 4095, 4096, 9000]) {
    expect([rows.double(row, 0), rows.double(row, 1), rows.word(row, 0), rows.big(row, 1)]).toEqual([
      0,
      row + 0.5,
      7 - row,
      0xffff_8880_1234_5678n + BigInt(row),
    ]);
  }
});

it('64 bits are kept whole', () => {
  const rows = new Rows(0, 2);
  rows.reserve(0);
  for (const value of [0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 0x8000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn]) {
    rows.setBig(0, 0, value);
    expect(rows.big(0, 0)).toBe(value);
  }
});

it('a name has one number', () => {
  const names = new Names();
  expect(['a', 'b', 'a'].map((n) => names.number(n))).toEqual([0, 1, 0]);
  expect(names.name(1)).toBe('b');
});
