/**
 * The questions of `trace sql`, asked of a synthetic fleet: a dataset of many hosts, made from one trace that is repeated with
 * other host names and stretched times. Shows for each question the time and the bytes of the columns it reads, and how both
 * grow; with --clickhouse also whether ClickHouse gives the same answers (its engine is installed into a scratch folder).
 * Usage: npx tsx bench/fleet.ts TRACE [--hosts 50,100,200] [--seconds 60] [--dm-log LOG] [--pcap FILE] [--clickhouse SCRATCH] [--json]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';
import { TraceDatabase } from '../src/export/database-node.ts';
import { inDialect, QUESTIONS } from '../src/export/questions.ts';
import { dayOf, traceRows, type HostOfTrace } from '../src/export/rows.ts';
import { TABLE_NAMES, TABLES } from '../src/export/tables.ts';
import { analyze } from '../src/analyze/index.ts';
import { openAnalysis } from '../src/analyze/files-node.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hosts: { type: 'string', default: '50,100,200' },
    seconds: { type: 'string', default: '60' },
    clickhouse: { type: 'string' },
    'dm-log': { type: 'string' },
    pcap: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const [traceFile] = positionals;
if (traceFile === undefined) {
  console.error('give an xentrace file');
  process.exit(1);
}
const sizes = values.hosts.split(',').map(Number);
const seconds = Number(values.seconds);
const folder = mkdtempSync(join(tmpdir(), 'xenolith-fleet-'));

/** One host's dataset, from the trace itself. */
async function base(): Promise<number> {
  const { input, close } = await openAnalysis({ files: [traceFile!], dmLog: values['dm-log'], pcap: values.pcap });
  const trace = input.trace!;
  const analysis = await analyze({ ...input, mayHoldNone: true });
  const who: HostOfTrace = { host: 'base', file: 'base', startUs: 1_764_504_000_000_000, startBy: 'told' };
  const database = await TraceDatabase.open();
  await database.prepare();
  database.beginDataset(join(folder, 'base'), who.host, dayOf(who.startUs), who.file);
  await traceRows(trace, analysis, who, new Set(TABLE_NAMES), database);
  await database.endDataset();
  database.close();
  await close();
  return trace.scale.ns(trace.lastTsc - trace.firstTsc);
}

/** Hosts from `from` on, each with the base repeated for so many seconds; times differ from host to host by up to a fifth. */
async function grow(from: number, to: number, lastedNs: number): Promise<void> {
  const repeats = Math.max(1, Math.round((seconds * 1e9) / lastedNs));
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  for (let host = from; host < to; host++) {
    const name = `host${String(host).padStart(3, '0')}`;
    const stretch = (1 + ((host * 37) % 20) / 100).toFixed(2);
    for (const table of TABLE_NAMES) {
      const source = join(folder, 'base', table, 'host=base');
      if (!existsSync(source)) continue;
      const columns = TABLES[table].map((c) => {
        if (c.name === 'host') return `'${name}' AS host`;
        if (c.name === 'duration_ns' && table === 'hosts') return `CAST(duration_ns * ${repeats} AS BIGINT) AS duration_ns`;
        if (c.name === 'records' && table === 'hosts') return `records * ${repeats} AS records`;
        if (c.name.endsWith('_ns') && c.name !== 'time_ns') return `CAST(floor(${c.name} * ${stretch}) AS BIGINT) AS ${c.name}`;
        if (c.name === 'time_ns') return `time_ns + n * ${lastedNs} AS time_ns`;
        if (c.name === 'at') return `"at" + to_microseconds(CAST(n * ${Math.floor(lastedNs / 1000)} AS BIGINT)) AS "at"`;
        return `"${c.name}"`;
      });
      const place = join(folder, 'fleet', table, `host=${name}`, 'day=2025-11-30');
      mkdirSync(place, { recursive: true });
      const copies = table === 'hosts' ? 1 : repeats;
      await connection.run(
        `COPY (SELECT ${columns.join(', ')} FROM read_parquet('${source}/*/*.parquet', hive_partitioning = false), range(${copies}) AS r(n))
         TO '${place}/base-0.parquet' (FORMAT parquet, COMPRESSION zstd)`,
      );
    }
  }
  connection.closeSync();
  instance.closeSync();
}

function bytesIn(path: string): number {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((f) => f.isFile())
    .reduce((n, f) => n + statSync(join(f.parentPath, f.name)).size, 0);
}

