#!/usr/bin/env node
/** The command `xenolith`. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { registerConformance } from './conformance.ts';
import { failureText } from './failure.ts';
import { registerGuest } from './guest.ts';
import { registerRun } from './run.ts';
import { registerTrace } from './trace.ts';
import { registerTraceIo } from './trace-io.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };

const program = new Command('xenolith')
  .description('A Xen HVM machine that can be seen through, and a reader of xentrace files')
  .version(version)
  .option('--debug', 'print a stack trace with an error')
  .exitOverride();
registerRun(program);
registerGuest(program);
registerConformance(program);
registerTrace(program);
registerTraceIo(program);

// `xenolith … | head`: the reader left, which is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else {
    console.error(failureText(error, 'xenolith', program.opts<{ debug?: boolean }>().debug));
    process.exitCode = 1;
  }
}
