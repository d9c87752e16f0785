/**
 * C source of a large flat program: thousands of different functions, each run once a pass, as a kernel's text is:
 * much code, short blocks, calls, few loops. The same seed gives the same source.
 */
import { Random } from '../../test/cpu/lockstep/random.ts';

export const FLAT_FUNCTIONS = 1000;

export function flatProgram(seed: number, functions = FLAT_FUNCTIONS): string {
  const random = new Random(seed);
  const names = ['a', 'b', 'c', 'd'];
  const name = (): string => random.pick(names);
  const constant = (): string => `${random.u32() >>> random.below(28)}u`;
  const place = (): string => `memory[${name()} & 1023]`;
  const simple = (): string => {
    switch (random.below(9)) {
      case 0:
        return `${name()} += ${name()} ^ ${constant()};`;
      case 1:
        return `${name()} = ${name()} * ${constant()} + ${name()};`;
      case 2: {
        const shift = 1 + random.below(31);
        const v = name();
        return `${name()} ^= ${v} >> ${shift} | ${v} << ${32 - shift};`;
      }
      case 3:
        return `${name()} += ${place()};`;
      case 4:
        return `${place()} = ${name()};`;
      case 5:
        return `${place()} ^= ${name()} + ${constant()};`;
      case 6:
        return `bytes[${name()} & 4095] = (u8)${name()};`;
      case 7:
        return `${name()} -= bytes[${name()} & 4095];`;
      default: {
        const left = random.below(4);
        return `${name()} = ${names[left]} < ${names[(left + 1 + random.below(3)) & 3]} ? ${name()} : ${constant()};`;
      }
    }
  };
  const out = ['#include "kernels.h"', 'static u32 memory[1024];', 'static u8 bytes[4096];'];
  for (let i = 0; i < functions; i++) {
    const lines: string[] = [];
    const statements = 4 + random.below(10);
    for (let k = 0; k < statements; k++) {
      const kind = random.below(10);
      if (kind < 6) lines.push(`  ${simple()}`);
      else if (kind < 9)
        lines.push(`  if (${name()} & ${1 << random.below(6)}) { ${simple()} ${simple()} } else { ${simple()} }`);
      else lines.push(`  for (u32 i = 0; i < ${2 + random.below(4)}; i++) { ${simple()} ${simple()} }`);
    }
    if (i > 64 && random.chance(0.5)) lines.push(`  a += leaf${8 * random.below(Math.floor(i / 8))}(b, c);`);
    if (i % 8 === 0)
      out.push(
        `__attribute__((noinline)) u32 leaf${i}(u32 a, u32 b);`,
        `__attribute__((noinline)) u32 leaf${i}(u32 a, u32 b) { u32 c = a, d = b; ${simple()} ${simple()} ${simple()} return a + b + c + d; }`,
      );
    out.push(
      `static __attribute__((noinline)) u32 f${i}(u32 a, u32 b) {`,
      '  u32 c = a ^ b, d = a - b;',
      ...lines,
      '  return a ^ b ^ c ^ d;',
      '}',
    );
  }
  out.push('u32 flat_pass(u32 value) {');
  for (let i = 0; i < functions; i++) out.push(`  value = f${i}(value, ${i}u);`);
  out.push('  return value;', '}', '');
  return out.join('\n');
}
