import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { analyze } from '../join/analysis.ts';
import { ioPaths } from '../join/path.ts';
import { pathLine } from '../tell/io-text.ts';
import { TextLayer } from './text-layer.ts';

/** A doorbell in xenalyze's text and in a device model's log, with prose around, as in a mail nobody has touched. */
const PLAIN = readFileSync(join(import.meta.dirname, '../../../test/cases/stdin-for-text/mail.txt'), 'utf8').split('\n');

/** The rows of a text without their references, how many accesses pair, and how many lines are cut. */
async function told(lines: readonly string[]): Promise<{ rows: string[]; pairs: number; cut: number }> {
  const a = await analyze({ text: lines });
  return {
    rows: [...ioPaths(a)].map((path) => pathLine(path).replace(/ \[[^\]]*\]$/, '')),
    pairs: a.guests[0]?.pairing?.pairs ?? 0,
    cut: a.cutLines.length,
  };
}

const quotedPrintable = (line: string, width = 76): string[] => {
  const codes = [...line].map((c) => (c === '=' || c > '~' ? `=${c.charCodeAt(0).toString(16).toUpperCase()}` : c));
  const lines: string[] = [];
  let at = '';
  for (const code of codes) {
    if (at.length + code.length > width - 1) {
      lines.push(`${at}=`);
      at = '';
    }
    at += code;
  }
  return [...lines, at.replace(/ $/, '=20')];
};
const escapeHtml = (line: string): string => line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
/** Breaks lines between words, as mailers do. */
const wrap = (lines: readonly string[], width: number, indent = ''): string[] =>
  lines.flatMap((line) => {
    const out: string[] = [];
    let rest = line;
    while (rest.length > width) {
      const at = rest.slice(12, width + 1).lastIndexOf(' ');
      if (at < 0) break;
      out.push(rest.slice(0, at + 12));
      rest = indent + rest.slice(at + 13);
    }
    return [...out, rest];
  });
/** Breaks lines at a column, as terminals do. */
const chop = (lines: readonly string[], width: number): string[] =>
  lines.flatMap((line) => line.match(new RegExp(`.{1,${width}}`, 'g')) ?? ['']);
const numbered = (lines: readonly string[], form: (n: number, line: string) => string): string[] =>
  lines.map((line, i) => form(i + 1, line));
const each = (form: (line: string) => string) => (lines: readonly string[]) => lines.map(form);
const base64 = (lines: readonly string[]): string[] => [
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: base64',
  '',
  ...(Buffer.from(lines.join('\r\n'))
    .toString('base64')
    .match(/.{1,76}/g) ?? []),
  '',
];

