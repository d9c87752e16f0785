import { pairedHow } from './words.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { formatRef, formatRefs, type Claim, type Ref } from '../sources/evidence.ts';
import { guestName, type Analysis } from '../join/analysis.ts';
import { errorUsText, traceToWallUs, type ClockAlignment } from '../join/clock.ts';
import type { Guest } from '../join/guest.ts';
import { registerNames, type IoPath } from '../join/path.ts';
import type { CostRow } from '../join/statistics.ts';
import { vgaText } from '../join/vga.ts';
import { rateText, wallText } from './story-answers.ts';

const hex = (n: number | bigint): string => `0x${n.toString(16)}`;
const us = (ns: number | undefined): string => (ns === undefined ? '-' : (ns / 1000).toFixed(1));

const ROUTE_SHORT: Record<string, string> = {
  'synchronous ioreq': 'sync',
  'buffered ioreq': 'buffered',
  'in the hypervisor': 'in Xen',
};

/** Heading of pathLine's columns. */
export const PATH_HEADER = `${'time s'.padStart(13)} ${'vCPU'.padEnd(6)} ${'address'.padEnd(10)} ${'access'.padEnd(46)} ${'route'.padEnd(16)} ${'total µs'.padStart(9)}  emulate+schedule+work+wake+enter µs`;

/** One access on one line; `record` and `log` say where it stands. */
export function pathLine(path: IoPath): string {
  const { access, stages } = path;
  const names = registerNames(path);
  const fields = path.registers
    .map((r) => r.fields)
    .filter((f) => f !== '' && !f.startsWith('0x'))
    .join(' ');
  const rep = path.count === undefined ? '' : `rep ${path.count} `;
  const what = `${access.dir === 'write' ? 'W' : 'R'} ${rep}${names ?? access.space} ${access.dir === 'write' ? '<-' : '->'} ${dataText(path)}${fields === '' ? '' : ` ${fields}`}`;
  const route = path.route.value === undefined ? 'unknown' : `${ROUTE_SHORT[path.route.value]} ${path.route.strength}`;
  const parts = [stages.emulate, stages.schedule, stages.work, stages.wake, stages.enter].map(us).join('+');
  const extra = [
    path.dma.length > 0 ? `dma ${path.dma.length}` : '',
    ...path.frames.map((f) => `frame ${f.value!.number}`),
    path.interrupt.value?.taken === undefined ? '' : `irq taken ${formatRef(path.interrupt.value.taken.ref)}`,
    access.lost === undefined ? '' : 'RECORDS LOST',
    access.unfinished ?? '',
  ]
    .filter((x) => x !== '')
    .join(', ');
  const refs = [
    access.record.ref,
    ...(path.request ? [{ file: 'dm-log' as const, unit: 'line' as const, at: path.request.request.line }] : []),
  ];
  return `${((access.marks.exit ?? access.record).timeNs / 1e9).toFixed(9).padStart(13)} ${`d${access.dom}v${access.vcpu}`.padEnd(6)} ${hex(access.addr).padEnd(10)} ${what.padEnd(46)} ${route.padEnd(16)} ${us(stages.total).padStart(9)}  ${parts}${extra === '' ? '' : ` (${extra})`} [${formatRefs(refs)}]`;
}

const claimJson = <T>(c: Claim<T>, value: (v: T) => unknown = (v) => v): object => ({
  value: c.value === undefined ? null : value(c.value),
  strength: c.strength,
  why: c.why,
  refs: c.refs.map(formatRef),
});

const nullable = <T>(v: T | undefined): T | null => v ?? null;

/** The data of an access, or why there is none. */
function dataText(path: IoPath): string {
  const { access, request } = path;
  const text = vgaText(access, path.width.value);
  const data = access.data ?? request?.data;
  if (data === undefined && access.dataCut) return '(unknown)';
  if (data === undefined) return request?.request.dataIsPtr === true ? '(pointer)' : '(no data)';
  return `${hex(data)}${text === undefined ? '' : ` (${text})`}`;
}

