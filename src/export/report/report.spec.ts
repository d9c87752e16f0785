import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterAll, describe, expect, it } from 'vitest';
import { memorySource, openTrace, summarizeTrace } from '../../trace/index.ts';
import { generateTrace } from '../../trace/testing/generator.ts';
import type { Workload } from '../../trace/testing/generator.ts';
import { chromium as browser, lackOf, PATIENCE_MS } from '../../../test/needs.ts';
import { traceRows } from '../rows.ts';
import { TABLE_NAMES } from '../tables.ts';
import { differences } from './compare.ts';
import { Histogram } from './histogram.ts';
import { reportPage } from './page.ts';
import { plotLibrary } from './plots-node.ts';
import { BINS, Profile, ranked } from './profile.ts';

const lack = await lackOf('chromium');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-report-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function profileOf(bytes: Uint8Array, host = 'xen1'): Promise<Profile> {
  const trace = await openTrace(bytes, { vendor: 'vmx' });
  const profile = new Profile();
  await traceRows(
    trace,
    undefined,
    { host, file: 't.trc', startUs: 1_764_504_000_000_000, startBy: 'told' },
    new Set(TABLE_NAMES),
    profile,
  );
  return profile;
}
const load = (more: Partial<Workload>): Uint8Array => generateTrace({ seed: 31, cpus: 2, steps: 12000, ...more });

describe('histograms', () => {
  it('quantiles lie within a class, an eighth of a power of ten, above the true one', () => {
    const h = new Histogram();
    for (let i = 1; i <= 1000; i++) h.add(i * 1000);
    for (const q of [0.01, 0.5, 0.99, 1]) {
      const ratio = h.quantile(q) / (q * 1_000_000);
      expect(ratio).toBeGreaterThanOrEqual(1);
      expect(ratio).toBeLessThan(1.27);
    }
    expect(h.max).toBe(1_000_000);
    expect(new Histogram().quantile(0.5)).toBe(0);
  });
});

describe('a profile', () => {
  it('counts as the summary does, in intervals whose number is bounded', async () => {
    const bytes = load({ losses: 0.002 });
    const profile = await profileOf(bytes);
    const summary = await summarizeTrace(memorySource(bytes), 2.4e9, false);
    const exits = summary.domains.flatMap((d) => d.vcpus.flatMap((v) => v.hvm?.exits ?? [])).reduce((n, e) => n + e.events, 0);
    const kinds = ranked(profile, 'exits');
    expect(kinds.reduce((n, k) => n + k.count, 0)).toBe(exits);
    expect(kinds.reduce((n, k) => n + k.series.histogram.total, 0)).toBe(exits);
    expect(profile.losses.length).toBe(summary.pcpus.reduce((n, p) => n + p.lost.events, 0));
    // Time in states, shared out among intervals, is all of it.
    for (const { series } of ranked(profile, 'runstates'))
      expect(series.times.reduce((a, b) => a + b, 0)).toBeCloseTo(series.histogram.sum, -2);
    expect(profile.bins).toBeLessThanOrEqual(BINS);
    expect(profile.binNs * profile.bins).toBeGreaterThanOrEqual(profile.host['duration_ns'] as number);
  });

  it('intervals grow with the trace', () => {
    const profile = new Profile();
    const row = (ns: number): void => profile.row('injections', ['h', 'd', 'f', 0, ns, 0, 1, 0, 33, false, null]);
    for (let second = 0; second < 3600; second++) row(second * 1e9);
    const { series, count } = ranked(profile, 'injections')[0]!;
    expect(count).toBe(3600);
    expect(profile.binNs * BINS).toBeGreaterThan(3599e9);
    expect(series.counts[0]).toBeGreaterThan(10);
  });
});

