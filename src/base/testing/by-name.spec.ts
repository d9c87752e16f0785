import { describe, expect, it } from 'vitest';
import type { RegisterDef } from '../registers.ts';
import { byName, fromField, masks, toField, valueOf } from './by-name.ts';

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
  { name: 'Read', offset: 8, width: 1, access: 'rw', doc: '', written: { name: 'Written', doc: '' } },
  { name: 'Many', offset: 16, width: 4, count: 3, stride: 8, access: 'rw', doc: '' },
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

  it('are found by the name that a write has, and by their number in an array', () => {
    const { written, write, offset } = setUp();
    expect(offset('Many')).toBe(16);
    write('Written', 5);
    write('Many[2]', 6);
    expect(written).toEqual([
      [8, 1, 5],
      [32, 4, 6],
    ]);
  });

  it('have masks of their fields', () => {
    const Control = masks('Control', table[0]!.fields, 'on', 'mode');
    expect(Control).toEqual({ on: 1, mode: 0x70 });
    expect(toField(Control.mode, 5)).toBe(0x50);
    expect(fromField(Control.mode, 0x8051)).toBe(5);
    expect(toField(0xffff0000, 0x8000)).toBe(0x80000000);
    expect(fromField(0xffff0000, 0x80001234)).toBe(0x8000);
    expect(valueOf('Control', table[0]!.fields, { on: 1, mode: 'fast' })).toBe(0x51);
    expect(() => masks('Control', undefined, 'on')).toThrow("register Control has no field 'on'");
  });

  it('that are not there are named', () => {
    const { read, value } = setUp();
    expect(() => read('Kontrol')).toThrow("no register is called 'Kontrol'");
    expect(() => read('Many[3]')).toThrow("no register is called 'Many[3]'");
    expect(() => value('Control', { off: 1 })).toThrow("register Control has no field 'off'");
    expect(() => value('Control', { mode: 'slow' })).toThrow("field Control.mode has no value 'slow'");
  });
});
