/** The end of standard output, for commands that do nothing but print. */
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
