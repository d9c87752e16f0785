import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type * as DuckDb from '@duckdb/node-api';
import { UserError } from '../base/errors.ts';
import { TABLE_NAMES, TABLES } from './tables.ts';
import type { Cell, ColumnType, RowSink, TableName } from './tables.ts';

/** Traces as tables of an embedded DuckDB, and as a Parquet dataset on disk. */

type Api = typeof DuckDb;

/** DuckDB is native code that not every system has: it is loaded when it is asked for. */
async function duckdb(): Promise<Api> {
  try {
    return await import('@duckdb/node-api');
  } catch {
    throw new UserError('SQL and Parquet need DuckDB, which is not installed: npm install @duckdb/node-api');
  }
}

/** Rows that are handed over at once: DuckDB's vector size. */
const CHUNK_ROWS = 2048;
/** Rows of a table that are held before they go to a Parquet file. */
const PART_ROWS = 1_000_000;

/** How a column is held in a table; `moment` is a whole number there, and a TIMESTAMP in what a query sees. */
const SQL_TYPES: Readonly<Record<ColumnType, string>> = {
  int: 'BIGINT',
  uint64: 'UBIGINT',
  real: 'DOUBLE',
  text: 'VARCHAR',
  bool: 'BOOLEAN',
  moment: 'BIGINT',
};

const identifier = (name: string): string => `"${name}"`;
const text = (value: string): string => `'${value.replaceAll("'", "''")}'`;

const visible = (table: TableName): string =>
  TABLES[table]
    .map((c) => (c.type === 'moment' ? `make_timestamp(${identifier(c.name)}) AS ${identifier(c.name)}` : identifier(c.name)))
    .join(', ');

/** Columns of a table as they are gathered. */
class Batch {
  readonly columns: Cell[][];
  rows = 0;

  constructor(width: number) {
    this.columns = Array.from({ length: width }, () => new Array<Cell>(CHUNK_ROWS).fill(null));
  }
}

interface Stored {
  readonly batch: Batch;
  readonly appender: DuckDb.DuckDBAppender;
  readonly whole: readonly boolean[];
  readonly types: readonly DuckDb.DuckDBType[];
  readonly chunk: DuckDb.DuckDBDataChunk;
  /** Rows in the table that are in no Parquet file yet. */
  held: number;
  parts: number;
}

/** What a query gives: names of columns, and rows of plain values. */
export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | bigint | boolean | null)[])[];
}

/** A database of traces. Rows go into its tables (`row`), or the tables are views of a dataset. Close it when done. */
export class TraceDatabase implements RowSink {
  private readonly api: Api;
  private readonly instance: DuckDb.DuckDBInstance;
  private readonly connection: DuckDb.DuckDBConnection;
  private readonly tables = new Map<TableName, Stored>();
  /** Where Parquet files go while a dataset is written. */
  private target: { folder: string; host: string; day: string; file: string } | undefined;

  private constructor(api: Api, instance: DuckDb.DuckDBInstance, connection: DuckDb.DuckDBConnection) {
    this.api = api;
    this.instance = instance;
    this.connection = connection;
  }

  /** An empty database in memory, with the tables `_exits` … and views of them, `exits` …, as a query sees them. */
  static async open(): Promise<TraceDatabase> {
    const api = await duckdb();
    const instance = await api.DuckDBInstance.create(':memory:');
    const database = new TraceDatabase(api, instance, await instance.connect());
    for (const table of TABLE_NAMES) {
      const columns = TABLES[table].map((c) => `${identifier(c.name)} ${SQL_TYPES[c.type]}`).join(', ');
      await database.connection.run(
        `CREATE TABLE _${table} (${columns}); CREATE VIEW ${table} AS SELECT ${visible(table)} FROM _${table}`,
      );
    }
    return database;
  }

  private async store(table: TableName): Promise<Stored> {
    const { api } = this;
    const types = TABLES[table].map((c) =>
      c.type === 'text'
        ? api.VARCHAR
        : c.type === 'bool'
          ? api.BOOLEAN
          : c.type === 'uint64'
            ? api.UBIGINT
            : c.type === 'real'
              ? api.DOUBLE
              : api.BIGINT,
    );
    const stored: Stored = {
      batch: new Batch(types.length),
      appender: await this.connection.createAppender(`_${table}`),
      whole: TABLES[table].map((c) => c.type === 'int' || c.type === 'moment'),
      types,
      chunk: api.DuckDBDataChunk.create(types),
      held: 0,
      parts: 0,
    };
    this.tables.set(table, stored);
    return stored;
  }

  /** Make ready to take rows. */
  async prepare(): Promise<void> {
    for (const table of TABLE_NAMES) if (!this.tables.has(table)) await this.store(table);
  }

