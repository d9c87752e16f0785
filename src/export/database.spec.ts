import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { analyze, CostTable, ioPaths, type Analysis } from '../analyze/index.ts';
import { memorySource, openTrace, parseCpuHz, summarizeTrace } from '../trace/index.ts';
import type { TraceSummary } from '../trace/index.ts';
import { generateTrace } from '../trace/testing/generator.ts';
import { lackOf } from '../../test/needs.ts';
import { TraceDatabase, type Answer } from './database-node.ts';
import { inDialect, QUESTIONS } from './questions.ts';
import { dayOf, traceRows, type HostOfTrace } from './rows.ts';
import { TABLE_NAMES } from './tables.ts';
import { openCapture } from './testing/capture.ts';

const captures = await lackOf('captures');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-dataset-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const whoOf = (host: string): HostOfTrace => ({ host, file: `${host}.trc`, startUs: 1_764_504_000_000_000, startBy: 'told' });
const bytes = generateTrace({ seed: 21, cpus: 3, steps: 8000, losses: 0.002 });
let memory: TraceDatabase;
let dataset: TraceDatabase;
let summary: TraceSummary;

const ask = (database: TraceDatabase, name: string): Promise<Answer> =>
  database.query(inDialect(QUESTIONS.find((q) => q.name === name)!.sql, 'duckdb'));
/** Rows as objects. */
const objects = ({ columns, rows }: Answer): Record<string, unknown>[] =>
  rows.map((r) => Object.fromEntries(r.map((v, i) => [columns[i]!, v])));
const one = async (sql: string): Promise<unknown> => (await memory.query(sql)).rows[0]![0];

beforeAll(async () => {
  const trace = await openTrace(bytes, { vendor: 'vmx' });
  summary = await summarizeTrace(memorySource(bytes), trace.scale.hz, false);
  memory = await TraceDatabase.open();
  await memory.prepare();
  await traceRows(trace, undefined, whoOf('a'), new Set(TABLE_NAMES), memory);
  await memory.settle();
  const writer = await TraceDatabase.open();
  await writer.prepare();
  // Twice: the second time replaces what the first one wrote.
  for (let i = 0; i < 2; i++) {
    writer.beginDataset(folder, 'a', dayOf(whoOf('a').startUs), 'a.trc');
    await traceRows(trace, undefined, whoOf('a'), new Set(TABLE_NAMES), writer);
    await writer.endDataset();
  }
  writer.close();
  dataset = await TraceDatabase.open();
  await dataset.attach(folder);
});
afterAll(() => {
  memory.close();
  dataset.close();
});

describe('a trace in SQL', () => {
  const vcpus = (): { dom: number; v: TraceSummary['domains'][number]['vcpus'][number] }[] =>
    summary.domains.flatMap((d) => d.vcpus.map((v) => ({ dom: d.id, v })));

  it('totals are those of the summary', async () => {
    expect(await one('SELECT records FROM hosts')).toBe(summary.records);
    const exits = vcpus().flatMap(({ v }) => v.hvm?.exits ?? []);
    expect(await one('SELECT count(*) FROM exits')).toBe(exits.reduce((n, e) => n + e.events, 0));
    const states = vcpus().flatMap(({ v }) => v.runstates);
    expect(await one('SELECT count(*) FROM runstates')).toBe(states.reduce((n, s) => n + s.events, 0));
    const injected = vcpus().flatMap(({ v }) => v.hvm?.guestInterrupts ?? []);
    expect(await one('SELECT count(*) FROM injections')).toBe(injected.reduce((n, i) => n + i.count, 0));
    expect(await one('SELECT count(*) FROM lost')).toBe(summary.pcpus.reduce((n, p) => n + p.lost.events, 0));
    const hypercalls = vcpus().flatMap(({ v }) => v.pv?.hypercalls ?? []);
    expect(await one('SELECT count(*) FROM hypercalls WHERE duration_ns IS NULL')).toBe(
      hypercalls.reduce((n, h) => n + h.count, 0),
    );
    expect(hypercalls.length).toBeGreaterThan(1);
  });

  it('a TSC rate that the files told is no whole number, and is stored as one', async () => {
    const trace = await openTrace(generateTrace({ seed: 22, cpus: 1, steps: 50 }), { vendor: 'vmx' });
    const analysis = await analyze({ trace, mayHoldNone: true });
    const tscRate = { hz: 2_596_122_175.914, by: 'pairs', errorHz: 95_310, insteadOf: 2.4e9 } as const;
    const database = await TraceDatabase.open();
    await database.prepare();
    await traceRows(trace, { ...analysis, tscRate } as Analysis, whoOf('b'), new Set(['hosts']), database);
    await database.settle();
    expect((await database.query('SELECT cpu_hz, cpu_hz_by FROM hosts')).rows).toEqual([[2_596_122_176, 'pairs']]);
    database.close();
  });

  it('exits by reason and domain are those of the summary', async () => {
    const expected = new Map<string, number>();
    for (const { dom, v } of vcpus())
      for (const e of v.hvm?.exits ?? []) expected.set(`${dom} ${e.name}`, (expected.get(`${dom} ${e.name}`) ?? 0) + e.events);
    const rows = objects(await ask(memory, 'exits'));
    expect(new Map(rows.map((r) => [`${r['domid']} ${r['reason_name']}`, r['exits']]))).toEqual(expected);
    const first = rows[0]!;
    // xenalyze's arithmetic, which times are made by, is off by up to a thousandth.
    expect(((first['per_second'] as number) * summary.totalSeconds) / (first['exits'] as number)).toBeCloseTo(1, 2);
  });

  it('time lost to runnable, and what vCPUs do, are those of the summary', async () => {
    const rows = objects(await ask(memory, 'runstates'));
    for (const { dom, v } of vcpus().filter(({ dom }) => dom < 32767)) {
      for (const s of v.runstates) {
        const row = rows.find((r) => r['domid'] === dom && r['vcpu'] === v.id && r['state'] === s.name);
        expect(row?.['times']).toBe(s.events);
        expect(Math.abs((row!['total_ns'] as number) / 1e9 - s.seconds)).toBeLessThan(1e-3 * s.seconds + 1e-6);
      }
    }
    const runnable = objects(await ask(memory, 'runnable')).reduce((n, r) => n + (r['waits'] as number), 0);
    const expected = vcpus()
      .filter(({ dom }) => dom < 32767)
      .flatMap(({ v }) => v.runstates.filter((s) => s.name === 'runnable'));
    expect(runnable).toBe(expected.reduce((n, s) => n + s.events, 0));
    const preempted = objects(await ask(memory, 'preempted')).reduce((n, r) => n + (r['preemptions'] as number), 0);
    const states = vcpus()
      .filter(({ dom }) => dom < 32767)
      .flatMap(({ v }) => v.runnable.filter((s) => s.name === 'preempt'));
    expect(preempted).toBe(states.reduce((n, s) => n + s.events, 0));
  });

  it('losses are those of the summary, pCPU by pCPU', async () => {
    const rows = objects(await ask(memory, 'lost'));
    expect(new Map(rows.map((r) => [r['pcpu'], r['losses']]))).toEqual(
      new Map(summary.pcpus.filter((p) => p.lost.events > 0).map((p) => [p.id, p.lost.events])),
    );
  });

  it('there are twenty questions, each with its own name, and each has the same answer from a dataset', async () => {
    expect(new Set(QUESTIONS.map((q) => q.name)).size).toBe(20);
    for (const { name } of QUESTIONS)
      expect({ name, answer: await ask(dataset, name) }).toEqual({ name, answer: await ask(memory, name) });
  });

  it('a dataset is partitioned by host and day', () => {
    expect(readdirSync(join(folder, 'exits'))).toEqual(['host=a']);
    expect(readdirSync(join(folder, 'exits/host=a'))).toEqual(['day=2025-11-30']);
    expect(readdirSync(join(folder, 'exits/host=a/day=2025-11-30'))).toEqual(['a.trc-0.parquet']);
  });

  it('a query that is wrong is refused in one line', async () => {
    await expect(memory.query('SELECT nothing FROM nowhere')).rejects.toThrow(/^the query fails: Catalog Error/);
  });
});

