/** `xenolith debug`: go to and fro in a run, and look at it; for GDB too. */
import { openSync, readSync, closeSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import type { Debugger } from '../debug/commands.ts';
import { disassemble } from '../machine/disassemble-node.ts';
import { engineFactory } from '../machine/engine-factory.ts';
import { driversFor, nicOptions } from '../machine/guest-config.ts';
import { loadSnapshotFile } from '../machine/state/snapshot-file-node.ts';
import { oneLine } from './printable.ts';
import { Inputs } from './inputs.ts';
import { chooseGuest, readConfig } from './choose-guest.ts';
import { collect } from './option-values.ts';

interface DebugOptions {
  command: string[];
  script?: string;
  json?: boolean;
  gdb?: string;
  console?: boolean;
  driver: string[];
}

export function registerDebug(program: Command): void {
  program
    .command('debug')
    .description('go to and fro in a run under the virtual clock, and look at guest, hypervisor and device model at every stop')
    .argument(
      '[file]',
      "a saved machine, a recording, or the guest's configuration (default: a Debian guest that pings the host)",
    )
    .option('-c, --command <line>', 'do this instead of asking; may be repeated', collect, [])
    .option('--script <file>', 'take the commands from this file instead of asking')
    .option('--json', 'answer with one line of JSON for every command')
    .option('--gdb <address>', 'wait for GDB there instead of asking: HOST:PORT, :PORT (this machine) or unix:PATH')
    .option('--console', "show the guest's console on standard error")
    .option('--driver <name>', 'NIC driver of the Debian guest, as run takes it; may be repeated', collect, [])
    .addHelpText(
      'after',
      `
Examples:
  xenolith debug guest.cfg -c 'run doorbell TxPoll' -c 'back 5' -c 'info nic'
  xenolith debug out/run.rec --gdb :1234 & gdb -ex 'target remote :1234'`,
    )
    .action(async (file: string | undefined, options: DebugOptions) => {
      process.exitCode = await debug(file, options);
    });
}

async function debug(file: string | undefined, options: DebugOptions): Promise<number> {
  const debug = await openRun(file, options);
  if (options.gdb !== undefined) return waitForGdb(debug, options.gdb);
  const lines = options.script === undefined ? options.command : [...scriptLines(options.script), ...options.command];
  if (options.script !== undefined || options.command.length > 0) {
    for (const line of lines) if (answer(debug, line, options.json) === 'quit') break;
    return process.exitCode === undefined ? 0 : Number(process.exitCode);
  }
  return converse(debug, options.json);
}

async function openRun(file: string | undefined, options: DebugOptions): Promise<Debugger> {
  // The debugger is of no use to any other command.
  const [{ Debugger }, { Timeline }] = await Promise.all([import('../debug/commands.ts'), import('../debug/timeline.ts')]);
  const engine = engineFactory();
  const sinks = options.console ? { console: (bytes: Uint8Array) => void process.stderr.write(bytes) } : {};
  if (file !== undefined && isSaved(file)) {
    const { state, recording } = await loadSnapshotFile(file);
    return new Debugger(
      await Timeline.ofState(state, { engine, sinks, ...(recording === null ? {} : { inputs: recording.inputs }) }),
      disassemble,
    );
  }
  const inputs = new Inputs();
  const config = readConfig(inputs, file, { driver: options.driver });
  const drivers = [...driversFor(config.vif, options.driver).values()].map(({ name: driver }) => driver);
  const domain = await chooseGuest(inputs, config, file, { driver: options.driver }, drivers);
  const { name, vif } = config;
  return new Debugger(
    await Timeline.ofMachine({ name, domain, nics: nicOptions(vif, options.driver), clock: 'virtual', engine }, sinks),
    disassemble,
  );
}

/** Does the file begin as saved machines do? A file that cannot be opened is left to whoever reads it next. */
function isSaved(file: string): boolean {
  const magic = Buffer.alloc(8);
  try {
    const fd = openSync(file, 'r');
    try {
      readSync(fd, magic, 0, 8, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
  return magic.toString('latin1') === 'XENOSAVE';
}

function scriptLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '');
  } catch (error) {
    throw new UserError(`--script ${path}: cannot be read: ${(error as Error).message}`);
  }
}

function answer(debug: Debugger, line: string, json: boolean | undefined): 'quit' | undefined {
  try {
    const { text, data, quit } = debug.execute(line);
    if (json) console.log(JSON.stringify({ command: line, position: debug.timeline.position, data }, plain));
    else if (text !== '') console.log(text);
    return quit ? 'quit' : undefined;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (json) console.log(JSON.stringify({ command: line, error: error.message }));
    else console.error(`xenolith: ${oneLine(error.message)}`);
    if (process.stdin.isTTY !== true || json) process.exitCode = 1;
    return undefined;
  }
}

const plain = (_name: string, value: unknown): unknown => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value);

async function converse(debug: Debugger, json: boolean | undefined): Promise<number> {
  const interactive = process.stdin.isTTY === true;
  const lines = createInterface({
    input: process.stdin,
    ...(interactive ? { output: process.stderr, prompt: '(xenolith) ' } : {}),
    completer: (line: string): [string[], string] => [debug.names.filter((name) => name.startsWith(line)), line],
  });
  if (interactive) {
    console.error('xenolith: help lists the commands');
    answer(debug, 'where', json);
    lines.prompt();
  }
  for await (const line of lines) {
    if (answer(debug, line, json) === 'quit') break;
    if (interactive) lines.prompt();
  }
  lines.close();
  return process.exitCode === undefined ? 0 : Number(process.exitCode);
}

async function waitForGdb(debug: Debugger, text: string): Promise<number> {
  const { parseGdbAddress, serveGdb } = await import('../debug/gdb/server-node.ts');
  const say = (line: string): void => console.error(`xenolith: ${line}`);
  const server = await serveGdb(debug, parseGdbAddress(text), say);
  say(`gdb: waiting at ${server.address}; in GDB: target remote ${server.address.replace(/^unix:/, '')}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.close());
  await server.done;
  return 0;
}
