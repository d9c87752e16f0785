/** What a file is, by its content: the files that an analysis reads, and those that people take for them. */
import { TRC_TRACE_CPU_CHANGE } from '../../trace/index.ts';
import { dmShape } from './dm-lines.ts';
import { TextLayer } from './text-layer.ts';
import { xenalyzeShape } from './xenalyze-text.ts';

/** `text` holds records of xenalyze, or nothing that is known. */
export type FileKind =
  | 'trace'
  | 'text'
  | 'device-model log'
  | 'capture'
  | 'console'
  | 'xl info'
  | 'xl dmesg'
  | 'compressed'
  | 'archive'
  | 'empty'
  | 'other';

export interface Recognised {
  readonly kind: FileKind;
  /** In words, with an article: `a pcap capture`. */
  readonly what: string;
}

export const UNKNOWN_BINARY = 'a binary file of an unknown kind';

const ascii = (head: Uint8Array, at: number, length: number): string => String.fromCharCode(...head.subarray(at, at + length));

/** First word of every xentrace file: a CPU-change record with two extra words. */
const TRACE_MAGIC = (TRC_TRACE_CPU_CHANGE | (2 << 28)) >>> 0;

/** Kinds with a number or letters at a fixed place. */
const MAGICS: readonly (readonly [at: number, bytes: string, kind: FileKind, what: string])[] = [
  [0, '\x1f\x8b', 'compressed', 'a gzip file'],
  [0, '\xfd7zXZ\0', 'compressed', 'an xz file'],
  [0, '\x28\xb5\x2f\xfd', 'compressed', 'a zstd file'],
  [0, 'BZh', 'compressed', 'a bzip2 file'],
  [0, '\x5d\0\0', 'compressed', 'an lzma file'],
  [0, '7z\xbc\xaf\x27\x1c', 'archive', 'a 7z archive'],
  [0, 'PK\x03\x04', 'archive', 'a zip archive'],
  [0, '!<arch>', 'archive', 'an ar archive'],
  [257, 'ustar', 'archive', 'a tar archive'],
  [0, '\xd4\xc3\xb2\xa1', 'capture', 'a pcap capture'],
  [0, '\xa1\xb2\xc3\xd4', 'capture', 'a pcap capture'],
  [0, '\x4d\x3c\xb2\xa1', 'capture', 'a pcap capture'],
  [0, '\xa1\xb2\x3c\x4d', 'capture', 'a pcap capture'],
  [0, '\x0a\x0d\x0d\x0a', 'capture', 'a pcapng capture'],
  [0, '\x04\x22\x4d\x18', 'other', 'an lz4 file; unpack it first'],
  [0, '\x89LZO\0', 'other', 'an lzo file; unpack it first'],
  [0, 'LZIP', 'other', 'an lzip file; unpack it first'],
  [0, '\x1f\x9d', 'other', 'a file of compress; unpack it first'],
  [0, 'Rar!\x1a', 'other', 'a rar archive; unpack it first'],
  [0, '\x7fELF', 'other', 'a program or a core dump (ELF)'],
  [0, 'MZ', 'other', 'a program (PE)'],
  [0, '%PDF', 'other', 'a PDF document'],
  [0, '\x89PNG', 'other', 'a picture (PNG); give the text that it shows'],
  [0, '\xff\xd8\xff', 'other', 'a picture (JPEG); give the text that it shows'],
  [0, 'GIF8', 'other', 'a picture (GIF); give the text that it shows'],
  [0, 'SQLite format 3', 'other', 'an SQLite database'],
  [0, 'PERFILE2', 'other', 'a recording of perf'],
  [0, '\x17\x08\x44tracing', 'other', 'a recording of trace-cmd (ftrace)'],
  [0, '\xc1\x1f\xfc\xc1', 'other', 'a recording of LTTng (CTF)'],
  [0, 'QFI\xfb', 'other', 'a qcow2 disk image'],
  [0, 'QEVM', 'other', 'a saved state of QEMU'],
  [
    8,
    '\xb4\x29\xa4\x0a\xcb\x77\xb1\xf2',
    'other',
    'a log of QEMU\'s trace backend "simple"; turn it to text with scripts/simpletrace.py',
  ],
];

