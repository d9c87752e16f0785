import { textLine } from './evidence.ts';
import type { Runstate, TraceEvent } from './events.ts';

/**
 * What `xenalyze --dump-all` prints, back into events: whole dumps, and excerpts quoted in a mail with prose
 * between them (text-layer.ts takes the mail off). xenalyze prints no record offsets, so references are line numbers.
 */
const LINE = /^\s*[\]!]?\s*(\d{1,9})\.(\d{9})\s+([-x|l. ]+?)\s*d(\d+|\?)v(\d+|\?)\s+(.*)$/;
/** No record prints more. */
const MAX_LINE = 1024;
const INVALID_MFN = 0xffffffffffffffffn;
const RUNSTATES: readonly string[] = ['running', 'runnable', 'blocked', 'offline'];

const hex = (text: string): number => parseInt(text, 16);
const big = (text: string): bigint => BigInt(`0x${text}`);

/** What `xenalyze` prints in front of a record's name, at the start of a text, whole or as far as a cut line has it. */
export const XENALYZE_START = /^\s*[\]!]?\s*\d{1,9}\.\d{9}(?:\s+[-x|l.]+(?:\s|$)|\s*$)/;

/**
 * The end of a record: the text's end, a remark set off by two blanks, or one that begins with a sign ("<-- here"). A
 * word one blank away could be prose that a value stands in ("data bad idea"): no value is read before it.
 */
const END = String.raw`(?=\s*$|\s{2,}\S|\t|\s+[^\s\w])`;
const H = '([0-9a-f]{1,16})';
const body = (text: string): RegExp => new RegExp(`^${text.replaceAll(' ', String.raw`\s+`)}${END}`, 'i');

type Fields =
  Extract<TraceEvent, { kind: string }> extends infer E
    ? E extends TraceEvent
      ? Omit<E, 'ref' | 'timeNs' | 'pcpu' | 'dom' | 'vcpu'> & { dom?: number; vcpu?: number }
      : never
    : never;

/** One way a record is printed. `read` gives undefined for words that are none of the format's. */
interface Form {
  readonly pattern: RegExp;
  read(m: RegExpExecArray, timeNs: number): Fields | undefined;
}

const io = (
  space: 'mmio' | 'pio',
  dir: 'read' | 'write' | undefined,
  addr: string,
  data: string | undefined,
  cut?: true,
): Fields => ({
  kind: 'io',
  space,
  dir,
  addr: hex(addr),
  data: data === undefined ? undefined : big(data),
  ...(cut === undefined ? {} : { cut }),
});

const direction = (word: string): 'read' | 'write' => (word.toLowerCase().startsWith('w') ? 'write' : 'read');
const validMfn = (mfn: bigint): bigint | undefined => (mfn === INVALID_MFN ? undefined : mfn);

/** The records that a path of I/O is read from, by name, each with every form in which xenalyze prints it whole. */
const FORMS: Readonly<Record<string, readonly Form[]>> = {
  vmexit: [
    {
      pattern: body(String.raw`vmexit exit_reason (\S+) eip ${H}`),
      read: (m) => ({ kind: 'vmexit', reason: m[1]!, rip: big(m[2]!) }),
    },
  ],
  vmentry: [{ pattern: /^vmentry(?=\s|$)/i, read: () => ({ kind: 'vmentry' }) }],
  npf: [
    {
      pattern: body(String.raw`npf gpa ${H} q ${H} mfn ${H} t (\d{1,3})`),
      read: (m) => ({
        kind: 'npf',
        gpa: hex(m[1]!),
        qualification: hex(m[2]!),
        mfn: validMfn(big(m[3]!)),
        p2mType: Number(m[4]),
      }),
    },
  ],
  mmio_assist: [
    { pattern: body(`mmio_assist ([rw]) gpa ${H} data ${H}`), read: (m) => io('mmio', direction(m[1]!), m[2]!, m[3]) },
    {
      pattern: body(String.raw`mmio_assist ([rw]) gpa ${H} \(no data\)`),
      read: (m) => io('mmio', direction(m[1]!), m[2]!, undefined),
    },
    // A version of xenalyze that did not know the record yet prints its words.
    { pattern: body(String.raw`mmio_assist \[ ${H}(?: ${H})? \]`), read: (m) => io('mmio', undefined, m[1]!, m[2]) },
  ],
  io: [
    { pattern: body(`io (read|write) port ${H} val ${H}`), read: (m) => io('pio', direction(m[1]!), m[2]!, m[3]) },
    {
      pattern: body(String.raw`io (read|write) port ${H} \(no data\)`),
      read: (m) => io('pio', direction(m[1]!), m[2]!, undefined),
    },
  ],
  io_assist: [{ pattern: body(String.raw`io_assist \[ ${H}(?: ${H})? \]`), read: (m) => io('pio', undefined, m[1]!, m[2]) }],
  runstate_change: [
    {
      pattern: body(String.raw`runstate_change d(\d+)v(\d+) (\w+)->(\w+)`),
      read: (m) =>
        RUNSTATES.includes(m[3]!) && RUNSTATES.includes(m[4]!)
          ? { kind: 'runstate', dom: Number(m[1]), vcpu: Number(m[2]), from: m[3] as Runstate, to: m[4] as Runstate }
          : undefined,
    },
  ],
  inj_virq: [{ pattern: /^inj_virq\s+vec\s+(\d{1,3})(?=\s|$)/, read: (m) => ({ kind: 'inject', vector: Number(m[1]) }) }],
  hypercall: [
    { pattern: /^hypercall\s+([0-9a-f]{1,4})(?=\s|$)/i, read: (m) => ({ kind: 'hypercall', number: hex(m[1]!), hvm: false }) },
  ],
  vmcall: [
    { pattern: /^vmcall\s+([0-9a-f]{1,4})(?=\s|$)/i, read: (m) => ({ kind: 'hypercall', number: hex(m[1]!), hvm: true }) },
  ],
  // The first lost record's time is printed as a raw TSC, which a text cannot place: the gap starts at the last
  // event before it.
  lost_records: [
    {
      pattern: /^lost_records\s+count\s+(\d{1,9})(?=\s|$)/,
      read: (m, timeNs) => ({ kind: 'lost', count: Number(m[1]), untilNs: timeNs }),
    },
  ],
  set_p2m_entry: [
    {
      pattern: body(String.raw`set_p2m_entry d(\d+) o(\d+) t (\d+) g ${H} m ${H}`),
      read: (m) => ({
        kind: 'p2m',
        domid: Number(m[1]),
        order: Number(m[2]),
        p2mType: Number(m[3]),
        gfn: hex(m[4]!),
        mfn: validMfn(big(m[5]!)),
      }),
    },
  ],
};

