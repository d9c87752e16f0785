/** What a command prints of an error that ends it. */
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import { oneLine, printable } from './printable.ts';

/** An error of the operating system (no such file, no permission, no space), as Node gives it. */
const isSystemError = (error: Error): boolean => 'syscall' in error && 'code' in error;

/**
 * One line for what a user can mend: a UserError, or what the operating system refused. Anything else is a fault of
 * the program and keeps its stack trace, as does every error with `debug`.
 */
export function failureText(error: unknown, command: string, debug = false): string {
  if (!(error instanceof Error)) return `${command}: ${oneLine(String(error))}`;
  return !debug && (error instanceof UserError || isSystemError(error))
    ? `${command}: ${oneLine(error.message)}`
    : printable(error.stack ?? error.message);
}

/** One line for a command line that commander refused: its text, and which `--help` says what was expected. */
export function usageErrorText(text: string, program: Command, argv: readonly string[]): string {
  let command = program;
  for (const word of argv) command = command.commands.find((c) => c.name() === word) ?? command;
  const path: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) path.unshift(at.name());
  const said = oneLine(
    text
      .trim()
      .replace(/^error: /, '')
      .replaceAll(/\.?\n+/g, ' ')
      .replace(/\.$/, '')
      .replace('(Did', '(did'),
  );
  return `${program.name()}: ${said}; see ${path.join(' ')} --help`;
}
