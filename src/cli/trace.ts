/** `xenolith trace dump` and `xenolith trace summary`: what xenalyze tells of an xentrace file. */
import { basename } from 'node:path';
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import {
  DamageList,
  dumpFile,
  fileSource,
  openTrace,
  parseCpuHz,
  summarizeFile,
  summaryText,
  traceContent,
  versionNotes,
  writeAll,
} from '../trace/index-node.ts';
import type { ByteSource, Damage, Inference, TraceRecord } from '../trace/index-node.ts';
import { looksLikeTrace, UNKNOWN_BINARY } from '../analyze/sources/recognise.ts';
import { Intake, type PlainFile } from './intake.ts';
import { oneLine } from './printable.ts';
import { progressBar } from './progress.ts';

interface FileOptions {
  cpuHz?: string;
  svmMode?: boolean;
  xenVersion?: string;
  json?: boolean;
}

interface DumpOptions extends FileOptions {
  xenalyze?: boolean;
}

/** Adds `dump` and `summary` to the command `trace`, which is made if nobody made it. */
export function registerTrace(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  withFile(trace.command('dump'))
    .description('a line for every record, as xenalyze --dump-all')
    .option(
      '--xenalyze',
      "xenalyze's text byte for byte, its mistakes included; exit reasons are VMX's unless --svm-mode is given",
    )
    .addHelpText(
      'after',
      '\nExample (on the files of npm start):\n  xenolith trace dump out/trace.trc --cpu-hz 1G | grep mmio_assist\n  xenolith trace dump out/trace.trc --json | grep \'"kind":"npf"\'\n',
    )
    .action(dump);
  withFile(trace.command('summary'))
    .description('runstates, exits with cycles and percentiles, I/O addresses and hypercalls, as xenalyze --summary')
    .addHelpText('after', '\nExample (on the files of npm start):\n  xenolith trace summary out/trace.trc --cpu-hz 1G\n')
    .action(summary);
}

/** The command that holds all that read traces. */
export const traceCommand = (program: Command): Command =>
  program
    .command('trace')
    .description('read xentrace files')
    .addHelpText('after', '\nExample (on a file of npm start):\n  xenolith trace summary out/trace.trc --cpu-hz 1G\n');

function withFile(command: Command): Command {
  return command
    .argument('<file>', 'an xentrace file, also compressed or alone in an archive, or - for standard input')
    .option('--cpu-hz <rate>', 'TSC rate of the traced host, as for xenalyze: 2400000000, 2400M, 2.4G', '2.4G')
    .option('--svm-mode', "exit reasons are AMD's, whatever the records look like")
    .option('--xen-version <version>', 'Xen release that wrote the trace (4.4 to 4.22), if the inferred one is wrong')
    .option('--json', 'JSON instead of text');
}

interface Opened {
  source: ByteSource;
  /** Path of the file, unpacked where it was compressed. */
  path: string;
  cpuHz: number;
  svm: boolean;
  inference: Inference;
  xenMinor: number | null;
}

async function open(file: string, options: FileOptions): Promise<Opened> {
  const cpuHz = parseCpuHz(options.cpuHz ?? '2.4G');
  const intake = new Intake();
  const found = await intake.one(file, EXPECTED.replace('expected ', '')).catch((error: unknown) => {
    intake.close();
    throw error;
  });
  const opened = fileSource(found.path);
  const source: ByteSource = {
    ...opened,
    name: oneLine(basename(found.name)),
    async close() {
      await opened.close();
      intake.close();
    },
  };
  try {
    refuseOther(found, source);
    const trace = await openTrace(source, { cpuHz, xenVersion: options.xenVersion });
    const svm = options.svmMode === true || trace.vendor === 'svm';
    if (options.svmMode !== true && trace.inference.ambiguous) {
      const facts = trace.inference.evidence.map((e) => `0x${e.offset.toString(16)}: ${e.says}`).join('; ');
      console.error(
        `xenolith: the records do not agree on the Xen that wrote them (${facts}); taken as ${svm ? 'SVM' : 'VMX'}; overrule with --svm-mode or --xen-version`,
      );
    }
    const told = trace.xenMinor === null ? null : `4.${trace.xenMinor}`;
    const inference = told === null ? trace.inference : { ...trace.inference, xenFrom: told, xenTo: told, told: true };
    return { source, path: found.path, cpuHz, svm, inference, xenMinor: trace.context.xenMinor };
  } catch (error) {
    await source.close();
    throw error;
  }
}

const EXPECTED = 'expected an xentrace file (xentrace -D -e all FILE)';

/** Most bytes that a window of a trace has (xentrace -S 1024). */
const LARGEST_WINDOW = 4 << 20;

