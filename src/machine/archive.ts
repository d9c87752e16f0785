/**
 * Archives and compressed streams through 7-Zip compiled to wasm, the one decoder of XZ-with-BCJ-filter that runs
 * both in Node and in a browser.
 */
import type { SevenZipModule } from '7z-wasm';
import { UserError } from '../base/errors.ts';

type Factory = (options: { print(line: string): void; printErr(line: string): void }) => Promise<SevenZipModule>;

/** A fresh 7-Zip with an empty in-memory file system. One instance runs several commands, one after the other. */
export async function openSevenZip(): Promise<{
  fs: SevenZipModule['FS'];
  nodefs: SevenZipModule['NODEFS'];
  run(args: string[]): void;
}> {
  const lines: string[] = [];
  const keep = (line: string): void => {
    if (/error|can't|cannot/i.test(line)) lines.push(line.trim());
  };
  // Large, and not wanted by whoever has plain files.
  const { default: factory } = await import('7z-wasm');
  const module = await (factory as unknown as Factory)({ print: keep, printErr: keep });
  return {
    fs: module.FS,
    nodefs: module.NODEFS,
    run(args) {
      lines.length = 0;
      // A copy: callMain puts the program's name in front of the list it is given. It gives main's exit status (0 fine, 1
      // warning, 2 and up failure) though its type says void.
      const status = module.callMain([...args]) as unknown as number | undefined;
      if (status !== undefined && status > 1)
        throw new UserError(
          `7-Zip could not ${args[0] === 'x' ? 'unpack' : 'read'} ${args.find((a, i) => i > 0 && !a.startsWith('-')) ?? ''}: ${lines[0] ?? `exit status ${status}`}`,
        );
    },
  };
}

/** ENOSPC of Emscripten's file system. */
const NO_SPACE = 51;

/** What a compressed stream begins with. */
const MAGICS: readonly (readonly [CompressionFormat, readonly number[]])[] = [
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['gzip', [0x1f, 0x8b]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['lzma', [0x5d, 0, 0]],
];
type CompressionFormat = 'xz' | 'gzip' | 'bzip2' | 'zstd' | 'lzma';

/** The format of a compressed stream that has a decoder here, by its first bytes. */
export const compressionOf = (bytes: Uint8Array): CompressionFormat | undefined =>
  MAGICS.find(([, magic]) => magic.every((byte, i) => bytes[i] === byte))?.[0];

/**
 * Decompress one stream (xz, gzip, bzip2, lzma or zstd; the format is told by its first bytes).
 * @param limit most bytes it may give: what would give more is not held in memory
 * @throws UserError for a damaged stream, a format 7-Zip does not read, or one beyond `limit`
 */
export async function decompress(stream: Uint8Array, what: string, limit: number): Promise<Uint8Array> {
  const zip = await openSevenZip();
  zip.fs.mkdir('/out');
  zip.fs.writeFile('/stream', stream);
  const isOver = limitWrites(zip.fs, '/out', limit);
  try {
    zip.run(['x', '-y', '-o/out', '/stream']);
  } catch (error) {
    if (isOver()) throw new UserError(`${what}: unpacks to more than ${sizeText(limit)}`);
    throw new UserError(
      `${what}: the compressed data is damaged or of an unknown format (${error instanceof Error ? error.message : 'the decoder gave up'})`,
    );
  }
  const name = zip.fs.readdir('/out').find((entry) => entry !== '.' && entry !== '..');
  if (name === undefined) throw new UserError(`${what}: the compressed data is damaged or of an unknown format`);
  return zip.fs.readFile(`/out/${name}`);
}

/** A file out of an archive. */
export interface ArchivedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * The files in an archive (tar, zip, 7z), or the one in a compressed stream; of a compressed tar those in it.
 * @param limit most bytes that all of them may have: what would give more is not held in memory
 * @throws UserError for what is damaged, of an unknown format, or beyond `limit`
 */
export async function unpackArchive(archive: Uint8Array, name: string, limit: number): Promise<ArchivedFile[]> {
  let layer = archive;
  // A compressed tar is two layers; more are none of anybody's.
  if (compressionOf(layer) !== undefined) {
    layer = await decompress(layer, name, limit);
    if (!isTar(layer)) return [{ name: name.replace(/\.(xz|gz|bz2|zst|lzma)$/i, ''), bytes: layer }];
  }
  const zip = await openSevenZip();
  zip.fs.mkdir('/out');
  zip.fs.writeFile('/archive', layer);
  const isOver = limitWrites(zip.fs, '/out', limit);
  try {
    zip.run(['x', '-y', '-snl-', '-o/out', '/archive']);
  } catch (error) {
    if (isOver()) throw new UserError(`${name}: unpacks to more than ${sizeText(limit)}`);
    throw new UserError(
      `${name}: the archive is damaged or of an unknown format (${error instanceof Error ? error.message : 'the decoder gave up'})`,
    );
  }
  const files: ArchivedFile[] = [];
  const walk = (folder: string, depth: number): void => {
    if (depth > DEEPEST_FOLDER) throw new UserError(`${name}: folders are nested too deep`);
    for (const entry of zip.fs.readdir(folder)) {
      if (entry === '.' || entry === '..') continue;
      const path = `${folder}/${entry}`;
      const { mode } = zip.fs.lstat(path);
      if (zip.fs.isDir(mode)) walk(path, depth + 1);
      else if (zip.fs.isFile(mode)) files.push({ name: path.slice('/out/'.length), bytes: zip.fs.readFile(path) });
    }
  };
  walk('/out', 0);
  if (files.length === 0) throw new UserError(`${name}: there is no file in it`);
  return files;
}

const DEEPEST_FOLDER = 32;

/** POSIX.1-1988 and GNU tar both have this at the same place. */
export const isTar = (bytes: Uint8Array): boolean => String.fromCharCode(...bytes.subarray(257, 262)) === 'ustar';

/** A limit in words. */
export const sizeText = (bytes: number): string => (bytes >= 1 << 20 ? `${Math.floor(bytes / (1 << 20))} MiB` : `${bytes} bytes`);

/** Lets 7-Zip write so many bytes below a folder of its file system, and then no more. Gives back whether it wanted to. */
export function limitWrites(fs: SevenZipModule['FS'], folder: string, limit: number): () => boolean {
  // Every file of one kind of file system shares this table of operations.
  const path = `${folder}/.probe`;
  const probe = fs.open(path, 'w') as unknown as { stream_ops: { write(...args: unknown[]): number } };
  const operations = probe.stream_ops;
  fs.close(probe as never);
  fs.unlink(path);
  const write = operations.write;
  const { ErrnoError } = fs as unknown as { ErrnoError: new (errno: number) => Error };
  let total = 0;
  operations.write = (...args) => {
    total += args[3] as number;
    if (total > limit) throw new ErrnoError(NO_SPACE);
    return write.apply(operations, args);
  };
  return () => total > limit;
}