/** Looks for records in so many lines of a text. */
const SAMPLE_LINES = 4000;

/**
 * Tells a file by its first bytes (256 KiB are plenty). Text is looked into: what a system log or a mail put around its lines
 * does not matter.
 */
export function recognise(head: Uint8Array): Recognised {
  if (head.length === 0) return { kind: 'empty', what: 'an empty file' };
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length >= 4 && view.getUint32(0, true) === TRACE_MAGIC) return { kind: 'trace', what: 'an xentrace file' };
  for (const [at, bytes, kind, what] of MAGICS) if (ascii(head, at, bytes.length) === bytes) return { kind, what };
  const text = textOf(head);
  if (text === undefined) {
    if (head.every((byte) => byte === 0)) return { kind: 'other', what: 'a file of zero bytes' };
    return looksLikeTrace(head)
      ? { kind: 'trace', what: 'an xentrace file with a damaged start' }
      : { kind: 'other', what: UNKNOWN_BINARY };
  }
  return recogniseText(text);
}

/** Text in UTF-8 or, with its mark, UTF-16; undefined for bytes that are none. */
function textOf(head: Uint8Array): string | undefined {
  const utf16 = utf16Of(head);
  if (utf16 !== undefined) return new TextDecoder(utf16).decode(head);
  return head.includes(0) ? undefined : new TextDecoder().decode(head);
}

/** The form of UTF-16 that a text's byte-order mark tells: PowerShell writes it. */
export const utf16Of = (head: Uint8Array): 'utf-16le' | 'utf-16be' | undefined =>
  head[0] === 0xff && head[1] === 0xfe ? 'utf-16le' : head[0] === 0xfe && head[1] === 0xff ? 'utf-16be' : undefined;

/** Whether CPU-change records follow somewhere: the windows of a trace whose start is damaged. */
export function looksLikeTrace(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= view.byteLength; at += 4) if (view.getUint32(at, true) === TRACE_MAGIC) return true;
  return false;
}

function recogniseText(text: string): Recognised {
  const lines = text.split(/\r\n|\n|\r/, SAMPLE_LINES);
  let records = 0;
  let log = 0;
  let names = 0;
  const layer = new TextLayer((line, _number, _cut, parsed) => {
    const shape = parsed === undefined ? dmShape(line) : 'whole';
    // A name alone is a line of the list that QEMU is given.
    if (shape !== 'none' && /^\s*\w+\*?\s*$/.test(line)) names++;
    else if (shape !== 'none') log++;
    else if (xenalyzeShape(line) !== 'none') records++;
  });
  for (const line of lines) layer.push(line);
  layer.end();
  if (records > 0) return { kind: 'text', what: "xenalyze's text" };
  if (log > 0) return { kind: 'device-model log', what: 'a device-model log' };
  if (names > 0) return { kind: 'other', what: 'a list of trace events, as QEMU is given' };
  const count = (pattern: RegExp): number => lines.reduce((n, line) => n + (pattern.test(line) ? 1 : 0), 0);
  if (count(/^\(XEN\) /) > 0) return { kind: 'xl dmesg', what: "Xen's log (xl dmesg)" };
  if (count(/^(?:xen_(?:major|minor|extra|version|caps)|cpu_mhz|nr_cpus)\s*:/) > 1)
    return { kind: 'xl info', what: 'the output of xl info' };
  if (count(/^\s*(?:Total time:|\|-- Domain \d+ --\||--- Domain )/) > 0)
    return { kind: 'other', what: 'a summary of xenalyze; give the trace itself, or the text of xenalyze --dump-all' };
  if (count(/Linux version \d|^\[ *\d+\.\d{6}\] |\btsc: (?:Detected|Refined)|\bBIOS-e820:|login: ?$/) > 0)
    return { kind: 'console', what: "a guest's console" };
  if (count(/^\s*(?:vif|disk|vcpus|memory|builder|type|device_model_\w+)\s*\+?=/) > 1)
    return { kind: 'other', what: 'a guest configuration (xl.cfg)' };
  if (/^\s*[{[]/.test(text)) return { kind: 'other', what: 'JSON' };
  return { kind: 'text', what: 'text without a record of xenalyze and without a line of a device-model log' };
}
