/** Where a run puts its files and the guest's console. */
import { constants, createWriteStream, fstatSync, ftruncateSync, openSync, type Stats, type WriteStream } from 'node:fs';
import { dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { Listeners } from '../base/listeners.ts';
import { UserError } from '../base/errors.ts';
import { makeFolder } from '../machine/folders-node.ts';
import type { Inputs } from './inputs.ts';

export interface OutputPaths {
  readonly trace?: string;
  readonly dmLog?: string;
  readonly pcap?: string;
  /** `-` is standard output. */
  readonly console: readonly string[];
}

type FileName = 'trace' | 'dmLog' | 'pcap';
const FLAGS: Readonly<Record<FileName, string>> = { trace: '--trace', dmLog: '--dm-log', pcap: '--pcap' };

export class Outputs {
  /** The first of the outputs can take no more; said once. */
  readonly losses = new Listeners<NodeJS.ErrnoException>();
  private readonly files = new Map<FileName, WriteStream>();
  private readonly consoles: WriteStream[] = [];
  private readonly toStdout: boolean;
  private readonly streams: { path: string; stream: WriteStream }[] = [];
  private lost: { path: string; error: NodeJS.ErrnoException } | undefined;
  private readonly stdoutLost = (error: NodeJS.ErrnoException): void => this.lose('standard output', error);

  /**
   * Opens all files, and empties them only when every one could be opened. Throws UserError when one cannot be written,
   * is named twice or is one that the run reads.
   */
  constructor(paths: OutputPaths, inputs: Inputs) {
    const taken = new Set<string>();
    const claim = (path: string, stats: Stats): void => {
      // Only a file would be spoilt: /dev/null and pipes take any number of writers.
      if (!stats.isFile()) return;
      const identity = `${stats.dev}:${stats.ino}`;
      if (inputs.has(stats)) throw new UserError(`${path}: the run reads this file; name another one for its output`);
      if (taken.has(identity)) throw new UserError(`${path}: named for two outputs; give each its own file`);
      taken.add(identity);
    };
    const opened: number[] = [];
    const open = (path: string): WriteStream => {
      const fd = openForWriting(path);
      const stats = fstatSync(fd);
      claim(path, stats);
      if (stats.isFile()) opened.push(fd);
      const stream = createWriteStream(path, { fd });
      stream.on('error', (error) => this.lose(path, error));
      this.streams.push({ path, stream });
      return stream;
    };
    const consoles = paths.console.length > 0 ? paths.console : ['-'];
    if (consoles.filter((path) => path === '-').length > 1)
      throw new UserError('--console -: named for two outputs; give it once');
    this.toStdout = consoles.includes('-');
    if (this.toStdout) claim('standard output', fstatSync(1));
    for (const name of ['trace', 'dmLog', 'pcap'] as const) {
      const path = paths[name];
      if (path === '-') throw new UserError(`${FLAGS[name]} -: only the console goes to standard output; name a file`);
      if (path !== undefined) this.files.set(name, open(path));
    }
    for (const path of consoles) if (path !== '-') this.consoles.push(open(path));
    for (const fd of opened) ftruncateSync(fd);
    process.stdout.on('error', this.stdoutLost);
  }

  /** A promise where the file takes no more for now. */
  write(name: FileName, data: Uint8Array | string): void | Promise<void> {
    const stream = this.files.get(name);
    return stream === undefined || stream.write(data) ? undefined : drained([stream]);
  }

  /** A promise where one of the consoles takes no more for now. */
  console(bytes: Uint8Array): void | Promise<void> {
    const full: Writable[] = [];
    if (this.toStdout && this.lost?.path !== 'standard output' && !process.stdout.write(bytes)) full.push(process.stdout);
    for (const stream of this.consoles) if (!stream.write(bytes)) full.push(stream);
    return full.length === 0 ? undefined : drained(full);
  }

  /** Waits until everything is written. Throws UserError when an output was lost; a reader of standard output that left is no error. */
  async close(): Promise<void> {
    await Promise.all(
      this.streams.map(async ({ stream }) => {
        stream.end();
        // An error goes to lose().
        await finished(stream).catch(() => {});
      }),
    );
    process.stdout.off('error', this.stdoutLost);
    if (this.lost !== undefined && this.lost.error.code !== 'EPIPE') {
      throw new UserError(`${this.lost.path}: cannot be written: ${this.lost.error.message}; the run ended there`);
    }
  }

  private lose(path: string, error: NodeJS.ErrnoException): void {
    if (this.lost !== undefined) return;
    this.lost = { path, error };
    this.losses.call(error);
  }
}

/** Resolves when all of them take more, or can take none any more. */
async function drained(streams: readonly Writable[]): Promise<void> {
  await Promise.all(
    streams.map(
      (stream) =>
        new Promise<void>((resolve) => {
          if (!stream.writableNeedDrain || stream.destroyed) return void resolve();
          const done = (): void => {
            for (const event of ['drain', 'close', 'error']) stream.off(event, done);
            resolve();
          };
          for (const event of ['drain', 'close', 'error']) stream.on(event, done);
        }),
    ),
  );
}

function openForWriting(path: string): number {
  try {
    makeFolder(dirname(path));
    return openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o666);
  } catch (error) {
    throw new UserError(`${path}: cannot be written: ${(error as Error).message}; name a file in a folder that takes files`);
  }
}
