import { describe, expect, it } from 'vitest';
import { crc32, foldChecksum, multicastHash, sum16 } from './ethernet.ts';

describe('ethernet', () => {
  it('CRC-32 of every length and alignment of the inner loop', () => {
    const check = crc32(new TextEncoder().encode('123456789'), 9);
    expect(check >>> 0).toBe(0xcbf43926);
    const data = Uint8Array.from({ length: 1600 }, (_, i) => (i * 31 + (i >> 3)) & 0xff);
    const slow = (length: number): number => {
      let c = 0xffffffff;
      for (let i = 0; i < length; i++) {
        c ^= data[i]!;
        for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
      }
      return ~c;
    };
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 60, 64, 1514, 1599])
      expect(crc32(data, length), `${length}`).toBe(slow(length));
  });

  it('multicast hash: the last six bits of the CRC before its final inversion, the last one first', () => {
    expect(multicastHash(Uint8Array.of(0x01, 0x00, 0x5e, 0x00, 0x00, 0x01))).toBe(31);
    for (let n = 0; n < 200; n++) {
      const address = Uint8Array.of(1, 0, 0x5e, n, n * 3, n * 7);
      const low = ~crc32(address, 6) & 0x3f;
      let reversed = 0;
      for (let bit = 0; bit < 6; bit++) reversed |= ((low >> bit) & 1) << (5 - bit);
      expect(multicastHash(address)).toBe(reversed);
    }
  });

  it("ones' complement sum: odd lengths, carries, the header of RFC 1071", () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(foldChecksum(sum16(bytes, 0, 8))).toBe(~0xddf2 & 0xffff);
    expect(sum16(bytes, 0, 3)).toBe(0x0001 + 0xf200);
    expect(foldChecksum(sum16(new Uint8Array(65536).fill(0xff), 0, 65536))).toBe(0);
  });
});
