/** Bytes of a file that one pCPU's reading position keeps in memory. */
const BUFFER_BYTES = 128 * 1024;
/** Words past the buffer's end that may be looked at without a check: a record with seven extra words and its TSC. */
const SLACK_WORDS = 16;
/** Words of the largest record. */
export const RECORD_WORDS = 10;

/**
 * A pCPU of the traced host: its reading position in the file, the record there, and what the merge needs to know
 * about its clock. Words of the record are `words[data … data + extra − 1]`; they are valid until the next step.
 */
export class Pcpu {
  readonly pid: number;
  active = false;

  /** File content from byte `bufferOffset` on; `filled` words of it are valid. */
  words: Int32Array = new Int32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  bufferOffset = 0;
  filled = 0;
  /** The next header word is `words[index]`. */
  index = 0;
  /** Word index, in the same buffer, at which this CPU's window ends. */
  windowEnd = 0;
  /** File offset of the CPU change record that is expected next. */
  nextChangeOffset = 0;
  lastChangePid = 0;
  /** Offset of the CPU change record met last, and whether its window was another CPU's. */
  changeOffset = 0;
  skipped = false;

  /** The record at the reading position. */
  event = 0;
  extra = 0;
  /** Bytes. */
  size = 0;
  hasTsc = false;
  data = 0;
  /** Words of the record before, and what followed it. */
  private readonly before = new Int32Array(RECORD_WORDS);
  /** TSC with this CPU's skew taken into account; the one before where the record has none. */
  tsc = 0;
  /** In place of `data` for a CPU change record, whose bytes may be gone when it is acted on. */
  changeCpu = 0;
  changeBytes = 0;

  firstTsc = 0;
  lastTsc = 0;
  /** What the merge sorts by: the TSC, for a lost-records record that of the first lost one. */
  orderTsc = 0;
  /** Ticks added to this CPU's TSCs, as found from runstate changes seen out of order. */
  skew = 0;
  /** CPUs whose skew was derived from this one's, a bit each; CPUs past 31 have none, as in xenalyze. */
  skewDownstream = 0;

  constructor(pid: number) {
    this.pid = pid;
  }

  /** File offset of the record at the reading position. */
  get offset(): number {
    return this.bufferOffset + this.index * 4;
  }

  /** xenalyze reads every record into one buffer; remember what it holds after the record at word `index`. */
  keep(index: number): void {
    for (let i = 0; i < RECORD_WORDS; i++) this.before[i] = this.words[index + i] ?? 0;
  }

  /** The file has only `rest` bytes from word `index` on: behind them its buffer keeps what it held. */
  restore(index: number, rest: number): void {
    const { words, before } = this;
    const whole = rest >> 2;
    const mask = -1 << (8 * (rest & 3));
    words[index + whole] = (words[index + whole]! & ~mask) | (before[whole]! & mask);
    for (let k = whole + 1; k < RECORD_WORDS; k++) words[index + k] = before[k]!;
  }

  /** Make the buffer, no larger than a file of `fileBytes` needs. */
  allocate(fileBytes: number): void {
    if (this.words.length !== 0) return;
    const bytes = Math.min(BUFFER_BYTES, (fileBytes + 3) & ~3);
    this.words = new Int32Array(bytes / 4 + SLACK_WORDS);
    this.bytes = new Uint8Array(this.words.buffer, 0, bytes);
  }

  /** Move the reading position; what the buffer holds stays when the position lies on one of its words. */
  seek(offset: number): void {
    const at = (offset - this.bufferOffset) / 4;
    if (at >= 0 && at <= this.filled && Number.isInteger(at)) {
      this.index = at;
    } else {
      this.bufferOffset = offset;
      this.filled = 0;
      this.index = 0;
    }
  }
}
