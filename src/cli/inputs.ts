/** Files that a run reads. */
import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { UserError } from '../base/errors.ts';

/** What a file that is read whole may be. */
export interface InputRules {
  /** Told when there is none such. */
  readonly expected: string;
  /** Most bytes. */
  readonly most: number;
  /** Whether the first bytes of it are those of what is expected: what is not need not be read to its end. */
  readonly mayBegin?: (head: Uint8Array) => boolean;
}

/** Bytes by which a file is judged. */
const HEAD = 1 << 16;

const identity = ({ dev, ino }: Stats): string => `${dev}:${ino}`;

/** Reads files whole, and knows them again under any name. */
export class Inputs {
  private readonly alreadyRead = new Set<string>();

  /**
   * Bytes of a file or pipe; `-` is standard input. One whose start is wrong is given as far as it was read. Throws UserError when there
   * are none, or too many.
   */
  read(path: string, rules: InputRules): Uint8Array {
    const { expected } = rules;
    if (path === '') throw new UserError(`'': a file without a name; expected ${expected}`);
    let bytes: Uint8Array;
    try {
      const fd = path === '-' ? 0 : openSync(path, 'r');
      try {
        const stats = fstatSync(fd);
        if (stats.isDirectory()) throw new UserError(`${path}: a directory; expected ${expected}`);
        if (stats.isCharacterDevice() || stats.isBlockDevice()) throw new UserError(`${path}: a device; expected ${expected}`);
        this.alreadyRead.add(identity(stats));
        bytes = readToEnd(fd, path, rules);
      } finally {
        if (fd !== 0) closeSync(fd);
      }
    } catch (error) {
      if (error instanceof UserError) throw error;
      const { code, message } = error as NodeJS.ErrnoException;
      throw new UserError(`${path}: ${code === 'ENOENT' ? 'no such file' : `cannot be read: ${message}`}; expected ${expected}`);
    }
    if (bytes.length === 0) throw new UserError(`${path}: empty; expected ${expected}`);
    return bytes;
  }

  /** Whether this open file is one of those read. */
  has(stats: Stats): boolean {
    return this.alreadyRead.has(identity(stats));
  }
}

function readToEnd(fd: number, path: string, { expected, most, mayBegin }: InputRules): Uint8Array {
  const parts: Buffer[] = [];
  let total = 0;
  let isJudged = mayBegin === undefined;
  for (;;) {
    const part = Buffer.allocUnsafe(isJudged ? 1 << 20 : HEAD);
    const length = readSync(fd, part);
    if (length === 0) return Buffer.concat(parts);
    parts.push(part.subarray(0, length));
    total += length;
    if (!isJudged && total >= HEAD) {
      const head = Buffer.concat(parts);
      if (mayBegin?.(head) === false) return head;
      isJudged = true;
    }
    if (total > most) throw new UserError(`${path}: has more than ${Math.round(most / (1 << 20))} MiB; expected ${expected}`);
  }
}
