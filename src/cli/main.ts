#!/usr/bin/env node
/** The command `xenolith`. */
import { runProgram } from './program.ts';
import { isStandardOutputClosed, standardOutputLost } from './standard-output.ts';

/** Commands whose whole work is what they print. */
const PRINTING = ['trace', 'conformance'];

process.stdout.on('error', standardOutputLost);
const argv = process.argv.slice(2);
if (PRINTING.includes(argv[0] ?? '') && isStandardOutputClosed()) {
  console.error('xenolith: standard output is closed; give it a file, or /dev/null');
  process.exitCode = 1;
} else await runProgram(argv);
