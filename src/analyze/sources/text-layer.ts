/**
 * The layer between a text as it was pasted, mailed or printed and the readers of its lines: it takes off what mailers,
 * browsers, pagers and system logs put around a tool's lines, joins the lines they wrapped and splits those they joined.
 * Every line that comes out keeps the number of the line it began in.
 */
import { DM_START, dmShape, parseDmLine, splitDmEvents, type DmLine } from './dm-lines.ts';
import {
  decodeBase64,
  decodeHtml,
  decodeJsonRecord,
  decodeQuotedPrintable,
  hasSoftBreak,
  isQuotedPrintable,
  plainCharacters,
} from './text-decode.ts';
import { TextCopies } from './text-copies.ts';
import { peelClosing, peelContinuation, peelQuotes, peelRecord, type Prefix } from './text-prefix.ts';
import { XENALYZE_START, xenalyzeShape } from './xenalyze-text.ts';

/**
 * Takes a line as its writer meant it.
 * @param text the line without what was around it
 * @param line number of the line of the file that it begins in, from 1
 * @param cut the text begins as a record and ends before its end
 * @param parsed the line of a log that it is, where the layer had to parse it
 */
type TakeLine = (text: string, line: number, cut: boolean, parsed?: DmLine) => void;

/** More lines than this are no one record. */
const MAX_JOINED = 6;
/** No record is longer. */
const MAX_RECORD = 4096;
/** Widths at which terminals wrap. */
const TERMINAL_WIDTHS: ReadonlySet<number> = new Set([80, 100, 120, 132]);

const isTerminalWide = ({ width, inner }: { width: number; inner: number }): boolean =>
  TERMINAL_WIDTHS.has(width) || TERMINAL_WIDTHS.has(inner);

/** Whether a record has a time, down to a microsecond at least. */
const isTimed = (text: string): boolean =>
  /^\s*[\]!]?\s*\d{1,9}\.\d{9}\s|^\d{1,10}@\d{1,10}\.\d{6,9}:|^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}/.test(text);

const starts = (text: string): boolean => XENALYZE_START.test(text) || DM_START.test(text);

/** Where one record ends and the next begins on the same line. */
const NEXT_RECORD =
  /(?:\s{1,40}(?:[\]!]\s{0,8})?|[\]!]\s{0,8})(?=\d{1,9}\.\d{9}(?:\s+[-x|l.]+(?:\s[-x|l. ]*)?(?:\sd[\d?]+v[\d?]+(?:\s|$)|$)|\s*$))/g;

type Shape = 'whole' | 'cut' | 'other' | 'none';
const shapeOf = (text: string): Shape => {
  const shape = xenalyzeShape(text);
  return shape === 'none' ? dmShape(text) : shape;
};

interface Pending {
  text: string;
  readonly line: number;
  readonly prefix: Prefix;
  /** The copy of the text that it stands in. */
  readonly copy: string;
  /** Characters of its last line, as it stood in the file, and without its prefix; 0 where more followed on it. */
  width: number;
  inner: number;
  joined: number;
  shape: Shape;
}

export class TextLayer {
  private readonly take: TakeLine;
  private number = 0;
  private readonly copies = new TextCopies();
  private quotedPrintable = false;
  private soft: { text: string; line: number; quote: string } | undefined;
  private encoding: 'none' | 'announced' | 'base64' = 'none';
  private base64 = '';
  private readonly decoder = new TextDecoder();
  private pending: Pending | undefined;
  /** Marks that closed the last record that had some. */
  private closing: string | undefined;
  /** Longest line that was surely wrapped: others that end near it may be. */
  private wrapWidth = 0;

  constructor(take: TakeLine) {
    this.take = take;
  }

  /** Takes the next line of the file, without its end. */
  push(raw: string): void {
    this.number++;
    if (this.takeUntouched(raw)) return;
    if (this.copies.nextPart(raw)) this.quotedPrintable = false;
    if (this.encoding !== 'none' && this.takeBase64(raw)) return;
    if (/^content-transfer-encoding:\s*/i.test(raw)) {
      const encoding = raw
        .slice(raw.indexOf(':') + 1)
        .trim()
        .toLowerCase();
      this.quotedPrintable = encoding === 'quoted-printable';
      if (encoding === 'base64') this.encoding = 'announced';
    }
    this.takeEncoded(raw);
  }

  /** A line that is as QEMU wrote it, as nearly all of a log are, needs no more than its parser. @returns false for others */
  private takeUntouched(raw: string): boolean {
    if (this.soft !== undefined || this.encoding !== 'none') return false;
    const at = raw.indexOf('@');
    if (at < 1 || at > 10 || raw.includes('@', at + 1)) return false;
    const parsed = parseDmLine(raw, this.number);
    if (parsed.timeUs === undefined || parsed.kind === 'other' || parsed.kind === 'chip') return false;
    this.flush();
    this.take(raw, this.number, false, parsed);
    return true;
  }