describe('a comparison', () => {
  it('finds nothing between two traces of one workload but for their seeds', async () => {
    const a = await profileOf(load({ seed: 41, steps: 30000 }));
    const b = await profileOf(load({ seed: 42, steps: 30000 }));
    const found = differences(a, b).filter((d) => d.group === 'exits' || d.group === 'runstates');
    // The generator's guests differ from seed to seed in their shares of time; what an exit costs does not.
    expect(found.filter((d) => d.what === 'time')).toEqual([]);
  });

  it('a trace equals itself', async () => {
    const bytes = load({});
    expect(differences(await profileOf(bytes), await profileOf(bytes))).toEqual([]);
  });

  it('finds a register that became slower, and names nothing else', () => {
    const made = (workNs: number): Profile => {
      const profile = new Profile();
      for (let i = 0; i < 4000; i++) {
        const jitter = ((i * 7919) % 100) * 30;
        const io = (register: string, ns: number): void =>
          profile.row(
            'io',
            ['h', 'd', 'f', 0, i * 1e6, ns + jitter, 0, 1, 0, 'mmio', 'write', 0xf10000d9n, 'rtl8139', register].concat(
              new Array(15).fill(null) as never[],
            ) as never,
          );
        io('TxPoll', workNs);
        io('IntrStatus', 20_000);
      }
      profile.row('hosts', ['h', 'd', 'f', 0, 'told', 4e9, 1, 1, 'told', 0n, 'svm', null, null, 1, 0]);
      return profile;
    };
    const [a, b] = [made(50_000), made(80_000)];
    const list = differences(a, b);
    expect(list.map((d) => [d.group, d.kind, d.what])).toEqual([['accesses', 'd1 rtl8139 write TxPoll', 'time']]);
    expect(list[0]!.b.mean - list[0]!.a.mean).toBeCloseTo(30_000, -2);
    expect(differences(made(50_000), made(50_100))).toEqual([]);
  });
});

describe.skipIf(lack.skip)(lack.title('the page'), () => {
  it('draws its plots in a browser without asking the network for anything, and takes no text for markup', {
    timeout: PATIENCE_MS,
  }, async () => {
    const profile = await profileOf(load({ losses: 0.002 }), '<b>evil</b>');
    const path = join(folder, 'report.html');
    writeFileSync(
      path,
      reportPage(profile, [], ['A note with </script><script>document.title="broken"</script>.'], plotLibrary()),
    );
    const tab = await chromium.launch({ executablePath: browser, args: ['--no-sandbox'] });
    try {
      const page = await tab.newPage();
      const asked: string[] = [];
      const errors: string[] = [];
      page.on('request', (r) => void asked.push(r.url()));
      page.on('pageerror', (e) => void errors.push(e.message));
      page.on('console', (m) => void (m.type() === 'error' && errors.push(m.text())));
      await page.goto(`file://${path}`);
      await page.waitForFunction('document.documentElement.dataset.drawn !== undefined');
      expect(errors).toEqual([]);
      expect(asked).toEqual([`file://${path}`]);
      expect(await page.title()).toBe('<b>evil</b>: t.trc');
      expect(Number(await page.evaluate('document.documentElement.dataset.drawn'))).toBeGreaterThanOrEqual(3);
      // Every plot has ink of its first line's colour.
      const inked = (await page.evaluate(`[...document.querySelectorAll('canvas')].map((c) => {
        const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        let n = 0;
        for (let i = 0; i < data.length; i += 4)
          if ([0x2a, 0x7a, 0xb9].every((v, k) => Math.abs(data[i + k] - v) < 40) && data[i + 3] > 100) n++;
        return n;
      })`)) as number[];
      expect(inked.length).toBeGreaterThanOrEqual(3);
      expect(inked.every((n) => n > 50)).toBe(true);
      expect(await page.locator('text=records were lost').count()).toBe(1);
      const pdf = await page.pdf({ format: 'A4' });
      expect(pdf.length).toBeGreaterThan(20_000);
    } finally {
      await tab.close();
    }
  });
});
