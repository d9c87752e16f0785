/** Pieces of Ethernet and IPv4 that chips and backends share. Frames carry no FCS; multi-byte fields are big-endian. */

export const ETH_ALEN = 6;
/** Destination, source, type. */
export const ETH_HLEN = 14;
/** Shortest frame without FCS; shorter ones are padded with zeros. */
export const ETH_ZLEN = 60;

/** Big-endian 16-bit word at `at`. The caller has checked the length. */
export const be16 = (data: Uint8Array, at: number): number => (data[at]! << 8) | data[at + 1]!;

export const putBe16 = (data: Uint8Array, at: number, value: number): void => {
  data[at] = value >>> 8;
  data[at + 1] = value;
};

/** Sum of the big-endian 16-bit words (RFC 1071), not folded; an odd last byte is a high byte. `length` ≤ 65,536. */
export function sum16(data: Uint8Array, at: number, length: number): number {
  let sum = 0;
  const end = at + length;
  for (const whole = end - 1; at < whole; at += 2) sum += (data[at]! << 8) | data[at + 1]!;
  if (at < end) sum += data[at]! << 8;
  return sum;
}

/** Ones' complement of a folded sum: the checksum field's value. */
export const foldChecksum = (sum: number): number => {
  let s = sum;
  while (s > 0xffff) s = (s & 0xffff) + (s >>> 16);
  return ~s & 0xffff;
};