  /** Records that stand in the text once more, in another part of a mail or quoted, and are read once. */
  get repeated(): number {
    return this.copies.repeated;
  }

  /** The file ends. */
  end(): void {
    if (this.base64 !== '') this.takeDecoded(this.base64, this.number);
    this.base64 = '';
    if (this.soft !== undefined) this.takeDecoded(decodeQuotedPrintable(this.soft.text), this.soft.line);
    this.soft = undefined;
    this.flush();
  }

  /** Base64 after a header that announces it and an empty line. @returns whether the line was part of it */
  private takeBase64(raw: string): boolean {
    if (this.encoding === 'announced') {
      // Other headers may follow; the body begins behind an empty line.
      if (raw.trim() === '') this.encoding = 'base64';
      return false;
    }
    if (raw.trim() === '' && this.base64 === '') return true;
    const bytes = decodeBase64(raw);
    if (bytes === undefined) {
      this.encoding = 'none';
      if (this.base64 !== '') this.takeDecoded(this.base64, this.number);
      this.base64 = '';
      return false;
    }
    const lines = (this.base64 + this.decoder.decode(bytes, { stream: true })).split(/\r?\n/);
    this.base64 = lines.pop()!;
    for (const line of lines) this.takeDecoded(line, this.number);
    return true;
  }

  private takeEncoded(raw: string): void {
    const { soft } = this;
    if (soft === undefined && !raw.includes('=')) {
      this.takeDecoded(raw, this.number);
      return;
    }
    const sure = isQuotedPrintable(raw);
    this.quotedPrintable ||= sure;
    if (soft !== undefined) {
      const same = soft.quote !== '' && raw.startsWith(soft.quote) && !soft.text.endsWith('-');
      const text = soft.text + (same ? raw.slice(soft.quote.length) : raw);
      if (hasSoftBreak(raw) && text.length < MAX_RECORD) this.soft = { ...soft, text: text.replace(/=[ \t]*$/, '') };
      else {
        this.soft = undefined;
        this.takeDecoded(decodeQuotedPrintable(text), soft.line);
      }
    } else if (this.quotedPrintable && hasSoftBreak(raw)) {
      this.soft = { text: raw.replace(/=[ \t]*$/, ''), line: this.number, quote: /^(?:\s*[>|]\s?)*/.exec(raw)![0] };
    } else this.takeDecoded(this.quotedPrintable ? decodeQuotedPrintable(raw) : raw, this.number);
  }

  private takeDecoded(text: string, line: number): void {
    // Nine lines in ten of a plain file: a record, and nothing to take off.
    const plain = /^[\t\x20-\x7e]*$/.test(text) ? text : plainCharacters(text);
    const logged = plain.includes('{') ? decodeJsonRecord(plain) : undefined;
    if (logged !== undefined) {
      for (const part of logged) this.takePlain(plainCharacters(part), line);
      return;
    }
    if (!plain.includes('<') && !plain.includes('&')) this.takePlain(plain, line);
    else for (const part of decodeHtml(plain)) this.takePlain(plainCharacters(part), line);
  }

  private takePlain(text: string, line: number): void {
    const pending = this.pending;
    // A binary file taken for text, and no tool's line.
    if (text.length > MAX_RECORD) {
      this.flush();
      this.take(text, line, false);
      return;
    }
    const peeled = peelRecord(text, starts);
    if (peeled !== undefined) {
      this.flush();
      this.takeRecords(peeled.rest, line, peeled.prefix, text.length, this.copies.copyOf(text));
      return;
    }
    if (pending !== undefined && this.continues(pending, text)) return;
    this.flush();
    this.take(peelQuotes(text), line, false);
  }

  /** A text that begins with a record: that one, and those that follow it on the line. */
  private takeRecords(text: string, line: number, prefix: Prefix, width: number, copy: string): void {
    const parts = splitRecords(text);
    parts.forEach((whole, i) => {
      const { part, shape } = this.closed(whole);
      this.flush();
      this.pending = {
        text: part,
        line,
        prefix,
        copy,
        width: i === parts.length - 1 ? width : 0,
        inner: i === parts.length - 1 ? text.length : 0,
        joined: 0,
        shape,
      };
    });
  }

  /** A record without the marks that close its line, where it is whole only so, or where they closed such a one before. */
  private closed(part: string): { part: string; shape: Shape } {
    const shape = shapeOf(part);
    if (shape !== 'cut' && !(shape === 'other' && this.closing !== undefined && part.endsWith(this.closing)))
      return { part, shape };
    const rest = peelClosing(part);
    if (rest === undefined || (shape === 'cut' && shapeOf(rest) !== 'whole')) return { part, shape };
    this.closing = part.slice(rest.length);
    return { part: rest, shape: shapeOf(rest) };
  }

