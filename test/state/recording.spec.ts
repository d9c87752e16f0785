/** A recorded run runs again as it ran, and where it does not, that is found and named. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineFactory } from '../../src/machine/engine-factory.ts';
import { InlineMachine } from '../../src/machine/machine.ts';
import { prepareHash } from '../../src/machine/state/hash.ts';
import type { RecordedInput } from '../../src/machine/state/inputs.ts';
import { optionsOf, type MachineState } from '../../src/machine/state/machine-state.ts';
import { findParting, Recorder, type Recording, replay } from '../../src/machine/state/recording.ts';
import { loadSnapshotFile, saveSnapshotFile } from '../../src/machine/state/snapshot-file-node.ts';
import { createFrameRing, FrameRingConsumer, FrameRingProducer } from '../../src/net/frame-ring.ts';
import { Output, tinyOptions } from './machines.ts';

const folder = mkdtempSync(join(tmpdir(), 'recording-'));
beforeAll(prepareHash);
afterAll(() => rmSync(folder, { recursive: true }));

/** A run into which characters are typed while it goes on; they come when the guest has come so far, whatever the clock says. */
function record(): { state: MachineState; recording: Recording; output: Output } {
  const ring = createFrameRing(1 << 17);
  const typed = new FrameRingProducer(ring);
  const bell = new Int32Array(new SharedArrayBuffer(8));
  const recorder = new Recorder();
  const output = new Output();
  const options = { ...tinyOptions(), input: { bell, console: new FrameRingConsumer(ring), record: recorder.record } };
  const machine = new InlineMachine(options, output.sinks);
  const state = machine.save();
  let typedSoFar = 0;
  const when = (): boolean => {
    const { exits } = machine.position;
    if (exits >= 100 * (typedSoFar + 1) && typedSoFar < 3) typed.push(Uint8Array.of(0x61 + typedSoFar++));
    return false;
  };
  const end = recorder.run(machine, { when }, Infinity);
  machine.flush();
  return { state, recording: recorder.finish(machine, end), output };
}

const again = (state: MachineState, input: readonly RecordedInput[]): { machine: InlineMachine; output: Output } => {
  const output = new Output();
  return {
    machine: new InlineMachine({ ...optionsOf(state.config), engine: engineFactory(), input }, output.sinks, state),
    output,
  };
};

describe('a recording', () => {
  it('runs again as it ran, from its file too; and a run that parts from it is found and named', async () => {
    const { state, recording, output } = record();
    expect(recording.inputs.map(({ kind, bytes }) => `${kind} ${bytes.join()}`)).toEqual([
      'console 97',
      'console 98',
      'console 99',
    ]);
    const path = join(folder, 'run');
    await saveSnapshotFile(path, state, recording);
    const file = await loadSnapshotFile(path);
    expect(file.recording).toEqual(recording);

    const { machine, output: second } = again(file.state, recording.inputs);
    expect(replay(machine, recording)).toBeUndefined();
    machine.flush();
    const files = second.files();
    // The first run's files begin with what the machine put out while it was made.
    for (const [kind, bytes] of Object.entries(output.files()))
      expect(bytes.subarray(-files[kind]!.length).equals(files[kind]!), kind).toBe(true);

    const other = recording.inputs.map((input, i) => (i === 1 ? { ...input, bytes: Uint8Array.of(0x7a) } : input));
    const { machine: suspect } = again(state, other);
    const divergence = replay(suspect, recording);
    expect(divergence?.parts).toContain('device model: serial');

    const reference = again(state, recording.inputs).machine;
    const parting = findParting(
      (instructions) => {
        reference.restore(state);
        reference.runTo({ instructions });
        return reference;
      },
      (instructions) => {
        suspect.restore(state);
        suspect.runTo({ instructions });
        return suspect;
      },
      0,
      recording.end.position.instructions,
    );
    expect(parting?.what).toMatch(/serial/);
    expect(parting!.instructions).toBeGreaterThan(0);
  });
});
