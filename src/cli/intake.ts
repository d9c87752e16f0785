/**
 * Files as people have them, made plain: compressed ones are unpacked, archives and folders are opened, standard input and pipes
 * are stored, all in a temporary folder and within bounds.
 */
import {
  closeSync,
  createReadStream,
  createWriteStream,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { recognise, type Recognised } from '../analyze/sources/recognise.ts';
import { UserError } from '../base/errors.ts';

/** A file that can be read as it is. */
export interface PlainFile extends Recognised {
  readonly path: string;
  /** As the user knows it. */
  readonly name: string;
}

/** A file may unpack to this many times its size, which a trace of a real host stays far below, … */
const MOST_TIMES = 200;
/** … or to this much, if that is more. */
const SMALL = 64 << 20;
/** A stream that does not end is given up here. */
const MOST_STREAM = 16 * 2 ** 30;
const HEAD = 1 << 18;
/** Compressed archives in compressed archives. */
const MAX_DEPTH = 6;
/** Files of one folder or archive. */
const MAX_FILES = 1000;

export class Intake {
  private folder: string | undefined;
  private made = 0;
  private readonly onExit = (): void => this.remove();

  /** One file, plain. `-` is standard input. Throws UserError where it cannot be read. */
  async one(path: string, expected: string): Promise<PlainFile> {
    const files = await this.open(path, nameOf(path), expected, 0);
    if (files.length === 1) return files[0]!;
    if (files.length === 0) throw new UserError(`${nameOf(path)}: no file in it; expected ${expected}`);
    throw new UserError(
      `${nameOf(path)}: ${files.length} files in it (${files
        .slice(0, 5)
        .map((f) => basename(f.name))
        .join(', ')}${files.length > 5 ? ' …' : ''}); expected ${expected}`,
    );
  }

  /** A file, or all that lie in a folder or an archive. */
  async all(path: string, expected: string): Promise<PlainFile[]> {
    return this.open(path, nameOf(path), expected, 0);
  }

  /** Removes what was stored. */
  close(): void {
    process.off('exit', this.onExit);
    this.remove();
  }

  private remove(): void {
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
    this.folder = undefined;
  }

  /** A new path in the temporary folder. */
  private place(): string {
    if (this.folder === undefined) {
      this.folder = mkdtempSync(join(tmpdir(), 'xenolith-'));
      process.on('exit', this.onExit);
    }
    return join(this.folder, String(this.made++));
  }

  private async open(path: string, name: string, expected: string, depth: number): Promise<PlainFile[]> {
    if (depth > MAX_DEPTH) throw new UserError(`${name}: packed more than ${MAX_DEPTH} times over; expected ${expected}`);
    if (path === '-') {
      if (process.stdin.isTTY === true)
        throw new UserError(`-: standard input is a terminal; expected ${expected} from a pipe or a file`);
      return this.store(process.stdin, name, expected, depth);
    }
    let stat: ReturnType<typeof statSync>;
    try {
      stat = statSync(path);
      if (stat.isDirectory()) return await this.openFolder(path, name, expected, depth);
      if (stat.isFIFO()) return await this.store(createReadStream(path), name, expected, depth);
      if (!stat.isFile())
        throw new UserError(
          `${name} is not a regular file but ${stat.isSocket() ? 'a socket' : 'a device'}; expected ${expected}`,
        );
      const found = recognise(headOf(path));
      if (found.kind === 'compressed') return await this.unpackStream(path, name, stat.size, expected, depth);
      if (found.kind === 'archive') return await this.unpackArchive(path, name, stat.size, expected, depth);
      return [{ path, name, ...found }];
    } catch (error) {
      throw error instanceof UserError ? error : unreadable(name, error);
    }
  }

  private async openFolder(path: string, name: string, expected: string, depth: number): Promise<PlainFile[]> {
    const entries = readdirSync(path).sort();
    if (entries.length > MAX_FILES)
      throw new UserError(
        `${name}: ${entries.length} entries; expected a folder of at most ${MAX_FILES}, with the files of one run`,
      );
    const files: PlainFile[] = [];
    for (const entry of entries) {
      const at = join(path, entry);
      const stat = lstatSync(at);
      // What an archive links to is not its own.
      if (!stat.isFile() && !(stat.isDirectory() && depth > 0) && !(stat.isSymbolicLink() && depth === 0)) continue;
      if (stat.isSymbolicLink() && !isFile(at)) continue;
      files.push(...(await this.open(at, join(name, entry), expected, depth + 1)));
      if (files.length > MAX_FILES) throw new UserError(`${name}: more than ${MAX_FILES} files; expected the files of one run`);
    }
    return files;
  }

  private async unpackStream(path: string, name: string, size: number, expected: string, depth: number): Promise<PlainFile[]> {
    const limit = Math.max(SMALL, size * MOST_TIMES);
    const head = headOf(path);
    const plainName = name.replace(/\.(?:gz|xz|zst|bz2|lzma|tgz|txz)$/i, '');
    const place = this.place();
    if (head[0] === 0x1f) {
      await this.write(createReadStream(path), place, limit, name, createGunzip());
      return this.open(place, plainName, expected, depth + 1);
    }
    // Its decoder is a large library.
    const { unpack } = await import('../machine/archive-node.ts');
    mkdirSync(place);
    await unpack(path, place, { limit }).catch((error: unknown) => {
      throw renamed(error, path, name, limit);
    });
    const [entry] = readdirSync(place);
    if (entry === undefined) throw new UserError(`${name}: the compressed data is damaged`);
    return this.open(join(place, entry), plainName, expected, depth + 1);
  }

  private async unpackArchive(path: string, name: string, size: number, expected: string, depth: number): Promise<PlainFile[]> {
    const { unpack } = await import('../machine/archive-node.ts');
    const limit = Math.max(SMALL, size * MOST_TIMES);
    const place = this.place();
    mkdirSync(place);
    await unpack(path, place, { limit }).catch((error: unknown) => {
      throw renamed(error, path, name, limit);
    });
    return this.openFolder(place, name, expected, depth + 1);
  }

  /** Stores what comes from a pipe; what cannot be `expected` is not stored to its end. */
  private async store(stream: Readable, name: string, expected: string, depth: number): Promise<PlainFile[]> {
    const place = this.place();
    await this.write(stream, place, MOST_STREAM, name);
    return this.open(place, name, expected, depth + 1);
  }

  private async write(from: Readable, place: string, limit: number, name: string, through?: Transform): Promise<void> {
    let total = 0;
    let checked = false;
    const start: Buffer[] = [];
    const bound = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        total += chunk.length;
        if (!checked && through === undefined) {
          start.push(chunk);
          checked = total >= HEAD;
          const found = checked ? recognise(Buffer.concat(start).subarray(0, HEAD)) : undefined;
          if (found?.kind === 'other') return void done(new UserError(`${name} is ${found.what}, which is of no use here`));
        }
        if (total > limit) done(tooLarge(name, limit));
        else done(null, chunk);
      },
    });
    try {
      if (through === undefined) await pipeline(from, bound, createWriteStream(place));
      else await pipeline(from, through, bound, createWriteStream(place));
    } catch (error) {
      if (error instanceof UserError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      if (code?.startsWith('Z_')) throw new UserError(`${name}: the compressed data is damaged: ${message}`);
      throw unreadable(name, error);
    }
  }
}

