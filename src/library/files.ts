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
import { type ByteField, frameFields, recordFields } from './byte-fields.ts';
import { AccessList, type Hit, parseRef, type SeenRegister } from './chip-at.ts';
import { gvaOf } from '../machine/linear-claim.ts';
import type { GuestReport } from '../machine/report.ts';
import { frameRows } from './summary.ts';
import { HEAD_BYTES, isPacked, looksQuoted, recogniseFile } from './recognise.ts';

/** Longest line kept; the rest of a longer one is dropped (a binary file taken for text). */
const MAX_LINE = 1 << 16;
/** A line begins at every so many characters at least: where lines are looked up. */
const LINE_INDEX_STEP = 1024;
/** Lines that are shown before and after one. */
const LINES_AROUND = 6;

/** Bytes that a compressed file or an archive may unpack to. */
const UNPACKED_LIMIT = 1 << 30;

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
      readonly fields: readonly ByteField[];
      readonly decoded: Decoded;
    }
  /** `before` and `after`: the lines around it. */
  | {
      readonly kind: 'line';
      readonly number: number;
      readonly text: string;
      readonly before: readonly string[];
      readonly after: readonly string[];
    }
  | {
      readonly kind: 'frame';
      readonly number: number;
      readonly bytes: Uint8Array;
      readonly fields: readonly ByteField[];
      readonly comments: readonly string[];
    };

/** A file as it was dropped. */
export interface DroppedFile {
  readonly name: string;
  readonly blob: Blob;
}

/**
 * Recognises each file by its content. Compressed files and archives are unpacked first.
 * @throws UserError for a file of no known kind, and for two of one kind
 */
export async function recogniseFiles(files: readonly DroppedFile[]): Promise<FileSet> {
  const set: { -readonly [K in keyof FileSet]: FileSet[K] } = {};
  const take = async ({ name, blob }: DroppedFile, isOptional: boolean): Promise<void> => {
    const kind = blob.size === 0 ? 'unknown' : recogniseFile(await headOf(blob));
    // Archives hold all kinds of files beside; what they lack shows later.
    if (isOptional && (kind === 'unknown' || (kind === 'text' && !(await isMail(blob))) || set[kind] !== undefined)) return;
    if (blob.size === 0) throw new UserError(`${name} is empty; drop a trace, a device-model log, a capture or a mail`);
    if (kind === 'unknown')
      throw new UserError(
        `${name} is none of what is read here; drop a trace of xentrace, a device-model log, a capture or a mail`,
      );
    if (set[kind] !== undefined) throw new UserError(`${name} is a second ${kind}; drop one of each kind`);
    set[kind] = blob;
  };
  for (const file of files) {
    if (!isPacked(await headOf(file.blob))) await take(file, false);
    else {
      const { unpackArchive } = await import('../machine/archive.ts');
      const inside = await unpackArchive(new Uint8Array(await file.blob.arrayBuffer()), file.name, UNPACKED_LIMIT);
      for (const { name, bytes } of inside) await take({ name, blob: new Blob([bytes as BlobPart]) }, inside.length > 1);
    }
  }
  if (Object.keys(set).length === 0)
    throw new UserError(
      `${files[0]?.name ?? 'the archive'} holds nothing that is read here; drop a trace, a log, a capture or a mail`,
    );
  return set;
}

const headOf = async (blob: Blob): Promise<Uint8Array> => new Uint8Array(await blob.slice(0, HEAD_BYTES).arrayBuffer());

/** A mail or xenalyze's text, and not any text. */
const isMail = async (blob: Blob): Promise<boolean> => looksQuoted(new TextDecoder().decode(await headOf(blob)));

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
      return (
        frame && {
          kind: 'frame',
          number: ref.at,
          bytes: frame.data,
          fields: frameFields(frame.data),
          comments: frame.comments,
        }
      );
    }
    const blob = ref.file === 'dm-log' ? this.files.log : ref.file === 'console' ? this.files.console : this.files.text;
    if (ref.unit !== 'line' || blob === undefined) return undefined;
    let index = this.indices.get(blob);
    if (index === undefined) this.indices.set(blob, (index = new LineIndex(blob)));
    const first = Math.max(1, ref.at - LINES_AROUND);
    const lines = await index.lines(first, ref.at + LINES_AROUND);
    const text = lines[ref.at - first];
    return text === undefined
      ? undefined
      : {
          kind: 'line',
          number: ref.at,
          text,
          before: lines.slice(0, ref.at - first),
          after: lines.slice(ref.at - first + 1),
        };
  }

  /** The chips' registers as the driver's accesses show them at a moment of trace time, nanoseconds. */
  async registersAt(ns: number): Promise<SeenRegister[]> {
    return (await this.accessList()).at(ns);
  }

  /** Places that hold a text: frames, accesses, lines of the log and the console, the first `most` of each. */
  async search(text: string, most = 50): Promise<Hit[]> {
    const wanted = text.trim().toLowerCase();
    if (wanted === '') return [];
    const ref = parseRef(wanted);
    if (ref !== undefined) return [{ what: wanted, ref, ns: undefined }];
    const analysis = await this.analysis();
    const hits: Hit[] = frameRows(analysis)
      .filter(({ what }) => what.toLowerCase().includes(wanted))
      .slice(0, most)
      .map(({ what, number, ns }) => ({ what, ref: { file: 'pcap', unit: 'frame', at: number }, ns }));
    hits.push(...(await this.accessList()).find(wanted, most));
    for (const [file, blob] of [
      ['dm-log', this.files.log],
      ['console', this.files.console],
      ['text', this.files.text],
    ] as const) {
      if (blob === undefined) continue;
      let number = 0;
      let found = 0;
      for await (const line of readLines(blob)) {
        number++;
        if (!line.toLowerCase().includes(wanted)) continue;
        hits.push({ what: line.slice(0, 300), ref: { file, unit: 'line', at: number }, ns: undefined });
        if (++found === most) break;
      }
    }
    return hits;
  }

  private accesses: AccessList | undefined;
  private async accessList(): Promise<AccessList> {
    return (this.accesses ??= new AccessList(await this.analysis()));
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
      fields: recordFields(bytes.subarray(0, whole)),
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

  /** Lines `from` to `to`, from 1, as far as there are any. */
  async lines(from: number, to: number): Promise<string[]> {
    this.starts ??= await this.read();
    const start = this.starts[Math.floor((from - 1) / LINE_INDEX_STEP)];
    const lines: string[] = [];
    if (start === undefined) return lines;
    let at = 1 + Math.floor((from - 1) / LINE_INDEX_STEP) * LINE_INDEX_STEP;
    for await (const line of readLines(this.blob.slice(start))) {
      if (at >= from) lines.push(line);
      if (at++ === to) break;
    }
    return lines;
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
