import { TABLES } from './tables.ts';
import type { Cell, Column, RowSink, TableName } from './tables.ts';

/** Rows of one table as text: CSV (RFC 4180) or a JSON object a line. */

/** Takes pieces of text. */
export type TextSink = (text: string) => void;

const FLUSH_AT = 1 << 16;

/** 2026-11-30T12:00:00.000001Z */
function momentText(us: number): string {
  const ms = Math.floor(us / 1000);
  const text = new Date(ms).toISOString();
  return `${text.slice(0, -1)}${String(us - ms * 1000).padStart(3, '0')}Z`;
}

const CSV_QUOTED = /[",\r\n]/;

function csvCell(cell: Cell, column: Column): string {
  if (cell === null) return '';
  if (typeof cell === 'string') return CSV_QUOTED.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
  return column.type === 'moment' ? momentText(Number(cell)) : String(cell);
}

/** 64-bit numbers are strings, as JSON's numbers are read as doubles. */
function jsonCell(cell: Cell, column: Column): unknown {
  if (typeof cell === 'bigint') return String(cell);
  return cell !== null && column.type === 'moment' ? momentText(Number(cell)) : cell;
}

/** Rows of one table as lines; rows of others are left out. Call `end` when there are no more. */
export class LineRows implements RowSink {
  private readonly columns: readonly Column[];
  private readonly table: TableName;
  private readonly form: 'csv' | 'jsonl';
  private readonly write: TextSink;
  private text = '';
  private readonly object: Record<string, unknown> = {};

  constructor(table: TableName, form: 'csv' | 'jsonl', write: TextSink) {
    this.columns = TABLES[table];
    this.table = table;
    this.form = form;
    this.write = write;
    if (form === 'csv') this.text = `${this.columns.map((c) => c.name).join(',')}\n`;
  }

  row(table: TableName, cells: readonly Cell[]): void {
    if (table !== this.table) return;
    if (this.form === 'csv') {
      let line = '';
      for (let i = 0; i < this.columns.length; i++) line += (i > 0 ? ',' : '') + csvCell(cells[i]!, this.columns[i]!);
      this.text += `${line}\n`;
    } else {
      this.columns.forEach((column, i) => (this.object[column.name] = jsonCell(cells[i]!, column)));
      this.text += `${JSON.stringify(this.object)}\n`;
    }
    if (this.text.length >= FLUSH_AT) this.end();
  }

  end(): void {
    this.write(this.text);
    this.text = '';
  }
}
