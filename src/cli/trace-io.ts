/** `xenolith trace io` and `xenolith trace explain`: the paths of a guest's I/O through real trace files. */
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import { openAnalysis } from '../analyze/files-node.ts';
import {
  analyze,
  nicReadings,
  guestName,
  theGuest,
  costLines,
  CostTable,
  formatRef,
  formatRefs,
  ioPaths,
  joinLines,
  pathJson,
  PATH_HEADER,
  pathLine,
  renderStory,
  tellStory,
  type Analysis,
  type AnalysisInput,
  type IoPath,
} from '../analyze/index.ts';
import { parseCpuHz } from '../trace/index.ts';
import { Intake } from './intake.ts';
import { oneLine, printableData, printableJson } from './printable.ts';
import { progressBar } from './progress.ts';
import { sortFiles } from './trace-files.ts';
import { reportDamage, traceCommand } from './trace.ts';

export interface FileOptions {
  dmLog?: string[];
  pcap?: string;
  console?: string[];
  domain?: string;
  device?: string[];
  cpuHz?: string;
  xenVersion?: string;
  clock?: string;
  json?: boolean;
}

interface IoOptions extends FileOptions {
  chip?: string;
  register?: string;
  vcpu?: string;
  from?: string;
  to?: string;
  stats?: boolean;
}

interface ExplainOptions extends FileOptions {
  evidence?: string;
  packet?: string;
  at?: string;
}

const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** Adds `io` and `explain` to the command `trace`, which is made if nobody made it. */
export function registerTraceIo(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  withFiles(trace.command('io'))
    .description('every guest I/O: register, route, stages, device-model log lines, DMA, frame')
    .option('--chip <name>', 'only accesses to this device, for example rtl8139, HPET, 16550A')
    .option('--register <name>', 'only accesses that touch this register, for example TxPoll')
    .option('--vcpu <dXvY>', 'only accesses of this vCPU')
    .option('--from <seconds>', 'only from this trace time on')
    .option('--to <seconds>', 'only up to this trace time')
    .option('--stats', 'print the cost table only')
    .addHelpText(
      'after',
      '\nExample (on the files of npm start):\n  xenolith trace io out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng --cpu-hz 1G --register TxPoll\n',
    )
    .action(async (files: string[], options: IoOptions) => {
      await runIo(files, options);
    });
  withFiles(trace.command('explain'))
    .description('the story of one packet in plain words, each sentence with the record or line it rests on')
    .option('--packet <n>', 'frame number in the capture; without a capture the n-th transmission')
    .option('--at <seconds>', 'the transmission nearest to this trace time')
    .option('--evidence <level>', 'evidence shown with each sentence: none, short (the first two places) or full', 'short')
    .addHelpText(
      'after',
      '\nExample (on the files of npm start):\n  xenolith trace explain out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng --cpu-hz 1G --packet 3\n',
    )
    .action(async (files: string[], options: ExplainOptions) => {
      await runExplain(files, options);
    });
}

/** Options that say which files belong to a trace. */
export function withFiles(command: Command): Command {
  return command
    .argument(
      '[files...]',
      'an xentrace file, xenalyze --dump-all text or a mail that quotes it; with it, in any order, what the options below name, xl info and xl dmesg: known by their content, also compressed, in a folder or in an archive; - is standard input',
    )
    .option(
      '--dm-log <file>',
      "a device model's log: QEMU trace events or RTL8139 debug lines; may be repeated, and N=FILE says whose (a domain's number, or a name)",
      collect,
    )
    .option('--pcap <file>', 'capture of the bridge or vif, pcap or pcapng')
    .option('--console <file>', "a guest's console, to find BARs in; may be repeated, N=FILE for one guest of several", collect)
    .option('--domain <guest>', 'only this guest, of several: its domain, or the name its log was given with')
    .option(
      '--device <chip@base>',
      'the base address of a chip, for example rtl8139@0xf1000000 (2:rtl8139@… for domain 2); may be repeated',
      collect,
    )
    .option('--cpu-hz <rate>', 'TSC rate of the traced host, as for xenalyze (2400000000, 2.4G)')
    .option('--xen-version <version>', 'Xen release that wrote the trace, if the inferred one is wrong')
    .option('--clock <kind>', "kind of the times: measured or modelled; a log's own header wins")
    .option('--json', 'JSON instead of text');
}

