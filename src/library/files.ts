/** Files of a run, opened together: what they tell, and what lies at each place that a story names. */
import { type Analysis, analyze, type Ref } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import {
  blobSource,
  decodeRecord,
  type Decoded,
  eventName,
  openTrace,
  type Trace,
  TRACE_RECORD_MAX_BYTES,
} from '../trace/index.ts';
import { gvaOf } from '../machine/linear-claim.ts';
import type { GuestReport } from '../machine/report.ts';
import { HEAD_BYTES, recogniseFile } from './recognise.ts';

/** Longest line kept; the rest of a longer one is dropped (a binary file taken for text). */
const MAX_LINE = 1 << 16;
/** A line begins at every so many characters at least: where lines are looked up. */
const LINE_INDEX_STEP = 1024;

/** Files of one run, each by what it is. */
export interface FileSet {
  readonly trace?: Blob;
  readonly log?: Blob;
  readonly capture?: Blob;
  /** xenalyze's text, or a mail that quotes it. */
  readonly text?: Blob;
  readonly console?: Blob;
  /** TSC rate of the traced host, Hz, where no file tells it. */
  readonly cpuHz?: number;
  /** Guest-virtual addresses, where the machine that wrote the files tells them. */
  readonly linear?: GuestReport['linear'];
}

/** What lies at a place in a file. */
export type Place =
  | {
      readonly kind: 'record';
      readonly offset: number;
      readonly name: string;
      readonly bytes: Uint8Array;
      readonly decoded: Decoded;
    }
  | { readonly kind: 'line'; readonly number: number; readonly text: string }
  | { readonly kind: 'frame'; readonly number: number; readonly bytes: Uint8Array; readonly comments: readonly string[] };

/**
 * Recognises each file by its content. @throws UserError for a file of no known kind, and for two of one kind
 */
export async function recogniseFiles(files: readonly { readonly name: string; readonly blob: Blob }[]): Promise<FileSet> {
  const set: { -readonly [K in keyof FileSet]: FileSet[K] } = {};
  for (const { name, blob } of files) {
    if (blob.size === 0) throw new UserError(`${name} is empty; drop a trace, a device-model log, a capture or a mail`);
    const kind = recogniseFile(new Uint8Array(await blob.slice(0, HEAD_BYTES).arrayBuffer()));
    if (kind === 'unknown')
      throw new UserError(
        `${name} is none of what is read here; drop a trace of xentrace, a device-model log, a capture or a mail`,
      );
    if (set[kind] !== undefined) throw new UserError(`${name} is a second ${kind}; drop one of each kind`);
    set[kind] = blob;
  }
  return set;
}

export class OpenFiles {
  readonly trace: Trace | undefined;
  private readonly files: FileSet;
  private joined: Analysis | undefined;
  private readonly indices = new Map<Blob, LineIndex>();

  private constructor(files: FileSet, trace: Trace | undefined) {
    this.files = files;
    this.trace = trace;
  }

  /** @throws UserError when the trace is none */
  static async open(files: FileSet): Promise<OpenFiles> {
    const hz = files.cpuHz ?? (await declaredHz(files.log));
    const trace =
      files.trace === undefined
        ? undefined
        : await openTrace(blobSource(files.trace, 'the trace'), hz === undefined ? {} : { cpuHz: hz });
    return new OpenFiles(files, trace);
  }

  /** Everything the files show, joined; made once. @param progress called now and then with the bytes of the trace read so far */
  async analysis(progress: (bytes: number) => void = () => {}): Promise<Analysis> {
    const { files, trace } = this;
    this.joined ??= await analyze({
      trace,
      ...(files.text === undefined ? {} : { text: readLines(files.text) }),
      ...(files.log === undefined ? {} : { dmLog: readLines(files.log) }),
      ...(files.console === undefined ? {} : { console: readLines(files.console) }),
      ...(files.capture === undefined ? {} : { pcap: new Uint8Array(await files.capture.arrayBuffer()) }),
      ...(files.linear === undefined ? {} : { gvaOf: (gpa: number) => gvaOf(files.linear!, gpa, 'when it was read') }),
      progress,
    });
    return this.joined;
  }

