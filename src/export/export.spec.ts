import { JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import protobuf from 'protobufjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { readCapture } from '../analyze/sources/pcap.ts';
import { memorySource, openTrace, parseCpuHz, summarizeTrace } from '../trace/index.ts';
import type { TraceRecord, TraceSummary } from '../trace/index.ts';
import { generateTrace } from '../trace/testing/generator.ts';
import { lackOf } from '../../test/needs.ts';
import { writeFrames } from './frames.ts';
import { ioSpans, otlpRequests, resourceOf } from './otlp.ts';
import { writePerfetto } from './perfetto.ts';
import { traceRows } from './rows.ts';
import { TABLE_NAMES, TABLES } from './tables.ts';
import type { Cell, TableName } from './tables.ts';
import { openCapture } from './testing/capture.ts';
import { LineRows } from './text.ts';
import { writeXentrace } from './xentrace.ts';

const captures = await lackOf('captures');
const summaryOf = (bytes: Uint8Array, svm = false): Promise<TraceSummary> => summarizeTrace(memorySource(bytes), 2.4e9, svm);
const who = { host: 'xen1', file: 't.trc', startUs: 1_700_000_000_000_000, startBy: 'told' } as const;

const joined = (parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** Public field numbers of perfetto/trace/*.proto, as far as a check needs them. */
const schema = protobuf.parse(
  `syntax = "proto2";
  message Trace { repeated TracePacket packet = 1; }
  message TracePacket {
    optional uint64 timestamp = 8; optional uint32 trusted_packet_sequence_id = 10; optional uint32 sequence_flags = 13;
    optional ClockSnapshot clock_snapshot = 6; optional TrackEvent track_event = 11; optional InternedData interned_data = 12;
    optional TrackDescriptor track_descriptor = 60;
  }
  message ClockSnapshot { message Clock { optional uint32 clock_id = 1; optional uint64 timestamp = 2; } repeated Clock clocks = 1; }
  message TrackDescriptor { optional uint64 uuid = 1;
    optional string name = 2; optional uint64 parent_uuid = 5; optional CounterDescriptor counter = 8; }
  message CounterDescriptor { optional string unit_name = 6; }
  message InternedString { optional uint64 iid = 1; optional string name = 2; }
  message InternedData { repeated InternedString event_categories = 1;
    repeated InternedString event_names = 2; repeated InternedString debug_annotation_names = 3; }
  message DebugAnnotation { optional uint64 name_iid = 1;
    optional uint64 uint_value = 3; optional string string_value = 6; optional uint64 pointer_value = 7; }
  message TrackEvent {
    enum Type { NONE = 0; BEGIN = 1; END = 2; INSTANT = 3; COUNTER = 4; }
    repeated uint64 category_iids = 3; repeated DebugAnnotation debug_annotations = 4; optional Type type = 9;
    optional uint64 name_iid = 10; optional uint64 track_uuid = 11; optional int64 counter_value = 30;
    repeated fixed64 flow_ids = 47; repeated fixed64 terminating_flow_ids = 48;
  }`,
  { keepCase: true },
).root;

interface Packet {
  timestamp?: number;
  sequence_flags?: number;
  clock_snapshot?: { clocks: { clock_id: number; timestamp: number }[] };
  track_descriptor?: { uuid: number; name: string; parent_uuid?: number; counter?: object };
  interned_data?: { event_categories?: { iid: number; name: string }[]; event_names?: { iid: number; name: string }[] };
  track_event?: {
    type: string;
    track_uuid: number;
    name_iid?: number;
    category_iids?: number[];
    counter_value?: number;
    flow_ids?: number[];
    terminating_flow_ids?: number[];
    debug_annotations?: object[];
  };
}

/** A file of packets as another reader understands it. */
function readPerfetto(bytes: Uint8Array): {
  packets: Packet[];
  slices: { track: string; name: string; category: string; from: number; to: number }[];
  flows: Map<number, number>;
} {
  const type = schema.lookupType('Trace');
  const { packet } = type.toObject(type.decode(bytes), { longs: Number, enums: String }) as { packet: Packet[] };
  const names = new Map<number, string>();
  const categories = new Map<number, string>();
  const tracks = new Map<number, string>();
  const open = new Map<number, { name: string; category: string; from: number }[]>();
  const slices: { track: string; name: string; category: string; from: number; to: number }[] = [];
  const flows = new Map<number, number>();
  for (const p of packet) {
    for (const e of p.interned_data?.event_names ?? []) names.set(e.iid, e.name);
    for (const e of p.interned_data?.event_categories ?? []) categories.set(e.iid, e.name);
    if (p.track_descriptor !== undefined) tracks.set(p.track_descriptor.uuid, p.track_descriptor.name);
    const event = p.track_event;
    if (event === undefined) continue;
    const track = tracks.get(event.track_uuid);
    if (track === undefined) throw new Error(`track ${event.track_uuid} is used before it is described`);
    for (const id of [...(event.flow_ids ?? []), ...(event.terminating_flow_ids ?? [])]) flows.set(id, (flows.get(id) ?? 0) + 1);
    const stack = open.get(event.track_uuid) ?? [];
    open.set(event.track_uuid, stack);
    if (event.type === 'BEGIN')
      stack.push({ name: names.get(event.name_iid!)!, category: categories.get(event.category_iids![0]!)!, from: p.timestamp! });
    else if (event.type === 'END') slices.push({ track, ...stack.pop()!, to: p.timestamp! });
  }
  for (const [track, stack] of open) if (stack.length > 0) throw new Error(`track ${track} has a slice without an end`);
  return { packets: packet, slices, flows };
}

const exitsOf = (summary: TraceSummary): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const d of summary.domains)
    for (const v of d.vcpus) for (const e of v.hvm?.exits ?? []) counts.set(`d${d.id}v${v.id} exits ${e.name}`, e.events);
  return counts;
};

