import { expect, it } from 'vitest';
import { TextBuffer } from './text.ts';

const text = (write: (out: TextBuffer) => void): string => {
  const out = new TextBuffer(64);
  write(out);
  return out.toString();
};

it('numbers as printf writes them', () => {
  expect(
    text((o) => {
      for (const n of [0, 9, 10, 99, 100, 12345, 4294967295, 2 ** 40]) {
        o.u(n);
        o.byte(32);
      }
    }),
  ).toBe('0 9 10 99 100 12345 4294967295 1099511627776 ');
  expect(
    text((o) => {
      for (const n of [-1, 5, -2147483648]) {
        o.d(n);
        o.byte(32);
      }
    }),
  ).toBe('-1 5 -2147483648 ');
  expect(
    text((o) => {
      for (const n of [0, 0xf, 0x10, -1, 0x80000000 | 0]) {
        o.x(n);
        o.byte(32);
      }
    }),
  ).toBe('0 f 10 ffffffff 80000000 ');
  expect(
    text((o) => {
      o.x0(5, 4);
      o.x0(0x12345, 4);
      o.xPadded(0, 3);
      o.xPadded(0x1f002, 7);
    }),
  ).toBe('000512345  0  1f002');
  expect(
    text((o) => {
      o.x64(1, 0);
      o.byte(32);
      o.x64(1, -1);
      o.byte(32);
      o.x64Padded8(0x10, 0);
    }),
  ).toBe('1 ffffffff00000001       10');
  expect(
    text((o) => {
      o.u64(-1, -1);
      o.byte(32);
      o.d64(-1, -1);
      o.byte(32);
      o.u64(0, 1);
      o.byte(32);
      o.u64Zero(7, 0, 16);
    }),
  ).toBe('18446744073709551615 -1 4294967296 0000000000000007');
});

it('times keep nine digits and pad seconds to three', () => {
  expect(
    text((o) => {
      o.time(20_123);
      o.byte(124);
      o.time(12_000_000_001);
      o.byte(124);
      o.time(1_234_567_890_123);
    }),
  ).toBe('  0.000020123| 12.000000001|1234.567890123');
});

it('three decimals round ties to even', () => {
  expect(
    text((o) => {
      for (const n of [0, 0.0625, 0.1875, 101.4375, 99.01199, 1e17, 2 ** 80, 219007828267384.8125]) {
        o.f3(n);
        o.byte(32);
      }
    }),
  ).toBe('0.000 0.062 0.188 101.438 99.012 100000000000000000.000 1208925819614629174706176.000 219007828267384.812 ');
});

it('grows', () => {
  const out = new TextBuffer(8);
  for (let i = 0; i < 1000; i++) {
    out.reserve();
    out.str('0123456789');
  }
  expect(out.length).toBe(10_000);
});