  row(table: TableName, cells: readonly Cell[]): void {
    const stored = this.tables.get(table)!;
    const { batch, whole } = stored;
    const at = batch.rows++;
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!;
      batch.columns[i]![at] = whole[i]! && cell !== null ? BigInt(cell as number) : cell;
    }
    if (batch.rows === CHUNK_ROWS) this.hand(stored);
  }

  /** Hand the gathered rows to DuckDB. */
  private hand(stored: Stored): void {
    const { batch, chunk } = stored;
    if (batch.rows === 0) return;
    const full = batch.rows === CHUNK_ROWS;
    const into = full ? chunk : this.api.DuckDBDataChunk.create([...stored.types]);
    if (full) into.reset();
    into.setColumns(full ? batch.columns : batch.columns.map((c) => c.slice(0, batch.rows)));
    stored.appender.appendDataChunk(into);
    stored.held += batch.rows;
    batch.rows = 0;
  }

  /** Rows that came are visible to queries. */
  async settle(): Promise<void> {
    for (const stored of this.tables.values()) {
      this.hand(stored);
      stored.appender.flushSync();
    }
  }

  /** Called now and then while rows come: what is held does not grow without bound. */
  async drain(): Promise<void> {
    if (this.target === undefined) return;
    for (const [table, stored] of this.tables) if (stored.held >= PART_ROWS) await this.part(table, stored);
  }

  /** Write what is held of a table to a Parquet file of its own. */
  private async part(table: TableName, stored: Stored): Promise<void> {
    const { folder, host, day, file } = this.target!;
    this.hand(stored);
    stored.appender.flushSync();
    if (stored.held === 0) return;
    const place = join(folder, table, `host=${host}`, `day=${day}`);
    mkdirSync(place, { recursive: true });
    const path = join(place, `${file}-${stored.parts++}.parquet`);
    await this.connection.run(
      `COPY (SELECT ${visible(table)} FROM _${table}) TO ${text(path)} (FORMAT parquet, COMPRESSION zstd); TRUNCATE _${table}`,
    );
    stored.held = 0;
  }

  /** From here on rows go into a dataset: a folder a table, partitioned by host and day. Files of the same trace are replaced. */
  beginDataset(folder: string, host: string, day: string, file: string): void {
    const name = file.replace(/[^\w.-]/g, '_');
    this.target = { folder, host, day, file: name };
    for (const [table, stored] of this.tables) {
      stored.parts = 0;
      const place = join(folder, table, `host=${host}`, `day=${day}`);
      if (!existsSync(place)) continue;
      for (const old of readdirSync(place))
        if (old.startsWith(`${name}-`) && /^\d+\.parquet$/.test(old.slice(name.length + 1))) rmSync(join(place, old));
    }
  }

  /** Write the rest of the rows. */
  async endDataset(): Promise<void> {
    for (const [table, stored] of this.tables) await this.part(table, stored);
    this.target = undefined;
  }

  /** Let the tables be those of a dataset. @throws UserError where the folder holds none */
  async attach(folder: string): Promise<void> {
    let found = 0;
    for (const table of TABLE_NAMES) {
      const place = join(folder, table);
      if (!existsSync(place) || !statSync(place).isDirectory()) continue;
      found++;
      const files = text(join(place, '*', '*', '*.parquet'));
      await this.connection.run(
        `CREATE OR REPLACE VIEW ${table} AS SELECT ${TABLES[table].map((c) => identifier(c.name)).join(', ')}
         FROM read_parquet(${files}, hive_partitioning = false)
         UNION ALL SELECT ${visible(table)} FROM _${table}`,
      );
    }
    if (found === 0) throw new UserError(`${folder} holds no dataset: expected the output of trace export --parquet`);
  }

  /** @throws UserError where DuckDB refuses the query */
  async query(sql: string): Promise<Answer> {
    try {
      const reader = await this.connection.runAndReadAll(sql);
      const rows = reader.getRowsJS() as (string | number | bigint | boolean | null)[][];
      return { columns: reader.columnNames(), rows: rows.map((r) => r.map(plain)) };
    } catch (error) {
      throw new UserError(`the query fails: ${(error as Error).message}`);
    }
  }

  close(): void {
    for (const { appender } of this.tables.values()) appender.closeSync();
    this.connection.closeSync();
    this.instance.closeSync();
  }
}

/** A value as text, number or truth: whole numbers that a double holds are numbers; moments are ISO texts. */
function plain(value: unknown): string | number | bigint | boolean | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint') return value >= -0x1fffffffffffffn && value <= 0x1fffffffffffffn ? Number(value) : value;
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean' ? value : JSON.stringify(value);
}