const LAYERS: Readonly<Record<string, (lines: readonly string[]) => string[]>> = {
  none: (lines) => [...lines],
  'quoted once': each((l) => `> ${l}`),
  'quoted three deep': each((l) => `> > > ${l}`),
  'quoted without blanks': each((l) => `>>>${l}`),
  'quoted by initials': each((l) => `JB> ${l}`),
  'quoted with bars': each((l) => `| ${l}`),
  'comment signs': each((l) => `# ${l}`),
  'a chat': each((l) => `12:31 <@andy> ${l}`),
  'quoted-printable with its header': (l) => [
    'Content-Transfer-Encoding: quoted-printable',
    '',
    ...l.flatMap((x) => quotedPrintable(x)),
  ],
  'quoted-printable without': (l) => l.flatMap((x) => quotedPrintable(x)),
  'quoted-printable, narrow': (l) => l.flatMap((x) => quotedPrintable(x, 40)),
  'quoted-printable, then quoted': (l) => l.flatMap((x) => quotedPrintable(x)).map((x) => `> ${x}`),
  'quoted, then quoted-printable': (l) => l.flatMap((x) => quotedPrintable(`> ${x}`)),
  base64,
  'HTML entities': each(escapeHtml),
  'HTML entities, twice': each((l) => escapeHtml(escapeHtml(l))),
  'numeric entities': each((l) => l.replaceAll('>', '&#62;').replaceAll(' ', '&#xa0;')),
  'an HTML page': (l) => ['<html><body><pre class="msg">', ...l.map(escapeHtml), '</pre></body></html>'],
  'an HTML page of marked words': (l) => [
    '<pre>',
    ...l.map((x) => escapeHtml(x).replace(/(d5v0)/, '<span style="color: red">$1</span>')),
    '</pre>',
  ],
  'HTML paragraphs': each((l) => `<p class=MsoNormal><span lang=EN-US>${escapeHtml(l)}</span></p>`),
  'one line of <br>': (l) => [l.map(escapeHtml).join('<br>')],
  'cat -n': (l) => numbered(l, (n, x) => `${String(n).padStart(6)}\t${x}`),
  'less -N': (l) => numbered(l, (n, x) => `${String(n).padStart(7)} ${x}`),
  'numbers with a colon': (l) => numbered(l, (n, x) => `${n}:${x}`),
  'numbers with a bar': (l) => numbered(l, (n, x) => `${String(n).padStart(3)} | ${x}`),
  'numbers in brackets': (l) => numbered(l, (n, x) => `[${n}] ${x}`),
  'numbers with a point': (l) => numbered(l, (n, x) => `${n}. ${x}`),
  'grep -n': (l) => numbered(l, (n, x) => `out/dump-1.txt:${n}:${x}`),
  'grep -A': (l) => numbered(l, (n, x) => `dump.txt-${n}-${x}`),
  'added by a diff': each((l) => `+${l}`),
  'a quoted diff': each((l) => `> +${l}`),
  'no-break spaces': each((l) => l.replaceAll(' ', '\u00a0')),
  'a zero-width space before each word': each((l) => l.replaceAll(' ', ' \u200b')),
  'typographic arrows': each((l) => l.replaceAll('->', '→')),
  colours: each((l) => `\x1b[1;32m${l}\x1b[0m`),
  'coloured words': each((l) => l.replace('d5v0', '\x1b[01;31m\x1b[Kd5v0\x1b[m\x1b[K')),
  tabs: each((l) => `\t\t${l}`),
  'a code block': (l) => ['```', ...l, '```'],
  'a journal in JSON': each((l) => JSON.stringify({ _HOSTNAME: 'dom0', MESSAGE: l, PRIORITY: '6' })),
  'a container in JSON': each((l) => JSON.stringify({ log: `${l}\n`, stream: 'stdout' })),
  'git blame': (l) =>
    numbered(l, (n, x) => `1a2b3c4d dir/f.txt (Ann Bee 2024-01-02 11:22:33 +0100 ${String(n).padStart(3)}) ${x}`),
  "Android's log": each((l) => `01-02 10:11:12.123  1234  5678 I qemu    : ${l}`),
  'a logger with levels': each((l) => `2026-01-01 10:00:00,123 INFO [main] - ${l}`),
  'a shell': each((l) => `root@dom0:~# ${l}`),
  'cat -A': each((l) => `${l}$`),
  'marks of code': each((l) => `\`${l}\``),
  'strings of a program': each((l) => `"${l}\\n",`),
  'a table of values': (l) => numbered(l, (n, x) => `${n},"${x}"`),
  'a table of HTML': (l) => numbered(l, (n, x) => `<tr><td class="n">${n}</td><td>${escapeHtml(x)}</td></tr>`),
  'blanks of another code page': each((l) => l.replaceAll(' ', '\ufffd')),
  'lines that go on behind a backslash': (l) => l.flatMap((x) => (x.length > 60 ? [`${x.slice(0, 60)}\\`, x.slice(60)] : [x])),
  'a mail in two forms': (l) => [
    'Content-Type: multipart/alternative; boundary="=_b"',
    '',
    '--=_b',
    'Content-Type: text/plain',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    ...l.flatMap((x) => quotedPrintable(x)),
    '--=_b',
    'Content-Type: text/html',
    '',
    ...l.map((x) => `${escapeHtml(x)}<br>`),
    '--=_b--',
  ],
  'a mail and its answer': (l) => [
    'Message-ID: <1@dom0>',
    '',
    ...l,
    'Message-ID: <2@list>',
    '',
    'Ann wrote:',
    ...l.map((x) => `> ${x}`),
    'I see.',
  ],
  'an answer above what it answers': (l) => ['Ann wrote:', ...l.map((x) => `> ${x}`), 'I see.', '---- Original ----', ...l],
  bullets: each((l) => `* ${l}`),
  syslog: each((l) => `Nov 19 16:13:06 dom0 qemu-dm[4711]: ${l}`),
  'syslog with ISO stamps': each((l) => `2026-11-19T16:13:06.317230+01:00 dom0 qemu-dm[4711]: ${l}`),
  'syslog, RFC 5424': each((l) => `<30>1 2026-11-19T16:13:06.317230Z dom0 qemu 4711 - - ${l}`),
  journal: each((l) => `2026-11-19T16:13:06+0100 dom0 qemu[4711]: ${l}`),
  'kernel stamps': each((l) => `[   12.345678] ${l}`),
  'a container': each((l) => `2026-11-19T16:13:06.317230123Z stderr F ${l}`),
  'ts of moreutils': each((l) => `Nov 19 16:13:06 ${l}`),
  'a date before each line': each((l) => `[2026-11-19 16:13:06.317] ${l}`),
  'wrapped at 72': (l) => wrap(l, 72),
  'wrapped at 60': (l) => wrap(l, 60),
  'wrapped at 50': (l) => wrap(l, 50),
  'wrapped at 60, with an indent': (l) => wrap(l, 60, '    '),
  'wrapped, then quoted': (l) => wrap(l, 60).map((x) => `> ${x}`),
  'quoted, then wrapped': (l) =>
    wrap(
      l.map((x) => `> ${x}`),
      64,
      '> ',
    ),
  'quoted, wrapped, quoted': (l) =>
    wrap(
      l.map((x) => `> ${x}`),
      64,
      '> ',
    ).map((x) => `> ${x}`),
  'wrapped, then numbered': (l) => numbered(wrap(l, 60), (n, x) => `${n}: ${x}`),
  'numbered, then wrapped': (l) =>
    wrap(
      numbered(l, (n, x) => `${String(n).padStart(6)}\t${x}`),
      60,
    ),
  'wrapped, in HTML': (l) => wrap(l, 60).map(escapeHtml),
  'a terminal of 80 columns': (l) => chop(l, 80),
  'a terminal of 80 columns, quoted': (l) => chop(l, 80).map((x) => `> ${x}`),
};

