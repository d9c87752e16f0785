import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { analyze, ioPaths, tellStory, type Analysis, type AnalysisInput } from '../../src/analyze/index.ts';
import { openTrace } from '../../src/trace/index.ts';
import { captureFile, haveCaptures, NO_CAPTURES, type Fixture } from '../../src/trace/testing/fixtures.ts';
import { Checker, type ClaimFiles } from './check.ts';
import { ioOf, rawCapture, rawLog, rawTrace, type RawLog } from './raw.ts';
import { runScenario, type Scenario, type ScenarioGuest } from './scenario.ts';
import { tellAll } from './tell.ts';

if (!haveCaptures) console.log(NO_CAPTURES);

/** Tells every packet of the capture, and every transmission where there is none, and checks each sentence. */
function checkAll(
  a: Analysis,
  files: ClaimFiles,
): { problems: readonly string[]; told: number; used: ReadonlyMap<string, number> } {
  const checker = new Checker(files);
  const told = tellAll(a, checker);
  return { problems: checker.problems, told, used: checker.used };
}

/** Every access of the analysis against the raw records and the raw log of its own domain. */
function checkRows(a: Analysis, files: ClaimFiles): string[] {
  const problems: string[] = [];
  const byOffset = new Map(files.records.map((r) => [r.offset, r]));
  let rows = 0;
  for (const p of ioPaths(a)) {
    rows++;
    const at = `access at ${p.access.record.ref.at}`;
    const raw = byOffset.get(p.access.record.ref.at);
    const io = raw && ioOf(raw);
    if (
      raw === undefined ||
      io === undefined ||
      io.addr !== p.access.addr ||
      io.dir !== p.access.dir ||
      raw.dom !== p.access.dom
    ) {
      problems.push(`${at}: the record is another`);
      continue;
    }
    const log = files.logs.get(p.access.dom);
    const handler = log?.requests.find((r) => r.addr === io.addr && r.region !== undefined)?.region;
    const name = p.device?.name;
    if (p.request !== undefined) {
      const request = log?.requests.find((r) => r.line.line === p.request!.request.line);
      if (request === undefined || (request.type !== 2 && request.addr !== io.addr) || request.dir !== io.dir)
        problems.push(`${at}: its request is not in the log of domain ${p.access.dom}`);
    }
    if (handler !== undefined && name === undefined) problems.push(`${at}: the log names ${handler}, and the device is unknown`);
    if (handler !== undefined && ['rtl8139', 'e1000'].includes(name!) && !handler.startsWith(name!))
      problems.push(`${at}: called ${name}, and served by ${handler}`);
    if (p.route.value === 'in the hypervisor' && log?.requests.some((r) => r.addr === io.addr && r.type < 2) === true)
      problems.push(`${at}: told to be served in the hypervisor, and the log has requests there`);
    if (p.unpaired?.startsWith('served') === true && log === undefined) problems.push(`${at}: excused by another domain's log`);
  }
  const counted = files.records.filter((r) => ioOf(r) !== undefined && r.dom !== undefined).length;
  if (Math.abs(rows - counted) > counted * 0.01) problems.push(`${rows} accesses told of ${counted}`);
  return problems;
}

const shared = (problems: readonly string[]): string => problems.slice(0, 12).join('\n');

const FIXTURES = [
  { name: 'rtl8139-8139cp-ping', trace: 'trace.bin', hz: 2_596_120_000, sent: [1, 2, 4, 6, 7, 8, 10, 11, 12, 13, 16, 17] },
  { name: 'rtl8139-8139too-ping', trace: 'trace.bin', hz: 2_596_120_000, sent: undefined },
  { name: 'lost-records', trace: 'trace.bin', hz: 2_596_100_000, sent: undefined },
  { name: 'e1000-ping', trace: 'trace-tail.bin', hz: 2_596_105_000, sent: [1, 3, 5, 7, 9, 10, 11, 13, 14, 15, 16, 17] },
] as const;
const STATION = '00:16:3e:00:00:01';
const text = (name: Fixture, file: string): string => Buffer.from(captureFile(name, file)).toString('utf8');