/** One access as a JSON object: addresses and data in hexadecimal, times in nanoseconds of trace time. */
export function pathJson(path: IoPath): object {
  const { access } = path;
  const { model, ...times } = access.marks;
  return {
    index: access.index,
    vcpu: `d${access.dom}v${access.vcpu}`,
    rip: access.rip === undefined ? null : hex(access.rip),
    exitReason: nullable(access.exitReason),
    space: access.space,
    dir: access.dir,
    address: hex(access.addr),
    data: access.data === undefined ? null : hex(access.data),
    width: claimJson(path.width),
    device:
      path.device === undefined
        ? null
        : {
            name: path.device.name,
            strength: path.device.how.strength,
            why: path.device.how.why,
            base: path.window === undefined ? null : claimJson(path.window.found, hex),
          },
    repeated: nullable(path.count),
    registers: path.registers.map((r) => ({ name: r.name, value: hex(r.value), fields: r.fields, doc: r.doc })),
    npf:
      access.npf === undefined
        ? null
        : {
            mfn: access.npf.mfn === undefined ? null : hex(access.npf.mfn),
            p2mType: access.npf.p2mType,
            record: formatRef(access.npf.ref),
          },
    route: claimJson(path.route),
    stagesNs: Object.fromEntries(Object.entries(path.stages).map(([k, v]) => [k, nullable(v)])),
    times: { record: markJson(access.record), ...Object.fromEntries(Object.entries(times).map(([k, m]) => [k, markJson(m)])) },
    pcpus: { exit: nullable(access.pcpus.exit), entry: nullable(access.pcpus.entry) },
    deviceModel: model === undefined ? null : `d${model.dom}v${model.vcpu}`,
    log:
      path.request === undefined
        ? null
        : { line: path.request.request.line, endLine: path.request.endLine, timeUs: nullable(path.request.request.timeUs) },
    unpaired: nullable(path.unpaired),
    dma: path.dma.map((d) => ({
      gpa: hex(d.gpa),
      mapping: d.pointer === undefined ? null : `0x${d.pointer}`,
      line: d.line,
      mapCache: claimJson(d.outcome),
    })),
    frames: path.frames.map((f) =>
      claimJson(f, (v) => ({ number: v.number, length: v.wireLength, what: describeFrame(v.data), comments: v.comments })),
    ),
    interrupt: claimJson(path.interrupt, (v) => ({
      vector: v.vector === undefined ? null : hex(v.vector),
      injected: v.injected ? markJson(v.injected) : null,
      taken: v.taken ? markJson(v.taken) : null,
    })),
    lost: access.lost === undefined ? null : { count: access.lost.count, record: formatRef(access.lost.ref) },
    unfinished: nullable(access.unfinished),
  };
}

const markJson = (m: { readonly timeNs: number; readonly ref: Ref }): object => ({ ns: m.timeNs, at: formatRef(m.ref) });

