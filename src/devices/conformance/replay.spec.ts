import { readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { UserError } from '../../base/errors.ts';
import { Replay, type SaveBefore } from './replay.ts';

const folder = new URL('../../../test/transcripts/', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.gz'));
const text = new Map(
  files.map((name) => [
    name,
    gunzipSync(readFileSync(new URL(name, folder)))
      .toString()
      .split('\n'),
  ]),
);

function replay(name: string, saveBefore?: SaveBefore) {
  const run = new Replay(name, saveBefore);
  for (const line of text.get(name)!) run.line(line);
  run.end();
  return run.results;
}

const header =
  '{"v":1,"name":"t/1","device":"rtl8139","category":"t","mac":"525400123456","ramBase":16777216,"ramSize":4096,' +
  '"bars":[{"index":0,"kind":"io","size":256,"base":49152},{"index":1,"kind":"mem","size":256,"base":3758096384}]}';

function run(...lines: string[]) {
  const run = new Replay('t.jsonl');
  for (const line of [header, ...lines]) run.line(line);
  run.end();
  return run.results[0]!;
}

describe('reference transcripts', () => {
  it('are all here: those of QEMU for each chip, two from a Xen host', () => {
    const counts = new Map<string, number>();
    for (const name of files) {
      const from = name.includes('-xen-') ? 'a Xen host' : name.split('-')[0]!;
      counts.set(from, (counts.get(from) ?? 0) + text.get(name)!.filter((line) => line.startsWith('{"v":1')).length);
    }
    expect(Object.fromEntries(counts)).toMatchObject({
      e1000: 88,
      rtl8139: 248,
      'a Xen host': 2,
      ne2k_pci: 29,
      pcnet: 33,
    });
  });

  for (const name of files) {
    it(`${name}: every sequence agrees`, () => {
      for (const { name: sequence, difference, otherEdges } of replay(name)) {
        expect(difference, sequence).toBeUndefined();
        if (!name.includes('-xen-')) expect(otherEdges, sequence).toBe(0);
      }
    });
    it(`${name}: every sequence agrees with the chip saved and restored on the way`, () => {
      let seed = name.length;
      const saveBefore = (): boolean => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 27 === 0;
      for (const { name: sequence, difference } of replay(name, saveBefore)) expect(difference, sequence).toBeUndefined();
    });
  }
});

describe('a replay', () => {
  it('names register, expected and got at the first difference, and goes no further', () => {
    const { difference, inputs } = run(
      '{"op":"readl","bar":1,"addr":64,"got":1954545664}',
      '{"op":"readw","bar":1,"addr":62,"got":4}',
      '{"op":"readw","bar":1,"addr":60,"got":9}',
    );
    expect(difference).toMatchObject({
      line: 3,
      step: 1,
      register: 'IntrStatus',
      what: 'value read',
      expected: '0x4',
      got: '0x0',
    });
    expect(inputs).toBe(2);
  });

  it('sees a frame too few, a frame too many, memory and the interrupt line', () => {
    const send = [
      '{"op":"writeb","bar":1,"addr":55,"val":4}',
      '{"op":"writel","bar":1,"addr":32,"val":16777216}',
      '{"op":"writel","bar":1,"addr":16,"val":4}',
    ];
    expect(run(...send).difference).toMatchObject({ expected: 'none', got: '00000000' });
    expect(run(...send, '{"op":"tx","bytes":"00000000"}').difference).toBeUndefined();
    expect(run(...send, '{"op":"tx","bytes":"00000001"}').difference).toMatchObject({ expected: '00000001' });
    expect(run(...send, '{"op":"tx","bytes":"00000000"}', '{"op":"tx","bytes":"00"}').difference).toMatchObject({ got: 'none' });
    expect(run(...send, '{"op":"tx","bytes":"00000000"}', '{"op":"irq","level":1}').difference).toMatchObject({
      what: 'INTx level',
    });
    expect(run(...send, '{"op":"tx","bytes":"00000000"}', '{"op":"dma","addr":7,"bytes":"55"}').difference).toMatchObject({
      what: 'memory at 0x1000007',
    });
  });

  it('says where a file is no transcript', () => {
    expect(() => run('{')).toThrow(
      new UserError('t.jsonl:2: not JSON; expected one object a line (a transcript, perhaps gzip-compressed)'),
    );
    expect(() => run('{"op":"readw","bar":1,"addr":62,"got":65536}')).toThrow(
      /t.jsonl:2: 'got' is 65536, expected a whole number from 0 to 65535/,
    );
    expect(() => run('{"op":"jump"}')).toThrow(/unknown operation 'jump'/);
    expect(() => run('{"op":"mem","addr":4095,"bytes":"0000"}')).toThrow(/outside the sequence's RAM/);
    expect(() => new Replay('x').line('{"op":"sysreset"}')).toThrow(/x:1: expected a line that starts a sequence/);
    expect(() => new Replay('x').line(header.replace('"rtl8139"', '"e2000"'))).toThrow(/no model of 'e2000'; there are: rtl8139/);
  });
});