describe('a text as it comes', async () => {
  const plain = await told(PLAIN);

  it('is told as it was written', () => {
    expect(plain).toMatchObject({ pairs: 1, cut: 0 });
    expect(plain.rows).toHaveLength(1);
    expect(plain.rows[0]).toContain('W TxPoll <- 0x40 NPQ');
    expect(plain.rows[0]).toContain('3.2+3.5+43.0+3.0+1.0');
  });

  it.each(Object.entries(LAYERS))('%s: the same as without', async (_, layer) => {
    expect(await told(layer(PLAIN))).toEqual(plain);
  });

  it.each([
    ['all on one line', (l: readonly string[]) => [l.join(' ')]],
    [
      'two on a line',
      (l: readonly string[]) => l.map((x, i) => (i % 2 === 0 ? `${x} ${l[i + 1] ?? ''}` : '')).filter((x) => x !== ''),
    ],
    ['all on one quoted line', (l: readonly string[]) => [`> ${l.join('  ')}`]],
    ['reflowed at 78', (l: readonly string[]) => wrap([l.join(' ')], 78)],
  ])('records %s', async (_, layer) => {
    const records = PLAIN.filter((line) => /^[\] ] /.test(line));
    const log = PLAIN.filter((line) => /^(?:xen|RTL8139): ?/.test(line));
    expect((await told([...layer(records), '', ...layer(log)])).rows).toEqual(plain.rows);
  });

  it('keeps the numbers of the lines of the file', async () => {
    const a = await analyze({ text: ['intro', ...wrap(PLAIN, 60)] });
    const [path] = ioPaths(a);
    const at = wrap(PLAIN, 60).findIndex((line) => line.includes('mmio_assist'));
    expect(path!.access.record.ref).toMatchObject({ file: 'text', at: at + 2 });
  });
});

it('keeps what one copy has twice', () => {
  const twice = ['xen: I/O request: 1, ptr: 0, port: 3fd, data: 0, count: 1, size: 1', 'RTL8139: a', 'RTL8139: a'];
  const count = (...text: string[]): number => lines(...text).filter(({ text: t }) => /^(?:xen|RTL)/.test(t)).length;
  expect(count(...twice, ...twice)).toBe(6);
  expect(count('Message-ID: <1@a>', ...twice, 'Message-ID: <2@a>', ...twice.map((x) => `> ${x}`))).toBe(3);
});

const lines = (...text: string[]): { text: string; line: number; cut: boolean }[] => {
  const out: { text: string; line: number; cut: boolean }[] = [];
  const layer = new TextLayer((t, line, cut) => void out.push({ text: t, line, cut }));
  for (const line of text) layer.push(line);
  layer.end();
  return out;
};
const HEAD = ']  3.100200300     x--- d5v0';

