/** What `trace export`, `trace sql` and `trace report` do alike: open a trace with what belongs to it, say whose it is, load tables. */
import { existsSync, statSync } from 'node:fs';
import { analyze, type Analysis, type AnalysisInput } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import type { TraceDatabase } from '../export/database-node.ts';
import { startOf } from '../export/perfetto.ts';
import { dayOf, traceRows, type HostOfTrace } from '../export/rows.ts';
import { TABLE_NAMES } from '../export/tables.ts';
import type { RowSink } from '../export/tables.ts';
import type { Trace } from '../trace/index-node.ts';
import { oneLine } from './printable.ts';
import { progressBar } from './progress.ts';
import { open, withBar, type FileOptions } from './trace-io.ts';
import { reportDamage } from './trace.ts';

interface LoadOptions extends FileOptions {
  readonly host?: string | undefined;
  readonly start?: string | undefined;
}

/** Analyze a trace, which may hold no access at all. */
export const analyzed = (input: AnalysisInput): Promise<Analysis> => withBar(input, (i) => analyze({ ...i, mayHoldNone: true }));

/** Whose trace it is, and when it began. */
export async function hostOf(
  files: readonly string[],
  trace: Trace,
  analysis: Analysis | undefined,
  options: { readonly host?: string | undefined; readonly start?: string | undefined },
): Promise<HostOfTrace> {
  const file = trace.source.name;
  const host = options.host ?? file.replace(/\.[^.]*$/, '');
  if (!/^[\w.:-]{1,255}$/.test(host)) throw new UserError(`--host ${host}: expected letters, digits and . _ : -`);
  if (options.start !== undefined) {
    const ms = Date.parse(options.start);
    if (Number.isNaN(ms)) throw new UserError(`--start ${options.start}: expected a time such as 2026-11-30T12:00:00Z`);
    return { host, file, startUs: ms * 1000, startBy: 'told' };
  }
  const logged = analysis === undefined ? undefined : startOf(analysis);
  if (logged !== undefined) return { host, file, startUs: logged, startBy: 'device-model log' };
  if (trace.lastTsc === 0) await trace.scan(() => {});
  const written = files.flatMap((f) => {
    return f.endsWith(file) && existsSync(f) ? [statSync(f).mtimeMs] : [];
  })[0];
  const lasted = trace.scale.ns(trace.lastTsc - trace.firstTsc) / 1000;
  return { host, file, startUs: Math.floor((written ?? Date.now()) * 1000 - lasted), startBy: 'file time' };
}

/** Says what is not what it was given for. */
export function reportNotes(notes: readonly string[]): void {
  for (const note of notes) console.error(`xenolith: note: ${oneLine(note)}`);
}

/** A rate that nobody told makes every time doubtful. */
export function rateNotes(trace: Trace, analysis: Analysis | undefined): string[] {
  const assumed = analysis?.tscRate === undefined ? !trace.cpuHzTold : analysis.tscRate.by === 'assumed';
  return assumed
    ? [
        `${trace.source.name}: the TSC rate is not known: times assume ${(trace.scale.hz / 1e9).toFixed(1)} GHz, as xenalyze does; --cpu-hz gives the right one`,
      ]
    : [];
}

export function traceIn(input: AnalysisInput): Trace {
  if (input.trace === undefined) throw new UserError("no trace given: expected xentrace's binary form, not xenalyze's text");
  return input.trace;
}

/**
 * Read what was given into tables. A log or a capture goes with a single trace; several traces are read one by one.
 * @returns what makes their times doubtful
 */
export async function loadTraces(
  database: TraceDatabase,
  files: string[],
  options: LoadOptions,
  folder?: string,
): Promise<string[]> {
  const doubts: string[] = [];
  const alone = files.length > 1 && options.dmLog === undefined && options.pcap === undefined && options.console === undefined;
  for (const group of alone ? files.map((f) => [f]) : [files]) {
    const { trace, analysis } = await loadTrace(group, options, database, ({ host, startUs, file }) => {
      if (folder !== undefined) database.beginDataset(folder, host, dayOf(startUs), file);
    });
    if (folder !== undefined) await database.endDataset();
    doubts.push(...rateNotes(trace, analysis));
  }
  return doubts;
}

/** Open one trace with what belongs to it, and give its rows to `sink`. @returns what was read, which is closed again */
export async function loadTrace(
  files: string[],
  options: LoadOptions,
  sink: RowSink,
  before: (who: HostOfTrace) => void = () => {},
): Promise<{ trace: Trace; analysis: Analysis }> {
  const { input, notes, close } = await open(files, options);
  try {
    const trace = traceIn(input);
    const analysis = await analyzed(input);
    reportNotes([...notes, ...analysis.leftOut]);
    const who = await hostOf(files, trace, analysis, options);
    before(who);
    const bar = progressBar(trace.source, true);
    try {
      const { damage } = await traceRows(trace, analysis, who, new Set(TABLE_NAMES), sink, bar.update);
      reportDamage(damage.list, damage.count);
    } finally {
      bar.stop();
    }
    return { trace, analysis };
  } finally {
    await close();
  }
}
