/** Where a run puts its files and the guest's console. */
import { constants, fstatSync, ftruncateSync, openSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { Listeners } from '../base/listeners.ts';
import { UserError } from '../base/errors.ts';
import { makeFolder } from '../machine/folders-node.ts';
import type { Inputs } from './inputs.ts';
import { drained, LARGE_BYTES, OutputFile, type WhenFull } from './output-file.ts';
import { LineUnits, logUnits, pcapngUnits, traceUnits, type Units } from './output-units.ts';
import { oneLine, PrintableStream } from './printable.ts';

type FileName = 'trace' | 'dmLog' | 'pcap';
export type OutputName = FileName | 'console';
export const OUTPUT_OPTIONS: Readonly<Record<OutputName, string>> = {
  trace: '--trace',
  dmLog: '--dm-log',
  pcap: '--pcap',
  console: '--console',
};
const UNITS: Readonly<Record<OutputName, () => Units>> = {
  trace: traceUnits,
  dmLog: logUnits,
  pcap: pcapngUnits,
  console: () => new LineUnits(),
};

export interface OutputPaths {
  readonly trace?: string;
  readonly dmLog?: string;
  readonly pcap?: string;
  /** `-` is standard output. */
  readonly console: readonly string[];
}

export interface OutputRules {
  /** Bytes that a file may have; one that is not named has no limit. */
  readonly limits: Partial<Readonly<Record<OutputName, number>>>;
  readonly whenFull: WhenFull;
  /** The console on standard output is the guest's own terminal: its control characters are meant. */
  readonly isInteractive: boolean;
}

/** Why a run has to end: an output that can take no more, or may not. */
export type Loss =
  | { readonly path: string; readonly error: NodeJS.ErrnoException }
  | { readonly path: string; readonly full: true };

/** Characters of the console that are kept for whoever asks how it ended. */
const TAIL_CHARACTERS = 16384;

export class Outputs {
  /** The first of the outputs can take no more; said once. */
  readonly losses = new Listeners<Loss>();
  /** Bytes that reached the console. */
  consoleBytes = 0;
  private readonly files = new Map<FileName, OutputFile>();
  private readonly consoles: OutputFile[] = [];
  private readonly all: OutputFile[] = [];
  private readonly toStdout: boolean;
  /** Standard output is a terminal that is not the guest's own. */
  private readonly printer: PrintableStream | undefined;
  private lost: Loss | undefined;
  private tail = '';
  private readonly tailDecoder = new TextDecoder();
  private isReleased = false;
  private release!: () => void;
  private readonly released = new Promise<void>((resolve) => (this.release = resolve));
  private readonly stdoutLost = (error: NodeJS.ErrnoException): void => this.lose({ path: 'standard output', error });

  /**
   * Opens all files, and empties them only when every one could be opened. Throws UserError when one cannot be written,
   * is named twice or is one that the run reads.
   */
  constructor(paths: OutputPaths, inputs: Inputs, rules: OutputRules) {
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
    const open = (path: string, name: OutputName): OutputFile => {
      if (path === '')
        throw new UserError(`${OUTPUT_OPTIONS[name]} '': a file without a name; expected where it is to be written`);
      const fd = openForWriting(path);
      const stats = fstatSync(fd);
      claim(path, stats);
      if (stats.isFile()) opened.push(fd);
      const file = new OutputFile({
        path,
        fd,
        isRegular: stats.isFile(),
        // Only what lies on a disk has a size.
        limit: stats.isFile() ? (rules.limits[name] ?? Infinity) : Infinity,
        whenFull: rules.whenFull,
        units: UNITS[name](),
        events: {
          error: (error) => this.lose({ path, error }),
          full: () => this.lose({ path, full: true }),
          large: () => stats.isFile() && sayLarge(path, name),
        },
      });
      this.all.push(file);
      return file;
    };
    const consoles = paths.console.length > 0 ? paths.console : ['-'];
    if (consoles.filter((path) => path === '-').length > 1)
      throw new UserError('--console -: named for two outputs; give it once');
    this.toStdout = consoles.includes('-');
    this.printer = this.toStdout && process.stdout.isTTY && !rules.isInteractive ? new PrintableStream() : undefined;
    if (this.toStdout) claim('standard output', fstatSync(1));
    for (const name of ['trace', 'dmLog', 'pcap'] as const) {
      const path = paths[name];
      if (path === '-') throw new UserError(`${OUTPUT_OPTIONS[name]} -: only the console goes to standard output; name a file`);
      if (path !== undefined) this.files.set(name, open(path, name));
    }
    for (const path of consoles) if (path !== '-') this.consoles.push(open(path, 'console'));
    for (const fd of opened) ftruncateSync(fd);
    process.stdout.on('error', this.stdoutLost);
  }

  /** A promise where the file takes no more for now. */
  write(name: FileName, data: Uint8Array | string): void | Promise<void> {
    const file = this.files.get(name);
    return file === undefined || (this.isReleased && file.isStuck) ? undefined : this.held(file.write(data));
  }

  /** A promise where one of the consoles takes no more for now. */
  console(bytes: Uint8Array): void | Promise<void> {
    this.consoleBytes += bytes.length;
    this.tail = (this.tail + this.tailDecoder.decode(bytes, { stream: true })).slice(-TAIL_CHARACTERS);
    const waits: Promise<void>[] = [];
    for (const file of this.consoles) {
      if (this.isReleased && file.isStuck) continue;
      const wait = file.write(bytes);
      if (wait !== undefined) waits.push(wait);
    }
    if (this.writesStdout && !process.stdout.write(this.printer?.text(bytes) ?? bytes)) waits.push(drained(process.stdout));
    return waits.length === 0 ? undefined : this.held(Promise.all(waits).then(() => {}));
  }

  /** The last that the guest wrote. */
  get consoleTail(): string {
    return this.tail;
  }

  /** Files that have reached their size, or could not be written. */
  get loss(): Loss | undefined {
    return this.lost;
  }

  /** The run ends: nothing waits any more for whoever does not take the console. */
  stopWaiting(): void {
    this.isReleased = true;
    this.release();
  }

  /** Somebody who does not take what was written still holds standard output: the process would wait for them. */
  get isStdoutStuck(): boolean {
    return this.isReleased && process.stdout.writableNeedDrain;
  }

  /** Waits until everything is written. Throws UserError when an output was lost; a reader of standard output that left is no error. */
  async close(): Promise<void> {
    await Promise.all(
      this.all.map(async (file) => {
        if (this.isReleased && file.isStuck) file.abandon();
        await file.close();
      }),
    );
    process.stdout.off('error', this.stdoutLost);
    const { lost } = this;
    if (lost !== undefined && 'error' in lost && lost.error.code !== 'EPIPE')
      throw new UserError(`${lost.path}: cannot be written: ${lost.error.message}; the run ended there`);
  }

  private get writesStdout(): boolean {
    if (!this.toStdout || this.lost?.path === 'standard output') return false;
    return !this.isReleased || !process.stdout.writableNeedDrain;
  }

  private held(wait: void | Promise<void>): void | Promise<void> {
    if (wait === undefined || this.isReleased) return undefined;
    return Promise.race([wait, this.released]);
  }

  private lose(loss: Loss): void {
    if (this.lost !== undefined) return;
    this.lost = loss;
    this.losses.call(loss);
  }
}

function sayLarge(path: string, name: OutputName): void {
  const smaller =
    name === 'console' ? '' : `; a name that ends in .gz has it compressed${name === 'trace' ? ', -e leaves records out' : ''}`;
  console.error(
    `xenolith: ${oneLine(path)}: ${LARGE_BYTES / 2 ** 30} GiB and growing; --max-size limits it${smaller}. Each character on a serial port is an exit, a request and its lines.`,
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
