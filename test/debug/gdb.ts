/** Debian's gdb, connected to a debugger of this project. */
import { spawn } from 'node:child_process';
import type { Debugger } from '../../src/debug/commands.ts';
import { parseGdbAddress, serveGdb } from '../../src/debug/gdb/server-node.ts';
import { PATIENCE_MS } from '../needs.ts';

/** What gdb prints for these commands, given at the beginning of the run. */
export async function gdbAt(debug: Debugger, ...commands: string[]): Promise<string> {
  debug.timeline.goTo(debug.timeline.kept.positions[0]!);
  const server = await serveGdb(debug, parseGdbAddress('127.0.0.1:0'), () => {});
  const all = ['set confirm off', `set remotetimeout ${PATIENCE_MS / 1000}`, `target remote ${server.address}`, ...commands];
  const child = spawn('gdb', ['-nx', '-batch', ...all.flatMap((command) => ['-ex', command])]);
  let out = '';
  child.stdout.on('data', (bytes) => (out += String(bytes)));
  child.stderr.on('data', (bytes) => (out += String(bytes)));
  await new Promise((resolve) => child.on('close', resolve));
  server.close();
  return out;
}
