/** Unpacking of archive files on disk, in place and without root: 7-Zip sees the host's directory as its own. */
import { dirname, join, resolve } from 'node:path';
import { openSevenZip } from './archive.ts';

/**
 * Unpack `archive` (.deb, .tar, .xz …) into `into`. With `members`, only those paths (7-Zip wildcards); a .deb gives
 * its data.tar. Owners and device nodes are not restored.
 */
export async function unpack(archive: string, into: string, members: readonly string[] = []): Promise<void> {
  const zip = await openSevenZip();
  zip.fs.mkdir('/from');
  zip.fs.mkdir('/into');
  zip.fs.mount(zip.nodefs, { root: resolve(dirname(archive)) }, '/from');
  zip.fs.mount(zip.nodefs, { root: resolve(into) }, '/into');
  zip.run(['x', '-y', '-o/into', join('/from', archive.slice(dirname(archive).length).replace(/^\//, '')), ...members]);
}
