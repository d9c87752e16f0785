import type { CostRow } from '../../analyze/index.ts';
import { Histogram } from './histogram.ts';
import { ranked, type Group, type Profile, type Series } from './profile.ts';

/** A report as one HTML file: no network, nothing beside it; tables are text, plots are drawn by uPlot, which is inlined. */

/** What plots need, inlined. */
export interface PlotLibrary {
  readonly script: string;
  readonly style: string;
}

const escape = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
/** Data within a script element. */
const inScript = (data: unknown): string => JSON.stringify(data).replaceAll('<', '\\u003c');

const us = (ns: number | undefined | null): string =>
  ns === undefined || ns === null ? '' : (ns / 1000).toFixed(ns < 10_000 ? 2 : 1);

type Cells = readonly (string | number)[];
function table(head: readonly string[], rows: readonly Cells[]): string {
  if (rows.length === 0) return '<p class="none">The trace holds none.</p>';
  const cell = (c: string | number, tag: string): string =>
    `<${tag}${typeof c === 'number' || /^[\d.,%-]+$/.test(c) ? ' class="n"' : ''}>${escape(String(c))}</${tag}>`;
  return `<table><thead><tr>${head.map((h) => cell(h, 'th')).join('')}</tr></thead><tbody>${rows
    .map((r) => `<tr>${r.map((c) => cell(c, 'td')).join('')}</tr>`)
    .join('\n')}</tbody></table>`;
}

interface Plot {
  readonly id: string;
  readonly kind: 'time' | 'histogram';
  readonly labels: readonly string[];
  /** x, then one list a label. */
  readonly data: readonly (readonly (number | null)[])[];
  readonly unit: string;
}

const LINES = 6;

/** Rates over time of the kinds with the most time. */
function overTime(profile: Profile, group: Group, id: string): Plot | undefined {
  const top = ranked(profile, group).slice(0, LINES);
  if (top.length === 0) return undefined;
  const { bins, binNs } = profile;
  const x = Array.from({ length: bins }, (_, i) => (i * binNs) / 1e9);
  const rate = (s: Series): number[] => Array.from(s.counts.subarray(0, bins), (n) => (n * 1e9) / binNs);
  return { id, kind: 'time', labels: top.map((t) => t.kind), data: [x, ...top.map((t) => rate(t.series))], unit: 'a second' };
}

/** How times are spread: events a class, ten classes a decade. */
function spread(profile: Profile, group: Group, id: string): Plot | undefined {
  const top = ranked(profile, group)
    .filter((t) => t.series.histogram.total > 0)
    .slice(0, LINES);
  const ranges = top.map((t) => t.series.histogram.range()!);
  if (ranges.length === 0) return undefined;
  const first = Math.max(0, Math.min(...ranges.map((r) => r[0])) - 1);
  const last = Math.max(...ranges.map((r) => r[1])) + 1;
  const x = Array.from({ length: last - first + 1 }, (_, i) => Histogram.bound(first + i) / 1000);
  const data = top.map((t) => Array.from(t.series.histogram.counts.subarray(first, last + 1)));
  return { id, kind: 'histogram', labels: top.map((t) => t.kind), data: [x, ...data], unit: 'events' };
}

/** count, total, and quantiles of each kind. */
const timesTable = (profile: Profile, group: Group, what: string): string =>
  table(
    [what, 'count', 'total ms', 'mean µs', 'p50 µs', 'p99 µs', 'max µs'],
    ranked(profile, group)
      .slice(0, 24)
      .map(({ kind, count, series: { histogram: h } }) => [
        kind,
        count,
        (h.sum / 1e6).toFixed(3),
        us(h.total === 0 ? null : h.sum / h.total),
        us(h.quantile(0.5)),
        us(h.quantile(0.99)),
        us(h.max),
      ]),
  );

const STATES = ['running', 'runnable', 'blocked', 'offline', 'lost'] as const;

