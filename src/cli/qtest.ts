#!/usr/bin/env node
/** The command `xenolith-system-x86_64`. */
import { failureText } from './failure.ts';
import { parseQtestArguments, qtestUsage, runQtest } from './qtest-server.ts';

// A test ends its QEMU by SIGTERM and expects status 0.
process.on('SIGTERM', () => process.exit(0));

try {
  const argv = process.argv.slice(2);
  if (argv.some((arg) => /^--?h(elp)?$/.test(arg))) console.log(qtestUsage.trimEnd());
  else await runQtest(parseQtestArguments(argv));
} catch (error) {
  console.error(failureText(error, 'xenolith-system-x86_64'));
  process.exitCode = 1;
}
