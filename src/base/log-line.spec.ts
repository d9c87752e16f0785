import { describe, expect, it } from 'vitest';
import { event, plain } from './log-line.ts';

const mapped = event('now', 'mapped {name:w} {place:w} {bar:d},0x{base:x}+0x{size:x}', {
  by: 'then',
  text: 'mapped d={object:p} {place:w} {bar:d},0x{base:x}+0x{size:x}',
});

describe('a line of a log', () => {
  it('is written from its fields, and read back', () => {
    const fields = { name: 'e1000', place: '00:03.0', bar: 0, base: 0xf000_0000, size: 0x20000 };
    const text = mapped.write(fields);
    expect(text).toBe('mapped e1000 00:03.0 0,0xf0000000+0x20000');
    expect(mapped.read(text)).toEqual(fields);
    expect([mapped.name, mapped.form]).toEqual(['mapped', 'event']);
  });

  it('has widths, 64-bit values, pointers, labels and names', () => {
    const line = plain('x', "Chip: {label:l} write{suffix:s} [{at:x8}] {data:q} p={p:p} '{name:n}' {rest:t}");
    const fields = {
      label: 'C+ Poll',
      suffix: '(b)',
      at: 0x40,
      data: 0x1_2345_6789_abcd_ef01n,
      p: '(nil)',
      name: 'a b',
      rest: 'x',
    };
    const text = line.write({ ...fields, data: 0x1234_5678_9abc_def0n });
    expect(text).toBe("Chip: C+ Poll write(b) [00000040] 123456789abcdef0 p=(nil) 'a b' x");
    expect(line.read(text)).toEqual({ ...fields, data: 0x1234_5678_9abc_def0n });
    expect(line.read(line.write({ ...fields, data: 7, suffix: '', p: '0x7ffe' }))).toMatchObject({
      suffix: '',
      data: 7n,
      p: '0x7ffe',
    });
  });

  it('is understood in the words of other versions, for what those tell', () => {
    expect(mapped.read('mapped d=0x5555 01:00.0 4,0xfea00000+0x4000')).toEqual({
      object: '0x5555',
      place: '01:00.0',
      bar: 4,
      base: 0xfea0_0000,
      size: 0x4000,
    });
  });

  it('is not read where it is another, is cut short or goes on in a word', () => {
    for (const text of [
      'mapped e1000 00:03.0 0,0xf0000000',
      'mapped e1000 00:03.0 0,0xf0000000+0x20000z',
      'mapped e1000 00:03.0 0,0xf0000000+0x20000 and',
      'unmapped e1000 00:03.0 0,0xf0000000+0x20000',
      '',
    ])
      expect(mapped.read(text), text).toBeUndefined();
    expect(mapped.read('mapped e1000 00:03.0 0,0xf0000000+0x20000  second line')).toBeDefined();
    expect(mapped.read('MAPPED e1000 00:03.0 0, 0xF0000000+0x20000')).toMatchObject({ base: 0xf000_0000 });
  });

  it('refuses a field of a kind that there is not', () => {
    expect(() => plain('x', 'a {b:z}')).toThrow("log line 'a {b:z}': 'z' is no kind of a field");
  });
});
