import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type BareResult, bareMachine, loadMultiboot, runBare } from '../bare.ts';
import { type Lack, lackOf } from '../../needs.ts';
import { type ImageName, buildImage, buildSegmentImage, runUnderQemu } from './build.ts';
import { cases, differences } from './compare.ts';
import { deviations } from './deviations.ts';

const lack = await lackOf('gcc', 'objcopy', 'qemu');
const lack32 = await lackOf('gcc-m32');

describe.skipIf(lack.skip)(lack.title('privileged behaviour beside QEMU'), () => {
  const directory = mkdtempSync(join(tmpdir(), 'xenolith-privileged-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const ours = (image: string): BareResult => {
    const machine = bareMachine(32);
    loadMultiboot(machine, readFileSync(image));
    return runBare(machine);
  };

  for (const [name, count, needed] of [
    ['long', 900, lack],
    ['legacy', 500, lack32],
  ] as [ImageName, number, Lack][]) {
    it.skipIf(needed.skip)(needed.title(`${name} image: every case as under QEMU, or a known deviation`), () => {
      const image = buildImage(directory, name);
      const qemu = runUnderQemu(image);
      expect(qemu.status).toBe(1);
      const result = ours(image);
      expect(result.end).toEqual({ kind: 'exit', status: 0 });
      expect(cases(qemu.output).length).toBeGreaterThan(count);
      expect(differences(qemu.output, result.output, deviations).filter((one) => one.known < 0)).toEqual([]);
    });
  }

  it.skipIf(lack32.skip)(
    lack32.title('400 random snippets on 16-bit and 32-bit code and stack segments: each as under QEMU'),
    () => {
      const { image, texts } = buildSegmentImage(directory, 7, 400);
      const qemu = runUnderQemu(image);
      expect(qemu.status).toBe(1);
      const machine = bareMachine(32);
      loadMultiboot(machine, readFileSync(image));
      // Where there is no RAM QEMU reads zeros.
      const result = runBare(machine, { limit: 2e9, openBus: 0 });
      expect(result.end).toEqual({ kind: 'exit', status: 0 });
      const [expected, got] = [cases(qemu.output), cases(result.output)];
      expect(expected.length).toBe(texts.length + 1);
      expect(got.flatMap((line, i) => (line === expected[i] ? [] : [`${texts[i]}\n${expected[i]}\n${line}`]))).toEqual([]);
    },
  );

  it('a fault with no handler for the double fault is a triple fault', () => {
    const image = buildImage(directory, 'long', ['TRIPLE']);
    const qemu = runUnderQemu(image);
    expect(qemu).toEqual({ output: 'triple fault next\n', status: 0 });
    expect(ours(image)).toEqual({ output: 'triple fault next\n', end: { kind: 'triple fault' } });
  });
});
