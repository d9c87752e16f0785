import { closeSync, createReadStream, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { openTrace, TRC_TRACE_CPU_CHANGE } from '../trace/index-node.ts';
import type { AnalysisInput, Lines } from './join/analysis.ts';
import { parseDmLine } from './sources/dm-lines.ts';

/** A file of one guest: a domain's number, or a name to call it by. */
interface NamedPath {
  readonly path: string;
  readonly guest?: string | undefined;
}

/** Paths of what one analysis reads. */
interface AnalysisFiles {
  /** xentrace files, xenalyze text or a mail that quotes it; told apart by their first bytes. */
  readonly files: readonly string[];
  readonly dmLog?: string | undefined;
  /** Logs of several guests, each with whose it is, where that is known. */
  readonly dmLogs?: readonly NamedPath[] | undefined;
  readonly pcap?: string | undefined;
  readonly console?: string | undefined;
  readonly consoles?: readonly NamedPath[] | undefined;
  readonly devices?: readonly string[] | undefined;
  readonly cpuHz?: number | undefined;
  readonly xenVersion?: string | undefined;
  readonly clock?: 'modelled' | 'measured' | undefined;
}

/** Longest line kept; the rest of a longer one is dropped (a binary file taken for text). */
const MAX_LINE = 1 << 16;

/** Lines of a text file, read piece by piece, without their ends. */
async function* readLines(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) {
      const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n');
      rest = parts.pop()!.slice(0, MAX_LINE);
      for (const line of parts) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    }
  } catch (error) {
    throw unreadable(path, error);
  }
  rest += decoder.decode();
  if (rest !== '') yield rest;
}

const unreadable = (path: string, error: unknown): UserError =>
  new UserError(
    `cannot read ${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message}`,
  );

/** First word of every xentrace file: a CPU-change record with two extra words. */
const TRACE_MAGIC = (TRC_TRACE_CPU_CHANGE | (2 << 28)) >>> 0;

/** The first bytes of a regular file. */
function headOf(path: string): Buffer {
  const head = Buffer.alloc(4096);
  try {
    if (!statSync(path).isFile()) throw new UserError(`${path} is not a regular file`);
    const fd = openSync(path, 'r');
    const length = readSync(fd, head, 0, head.length, 0);
    closeSync(fd);
    return head.subarray(0, length);
  } catch (error) {
    throw error instanceof UserError ? error : unreadable(path, error);
  }
}

/** Whether a file is xentrace's binary: it begins with a CPU-change record. A damaged start with zero bytes counts too. */
function isBinaryTrace(path: string): boolean {
  const head = headOf(path);
  if (head.length === 0)
    throw new UserError(`${path} is empty: expected an xentrace file, xenalyze text or a mail that quotes it`);
  return (head.length >= 4 && head.readUInt32LE(0) === TRACE_MAGIC) || head.includes(0);
}

/** TSC rate that a device-model log's first line tells. */
function declaredHz(dmLog: string): number | undefined {
  const line = parseDmLine(headOf(dmLog).toString('latin1').split('\n', 1)[0]!, 1);
  return line.kind === 'clock' ? line.tsc?.hz : undefined;
}

/** Opens files for an analysis. `close` when done. */
export async function openAnalysis(files: AnalysisFiles): Promise<{ input: AnalysisInput; close: () => Promise<void> }> {
  const binary = files.files.filter((f) => isBinaryTrace(f));
  const text = files.files.filter((f) => !binary.includes(f));
  if (binary.length > 1)
    throw new UserError(
      `${binary.length} trace files given (${binary.join(', ')}): one analysis reads one trace; xentrace writes all CPUs into one file`,
    );
  if (binary.length + text.length > 1 && text.length > 1)
    throw new UserError(`${text.length} text files given (${text.join(', ')}): give one, and the log with --dm-log`);
  const logs: readonly NamedPath[] = [...(files.dmLog === undefined ? [] : [{ path: files.dmLog }]), ...(files.dmLogs ?? [])];
  const consoles: readonly NamedPath[] = [
    ...(files.console === undefined ? [] : [{ path: files.console }]),
    ...(files.consoles ?? []),
  ];
  const declared = binary[0] === undefined || files.cpuHz !== undefined ? [] : logs.map((l) => declaredHz(l.path));
  const cpuHz = files.cpuHz ?? declared.find((hz) => hz !== undefined);
  const trace =
    binary[0] === undefined
      ? undefined
      : await openTrace(binary[0], {
          ...(cpuHz === undefined ? {} : { cpuHz }),
          ...(files.xenVersion === undefined ? {} : { xenVersion: files.xenVersion }),
        });
  let pcap: Uint8Array | undefined;
  try {
    pcap = files.pcap === undefined ? undefined : readFileSync(files.pcap);
  } catch (error) {
    throw unreadable(files.pcap!, error);
  }
  const lines = (path: string | undefined): Lines | undefined => (path === undefined ? undefined : readLines(path));
  return {
    input: {
      trace,
      text: lines(text[0]),
      dmLogs: logs.map((l) => ({ lines: readLines(l.path), name: l.path, guest: l.guest })),
      pcap,
      consoles: consoles.map((c) => ({ lines: readLines(c.path), name: c.path, guest: c.guest })),
      devices: files.devices,
      clock: files.clock,
      names: {
        ...(files.pcap === undefined ? {} : { pcap: files.pcap }),
        ...(text[0] === undefined ? {} : { text: text[0] }),
      },
    },
    close: async () => {
      await trace?.close();
    },
  };
}