describe('perfetto', () => {
  it('slices of exits, runstates and losses are as many as the summary counts', async () => {
    const bytes = generateTrace({ seed: 3, cpus: 3, steps: 6000, losses: 0.003 });
    const trace = await openTrace(bytes, { vendor: 'vmx' });
    const parts: Uint8Array[] = [];
    await writePerfetto(trace, undefined, who, (part) => void parts.push(part.slice()));
    const { packets, slices } = readPerfetto(joined(parts));
    const summary = await summaryOf(bytes);
    const counts = new Map<string, number>();
    for (const s of slices)
      if (s.category === 'exit') counts.set(`${s.track} ${s.name}`, (counts.get(`${s.track} ${s.name}`) ?? 0) + 1);
    const expected = new Map<string, number>();
    for (const [key, n] of exitsOf(summary)) expected.set(key.replace(/ (\d+)$/, ' exit reason $1'), n);
    expect([...counts].sort()).toEqual([...expected].sort());
    expect(counts.size).toBeGreaterThan(5);
    const lost = summary.pcpus.reduce((n, p) => n + p.lost.events, 0);
    expect(lost).toBeGreaterThan(0);
    expect(slices.filter((s) => s.category === 'lost').length).toBe(lost);
    const runstates = summary.domains
      .filter((d) => d.id < 32767)
      .flatMap((d) => d.vcpus)
      .reduce((n, v) => n + v.runstates.reduce((m, r) => m + r.events, 0), 0);
    expect(slices.filter((s) => s.category === 'runstate').length).toBe(runstates);
    expect(slices.every((s) => s.to >= s.from)).toBe(true);
    const clocks = packets.flatMap((p) => (p.clock_snapshot === undefined ? [] : [p.clock_snapshot.clocks]));
    expect(clocks).toHaveLength(2);
    expect(clocks[0]!.map((c) => c.clock_id)).toEqual([6, 1, 128]);
    expect(clocks[0]![1]!.timestamp).toBe(who.startUs * 1000);
    expect(packets.filter((p) => p.sequence_flags === 1)).toHaveLength(1);
  });

  it('an exits counter adds up to the exits', async () => {
    const bytes = generateTrace({ seed: 4, cpus: 2, steps: 3000 });
    const trace = await openTrace(bytes, { vendor: 'vmx' });
    const parts: Uint8Array[] = [];
    await writePerfetto(trace, undefined, who, (part) => void parts.push(part.slice()));
    const { packets, slices } = readPerfetto(joined(parts));
    const values = packets.filter((p) => p.track_event?.type === 'COUNTER');
    // A value holds until the next one: events a second, in intervals of 10 ms.
    const byTrack = new Map<number, { at: number; value: number }[]>();
    for (const p of values) {
      const list = byTrack.get(p.track_event!.track_uuid) ?? [];
      byTrack.set(p.track_event!.track_uuid, list);
      list.push({ at: p.timestamp!, value: p.track_event!.counter_value! });
    }
    let total = 0;
    for (const list of byTrack.values()) list.forEach((v, i) => (total += ((list[i + 1]?.at ?? v.at) - v.at) * v.value * 1e-9));
    expect(Math.round(total)).toBe(slices.filter((s) => s.category === 'exit').length);
  });
});

