/** One file that a run writes: compressed where its name says so, and held to a size. */
import { createWriteStream, openSync, renameSync, type WriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Units } from './output-units.ts';

/** What happens at the size: the run stops; or the file goes on as a ring of two halves, the older one named FILE.1. */
export const WHEN_FULL = ['stop', 'ring'] as const;
export type WhenFull = (typeof WHEN_FULL)[number];

/** A file without a limit that grows beyond this is told of, once. */
export const LARGE_BYTES = 2 ** 30;

export interface OutputFileOptions {
  readonly path: string;
  /** Open for writing, and empty. */
  readonly fd: number;
  /** On a disk. */
  readonly isRegular: boolean;
  /** Bytes on the disk; one unit of the file may go beyond. */
  readonly limit: number;
  readonly whenFull: WhenFull;
  readonly units: Units;
  /** What to call a write that failed; the limit with `whenFull` stop; the file's growing large. */
  readonly events: {
    error(error: NodeJS.ErrnoException): void;
    full(): void;
    large(): void;
  };
}

export class OutputFile {
  readonly path: string;
  private readonly options: OutputFileOptions;
  private readonly isCompressed: boolean;
  private file!: WriteStream;
  /** What data goes into: the file, or the compressor before it. */
  private entry!: Writable;
  private isFull = false;
  private isLarge = false;
  /** Set while an earlier write is not done. */
  private busy: Promise<void> | undefined;

  constructor(options: OutputFileOptions) {
    this.options = options;
    this.path = options.path;
    this.isCompressed = options.path.endsWith('.gz');
    this.open(options.fd);
  }

  /** A promise where the file takes no more for now. */
  write(data: Uint8Array | string): void | Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    if (this.busy !== undefined) return this.after(this.busy.then(() => this.put(bytes)));
    const pending = this.put(bytes);
    return pending === undefined ? undefined : this.after(pending);
  }

  /** Waits until everything is written. An error goes to `events.error`. */
  async close(): Promise<void> {
    await this.busy;
    await this.end();
  }

  /** Nobody takes what is written: what is left of it is given up. */
  abandon(): void {
    this.file.destroy();
  }

  /** It waits for somebody to take what was written: a disk always does. */
  get isStuck(): boolean {
    return !this.options.isRegular && this.file.writableNeedDrain;
  }

  private open(fd: number): void {
    const { path, events } = this.options;
    this.file = createWriteStream(path, { fd });
    this.file.on('error', (error) => events.error(error));
    this.entry = this.file;
    if (!this.isCompressed) return;
    const gzip = createGzip({ level: 1 });
    gzip.on('error', (error) => events.error(error));
    gzip.pipe(this.file);
    this.entry = gzip;
  }

  private after(pending: Promise<void>): Promise<void> {
    const busy = pending.finally(() => {
      if (this.busy === busy) this.busy = undefined;
    });
    this.busy = busy;
    return busy;
  }

  /** Bytes that the file has, or will have. */
  private get size(): number {
    return this.file.bytesWritten + this.file.writableLength;
  }

  private put(data: Uint8Array): void | Promise<void> {
    if (this.isFull || this.entry.destroyed) return undefined;
    const { limit, whenFull, units, events } = this.options;
    const room = (whenFull === 'ring' ? limit / 2 : limit) - this.size;
    const cut = limit === Infinity ? -1 : units.endAfter(data, Math.max(0, room));
    if (limit === Infinity && !this.isLarge && this.size > LARGE_BYTES) {
      this.isLarge = true;
      events.large();
    }
    if (room > data.length || cut < 0) return this.send(data);
    const sent = this.send(data.subarray(0, cut));
    if (whenFull === 'ring') return this.turn(data.subarray(cut), sent);
    this.isFull = true;
    events.full();
    return sent;
  }

  private send(data: Uint8Array): void | Promise<void> {
    return data.length === 0 || this.entry.write(data) ? undefined : drained(this.entry);
  }

  /** The file becomes the older half, and a new one begins. */
  private async turn(rest: Uint8Array, sent: void | Promise<void>): Promise<void> {
    const { path, units, events } = this.options;
    await sent;
    await this.end();
    try {
      renameSync(path, `${path}.1`);
      this.open(openSync(path, 'w'));
    } catch (error) {
      events.error(error as NodeJS.ErrnoException);
      return;
    }
    await this.send(units.head);
    await this.send(rest);
  }

  private async end(): Promise<void> {
    this.entry.end();
    // An error goes to `events.error`.
    await finished(this.file).catch(() => {});
  }
}

/** Resolves when a stream takes more, or can take none any more. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (!stream.writableNeedDrain || stream.destroyed) return void resolve();
    const done = (): void => {
      for (const event of ['drain', 'close', 'error']) stream.off(event, done);
      resolve();
    };
    for (const event of ['drain', 'close', 'error']) stream.on(event, done);
  });
}
