import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Lack } from '../needs.ts';
import { ALL_CHOICES, CHOICES, type Choice, NO_CHOICES } from './choices.ts';
import { type Case, type Outcome, type SavedCase, result, snippet } from './lockstep/case.ts';
import { compare } from './lockstep/compare.ts';
import { OurProcessor } from './lockstep/ours.ts';
import type { Processor } from './processor.ts';
import { addToRecording, readRecording } from './recording.ts';

/** The vCPU's answer, changed. */
const changed = (outcome: Outcome, change: (view: DataView) => void, changes?: number[]): Outcome => {
  const record = outcome.record.slice();
  change(new DataView(record.buffer));
  return { record, changes: changes ? Uint32Array.from(changes) : outcome.changes };
};

describe('what is left open', () => {
  const ours = new OurProcessor();
  const run = (choice: Choice, index = 0): { one: Case; answer: Outcome } => {
    const one = CHOICES[choice].snippets[index] as Case;
    return { one, answer: ours.run(one) };
  };

  it('a snippet of each choice agrees with itself, whatever is open', () => {
    for (const choice of ALL_CHOICES)
      for (const one of CHOICES[choice].snippets) {
        const answer = ours.run(one);
        for (const choices of [NO_CHOICES, ALL_CHOICES]) expect(compare(one, answer, answer, choices)).toEqual([]);
      }
  });

  it.each<[Choice, number, (view: DataView) => void]>([
    ['operand-order', 0, (view) => view.setBigUint64(result.cr2, 0x99n, true)],
    ['repeat-flags', 0, (view) => view.setUint32(result.rflags, view.getUint32(result.rflags, true) ^ 0x40, true)],
    ['repeat-trap', 0, (view) => view.setUint32(result.rflags, view.getUint32(result.rflags, true) ^ 0x10000, true)],
    ['wrap', 0, (view) => view.setUint32(result.vector, 13, true)],
    ['wrap', 3, (view) => view.setUint32(result.vector, 13, true)],
    ['bound-order', 0, (view) => view.setUint32(result.vector, 14, true)],
  ])(
    '%s (snippet %i): the other way is a difference only where the vCPU is to be followed, and nothing else is open',
    (choice, index, change) => {
      const { one, answer } = run(choice, index);
      const other = changed(answer, change);
      expect(compare(one, other, answer)).not.toEqual([]);
      expect(compare(one, other, answer, new Set([choice]))).toEqual([]);
      expect(
        compare(
          one,
          changed(other, (view) => view.setBigUint64(result.gpr, 77n, true)),
          answer,
          ALL_CHOICES,
        ),
      ).toHaveLength(1);
      expect(
        compare(
          one,
          changed(other, (view) => view.setBigUint64(result.rip, 77n, true)),
          answer,
          ALL_CHOICES,
        ),
      ).not.toEqual([]);
    },
  );

  it('memory: the bytes of the choice and no others', () => {
    const push = run('push-segment');
    const at = Number(new DataView(push.answer.record.buffer).getBigUint64(result.gpr + 32, true) - 0x20000000n);
    const written = [...push.answer.changes, ((at + 2) << 8) | 1, ((at + 3) << 8) | 1].sort((a, b) => a - b);
    expect(
      compare(
        push.one,
        changed(push.answer, () => {}, written),
        push.answer,
      ),
    ).toHaveLength(1);
    expect(
      compare(
        push.one,
        changed(push.answer, () => {}, written),
        push.answer,
        ALL_CHOICES,
      ),
    ).toEqual([]);
    expect(
      compare(
        push.one,
        changed(push.answer, () => {}, [...written, (at + 4) << 8]),
        push.answer,
        ALL_CHOICES,
      ),
    ).toHaveLength(1);

    const image = run('mxcsr-mask');
    const without = (from: number, to: number): Outcome =>
      changed(
        image.answer,
        () => {},
        [...image.answer.changes].filter((change) => (change >> 8) - 0x200 < from || (change >> 8) - 0x200 >= to),
      );
    expect(compare(image.one, without(28, 32), image.answer)).toHaveLength(1);
    expect(compare(image.one, without(28, 32), image.answer, ALL_CHOICES)).toEqual([]);
    expect(compare(image.one, without(24, 32), image.answer, ALL_CHOICES)).toHaveLength(1);
  });

  it('a store that an unmasked exception keeps from storing may fault instead; another instruction may not', () => {
    const { one, answer } = run('store-order');
    const faulted = changed(answer, (view) => {
      view.setUint32(result.vector, 14, true);
      view.setBigUint64(result.rip, 0x10000000n, true);
    });
    expect(compare(one, faulted, answer)).not.toEqual([]);
    expect(compare(one, faulted, answer, ALL_CHOICES)).toEqual([]);
    const load = snippet(64, 'db03', { 3: 0x20000200n }, { fcw: 0x37e });
    const loaded = ours.run(load);
    expect(
      compare(
        load,
        changed(loaded, (view) => {
          view.setUint32(result.vector, 14, true);
          view.setBigUint64(result.rip, 0x10000000n, true);
        }),
        loaded,
        ALL_CHOICES,
      ),
    ).not.toEqual([]);
  });
});

describe('a recording', () => {
  const folder = mkdtempSync(join(tmpdir(), 'xenolith-recording-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const lack = new Lack('');
  const processor: Processor = { name: 'A', native: lack, native32: lack, features: [], choices: new Set(['wrap']) };
  const saved = { mode: 64 } as SavedCase;

  it.each(['answers.jsonl', 'answers.jsonl.gz'])("%s holds one processor's answers, with its name and choices", (name) => {
    const path = join(folder, name);
    addToRecording(path, processor, [saved]);
    addToRecording(path, processor, [saved]);
    expect(readRecording(path)).toEqual({ processor: 'A', choices: new Set(['wrap']), cases: [saved, saved] });
    expect(() => addToRecording(path, { ...processor, name: 'B' }, [saved])).toThrow(/another processor \(A\)/);
    expect(() => addToRecording(path, { ...processor, choices: NO_CHOICES }, [saved])).toThrow(/another processor/);
  });

  it('without its first line, or with a choice that is none, is refused', () => {
    const path = join(folder, 'damaged.jsonl');
    writeFileSync(path, '{"mode":64}\n');
    expect(() => readRecording(path)).toThrow(/damaged.jsonl:1: expected the processor/);
    writeFileSync(path, '{"processor":"A","choices":["taste"]}\n');
    expect(() => readRecording(path)).toThrow(/'taste' is no choice/);
  });
});
