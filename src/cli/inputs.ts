/** Files that a run reads. */
import { closeSync, fstatSync, openSync, readFileSync, readSync, type Stats } from 'node:fs';
import { UserError } from '../base/errors.ts';

/** What a pipe or a device may give: it does not say how much it has. */
const MOST = 1 << 30;

const identity = ({ dev, ino }: Stats): string => `${dev}:${ino}`;

/** Reads files whole, and knows them again under any name. */
export class Inputs {
  private readonly alreadyRead = new Set<string>();

  /** Bytes of a file or pipe; `-` is standard input. Throws UserError when there are none: `expected` says what should be there. */
  read(path: string, expected: string): Uint8Array {
    let bytes: Uint8Array;
    try {
      const fd = path === '-' ? 0 : openSync(path, 'r');
      try {
        const stats = fstatSync(fd);
        if (stats.isDirectory()) throw new UserError(`${path}: a directory; expected ${expected}`);
        this.alreadyRead.add(identity(stats));
        bytes = stats.isFile() ? readFileSync(fd) : readToEnd(fd, path, expected);
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

function readToEnd(fd: number, path: string, expected: string): Uint8Array {
  const parts: Buffer[] = [];
  let total = 0;
  for (;;) {
    const part = Buffer.allocUnsafe(1 << 20);
    const length = readSync(fd, part);
    if (length === 0) return Buffer.concat(parts);
    parts.push(part.subarray(0, length));
    total += length;
    if (total > MOST) throw new UserError(`${path}: does not end after ${MOST >> 20} MiB; expected ${expected}`);
  }
}