async function fixtureInput(
  name: Fixture,
  trace: string,
  from: { log?: Fixture; pcap?: Fixture; console?: Fixture } = {},
): Promise<AnalysisInput> {
  return {
    trace: await openTrace(Uint8Array.from(captureFile(name, trace))),
    dmLog: text(from.log ?? name, 'qemu-dm.log').split('\n'),
    pcap: captureFile(from.pcap ?? name, 'bridge.pcap'),
    console: text(from.console ?? name, 'serial.log').split('\n'),
  };
}

function fixtureFiles(name: Fixture, trace: string, hz: number, pcap = name, log: Fixture | undefined = name): ClaimFiles {
  return {
    records: rawTrace(Uint8Array.from(captureFile(name, trace))),
    hz,
    logs: new Map(log === undefined ? [] : [[1, rawLog(text(log, 'qemu-dm.log'))]]),
    frames: rawCapture(captureFile(pcap, 'bridge.pcap')),
    stations: new Map([[1, [STATION]]]),
  };
}

describe.skipIf(!haveCaptures)('every sentence on captures of a real Xen', () => {
  it.each(FIXTURES.map((f) => [f.name, f] as const))(
    '%s: all packets, all accesses',
    async (_, { name, trace, hz, sent }) => {
      const a = await analyze(await fixtureInput(name, trace));
      const files = fixtureFiles(name, trace, hz);
      expect(a.leftOut).toEqual([]);
      const { problems, told, used } = checkAll(a, files);
      expect(shared(problems)).toBe('');
      expect(told).toBe(files.frames.length);
      expect(used.size).toBeGreaterThan(25);
      expect(shared(checkRows(a, files))).toBe('');
      if (sent !== undefined)
        expect(a.guests[0]!.transmissions.flatMap((t) => (t.frame.value === undefined ? [] : [t.frame.value.number]))).toEqual(
          sent,
        );
    },
    120_000,
  );

  it('the doorbells of the e1000 are the writes of TDT, whatever is known of the chip', async () => {
    const a = await analyze(await fixtureInput('e1000-ping', 'trace-tail.bin'));
    for (const t of a.guests[0]!.transmissions.filter((x) => x.frame.value !== undefined)) {
      expect(t.access!.addr).toBe(0xf1003818);
      expect(t.frame.strength).not.toBe('unknown');
    }
  }, 60_000);
});

