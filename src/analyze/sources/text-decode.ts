/**
 * What mailers, browsers and terminals do to a line of text, undone: quoted-printable and base64 of mail (RFC 2045), HTML
 * tags and entities, escape sequences of terminals, blanks and arrows that an editor made "nice".
 */

/** Entities that XML has without a list of names. */
const XML_ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };
const decodeXml = (text: string): string =>
  text.replaceAll(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,4}));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) return XML_ENTITIES[name] ?? whole;
    const code = decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });

let decodeHTML: (text: string) => string = decodeXml;
/**
 * Settles when HTML's own list of names is there. The list is a package, which a browser that takes these files as they are does not
 * find: it has XML's names alone. Nothing here waits at the top of a module, as a Worker's first messages would then be lost.
 */
export const entityNames: Promise<void> = import('entities').then(
  (entities) => void (decodeHTML = entities.decodeHTML),
  () => {},
);

/** Whether every `=` of a line is one of quoted-printable: a code, or a soft break at the end. */
const isValid = (line: string): boolean => !/=(?![0-9A-Fa-f]{2}|[ \t]{0,80}$)/.test(line);

/** A soft line break of quoted-printable: the line goes on in the next. */
export const hasSoftBreak = (line: string): boolean => /=[ \t]{0,80}$/.test(line) && isValid(line);

/** Nothing that a tool prints: a sure sign of quoted-printable. */
const SURE_QUOTED_PRINTABLE = /=3D|=C2=A0|=E2=80=|=20[ \t]*$|=09/;

/** Whether a line can only come from quoted-printable text. */
export const isQuotedPrintable = (line: string): boolean =>
  (SURE_QUOTED_PRINTABLE.test(line) && isValid(line)) || hasSoftBreak(line);

/** Quoted-printable back into text; a soft break at the end is kept. What is no code stays as it is. */
export function decodeQuotedPrintable(line: string): string {
  if (!isValid(line)) return line;
  return line.replaceAll(/(?:=[0-9A-Fa-f]{2})+/g, (codes) =>
    new TextDecoder().decode(Uint8Array.from(codes.slice(1).split('='), (code) => parseInt(code, 16))),
  );
}

/** A line of base64 of mail, or undefined. Short last lines count. */
export function decodeBase64(line: string): Uint8Array | undefined {
  const text = line.trim();
  if (text === '' || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

const BREAK_TAGS = /<(?:br|\/p|\/div|\/tr|\/li|\/pre|\/h[1-6]|p|pre|tr|li|blockquote|\/blockquote)(?:\s[^<>]{0,400})?\/?>/gi;
/** Ends of cells: what stands in two of them is two words. */
const CELL_ENDS = /<\/(?:td|th|dt)\s{0,10}>/gi;
const OTHER_TAGS =
  /<\/?(?:a|abbr|article|b|big|body|center|cite|code|dd|del|div|dl|dt|em|font|form|h[1-6]|head|hr|html|i|img|ins|kbd|link|main|mark|meta|nobr|ol|q|s|samp|script|section|small|span|strike|strong|style|sub|sup|table|tbody|td|th|thead|title|tt|u|ul|var|wbr|!doctype)(?:\s[^<>]{0,400})?\/?>/gi;
const COMMENT = /<!--[^<>]{0,400}-->/g;

/** How often a page may have been escaped over again (`&amp;gt;`). */
const MAX_ESCAPES = 3;

/** The lines that a line of HTML shows. A line without tags and entities comes back as it is. */
export function decodeHtml(line: string): string[] {
  const plain = line.includes('<')
    ? line.replaceAll(COMMENT, '').replaceAll(BREAK_TAGS, '\n').replaceAll(CELL_ENDS, ' ').replaceAll(OTHER_TAGS, '')
    : line;
  let text = plain;
  for (let i = 0; i < MAX_ESCAPES && /&(?:#\d|#x[\da-f]|[a-z]{2,8};)/i.test(text); i++) {
    const decoded = decodeHTML(text);
    if (decoded === text) break;
    text = decoded;
  }
  if (!text.includes('\n')) return [text];
  // A tag at the start or the end of a line breaks nothing.
  const parts = text.split('\n');
  return parts.filter((part, i) => part.trim() !== '' || (parts.every((p) => p.trim() === '') && i === 0));
}

/** Members of a log's JSON records that hold the line that was logged: journald, Docker, and those of common loggers. */
const LOGGED = ['MESSAGE', 'log', 'message', 'msg', 'text', 'line'] as const;

/** Lines that a JSON record of a log holds (`{"MESSAGE":"…"}`); undefined where a line is no such record. */
export function decodeJsonRecord(line: string): string[] | undefined {
  const text = line.trim().replace(/,$/, '');
  if (!text.startsWith('{') || !text.endsWith('}')) return undefined;
  let record: Readonly<Record<string, unknown>>;
  try {
    record = JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const logged = LOGGED.map((name) => record[name]).find((value) => typeof value === 'string');
  return logged === undefined ? undefined : (logged as string).replace(/\r?\n$/, '').split(/\r?\n/);
}

/** CSI, OSC and two-character escape sequences (ECMA-48), and overstrikes of man pages (`_\bx`). */
const ESCAPES = /\x1b\[[0-?]{0,40}[ -/]{0,4}[@-~]|\x1b\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|.\x08/g;
/** Joiners, soft hyphens, marks of direction, byte-order marks. */
const INVISIBLE = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]/g;

/** A line in the characters that tools print. */
export function plainCharacters(line: string): string {
  return (
    line
      .replaceAll(ESCAPES, '')
      .replaceAll(INVISIBLE, '')
      .replaceAll(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\v\f]/g, ' ')
      .replaceAll(/[\u2192\u27f6\u279c\u2794\u21d2]/g, '->')
      .replaceAll(/[\u2190\u27f5\u21d0]/g, '<-')
      .replaceAll(/[\u2010-\u2015\u2212]/g, '-')
      .replaceAll(/[\u2018\u2019\u201b\u2032]/g, "'")
      .replaceAll(/[\u201c-\u201f\u2033]/g, '"')
      .replaceAll(/[\uff01-\uff5e]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
      // An unbreakable space of Windows' code page 1252, which is no UTF-8.
      .replaceAll('\ufffd', ' ')
      .replaceAll(/[\x00-\x08\x0b-\x1f\x7f]/g, '')
  );
}