  /** Joins a line without a record of its own to the record before it, where that goes on in it. */
  private continues(pending: Pending, text: string): boolean {
    const rest = peelContinuation(text, pending.prefix);
    if (rest.trim() === '' || pending.joined >= MAX_JOINED || pending.text.length + rest.length > MAX_RECORD) return false;
    const [first, ...records] = splitRecords(rest);
    const join = (joined: string, shape: Shape): true => {
      pending.text = joined;
      pending.shape = shape;
      pending.joined++;
      this.wrapWidth = Math.max(this.wrapWidth, pending.width);
      pending.width = records.length === 0 ? text.length : 0;
      pending.inner = records.length === 0 ? rest.length : 0;
      if (records.length > 0) {
        const { prefix, line, copy } = pending;
        for (const record of records) this.takeRecords(record, line + pending.joined, prefix, text.length, copy);
      }
      return true;
    };
    // A backslash says that the line goes on: some editors write it where they wrap.
    const goesOn = pending.shape === 'cut' && pending.text.endsWith('\\');
    const head = goesOn ? pending.text.slice(0, -1) : pending.text.trimEnd();
    const spaced = `${head.trimEnd()} ${first!.trim()}`;
    const tight = `${head}${goesOn ? first!.trimEnd() : first!.trim()}`;
    if (pending.shape === 'cut') {
      // A terminal wraps inside a word, a mailer between two.
      const order = goesOn || isTerminalWide(pending) ? ([tight, spaced] as const) : ([spaced, tight] as const);
      for (const joined of order) {
        if (shapeOf(joined) === 'whole' && endsWhole(joined)) return join(joined, 'whole');
      }
      // Words of a record that is still not whole: only where the lines may be of one width.
      if (shapeOf(spaced) === 'cut' && isRecordWords(first!)) return join(goesOn ? tight : spaced, 'cut');
      return false;
    }
    if (pending.shape === 'whole') {
      if (!/^[0-9a-f]{1,16}$/i.test(rest.trim()) || !/[0-9a-f]$/i.test(pending.text) || pending.width === 0) return false;
      // Digits alone behind a record that ends in digits: the number went on in them.
      if (isTerminalWide(pending) && shapeOf(tight) === 'whole') return join(tight, 'whole');
      if (pending.width >= Math.max(40, this.wrapWidth) && endsInNumber(pending.text)) pending.shape = 'cut';
      return false;
    }
    // A line of no fixed form: wrapped where the next word had no room in the width that others were wrapped at.
    const word = /^\S+/.exec(rest.trim())![0];
    if (this.wrapWidth > 0 && pending.width + 1 + word.length > this.wrapWidth) return join(spaced, pending.shape);
    return false;
  }

  private flush(): void {
    const { pending } = this;
    if (pending === undefined) return;
    this.pending = undefined;
    const { text, shape, copy } = pending;
    if (shape !== 'cut' && this.copies.isRepeat(text, copy, isTimed(text))) return;
    this.take(text, pending.line, shape === 'cut');
  }
}

/** No text shorter than this is whole before another begins. */
const MIN_RECORD = 12;

function splitRecords(text: string): string[] {
  // A record behind the start of the text has a time, a stamp or a name with these signs.
  if (!text.includes('.', MIN_RECORD) && !text.includes(':', MIN_RECORD)) return [text];
  const parts: string[] = [];
  let from = 0;
  for (const m of text.matchAll(NEXT_RECORD)) {
    if (m.index <= from) continue;
    parts.push(text.slice(from, m.index));
    from = m.index;
  }
  parts.push(text.slice(from));
  return parts.flatMap((part) => splitDmEvents(part));
}

/** Records whose end the reader does not look at. */
const OPEN_ENDED = /\sd[\d?]+v[\d?]+\s+(?:vmentry|inj_virq|hypercall|vmcall|lost_records)\s/;

/** A joined record must take all of the words: prose behind it says that it was never part of it. */
const endsWhole = (text: string): boolean => OPEN_ENDED.test(text) || shapeOf(`${text} x`) !== 'whole';

/** Words that stand in records: numbers, names with an underscore, states, and the words between. */
const isRecordWords = (text: string): boolean =>
  text
    .trim()
    .split(/\s+/)
    .every((word) =>
      /^(?:[0-9a-f]{1,16}|0x[0-9a-f]+|[-x|l.]+|d[\d?]+v[\d?]+|[A-Z_]+|\w+=\S*|\w*_\w*|\w+->\w+|\w+:|(?:gpa|data|mfn|q|t|eip|[rw]|read|write|port|val|vec|exit_reason|vmexit|vmentry|npf|io|cycles|cpu|mr|addr|value|size|name|count|ptr|to|from|running|runnable|blocked|offline)[,:]?|[\d,:]+)$/.test(
        word,
      ),
    );

/** Whether the value of a record stands at the very end of its text. */
const endsInNumber = (text: string): boolean => /\b(?:data|val|eip|data:)\s+[0-9a-f]+$/i.test(text);
