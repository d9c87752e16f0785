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

/**
 * Decompress one stream (xz, gzip, bzip2, lzma or zstd; the format is told by its first bytes).
 * Gives the plain bytes; throws UserError for a damaged stream or a format 7-Zip does not read.
 */
export async function decompress(stream: Uint8Array, what: string): Promise<Uint8Array> {
  const zip = await openSevenZip();
  zip.fs.mkdir('/out');
  zip.fs.writeFile('/stream', stream);
  try {
    zip.run(['x', '-y', '-o/out', '/stream']);
  } catch (error) {
    throw new UserError(`${what}: the compressed data is damaged or of an unknown format (${(error as Error).message})`);
  }
  const name = zip.fs.readdir('/out').find((entry) => entry !== '.' && entry !== '..');
  if (name === undefined) throw new UserError(`${what}: the compressed data is damaged or of an unknown format`);
  return zip.fs.readFile(`/out/${name}`);
}
