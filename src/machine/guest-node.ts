/** A Linux guest out of the distribution's own packages, kept in a cache: fetch, unpack, take vmlinux out, build the initramfs. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../base/errors.ts';
import { Apt, type AptPackage, type Progress } from './apt-node.ts';
import { unpack } from './archive-node.ts';
import { extractVmlinux } from './bzimage.ts';
import { makeFolder } from './folders-node.ts';
import { buildInitramfs, guestDrivers, type GuestImages, loadOrder } from './guest.ts';
import { readModuleInfo } from './kernel-module.ts';

/** The project's root, from src/machine or dist/machine. */
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Where a user's programs keep what can be had again (XDG Base Directory Specification: a relative path counts as none). */
function guestCache(): string {
  const home = process.env['XDG_CACHE_HOME'];
  return join(home !== undefined && isAbsolute(home) ? home : join(homedir(), '.cache'), 'xenolith/guest');
}

interface BuildGuestOptions {
  /** Where packages and images are kept; default `guestCache()`. */
  cache?: string;
  progress?: Progress;
  /** Use only what is in the cache already. */
  offline?: boolean;
}

/** What the cache says of a kernel it holds: file name → SHA-256. */
interface Manifest {
  version: string;
  packages: { name: string; version: string }[];
  files: Record<string, string>;
}

/**
 * Give a bootable Debian guest, from the cache or built now. Throws UserError with one line when no Debian kernel
 * can be had here (no apt, no network, another distribution).
 */
export async function buildLinuxGuest(options: BuildGuestOptions = {}): Promise<GuestImages> {
  const cache = resolve(options.cache ?? guestCache());
  const progress = options.progress ?? (() => {});
  const kernel = (await cachedKernel(cache)) ?? (options.offline ? undefined : await fetchKernel(cache, progress));
  if (kernel === undefined)
    throw new UserError(
      'no Debian kernel in the cache; run `xenolith guest build` with a network, or give --kernel and --initrd',
    );
  const init = readFileSync(join(root, 'guest/init'));
  const modules = new Map(
    Object.keys(kernel.manifest.files)
      .filter((f) => f.endsWith('.ko'))
      .map((f) => [f.slice(0, -3), new Uint8Array(readFileSync(join(kernel.directory, f)))]),
  );
  const initramfs = buildInitramfs({
    version: kernel.manifest.version,
    busybox: readFileSync(join(kernel.directory, 'busybox')),
    init,
    modules,
  });
  const name = `initrd-${createHash('sha256').update(initramfs).digest('hex').slice(0, 12)}.cpio`;
  const initrd = join(kernel.directory, name);
  if (!existsSync(initrd)) writeWhole(initrd, initramfs);
  return {
    vmlinux: join(kernel.directory, 'vmlinux'),
    vmlinuz: join(kernel.directory, 'vmlinuz'),
    initrd,
    version: kernel.manifest.version,
  };
}

/** The cached kernel that has every driver and whose files all have their checksums (the newest, should there be several). */
async function cachedKernel(cache: string): Promise<{ directory: string; manifest: Manifest } | undefined> {
  if (!existsSync(cache)) return undefined;
  if (!statSync(cache).isDirectory()) throw new UserError(`${cache}: no directory; expected where packages and images are kept`);
  const versions = readdirSync(cache).filter((d) => existsSync(join(cache, d, 'manifest.json')));
  versions.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  for (const version of versions) {
    const directory = join(cache, version);
    const manifest = readManifest(join(directory, 'manifest.json'));
    if (manifest === undefined) continue;
    const whole =
      guestDrivers.every((driver) => Object.hasOwn(manifest.files, `${driver}.ko`)) &&
      Object.entries(manifest.files).every(
        ([file, sum]) => existsSync(join(directory, file)) && digest(readFileSync(join(directory, file))) === sum,
      );
    if (whole) return { directory, manifest };
  }
  return undefined;
}

