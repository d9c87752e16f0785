/** The end of standard output, for commands that do nothing but print. */
import { readFileSync, readlinkSync } from 'node:fs';
import { failureText } from './failure.ts';

/**
 * Ends the process: with status 0 when the reader left (`xenolith … | head`), which is no error, else with one line
 * and status 1. A command with more to bring to its end takes this listener off standard output.
 */
export function standardOutputLost(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(0);
  console.error(failureText(error, 'xenolith: standard output'));
  process.exit(1);
}

const ACCESS_MODE = 3;
const READ_WRITE = 2;

/** Whether a descriptor is /dev/null, open for reading and writing. */
function isSpareNull(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
    return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/null' && (Number.parseInt(flags, 8) & ACCESS_MODE) === READ_WRITE;
  } catch {
    // Not on this system.
    return false;
  }
}

/**
 * Whether the process was started without standard output (`>&-`). Node then opens /dev/null in its place, for reading and writing,
 * which a shell's `> /dev/null` is not. Whoever starts a process for its exit status alone gives all three so.
 */
export const isStandardOutputClosed = (): boolean => isSpareNull(1) && !isSpareNull(0) && !isSpareNull(2);
