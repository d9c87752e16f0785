import { describe, expect, it } from 'vitest';
import { limitWrites, openSevenZip } from './archive.ts';

describe('the file system that an archive is unpacked into', () => {
  it('takes no byte past its limit, whatever an archive promises', async () => {
    const { fs } = await openSevenZip();
    fs.mkdir('/into');
    const isOver = limitWrites(fs, '/into', 10);
    const file = fs.open('/into/file', 'w');
    fs.write(file, new Uint8Array(8), 0, 8);
    expect(isOver()).toBe(false);
    expect(() => fs.write(file, new Uint8Array(8), 0, 8)).toThrow();
    expect(isOver()).toBe(true);
    expect(fs.stat('/into/file').size).toBe(8);
  });
});
