import { errorUsText } from '../join/clock.ts';
import { formatRefs, type Claim } from '../sources/evidence.ts';
import type { Hop, Sentence, Story } from './story-model.ts';

/** How a story is printed. */
export interface RenderOptions {
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
}

const MIN_WIDTH = 40;

/** A story as text: every sentence followed by what it rests on and, where it is not proven, how far that carries. */
export function renderStory(story: Story, options: RenderOptions = {}): string {
  const sgr =
    (code: number) =>
    (text: string): string =>
      options.color === true ? `\u001b[${code}m${text}\u001b[0m` : text;
  const s: Style = { width: Math.max(MIN_WIDTH, options.width ?? 100), dim: sgr(2), bold: sgr(1), warn: sgr(33) };
  const out: string[] = [...wrap(story.title, s.width, '').map(s.bold), ''];
  out.push(
    ...wrap(
      `Times are ${story.clock.value ?? 'of unknown kind'}: ${story.clock.why}. Evidence: [trace+offset], [log:line], [pcap#frame]; (strong) follows by a rule, (inferred) is the likeliest reading; no mark: a record says so.`,
      s.width,
      '',
    ).map(s.dim),
    '',
  );
  section(out, s, 'What is told', story.subject);
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

function section(out: string[], s: Style, title: string, sentences: readonly Sentence[]): void {
  if (sentences.length === 0) return;
  out.push(s.bold(title));
  for (const sentence of sentences) out.push(...withEvidence(s, sentence.text, sentence, '  '));
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
  const refs = of.refs.length > 0 ? ` [${formatRefs(of.refs)}]` : '';
  const lines = wrap(`${text}${mark}${refs}`, s.width, indent);
  return lines
    .map((line) => line.replace(/\[[^\]]*\]?$|^\s*[^[]*\]$/, (tail) => s.dim(tail)))
    .map((line) => (of.strength === 'unknown' ? s.warn(line) : line));
}

function hopLines(s: Style, hop: Hop, number: number): string[] {
  const time =
    hop.atNs === undefined
      ? 'time unknown'
      : `${hop.atNs >= 0 ? '+' : ''}${(hop.atNs / 1000).toFixed(3)} µs${hop.errorNs > 0 ? ` ±${errorUsText({ errorUs: hop.errorNs / 1000 })}` : ''} ${hop.clock}`;
  const head = `${String(number).padStart(3)}. ${time}`;
  return [`${head.padEnd(34)} ${s.bold(hop.where)}`, ...withEvidence(s, hop.text, hop, '       ')];
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
      return parts.length === 0 ? '' : `  ${r.what}: [${formatRefs(parts.slice(0, 6))}]`;
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
