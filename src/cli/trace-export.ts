/** `xenolith trace export`: a trace in the forms of other tools. */
import { closeSync, openSync } from 'node:fs';
import type { Command } from 'commander';
import type { Analysis, AnalysisInput } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import { writeFrames } from '../export/frames.ts';
import { otlpRequests } from '../export/otlp.ts';
import { writePerfetto } from '../export/perfetto.ts';
import { traceRows, type HostOfTrace } from '../export/rows.ts';
import { TABLE_NAMES } from '../export/tables.ts';
import type { TableName } from '../export/tables.ts';
import { LineRows } from '../export/text.ts';
import { writeXentrace } from '../export/xentrace.ts';
import { writeAll } from '../trace/index-node.ts';
import type { Followed, Trace } from '../trace/index-node.ts';
import { progressBar } from './progress.ts';
import { open, seconds, withFiles, type FileOptions } from './trace-io.ts';
import { analyzed, hostOf, loadTraces, rateNotes, reportNotes, traceIn } from './trace-load.ts';
import { reportDamage, traceCommand } from './trace.ts';

interface ExportOptions extends FileOptions {
  csv?: boolean | string;
  jsonl?: boolean | string;
  perfetto?: boolean;
  otlp?: boolean;
  xentrace?: boolean;
  frames?: boolean;
  parquet?: string;
  output?: string;
  host?: string;
  start?: string;
  from?: string;
  to?: string;
  vcpu?: string;
}

const FORMS = ['csv', 'jsonl', 'perfetto', 'otlp', 'xentrace', 'frames', 'parquet'] as const;
type Form = (typeof FORMS)[number];

/** Adds `export` to the command `trace`. */
export function registerTraceExport(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  const tables = TABLE_NAMES.join(', ');
  withFiles(trace.command('export'))
    .description('the trace in the form of another tool; choose one form')
    .option('--csv [table]', `a table as CSV: ${tables} (io when left out)`)
    .option('--jsonl [table]', 'a table as JSON, an object a line')
    .option('--perfetto', "a file for Perfetto's viewer (ui.perfetto.dev): pCPUs, vCPUs, device model, wire")
    .option('--otlp', 'every access as a tree of OpenTelemetry spans (OTLP, JSON); -o takes a URL of a receiver too')
    .option('--xentrace', "xentrace's own form, cut with --from, --to, --domain and --vcpu")
    .option('--frames', 'the capture (--pcap) as pcapng, the story of each frame as its comment')
    .option('--parquet <folder>', 'a dataset of all tables, partitioned by host and day; several traces may be given')
    .option('-o, --output <file>', 'where to write; standard output when left out')
    .option('--host <name>', "the traced host's name; the trace file's when left out")
    .option('--start <time>', 'wall-clock time at which the trace begins: 2026-11-30T12:00:00Z')
    .option('--from <seconds>', 'with --xentrace: only from this trace time on')
    .option('--to <seconds>', 'with --xentrace: only up to this trace time')
    .option('--vcpu <dXvY>', 'with --xentrace: only the records of this vCPU')
    .addHelpText(
      'after',
      '\nExample (on the files of npm start):\n' +
        '  xenolith trace export out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng --perfetto -o out/trace.perfetto-trace\n' +
        '  xenolith trace export out/trace.trc --csv exits | head\n' +
        '  xenolith trace export out/trace.trc --cpu-hz 1G --xentrace --from 1 --to 2 -o out/second.trc\n',
    )
    .action(async (files: string[], options: ExportOptions) => {
      await runExport(files, options);
    });
}

/** A file, or standard output, that takes pieces until its reader is gone. */
class Output {
  private readonly fd: number;
  private readonly own: boolean;
  closed = false;

  constructor(path: string | undefined, binary: boolean) {
    this.own = path !== undefined && path !== '-';
    if (!this.own && binary && process.stdout.isTTY === true)
      throw new UserError('the form is binary, and standard output is a terminal: give a file with -o');
    try {
      this.fd = this.own ? openSync(path!, 'w') : process.stdout.fd;
    } catch (error) {
      throw new UserError(`cannot write ${path}: ${(error as Error).message}`);
    }
  }

  readonly write = (data: Uint8Array | string): void => {
    if (!this.closed && !writeAll(this.fd, typeof data === 'string' ? Buffer.from(data) : data)) this.closed = true;
  };

  close(): void {
    if (this.own) closeSync(this.fd);
  }
}

function formOf(options: ExportOptions): Form {
  const chosen = FORMS.filter((f) => options[f] !== undefined);
  if (chosen.length === 1) return chosen[0]!;
  const all = FORMS.map((f) => `--${f}`).join(', ');
  throw new UserError(
    chosen.length === 0
      ? `choose a form: one of ${all}`
      : `choose one form: ${chosen.map((f) => `--${f}`).join(' and ')} exclude each other`,
  );
}

function tableOf(option: boolean | string | undefined): TableName {
  if (option === true || option === undefined) return 'io';
  const name = TABLE_NAMES.find((t) => t === option);
  if (name === undefined) throw new UserError(`unknown table '${String(option)}'; expected one of ${TABLE_NAMES.join(', ')}`);
  return name;
}

