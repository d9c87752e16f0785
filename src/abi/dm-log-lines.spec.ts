import { describe, expect, it } from 'vitest';
import type { LogLine } from '../base/log-line.ts';
import { dmLogLines } from './dm-log-lines.ts';

/** A value for a field of each kind that reads back as itself. */
const values: Readonly<Record<string, unknown>> = {
  d: 3,
  x: 0xf1,
  x2: 0x1f,
  x4: 1,
  x8: 2,
  q: 0x1_0000_0000n,
  p: '0x7f00',
  w: 'e1000',
  n: 'a',
};

describe("the catalogue of the device model's log", () => {
  it.each(dmLogLines.map((line) => [line.text, line as LogLine]))('%s', (text, line) => {
    const fields = Object.fromEntries([...text.matchAll(/\{(\w+):(\w+)\}/g)].map(([, name, kind]) => [name!, values[kind!]]));
    const written = (line.write as (f: object) => string)(fields);
    expect(line.read(written)).toEqual(fields);
    // No line is taken for another.
    const others = dmLogLines.filter((other) => other !== line && other.read(written) !== undefined);
    expect(others.map((other) => other.text)).toEqual([]);
  });
});