describe('tables', () => {
  it('rows have as many cells as their table has columns, of the columns’ types', async () => {
    const trace = await openTrace(generateTrace({ seed: 8, cpus: 2, steps: 3000, losses: 0.003 }));
    const seen = new Set<TableName>();
    await traceRows(trace, undefined, who, new Set(TABLE_NAMES), {
      row(table, cells) {
        seen.add(table);
        expect(cells.length).toBe(TABLES[table].length);
        TABLES[table].forEach((column, i) => {
          const cell = cells[i]!;
          if (cell === null) return;
          const type =
            column.type === 'text'
              ? 'string'
              : column.type === 'bool'
                ? 'boolean'
                : column.type === 'uint64'
                  ? 'bigint'
                  : 'number';
          expect(`${table}.${column.name} ${typeof cell}`).toBe(`${table}.${column.name} ${type}`);
        });
      },
    });
    expect([...seen].sort()).toEqual(TABLE_NAMES.filter((t) => t !== 'io').sort());
  });

  it('CSV quotes what must be quoted; JSON lines keep 64 bits', () => {
    const texts = { csv: '', jsonl: '' };
    for (const form of ['csv', 'jsonl'] as const) {
      const rows = new LineRows('exits', form, (text) => (texts[form] += text));
      const cells: Cell[] = [
        'a,"b"',
        '2026-11-30',
        't.trc',
        1_764_504_000_000_001,
        5,
        6,
        0,
        1,
        0,
        48,
        'EPT_VIOLATION',
        0xffffffff816aa496n,
      ];
      rows.row('exits', cells);
      rows.row('lost', ['x', 'y', 'z', 0, 0, 0, 0, 1]);
      rows.end();
    }
    expect(texts.csv.split('\n')).toEqual([
      'host,day,file,at,time_ns,duration_ns,pcpu,domid,vcpu,reason,reason_name,rip',
      '"a,""b""",2026-11-30,t.trc,2025-11-30T12:00:00.000001Z,5,6,0,1,0,48,EPT_VIOLATION,18446744071585834134',
      '',
    ]);
    const object = JSON.parse(texts.jsonl) as Record<string, unknown>;
    expect(object['rip']).toBe('18446744071585834134');
    expect(object['at']).toBe('2025-11-30T12:00:00.000001Z');
  });
});

async function recordsOf(bytes: Uint8Array): Promise<TraceRecord[]> {
  const records: TraceRecord[] = [];
  for await (const r of await openTrace(bytes)) records.push(r);
  return records;
}
const plain = (r: TraceRecord): object => ({ cpu: r.cpu, tsc: r.tsc, event: r.event, words: r.words, dom: r.dom, vcpu: r.vcpu });

