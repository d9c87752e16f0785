import { closeSync, createWriteStream, fstatSync, openSync, readSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UserError } from '../../base/errors.ts';
import type { ByteSource } from './source.ts';

/** A trace file by path. */
export function fileSource(path: string): ByteSource {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new UserError(`cannot open ${path}: ${reason(error)}`);
  }
  const stat = fstatSync(fd);
  if (!stat.isFile()) {
    closeSync(fd);
    throw new UserError(`${path} is not a regular file; give a trace file, or - for standard input`);
  }
  const read = (offset: number, target: Uint8Array): number => {
    let done = 0;
    while (done < target.length) {
      const count = readSync(fd, target, done, target.length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  };
  return {
    name: basename(path),
    size: stat.size,
    readSync: read,
    read: async (offset, target) => read(offset, target),
    close: async () => closeSync(fd),
  };
}

/**
 * A trace that arrives as a stream. The CPUs' windows are read in parallel, each from its own place, so the stream is
 * first written to a temporary file; close() deletes it.
 */
export async function streamSource(stream: Readable, name = 'standard input'): Promise<ByteSource> {
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-trace-'));
  try {
    const path = join(folder, 'trace');
    await pipeline(stream, createWriteStream(path));
    const file = fileSource(path);
    return {
      ...file,
      name,
      async close() {
        await file.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

const reason = (error: unknown): string => {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EACCES') return 'permission denied';
  return error instanceof Error ? error.message : String(error);
};
