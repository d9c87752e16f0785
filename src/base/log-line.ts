/**
 * Lines of a log as data. A line is declared once, as a text with named fields; whoever writes the log forms its text from the
 * declaration, and whoever reads a log parses by the same.
 *
 * A field is `{name:kind}`:
 *
 * | kind | text | value |
 * | --- | --- | --- |
 * | `d` | decimal digits, a sign allowed | number |
 * | `x`, `x2`, `x4`, `x8` | hexadecimal digits, at least so many, without a prefix | number |
 * | `q` | hexadecimal digits of up to 64 bits, without a prefix | number to write, bigint when read |
 * | `h` | hexadecimal digits whose number the writer chooses | string |
 * | `p` | a pointer as `%p` prints it: `0x7ffcc5562890`, `(nil)` | string |
 * | `w` | a word without blanks and equals signs | string |
 * | `l` | a label that goes on to the next literal, blanks included | string |
 * | `s` | a suffix that names a width, perhaps none: `(b)`, `(w)`, `(l)` | string |
 * | `n` | any text but an apostrophe, perhaps none | string |
 * | `t` | the rest of the line | string |
 */

interface Kind {
  readonly pattern: string;
  write(value: never): string;
  read(text: string): unknown;
}

const hexKind = (digits: number): Kind => ({
  pattern: '[0-9a-f]{1,16}',
  write: (value: number) => value.toString(16).padStart(digits, '0'),
  read: (text) => parseInt(text, 16),
});
const textKind = (pattern: string): Kind => ({ pattern, write: (value: string) => value, read: (text) => text });

const kinds: Readonly<Record<string, Kind>> = {
  d: { pattern: '-?\\d{1,10}', write: (value: number) => String(value), read: (text) => Number(text) },
  x: hexKind(1),
  x2: hexKind(2),
  x4: hexKind(4),
  x8: hexKind(8),
  q: {
    pattern: '[0-9a-f]{1,16}',
    write: (value: number | bigint) => value.toString(16),
    read: (text) => BigInt(`0x${text}`),
  },
  p: textKind('(?:(?:0x)?[0-9a-f]{1,16}|\\(nil\\))'),
  h: textKind('[0-9a-f]{1,16}'),
  l: textKind('[^=]{1,60}?'),
  s: textKind('(?:\\([bwl]\\))?'),
  w: textKind('[^\\s=]{1,200}'),
  n: textKind("[^']{0,200}"),
  t: textKind('.*'),
};

type Written<K> = K extends 'd' | 'x' | 'x2' | 'x4' | 'x8' ? number : K extends 'q' ? number | bigint : string;
type Read<K> = K extends 'q' ? bigint : Written<K>;
/** Fields of a text by name, with the letter of their kind. */
type Kinds<T extends string> = T extends `${string}{${infer N}:${infer K}}${infer Rest}`
  ? { readonly [name in N]: K } & Kinds<Rest>
  : unknown;
/** What forms a line. */
export type LineFields<T extends string> = { readonly [N in keyof Kinds<T>]: Written<Kinds<T>[N]> };
type ReadFields<T extends string> = { readonly [N in keyof Kinds<T>]: Read<Kinds<T>[N]> };
/** What every wording of a line tells. */
type Common<T extends string, O extends string> = Pick<ReadFields<T>, keyof ReadFields<T> & keyof Kinds<T | O>>;

/** Another wording of a line, which other versions of the program print. */
export interface Wording<O extends string> {
  /** Who prints it: `QEMU up to 6.2`. */
  readonly by: string;
  readonly text: O;
}

/** A kind of line. */
export interface LogLine<T extends string = string, O extends string = never> {
  /** The event's name, or what a plain line begins with. */
  readonly name: string;
  /** An event has a time before it, a plain line has none. */
  readonly form: 'event' | 'line';
  /** Whose words they are, and of which version: `QEMU 7.2`. */
  readonly by: string;
  readonly text: T;
  readonly older: readonly Wording<O>[];
  /** The line's text, without a time. */
  write(fields: LineFields<T>): string;
  /** Reads a text in any wording, the written one first; undefined: it is not this line, or is cut short. */
  read(text: string): (Common<T, O> & Partial<ReadFields<T>>) | undefined;
}

