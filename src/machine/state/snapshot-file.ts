/**
 * A saved machine as a file: a header that says how long everything is, the state, then the memory in chunks that are compressed each by
 * itself. How bytes are compressed is the platform's business (snapshot-file-node.ts).
 *
 * Layout, little-endian: 8 bytes `XENOSAVE`; u32 version; u32 bytes of the head; 8 bytes checksum (XXH64) of all else;
 * the head (codec.ts); the chunks.
 */
import xxhash from 'xxhash-wasm';
import { PAGE_SIZE } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import { checkShape } from '../../base/snapshot.ts';
import { nicModelNames } from '../../device-model/nics.ts';
import { MEMORY_MIB } from '../xl-cfg.ts';
import { decodeState, encodeState } from './codec.ts';
import type { MachineConfig, MachineState, Position } from './machine-state.ts';
import { isInputKind, type Recording } from './recording.ts';

const MAGIC = new TextEncoder().encode('XENOSAVE');
const VERSION = 1;
const CHECKSUM = 16;
const HEADER = 24;
/** Bytes of memory in one chunk. */
const CHUNK = 4 << 20;

interface Head {
  readonly config: MachineConfig;
  readonly position: Position;
  readonly parts: MachineState['parts'];
  readonly memorySize: number;
  readonly pages: Uint32Array;
  /** Compressed bytes of each chunk. */
  readonly chunks: Float64Array;
  /** What followed, when the file is a recording. */
  readonly recording: Recording | null;
}

export interface SnapshotFile {
  readonly state: MachineState;
  readonly recording: Recording | null;
}

export interface Compression {
  compress(bytes: Uint8Array): Promise<Uint8Array>;
  /** Gives exactly `length` bytes, or rejects. */
  decompress(bytes: Uint8Array, length: number): Promise<Uint8Array>;
}

/** The file's bytes for a state, or for a recording that begins with it. */
export async function writeSnapshot(
  state: MachineState,
  { compress }: Compression,
  recording: Recording | null = null,
): Promise<Uint8Array> {
  const { data, pages, memorySize } = state.image;
  const parts: Promise<Uint8Array>[] = [];
  for (let at = 0; at < data.length; at += CHUNK) parts.push(compress(data.subarray(at, at + CHUNK)));
  const chunks = await Promise.all(parts);
  const head: Head = {
    config: state.config,
    position: state.position,
    parts: state.parts,
    memorySize,
    pages,
    chunks: Float64Array.from(chunks, (chunk) => chunk.length),
    recording,
  };
  const headBytes = encodeState(head);
  const body = [headBytes, ...chunks];
  const file = new Uint8Array(HEADER + body.reduce((sum, part) => sum + part.length, 0));
  let at = HEADER;
  for (const part of body) {
    file.set(part, at);
    at += part.length;
  }
  file.set(MAGIC);
  const view = new DataView(file.buffer);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, headBytes.length, true);
  view.setBigUint64(16, await checksum(file), true);
  return file;
}

/** Of everything but itself. */
async function checksum(file: Uint8Array): Promise<bigint> {
  const sum = (await xxhash()).create64();
  return sum.update(file.subarray(0, CHECKSUM)).update(file.subarray(HEADER)).digest();
}

