/** Unpacking of archive files on disk, in place and without root: 7-Zip sees the host's directory as its own. */
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../base/errors.ts';
import { limitWrites, openSevenZip, sizeText } from './archive.ts';

interface UnpackOptions {
  /** Only these paths (7-Zip wildcards). */
  readonly members?: readonly string[];
  /** Most bytes of all files together: UserError beyond. */
  readonly limit?: number;
}

/**
 * Unpack `archive` (.deb, .tar, .zip, .7z …) or a compressed file (.xz, .zst, .bz2 …) into the folder `into`; a .deb gives its
 * data.tar. Owners and device nodes are not restored.
 */
export async function unpack(archive: string, into: string, { members = [], limit }: UnpackOptions = {}): Promise<void> {
  const zip = await openSevenZip();
  zip.fs.mkdir('/from');
  zip.fs.mkdir('/into');
  zip.fs.mount(zip.nodefs, { root: resolve(dirname(archive)) }, '/from');
  zip.fs.mount(zip.nodefs, { root: resolve(into) }, '/into');
  const isOver = limit === undefined ? () => false : limitWrites(zip.fs, '/into', limit);
  try {
    zip.run(['x', '-y', '-o/into', join('/from', basename(archive)), ...members]);
  } catch (error) {
    if (isOver()) throw new UserError(`${archive}: unpacks to more than ${sizeText(limit!)}`);
    if (error instanceof UserError) throw error;
    throw new UserError(`${archive}: the compressed data is damaged or of an unknown format`);
  }
}
