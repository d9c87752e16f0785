/** A run that is stopped, saved, restored and run on is the run that was never stopped. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import { firstDifference } from '../../src/base/snapshot.ts';
import type { PauseAt } from '../../src/hypervisor/sched/schedule.ts';
import { countedParts, describePage, pageHashes, prepareHash, stateHash } from '../../src/machine/state/hash.ts';
import type { InlineMachine } from '../../src/machine/machine.ts';
import { loadSnapshotFile, saveSnapshotFile } from '../../src/machine/state/snapshot-file-node.ts';
import { type Output, resume, start, tinyOptions } from './machines.ts';

const folder = mkdtempSync(join(tmpdir(), 'state-'));
beforeAll(prepareHash);
afterAll(() => rmSync(folder, { recursive: true }));

/** What differs between two machines, in words; empty: nothing. */
function differences(a: InlineMachine, b: InlineMachine): string[] {
  const part = firstDifference(countedParts(a), countedParts(b), 'machine');
  const pagesA = pageHashes(a.memory);
  const pagesB = pageHashes(b.memory);
  const pages = [...new Set([...pagesA.keys(), ...pagesB.keys()])].filter((page) => pagesA.get(page) !== pagesB.get(page));
  return [
    ...(part === undefined ? [] : [`${part.path}: ${String(part.a)}, ${String(part.b)}`]),
    ...pages.map((page) => describePage(a, page)),
  ];
}

describe('a saved machine', () => {
  const whole = start(tinyOptions());
  whole.machine.runTo({});
  whole.machine.flush();
  const total = whole.machine.position;

  /** Stop, save to a file, restore, run to the end: the same files and the same state. */
  async function cut(pauseAt: PauseAt): Promise<{ machine: InlineMachine; output: Output }> {
    const first = start(tinyOptions());
    expect(first.machine.runTo(pauseAt)).toBe('paused');
    const path = join(folder, 'machine');
    await saveSnapshotFile(path, first.machine.save());
    const second = resume((await loadSnapshotFile(path)).state);
    expect(differences(first.machine, second.machine)).toEqual([]);
    expect(second.machine.runTo({})).toBe('shutdown');
    second.machine.flush();
    const files = second.output.files(first.output);
    for (const [kind, bytes] of Object.entries(whole.output.files())) expect(bytes.equals(files[kind]!), kind).toBe(true);
    return second;
  }

  it.each([
    ['before the first instruction', { instructions: 0 }],
    ['in the middle of the guest', { instructions: 7_001 }],
    ['at an exit', { exits: 300 }],
    ['while the guest sleeps', { ns: Math.floor(total.ns * 0.6) + 0.5 }],
  ] as const)('goes on %s as if it had never stopped', async (_where, pauseAt) => {
    const { machine } = await cut(pauseAt);
    expect(differences(whole.machine, machine)).toEqual([]);
    expect(stateHash(machine)).toBe(stateHash(whole.machine));
  });

  it('goes back: a machine takes an earlier state of its own', () => {
    const { machine } = start(tinyOptions());
    machine.runTo({ exits: 200 });
    const before = machine.save();
    const hash = stateHash(machine);
    machine.runTo({ exits: 400 });
    expect(stateHash(machine)).not.toBe(hash);
    machine.restore(before);
    expect(stateHash(machine)).toBe(hash);
    machine.runTo({});
    expect(differences(whole.machine, machine)).toEqual([]);
  });

  it('stops at the very instruction, exit or nanosecond', () => {
    const { machine } = start(tinyOptions());
    for (const instructions of [1, 2, 100, 5_003]) {
      machine.runTo({ instructions });
      expect(machine.position.instructions).toBe(instructions);
    }
    machine.runTo({ exits: 250 });
    expect(machine.position.exits).toBe(250);
  });
});

describe('a file of a saved machine', () => {
  it('is refused in one line when it is damaged, foreign or not there', async () => {
    const { machine } = start(tinyOptions());
    machine.runTo({ exits: 50 });
    const path = join(folder, 'one');
    await saveSnapshotFile(path, machine.save());
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const { readFileSync } = await import('node:fs');
    const good = readFileSync(path);
    const refusal = async (bytes: Uint8Array): Promise<string> => {
      const bad = join(folder, 'bad');
      writeFileSync(bad, bytes);
      const error: unknown = await loadSnapshotFile(bad).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(UserError);
      expect((error as Error).message).not.toContain('\n');
      return (error as Error).message;
    };
    const changed = (at: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes[at]! ^= 1;
      return bytes;
    };
    expect(await refusal(Buffer.from('#!/bin/sh\n'))).toMatch(/not a saved machine/);
    expect(await refusal(good.subarray(0, 10))).toMatch(/not a saved machine/);
    expect(await refusal(good.subarray(0, good.length - 1))).toMatch(/damaged/);
    expect(await refusal(changed(8))).toMatch(/format 0/);
    for (const at of [12, 17, 40, good.length - 5]) expect(await refusal(changed(at))).toMatch(/damaged/);
    await expect(loadSnapshotFile(join(folder, 'nothing'))).rejects.toThrow(/no such file/);
    await expect(saveSnapshotFile(join(folder, 'no', 'folder'), machine.save())).rejects.toThrow(/cannot be written/);
  });

  it('restores into nothing but its like', () => {
    const { machine } = start(tinyOptions());
    const state = machine.save();
    const vcpu = state.parts['vCPU']!;
    const other = (parts: object) => () => resume({ ...state, parts: { ...state.parts, ...parts } as typeof state.parts });
    expect(other({ vCPU: undefined })).toThrow(/no 'HVM vCPU'/);
    expect(other({ vCPU: { ...vcpu, version: 99 } })).toThrow(/version 99/);
    expect(other({ vCPU: { ...vcpu, state: { ...(vcpu.state as object), exits: 'many' } } })).toThrow(
      /HVM vCPU\.exits is a string/,
    );
    expect(() => resume({ ...state, image: { ...state.image, memorySize: 4096 } })).toThrow(/bytes of machine memory/);
  });
});