/** No digit or letter may follow a value at once, nor a word one blank away: a wrapped line could go on in prose. */
const END = String.raw`(?=\s*$|\s{2,}\S|\t|\s+[^\s\w])`;

const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

/** A text cut at its fields: literals at even places, names and kinds between them. */
function cut(text: string): { literals: string[]; fields: { name: string; kind: Kind }[] } {
  const parts = text.split(/\{(\w+:\w+)\}/);
  const fields = parts.filter((_, i) => i % 2 === 1).map((part) => part.split(':'));
  return {
    literals: parts.filter((_, i) => i % 2 === 0),
    fields: fields.map(([name, letter]) => {
      const kind = Object.hasOwn(kinds, letter!) ? kinds[letter!]! : undefined;
      if (kind === undefined) throw new TypeError(`log line '${text}': '${letter}' is no kind of a field`);
      return { name: name!, kind };
    }),
  };
}

function writerOf(text: string): (fields: Readonly<Record<string, unknown>>) => string {
  const { literals, fields } = cut(text);
  const [first] = literals;
  return (values) => {
    let line = first!;
    for (let i = 0; i < fields.length; i++) {
      const { name, kind } = fields[i]!;
      line += kind.write(values[name] as never) + literals[i + 1]!;
    }
    return line;
  };
}

function readerOf(text: string): (line: string) => Record<string, unknown> | undefined {
  const { literals, fields } = cut(text);
  const pattern = literals
    .map((literal, i) => escaped(literal) + (i < fields.length ? `(${fields[i]!.kind.pattern})` : ''))
    .join('')
    .replace(/,0x/g, String.raw`,\s*0x`);
  const whole = new RegExp(`^${pattern}${END}`, 'i');
  return (line) => {
    const found = whole.exec(line);
    if (found === null) return undefined;
    const values: Record<string, unknown> = {};
    for (let i = 0; i < fields.length; i++) values[fields[i]!.name] = fields[i]!.kind.read(found[i + 1]!);
    return values;
  };
}

/**
 * Declares a kind of line.
 * @param form an `event`'s text begins with its name
 * @param by whose words they are, and of which version
 * @param older other wordings that a reader understands
 */
function declare<const T extends string, const O extends string = never>(
  form: LogLine['form'],
  by: string,
  text: T,
  older: readonly Wording<O>[],
): LogLine<T, O> {
  const readers = [text, ...older.map((wording) => wording.text)].map(readerOf);
  return {
    name: form === 'event' ? /^\w+/.exec(text)![0] : text.split(/[{]/)[0]!.trim(),
    form,
    by,
    text,
    older,
    write: writerOf(text) as LogLine<T, O>['write'],
    read(line) {
      for (const reader of readers) {
        const values = reader(line);
        if (values !== undefined) return values as never;
      }
      return undefined;
    },
  };
}

/** A trace event of the device model: `name arguments`. */
export const event = <const T extends string, const O extends string = never>(
  by: string,
  text: T,
  ...older: readonly Wording<O>[]
): LogLine<T, O> => declare('event', by, text, older);

/** A plain line, such as a chip's debug output. */
export const plain = <const T extends string, const O extends string = never>(
  by: string,
  text: T,
  ...older: readonly Wording<O>[]
): LogLine<T, O> => declare('line', by, text, older);

/**
 * Reads lines from texts whose beginning was taken off.
 * @param plainPrefix what stood before a plain line's text: `RTL8139: `
 * @param eventPrefix what stood before an event's: `e1000_`
 */
export const readerBehind =
  (plainPrefix: string, eventPrefix = plainPrefix) =>
  <T extends string, O extends string>(line: LogLine<T, O>, text: string): ReturnType<LogLine<T, O>['read']> =>
    line.read((line.form === 'event' ? eventPrefix : plainPrefix) + text);
