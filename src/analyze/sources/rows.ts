/** Rows a chunk holds: a store grows without copying what it has. */
const CHUNK_ROWS = 4096;

/** A table of numbers that grows: `doubles` f64 and `words` i32 columns. Unset fields are 0. */
export class Rows {
  private readonly doubles: number;
  private readonly words: number;
  private readonly f64: Float64Array[] = [];
  private readonly i32: Int32Array[] = [];

  constructor(doubles: number, words: number) {
    this.doubles = doubles;
    this.words = words;
  }

  /** Makes room for a row. */
  reserve(row: number): void {
    while (row >= this.f64.length * CHUNK_ROWS) {
      this.f64.push(new Float64Array(this.doubles * CHUNK_ROWS));
      this.i32.push(new Int32Array(this.words * CHUNK_ROWS));
    }
  }

  double(row: number, column: number): number {
    return this.f64[Math.floor(row / CHUNK_ROWS)]![(row % CHUNK_ROWS) * this.doubles + column]!;
  }

  setDouble(row: number, column: number, value: number): void {
    this.f64[Math.floor(row / CHUNK_ROWS)]![(row % CHUNK_ROWS) * this.doubles + column] = value;
  }

  word(row: number, column: number): number {
    return this.i32[Math.floor(row / CHUNK_ROWS)]![(row % CHUNK_ROWS) * this.words + column]!;
  }

  setWord(row: number, column: number, value: number): void {
    this.i32[Math.floor(row / CHUNK_ROWS)]![(row % CHUNK_ROWS) * this.words + column] = value;
  }

  /** 64 bits in two columns, low word first. */
  big(row: number, column: number): bigint {
    return (BigInt(this.word(row, column + 1) >>> 0) << 32n) | BigInt(this.word(row, column) >>> 0);
  }

  setBig(row: number, column: number, value: bigint): void {
    this.setWord(row, column, Number(BigInt.asIntN(32, value)));
    this.setWord(row, column + 1, Number(BigInt.asIntN(32, value >> 32n)));
  }
}

/** The i32 column of every stored row that holds its flags; what a flag means is the store's. */
export const FLAGS = 0;

/** One row of a store, read as the object it was made of: the base of every such reader. */
export abstract class StoredRow<Store extends { readonly rows: Rows }> {
  protected readonly store: Store;
  protected readonly row: number;

  constructor(store: Store, row: number) {
    this.store = store;
    this.row = row;
  }

  get index(): number {
    return this.row;
  }

  protected double(column: number): number {
    return this.store.rows.double(this.row, column);
  }

  protected word(column: number): number {
    return this.store.rows.word(this.row, column);
  }

  protected big(column: number): bigint {
    return this.store.rows.big(this.row, column);
  }

  /** Is this bit of the row's flags set? */
  protected flag(bit: number): boolean {
    return (this.word(FLAGS) & bit) !== 0;
  }
}

/** Strings that repeat, by number. */
export class Names {
  private readonly numbers = new Map<string, number>();
  private readonly names: string[] = [];

  number(name: string): number {
    let n = this.numbers.get(name);
    if (n === undefined) {
      n = this.names.length;
      this.numbers.set(name, n);
      this.names.push(name);
    }
    return n;
  }

  name(number: number): string {
    return this.names[number]!;
  }
}
