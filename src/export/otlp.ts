import { ioPaths, registerNames, type Analysis, type IoPath } from '../analyze/index.ts';
import type { HostOfTrace } from './rows.ts';
import { accessName } from './perfetto.ts';

/**
 * Accesses as OpenTelemetry spans, in OTLP's JSON encoding (opentelemetry-proto, trace/v1): a tree an access. Its root lasts
 * from VM exit to VM entry, its children are the stages between.
 */

/** A span as this module makes it, before it is put into OTLP's form. */
export interface IoSpan {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits. */
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  /** Nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

const SPAN_KIND_INTERNAL = 1;
/** W3C trace flag "sampled"; whether the parent is remote is known, and it is not. */
const SAMPLED = 0x101;

/** FNV-1a, 32 bits, seeded: identifiers that are the same whenever the same trace is exported. */
function hash(text: string, seed: number): number {
  let h = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

const hex8 = (n: number): string => n.toString(16).padStart(8, '0');

const STAGES = [
  ['emulate', 'exit', ['notified', 'blocked']],
  ['schedule', 'notified', ['modelRuns']],
  ['work', undefined, ['woken']],
  ['wake', 'woken', ['resumed']],
  ['enter', 'resumed', ['entry']],
] as const;

/** The spans of one access: its root, then the stages that the trace tells. An access without exit or entry has none. */
function* spansOf(path: IoPath, who: HostOfTrace, base: string): Generator<IoSpan> {
  const { access } = path;
  const { marks } = access;
  if (marks.exit === undefined || marks.entry === undefined || marks.entry.timeNs < marks.exit.timeNs) return;
  const wall = (ns: number): bigint => BigInt(who.startUs) * 1000n + BigInt(Math.round(ns));
  const key = `${access.dom} ${access.index}`;
  // An identifier of zeros is not valid: the index makes the last part differ from zero.
  const low = hex8(access.index + 1);
  const traceId = `${base}${hex8(hash(key, 3))}${low}`;
  const rootId = `${hex8(access.dom)}${low}`;
  const attributes: Record<string, string | number | boolean> = {
    'xen.domid': access.dom,
    'xen.vcpu': access.vcpu,
    'xen.io.space': access.space,
    'xen.io.direction': access.dir,
    'xen.io.address': `0x${access.addr.toString(16)}`,
    'xen.io.route': path.route.value ?? 'unknown',
    'xen.io.route.strength': path.route.strength,
  };
  const add = (name: string, value: string | number | undefined): void => {
    if (value !== undefined) attributes[name] = value;
  };
  add('xen.exit_reason', access.exitReason);
  add('xen.rip', access.rip === undefined ? undefined : `0x${access.rip.toString(16)}`);
  add('xen.pcpu', access.pcpus.exit);
  add('xen.io.data', access.data === undefined ? undefined : `0x${access.data.toString(16)}`);
  add('xen.io.device', path.device?.name);
  add('xen.io.register', registerNames(path));
  add('xen.io.frame', path.frames[0]?.value?.number);
  if (marks.model !== undefined) add('xen.io.model', `d${marks.model.dom}v${marks.model.vcpu}`);
  if (access.lost !== undefined) attributes['xen.records_lost'] = true;
  yield {
    traceId,
    spanId: rootId,
    parentSpanId: undefined,
    name: accessName(path),
    start: wall(marks.exit.timeNs),
    end: wall(marks.entry.timeNs),
    attributes,
  };
  if (access.lost !== undefined) return;
  let child = 0;
  for (const [name, from, to] of STAGES) {
    child++;
    const start = from === undefined ? (marks.modelRuns ?? marks.notified ?? marks.blocked) : marks[from];
    const end = to.map((t) => marks[t]).find((m) => m !== undefined);
    if (start === undefined || end === undefined || end.timeNs < start.timeNs) continue;
    yield {
      traceId,
      spanId: `${hex8(child * 0x10000000 + access.dom)}${low}`,
      parentSpanId: rootId,
      name,
      start: wall(start.timeNs),
      end: wall(end.timeNs),
      attributes: { 'xen.domid': access.dom, 'xen.vcpu': access.vcpu },
    };
  }
}

/** Every access of a trace as spans, in trace order. */
export function* ioSpans(analysis: Analysis, who: HostOfTrace): Generator<IoSpan> {
  const base = `${hex8(hash(`${who.host} ${who.file}`, 1))}${hex8(hash(`${who.host} ${who.startUs}`, 2))}`;
  for (const path of ioPaths(analysis)) yield* spansOf(path, who, base);
}

/** What the spans are of. */
export const resourceOf = (who: HostOfTrace): Record<string, string> => ({ 'service.name': 'xen', 'host.name': who.host });

const attributeList = (attributes: Readonly<Record<string, string | number | boolean>>): object[] =>
  Object.entries(attributes).map(([key, value]) => ({
    key,
    value:
      typeof value === 'string'
        ? { stringValue: value }
        : typeof value === 'boolean'
          ? { boolValue: value }
          : { intValue: value },
  }));

/** A request to an OTLP receiver (ExportTraceServiceRequest). */
function otlpRequest(spans: readonly IoSpan[], who: HostOfTrace): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: attributeList(resourceOf(who)), droppedAttributesCount: 0 },
        scopeSpans: [
          {
            scope: { name: 'xenolith' },
            spans: spans.map((s) => ({
              traceId: s.traceId,
              spanId: s.spanId,
              ...(s.parentSpanId === undefined ? {} : { parentSpanId: s.parentSpanId }),
              name: s.name,
              kind: SPAN_KIND_INTERNAL,
              startTimeUnixNano: String(s.start),
              endTimeUnixNano: String(s.end),
              attributes: attributeList(s.attributes),
              droppedAttributesCount: 0,
              events: [],
              droppedEventsCount: 0,
              status: { code: 0 },
              links: [],
              droppedLinksCount: 0,
              flags: SAMPLED,
            })),
          },
        ],
      },
    ],
  };
}

const SPANS_A_REQUEST = 2048;

/** Requests that hold all spans, as lines of JSON. */
export function* otlpRequests(analysis: Analysis, who: HostOfTrace): Generator<string> {
  let spans: IoSpan[] = [];
  for (const span of ioSpans(analysis, who)) {
    // A tree stays in one request.
    if (spans.length >= SPANS_A_REQUEST && span.parentSpanId === undefined) {
      yield JSON.stringify(otlpRequest(spans, who));
      spans = [];
    }
    spans.push(span);
  }
  if (spans.length > 0) yield JSON.stringify(otlpRequest(spans, who));
}