/** Open the files of one analysis; close them when done. */
export async function open(
  files: string[],
  options: FileOptions,
): Promise<{ input: AnalysisInput; notes: readonly string[]; close: () => Promise<void> }> {
  if (options.clock !== undefined && options.clock !== 'measured' && options.clock !== 'modelled')
    throw new UserError(`--clock ${options.clock}: expected measured or modelled`);
  if (files.length === 0 && (options.dmLog ?? []).length === 0)
    throw new UserError('no file given: expected an xentrace file, xenalyze text, or --dm-log FILE; see --help');
  const intake = new Intake();
  try {
    const { cpuHz, xenVersion, leftOut, ...sorted } = await sortFiles(
      { files, dmLogs: options.dmLog ?? [], pcap: options.pcap, consoles: options.console ?? [] },
      intake,
    );
    const opened = await openAnalysis({
      ...sorted,
      devices: options.device,
      cpuHz: options.cpuHz === undefined ? cpuHz?.hz : parseCpuHz(options.cpuHz),
      xenVersion: options.xenVersion ?? xenVersion?.version,
      clock: options.clock,
    });
    const notes = leftOut.map((line) => `${line}: left out`);
    if (options.cpuHz === undefined && cpuHz !== undefined && sorted.files.length > 0)
      notes.push(`TSC rate ${cpuHz.hz} Hz, from ${cpuHz.from}`);
    return {
      input: opened.input,
      notes,
      close: async () => {
        await opened.close();
        intake.close();
      },
    };
  } catch (error) {
    intake.close();
    throw error;
  }
}

export const seconds = (text: string | undefined, option: string): number | undefined => {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0 || text.trim() === '')
    throw new UserError(`${option} ${text}: expected seconds of trace time, for example 6.635`);
  return value;
};

async function runIo(files: string[], options: IoOptions): Promise<void> {
  const from = seconds(options.from, '--from') ?? -Infinity;
  const to = seconds(options.to, '--to') ?? Infinity;
  if (from > to) throw new UserError(`--from ${options.from} --to ${options.to}: expected a start before the end`);
  if (options.vcpu !== undefined && !/^d\d+v\d+$/.test(options.vcpu))
    throw new UserError(`--vcpu ${options.vcpu}: expected a domain and a vCPU, for example d1v0`);
  const opened = await open(files, options);
  try {
    const a = await withBar(opened.input, (input) => analyze(input));
    const guests = options.domain === undefined ? a.guests : [theGuest(a, options.domain)];
    const windows = guests.flatMap((g) => g.windows);
    if (
      options.chip !== undefined &&
      nicReadings.some((c) => c.name === options.chip!.toLowerCase()) &&
      !windows.some((w) => w.chip.name === options.chip!.toLowerCase())
    ) {
      throw new UserError(
        `--chip ${options.chip}: ${windows.length === 0 ? 'no known chip was found in the files' : `found only ${[...new Set(windows.map((w) => w.chip.name))].join(', ')}`}; give its base address with --device ${options.chip}@BASE`,
      );
    }
    const wanted = (p: IoPath): boolean => {
      const at = (p.access.marks.exit ?? p.access.record).timeNs / 1e9;
      return (
        at >= from &&
        at <= to &&
        (options.chip === undefined || p.device?.name.toLowerCase() === options.chip.toLowerCase()) &&
        (options.register === undefined || p.registers.some((r) => r.name.toLowerCase() === options.register!.toLowerCase())) &&
        (options.vcpu === undefined || `d${p.access.dom}v${p.access.vcpu}` === options.vcpu)
      );
    };
    const filters = (['chip', 'register', 'vcpu', 'domain', 'from', 'to'] as const).flatMap((name) =>
      options[name] === undefined ? [] : [`--${name} ${options[name]}`],
    );
    const table = new CostTable();
    const print = lineWriter(options.json === true);
    if (options.json !== true) {
      for (const note of [...opened.notes, ...a.leftOut]) print(`note: ${note}`);
      for (const g of guests) {
        const whose = a.guests.length > 1 ? `${guestName(g)}: ` : '';
        for (const w of g.windows)
          print(
            `${whose}${w.chip.name} at ${w.space === 'pio' ? 'port' : 'gpa'} 0x${w.base.toString(16)} (${w.found.strength}: ${w.found.why}) [${w.found.refs.map(formatRef).join(', ')}]`,
          );
      }
      if (options.stats !== true) print(PATH_HEADER);
    }
    const seen = new Set<string>();
    let matched = 0;
    for (const path of ioPaths({ guests })) {
      if (path.device !== undefined) seen.add(path.device.name);
      if (!wanted(path)) continue;
      matched++;
      table.add(path);
      if (options.stats === true) continue;
      print(options.json === true ? JSON.stringify({ kind: 'io', ...pathJson(path) }) : pathLine(path));
    }
    if (options.json === true) {
      for (const row of table.rows()) print(JSON.stringify({ kind: 'cost', ...row }));
      for (const note of [...opened.notes, ...a.leftOut]) print(JSON.stringify({ kind: 'note', text: note }));
      for (const g of guests) {
        const domain = g.dom ?? null;
        for (const u of g.pairing?.unpairedRequests ?? [])
          print(
            JSON.stringify({
              kind: 'unpaired request',
              domain,
              line: u.request.request.line,
              address: `0x${u.request.request.addr.toString(16)}`,
              reason: u.reason,
            }),
          );
        if (g.clock !== undefined)
          print(
            JSON.stringify({
              kind: 'clock',
              domain,
              wallBaseSeconds: a.wallBase,
              ...g.clock,
              rateError: g.clock.rateError ?? null,
              outliers: g.clock.outliers.map((o) => o.request.request.line),
            }),
          );
      }
      if (a.tscRate !== undefined) print(JSON.stringify({ kind: 'tsc rate', ...a.tscRate }));
    } else {
      print('');
      for (const line of costLines(table.rows())) print(line);
      print('');
      for (const line of joinLines(a)) print(line);
    }
    print.flush();
    reportAllDamage(opened.input, a);
    if (filters.length > 0 && matched === 0)
      throw new UserError(
        `no access matches ${filters.join(' ')}; the files hold accesses of ${[...seen].join(', ') || 'no known device'}`,
      );
  } finally {
    await opened.close();
  }
}

