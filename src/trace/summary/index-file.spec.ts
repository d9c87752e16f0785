import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { memorySource } from '../format/source.ts';
import { generateTrace } from '../testing/generator.ts';
import { readIndex, writeIndex } from './index-file-node.ts';
import { summarizeTrace } from './summary.ts';

const folder = mkdtempSync(join(tmpdir(), 'xenolith-xti-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'trace.bin');

async function kept(): Promise<Awaited<ReturnType<typeof summarizeTrace>>> {
  const bytes = generateTrace({ seed: 71, cpus: 3, steps: 4000, losses: 0.002, oddities: 0.05 });
  writeFileSync(path, bytes);
  const summary = await summarizeTrace(memorySource(bytes), 2.4e9, false);
  // Shadow paging leaves 64-bit numbers in a summary.
  const [domain] = summary.domains;
  domain!.emulateRips.push({ rip: 0xffffffff81000123n, ...domain!.runstates[0]! });
  writeIndex(path, 2.4e9, false, summary);
  return summary;
}

it('a second look finds what the first one left', async () => {
  const summary = await kept();
  expect(readIndex(path, 2.4e9, false)).toEqual(summary);
});

it('it does not count for another rate or vendor, nor once the trace changed', async () => {
  await kept();
  expect(readIndex(path, 2.5e9, false)).toBeNull();
  expect(readIndex(path, 2.4e9, true)).toBeNull();
  utimesSync(path, 1, 1);
  expect(readIndex(path, 2.4e9, false)).toBeNull();
  await kept();
  appendFileSync(path, new Uint8Array(4));
  expect(readIndex(path, 2.4e9, false)).toBeNull();
});

it('an index that was tampered with is not used, whatever it holds', async () => {
  await kept();
  const text = readFileSync(`${path}.xti`, 'utf8');
  const change = (edit: (text: string) => string): void => {
    writeFileSync(`${path}.xti`, edit(text));
    expect(readIndex(path, 2.4e9, false)).toBeNull();
  };
  change(() => '');
  change(() => 'null');
  change((t) => t.slice(0, -2));
  change((t) => t.replace('"records":', '"records":"x","r":'));
  change((t) => t.replace(/"domains":\[.*\],"notes"/, '"domains":[{}],"notes"'));
  change((t) => t.replace(/"rip":"#\d+"/, '"rip":7'));
  expect(existsSync(`${path}.xti`)).toBe(true);
});
