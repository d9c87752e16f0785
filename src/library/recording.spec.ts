/** A recording as a page opens it. */
import { deflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineFactory } from '../machine/engine-factory.ts';
import { loadKernelImage } from '../machine/kernel.ts';
import { InlineMachine } from '../machine/machine.ts';
import { prepareHash } from '../machine/state/hash.ts';
import { Recorder } from '../machine/state/recording.ts';
import { writeSnapshot } from '../machine/state/snapshot-file.ts';
import { assembleTinyGuest } from '../machine/tiny-guest/image.ts';
import { parseMac } from '../net/frame.ts';
import { isRecording, OpenFiles, openRecording } from './index-node.ts';

let file: Uint8Array;

beforeAll(async () => {
  await prepareHash();
  const recorder = new Recorder();
  const machine = new InlineMachine({
    name: 'recorded',
    domain: {
      memoryMiB: 8,
      vcpus: 1,
      type: 'hvm',
      hpet: true,
      commandLine: 'ping=1',
      kernel: await loadKernelImage(assembleTinyGuest(), 'tiny'),
    },
    nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
    clock: 'virtual',
    seed: 1,
    engine: engineFactory(),
    exactBudgets: true,
    input: [],
  });
  const state = machine.save();
  const end = recorder.run(machine, {}, Infinity);
  const compression = {
    compress: async (bytes: Uint8Array) => deflateRawSync(bytes),
    decompress: () => Promise.reject(new Error('unused')),
  };
  file = await writeSnapshot(state, compression, recorder.finish(machine, end));
});

describe('a recording', () => {
  it('gives the files of its run, and the run itself', async () => {
    expect(isRecording(file)).toBe(true);
    const { files, travel } = await openRecording(new Blob([file as BlobPart]), 'run.rec');
    const analysis = await (await OpenFiles.open(files)).analysis();
    expect(analysis.frames).toHaveLength(4);
    expect(travel.goTo({ exits: 200 }).exits).toBe(200);
    expect(travel.goTo({ ns: 1e12 }).isEnd).toBe(true);
  });

  it('is refused in one line when it is damaged, or none', async () => {
    const broken = file.slice();
    broken[broken.length - 100]! ^= 1;
    await expect(openRecording(new Blob([broken as BlobPart]), 'run.rec')).rejects.toThrow(/^run\.rec: damaged: /);
    await expect(openRecording(new Blob([file.slice(0, 10) as BlobPart]), 'run.rec')).rejects.toThrow(
      /^run\.rec: not a saved machine/,
    );
    expect(isRecording(Uint8Array.of(1, 2))).toBe(false);
  });
});