describe("xentrace's own form", () => {
  const cutOf = async (bytes: Uint8Array, cut: Parameters<typeof writeXentrace>[1]): Promise<Uint8Array> => {
    const parts: Uint8Array[] = [];
    await writeXentrace(await openTrace(bytes), cut, (part) => void parts.push(part.slice()));
    return joined(parts);
  };

  it.each([
    ['plain', { seed: 11, cpus: 4, steps: 3000 }],
    ['every kind, losses', { seed: 12, cpus: 2, steps: 3000, oddities: 0.2, losses: 0.003 }],
    ['TSCs past 2^53', { seed: 13, cpus: 2, steps: 500, firstTsc: 2 ** 53 + 2 ** 34 }],
  ])('uncut: every record as it was, and the same summary: %s', async (_, load) => {
    const bytes = generateTrace(load);
    const again = await cutOf(bytes, {});
    expect((await recordsOf(again)).map(plain)).toEqual((await recordsOf(bytes)).map(plain));
    expect({ ...(await summaryOf(again)), notes: 0 }).toEqual({ ...(await summaryOf(bytes)), notes: 0 });
  });

  it('cut by time: the records of that time, and who runs is known from the first one on', async () => {
    const bytes = generateTrace({ seed: 14, cpus: 3, steps: 4000 });
    const all = await recordsOf(bytes);
    const end = all.at(-1)!.ns / 1e9;
    const [from, to] = [end * 0.4, end * 0.6];
    const kept = await recordsOf(await cutOf(bytes, { from, to }));
    const wanted = all.filter((r) => r.ns / 1e9 >= from && r.ns / 1e9 <= to);
    const added =
      kept.filter((r) => r.decoded.kind === 'runstate_continue').length -
      wanted.filter((r) => r.decoded.kind === 'runstate_continue').length;
    expect(added).toBeLessThanOrEqual(3);
    expect(kept.length).toBe(wanted.length + added);
    // A record that inherits its time keeps that time; what ran is known wherever it was in the whole trace.
    const own = kept.filter((r) => r.decoded.kind !== 'runstate_continue').map(plain);
    expect(own).toEqual(wanted.filter((r) => r.decoded.kind !== 'runstate_continue').map(plain));
  });

  it('cut by vCPU: what it did and what was done to it, nothing of another', async () => {
    const bytes = generateTrace({ seed: 15, cpus: 2, steps: 4000 });
    const guest = (await recordsOf(bytes)).find((r) => r.decoded.kind === 'vmexit')!;
    const cut = await cutOf(bytes, { domain: guest.dom!, vcpu: guest.vcpu! });
    const before = await summaryOf(bytes);
    const after = await summaryOf(cut);
    const of = (s: TraceSummary): object | undefined =>
      s.domains
        .find((d) => d.id === guest.dom)
        ?.vcpus.find((v) => v.id === guest.vcpu)
        ?.hvm?.exits.map((e) => [e.name, e.events, e.cycles]);
    expect(of(after)).toEqual(of(before));
    expect(exitsOf(after).size).toBeLessThan(exitsOf(before).size);
    expect([...exitsOf(after).keys()].every((k) => k.startsWith(`d${guest.dom}v${guest.vcpu} `))).toBe(true);
  });
});

