import { TRC_TRACE_CPU_CHANGE } from '../events.ts';
import { NEED_DATA } from './feed.ts';
import type { ByteSource } from './source.ts';
import { CPU_CHANGE_BYTES, MAX_CPUS } from '../writer.ts';

const PROBE_BYTES = 64 * 1024;
const CPU_CHANGE_HEADER = TRC_TRACE_CPU_CHANGE | (2 << 28);
/** Searches remembered. */
const MAX_SEARCHES = 4096;

/** Whether three words can be the record that opens a window: its header, the CPU, the bytes that follow. */
export const plausibleWindow = (header: number, cpu: number, bytes: number): boolean =>
  header === CPU_CHANGE_HEADER && cpu < MAX_CPUS && (bytes & 3) === 0;

/** Reads a source at once where it can answer at once, else when `load` is awaited. */
export class SourceReader {
  readonly source: ByteSource;
  private wanted: { bytes: Uint8Array; offset: number; done: (read: number) => void } | null = null;

  constructor(source: ByteSource) {
    this.source = source;
  }

  /** Fill `bytes` from `offset` and call `done` with how many there were. 0, or NEED_DATA: `await load()` does it. */
  fetch(bytes: Uint8Array, offset: number, done: (read: number) => void): number {
    if (this.source.readSync !== undefined) {
      done(this.source.readSync(offset, bytes));
      return 0;
    }
    this.wanted = { bytes, offset, done };
    return NEED_DATA;
  }

  /** Do what the last NEED_DATA asked for. */
  async load(): Promise<void> {
    const wanted = this.wanted;
    if (wanted === null) return;
    this.wanted = null;
    wanted.done(await this.source.read(wanted.offset, wanted.bytes));
  }
}

/** Looks at places of a trace file apart from any CPU's reading position, for the records that open windows. */
export class WindowProbe {
  /** Bytes of the file; `at` says where a file offset lies in it. */
  readonly view: DataView;
  private readonly reader: SourceReader;
  private readonly bytes: Uint8Array;
  private offset = 0;
  private filled = 0;
  /** Where a search that began at some offset ended: other CPUs need not search again. */
  private readonly found = new Map<number, number>();
  /** The search that waits for data: where it began, how far it is. */
  private searchFrom = -1;
  private searchAt = 0;

  constructor(reader: SourceReader) {
    this.reader = reader;
    // A header that the file's end cuts is looked at as if something followed.
    this.bytes = new Uint8Array(Math.min(PROBE_BYTES, reader.source.size) + 64);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Index in `view` of file offset `offset`, with `bytes` bytes behind it unless the file ends; or NEED_DATA. */
  at(offset: number, bytes: number): number {
    const { size } = this.reader.source;
    const inside = offset >= this.offset && Math.min(offset + bytes, size) <= this.offset + this.filled;
    if (!inside) {
      const loaded = this.reader.fetch(
        bytes === CPU_CHANGE_BYTES ? this.bytes : this.bytes.subarray(0, bytes),
        offset,
        (read) => {
          this.offset = offset;
          this.filled = read;
        },
      );
      if (loaded === NEED_DATA) return NEED_DATA;
    }
    return offset - this.offset;
  }

  /** Offset of the first thing at or after `from` that looks like a window, or the file's size; or NEED_DATA. */
  nextWindow(from: number): number {
    const known = this.found.get(from);
    if (known !== undefined) return known;
    if (this.searchFrom !== from) {
      this.searchFrom = from;
      this.searchAt = from;
    }
    const { size } = this.reader.source;
    let found = size;
    for (let offset = this.searchAt; offset + CPU_CHANGE_BYTES <= size; offset++) {
      const have = this.at(offset, CPU_CHANGE_BYTES);
      if (have === NEED_DATA) {
        this.searchAt = offset;
        return NEED_DATA;
      }
      const { view } = this;
      if (plausibleWindow(view.getUint32(have, true), view.getUint32(have + 4, true), view.getUint32(have + 8, true))) {
        found = offset;
        break;
      }
    }
    if (this.found.size < MAX_SEARCHES) this.found.set(from, found);
    return found;
  }
}
