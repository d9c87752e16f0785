/** `xenolith trace sql`: questions to traces and to datasets, in SQL. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import type { Answer } from '../export/database-node.ts';
import { inDialect, QUESTIONS } from '../export/questions.ts';
import { TABLE_DOCS, TABLE_NAMES, TABLES } from '../export/tables.ts';
import { writeAll } from '../trace/index-node.ts';
import { withFiles, type FileOptions } from './trace-io.ts';
import { loadTraces, reportNotes } from './trace-load.ts';
import { traceCommand } from './trace.ts';

interface SqlOptions extends FileOptions {
  question?: string;
  list?: boolean;
  schema?: boolean;
  csv?: boolean;
  host?: string;
  start?: string;
}

/** Adds `sql` to the command `trace`. */
export function registerTraceSql(program: Command): void {
  const trace = program.commands.find((c) => c.name() === 'trace') ?? traceCommand(program);
  withFiles(trace.command('sql'))
    .description('ask traces, or datasets of trace export --parquet, in SQL: the query comes first, then files and folders')
    .option('--question <name>', 'a ready question in place of the query; --list shows them all')
    .option('--list', 'the ready questions')
    .option('--schema', 'the tables and their columns')
    .option('--csv', 'CSV instead of text')
    .option('--host <name>', "the traced host's name; the trace file's when left out")
    .option('--start <time>', 'wall-clock time at which the trace begins: 2026-11-30T12:00:00Z')
    .addHelpText(
      'after',
      "\nExample (on the files of npm start):\n  xenolith trace sql 'SELECT reason_name, count(*) FROM exits GROUP BY 1 ORDER BY 2 DESC' out/trace.trc\n" +
        '  xenolith trace sql --question dearest-registers out/trace.trc --dm-log out/qemu-dm.log\n',
    )
    .action(async (words: string[], options: SqlOptions) => {
      await runSql(words, options);
    });
}

async function runSql(words: string[], options: SqlOptions): Promise<void> {
  if (options.list === true) {
    for (const q of QUESTIONS) print(`${q.name.padEnd(18)} ${q.asks}\n`);
    return;
  }
  if (options.schema === true) {
    print(schemaText());
    return;
  }
  const question = options.question === undefined ? undefined : QUESTIONS.find((q) => q.name === options.question);
  if (options.question !== undefined && question === undefined)
    throw new UserError(`unknown question '${options.question}'; expected one of ${QUESTIONS.map((q) => q.name).join(', ')}`);
  const [query, files] = question === undefined ? [words[0], words.slice(1)] : [question.sql, words];
  if (query === undefined)
    throw new UserError("no query given: trace sql 'SELECT …' FILES, or --question NAME FILES; see --help");
  if (question === undefined && existsSync(query))
    throw new UserError(`the query comes first: trace sql 'SELECT …' ${words.join(' ')}`);
  if (files.length === 0)
    throw new UserError('no file given: expected xentrace files, or a folder that trace export --parquet wrote');
  const { TraceDatabase } = await import('../export/database-node.ts');
  const database = await TraceDatabase.open();
  let doubts: string[] = [];
  try {
    for (const file of files.filter(isDataset)) await database.attach(file);
    const rest = files.filter((f) => !isDataset(f));
    if (rest.length > 0) {
      await database.prepare();
      doubts = await loadTraces(database, rest, options);
      await database.settle();
    }
    const answer = await database.query(inDialect(query, 'duckdb'));
    print(options.json === true ? jsonText(answer) : options.csv === true ? csvText(answer) : tableText(answer));
    reportNotes(doubts);
  } finally {
    database.close();
  }
}

const print = (text: string): void => void writeAll(process.stdout.fd, Buffer.from(text));
const isFolder = (path: string): boolean => existsSync(path) && statSync(path).isDirectory();
/** A folder that holds one of the tables. */
const isDataset = (path: string): boolean => isFolder(path) && TABLE_NAMES.some((t) => isFolder(join(path, t)));

type Value = Answer['rows'][number][number];

const shown = (value: Value): string =>
  value === null ? '' : typeof value === 'number' && !Number.isInteger(value) ? value.toPrecision(6) : String(value);

/** Rows as a table: text to the left, numbers to the right. */
function tableText({ columns, rows }: Answer): string {
  const cells = rows.map((r) => r.map(shown));
  const right = columns.map((_, i) => rows.some((r) => typeof r[i] === 'number' || typeof r[i] === 'bigint'));
  const width = columns.map((c, i) => cells.reduce((w, r) => Math.max(w, r[i]!.length), c.length));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (right[i]! ? cell.padStart(width[i]!) : cell.padEnd(width[i]!)))
      .join('  ')
      .trimEnd();
  return `${[line(columns), ...cells.map(line)].join('\n')}\n`;
}

const jsonText = ({ columns, rows }: Answer): string =>
  rows
    .map((r) => `${JSON.stringify(Object.fromEntries(r.map((v, i) => [columns[i]!, typeof v === 'bigint' ? String(v) : v])))}\n`)
    .join('');

function csvText({ columns, rows }: Answer): string {
  const cell = (v: Value): string => {
    const text = v === null ? '' : String(v);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((r) => `${r.map(cell).join(',')}\n`).join('');
}

/** The tables and their columns. */
function schemaText(): string {
  const lines: string[] = [];
  for (const table of TABLE_NAMES) {
    lines.push(`${table}: ${TABLE_DOCS[table]}`);
    for (const c of TABLES[table]) lines.push(`  ${c.name.padEnd(15)} ${c.type.padEnd(7)} ${c.doc}`);
    lines.push('');
  }
  return lines.join('\n');
}
