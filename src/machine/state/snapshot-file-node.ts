/** Saved machines on disk: compressed by zlib's threads, written under a temporary name and then renamed. */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, deflateRaw, inflateRaw } from 'node:zlib';
import { UserError } from '../../base/errors.ts';
import type { MachineState } from './machine-state.ts';
import type { Recording } from './recording.ts';
import { type Compression, readSnapshot, type SnapshotFile, writeSnapshot } from './snapshot-file.ts';

const deflate = promisify<Uint8Array, { level: number }, Buffer>(deflateRaw);
const inflate = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw);

const zlib: Compression = {
  // Speed counts for both who saves and who waits for a restored machine; the next levels gain little.
  compress: (bytes) => deflate(bytes, { level: constants.Z_BEST_SPEED }),
  decompress: async (bytes, length) => {
    const out = await inflate(bytes, { maxOutputLength: length });
    if (out.length !== length) throw new RangeError('another length');
    return out;
  },
};

/** Throws UserError when the file cannot be written; what was there before is then still there. */
export async function saveSnapshotFile(
  path: string,
  state: MachineState,
  recording: Recording | null = null,
): Promise<{ readonly bytes: number }> {
  const file = await writeSnapshot(state, zlib, recording);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(file);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new UserError(`${path}: cannot be written: ${(error as Error).message}`);
  }
  return { bytes: file.length };
}

/** Throws UserError for a file that is not there, damaged, or no saved machine. */
export async function loadSnapshotFile(path: string): Promise<SnapshotFile> {
  let file: Uint8Array;
  try {
    file = await readFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UserError(
      `${path}: ${code === 'ENOENT' ? 'no such file' : `cannot be read: ${message}`}; expected a saved machine`,
    );
  }
  return readSnapshot(file, path, zlib);
}