/** Whether a link leads to a file: it may lead nowhere, or round in a circle. */
function isFile(link: string): boolean {
  try {
    return statSync(link).isFile();
  } catch {
    return false;
  }
}

const nameOf = (path: string): string => (path === '-' ? 'standard input' : path);

const tooLarge = (name: string, limit: number): UserError =>
  new UserError(`${name}: unpacks to more than ${Math.floor(limit / 2 ** 20)} MiB; unpack it yourself if you trust it`);

/** An error of the unpacker, with the name that the user knows. */
function renamed(error: unknown, path: string, name: string, limit: number): unknown {
  if (!(error instanceof UserError)) return error;
  return error.message.includes('unpacks to more than')
    ? tooLarge(name, limit)
    : new UserError(error.message.replaceAll(path, name).replaceAll(/\/from\/\S+/g, name));
}

const unreadable = (name: string, error: unknown): UserError => {
  const { code, message } = error as NodeJS.ErrnoException;
  return new UserError(`cannot read ${name}: ${code === 'ENOENT' ? 'no such file' : message}`);
};

/** The first bytes of a regular file. */
function headOf(path: string): Uint8Array {
  const head = Buffer.alloc(HEAD);
  const fd = openSync(path, 'r');
  try {
    let length = 0;
    while (length < HEAD) {
      const count = readSync(fd, head, length, HEAD - length, length);
      if (count === 0) break;
      length += count;
    }
    return head.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}
