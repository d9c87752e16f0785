/** Ethernet and IPv4 pieces that NICs share. */
import { ETH_ALEN } from '../../base/ethernet.ts';

export { ETH_ALEN, ETH_HLEN, ETH_ZLEN, be16, foldChecksum, putBe16, sum16 } from '../../base/ethernet.ts';
export const ETH_P_IP = 0x0800;
export const ETH_P_8021Q = 0x8100;
/** Bytes of an 802.1Q tag: type and TCI. */
export const VLAN_HLEN = 4;

const CRC_POLY = 0xedb88320;

/** Eight tables in one: entry 256 × t + n is the CRC of byte n followed by t zero bytes. */
const crcTable = (() => {
  const table = new Int32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ CRC_POLY : c >>> 1;
    table[n] = c;
  }
  for (let at = 256; at < table.length; at++) {
    const c = table[at - 256]!;
    table[at] = (c >>> 8) ^ table[c & 0xff]!;
  }
  return table;
})();

/**
 * CRC-32 of IEEE 802.3 (the frame check sequence) of `length` bytes, as a signed 32-bit number, which costs no heap;
 * on the wire least significant byte first.
 */
export function crc32(data: Uint8Array, length: number): number {
  const t = crcTable;
  let crc = -1;
  let i = 0;
  for (const whole = length - 7; i < whole; i += 8) {
    crc ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + data[i + 4]!]! ^
      t[512 + data[i + 5]!]! ^
      t[256 + data[i + 6]!]! ^
      t[data[i + 7]!]!;
  }
  for (; i < length; i++) crc = (crc >>> 8) ^ t[(crc ^ data[i]!) & 0xff]!;
  return ~crc;
}

/**
 * Index of a multicast address in a 64-bit hash filter: the upper 6 bits of the CRC, taken most significant
 * bit first (the polynomial 0x04c11db7 over the address bits as they travel).
 */
export function multicastHash(frame: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < ETH_ALEN; i++) {
    let byte = frame[i]!;
    for (let bit = 0; bit < 8; bit++) {
      const carry = (crc >>> 31) ^ (byte & 1);
      crc <<= 1;
      byte >>>= 1;
      if (carry) crc = crc ^ 0x04c11db7;
    }
  }
  return crc >>> 26;
}
