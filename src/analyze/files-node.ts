import { closeSync, createReadStream, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { openTrace } from '../trace/index-node.ts';
import type { AnalysisInput, Lines } from './join/analysis.ts';
import { parseDmLine } from './sources/dm-lines.ts';
import { recognise, utf16Of } from './sources/recognise.ts';

/** A file of one guest: a domain's number, or a name to call it by. */
interface NamedPath {
  readonly path: string;
  readonly guest?: string | undefined;
  /** As the user knows the file, where that is not its path. */
  readonly name?: string | undefined;
}

/** Paths of what one analysis reads. */
interface AnalysisFiles {
  /** xentrace files, xenalyze text or a mail that quotes it; told apart by their content. */
  readonly files: readonly (string | NamedPath)[];
  readonly dmLog?: string | undefined;
  /** Logs of several guests, each with whose it is, where that is known. */
  readonly dmLogs?: readonly NamedPath[] | undefined;
  readonly pcap?: string | NamedPath | undefined;
  readonly console?: string | undefined;
  readonly consoles?: readonly NamedPath[] | undefined;
  readonly devices?: readonly string[] | undefined;
  readonly cpuHz?: number | undefined;
  readonly xenVersion?: string | undefined;
  readonly clock?: 'modelled' | 'measured' | undefined;
}

/** Longest line kept; the rest of a longer one is dropped (a binary file taken for text). */
const MAX_LINE = 1 << 16;

/** Lines of a text file, in UTF-8 or in UTF-16 with its mark, read piece by piece, without their ends. */
async function* readLines(path: string, name: string): AsyncGenerator<string> {
  let decoder: TextDecoder | undefined;
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) {
      decoder ??= new TextDecoder(utf16Of(chunk as Uint8Array) ?? 'utf-8');
      const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = parts.pop()!.slice(0, MAX_LINE);
      for (const line of parts) yield* linesOf(line);
    }
  } catch (error) {
    throw unreadable(name, error);
  }
  rest += decoder?.decode() ?? '';
  if (rest !== '') yield* linesOf(rest);
}

/** A line, or several where carriage returns alone end them. */
function linesOf(line: string): string[] {
  const text = line.endsWith('\r') ? line.slice(0, -1) : line;
  return text.includes('\r') ? text.split('\r') : [text];
}

const unreadable = (path: string, error: unknown): UserError =>
  new UserError(
    `cannot read ${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message}`,
  );

/** The first bytes of a regular file. */
function headOf({ path, name }: NamedPath): Buffer {
  const head = Buffer.alloc(1 << 18);
  try {
    if (!statSync(path).isFile()) throw new UserError(`${name ?? path} is not a regular file`);
    const fd = openSync(path, 'r');
    const length = readSync(fd, head, 0, head.length, 0);
    closeSync(fd);
    return head.subarray(0, length);
  } catch (error) {
    throw error instanceof UserError ? error : unreadable(name ?? path, error);
  }
}

/** Whether a file is xentrace's binary and not text. Throws UserError for what is neither. */
function isBinaryTrace(file: NamedPath): boolean {
  const { kind, what } = recognise(headOf(file));
  const expected = 'expected an xentrace file, xenalyze text or a mail that quotes it';
  const name = file.name ?? file.path;
  if (kind === 'empty') throw new UserError(`${name} is empty: ${expected}`);
  if (kind === 'other' || kind === 'compressed' || kind === 'archive' || kind === 'capture')
    throw new UserError(`${name} is ${what}: ${expected}`);
  return kind === 'trace';
}

/** TSC rate that a device-model log's first line tells. */
function declaredHz(dmLog: NamedPath): number | undefined {
  const line = parseDmLine(headOf(dmLog).toString('latin1').split('\n', 1)[0]!, 1);
  return line.kind === 'clock' ? line.tsc?.hz : undefined;
}

/** Opens files for an analysis. `close` when done. */
export async function openAnalysis(files: AnalysisFiles): Promise<{ input: AnalysisInput; close: () => Promise<void> }> {
  const named = (file: string | NamedPath): NamedPath => (typeof file === 'string' ? { path: file } : file);
  const shown = (list: readonly NamedPath[]): string => list.map((f) => f.name ?? f.path).join(', ');
  const all = files.files.map(named);
  const binary = all.filter((f) => isBinaryTrace(f));
  const text = all.filter((f) => !binary.includes(f));
  if (binary.length > 1)
    throw new UserError(
      `${binary.length} trace files given (${shown(binary)}): one analysis reads one trace; xentrace writes all CPUs into one file`,
    );
  if (text.length > 1)
    throw new UserError(`${text.length} text files given (${shown(text)}): give one, and the log with --dm-log`);
  const logs: readonly NamedPath[] = [...(files.dmLog === undefined ? [] : [{ path: files.dmLog }]), ...(files.dmLogs ?? [])];
  const consoles: readonly NamedPath[] = [
    ...(files.console === undefined ? [] : [{ path: files.console }]),
    ...(files.consoles ?? []),
  ];
  const declared = binary[0] === undefined || files.cpuHz !== undefined ? [] : logs.map((l) => declaredHz(l));
  const cpuHz = files.cpuHz ?? declared.find((hz) => hz !== undefined);
  const trace =
    binary[0] === undefined
      ? undefined
      : await openTrace(binary[0].path, {
          ...(cpuHz === undefined ? {} : { cpuHz }),
          ...(files.xenVersion === undefined ? {} : { xenVersion: files.xenVersion }),
        });
  const capture = files.pcap === undefined ? undefined : named(files.pcap);
  let pcap: Uint8Array | undefined;
  try {
    if (capture !== undefined) pcap = readCaptureFile(capture);
  } catch (error) {
    await trace?.close();
    throw error;
  }
  const lines = (file: NamedPath): Lines => readLines(file.path, file.name ?? file.path);
  return {
    input: {
      trace,
      text: text[0] === undefined ? undefined : lines(text[0]),
      dmLogs: logs.map((l) => ({ lines: lines(l), name: l.name ?? l.path, guest: l.guest })),
      pcap,
      consoles: consoles.map((c) => ({ lines: lines(c), name: c.name ?? c.path, guest: c.guest })),
      devices: files.devices,
      clock: files.clock,
      names: {
        ...(capture === undefined ? {} : { pcap: capture.name ?? capture.path }),
        ...(text[0] === undefined ? {} : { text: text[0].name ?? text[0].path }),
      },
    },
    close: async () => {
      await trace?.close();
    },
  };
}

/** Frames are kept as they lie in the file, which so is held in memory whole. */
const LARGEST_CAPTURE = 1 << 30;

function readCaptureFile({ path, name }: NamedPath): Uint8Array {
  try {
    const { size } = statSync(path);
    if (size > LARGEST_CAPTURE)
      throw new UserError(
        `${name ?? path}: a capture of ${Math.floor(size / 2 ** 20)} MiB; expected at most ${LARGEST_CAPTURE >> 20} MiB: cut it with editcap or a filter of tcpdump -r`,
      );
    return readFileSync(path);
  } catch (error) {
    throw error instanceof UserError ? error : unreadable(name ?? path, error);
  }
}