describe.skipIf(!haveCaptures)('files of different runs', () => {
  it.each([
    { of: 'rtl8139-8139cp-ping', log: 'rtl8139-8139too-ping' },
    { of: 'rtl8139-8139too-ping', log: 'rtl8139-8139cp-ping' },
    { of: 'rtl8139-8139cp-ping', log: 'lost-records' },
    { of: 'lost-records', log: 'rtl8139-8139cp-ping' },
    { of: 'rtl8139-8139cp-ping', log: 'e1000-ping' },
  ] as const)(
    '$of with the log of $log: the log is left out, and nothing that needs it is told',
    async ({ of, log }) => {
      const a = await analyze(await fixtureInput(of, 'trace.bin', { log, pcap: log, console: of }));
      expect(a.leftOut.some((note) => /device-model log is left out: it is not of the same run/.test(note))).toBe(true);
      expect(a.guests.every((g) => g.log === undefined && g.pairing === undefined && g.clock === undefined)).toBe(true);
      expect(a.guests.flatMap((g) => g.transmissions).every((t) => t.frame.value === undefined)).toBe(true);
      const files = { ...fixtureFiles(of, 'trace.bin', 2_400_000_000, log, undefined), logs: new Map<number, RawLog>() };
      const { problems } = checkAll(a, files);
      expect(shared(problems)).toBe('');
    },
    60_000,
  );

  it.each([
    { of: 'rtl8139-8139cp-ping', pcap: 'rtl8139-8139too-ping' },
    { of: 'rtl8139-8139too-ping', pcap: 'e1000-ping' },
    { of: 'e1000-ping', pcap: 'rtl8139-8139cp-ping' },
  ] as const)(
    '$of with the capture of $pcap: the capture is left out',
    async ({ of, pcap }) => {
      const { trace, hz } = FIXTURES.find((x) => x.name === of)!;
      const a = await analyze(await fixtureInput(of, trace, { pcap }));
      expect(a.leftOut).toEqual([
        expect.stringMatching(/^the capture is left out: it is not of the same run as the log \(its (first|last) frame/),
      ]);
      expect(a.guests.flatMap((g) => g.transmissions).every((t) => t.frame.value === undefined)).toBe(true);
      expect(shared(checkAll(a, fixtureFiles(of, trace, hz, pcap)).problems.filter((p) => !p.includes("not this guest's")))).toBe(
        '',
      );
    },
    60_000,
  );

  it('a console of another guest names nothing', async () => {
    const a = await analyze(await fixtureInput('e1000-ping', 'trace-tail.bin', { console: 'rtl8139-8139cp-ping' }));
    expect(a.leftOut).toEqual([expect.stringMatching(/^console is left out: it does not fit domain 1 /)]);
    expect(a.guests[0]!.windows.filter((w) => w.chip.name === 'rtl8139')).toEqual([]);
  }, 60_000);
});

const RTL = (base: number, n: number, chip: 'rtl8139-cplus' | 'rtl8139-c' = 'rtl8139-cplus') =>
  ({ chip, base, mac: `00:16:3e:00:00:0${n}` }) as const;
const OTHER = (base: number, n: number) => ({ chip: 'other', base, mac: `00:16:3e:00:00:0${n}` }) as const;

const RUNS: readonly { readonly what: string; readonly guests: readonly ScenarioGuest[] }[] = [
  {
    what: 'two domains with the same chip at the same address',
    guests: [
      { dom: 1, nics: [RTL(0xf1000000, 1)], packets: 8 },
      { dom: 2, nics: [RTL(0xf1000000, 2, 'rtl8139-c')], packets: 9 },
    ],
  },
  {
    what: 'two domains, one with a chip that nobody knows at the same address',
    guests: [
      { dom: 1, nics: [RTL(0xf1000000, 1)], packets: 8 },
      { dom: 2, nics: [OTHER(0xf1000000, 2)], packets: 8 },
    ],
  },
  {
    what: 'one domain with two NICs, one with an unknown one',
    guests: [
      { dom: 5, nics: [RTL(0xf1000000, 1, 'rtl8139-c'), RTL(0xf1000100, 2)], packets: 7 },
      { dom: 7, nics: [OTHER(0xf1000000, 3)], packets: 6 },
    ],
  },
  {
    what: 'one domain with a known and an unknown NIC',
    guests: [{ dom: 3, nics: [RTL(0xf1000000, 1), OTHER(0xf2000000, 2)], packets: 8 }],
  },
];

function scenarioFiles(s: Scenario, logs = s.logs): ClaimFiles {
  return {
    records: rawTrace(s.trace),
    hz: s.hz,
    logs: new Map([...logs].map(([dom, log]) => [dom, rawLog(log)])),
    frames: rawCapture(s.pcap),
    stations: new Map(s.guests.map((g) => [g.dom, g.nics.map((n) => n.mac)])),
  };
}

const logsOf = (s: Scenario, doms: readonly number[]): AnalysisInput['dmLogs'] =>
  doms.map((dom) => ({ lines: s.logs.get(dom)!.split('\n'), name: `log of ${dom}` }));

describe('generated runs of two guests, and of two NICs', () => {
  it.each(RUNS.map((r) => [r.what, r.guests] as const))(
    '%s: all packets, all accesses',
    async (_, guests) => {
      for (const seed of [1, 2, 3]) {
        const s = runScenario(guests, seed);
        const doms = guests.map((g) => g.dom).reverse();
        const a = await analyze({ trace: await openTrace(s.trace, { cpuHz: s.hz }), dmLogs: logsOf(s, doms), pcap: s.pcap });
        expect(a.leftOut).toEqual([]);
        expect(a.guests.map((g) => [g.dom, g.logName])).toEqual(guests.map((g) => [g.dom, `log of ${g.dom}`]));
        const files = scenarioFiles(s);
        const { problems, told } = checkAll(a, files);
        expect(shared(problems)).toBe('');
        expect(told).toBe(files.frames.length);
        expect(shared(checkRows(a, files))).toBe('');
        const sent = a.guests.map((g) => g.transmissions.filter((t) => t.frame.value !== undefined).length);
        expect(sent).toEqual(guests.map((g) => g.packets * g.nics.length));
      }
    },
    60_000,
  );

  it.each(RUNS.filter((r) => r.guests.length > 1).map((r) => [r.what, r.guests] as const))(
    "%s: without the other's log its accesses are unknown, not excused",
    async (_, guests) => {
      const s = runScenario(guests, 4);
      const [first, second] = guests;
      const a = await analyze({
        trace: await openTrace(s.trace, { cpuHz: s.hz }),
        dmLogs: logsOf(s, [first!.dom]),
        pcap: s.pcap,
      });
      const other = a.guests.find((g) => g.dom === second!.dom)!;
      expect([other.log, other.pairing, other.windows]).toEqual([undefined, undefined, []]);
      for (const p of ioPaths(other))
        expect([p.unpaired, p.route.why.includes('log has no request')]).toEqual([undefined, false]);
      const files = scenarioFiles(s, new Map([[first!.dom, s.logs.get(first!.dom)!]]));
      expect(shared(checkAll(a, files).problems)).toBe('');
      expect(shared(checkRows(a, files))).toBe('');
    },
    60_000,
  );

  it('a log of another run of the same guests is left out, by name too', async () => {
    const guests = RUNS[0]!.guests;
    const s = runScenario(guests, 5);
    const other = runScenario(guests, 6, 1_760_000_000);
    const logs = [...other.logs].map(([dom, log]) => ({ lines: log.split('\n'), name: `log of ${dom}`, guest: String(dom) }));
    const a = await analyze({ trace: await openTrace(s.trace, { cpuHz: s.hz }), dmLogs: logs, pcap: s.pcap });
    expect(a.leftOut).toHaveLength(2);
    for (const note of a.leftOut) expect(note).toMatch(/^log of [12] is left out: it is not of the same run as the trace/);
    expect(a.guests.every((g) => g.log === undefined)).toBe(true);
  });

  it('a log may be given to its domain, or a name, and not to another', async () => {
    const s = runScenario(RUNS[1]!.guests, 7);
    const open = () => openTrace(s.trace, { cpuHz: s.hz });
    const lines = (dom: number): string[] => s.logs.get(dom)!.split('\n');
    const named = await analyze({
      trace: await open(),
      dmLogs: [
        { lines: lines(2), name: 'b', guest: 'ub' },
        { lines: lines(1), name: 'a', guest: '1' },
      ],
      pcap: s.pcap,
    });
    expect(named.guests.map((g) => [g.dom, g.label, g.logName])).toEqual([
      [1, undefined, 'a'],
      [2, 'ub', 'b'],
    ]);
    expect(tellStory(named, { domain: 'ub' }).domain).toBe(2);
    await expect(analyze({ trace: await open(), dmLogs: [{ lines: lines(1), name: 'a', guest: '9' }] })).rejects.toThrow(
      '--dm-log 9=…: the trace has no I/O of domain 9; it has domains 1, 2',
    );
    const swapped = await analyze({ trace: await open(), dmLogs: [{ lines: lines(1), name: 'a', guest: '2' }] });
    expect(swapped.guests.every((g) => g.log === undefined)).toBe(true);
    expect(swapped.leftOut[0]).toMatch(/^a is left out/);
    expect(() => tellStory(swapped, {})).toThrow('choose one with --domain');
  });
});

it('shares no code with the reader', () => {
  for (const file of ['raw.ts', 'rules.ts', 'check.ts']) {
    const imports = readFileSync(new URL(file, import.meta.url), 'utf8').match(/from '[^']+'/g) ?? [];
    expect(imports.filter((i) => !/(?:raw|rules)\.ts|^from 'node:/.test(i))).toEqual(
      file === 'check.ts' ? ["from '../../src/analyze/index.ts'"] : [],
    );
  }
  // The one import there is of a type.
  expect(readFileSync(new URL('check.ts', import.meta.url), 'utf8')).toContain(
    "import type { Story } from '../../src/analyze/index.ts'",
  );
});
