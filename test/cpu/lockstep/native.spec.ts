import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Case, CODE, DATA, DATA_SIZE, WRITABLE, load, result, save, snippet as anySnippet } from './case.ts';
import { compare } from './compare.ts';
import { Generator } from './generate.ts';
import { thisProcessor } from '../processor.ts';
import { NativeProcessor } from './native.ts';
import { disassemble } from './text.ts';
import { memoryImage } from './values.ts';

const { native: lack } = await thisProcessor();
const features = ['CMPXCHG16B', 'FSGSBASE'];
const snippet = (code: string, registers: Record<number, bigint> = {}): Case => anySnippet(64, code, registers);

describe('snippets', () => {
  it('are the same for the same seed, and cover every form', () => {
    const digest = (): string => {
      const generator = new Generator(7, { modes: [64, 32] });
      const hash = createHash('sha256');
      for (let i = 0; i < 500; i++) hash.update(generator.next(i).record);
      return hash.digest('hex');
    };
    expect(digest()).toBe(digest());
    const generator = new Generator(7, { modes: [64], features });
    expect(generator.formCount(64)).toBeGreaterThan(1000);
    const seen = new Set<string>();
    for (let i = 0; i < 15_000; i++)
      for (const line of disassemble(generator.next(0))) seen.add(line.slice(23).split(' ')[0] as string);
    for (const mnemonic of [
      'add',
      'shld',
      'idiv',
      'cmpxchg16b',
      'fbld',
      'fprem1',
      'f2xm1',
      'pshufw',
      'movntdq',
      'cvttps2dq',
      'rsqrtps',
      'loopne',
      'xlat',
      'bswap',
      'enter',
      'fxrstor',
    ])
      expect([...seen]).toContain(mnemonic);
  });
});

describe.skipIf(lack.skip)(lack.title('the native runner'), () => {
  let native: NativeProcessor;
  beforeAll(() => {
    native = new NativeProcessor();
  });
  afterAll(() => native.close());

  const run = async (one: Case): Promise<{ view: DataView; changes: number[] }> => {
    const [outcome] = await native.run([one]);
    if (!outcome) throw new Error('no outcome');
    return { view: new DataView(outcome.record.buffer), changes: [...outcome.changes] };
  };

  it('reports registers and flags', async () => {
    const { view } = await run(snippet('4801d8', { 0: 0x7fffffffffffffffn, 3: 1n })); // add rax, rbx
    expect(view.getUint32(result.vector, true)).toBe(3);
    expect(view.getBigUint64(result.gpr, true)).toBe(0x8000000000000000n);
    expect(view.getUint32(result.rflags, true) & 0x8d5).toBe(0x894); // OF SF AF PF
  });

  it('reports faults with error code and address', async () => {
    const divide = await run(snippet('f7f3')); // div ebx
    expect([divide.view.getUint32(result.vector, true), divide.view.getBigUint64(result.rip, true)]).toEqual([0, BigInt(CODE)]);
    const write = await run(snippet('8803', { 3: BigInt(DATA + WRITABLE) })); // mov [rbx], al
    expect([
      write.view.getUint32(result.vector, true),
      write.view.getUint32(result.errorCode, true),
      write.view.getBigUint64(result.cr2, true),
    ]).toEqual([14, 7, BigInt(DATA + WRITABLE)]);
    const absent = await run(snippet('8a03', { 3: BigInt(DATA + DATA_SIZE) })); // mov al, [rbx]
    expect([absent.view.getUint32(result.vector, true), absent.view.getUint32(result.errorCode, true)]).toEqual([14, 4]);
  });

  it('reports changed memory, starts every case from the image, and compares', async () => {
    const one = snippet('c60342', { 3: BigInt(DATA + 0x123) }); // mov byte [rbx], 0x42
    const [outcome] = await native.run([one]);
    if (!outcome) throw new Error('no outcome');
    expect([...outcome.changes]).toEqual(memoryImage(5)[0x123] === 0x42 ? [] : [(0x123 << 8) | 0x42]);
    const other = snippet('c60343', { 3: BigInt(DATA + 0x123) });
    const [second] = await native.run([other]);
    expect(compare(one, outcome, outcome)).toEqual([]);
    expect(compare(one, outcome, second as typeof outcome)).toHaveLength(1);
    const again = load(save(one, outcome));
    expect(compare(again.one, again.expected, (await native.run([again.one]))[0] as typeof outcome)).toEqual([]);
  });

  it('survives snippets that never end and flags that stick', async () => {
    const [forever, aligned, plain] = await native.run([
      snippet('ebfe'),
      snippet('48b8024020000000000050' + '9d'),
      snippet('9c58'),
    ]);
    expect(new DataView((forever as { record: Uint8Array }).record.buffer).getUint32(result.vector, true)).toBe(0xffff);
    expect(new DataView((aligned as { record: Uint8Array }).record.buffer).getUint32(result.rflags, true) & 0x204000).toBe(
      0x204000,
    ); // ID, NT
    expect(new DataView((plain as { record: Uint8Array }).record.buffer).getBigUint64(result.gpr, true) & 0x204000n).toBe(0n);
  });
});
