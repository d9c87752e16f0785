import type { DmChipLine, DmDma, DmRegionLine, DmRequest, DmRequestLine } from './dm-lines.ts';
import { FLAGS, Names, Rows, StoredRow } from './rows.ts';

/**
 * Requests of a device model's log, each a row of numbers: about 120 bytes beside its DMA and chip lines. Objects are
 * made when asked for; the request itself is one and the same each time.
 */

// f64 columns.
const ADDRESS = 0;
const TIME = 1;
const END_TIME = 2;
const REGION_ADDRESS = 3;
const DOUBLES = 4;

// i32 columns, beside FLAGS.
const LINE = 1;
const END_LINE = 2;
const TYPE = 3;
const COUNT = 4;
const SIZE = 5;
/** Data as sent, and as answered. */
const SENT = 6;
const DATA = 8;
const REGION_LINE = 10;
const REGION_NAME = 11;
const WORDS = 12;

const F_TIME = 1;
const F_END_TIME = 2;
const F_DIR = 4;
const F_WRITE = 8;
const F_POINTER = 0x10;
const F_PLAIN = 0x20;
const F_DATA = 0x40;
const F_REGION = 0x80;
/** The request line itself says the direction. */
const F_LINE_DIR = 0x100;
/** A line of configuration space belongs to it. */
const F_CONFIG = 0x200;

const NO_DMA: readonly DmDma[] = [];
const NO_CHIP: readonly DmChipLine[] = [];

/** Holds requests in the order of the log. The latest can still be added to. */
export class RequestStore {
  readonly rows = new Rows(DOUBLES, WORDS);
  readonly names = new Names();
  readonly dma = new Map<number, DmDma[]>();
  readonly chip = new Map<number, DmChipLine[]>();
  readonly requests: StoredRequest[] = [];

  /** Begins a request. */
  begin(line: DmRequestLine): void {
    const { rows } = this;
    const row = this.requests.length;
    rows.reserve(row);
    rows.setDouble(row, ADDRESS, line.addr);
    rows.setWord(row, LINE, line.line);
    rows.setWord(row, TYPE, line.type);
    rows.setWord(row, COUNT, line.count);
    rows.setWord(row, SIZE, line.size);
    rows.setBig(row, SENT, line.data);
    rows.setDouble(row, TIME, line.timeUs ?? 0);
    rows.setWord(
      row,
      FLAGS,
      (line.timeUs === undefined ? 0 : F_TIME) |
        (line.dataIsPtr ? F_POINTER : 0) |
        (line.form === 'plain' ? F_PLAIN : 0) |
        (line.dir === undefined ? 0 : F_LINE_DIR),
    );
    this.requests.push(new StoredRequest(this, row));
    this.end(line);
    if (line.dir !== undefined) this.setDirection(line.dir);
  }

  private get last(): number {
    return this.requests.length - 1;
  }

  private flag(bits: number): void {
    this.rows.setWord(this.last, FLAGS, this.rows.word(this.last, FLAGS) | bits);
  }

  /** The latest request's direction is known: a write's data is what was sent. */
  setDirection(dir: 'read' | 'write'): void {
    this.flag(F_DIR | (dir === 'write' ? F_WRITE : 0));
    if (dir === 'write') this.setData(this.rows.big(this.last, SENT));
  }

  setData(data: bigint): void {
    this.flag(F_DATA);
    this.rows.setBig(this.last, DATA, data);
  }

  /** The device that served the latest request; the first line counts. @returns false where there was one before */
  setRegion(line: DmRegionLine): boolean {
    const row = this.last;
    if ((this.rows.word(row, FLAGS) & F_REGION) !== 0) return false;
    this.flag(F_REGION);
    this.rows.setDouble(row, REGION_ADDRESS, line.addr);
    this.rows.setWord(row, REGION_LINE, line.line);
    this.rows.setWord(row, REGION_NAME, this.names.number(line.name));
    return true;
  }

  /** A line of configuration space belongs to the latest request. @returns false where there was one before */
  setConfig(): boolean {
    if ((this.rows.word(this.last, FLAGS) & F_CONFIG) !== 0) return false;
    this.flag(F_CONFIG);
    return true;
  }

  /** The latest request goes on to this line. */
  end(line: { readonly line: number; readonly timeUs: number | undefined }): void {
    this.rows.setWord(this.last, END_LINE, line.line);
    if (line.timeUs === undefined) return;
    this.flag(F_END_TIME);
    this.rows.setDouble(this.last, END_TIME, line.timeUs);
  }

  addDma(dma: DmDma): void {
    addTo(this.dma, this.last, dma);
  }

  addChip(line: DmChipLine): void {
    addTo(this.chip, this.last, line);
  }
}

function addTo<T>(map: Map<number, T[]>, key: number, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

/** One row, read as a request. */
class StoredRequest extends StoredRow<RequestStore> implements DmRequest {
  get request(): DmRequestLine {
    const flags = this.word(FLAGS);
    return {
      kind: 'request',
      line: this.word(LINE),
      timeUs: (flags & F_TIME) === 0 ? undefined : this.double(TIME),
      type: this.word(TYPE),
      dir: (flags & F_LINE_DIR) === 0 ? undefined : this.dir,
      dataIsPtr: (flags & F_POINTER) !== 0,
      addr: this.double(ADDRESS),
      data: this.big(SENT),
      count: this.word(COUNT),
      size: this.word(SIZE),
      form: (flags & F_PLAIN) === 0 ? 'event' : 'plain',
    };
  }

  get data(): bigint | undefined {
    return this.flag(F_DATA) ? this.big(DATA) : undefined;
  }

  get dir(): 'read' | 'write' | undefined {
    return this.flag(F_DIR) ? (this.flag(F_WRITE) ? 'write' : 'read') : undefined;
  }

  get region(): DmRequest['region'] {
    if (!this.flag(F_REGION)) return undefined;
    return {
      name: this.store.names.name(this.word(REGION_NAME)),
      addr: this.double(REGION_ADDRESS),
      line: this.word(REGION_LINE),
    };
  }

  get dma(): readonly DmDma[] {
    return this.store.dma.get(this.row) ?? NO_DMA;
  }

  get chip(): readonly DmChipLine[] {
    return this.store.chip.get(this.row) ?? NO_CHIP;
  }

  get endLine(): number {
    return this.word(END_LINE);
  }

  get endTimeUs(): number | undefined {
    return this.flag(F_END_TIME) ? this.double(END_TIME) : undefined;
  }
}
