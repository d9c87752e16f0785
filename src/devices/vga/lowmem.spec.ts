import { describe, expect, it } from 'vitest';
import { IoSpace } from '../io-space.ts';
import { VGA_HOLE_BASE } from '../../base/vga.ts';
import { VgaLowmem } from './lowmem.ts';

describe('VGA memory hole', () => {
  it('keeps what is written and shows the text page', () => {
    const space = new IoSpace('memory');
    const vga = new VgaLowmem();
    space.add(vga, VGA_HOLE_BASE);
    [...'Hi'].forEach((c, i) => space.write(0xb8000 + 160 + i * 2, 2, 0x0700 | c.charCodeAt(0)));
    space.write(0xa0000, 8, 0x11111111, 0x22222222);
    expect(vga.text().slice(0, 3)).toEqual(['', 'Hi', '']);
    expect(space.read(0xa0004, 4)).toBe(0x22222222);
    expect(space.read(0xc0000, 1)).toBe(0xff);
    const other = new VgaLowmem();
    other.restore(vga.save());
    expect(other.text()).toEqual(vga.text());
    other.reset();
    expect(other.text().join('')).toBe('');
  });
});