async function runExport(files: string[], options: ExportOptions): Promise<void> {
  if (options.json === true) throw new UserError('a table as JSON is --jsonl TABLE');
  const form = formOf(options);
  if (form === 'parquet') {
    await addToDataset(files, options);
    return;
  }
  const { input, notes, close } = await open(files, options);
  try {
    reportNotes(notes);
    await write(form, files, options, input);
  } finally {
    await close();
  }
}

async function write(
  form: Exclude<Form, 'parquet'>,
  files: string[],
  options: ExportOptions,
  input: AnalysisInput,
): Promise<void> {
  const trace = traceIn(input);
  if (form === 'xentrace') {
    await cut(trace, options);
    if (options.from !== undefined || options.to !== undefined) reportNotes(rateNotes(trace, undefined));
    return;
  }
  const table = tableOf(form === 'csv' ? options.csv : form === 'jsonl' ? options.jsonl : undefined);
  const needsPaths = (form !== 'csv' && form !== 'jsonl') || table === 'io';
  const analysis = needsPaths ? await analyzed(input) : undefined;
  reportNotes(analysis?.leftOut ?? []);
  const who = await hostOf(files, trace, analysis, options);
  const bar = progressBar(trace.source);
  let followed: Followed | undefined;
  try {
    if (form === 'otlp') {
      await sendOtlp(analysis!, who, options.output);
    } else {
      const out = new Output(options.output, form === 'perfetto' || form === 'frames');
      try {
        if (form === 'frames') writeFrames(analysis!, out.write);
        else if (form === 'perfetto') followed = await writePerfetto(trace, analysis, who, out.write, bar.update);
        else {
          const rows = new LineRows(table, form, out.write);
          followed = await traceRows(trace, analysis, who, new Set([table]), rows, bar.update);
          rows.end();
        }
      } finally {
        out.close();
      }
    }
  } finally {
    bar.stop();
  }
  if (form !== 'frames') reportNotes(rateNotes(trace, analysis));
  if (followed === undefined) reportDamage(trace.damage, trace.damageCount);
  else reportDamage(followed.damage.list, followed.damage.count);
}

/** Several traces are taken one by one; a log or a capture goes with a single one. */
async function addToDataset(files: string[], options: ExportOptions): Promise<void> {
  if (options.output !== undefined) throw new UserError('--parquet names its folder itself: leave out -o');
  const { TraceDatabase } = await import('../export/database-node.ts');
  const database = await TraceDatabase.open();
  try {
    await database.prepare();
    reportNotes(await loadTraces(database, files, options, options.parquet!));
  } finally {
    database.close();
  }
}

async function cut(trace: Trace, options: ExportOptions): Promise<void> {
  const domain = options.domain === undefined ? undefined : Number(options.domain);
  if (domain !== undefined && !Number.isInteger(domain))
    throw new UserError(`--domain ${options.domain}: expected a domain's number`);
  const vcpu = options.vcpu === undefined ? undefined : /^d(\d+)v(\d+)$/.exec(options.vcpu);
  if (vcpu === null) throw new UserError(`--vcpu ${options.vcpu}: expected a domain and a vCPU, for example d1v0`);
  if (vcpu !== undefined && domain !== undefined && Number(vcpu[1]) !== domain)
    throw new UserError(`--vcpu ${options.vcpu} is not of --domain ${options.domain}`);
  const out = new Output(options.output, true);
  try {
    const { records } = await writeXentrace(
      trace,
      {
        from: seconds(options.from, '--from'),
        to: seconds(options.to, '--to'),
        domain: vcpu === undefined ? domain : Number(vcpu[1]),
        vcpu: vcpu === undefined ? undefined : Number(vcpu[2]),
      },
      out.write,
    );
    if (records === 0) throw new UserError('no record is left: --from, --to, --domain and --vcpu leave all of them out');
  } finally {
    out.close();
  }
  reportDamage(trace.damage, trace.damageCount);
}

/** Write requests to a file, a line each, or send them to a receiver of OTLP over HTTP. */
async function sendOtlp(analysis: Analysis, who: HostOfTrace, to: string | undefined): Promise<void> {
  if (to === undefined || !/^https?:/.test(to)) {
    const out = new Output(to, false);
    for (const request of otlpRequests(analysis, who)) out.write(`${request}\n`);
    out.close();
    return;
  }
  const url = new URL(to);
  if (url.pathname === '/') url.pathname = '/v1/traces';
  for (const body of otlpRequests(analysis, who)) {
    let answer: Response;
    try {
      answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    } catch (error) {
      const cause = (error as { cause?: { message?: string } }).cause?.message;
      throw new UserError(
        `cannot reach ${url.href}: ${cause ?? (error as Error).message}; expected a receiver of OTLP over HTTP`,
      );
    }
    if (!answer.ok)
      throw new UserError(`${url.href} answers ${answer.status} ${answer.statusText}: ${(await answer.text()).slice(0, 200)}`);
    await answer.arrayBuffer();
  }
}