/** Undefined for one that is damaged: its kernel is fetched again. */
function readManifest(path: string): Manifest | undefined {
  let value: Partial<Manifest> | null;
  try {
    value = JSON.parse(readFileSync(path, 'utf8')) as Partial<Manifest> | null;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const { version, files } = value ?? {};
  return typeof version === 'string' &&
    typeof files === 'object' &&
    files !== null &&
    'vmlinux' in files &&
    'vmlinuz' in files &&
    'busybox' in files
    ? (value as Manifest)
    : undefined;
}

async function fetchKernel(cache: string, progress: Progress): Promise<{ directory: string; manifest: Manifest }> {
  try {
    makeFolder(cache);
  } catch (error) {
    throw new UserError(
      `${cache}: cannot be made: ${(error as Error).message}; expected where packages and images are to be kept`,
    );
  }
  for (const folder of [cache, join(cache, 'apt')]) removeLeftovers(folder);
  const apt = new Apt(join(cache, 'apt'), progress);
  const need = async (name: string): Promise<AptPackage> => {
    const found = await apt.find(name);
    if (found === undefined)
      throw new UserError(
        `no Debian kernel can be had here: this machine's apt does not offer ${name}; give --kernel and --initrd`,
      );
    return found;
  };
  const image = (await need('linux-image-amd64')).depends.find((d) => /^linux-image-\d.*-amd64$/.test(d));
  if (image === undefined)
    throw new UserError(
      'no Debian kernel can be had here: linux-image-amd64 depends on no kernel image; give --kernel and --initrd',
    );
  const packages = [await need(image), await need('busybox-static')];
  const debs = [await apt.download(packages[0]!), await apt.download(packages[1]!)];

  const version = image.slice('linux-image-'.length);
  const work = join(cache, `unpack-${process.pid}`);
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    progress('unpack busybox', 0);
    const tree = join(work, 'tree');
    const ready = join(work, 'ready');
    mkdirSync(ready);
    await unpackDeb(debs[1]!, work, tree, ['./bin/busybox', './usr/bin/busybox']);
    progress(`unpack ${image}`, 0.1);
    await unpackDeb(debs[0]!, work, tree, [
      './boot',
      './lib/modules/*/kernel/drivers/net',
      './usr/lib/modules/*/kernel/drivers/net',
    ]);
    progress(`unpack ${image}`, 0.8);

    const all = readdirSync(tree, { recursive: true }).map(String);
    const one = (pattern: RegExp): Uint8Array => {
      const path = all.find((p) => pattern.test(p));
      if (path === undefined) throw new UserError(`package ${image} or busybox-static holds no file like ${pattern.source}`);
      return readFileSync(join(tree, path));
    };
    const files = new Map<string, Uint8Array>([
      ['busybox', one(/bin\/busybox$/)],
      ['vmlinuz', one(/boot\/vmlinuz-/)],
    ]);
    const infos = new Map<string, ReturnType<typeof readModuleInfo>>();
    const collect = async (name: string): Promise<void> => {
      if (infos.has(name)) return;
      const data = await moduleBytes(tree, all, name, work);
      infos.set(name, readModuleInfo(data, `${name}.ko`));
      files.set(`${name}.ko`, data);
      for (const needed of infos.get(name)!.depends) await collect(needed);
    };
    for (const driver of guestDrivers) {
      await collect(driver);
      loadOrder(driver, infos);
    }
    progress('take vmlinux out of the bzImage', 0.9);
    files.set('vmlinux', await extractVmlinux(files.get('vmlinuz')!, 'vmlinuz'));
    const manifest: Manifest = { version, packages: packages.map(({ name, version: v }) => ({ name, version: v })), files: {} };
    for (const [name, data] of files) {
      writeFileSync(join(ready, name), data);
      manifest.files[name] = digest(data);
    }
    writeFileSync(join(ready, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    const directory = join(cache, version);
    rmSync(directory, { recursive: true, force: true });
    try {
      renameSync(ready, directory);
    } catch (error) {
      // Another process built the same kernel meanwhile: its files are as good.
      if (!existsSync(join(directory, 'manifest.json'))) throw error;
    }
    progress('guest images', 1);
    return { directory, manifest };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** What a process that was ended left behind: folders named after its pid, by fetchKernel and by Apt. */
function removeLeftovers(folder: string): void {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    const pid = /^(?:unpack|download)-(\d+)$/.exec(name)?.[1];
    if (pid === undefined) continue;
    try {
      process.kill(Number(pid), 0);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') rmSync(join(folder, name), { recursive: true, force: true });
    }
  }
}

/** The members' trees of a .deb's data archive, unpacked under `tree`. */
async function unpackDeb(deb: string, work: string, tree: string, members: readonly string[]): Promise<void> {
  mkdirSync(tree, { recursive: true });
  await unpack(deb, work);
  const data = join(work, 'data.tar');
  if (!existsSync(data)) throw new UserError(`${deb}: no data.tar inside; expected a Debian package`);
  await unpack(data, tree, { members });
  rmSync(data);
}

/** A module's .ko, plain whichever way the package compresses it. */
async function moduleBytes(tree: string, all: readonly string[], name: string, work: string): Promise<Uint8Array> {
  const path = all.find((p) => new RegExp(`/${name}\\.ko(\\.xz|\\.zst|\\.gz)?$`).test(p));
  if (path === undefined) throw new UserError(`the kernel package holds no module ${name}.ko`);
  if (path.endsWith('.ko')) return readFileSync(join(tree, path));
  const out = join(work, 'module');
  mkdirSync(out, { recursive: true });
  await unpack(join(tree, path), out);
  return readFileSync(join(out, `${name}.ko`));
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** Write beside, then rename: a reader never sees half a file. */
function writeWhole(path: string, data: Uint8Array): void {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, data);
  renameSync(temporary, path);
}
