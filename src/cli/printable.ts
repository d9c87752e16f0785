/** Text of guests, files and command lines on its way to a terminal: what would move the cursor is written out, never sent. */

const written = (c: string): string => {
  const code = c.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
};

/** C0 without tab and line feed, DEL, C1, and what turns the direction of writing. */
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Several lines; carriage returns beside a line feed are part of the line's end, on either side of it. */
export const printable = (text: string): string => text.replaceAll(/\r*\n\r*/g, '\n').replaceAll(CONTROLS, written);

/** One line. */
export const oneLine = (text: string): string => text.replaceAll(CONTROLS, written).replaceAll(/[\t\n]/g, written);

/** JSON leaves DEL, C1 and the directions as they are: the same text, with escapes that JSON knows. */
export const printableJson = (json: string): string =>
  json.replaceAll(CONTROLS, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** A copy of plain data with every string made printable; anything that is no plain object or array stays the same. */
export function printableData<T>(value: T): T {
  if (typeof value === 'string') return printable(value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => printableData(item)) as T;
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, printableData(item as unknown)])) as T;
}

/** Bytes that come in pieces, such as a console's, as printable text. */
export class PrintableStream {
  private readonly decoder = new TextDecoder();
  private heldReturn = false;
  private behindFeed = false;

  /** What can be printed after these bytes: a character or a line's end that is cut between two pieces waits for its rest. */
  text(bytes: Uint8Array): string {
    let text = (this.heldReturn ? '\r' : '') + this.decoder.decode(bytes, { stream: true });
    this.heldReturn = text.endsWith('\r');
    if (this.heldReturn) text = text.slice(0, -1);
    if (this.behindFeed) text = text.replace(/^\r+/, '');
    if (text !== '') this.behindFeed = text.endsWith('\n');
    return printable(text);
  }
}
