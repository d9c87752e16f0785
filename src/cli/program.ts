/** The commands of `xenolith`, put together. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { failureText, usageErrorText } from './failure.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };

/** The modules of each command, in the order of the help. A command loads only its own: loading all takes longer than most of them. */
const COMMANDS: Readonly<Record<string, (program: Command) => Promise<void>>> = {
  run: async (program) => (await import('./run.ts')).registerRun(program),
  resume: async (program) => (await import('./resume.ts')).registerResume(program),
  replay: async (program) => (await import('./resume.ts')).registerReplay(program),
  debug: async (program) => (await import('./debug.ts')).registerDebug(program),
  guest: async (program) => (await import('./guest.ts')).registerGuest(program),
  page: async (program) => (await import('./page.ts')).registerPage(program),
  conformance: async (program) => (await import('./conformance.ts')).registerConformance(program),
  trace: async (program) => {
    (await import('./trace.ts')).registerTrace(program);
    (await import('./trace-io.ts')).registerTraceIo(program);
    (await import('./trace-export.ts')).registerTraceExport(program);
    (await import('./trace-sql.ts')).registerTraceSql(program);
    (await import('./trace-report.ts')).registerTraceReport(program);
    (await import('./trace-watch.ts')).registerTraceWatch(program);
  },
  explain: async (program) => (await import('./explain.ts')).registerExplain(program),
};

/** Run what the words of a command line ask for. An error is printed, and is in `process.exitCode`. */
export async function runProgram(argv: readonly string[]): Promise<void> {
  const program = new Command('xenolith')
    .description('A Xen HVM machine that can be seen through, and a reader of xentrace files')
    .version(version)
    .option('--debug', 'print a stack trace with an error')
    .addHelpText('after', '\nExample:\n  xenolith run guest.cfg\n\nEvery command has examples in its --help.')
    .configureOutput({ outputError: (text, write) => write(`${usageErrorText(text, program, argv)}\n`) })
    .exitOverride();
  const first = argv.find((word) => !word.startsWith('-'));
  if (first !== undefined && Object.hasOwn(COMMANDS, first)) await COMMANDS[first]!(program);
  else if (argv[0] !== '--version' && argv[0] !== '-V') for (const register of Object.values(COMMANDS)) await register(program);
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
