import { describe, expect, it } from 'vitest';
import { oneLine, printable, printableData, printableJson, PrintableStream } from './printable.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('what is printed', () => {
  it('has control characters written out, those of C1 and of direction too', () => {
    expect(printable('a\x1b[2Jb\x07\x7f\x9b31m\u202ec\td\ne\r\n')).toBe('a\\x1b[2Jb\\x07\\x7f\\x9b31m\\u{202e}c\td\ne\n');
    expect(printable('a\n\rb\r\r\nc\r\n\r\nd\re')).toBe('a\nb\nc\n\nd\\x0de');
    expect(oneLine('a\tb\nc\rd é 日')).toBe('a\\x09b\\x0ac\\x0dd é 日');
  });

  it('stays JSON', () => {
    const value = { name: 'a\x9bb\x7f\u2028\x1b' };
    const text = printableJson(JSON.stringify(value));
    expect(text).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028]/);
    expect(JSON.parse(text)).toEqual(value);
  });

  it('is a copy of the data, and of strings alone', () => {
    const when = new Date(0);
    const data = { a: ['\x1b', 1n, null], b: { c: '\x07' }, when };
    expect(printableData(data)).toEqual({ a: ['\\x1b', 1n, null], b: { c: '\\x07' }, when });
    expect(data.a[0]).toBe('\x1b');
  });

  it('comes in pieces: characters and ends of lines that are cut wait', () => {
    const stream = new PrintableStream();
    const whole = bytes('é\r\nb\x1b[0m\rc\n\rd\n\n\r\n');
    expect([...whole].map((byte) => stream.text(Uint8Array.of(byte))).join('')).toBe('é\nb\\x1b[0m\\x0dc\nd\n\n\n');
  });
});