describe.skipIf(captures.skip)(captures.title('a capture of a real host'), () => {
  let opened: Awaited<ReturnType<typeof openCapture>>;
  beforeAll(async () => {
    opened = await openCapture();
  });

  it('OTLP is what OpenTelemetry’s own transformer makes of the same spans', () => {
    const { analysis, who } = opened;
    const resource = { attributes: resourceOf(who), asyncAttributesPending: false };
    const context = (traceId: string, spanId: string): object => ({ traceId, spanId, traceFlags: 1 });
    const hr = (ns: bigint): [number, number] => [Number(ns / 1_000_000_000n), Number(ns % 1_000_000_000n)];
    const spans = [...ioSpans(analysis, who)];
    const readable = spans.map((s) => ({
      name: s.name,
      kind: 0,
      spanContext: () => context(s.traceId, s.spanId),
      ...(s.parentSpanId === undefined ? {} : { parentSpanContext: context(s.traceId, s.parentSpanId) }),
      startTime: hr(s.start),
      endTime: hr(s.end),
      duration: hr(s.end - s.start),
      ended: true,
      status: { code: 0 },
      attributes: s.attributes,
      links: [],
      events: [],
      resource,
      instrumentationScope: { name: 'xenolith' },
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    }));
    type Spans = Parameters<typeof JsonTraceSerializer.serializeRequest>[0];
    interface Request {
      resourceSpans: { resource: object; scopeSpans: { scope: object; spans: object[] }[] }[];
    }
    const theirs = JSON.parse(
      new TextDecoder().decode(JsonTraceSerializer.serializeRequest(readable as unknown as Spans)),
    ) as Request;
    const ours = [...otlpRequests(analysis, who)].map((line) => JSON.parse(line) as Request);
    expect(ours.flatMap((r) => r.resourceSpans[0]!.scopeSpans[0]!.spans)).toEqual(theirs.resourceSpans[0]!.scopeSpans[0]!.spans);
    expect(ours[0]!.resourceSpans[0]!.resource).toEqual(theirs.resourceSpans[0]!.resource);
    const roots = spans.filter((s) => s.parentSpanId === undefined);
    expect(roots.length).toBe(analysis.guests[0]!.accesses.filter((a) => a.marks.exit && a.marks.entry).length);
    expect(new Set(spans.map((s) => `${s.traceId} ${s.spanId}`)).size).toBe(spans.length);
    expect(spans.every((s) => /^[0-9a-f]{32}$/.test(s.traceId) && /^[0-9a-f]{16}$/.test(s.spanId))).toBe(true);
  });

  it('perfetto: every access is a slice, its flow has at most three parts, a frame ends one', async () => {
    const parts: Uint8Array[] = [];
    await writePerfetto(opened.trace, opened.analysis, opened.who, (part) => void parts.push(part.slice()));
    const { packets, slices, flows } = readPerfetto(joined(parts));
    const { accesses } = opened.analysis.guests[0]!;
    expect(slices.filter((s) => s.category === 'io').length).toBe(accesses.length);
    expect(slices.filter((s) => s.category === 'device model').length).toBeGreaterThan(accesses.length / 2);
    expect([...flows.values()].every((n) => n === 2 || n === 3)).toBe(true);
    expect([...flows.values()].filter((n) => n === 3).length).toBeGreaterThanOrEqual(10);
    const instants = packets.filter((p) => p.track_event?.type === 'INSTANT');
    expect(instants.length).toBe(opened.analysis.guests[0]!.transmissions.filter((t) => t.access && t.frame.value).length);
    const summary = await summarizeTrace(opened.trace.source, parseCpuHz('2596090000'), true);
    const exits = [...exitsOf(summary).values()].reduce((a, b) => a + b, 0);
    expect(slices.filter((s) => s.category === 'exit').length).toBe(exits);
  });

  it('the capture comes out with its times and bytes, each frame with its story', () => {
    const parts: Uint8Array[] = [];
    const written = writeFrames(opened.analysis, (part) => void parts.push(part.slice()));
    const again = readCapture(joined(parts), 'again', { seconds: opened.analysis.wallBase });
    expect(written).toBe(opened.analysis.frames.length);
    expect(again.damage).toBeUndefined();
    expect(again.frames.map((f) => [f.number, Buffer.from(f.data).toString('hex'), f.wireLength])).toEqual(
      opened.analysis.frames.map((f) => [f.number, Buffer.from(f.data).toString('hex'), f.wireLength]),
    );
    again.frames.forEach((f, i) => expect(Math.abs(f.timeUs - opened.analysis.frames[i]!.timeUs)).toBeLessThan(0.002));
    expect(again.frames[6]!.comments.join()).toContain('by a write of 0x40 to TxPoll of its RTL8139');
    expect(again.frames.every((f) => f.comments.length === 1)).toBe(true);
  });
});