/** The cost table as lines. */
export function costLines(rows: readonly CostRow[]): string[] {
  const cells = rows.map((r) => [
    r.device,
    r.register,
    r.dir,
    ROUTE_SHORT[r.route] ?? r.route,
    String(r.count),
    us(r.min),
    us(r.median),
    us(r.p99),
    us(r.max),
    `${(r.share * 100).toFixed(1)}%`,
    us(r.stages.emulate),
    us(r.stages.schedule),
    us(r.stages.work),
    us(r.stages.wake),
    us(r.stages.enter),
  ]);
  const header = [
    'device',
    'register',
    'dir',
    'route',
    'count',
    'min µs',
    'median',
    'p99',
    'max',
    'share',
    'emulate',
    'schedule',
    'work',
    'wake',
    'enter',
  ];
  const widths = header.map((h, i) => Math.max(h.length, ...cells.map((c) => c[i]!.length)));
  const line = (c: readonly string[]): string =>
    c
      .map((x, i) => (i < 4 ? x.padEnd(widths[i]!) : x.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [line(header), ...cells.map(line)];
}

/** How trace, logs and capture were joined, and what matched nothing: guest by guest. */
export function joinLines(a: Analysis): string[] {
  const out: string[] = [...a.leftOut];
  for (const g of a.guests) {
    const lines = guestLines(g);
    out.push(...(a.guests.length > 1 ? lines.map((line) => `${guestName(g)}: ${line}`) : lines));
  }
  const rate = rateText(a.tscRate);
  if (rate !== undefined) out.push(`clocks: ${rate[0]!.toLowerCase()}${rate.slice(1)}`);
  if (a.frames.length > 0) out.push(captureLine(a));
  for (const lost of a.lost)
    out.push(
      `lost: ${lost.count} records of pCPU ${lost.pcpu}${lost.untilNs > lost.timeNs ? `, ${(lost.timeNs / 1e9).toFixed(6)} to ${(lost.untilNs / 1e9).toFixed(6)} s` : ''} [${formatRef(lost.ref)}]`,
    );
  if (a.captureDamage !== undefined) out.push(`capture damaged: ${a.captureDamage}`);
  return out;
}

function guestLines(a: Guest): string[] {
  const out: string[] = [];
  const { pairing, clock } = a;
  if (pairing === undefined) out.push(`${a.accesses.length} access${a.accesses.length === 1 ? '' : 'es'}, no device-model log`);
  else {
    out.push(
      `${pairing.pairs} of ${a.accesses.length} accesses paired with ${a.log!.requests.length} requests of the log, ${pairedHow(pairing)}`,
    );
    for (const [reason, refs] of grouped(pairing.unpairedRequests.map((u) => [u.reason, u.request.request.line] as const))) {
      out.push(
        `unpaired: ${refs.length} request${refs.length === 1 ? '' : 's'}, ${reason}: log lines ${ranges(
          pairing.unpairedRequests.filter((u) => u.reason === reason).map((u) => u.request.index),
          (i) => a.log!.requests[i]!.request.line,
          (i) => a.log!.requests[i]!.endLine,
        )}`,
      );
    }
    for (const [reason, refs] of grouped(pairing.unpairedAccesses.map((u) => [u.reason, u.access.record.ref.at] as const))) {
      out.push(
        `unpaired: ${refs.length} access${refs.length === 1 ? '' : 'es'}, ${reason}: ${refs
          .slice(0, MAX_LISTED)
          .map((at) => `${a.accesses[0]!.record.ref.unit === 'offset' ? '+0x' + at.toString(16) : at}`)
          .join(' ')}${refs.length > MAX_LISTED ? ` and ${refs.length - MAX_LISTED} more (--json lists all)` : ''}`,
      );
    }
  }
  if (clock !== undefined) out.push(`clocks: ${clockText(a, clock)}`);
  else if (pairing !== undefined && a.accesses.length > 0)
    out.push('clocks: not aligned: fewer than two pairs have times on both sides');
  if (a.log !== undefined && a.log.otherEvents.size > 0) {
    out.push(`log lines of no use here: ${[...a.log.otherEvents].map(([name, n]) => `${n} ${name}`).join(', ')}`);
  }
  return out;
}

/** What became of the frames of a capture. */
function captureLine(a: Analysis): string {
  const sent = new Set(a.guests.flatMap((g) => g.transmissions.map((t) => t.frame.value?.number)));
  const again = new Set(a.guests.flatMap((g) => [...g.capture.sightings.keys()]));
  const others = a.frames.filter((f) => !sent.has(f.number) && !again.has(f.number)).map((f) => f.number);
  const once = again.size === 0 ? '' : `, ${again.size} of them another interface's sight of a frame before`;
  const tried = a.guests.filter((g) => g.log !== undefined);
  if (tried.length > 0 && tried.every((g) => g.capture.unrelated !== undefined))
    return `capture: ${a.frames.length} frames${once}, of another run`;
  return `capture: ${a.frames.length} frames${once}, ${sent.has(undefined) ? sent.size - 1 : sent.size} with their doorbell${others.length > 0 ? `; received, or sent outside the files: ${others.slice(0, MAX_FRAMES).join(' ')}${others.length > MAX_FRAMES ? ` and ${others.length - MAX_FRAMES} more` : ''}` : ''}`;
}

/** How the log's clock lies over the trace's. */
function clockText(g: Guest, clock: ClockAlignment): string {
  if (clock.by === 'log header')
    return `trace 0 s = wall ${wallText(g, traceToWallUs(clock, 0), clock.errorUs === 0 ? 9 : 6)}${clock.errorUs === 0 ? ' exactly' : ` ±${errorUsText(clock)} µs`}, as log line ${clock.headerLine} says; ${clock.pairsUsed} pairs agree`;
  const at = `trace ${(clock.centreNs / 1e9).toFixed(6)} s = wall ${wallText(g, clock.offsetUs, 6)}`;
  const rate = clock.rateError === undefined ? '' : ` ±${(clock.rateError * 1e6).toFixed(1)}`;
  const outliers =
    clock.outliers.length === 0
      ? ''
      : `, ${clock.outliers.length} contradicting pairs left out: log lines ${clock.outliers.map((o) => o.request.request.line).join(' ')}`;
  const header =
    clock.headerLine === undefined
      ? ''
      : `; the TSC rate in log line ${clock.headerLine} contradicts ${clock.headerContradictedBy} pairs and was not used: is the log of this trace?`;
  return `${at} ±${(clock.errorUs / 1e6).toFixed(6)} s, drift ${((clock.rate - 1) * 1e6).toFixed(1)}${rate} ppm, from ${clock.pairsUsed} pairs${clock.consistent ? '' : ' that contradict each other'}${outliers}${header}`;
}

const MAX_LISTED = 8;
const MAX_FRAMES = 40;

function grouped<K extends string>(pairs: readonly (readonly [K, number])[]): Map<K, number[]> {
  const groups = new Map<K, number[]>();
  for (const [key, at] of pairs) {
    const list = groups.get(key);
    if (list === undefined) groups.set(key, [at]);
    else list.push(at);
  }
  return groups;
}

/** Runs of neighbouring requests as ranges of lines. */
function ranges(indices: readonly number[], first: (i: number) => number, last: (i: number) => number): string {
  const parts: string[] = [];
  for (let i = 0; i < indices.length; i++) {
    const start = indices[i]!;
    while (i + 1 < indices.length && indices[i + 1] === indices[i]! + 1) i++;
    parts.push(`${first(start)}-${last(indices[i]!)}`);
  }
  return parts.join(', ');
}