/** A bar a vCPU: what it spent its time with. */
function shares(profile: Profile): string {
  const vcpus = new Map<string, Map<string, number>>();
  for (const [kind, series] of profile.groups.get('runstates') ?? []) {
    const [who, state] = kind.split(' ') as [string, string];
    const states = vcpus.get(who) ?? new Map<string, number>();
    vcpus.set(who, states.set(state, series.histogram.sum));
  }
  const rows = [...vcpus].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })).slice(0, 256);
  if (rows.length === 0) return '<p class="none">The trace holds none.</p>';
  const legend = STATES.map((s) => `<span class="key"><i class="${s}"></i>${s}</span>`).join(' ');
  const bars = rows.map(([who, states]) => {
    const total = [...states.values()].reduce((a, b) => a + b, 0);
    const parts = STATES.map((s) => ({ s, share: (100 * (states.get(s) ?? 0)) / Math.max(1, total) })).filter((p) => p.share > 0);
    const text = parts.map((p) => `${p.s} ${p.share.toFixed(1)} %`).join(', ');
    return `<tr><th>${escape(who)}</th><td class="bar">${parts.map((p) => `<i class="${p.s}" style="width:${p.share.toFixed(3)}%"></i>`).join('')}</td><td>${escape(text)}</td></tr>`;
  });
  return `<p>${legend}</p><table class="bars">${bars.join('\n')}</table>`;
}

const registers = (rows: readonly CostRow[]): string =>
  table(
    [
      'device',
      'register',
      'direction',
      'route',
      'count',
      'total ms',
      'share',
      'p50 µs',
      'p99 µs',
      'max µs',
      'wait for the device model µs',
      'its work µs',
    ],
    rows
      .filter((r) => r.timed > 0)
      .slice(0, 24)
      .map((r) => [
        r.device,
        r.register,
        r.dir,
        r.route,
        r.count,
        (r.total / 1e6).toFixed(3),
        `${(r.share * 100).toFixed(1)}%`,
        us(r.median),
        us(r.p99),
        us(r.max),
        us(r.stages.schedule),
        us(r.stages.work),
      ]),
  );

const STYLE = `
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1000px; padding: 0 1em; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5em; }
h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #bbb; }
p.note, p.none { color: #555; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 2px 8px; text-align: left; border-bottom: 1px solid #e4e4e4; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid #888; }
.bars { width: 100%; }
.bars th { white-space: nowrap; }
td.bar { width: 45%; font-size: 0; }
td.bar i { display: inline-block; height: 14px; }
.key i { display: inline-block; width: 12px; height: 12px; margin-right: 4px; }
.key { margin-right: 1em; }
i.running { background: #2a7ab9; }
i.runnable { background: #d1495b; }
i.blocked { background: #cfd8dc; }
i.offline { background: #edae49; }
i.lost { background: repeating-linear-gradient(45deg, #999 0 3px, #fff 3px 6px); }
.plot { margin: 1em 0; break-inside: avoid; }
.u-legend { font-size: 12px; text-align: left; }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { margin: 0; max-width: none; }
h2 { break-after: avoid; }
tr { break-inside: avoid; } }`;

/** Draws the plots. Lost intervals are hatched: what is missing there is not known. */
const SCRIPT = `
const colors = ['#2a7ab9', '#d1495b', '#3c896d', '#edae49', '#6a4c93', '#555555'];
const dashes = [[], [6, 3], [2, 2], [10, 4], [4, 2, 1, 2], [1, 3]];
function hatch(u) {
  const { ctx, bbox } = u;
  ctx.save(); ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
  ctx.strokeStyle = '#999'; ctx.lineWidth = devicePixelRatio;
  for (const [from, to] of report.losses) {
    const left = u.valToPos(from, 'x', true), right = Math.max(left + 2, u.valToPos(to, 'x', true));
    ctx.save(); ctx.beginPath(); ctx.rect(left, bbox.top, right - left, bbox.height); ctx.clip();
    for (let x = left - bbox.height; x < right; x += 6 * devicePixelRatio) {
      ctx.beginPath(); ctx.moveTo(x, bbox.top + bbox.height); ctx.lineTo(x + bbox.height, bbox.top); ctx.stroke();
    }
    ctx.restore();
  }
  ctx.restore();
}
const micros = (v) => v == null ? '' : v >= 1e6 ? v / 1e6 + ' s' : v >= 1e3 ? v / 1e3 + ' ms' : v + ' µs';
for (const plot of report.plots) {
  const time = plot.kind === 'time';
  new uPlot({
    width: Math.min(960, document.body.clientWidth - 20), height: 260,
    scales: time ? { x: { time: false } } : { x: { time: false, distr: 3 } },
    axes: [
      { label: time ? 'seconds of trace time' : 'time of one, up to', values: time ? undefined : (u, vs) => vs.map(micros) },
      { label: plot.unit, size: 70 },
    ],
    series: [
      { label: time ? 'at' : 'up to', value: (u, v) => v == null ? '' : time ? v.toFixed(3) + ' s' : micros(Number(v.toPrecision(3))) },
      ...plot.labels.map((label, i) => ({
        label, stroke: colors[i], dash: dashes[i], width: 1.5, points: { show: false },
        paths: time ? undefined : uPlot.paths.stepped({ align: -1 }),
      })),
    ],
    hooks: time ? { drawClear: [hatch] } : {},
  }, plot.data, document.getElementById(plot.id));
}
document.documentElement.dataset.drawn = String(report.plots.length);`;

