/** `xenolith trace report` and `xenolith trace compare`: a page about one host; what differs between two. */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { CostTable, ioPaths, type Analysis } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import { compareText, differences } from '../export/report/compare.ts';
import { reportPage } from '../export/report/page.ts';
import { plotLibrary } from '../export/report/plots-node.ts';
import { Profile } from '../export/report/profile.ts';
import { writeAll } from '../trace/index-node.ts';
import { withFiles, type FileOptions } from './trace-io.ts';
import { loadTrace, rateNotes, reportNotes } from './trace-load.ts';
import { traceCommand } from './trace.ts';

interface ReportOptions extends FileOptions {
  output?: string;
  host?: string;
  start?: string;
}

/** Adds `report` and `compare` to the command `trace`. */
export function registerTraceReport(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  withFiles(trace.command('report'))
    .description('one self-contained HTML page about a host: exits, latencies, registers, wake-ups, runstates, with plots')
    .requiredOption('-o, --output <file>', 'the page')
    .option('--host <name>', "the traced host's name; the trace file's when left out")
    .option('--start <time>', 'wall-clock time at which the trace begins: 2026-11-30T12:00:00Z')
    .addHelpText(
      'after',
      '\nExample (on the files of npm start):\n  xenolith trace report out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng -o out/report.html\n',
    )
    .action(async (files: string[], options: ReportOptions & { readonly json?: boolean }) => {
      if (options.json === true)
        throw new UserError(
          'a report is a page of HTML; trace io --json, trace summary --json and trace sql give its figures as data',
        );
      const { profile, analysis, doubts } = await profileOf(files, options);
      const costs = new CostTable();
      for (const path of ioPaths(analysis)) costs.add(path);
      const notes = [...analysis.leftOut, ...doubts].map((n) => `${n}.`);
      const page = reportPage(profile, costs.rows(), notes, plotLibrary());
      try {
        writeFileSync(options.output!, page);
      } catch (error) {
        throw new UserError(`cannot write ${options.output}: ${(error as Error).message}`);
      }
    });
  trace
    .command('compare')
    .argument('<a>', 'an xentrace file')
    .argument('<b>', 'another one: of another host, day or configuration')
    .description('list what differs between two traces by more than it varies within each of them')
    .option('--cpu-hz <rate>', 'TSC rate of the traced hosts, as for xenalyze')
    .option('--json', 'JSON instead of text')
    .addHelpText('after', '\nExample:\n  xenolith trace compare before.trc after.trc --cpu-hz 2.4G\n')
    .action(async (a: string, b: string, options: { cpuHz?: string; json?: boolean }) => {
      const before = await profileOf([a], options);
      const after = await profileOf([b], options);
      const list = differences(before.profile, after.profile);
      const text =
        options.json === true
          ? list.map((d) => `${JSON.stringify(d)}\n`).join('')
          : compareText(before.profile, after.profile, list);
      writeAll(process.stdout.fd, Buffer.from(text));
      reportNotes([...before.doubts, ...after.doubts]);
    });
}

interface Profiled {
  readonly profile: Profile;
  readonly analysis: Analysis;
  /** What makes its times doubtful. */
  readonly doubts: readonly string[];
}

async function profileOf(files: string[], options: ReportOptions): Promise<Profiled> {
  const profile = new Profile();
  const { trace, analysis } = await loadTrace(files, options, profile);
  return { profile, analysis, doubts: rateNotes(trace, analysis) };
}
