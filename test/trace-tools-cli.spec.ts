/** `trace export`, `sql`, `report`, `compare` and `watch` as a shell runs them: output, one-line errors, exit statuses. */
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateTrace } from '../src/trace/testing/generator.ts';
import { entry as main, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('built');
const folder = mkdtempSync(join(tmpdir(), 'xenolith-trace-tools-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

interface Outcome {
  status: number | null;
  out: string;
  err: string;
}
function xenolith(args: string[], input?: Uint8Array): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'trace', ...args], { input, maxBuffer: 1 << 28 });
  return { status, out: stdout.toString(), err: stderr.toString() };
}

describe.skipIf(lack.skip)(lack.title('trace tools'), { timeout: PATIENCE_MS }, () => {
  const trace = at('host1.trc');
  const bytes = generateTrace({ seed: 61, cpus: 2, steps: 3000 });
  beforeAll(() => writeFileSync(trace, bytes));

  it('export --csv has the table asked for, and only that', () => {
    const { status, out } = xenolith(['export', trace, '--csv', 'runstates']);
    expect(status).toBe(0);
    const [head, first] = out.split('\n');
    expect(head).toBe('host,day,file,at,time_ns,duration_ns,pcpu,domid,vcpu,state,cause,next_state');
    expect(first).toMatch(/^host1,\d{4}-\d\d-\d\d,host1\.trc,/);
  });

  it('export --xentrace, uncut, is read as the trace is', () => {
    expect(xenolith(['export', trace, '--xentrace', '-o', at('again.trc')]).status).toBe(0);
    expect(xenolith(['dump', at('again.trc')]).out).toBe(xenolith(['dump', trace]).out);
  });

  it('a dataset of two hosts is asked as one', () => {
    writeFileSync(at('host2.trc'), generateTrace({ seed: 62, cpus: 2, steps: 2000 }));
    const made = xenolith(['export', trace, at('host2.trc'), '--parquet', at('dataset'), '--start', '2026-11-30T12:00:00Z']);
    const note = (file: string): string =>
      `xenolith: note: ${file}: the TSC rate is not known: times assume 2.4 GHz, as xenalyze does; --cpu-hz gives the right one\n`;
    expect(made.err).toBe(note('host1.trc') + note('host2.trc'));
    const { out } = xenolith([
      'sql',
      'SELECT host, day, records > 1000 AS many FROM hosts ORDER BY host',
      at('dataset'),
      '--csv',
    ]);
    expect(out).toBe('host,day,many\nhost1,2026-11-30,true\nhost2,2026-11-30,true\n');
    const both = xenolith(['sql', '--question', 'exits', trace, at('host2.trc'), '--json']);
    expect(both.out).toBe(xenolith(['sql', '--question', 'exits', at('dataset'), '--json']).out);
    expect(both.err).toBe(note('host1.trc') + note('host2.trc'));
    const by = 'SELECT cpu_hz, cpu_hz_by FROM hosts ORDER BY host LIMIT 1';
    expect(xenolith(['sql', by, at('dataset'), '--csv']).out).toBe('cpu_hz,cpu_hz_by\n2400000000,assumed\n');
    const told = xenolith(['sql', by, trace, '--cpu-hz', '1G', '--csv']);
    expect(told).toEqual({ status: 0, out: 'cpu_hz,cpu_hz_by\n1000000000,told\n', err: '' });
  });

  it('export --otlp sends spans to a receiver', async () => {
    const bodies: string[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => (body += part.toString()));
      request.on('end', () => {
        bodies.push(`${request.url} ${body}`);
        response.end('{}');
      });
    });
    await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
    try {
      const child = spawn(process.execPath, [
        main,
        'trace',
        'export',
        trace,
        '--otlp',
        '-o',
        `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      ]);
      const status = await new Promise((done) => void child.on('close', done));
      expect(status).toBe(0);
    } finally {
      server.close();
    }
    expect(bodies.length).toBeGreaterThan(0);
    expect(bodies[0]).toMatch(/^\/v1\/traces \{"resourceSpans":/);
  });

  it('report writes a page; compare tells of two traces', () => {
    expect(xenolith(['report', trace, '-o', at('report.html')]).status).toBe(0);
    expect(readFileSync(at('report.html'), 'utf8')).toMatch(/^<!doctype html>[\s\S]*uPlot[\s\S]*<\/html>\n$/);
    const { status, out } = xenolith(['compare', trace, trace]);
    expect(status).toBe(0);
    expect(out).toContain('Nothing differs by more than the figures vary within each trace.');
  });

  it('watch writes what it kept when its condition holds, and says when it never did', () => {
    const hit = xenolith(['watch', '--trigger', 'exit.latency > 1ns', '-o', at('hit.trc'), '--interval', '1ms'], bytes);
    expect(hit.status).toBe(0);
    expect(hit.err).toMatch(/^xenolith: exit\.latency > 1ns: at [\d.]+ s d\d+v\d+ was out of the guest for/);
    expect(xenolith(['summary', at('hit.trc')]).status).toBe(0);
    const none = xenolith(['watch', '--trigger', 'exit.latency > 1000s', '-o', at('none.trc'), '--quiet'], bytes);
    expect(none).toEqual({ status: 1, out: '', err: 'xenolith: the condition never held; nothing was written\n' });
  });

  it.each([
    [['export', trace], /choose a form/],
    [['export', trace, '--csv', '--jsonl'], /exclude each other/],
    [['export', trace, '--csv', 'nothing'], /unknown table 'nothing'/],
    [['export', trace, '--perfetto', '-o', '/nowhere/x'], /cannot write \/nowhere\/x/],
    [['export', trace, '--xentrace', '--from', '1000'], /no record is left/],
    [['export', trace, '--csv', '--start', 'soon'], /expected a time such as/],
    [['sql', 'SELEC', trace], /the query fails: Parser Error/],
    [['sql', trace], /the query comes first/],
    [['sql', '--question', 'why', trace], /unknown question 'why'/],
    [['watch', '--trigger', 'io.latency > 5'], /lacks a unit|needs a file/],
  ])('%j fails with one clear line', (args, why) => {
    const { status, err } = xenolith(args, new Uint8Array());
    expect(status).toBe(1);
    expect(err).toMatch(why);
    expect(err.trim().split('\n')).toHaveLength(1);
  });

  it('nothing is left behind by an export that fails', () => {
    expect(xenolith(['export', trace, '--csv', 'nothing', '-o', at('left.csv')]).status).toBe(1);
    expect(existsSync(at('left.csv'))).toBe(false);
  });
});
