/**
 * The grammar of xl's configuration files, as libxlu reads it (tools/libs/util/libxlu_cfg_l.l, libxlu_cfg_y.y,
 * libxlu_cfg.c): `KEY = VALUE` and `KEY += VALUE`, ended by a line end or `;`, where a value is a string in quotes, a number
 * or a list of values. A string and a number are the same to it: text, which whoever asks takes as one or the other.
 */
import { UserError } from '../base/errors.ts';

interface XlAtom {
  readonly kind: 'atom';
  readonly text: string;
  readonly quoted: boolean;
  readonly line: number;
}
interface XlList {
  readonly kind: 'list';
  readonly items: readonly XlValue[];
  readonly line: number;
}
type XlValue = XlAtom | XlList;

export interface XlSetting {
  readonly key: string;
  readonly value: XlValue;
  /** Line of the key, from 1. */
  readonly line: number;
  /** Line of an earlier setting of the key that this one takes the place of. */
  readonly replaces?: number;
}

/** All settings of a file by key; of two of one key the later counts, and `+=` adds to the earlier. Throws UserError naming file and line. */
export function parseXlSettings(text: string, file: string): ReadonlyMap<string, XlSetting> {
  const scanner = new Scanner(text, file);
  const settings = new Map<string, XlSetting>();
  for (;;) {
    scanner.skipBlank(true);
    if (scanner.atEnd) return settings;
    const { line } = scanner;
    const key = scanner.key();
    scanner.skipBlank(false);
    const adds = scanner.take('+=');
    if (!adds && !scanner.take('=')) throw new UserError(`${file}:${line}: expected '=' or '+=' after '${key}'`);
    const value = scanner.value();
    scanner.skipBlank(false);
    if (!scanner.atEnd && !scanner.take('\n') && !scanner.take(';'))
      throw new UserError(`${file}:${scanner.line}: expected the end of the line after the value of '${key}'`);
    const before = settings.get(key);
    if (!adds || before === undefined)
      settings.set(key, { key, value, line, ...(before === undefined ? {} : { replaces: before.line }) });
    else settings.set(key, { key, value: sum(before.value, value, `${file}:${line}: ${key} +=`), line: before.line });
  }
}

/** Strings are put together and lists appended to; of two kinds no sum is. */
function sum(a: XlValue, b: XlValue, at: string): XlValue {
  if (a.kind === 'atom' && b.kind === 'atom') return { ...a, text: a.text + b.text, quoted: a.quoted || b.quoted };
  if (a.kind === 'list' && b.kind === 'list') return { ...a, items: [...a.items, ...b.items] };
  throw new UserError(
    `${at}: the value is ${b.kind === 'list' ? 'a list' : 'no list'}, that of line ${a.line} is ${a.kind === 'list' ? 'one' : 'none'}; expected two strings or two lists`,
  );
}

/** A whole number as C's strtol takes it with base 0: decimal, octal after 0, hexadecimal after 0x; undefined for anything else. */
export function wholeNumber(text: string): number | undefined {
  const m = /^\s*([+-]?)(?:0x([0-9a-f]+)|(0[0-7]*)|([1-9]\d*))$/i.exec(text);
  if (m === null) return undefined;
  const [, sign, hex, octal, decimal] = m;
  const value = hex !== undefined ? parseInt(hex, 16) : octal !== undefined ? parseInt(octal, 8) : Number(decimal);
  return sign === '-' ? -value : value;
}

/** Lists of xl's own keys nest two deep. */
const MAX_DEPTH = 8;

const ESCAPES: Readonly<Record<string, string>> = {
  "'": "'",
  '"': '"',
  '\\': '\\',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

class Scanner {
  line = 1;
  private at = 0;
  private readonly text: string;
  private readonly file: string;

  constructor(text: string, file: string) {
    this.text = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
    this.file = file;
  }

  get atEnd(): boolean {
    return this.at >= this.text.length;
  }

  private fail(what: string): never {
    throw new UserError(`${this.file}:${this.line}: ${what}`);
  }

  take(word: string): boolean {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    if (word === '\n') this.line++;
    return true;
  }

  /** Blanks and comments; line ends and empty statements too when `lines`. */
  skipBlank(lines: boolean): void {
    for (;;) {
      const c = this.text[this.at];
      if (c === ' ' || c === '\t' || (lines && c === ';')) this.at++;
      else if (c === '#') while (!this.atEnd && this.text[this.at] !== '\n') this.at++;
      else if (!(lines && this.take('\n'))) return;
    }
  }

  key(): string {
    const match = /^[A-Za-z_][A-Za-z0-9_]*/.exec(this.text.slice(this.at, this.at + 200));
    if (match === null) this.fail('expected a key, like memory = 128');
    this.at += match[0].length;
    return match[0];
  }

  value(depth = 0): XlValue {
    this.skipBlank(false);
    const { line } = this;
    const c = this.text[this.at];
    if (c === "'" || c === '"') return { kind: 'atom', text: this.string(c), quoted: true, line };
    if (c === '[')
      return depth < MAX_DEPTH
        ? { kind: 'list', items: this.list(depth), line }
        : this.fail(`lists are nested more than ${MAX_DEPTH} deep; expected a string or a number`);
    const match = /^-?[0-9][0-9a-zA-Z]*/.exec(this.text.slice(this.at, this.at + 40));
    if (match === null || wholeNumber(match[0]) === undefined)
      this.fail(
        `${match === null ? '' : `${match[0]}: `}expected a value: a number (octal after 0, hexadecimal after 0x), a string in quotes, or a list in [ ]`,
      );
    this.at += match[0].length;
    return { kind: 'atom', text: match[0], quoted: false, line };
  }

  private string(quote: string): string {
    this.at++;
    let text = '';
    for (;;) {
      const c = this.text[this.at];
      if (c === undefined || c === '\n') this.fail(`the string is not closed; expected ${quote} before the end of the line`);
      this.at++;
      if (c === quote) return text;
      text += c === '\\' ? this.escape() : c;
    }
  }

  /** What stands behind a backslash. */
  private escape(): string {
    const m = /^(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(['"\\abfnrtv]))/.exec(this.text.slice(this.at, this.at + 3));
    if (m === null)
      this.fail(
        `\\${/^[^\n]/.exec(this.text.slice(this.at, this.at + 1))?.[0] ?? ''} in a string: expected one of \\\\ \\' \\" \\a \\b \\f \\n \\r \\t \\v, \\x with two hexadecimal or \\ with up to three octal digits`,
      );
    this.at += m[0].length;
    const [, hex, octal, letter] = m;
    return letter !== undefined
      ? ESCAPES[letter]!
      : String.fromCharCode((hex !== undefined ? parseInt(hex, 16) : parseInt(octal!, 8)) & 0xff);
  }

  private list(depth: number): XlValue[] {
    this.at++;
    const items: XlValue[] = [];
    for (;;) {
      this.skipLines();
      if (this.take(']')) return items;
      if (this.atEnd) this.fail("the list is not closed; expected ']'");
      items.push(this.value(depth + 1));
      this.skipLines();
      if (!this.take(',') && this.text[this.at] !== ']') this.fail("expected ',' or ']' in the list");
    }
  }

  /** Blanks, comments and line ends: a `;` ends no line of a list. */
  private skipLines(): void {
    do this.skipBlank(false);
    while (this.take('\n'));
  }
}