async function runExplain(files: string[], options: ExplainOptions): Promise<void> {
  const packet = options.packet === undefined ? undefined : Number(options.packet);
  if (packet !== undefined && (!Number.isInteger(packet) || packet < 1))
    throw new UserError(`--packet ${options.packet}: expected a number from 1 on`);
  const evidence = options.evidence ?? 'short';
  if (evidence !== 'none' && evidence !== 'short' && evidence !== 'full')
    throw new UserError(`--evidence ${evidence}: expected none, short or full`);
  const atSeconds = seconds(options.at, '--at');
  if (packet !== undefined && atSeconds !== undefined)
    throw new UserError('--packet and --at: each chooses one packet; give one of them');
  const opened = await open(files, options);
  try {
    const analysis = await withBar(opened.input, (input) => analyze(input));
    if (atSeconds !== undefined) refuseOutside(atSeconds, analysis);
    reportAllDamage(opened.input, analysis);
    const story = tellStory(analysis, { packet, atSeconds, domain: options.domain });
    if (options.json === true)
      console.log(
        printableJson(
          JSON.stringify(story, (_, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value), 1),
        ),
      );
    else
      process.stdout.write(
        renderStory(printableData(story), {
          evidence,
          width: Math.min(process.stdout.columns ?? 100, 120),
          color: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
        }),
      );
  } finally {
    await opened.close();
  }
}

/** Seconds that a time may lie outside of what a trace holds: it is read off a list, or off a clock. */
const NEAR_S = 1;

/** Throws UserError for a time at which the trace holds no access. */
function refuseOutside(atSeconds: number, { guests }: Analysis): void {
  let first = Infinity;
  let last = -Infinity;
  for (const { access } of ioPaths({ guests })) {
    const at = access.record.timeNs / 1e9;
    first = Math.min(first, at);
    last = Math.max(last, at);
  }
  if (first <= last && (atSeconds < first - NEAR_S || atSeconds > last + NEAR_S))
    throw new UserError(`--at ${atSeconds}: the accesses of the files lie from ${first.toFixed(3)} s to ${last.toFixed(3)} s`);
}

/** Reads with a progress bar, where there is a large trace and a terminal to show it on. */
export async function withBar<T>(input: AnalysisInput, read: (input: AnalysisInput) => Promise<T>): Promise<T> {
  if (input.trace === undefined) return read(input);
  const bar = progressBar(input.trace.source, true);
  try {
    return await read({ ...input, progress: bar.update });
  } finally {
    bar.stop();
  }
}

/** Damaged files are read as far as they go; the damage goes to stderr and into the exit status. Lines that are cut are named. */
function reportAllDamage({ trace }: AnalysisInput, { captureDamage, cutLines }: Analysis): void {
  if (cutLines.length > 0) {
    const more = cutLines.length > MAX_CUT_SHOWN ? ` and ${cutLines.length - MAX_CUT_SHOWN} more` : '';
    console.error(
      `xenolith: note: ${cutLines.length === 1 ? 'a line looks' : `${cutLines.length} lines look`} like a record cut before its end; the missing part is unknown: ${formatRefs(cutLines.slice(0, MAX_CUT_SHOWN))}${more}`,
    );
  }
  if (trace !== undefined) reportDamage(trace.damage, trace.damageCount);
  if (captureDamage === undefined) return;
  console.error(`xenolith: capture damaged at ${oneLine(captureDamage)}; the frames before it were used`);
  process.exitCode = 1;
}

const MAX_CUT_SHOWN = 20;
const FLUSH_AT = 1 << 16;

/** Gathers lines and writes them in large pieces. */
function lineWriter(isJson: boolean): ((line: string) => void) & { flush: () => void } {
  let text = '';
  const print = isJson ? printableJson : oneLine;
  const flush = (): void => {
    process.stdout.write(text);
    text = '';
  };
  return Object.assign(
    (line: string): void => {
      text += `${print(line)}\n`;
      if (text.length >= FLUSH_AT) flush();
    },
    { flush },
  );
}