describe('a record that is cut', () => {
  it.each([
    ['before its data', `${HEAD} mmio_assist w gpa f40210d9 data`],
    ['inside its data', `${HEAD} mmio_assist w gpa f40210d9 da`],
    ['before the word', `${HEAD} mmio_assist w gpa f40210d9`],
  ])('%s has no value, whatever follows', async (_, record) => {
    for (const next of [
      '',
      'bad idea, I think',
      'And so on.',
      'Fee fi fo fum',
      ']  3.100254000     x--- d5v0 vmentry cycles 128880 !',
    ]) {
      const a = await analyze({
        text: [record, next, 'xen: I/O request: 1, ptr: 0, port: f40210d9, data: 40, count: 1, size: 1'],
      });
      expect(a.guests[0]!.accesses.map(({ data, dataCut }) => ({ data, dataCut }))).toEqual([{ data: undefined, dataCut: true }]);
      expect(a.cutLines).toEqual([{ file: 'text', unit: 'line', at: 1 }]);
      expect(a.guests[0]!.pairing!.reasonOf(a.guests[0]!.accesses[0]!)).toMatch(/the line of the text ends before it/);
    }
  });

  it.each([
    [`${HEAD} npf gpa f40210d9 q 182 mfn`],
    [`${HEAD} vmexit exit_reason EPT_VIOLATION eip`],
    [`${HEAD} runstate_change d0v1 blocked->`],
    ['xen: I/O request: 1, ptr: 0, port: f40210d9, data: 40,'],
    ['4711@1700000100.000100:handle_ioreq I/O=0x1 type=1 dir=0 df=0 ptr=0 port=0xf40210d9 data='],
    ['2026-11-19T16:13:06.317230Z handle_ioreq I/O=0x7 type=1 dir=0'],
    ['4711@1700000100.000100:memory_region_ops_write cpu 0 mr 0x55d0c0de1000 addr 0xf4021037'],
  ])('%s: reported', (record) => {
    expect(lines(record, '', 'Regards')[0]).toEqual({ text: record, line: 1, cut: true });
  });

  it('takes no word of prose for a value', () => {
    expect(lines(`${HEAD} mmio_assist w gpa f40210d9 data`, 'faced with this I added a cab')).toMatchObject([
      { cut: true },
      { cut: false },
    ]);
    expect(lines(`${HEAD} mmio_assist w gpa f40210d9 data bad idea`)).toMatchObject([{ cut: true }]);
    expect(lines(`${HEAD} mmio_assist w gpa f40210d9 data 40   <-- the doorbell`)).toMatchObject([{ cut: false }]);
    expect(lines('Look at 3.100200300 x--- d5v0 vmentry cycles 12 !')).toMatchObject([
      { text: 'Look at 3.100200300 x--- d5v0 vmentry cycles 12 !' },
    ]);
  });

  it('joins no number to a record that is whole', () => {
    expect(lines(`${HEAD} mmio_assist w gpa f40210d9 data 40`, '2c00')[0]).toMatchObject({
      text: `${HEAD} mmio_assist w gpa f40210d9 data 40`,
      cut: true,
    });
  });
});

it('takes any text without a fault, and in bounded time', () => {
  const word = fc.constantFrom(
    ' ',
    '>',
    '=',
    '=3D',
    '&gt;',
    '<br>',
    '3.100200300',
    'x---',
    'd5v0',
    'data',
    '40',
    '|',
    '12:',
    '\t',
    '\u00a0',
    'xen: I/O request: 1,',
    '@',
    'Content-Transfer-Encoding: base64',
    '\x1b[1m',
  );
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.array(word).map((w) => w.join('')),
        ),
        { maxLength: 30 },
      ),
      (text) => {
        for (const { line } of lines(...text)) expect(line).toBeGreaterThan(0);
      },
    ),
  );
  const long = [
    ' '.repeat(60_000),
    '> '.repeat(30_000),
    '='.repeat(60_000),
    '<'.repeat(60_000),
    '&'.repeat(60_000),
    '12: '.repeat(15_000),
    `${HEAD} ${' '.repeat(4000)}x`,
  ];
  const started = performance.now();
  lines(...long, ...long);
  expect(performance.now() - started).toBeLessThan(20_000);
});
