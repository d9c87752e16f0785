/** The commands of `xenolith`, put together. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { registerConformance } from './conformance.ts';
import { failureText, usageErrorText } from './failure.ts';
import { registerGuest } from './guest.ts';
import { registerRun } from './run.ts';
import { registerTrace } from './trace.ts';
import { registerTraceIo } from './trace-io.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };

/** Run what the words of a command line ask for. An error is printed, and is in `process.exitCode`. */
export async function runProgram(argv: readonly string[]): Promise<void> {
  const program = new Command('xenolith')
    .description('A Xen HVM machine that can be seen through, and a reader of xentrace files')
    .version(version)
    .option('--debug', 'print a stack trace with an error')
    .addHelpText('after', '\nExample:\n  npx xenolith run guest.cfg\n\nEvery command has examples in its --help.')
    .configureOutput({ outputError: (text, write) => write(`${usageErrorText(text, program, argv)}\n`) })
    .exitOverride();
  registerRun(program);
  registerGuest(program);
  registerConformance(program);
  registerTrace(program);
  registerTraceIo(program);
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode;
    else {
      console.error(failureText(error, 'xenolith', program.opts<{ debug?: boolean }>().debug));
      process.exitCode = 1;
    }
  }
}
