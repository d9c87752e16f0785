/** A recording of `xenolith run --record`, read in any environment: its files, and its run to go to and fro in. */
import { UserError } from '../base/errors.ts';
import { Timeline } from '../debug/timeline.ts';
import { engineFactory } from '../machine/engine-factory.ts';
import { InlineMachine } from '../machine/machine.ts';
import { guestLinear } from '../machine/report.ts';
import { prepareHash } from '../machine/state/hash.ts';
import { optionsOf } from '../machine/state/machine-state.ts';
import { replay } from '../machine/state/recording.ts';
import { readSnapshot } from '../machine/state/snapshot-file.ts';
import { TRC_ALL } from '../trace/index.ts';
import type { FileSet } from './files.ts';
import { Travel } from './travel.ts';

export interface OpenedRecording {
  /** What the run writes: trace, log, capture and console. */
  readonly files: FileSet;
  readonly travel: Travel;
}

/**
 * Runs a recording again, from its beginning to its end.
 * @param name as errors name the file
 * @throws UserError for a file that is none, or a run that leaves what was recorded
 */
export async function openRecording(file: Blob, name: string): Promise<OpenedRecording> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const { state, recording } = await readSnapshot(bytes, name, { compress: refuse, decompress: inflate });
  if (recording === null)
    throw new UserError(`${name}: a saved machine, and no recording of what followed; make one by xenolith run --record`);
  await prepareHash();
  const parts = { trace: [] as BlobPart[], log: [] as string[], capture: [] as BlobPart[], console: [] as BlobPart[] };
  const options = { ...optionsOf(state.config), engine: engineFactory(), shared: false, input: recording.inputs };
  const machine = new InlineMachine(
    { ...options, traceMask: TRC_ALL, logForm: 'trace' },
    {
      trace: (piece) => void parts.trace.push(piece.slice() as BlobPart),
      log: (text) => void parts.log.push(text),
      pcap: (piece) => void parts.capture.push(piece.slice() as BlobPart),
      console: (piece) => void parts.console.push(piece.slice() as BlobPart),
    },
    state,
    'new',
  );
  // Trace rings keep their state in machine memory, and the log numbers regions.
  const { traceMask, logForm } = state.config;
  const divergence = replay(machine, recording, Infinity, [
    ...(traceMask === TRC_ALL ? [] : ['memory']),
    ...(logForm === 'trace' ? [] : ['device model: regions']),
  ]);
  machine.flush();
  if (divergence !== undefined)
    throw new UserError(
      `${name}: the run leaves the recording at instruction ${divergence.at.instructions} (${divergence.parts.join(', ')}); it was made by another version`,
    );
  const files = {
    trace: new Blob(parts.trace),
    log: new Blob(parts.log),
    capture: new Blob(parts.capture),
    ...(parts.console.length === 0 ? {} : { console: new Blob(parts.console) }),
    linear: guestLinear(machine.hvm, machine.p2m, machine.memory.u32),
  };
  const timeline = await Timeline.ofState(state, { engine: engineFactory(), inputs: recording.inputs });
  return { files, travel: new Travel(timeline) };
}

const refuse = (): Promise<Uint8Array> => Promise.reject(new Error('a recording is read here and not written'));

async function inflate(bytes: Uint8Array, length: number): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  let at = 0;
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > length) throw new Error('longer than it should be');
    out.set(value, at);
    at += value.length;
  }
  if (at !== length) throw new Error('shorter than it should be');
  return out;
}
