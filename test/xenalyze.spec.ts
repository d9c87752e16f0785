/** Our dump and summary against the real xenalyze, on captures of a real Xen and on generated traces. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { dumpTrace, memorySource, parseCpuHz, summarizeTrace } from '../src/trace/index.ts';
import type { TraceSummary } from '../src/trace/index.ts';
import { captureFile, CAPTURE_HZ, CAPTURES } from '../src/trace/testing/fixtures.ts';
import { generateTrace } from '../src/trace/testing/generator.ts';
import type { Workload } from '../src/trace/testing/generator.ts';
import { lackOf } from './needs.ts';
import type { Figures, NamedFigures } from '../src/trace/summary/summary.ts';

const lack = await lackOf('xenalyze');
const captures = await lackOf('captures');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-xenalyze-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Peer {
  status: number | null;
  stdout: Buffer;
}
function xenalyze(bytes: Uint8Array, args: string[]): Peer {
  const path = join(folder, 'trace.bin');
  writeFileSync(path, bytes);
  const { status, stdout } = spawnSync('xenalyze', [...args, path], { maxBuffer: 1 << 28 });
  return { status, stdout };
}

async function ours(bytes: Uint8Array, hz: string, svm: boolean): Promise<{ text: Buffer; whole: boolean }> {
  const parts: Buffer[] = [];
  const whole = await dumpTrace(
    memorySource(bytes),
    { cpuHz: parseCpuHz(hz), svm, exact: true },
    (text) => void parts.push(Buffer.from(text)),
  );
  return { text: Buffer.concat(parts), whole };
}

async function compareDump(bytes: Uint8Array, hz: string, svm: boolean): Promise<void> {
  const theirs = xenalyze(bytes, ['--dump-all', `--cpu-hz=${hz}`, ...(svm ? ['--svm-mode'] : [])]);
  const { text, whole } = await ours(bytes, hz, svm);
  // Where xenalyze itself is killed, what it had flushed by then must agree.
  const crashed = theirs.status === null;
  const mine = crashed ? text.subarray(0, theirs.stdout.length) : text;
  if (!mine.equals(theirs.stdout)) {
    const a = mine.toString('latin1').split('\n');
    const b = theirs.stdout.toString('latin1').split('\n');
    const at = a.findIndex((line, i) => line !== b[i]);
    expect(`line ${at}: ${a[at]}`).toBe(`line ${at}: ${b[at]}`);
    expect(a.length).toBe(b.length);
  }
  if (!crashed) expect(whole).toBe(theirs.status === 0);
}

describe.skipIf(lack.skip)(lack.title('dump to the letter'), () => {
  // Vitest counts no tests of a skipped describe in a skipped one.
  describe.skipIf(captures.skip && !lack.skip)(captures.title('captures'), () => {
    it.each(CAPTURES)('%s equals what xenalyze prints, and what it printed when the capture was made', async (capture) => {
      const bytes = captureFile(capture, 'trace.bin');
      await compareDump(bytes, CAPTURE_HZ[capture], true);
      const { text } = await ours(bytes, CAPTURE_HZ[capture], true);
      expect(text.equals(captureFile(capture, 'trace.xenalyze-dump.txt'))).toBe(true);
    });

    it('without --svm-mode it ends where xenalyze does', async () => {
      await compareDump(captureFile('lost-records', 'trace.bin'), '2.4G', false);
    });

    it.each([0.3, 0.77])('a capture cut at %d of its length ends at the last whole round of windows', async (part) => {
      const bytes = captureFile('rtl8139-8139cp-ping', 'trace.bin');
      await compareDump(bytes.subarray(0, Math.floor(bytes.length * part) & ~3), '2.4G', true);
    });
  });

  const workloads: [string, Workload][] = [];
  for (let seed = 1; seed <= 24; seed++) {
    const kind = ['plain', 'every record kind', 'lost records', 'TSC skew'][seed % 4]!;
    const cpus = 1 + (seed % 5);
    workloads.push([
      `${kind}, ${cpus} CPUs, ${seed % 2 === 1 ? 'SVM' : 'VMX'}, seed ${seed}`,
      {
        seed,
        cpus,
        steps: 1500,
        svm: seed % 2 === 1,
        windowBytes: [256, 4096, 32768][seed % 3]!,
        ...(seed % 4 === 1 ? { oddities: 0.2 } : {}),
        ...(seed % 4 === 2 ? { losses: 0.004 } : {}),
        ...(seed % 4 === 3 ? { skew: 4000 } : {}),
        ...(seed % 6 === 0 ? { firstTsc: 2 ** 52 + 12345 } : {}),
      },
    ]);
  }
  it.each(workloads)('generated: %s', async (_, load) => {
    const bytes = generateTrace(load);
    await compareDump(bytes, ['2.4G', '1000M', '2596090000'][load.seed % 3]!, load.svm === true);
    await compareDump(bytes.subarray(0, (bytes.length >> 3) * 5), '2.4G', load.svm === true);
  });
});

/** Figures as xenalyze's text has them. */
interface Line {
  where: string;
  events: number;
  seconds: number | null;
  percent: number | null;
  average: number;
  percentiles: [number, number, number];
}