/** ClickHouse's engine, of the npm package chdb. */
function clickhouse(scratch: string): (sql: string) => unknown[][] {
  const home = resolve(scratch);
  if (!existsSync(join(home, 'node_modules/chdb'))) {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), '{"private":true}');
    const { status } = spawnSync('npm', ['install', 'chdb'], { cwd: home, stdio: 'inherit' });
    if (status !== 0) throw new Error('chdb does not install');
  }
  const { query } = createRequire(join(home, 'package.json'))('chdb') as { query(sql: string, format: string): string };
  const tables = TABLE_NAMES.filter((t) => existsSync(join(folder, 'fleet', t)));
  const types = {
    int: 'Int64',
    uint64: 'UInt64',
    real: 'Float64',
    text: 'String',
    bool: 'Bool',
    moment: 'DateTime64(6)',
  } as const;
  const structure = (t: (typeof tables)[number]): string =>
    TABLES[t].map((c) => `\`${c.name}\` Nullable(${types[c.type]})`).join(', ');
  return (sql) => {
    const named = TABLE_NAMES.reduce(
      (s, t) =>
        s.replace(
          new RegExp(`\\b(FROM|JOIN) ${t}\\b`, 'g'),
          tables.includes(t)
            ? `$1 file('${join(folder, 'fleet', t)}/*/*/*.parquet', Parquet, '${structure(t)}')`
            : `$1 (SELECT * FROM null('${structure(t)}'))`,
        ),
      sql,
    );
    const text = query(
      `${named} SETTINGS join_use_nulls = 1, output_format_json_quote_64bit_integers = 0, use_hive_partitioning = 0`,
      'JSONCompactEachRow',
    );
    return text
      .split('\n')
      .filter((l) => l !== '')
      .map((l) => JSON.parse(l) as unknown[]);
  };
}

/** Whether two answers are the same: numbers to a millionth of a millionth, as sums of doubles differ in their last digits. */
function same(a: readonly (readonly unknown[])[], b: readonly (readonly unknown[])[]): boolean {
  return (
    a.length === b.length &&
    a.every((row, i) =>
      row.every((x, j) => {
        const y = b[i]![j];
        return typeof x === 'number' && typeof y === 'number' ? Math.abs(x - y) <= 1e-12 * Math.abs(x) : x === y;
      }),
    )
  );
}

interface Row {
  question: string;
  hosts: number;
  seconds: number;
  bytes: number;
  rows: number;
  clickhouseSeconds: number | null;
  equal: boolean | null;
}

const results: Row[] = [];
const totals: { hosts: number; bytes: number; rows: number }[] = [];
try {
  const lasted = await base();
  let made = 0;
  for (const hosts of sizes) {
    await grow(made, hosts, lasted);
    made = hosts;
    const database = await TraceDatabase.open();
    await database.attach(join(folder, 'fleet'));
    const count = (await database.query(TABLE_NAMES.map((t) => `SELECT count(*) FROM ${t}`).join(' UNION ALL '))).rows;
    totals.push({ hosts, bytes: bytesIn(join(folder, 'fleet')), rows: count.reduce((n, r) => n + Number(r[0]), 0) });
    const meta = await database.query(
      `SELECT regexp_extract(file_name, '/([a-z]+)/host=', 1), path_in_schema, sum(total_compressed_size) FROM parquet_metadata('${join(folder, 'fleet')}/*/*/*/*.parquet') GROUP BY 1, 2`,
    );
    const ask = values.clickhouse === undefined ? undefined : clickhouse(values.clickhouse);
    for (const q of QUESTIONS) {
      const started = performance.now();
      const answer = await database.query(inDialect(q.sql, 'duckdb'));
      const took = (performance.now() - started) / 1000;
      const bytes = meta.rows
        .filter(
          ([table, column]) =>
            new RegExp(`(FROM|JOIN) ${String(table)}\\b`).test(q.sql) && new RegExp(`\\b${String(column)}\\b`).test(q.sql),
        )
        .reduce((n, r) => n + Number(r[2]), 0);
      let clickhouseSeconds: number | null = null;
      let equal: boolean | null = null;
      if (ask !== undefined) {
        const from = performance.now();
        const theirs = ask(inDialect(q.sql, 'clickhouse'));
        clickhouseSeconds = (performance.now() - from) / 1000;
        equal = same(answer.rows, theirs);
        if (!equal)
          console.error(
            `${q.name}: answers differ:\n${JSON.stringify(answer.rows.slice(0, 3))}\n${JSON.stringify(theirs.slice(0, 3))}`,
          );
      }
      results.push({ question: q.name, hosts, seconds: took, bytes, rows: answer.rows.length, clickhouseSeconds, equal });
    }
    database.close();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (values.json)
  console.log(JSON.stringify({ processors: cpus().length, load: loadavg()[0], seconds, totals, results }, null, 1));
else {
  for (const t of totals)
    console.log(`${t.hosts} hosts of ${seconds} s: ${t.rows} rows, ${(t.bytes / 1e6).toFixed(1)} MB of Parquet`);
  console.log(
    `${'question'.padEnd(18)} ${sizes.map((n) => `${n} hosts: s      MB`.padStart(24)).join('')}${values.clickhouse === undefined ? '' : '   ClickHouse s'}`,
  );
  for (const q of QUESTIONS) {
    const of = results.filter((r) => r.question === q.name);
    const theirs = of.at(-1)!;
    console.log(
      `${q.name.padEnd(18)} ${of.map((r) => `${r.seconds.toFixed(2).padStart(15)} ${(r.bytes / 1e6).toFixed(1).padStart(8)}`).join('')}${theirs.equal === null ? '' : `${theirs.clickhouseSeconds!.toFixed(2).padStart(12)} ${of.every((r) => r.equal === true) ? 'equal' : 'DIFFERENT'}`}`,
    );
  }
}
if (results.some((r) => r.equal === false)) process.exitCode = 1;
