/** What a command prints of an error that ends it. */
import { UserError } from '../base/errors.ts';

/** An error of the operating system (no such file, no permission, no space), as Node gives it. */
const isSystemError = (error: Error): boolean => 'syscall' in error && 'code' in error;

/**
 * One line for what a user can mend: a UserError, or what the operating system refused. Anything else is a fault of
 * the program and keeps its stack trace, as does every error with `debug`.
 */
export function failureText(error: unknown, command: string, debug = false): string {
  if (!(error instanceof Error)) return `${command}: ${String(error)}`;
  return !debug && (error instanceof UserError || isSystemError(error)) ? `${command}: ${error.message}` : (error.stack ?? error.message);
}
