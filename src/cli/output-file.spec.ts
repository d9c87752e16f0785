import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { OutputFile, type WhenFull } from './output-file.ts';
import { FramedUnits, LineUnits, logUnits, pcapngUnits, traceUnits, type Units } from './output-units.ts';

const folder = mkdtempSync(join(tmpdir(), 'xenolith-output-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function open(name: string, units: Units, limit = Infinity, whenFull: WhenFull = 'stop') {
  const path = join(folder, name);
  const told: string[] = [];
  const file = new OutputFile({
    path,
    fd: openSync(path, 'w'),
    isRegular: true,
    limit,
    whenFull,
    units,
    events: { error: (error) => told.push(error.message), full: () => told.push('full'), large: () => told.push('large') },
  });
  return { path, file, told };
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values, (v) => v >>> 0).buffer);
const join2 = (parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

describe('where files may be cut', () => {
  it('windows of a trace, however the bytes come', () => {
    const window = (length: number): Uint8Array => join2([words(0x2001f003, 0, length), new Uint8Array(length)]);
    const file = join2([window(8), window(0), window(100)]);
    for (const step of [1, 3, 7, file.length]) {
      const units = traceUnits();
      const ends: number[] = [];
      for (let at = 0; at < file.length; at += step) {
        const part = file.subarray(at, at + step);
        const end = units.endAfter(part, 1);
        if (end >= 0) ends.push(at + end);
      }
      // A piece tells of its first end alone.
      expect(ends).toEqual(step === file.length ? [20] : [20, 32, 144]);
    }
    expect(traceUnits().endAfter(file, 21)).toBe(32);
    expect(traceUnits().endAfter(file, 33)).toBe(144);
    expect(traceUnits().endAfter(file.subarray(0, 140), 33)).toBe(-1);
  });

  it('blocks of a capture, whose first two are its head', () => {
    const block = (type: number, length: number): Uint8Array => join2([words(type, length), new Uint8Array(length - 8)]);
    const units = pcapngUnits();
    const file = join2([block(0x0a0d0d0a, 28), block(1, 20), block(6, 40)]);
    expect(units.endAfter(file, 40)).toBe(48);
    expect([...units.head]).toEqual([...file.subarray(0, 48)]);
  });

  it('lines of a log, whose first is its head', () => {
    const units = logUnits();
    const text = new TextEncoder().encode('# head\none\ntwo');
    expect(units.endAfter(text, 0)).toBe(7);
    expect(new LineUnits().endAfter(text, 7)).toBe(7);
    expect(new LineUnits().endAfter(text, 8)).toBe(11);
    expect(new LineUnits().endAfter(text, 12)).toBe(-1);
    expect(new TextDecoder().decode(units.head)).toBe('# head\n');
  });

  it('a length that is too small does not hold the reader up', () => {
    expect(new FramedUnits(8, () => 0).endAfter(new Uint8Array(64), 60)).toBe(64);
  });
});

describe('a file of a run', () => {
  it('stops at its size behind a whole line, and says so once', async () => {
    const { path, file, told } = open('stop', new LineUnits(), 1000);
    for (let i = 0; i < 100; i++) await file.write(`line ${i} ${'x'.repeat(30)}\n`);
    await file.close();
    const text = readFileSync(path, 'utf8');
    expect(text.length).toBeGreaterThanOrEqual(1000);
    expect(text.length).toBeLessThan(1050);
    expect(text.endsWith('x\n')).toBe(true);
    expect(told).toEqual(['full']);
  });

  it('is a ring of two halves, each with the head', async () => {
    const { path, file, told } = open('ring', logUnits(), 2000, 'ring');
    await file.write('# head\n');
    for (let i = 0; i < 500; i++) void file.write(`line ${i}\n`);
    await file.close();
    const [older, newer] = [readFileSync(`${path}.1`, 'utf8'), readFileSync(path, 'utf8')];
    expect(older.startsWith('# head\n') && newer.startsWith('# head\n')).toBe(true);
    const numbers = (older + newer).split('\n').flatMap((line) => (line.startsWith('line') ? [Number(line.slice(5))] : []));
    expect(numbers.at(-1)).toBe(499);
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0]! + i));
    expect(numbers.length).toBeGreaterThan(100);
    expect(older.length).toBeLessThan(1100);
    expect(told).toEqual([]);
  });

  it('is compressed where its name says so, and a tenth of what repeats', async () => {
    const { path, file } = open('log.gz', logUnits());
    let text = '';
    for (let i = 0; i < 20_000; i++) text += `1@1700000000.${100000 + i}:cpu_handle_ioreq 0x7f00 addr=0x3f8\n`;
    await file.write(text);
    await file.close();
    expect(gunzipSync(readFileSync(path)).toString()).toBe(text);
    expect(readFileSync(path).length).toBeLessThan(text.length / 10);
  });

  it('a compressed ring is of whole files', async () => {
    const { path, file } = open('ring.gz', logUnits(), 40_000, 'ring');
    await file.write('# head\n');
    let seed = 1;
    for (let i = 0; i < 4000; i++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      await file.write(`line ${seed.toString(36)}${Math.imul(seed, 69069).toString(36)}\n`.repeat(20));
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await file.close();
    expect(existsSync(`${path}.1`)).toBe(true);
    for (const one of [path, `${path}.1`]) expect(gunzipSync(readFileSync(one)).toString()).toMatch(/^# head\nline .*\n$/s);
  });
});