/** Refuses what holds no record and never did. A damaged trace is read as far as it goes. */
function refuseOther({ kind, what }: PlainFile, source: ByteSource): void {
  if (kind === 'trace') return;
  if (kind === 'empty') throw new UserError(`${source.name} is empty: ${EXPECTED}`);
  if (kind === 'text' || kind === 'device-model log' || kind === 'console')
    throw new UserError(`${source.name} is text, no trace: ${EXPECTED}; text of xenalyze is read by trace io and trace explain`);
  if (kind === 'other' && what === UNKNOWN_BINARY) {
    // The start may be damaged: a later window begins as every one does.
    const start = new Uint8Array(Math.min(source.size, LARGEST_WINDOW));
    source.readSync?.(0, start);
    if (looksLikeTrace(start)) return;
  }
  throw new UserError(`${source.name} is ${what}: ${EXPECTED}`);
}

/** Whether nobody told the TSC rate: then times are by that which xenalyze takes. */
const rateAssumed = (command: Command): boolean => command.getOptionValueSource('cpuHz') === 'default';

async function dump(file: string, options: DumpOptions, command: Command): Promise<void> {
  if (options.json === true && options.xenalyze === true) throw new UserError('--json and --xenalyze exclude each other');
  const { source, path, cpuHz, svm, xenMinor } = await open(file, options);
  try {
    if (options.json === true) {
      await dumpJson(source, cpuHz, svm, options.xenVersion);
      return;
    }
    const exact = options.xenalyze === true;
    const follow = { cpuHz, svm: exact ? options.svmMode === true : svm, exact, xenMinor };
    const bar = progressBar(source);
    let damage = new DamageList();
    let notes: string[] = [];
    let ended = false;
    try {
      const result = await dumpFile(path, follow, process.stdout.fd, bar.update);
      damage = result.damage;
      notes = result.notes;
      ended = result.ended;
      if (result.closed) return;
    } finally {
      bar.stop();
    }
    if (exact) {
      if (ended) {
        console.error('xenolith: xenalyze ends here, with status 1; without --xenalyze the rest is shown too');
        process.exitCode = 1;
      }
      return;
    }
    if (rateAssumed(command) && damage.count === 0)
      notes.unshift('times are by an assumed TSC rate of 2.4 GHz, as xenalyze takes it; --cpu-hz gives the right one');
    for (const note of notes) console.error(`xenolith: note: ${note}`);
    reportDamage(damage.list, damage.count);
  } finally {
    await source.close();
  }
}

/** Records as JSON, one object a line; 64-bit numbers are hexadecimal strings. */
async function dumpJson(source: ByteSource, cpuHz: number, svm: boolean, xenVersion: string | undefined): Promise<void> {
  const trace = await openTrace(source, { cpuHz, vendor: svm ? 'svm' : undefined, xenVersion });
  let lines: string[] = [];
  const flush = (): boolean => {
    const open = writeAll(process.stdout.fd, Buffer.from(lines.join('')));
    lines = [];
    return open;
  };
  for await (const record of trace) {
    lines.push(jsonLine(record, trace.tscBase));
    if (lines.length === 1000 && !flush()) return;
  }
  flush();
  reportDamage(trace.damage, trace.damageCount);
}

const big = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value);

function jsonLine(record: TraceRecord, tscBase: bigint): string {
  const { decoded, event, words, tsc, ...rest } = record;
  const { kind, ...fields } = decoded;
  return `${JSON.stringify(
    {
      kind,
      ...rest,
      tsc: tscBase === 0n ? tsc : String(tscBase + BigInt(tsc)),
      event: `0x${event.toString(16)}`,
      words: words.map((w) => `0x${w.toString(16)}`),
      ...fields,
    },
    big,
  )}\n`;
}

async function summary(file: string, options: FileOptions, command: Command): Promise<void> {
  const { source, path, cpuHz, svm, inference } = await open(file, options);
  try {
    const bar = progressBar(source, true);
    const result = await summarizeFile(path, cpuHz, svm, bar.update).finally(bar.stop);
    if (options.json === true) {
      writeAll(
        process.stdout.fd,
        Buffer.from(
          `${JSON.stringify({ file: source.name, vendor: svm ? 'svm' : 'vmx', inference, versionNotes: versionNotes(inference, traceContent(result)), ...result }, big, 1)}\n`,
        ),
      );
    } else {
      writeAll(process.stdout.fd, Buffer.from(summaryText(result, inference, svm, rateAssumed(command))));
    }
    for (const note of result.notes) console.error(`xenolith: note: ${note}`);
    reportDamage(result.damage);
  } finally {
    await source.close();
  }
}

/** One line for a damaged file, and the exit status. */
export function reportDamage(damage: readonly Damage[], count = damage.length): void {
  const first = damage[0];
  if (first === undefined) return;
  console.error(
    `xenolith: trace damaged at offset 0x${first.offset.toString(16)}: ${first.message}` +
      `${count > 1 ? ` (and ${count - 1} more place${count > 2 ? 's' : ''})` : ''}; everything readable is shown`,
  );
  process.exitCode = 1;
}
