import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { lackOf } from '../../test/needs.ts';
import { type CpioEntry, S_IFDIR, S_IFLNK, S_IFREG, writeCpio } from './cpio.ts';

const text = new TextEncoder();
const cpio = await lackOf('cpio');
const entries: CpioEntry[] = [
  { path: 'bin', mode: S_IFDIR | 0o755 },
  { path: 'bin/odd', mode: S_IFREG | 0o755, data: text.encode('12345') },
  { path: 'bin/link', mode: S_IFLNK | 0o777, data: text.encode('odd') },
];

describe('cpio', () => {
  it('writes newc headers with data on four-byte bounds', () => {
    const archive = writeCpio(entries);
    const ascii = new TextDecoder('latin1').decode(archive);
    expect(archive.length % 512).toBe(0);
    let at = 0;
    const names: string[] = [];
    for (;;) {
      expect(ascii.slice(at, at + 6)).toBe('070701');
      const field = (n: number): number => parseInt(ascii.slice(at + 6 + n * 8, at + 14 + n * 8), 16);
      const name = ascii.slice(at + 110, at + 110 + field(11) - 1);
      if (name === 'TRAILER!!!') break;
      names.push(name);
      const data = (at + 110 + field(11) + 3) & ~3;
      if (name === 'bin/odd') expect(ascii.slice(data, data + field(6))).toBe('12345');
      expect([field(2), field(3), field(5)]).toEqual([0, 0, 0]); // owner, group, time
      at = (data + field(6) + 3) & ~3;
    }
    expect(names).toEqual(['bin', 'bin/odd', 'bin/link']);
  });

  it('depends on its entries alone', () => {
    expect(writeCpio(entries)).toEqual(writeCpio(structuredClone(entries)));
  });

  it.skipIf(cpio.skip)(cpio.title('is listed by cpio'), () => {
    const list = execFileSync('cpio', ['-t', '--quiet'], { input: writeCpio(entries), encoding: 'utf8' });
    expect(list.trim().split('\n')).toEqual(['bin', 'bin/odd', 'bin/link']);
  });
});