  /** What a reference points to; undefined where the file has no such place. */
  async place(ref: Ref): Promise<Place | undefined> {
    if (ref.unit === 'offset') return this.record(ref.at);
    if (ref.unit === 'frame') {
      const frame = (await this.analysis()).frames.find(({ number }) => number === ref.at);
      return frame && { kind: 'frame', number: ref.at, bytes: frame.data, comments: frame.comments };
    }
    const blob = ref.file === 'dm-log' ? this.files.log : ref.file === 'console' ? this.files.console : this.files.text;
    if (ref.unit !== 'line' || blob === undefined) return undefined;
    let index = this.indices.get(blob);
    if (index === undefined) this.indices.set(blob, (index = new LineIndex(blob)));
    const text = await index.line(ref.at);
    return text === undefined ? undefined : { kind: 'line', number: ref.at, text };
  }

  private async record(offset: number): Promise<Place | undefined> {
    const { trace } = this;
    if (trace === undefined || offset < 0 || offset + 4 > trace.source.size) return undefined;
    const bytes = new Uint8Array(TRACE_RECORD_MAX_BYTES);
    const length = await trace.source.read(offset, bytes);
    const view = new DataView(bytes.buffer);
    const header = view.getUint32(0, true);
    const event = header & 0x0fff_ffff;
    const count = (header >>> 28) & 7;
    const first = header & 0x8000_0000 ? 3 : 1;
    const whole = (first + count) * 4;
    if (whole > length) return undefined;
    const words = Array.from({ length: count }, (_, i) => view.getUint32((first + i) * 4, true));
    return {
      kind: 'record',
      offset,
      name: eventName(event) ?? `event 0x${event.toString(16)}`,
      bytes: bytes.slice(0, whole),
      decoded: decodeRecord(event, words, trace.context),
    };
  }
}

/** Lines of a text file, read piece by piece, without their ends. */
async function* readLines(blob: Blob): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for (let at = 0; at < blob.size; at += 1 << 20) {
    const chunk = await blob.slice(at, at + (1 << 20)).arrayBuffer();
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop()!.slice(0, MAX_LINE);
    for (const line of parts) yield line.endsWith('\r') ? line.slice(0, -1) : line;
  }
  rest += decoder.decode();
  if (rest !== '') yield rest;
}

/** Where lines begin in a file, found once. */
class LineIndex {
  private readonly blob: Blob;
  /** Offset of line 1 + i × LINE_INDEX_STEP. */
  private starts: number[] | undefined;

  constructor(blob: Blob) {
    this.blob = blob;
  }

  async line(number: number): Promise<string | undefined> {
    this.starts ??= await this.read();
    const start = this.starts[Math.floor((number - 1) / LINE_INDEX_STEP)];
    if (start === undefined) return undefined;
    let at = 1 + Math.floor((number - 1) / LINE_INDEX_STEP) * LINE_INDEX_STEP;
    for await (const line of readLines(this.blob.slice(start))) if (at++ === number) return line;
    return undefined;
  }

  private async read(): Promise<number[]> {
    const starts = [0];
    let lines = 0;
    for (let at = 0; at < this.blob.size; at += 1 << 20) {
      const chunk = new Uint8Array(await this.blob.slice(at, at + (1 << 20)).arrayBuffer());
      for (let i = chunk.indexOf(10); i >= 0; i = chunk.indexOf(10, i + 1))
        if (++lines % LINE_INDEX_STEP === 0) starts.push(at + i + 1);
    }
    return starts;
  }
}

/** TSC rate that a device-model log's first line tells. */
async function declaredHz(log: Blob | undefined): Promise<number | undefined> {
  if (log === undefined) return undefined;
  const head = await log.slice(0, 4096).text();
  const hz = /^# device-model log, .*, (\d+) Hz/.exec(head)?.[1];
  return hz === undefined ? undefined : Number(hz);
}
