import { errorUsText } from '../join/clock.ts';
import { formatRefs, type Claim, type Ref } from '../sources/evidence.ts';
import type { Hop, Sentence, Story } from './story-model.ts';

/** How much evidence is printed: none, the first references of each sentence, or all. */
export type EvidenceLevel = 'none' | 'short' | 'full';

/** How a story is printed. */
export interface RenderOptions {
  /** `short` when left out. */
  readonly evidence?: EvidenceLevel | undefined;
  /** Columns; 100 when left out. */
  readonly width?: number | undefined;
  /** ANSI colours; off when left out. */
  readonly color?: boolean | undefined;
}

interface Style {
  readonly width: number;
  readonly dim: (text: string) => string;
  readonly bold: (text: string) => string;
  readonly warn: (text: string) => string;
  readonly evidence: EvidenceLevel;
}

const MIN_WIDTH = 40;

/** A story as text: every sentence followed by what it rests on and, where it is not proven, how far that carries. */
export function renderStory(story: Story, options: RenderOptions = {}): string {
  const sgr =
    (code: number) =>
    (text: string): string =>
      options.color === true ? `\u001b[${code}m${text}\u001b[0m` : text;
  const s: Style = {
    width: Math.max(MIN_WIDTH, options.width ?? 100),
    dim: sgr(2),
    bold: sgr(1),
    warn: sgr(33),
    evidence: options.evidence ?? 'short',
  };
  const out: string[] = [];
  for (const note of story.notes) out.push(...wrap(`Note: ${note}.`, s.width, '').map(s.warn));
  if (story.notes.length > 0) out.push('');
  out.push(...wrap(story.title, s.width, '').map(s.bold), '');
  for (const sentence of story.summary) out.push(...withEvidence({ ...s, evidence: 'none' }, sentence.text, sentence, '  '));
  out.push('', ...wrap(legend(story, s.evidence), s.width, '').map(s.dim), '');
  section(out, s, 'Subject', story.subject);
  if (story.hops.length > 0) {
    out.push(s.bold('The way'), ...story.hops.flatMap((hop, i) => hopLines(s, hop, i + 1)), '');
  }
  if (story.addresses.length > 0) out.push(s.bold('Addresses, space by space'), ...addressLines(s, story), '');
  section(out, s, 'Which page did the request go through?', story.route);
  section(out, s, 'Why a guest-physical address, and who translates?', story.translation);
  section(out, s, 'Where did the time go?', story.time);
  section(out, s, 'What these files do not show', story.unknowns);
  section(out, s, 'How the files were joined', story.joins);
  while (out[out.length - 1] === '') out.pop();
  return out.join('\n') + '\n';
}

/** How the rest is to be read. */
function legend(story: Story, evidence: EvidenceLevel): string {
  const kind =
    story.clock.value === 'modelled'
      ? 'All times are modelled: they are those of a clock that charges each step a declared cost'
      : `All times are ${story.clock.value ?? 'of unknown kind'}`;
  const marks =
    '(strong) follows by a rule of docs/trace.md, (inferred) is the likeliest reading, and without a mark a record says so';
  const refs =
    evidence === 'none'
      ? '--evidence short or full shows the evidence of each sentence'
      : `Brackets show the evidence of a sentence: the offset of a trace record, a line of the log, a frame of the capture${evidence === 'short' ? '; --evidence full shows all of it' : ''}`;
  return `${kind}: ${story.clock.why}. ${marks}. ${refs}. xenolith explain TERM explains a word.`;
}

function section(out: string[], s: Style, title: string, sentences: readonly Sentence[]): void {
  // What rests on nothing is not said.
  const founded = sentences.filter((x) => x.strength === 'unknown' || x.refs.length > 0);
  if (founded.length === 0) return;
  out.push(s.bold(title));
  for (const sentence of founded) out.push(...withEvidence(s, sentence.text, sentence, '  '));
  out.push('');
}

/** Text, then its strength unless proven, then its references; wrapped under `indent`. */
function withEvidence(
  s: Style,
  text: string,
  of: { strength: string; refs: readonly Hop['refs'][number][] },
  indent: string,
): string[] {
  const mark = of.strength === 'proven' || of.strength === 'unknown' ? '' : ` (${of.strength})`;
  const refs = refsText(s, of.refs);
  const lines = wrap(`${text}${mark}${refs}`, s.width, indent);
  return lines
    .map((line) => line.replace(/\[[^\]]*\]?$|^\s*[^[]*\]$/, (tail) => s.dim(tail)))
    .map((line) => (of.strength === 'unknown' ? s.warn(line) : line));
}

/** How many references are shown where not all are. */
const SHORT = 2;

function refsText(s: Style, all: readonly Ref[]): string {
  if (all.length === 0 || s.evidence === 'none') return '';
  const refs = all.filter((ref, i) => all.findIndex((other) => other.file === ref.file && other.at === ref.at) === i);
  const shown = s.evidence === 'full' ? refs : refs.slice(0, SHORT);
  return ` [${formatRefs(shown)}${shown.length < refs.length ? ', …' : ''}]`;
}

function hopLines(s: Style, hop: Hop, number: number): string[] {
  const time =
    hop.atNs === undefined
      ? 'then'
      : `${hop.atNs >= 0 ? '+' : ''}${(hop.atNs / 1000).toFixed(3)} µs${hop.errorNs > 0 ? ` ±${errorUsText({ errorUs: hop.errorNs / 1000 })}` : ''}`;
  const head = `${String(number).padStart(3)}. ${time}`;
  return [`${head.padEnd(26)} ${s.bold(hop.where)}`, ...withEvidence(s, hop.text, hop, '       ')];
}

function addressLines(s: Style, story: Story): string[] {
  const cell = (c: Claim<string>): string => c.value ?? 'unknown';
  const header = ['', 'guest-virtual', 'guest-physical', 'machine frame', "device model's mapping"];
  const rows = story.addresses.map((r) => [r.what, cell(r.gva), cell(r.gpa), cell(r.mfn), cell(r.mapping)]);
  const widths = header.map((h, i) => Math.max(h.length, ...rows.map((r) => r[i]!.length)));
  const line = (cells: readonly string[]): string => `  ${cells.map((c, i) => c.padEnd(widths[i]!)).join('  ')}`.trimEnd();
  const refs = story.addresses
    .map((r) => {
      const parts = [r.gpa, r.mfn, r.mapping].flatMap((c) => c.refs);
      return parts.length === 0 || s.evidence === 'none' ? '' : `  ${r.what}:${refsText(s, parts)}`;
    })
    .filter((l) => l !== '');
  const gvas = new Map<string, string[]>();
  for (const r of story.addresses) {
    if (r.gva.value === undefined) continue;
    const how = `${r.gva.why}${r.gva.strength === 'proven' ? '' : ` (${r.gva.strength})`}`;
    gvas.set(how, [...(gvas.get(how) ?? []), r.what]);
  }
  const how = [...gvas].flatMap(([why, what]) => wrap(`guest-virtual address of ${what.join(', ')}: ${why}`, s.width, '  '));
  return [s.dim(line(header)), ...rows.map(line), ...refs.map(s.dim), ...how.map(s.dim)];
}

/** Breaks at spaces; every line starts with `indent`. */
function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > width) {
      lines.push(indent + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(indent + line);
  return lines;
}