/** The state that a file holds. Throws UserError, with `name` in its message, for a file that is damaged or none of ours. */
export async function readSnapshot(file: Uint8Array, name: string, { decompress }: Compression): Promise<SnapshotFile> {
  if (file.length < HEADER || MAGIC.some((byte, i) => file[i] !== byte))
    throw new UserError(`${name}: not a saved machine; expected a file that --save wrote`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const version = view.getUint32(8, true);
  if (version !== VERSION)
    throw new UserError(
      `${name}: a saved machine of format ${version}; this program reads format ${VERSION}: save it again with this one`,
    );
  const damaged = (what: string): UserError => new UserError(`${name}: damaged: ${what}; save the machine again`);
  const headLength = view.getUint32(12, true);
  if (HEADER + headLength > file.length) throw damaged('it ends too early');
  if ((await checksum(file)) !== view.getBigUint64(16, true)) throw damaged('its checksum does not fit');
  const head = checkHead(decodeState(file.subarray(HEADER, HEADER + headLength)));
  const length = head.pages.length * PAGE_SIZE;
  if (head.chunks.length !== Math.ceil(length / CHUNK)) throw damaged('its memory is cut into another number of chunks');
  const data = new Uint8Array(length);
  let at = HEADER + headLength;
  const pieces = Array.from(head.chunks, async (size, i) => {
    const bytes = file.subarray(at, at + size);
    at += size;
    const want = Math.min(CHUNK, length - i * CHUNK);
    try {
      data.set(await decompress(bytes, want), i * CHUNK);
    } catch {
      throw damaged(`chunk ${i} of its memory cannot be unpacked`);
    }
  });
  await Promise.all(pieces);
  const { config, position, parts, memorySize, pages } = head;
  return { state: { config, position, parts, image: { memorySize, pages, data } }, recording: head.recording };
}

const exampleHead: Head = {
  config: {
    name: '',
    domain: { memoryMiB: 0, vcpus: 1, type: 'hvm', hpet: true },
    nics: [],
    clock: 'virtual',
    epochUs: 0,
    seed: 0,
    traceMask: 0,
    logForm: null,
    wireLatencyNs: 0,
    testDevices: null,
    fep: false,
    socket: false,
  },
  position: { instructions: 0, exits: 0, ns: 0 },
  parts: {},
  memorySize: 0,
  pages: new Uint32Array(),
  chunks: new Float64Array(),
  recording: null,
};

const examplePosition: Position = exampleHead.position;
const exampleRecording: Recording = {
  inputs: [{ round: 0, kind: 'console', ns: 0, bytes: new Uint8Array() }],
  marks: [{ instructions: 0, ns: 0, position: examplePosition, hashes: {} }],
  end: { how: '', position: examplePosition, hashes: {} },
};

function checkHead(head: unknown): Head {
  const { parts, ...rest } = (head ?? {}) as Partial<Head>;
  checkShape({ ...rest, parts: {}, recording: null }, exampleHead, 'state');
  const found = head as Head;
  const { domain, nics, clock, logForm, testDevices } = found.config;
  const refused = (what: string): UserError => new UserError(`saved state: ${what}`);
  if (typeof parts !== 'object' || parts === null) throw refused('it has no parts');
  for (const [name, part] of Object.entries(parts))
    checkShape({ ...part, state: null }, { kind: '', version: 0, state: null }, name);
  if (!(domain.memoryMiB >= MEMORY_MIB.min && domain.memoryMiB <= MEMORY_MIB.max && domain.vcpus === 1))
    throw refused(`a guest of ${domain.memoryMiB} MiB and ${domain.vcpus} vCPUs cannot be`);
  if (clock !== 'virtual' || (logForm !== null && logForm !== 'trace' && logForm !== 'classic'))
    throw refused('its clock or its log is unknown');
  if (testDevices !== null) checkShape(testDevices, { vcpus: 1, memoryBytes: 0 }, 'state.config.testDevices');
  const { recording } = found;
  if (recording !== null) {
    const plain = {
      ...recording,
      end: { ...recording.end, hashes: {} },
      marks: recording.marks.map((mark) => ({ ...mark, hashes: {} })),
    };
    checkShape(plain, exampleRecording, 'recording');
    if (!recording.inputs.every(({ kind }) => isInputKind(kind))) throw refused('an input of its recording is of no known kind');
  }
  for (const { model, mac } of nics)
    if (!nicModelNames.includes(model) || !(mac instanceof Uint8Array) || mac.length !== 6)
      throw refused('a NIC in it is unknown');
  return found;
}
