/**
 * What stands before a record on its line and is none of it: the quoting of mails, numbers of pagers and listings, signs of
 * a diff, stamps and names of a system's log.
 */

/** One sort of prefix. A continuation of a wrapped line has the sorts of its first line, if any. */
interface Sort {
  readonly name: string;
  readonly pattern: RegExp;
}

const ISO = String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|\s?[+-]\d\d:?\d\d)?`;
const MONTH_STAMP = String.raw`(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\s)?[A-Z][a-z]{2}\s{1,2}\d{1,2}\s(?:\d{4}\s)?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:\s\d{4})?`;
const PROGRAM = String.raw`\w[\w./@+-]{0,63}(?:\[\d{1,10}\]|\(\d{1,10}\))?`;

const SORTS: readonly Sort[] = [
  { name: 'blank', pattern: /^\s+/ },
  // `> `, `| `, `: `, `# `, and the comment signs of source text.
  { name: 'quote', pattern: /^(?:[>|:%#»│┃¦]|\/\/|\*(?=\s))+ ?/ },
  { name: 'diff', pattern: /^[+-]{1,3} ?/ },
  // RFC 5424: `<30>1 STAMP host program pid id data `, and the priority alone.
  {
    name: 'syslog',
    pattern: new RegExp(String.raw`^<\d{1,3}>1 ${ISO} \S{1,255} \S{1,48} \S{1,128} \S{1,32} (?:-|\[[^\]]{0,200}\]) ?`),
  },
  { name: 'syslog', pattern: /^<\d{1,3}>/ },
  // `JB> `, as some mailers quote; `<nick> `.
  { name: 'quote', pattern: /^(?:[A-Za-z]{1,12}>|<[@+]?[\w[\]-]{1,24}>) ?/ },
  { name: 'syslog', pattern: new RegExp(String.raw`^(?:${ISO}|${MONTH_STAMP})\s+[\w.-]{1,64}\s+${PROGRAM}:\s?`) },
  { name: 'syslog', pattern: new RegExp(String.raw`^(?:${ISO}|${MONTH_STAMP})\s+(?:stdout|stderr)\s+[FP]\s`) },
  { name: 'stamp', pattern: new RegExp(String.raw`^[[(]?(?:${ISO}|${MONTH_STAMP})[\])]?[:,]?\s+`) },
  { name: 'stamp', pattern: /^[[(]?\d\d?:\d\d(?::\d\d(?:[.,]\d{1,9})?)?[\])]?:?\s+/ },
  { name: 'stamp', pattern: /^\[\s{0,8}\d{1,9}\.\d{1,6}\]\s/ },
  // `name.txt:12:` and `name.txt-12-` of grep, `name.txt:` of grep and head.
  { name: 'file', pattern: /^[\w./~+-]{0,200}\.[A-Za-z]\w{0,5}(?:[:-]\d{1,8}[:-]|:)\s?/ },
  { name: 'program', pattern: new RegExp(String.raw`^(?:${PROGRAM}:|\([\w-]{1,16}\)|\[[\w-]{1,32}\])\s`) },
  // `1a2b3c4 (Ann 2024-01-02 11:22:33 +0100 12) ` of git blame, and with a file's name.
  {
    name: 'blame',
    pattern: new RegExp(String.raw`^\^?[0-9a-f]{7,40} (?:\S{1,200} {1,40})?\(.{1,80}? ${ISO} {1,8}\d{1,8}\) ?`),
  },
  // `01-02 10:11:12.123  1234  5678 I name: ` of Android's log, and levels of loggers behind a stamp.
  { name: 'logcat', pattern: /^\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\s+\d{1,8}\s+\d{1,8} [VDIWEF] [^:]{1,40}: ?/ },
  { name: 'level', pattern: /^\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL)\]?:?\s+/i },
  // `root@dom0:~# ` of a shell.
  { name: 'prompt', pattern: /^\[?[\w.-]{1,32}@[\w.-]{1,64}[: ][^\s#$%]{0,200}[#$%] / },
  // `12,"` of a table of comma-separated values.
  { name: 'number', pattern: /^\d{1,8},"?/ },
  // `12:`, `12)`, `12|`, `[12]`, `L12`, `12 |`, and a number with a tab or blanks behind it.
  { name: 'number', pattern: /^(?:\[\d{1,8}\]|(?:L|line )?\d{1,8}(?:\s{0,4}[:|)>│┃-]|[.](?=\s)|(?=\s)))\s{0,1}/i },
  { name: 'mark', pattern: /^["'`~^$*•·]+ ?/ },
];

/** Deeper than any thread of mails. */
const MAX_LAYERS = 40;

export interface Prefix {
  /** Sorts of what was taken off, in order, blanks left out. */
  readonly sorts: readonly string[];
  /** Number that a pager gave the line. */
  readonly number: number | undefined;
}

const NO_PREFIX: Prefix = { sorts: [], number: undefined };

/**
 * Takes prefixes off a line until what is left starts a record.
 * @param starts whether a text starts a record
 * @returns undefined where no prefix of these sorts is followed by a record
 */
export function peelRecord(line: string, starts: (text: string) => boolean): { rest: string; prefix: Prefix } | undefined {
  if (starts(line)) return { rest: line, prefix: NO_PREFIX };
  const sorts: string[] = [];
  let number: number | undefined;
  let rest = line;
  for (let layer = 0; layer < MAX_LAYERS; layer++) {
    const sort = SORTS.find(({ pattern }) => pattern.test(rest));
    if (sort === undefined) break;
    const taken = sort.pattern.exec(rest)![0];
    if (taken === '') break;
    rest = rest.slice(taken.length);
    if (sort.name === 'number') number = Number(/\d+/.exec(taken)![0]);
    if (sort.name !== 'blank') sorts.push(sort.name);
    if (starts(rest)) return { rest, prefix: { sorts, number } };
  }
  return labelled(line, starts);
}

/** A word or two of any kind with a sign behind them, and then a record that goes on to the end of the line. */
function labelled(line: string, starts: (text: string) => boolean): { rest: string; prefix: Prefix } | undefined {
  const m = /^\s*\S{1,40}(?:\s\S{1,40})?[:|>\])}=]\s+(?=\S)/.exec(line);
  if (m === null) return undefined;
  const rest = line.slice(m[0].length);
  return starts(rest) ? { rest, prefix: { sorts: ['label'], number: undefined } } : undefined;
}

/** Takes the prefix off a line that may go on with a record of this prefix; a number only where it is the next one. */
export function peelContinuation(line: string, { sorts, number }: Prefix): string {
  let rest = line.trimStart();
  for (const name of sorts) {
    for (const { name: other, pattern } of SORTS) {
      if (other !== name) continue;
      const taken = pattern.exec(rest)?.[0] ?? '';
      if (taken === '') continue;
      if (name === 'number' && Number(/\d+/.exec(taken)![0]) !== (number ?? 0) + 1) break;
      rest = rest.slice(taken.length).trimStart();
      break;
    }
  }
  return rest;
}

/** What stands behind a record and closes what stood before it: quotes, `\n` of a string, the ends of `cat -A` and of lists. */
const CLOSING = /(?:\\n)?["'`$,;]{1,4}\s*$/;

/** A record without what closes its line; undefined where nothing does. */
export function peelClosing(record: string): string | undefined {
  const rest = record.replace(CLOSING, '');
  return rest === record ? undefined : rest;
}

/** Takes quoting off a line of prose. */
export const peelQuotes = (line: string): string => line.replace(/^(?:\s*[>|])+ ?/, '');
