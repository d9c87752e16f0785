#!/usr/bin/env node
/** The command `xenolith`. */
import { runProgram } from './program.ts';
import { standardOutputLost } from './standard-output.ts';

process.stdout.on('error', standardOutputLost);
await runProgram(process.argv.slice(2));
