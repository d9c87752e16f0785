import { describe, expect, it } from 'vitest';
import type { RegisterDef } from '../registers.ts';
import { byName } from './by-name.ts';

const table: readonly RegisterDef[] = [
  {
    name: 'Control',
    offset: 4,
    width: 2,
    access: 'rw',
    doc: '',
    fields: [
      { name: 'on', lsb: 0 },
      { name: 'mode', lsb: 4, bits: 3, values: { 5: 'fast' } },
    ],
    otherwise: { name: 'Status', mode: 'other', doc: '', fields: [{ name: 'busy', lsb: 15 }] },
  },
];

describe('registers by name', () => {
  const setUp = () => {
    const written: number[][] = [];
    const registers = byName(table, {
      read: (offset, width) => (offset === 4 && width === 2 ? 0x8051 : -1),
      write: (...all) => written.push(all),
    });
    return { written, ...registers };
  };

  it('are read and written at their own place and width, under each name', () => {
    const { written, read, write } = setUp();
    expect(read('Control')).toBe(0x8051);
    expect(read('Status')).toBe(0x8051);
    write('Control', 7);
    expect(written).toEqual([[4, 2, 7]]);
  });

  it('are put together from fields, and shown by them', () => {
    const { written, write, field, value } = setUp();
    write('Control', { on: 1, mode: 'fast' });
    expect(written).toEqual([[4, 2, 0x51]]);
    expect(value('Status', { busy: 1 })).toBe(0x8000);
    expect(field('Control', 'mode')).toBe(5);
    expect(field('Status', 'busy')).toBe(1);
  });

  it('that are not there are named', () => {
    const { read, value } = setUp();
    expect(() => read('Kontrol')).toThrow("no register is called 'Kontrol'");
    expect(() => value('Control', { off: 1 })).toThrow("register Control has no field 'off'");
    expect(() => value('Control', { mode: 'slow' })).toThrow("field Control.mode has no value 'slow'");
  });
});