const NUMBERS = String.raw`\{ *(-?\d+)\| *(-?\d+)\| *(-?\d+)\}`;
const WITH_PERCENT = new RegExp(String.raw`^( *)(.*?) +(\d+) +([\d.]+)s +([\d.]+)% +(\d+) cyc ${NUMBERS}$`);
const WITH_SECONDS = new RegExp(String.raw`^( *)(.*?) *: +(\d+) +([\d.]+)s +(-?\d+) ${NUMBERS}$`);
const PLAIN = new RegExp(String.raw`^( *)(.*?): +(\d+) +(-?\d+) ${NUMBERS}$`);

function parseSummary(text: string): Line[] {
  const lines: Line[] = [];
  let dom = '';
  let vcpu = '';
  let section = '';
  let interrupt = '';
  for (const line of text.split('\n')) {
    const domain = /^\|-- Domain (\d+) --\|$/.exec(line);
    if (domain !== null) {
      dom = domain[1]!;
      vcpu = '';
    }
    const v = /^-- v(\d+) --$/.exec(line);
    if (v !== null) vcpu = v[1]!;
    if (/^ ?[A-Za-z][^{]*:$/.test(line)) section = line.trim().replace(':', '');
    const guest = /^ {2}\[ *(\d+)\] \d+$/.exec(line);
    if (guest !== null) interrupt = guest[1]!;
    const match = WITH_PERCENT.exec(line) ?? WITH_SECONDS.exec(line) ?? PLAIN.exec(line);
    if (match === null) continue;
    const percent = WITH_PERCENT.test(line);
    const seconds = percent || WITH_SECONDS.test(line);
    const numbers = match.slice(3).map(Number);
    const label = match[2]!.trim();
    const depth = section === 'Exit reasons' ? match[1]!.length : 0;
    lines.push({
      where: `d${dom}v${vcpu}/${section}/${section === 'Guest interrupt counts' ? `${interrupt}/` : ''}${depth > 2 ? 'sub/' : ''}${label}`,
      events: numbers[0]!,
      seconds: seconds ? numbers[1]! : null,
      percent: percent ? numbers[2]! : null,
      average: numbers.at(-4)!,
      percentiles: [numbers.at(-3)!, numbers.at(-2)!, numbers.at(-1)!],
    });
  }
  return lines;
}

/** Our figures under the names that parseSummary gives xenalyze's. */
function figuresByName(summary: TraceSummary): Map<string, Figures> {
  const all = new Map<string, Figures>();
  const put = (prefix: string, rows: readonly NamedFigures[], rename: (name: string) => string = (n) => n): void => {
    for (const r of rows) all.set(prefix + rename(r.name), r);
  };
  for (const d of summary.domains) {
    put(`d${d.id}v/Runstates/`, d.runstates);
    for (const v of d.vcpus) {
      const at = `d${d.id}v${v.id}/`;
      put(`${at}Runstates/`, v.runstates);
      put(`${at}Runstates/`, v.runnable);
      all.set(`${at}Runstates/cpu affinity`, v.affinity);
      put(`${at}Runstates/`, v.affinityByPcpu, (n) => `[${n}]`);
      const h = v.hvm;
      if (h === null) continue;
      put(`${at}Exit reasons/`, h.exits);
      for (const rows of [h.handlers, h.crWrites, h.pageFaults]) put(`${at}Exit reasons/sub/`, rows);
      put(`${at}Exit reasons/sub/`, h.cr3WriteResyncs, (n) => `*[${n.padStart(3)}]`);
      put(`${at}Exit reasons/sub/`, h.vmcalls, (n) => `[${n.padStart(10)}]`);
      for (const m of h.mmio) all.set(`${at}Exit reasons/sub/mmio ${m.name}`, m);
      for (const g of h.guestInterrupts) {
        all.set(`${at}Guest interrupt counts/${g.vector}/* wake to halt alone`, g.wakeToHaltAlone);
        all.set(`${at}Guest interrupt counts/${g.vector}/* wake to halt any`, g.wakeToHaltAny);
        all.set(`${at}Guest interrupt counts/${g.vector}/* intr to halt`, g.interruptToHalt);
      }
      for (const [section, table] of [
        ['IO address summary', h.pio],
        ['MMIO address summary', h.mmioAddresses],
      ] as const) {
        for (const e of table) {
          if (e.read !== null) all.set(`${at}${section}/${e.address.toString(16)}:[r]`, e.read);
          if (e.write !== null) all.set(`${at}${section}/${e.address.toString(16)}:[w]`, e.write);
        }
      }
    }
  }
  return all;
}

async function compareSummary(bytes: Uint8Array, hz: string, svm: boolean, fewest: number): Promise<void> {
  const theirs = xenalyze(bytes, ['--summary', '--with-mmio-enumeration', `--cpu-hz=${hz}`, ...(svm ? ['--svm-mode'] : [])]);
  expect(theirs.status).toBe(0);
  const text = theirs.stdout.toString('latin1');
  const summary = await summarizeTrace(memorySource(bytes), parseCpuHz(hz), svm);
  const mine = figuresByName(summary);
  const lines = parseSummary(text);
  expect(lines.length).toBeGreaterThan(fewest);
  let exit = '';
  for (const line of lines) {
    if (line.where.includes('/Exit reasons/') && !line.where.includes('/sub/')) exit = line.where;
    // xenalyze prints MMIO under the exit that first showed it.
    const how = /NPF|EPT/.test(exit) ? 'npf' : /APIC_ACCESS/.test(exit) ? 'apic' : 'unknown';
    const where = line.where.replace(/sub\/mmio$/, `sub/mmio ${how}`);
    const f = mine.get(where);
    expect(f, where).toBeDefined();
    const events = line.percent === null ? f!.count : f!.events;
    expect([where, events, f!.average, f!.p5, f!.p50, f!.p95]).toEqual([where, line.events, line.average, ...line.percentiles]);
    if (line.seconds !== null) expect(Math.abs(f!.seconds - line.seconds), where).toBeLessThanOrEqual(0.00501);
    if (line.percent !== null) expect(Math.abs(f!.percent - line.percent), where).toBeLessThanOrEqual(0.00501);
  }
  // Counts without cycles: hypercalls, interrupts, volume.
  for (const d of summary.domains) {
    for (const v of d.vcpus) {
      for (const call of v.pv?.hypercalls ?? [])
        expect(text).toMatch(new RegExp(String.raw`\[ *${call.number}\]: +${call.count}\n`));
      for (const g of v.hvm?.guestInterrupts ?? [])
        if (g.vector !== null) expect(text).toContain(`  [${String(g.vector).padStart(3)}] ${g.count}\n`);
    }
  }
  for (const p of summary.pcpus) for (const v of p.volume) expect(text).toMatch(new RegExp(String.raw`: +${v.bytes}\n`));
}

describe.skipIf(lack.skip)(lack.title('summary figures'), () => {
  it.skipIf(captures.skip).each(CAPTURES)(captures.title('%s'), async (capture) => {
    await compareSummary(captureFile(capture, 'trace.bin'), CAPTURE_HZ[capture], true, 60);
  });

  it.each([1, 2, 3, 4, 5, 6])('generated, seed %d', async (seed) => {
    await compareSummary(
      generateTrace({ seed, cpus: seed, steps: 4000, svm: seed % 2 === 1, windowBytes: 8192 }),
      '2.4G',
      seed % 2 === 1,
      100,
    );
  });
});

it.skipIf(lack.skip)(lack.title('the xenalyze at hand is the one the text was taken from'), () => {
  expect(execFileSync('xenalyze', ['--help']).toString()).toContain('--svm-mode');
});