describe.skipIf(captures.skip)(captures.title('a capture of a real host, in SQL'), () => {
  let database: TraceDatabase;
  let opened: Awaited<ReturnType<typeof openCapture>>;
  beforeAll(async () => {
    opened = await openCapture();
    database = await TraceDatabase.open();
    await database.prepare();
    await traceRows(opened.trace, opened.analysis, opened.who, new Set(TABLE_NAMES), database);
    await database.settle();
  });
  afterAll(() => database.close());

  it('the dearest registers are those of the cost table', async () => {
    const table = new CostTable();
    for (const path of ioPaths(opened.analysis)) table.add(path);
    const rows = objects(await ask(database, 'dearest-registers'));
    const expected = table.rows().filter((r) => r.register === 'TxPoll' || r.register === 'Cfg9346');
    for (const e of expected) {
      const row = rows.find((r) => r['register'] === e.register && r['direction'] === e.dir)!;
      expect(row['accesses']).toBe(e.timed);
      expect(Math.abs((row['total_ns'] as number) - e.total)).toBeLessThan(e.count);
    }
    expect(expected.length).toBe(3);
    expect(rows[0]!['register']).toBe('THR');
  });

  it('accesses, wake-ups of the device model and frames are those of the analysis', async () => {
    const paths = [...ioPaths(opened.analysis)];
    const routes = objects(await ask(database, 'routes'));
    expect(routes.reduce((n, r) => n + (r['accesses'] as number), 0)).toBe(paths.length);
    const wakeups = paths.map((p) => p.stages.schedule).filter((s) => s !== undefined);
    const [row] = objects(await ask(database, 'model-wakeup'));
    expect(row!['wakeups']).toBe(wakeups.length);
    expect(row!['max_ns']).toBe(Math.round(Math.max(...wakeups)));
    const frames = objects(await ask(database, 'frame-cost'));
    expect(frames.map((f) => f['frame'])).toEqual(
      [1, 2, 4, 6, 7, 8, 10, 11, 12, 13, 16, 17].filter((n) => paths.some((p) => p.frames[0]?.value?.number === n)),
    );
    // Frame 7 of the story: 11 hypercalls of dom0 besides iret, from exit to answer; here all of them, up to the entry.
    expect(frames.find((f) => f['frame'] === 7)!['hypercalls']).toBeGreaterThanOrEqual(11);
  });

  it('interrupts and exits are those of the summary', async () => {
    const summary = await summarizeTrace(opened.trace.source, parseCpuHz('2596090000'), true);
    const of = summary.domains.find((d) => d.id === 1)!.vcpus.flatMap((v) => v.hvm!.guestInterrupts);
    const rows = objects(await ask(database, 'vectors'));
    expect(new Map(rows.map((r) => [r['vector'], r['injections']]))).toEqual(new Map(of.map((i) => [i.vector, i.count])));
  });
});