/**
 * The page. @param costs what registers cost, the dearest first
 * @param notes what a reader must know first: one sentence each
 */
export function reportPage(profile: Profile, costs: readonly CostRow[], notes: readonly string[], library: PlotLibrary): string {
  const { host } = profile;
  const plots: Plot[] = [];
  const plot = (made: Plot | undefined): string => {
    if (made === undefined) return '';
    plots.push(made);
    return `<div class="plot" id="${made.id}"></div>`;
  };
  const lost = profile.losses.reduce((n, l) => n + l.records, 0);
  const start = new Date((host['start'] as number) / 1000).toISOString();
  const seconds = ((host['duration_ns'] as number) / 1e9).toFixed(3);
  const facts: Cells[] = [
    ['file', String(host['file'])],
    ['begins', `${start} (${host['start_by']})`],
    ['lasts', `${seconds} s`],
    ['records', String(host['records'])],
    ['pCPUs', String(host['pcpus'])],
    ['TSC', `${((host['cpu_hz'] as number) / 1e9).toFixed(6)} GHz`],
    ['exits are', host['vendor'] === 'svm' ? 'SVM (AMD)' : 'VMX (Intel)'],
    [
      'Xen',
      host['xen_from'] === host['xen_to'] ? String(host['xen_from'] ?? 'not known') : `${host['xen_from']} to ${host['xen_to']}`,
    ],
  ];
  const losses = profile.losses.map((l) => [l.from / 1e9, l.to / 1e9]);
  const body = [
    `<h1>${escape(String(host['host']))}: ${escape(String(host['file']))}</h1>`,
    ...notes.map((n) => `<p class="note">${escape(n)}</p>`),
    table(['', ''], facts),
    lost > 0
      ? `<p class="note">${lost} records were lost, in ${profile.losses.length} intervals. The plots hatch these intervals: what happened in them is unknown.</p>`
      : '<p class="note">No records were lost.</p>',
    '<h2>VM exits over time</h2>',
    plot(overTime(profile, 'exits', 'exits-time')),
    timesTable(profile, 'exits', 'exit'),
    '<h2>How long an exit lasts</h2>',
    plot(spread(profile, 'exits', 'exits-spread')),
    '<h2>Accesses over time</h2>',
    plot(overTime(profile, 'accesses', 'accesses-time')),
    '<h2>Dearest registers</h2>',
    registers(costs),
    '<h2>How long an access lasts</h2>',
    plot(spread(profile, 'accesses', 'accesses-spread')),
    '<h2>Wake-up of the device model</h2><p class="note">From its notification until it runs, by the domain that waits for it.</p>',
    plot(spread(profile, 'model', 'model-spread')),
    timesTable(profile, 'model', 'domain'),
    '<h2>Wake-up of vCPUs</h2><p class="note">From being woken until it runs on a pCPU.</p>',
    plot(spread(profile, 'wakeups', 'wakeups-spread')),
    timesTable(profile, 'wakeups', 'domain'),
    '<h2>Late interrupts</h2><p class="note">From the wake-up of a vCPU until the interrupt that woke it is injected.</p>',
    timesTable(profile, 'interrupts', 'domain'),
    '<h2>What vCPUs spend their time with</h2>',
    shares(profile),
    '<h2>Hypercalls</h2>',
    table(
      ['hypercall', 'count', 'a second'],
      ranked(profile, 'hypercalls')
        .sort((a, b) => b.count - a.count)
        .slice(0, 24)
        .map((h) => [h.kind, h.count, ((h.count * 1e9) / Math.max(1, host['duration_ns'] as number)).toFixed(1)]),
    ),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escape(String(host['host']))}: ${escape(String(host['file']))}</title>
<style>${library.style}${STYLE}</style></head><body>
${body.join('\n')}
<script>${library.script}</script>
<script>const report = ${inScript({ plots, losses })};${SCRIPT}</script>
</body></html>
`;
}