/**
 * What is left of an access whose line ends before its data. An address at the very end may be cut itself: it counts from
 * eight digits on, as many as a BAR of a PC's hole has.
 */
const CUT_MMIO = /^mmio_assist\s+([rw])\s+gpa\s+(?:([0-9a-f]{4,16})\s+d(?:a|at|ata)?\s*$|([0-9a-f]{8,16})\s*$)/i;

const nameOf = (text: string): string => text.slice(0, text.search(/\s|$/));
/** Names that begin with these letters: a name cut in its middle is one of them. */
const beginsName = (text: string): boolean => Object.keys(FORMS).some((name) => name.startsWith(text));

/**
 * How much of a record stands in a text that begins as one: `whole`, `cut` where words are missing at its end, `other` for
 * a record of no use here, `none` for a text that is no record.
 */
export function xenalyzeShape(text: string): 'whole' | 'cut' | 'other' | 'none' {
  if (text.length > MAX_LINE || !XENALYZE_START.test(text)) return 'none';
  const m = LINE.exec(text);
  if (m === null) return 'cut';
  const rest = m[6]!.trim();
  const name = nameOf(rest);
  const forms = FORMS[name];
  if (forms === undefined) return rest === '' || (name === rest && beginsName(name)) ? 'cut' : 'other';
  return readForms(forms, rest, 0) === undefined ? 'cut' : 'whole';
}

function readForms(forms: readonly Form[], rest: string, timeNs: number): Fields | undefined {
  for (const { pattern, read } of forms) {
    const m = pattern.exec(rest);
    if (m !== null) return read(m, timeNs);
  }
  return undefined;
}

/**
 * One line as an event. Gives undefined for a line that is no xenalyze record, one of no use here, or one that is cut
 * before it says anything. An access whose line ends before its data has `cut` and no data.
 * @param line its number in the file, from 1
 */
export function parseXenalyzeLine(raw: string, line: number): TraceEvent | undefined {
  if (raw.length > MAX_LINE) return undefined;
  const m = LINE.exec(raw);
  if (m === null) return undefined;
  const rest = m[6]!.trim();
  const forms = FORMS[nameOf(rest)];
  if (forms === undefined) return undefined;
  const timeNs = Number(m[1]) * 1e9 + Number(m[2]);
  const fields = readForms(forms, rest, timeNs) ?? readCut(rest);
  if (fields === undefined) return undefined;
  const column = m[3]!.indexOf('x');
  return {
    ref: textLine(line),
    timeNs,
    pcpu: column < 0 ? 0 : column,
    dom: m[4] === '?' ? -1 : Number(m[4]),
    vcpu: m[5] === '?' ? -1 : Number(m[5]),
    ...fields,
  } as TraceEvent;
}

function readCut(rest: string): Fields | undefined {
  const m = CUT_MMIO.exec(rest);
  return m === null ? undefined : io('mmio', direction(m[1]!), m[2] ?? m[3]!, undefined, true);
}
