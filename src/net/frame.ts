/**
 * Ethernet frames and the few protocols the dom0 endpoint speaks, as views on byte arrays: offsets, parsing of
 * addresses and the Internet checksum. Frames carry no FCS. All multi-byte fields are big-endian.
 * Sources: IEEE 802.3, RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 768 (UDP), RFC 1071 (checksum).
 */
import { UserError } from '../base/errors.ts';
import { ETH_ALEN, ETH_HLEN, ETH_ZLEN, be16, foldChecksum, putBe16, sum16 } from '../base/ethernet.ts';

export { ETH_ALEN, ETH_HLEN, be16, putBe16 } from '../base/ethernet.ts';

/** Longest frame a backend carries, without FCS. Jumbo and offloaded frames stay below it. */
export const MAX_FRAME = 65_535;

export const EtherType = { ipv4: 0x0800, arp: 0x0806 } as const;
export const IpProtocol = { icmp: 1, udp: 17 } as const;

/** Fields of an Ethernet header, byte offsets in the frame. */
const ETH_DESTINATION = 0;
export const ETH_SOURCE = 6;
export const ETH_TYPE = 12;

/** Big-endian 32 bits at `offset`, unsigned. The caller has checked the length. */
export const be32 = (bytes: Uint8Array, offset: number): number => be16(bytes, offset) * 0x10000 + be16(bytes, offset + 2);

export function putBe32(bytes: Uint8Array, offset: number, value: number): void {
  putBe16(bytes, offset, value >>> 16);
  putBe16(bytes, offset + 2, value & 0xffff);
}

/** Six bytes of "00:16:3e:00:00:01". Throws UserError on anything else. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new UserError(`MAC address '${text}': expected six hexadecimal bytes with colons, for example 00:16:3e:00:00:01`);
  }
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

export const formatMac = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, ETH_ALEN), (byte) => byte.toString(16).padStart(2, '0')).join(':');

/** An IPv4 address as an unsigned 32-bit number. Throws UserError when `text` is not dotted decimal. */
export function parseIpv4(text: string): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number);
  if (!parts || parts.some((part) => part > 255)) {
    throw new UserError(`IPv4 address '${text}': expected four numbers 0..255 with dots, for example 10.0.2.2`);
  }
  return parts.reduce((value, part) => value * 256 + part, 0);
}

export const formatIpv4 = (address: number): string => [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');

/**
 * The frame without the bytes that fill it up to the least length on a cable, of which the peer of a stream socket expects none: passt
 * before September 2023, Debian 12's among them, drops an IPv4 packet that is shorter than its frame. A view, or `frame` itself.
 */
export function withoutPadding(frame: Uint8Array): Uint8Array {
  if (frame.length > ETH_ZLEN || frame.length < ETH_HLEN + 20 || be16(frame, ETH_TYPE) !== EtherType.ipv4) return frame;
  const length = ETH_HLEN + be16(frame, ETH_HLEN + 2);
  return length >= ETH_HLEN + 20 && length < frame.length ? frame.subarray(0, length) : frame;
}

export function isBroadcast(frame: Uint8Array): boolean {
  for (let i = 0; i < ETH_ALEN; i++) if (frame[i] !== 0xff) return false;
  return true;
}

/** Internet checksum of bytes[from, to) as it goes into a header; zero over a range that holds a good one. `sum` is added first: a pseudo header's. */
export const checksum = (bytes: Uint8Array, from: number, to: number, sum = 0): number =>
  foldChecksum(sum + sum16(bytes, from, to - from));

/** Sum of the pseudo header of TCP and UDP over IPv4 (RFC 793, RFC 768). */
export function pseudoHeaderSum(source: number, destination: number, protocol: number, length: number): number {
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length;
}

/** Where an IPv4 packet's parts lie in a frame. */
export interface Ipv4Layout {
  /** Offset of the IP header (14 without a VLAN tag). */
  readonly header: number;
  /** Offset of the payload. */
  readonly payload: number;
  /** Offset just past the payload, from the total length; never past the frame. */
  readonly end: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly fragmented: boolean;
}

/** Find the IPv4 packet in an untagged frame; undefined when it is not IPv4 or its lengths lie. */
export function ipv4Layout(frame: Uint8Array): Ipv4Layout | undefined {
  if (frame.length < ETH_HLEN + 20 || be16(frame, ETH_TYPE) !== EtherType.ipv4) return undefined;
  const header = ETH_HLEN;
  const headerLength = (frame[header]! & 0x0f) * 4;
  const total = be16(frame, header + 2);
  if (frame[header]! >>> 4 !== 4 || headerLength < 20 || total < headerLength || header + total > frame.length) return undefined;
  return {
    header,
    payload: header + headerLength,
    end: header + total,
    protocol: frame[header + 9]!,
    source: be32(frame, header + 12),
    destination: be32(frame, header + 16),
    fragmented: (be16(frame, header + 6) & 0x3fff) !== 0,
  };
}

/** Write an Ethernet header. */
export function putEthernet(frame: Uint8Array, destination: Uint8Array, source: Uint8Array, type: number): void {
  frame.set(destination.subarray(0, ETH_ALEN), ETH_DESTINATION);
  frame.set(source.subarray(0, ETH_ALEN), ETH_SOURCE);
  putBe16(frame, ETH_TYPE, type);
}

/** Write a 20-byte IPv4 header (TTL 64, not fragmented) at ETH_HLEN, with its checksum. `length` is the payload's. */
export function putIpv4(
  frame: Uint8Array,
  source: number,
  destination: number,
  protocol: number,
  length: number,
  id: number,
): void {
  const h = ETH_HLEN;
  frame.fill(0, h, h + 20);
  frame[h] = 0x45;
  putBe16(frame, h + 2, 20 + length);
  putBe16(frame, h + 4, id);
  frame[h + 8] = 64;
  frame[h + 9] = protocol;
  putBe32(frame, h + 12, source);
  putBe32(frame, h + 16, destination);
  putBe16(frame, h + 10, checksum(frame, h, h + 20));
}

/** A frame built from an ARP packet (RFC 826), padded to ETH_ZLEN. */
export function arpFrame(
  operation: 'request' | 'reply',
  sender: { mac: Uint8Array; ip: number },
  target: { mac: Uint8Array; ip: number },
  destination: Uint8Array,
): Uint8Array {
  const frame = new Uint8Array(ETH_ZLEN);
  putEthernet(frame, destination, sender.mac, EtherType.arp);
  putBe16(frame, 14, 1);
  putBe16(frame, 16, EtherType.ipv4);
  frame[18] = ETH_ALEN;
  frame[19] = 4;
  putBe16(frame, 20, operation === 'request' ? 1 : 2);
  frame.set(sender.mac, 22);
  putBe32(frame, 28, sender.ip);
  frame.set(target.mac, 32);
  putBe32(frame, 38, target.ip);
  return frame;
}

/** An ICMP echo request (RFC 792) in a frame, checksums filled in, padded to ETH_ZLEN. */
export function echoRequestFrame(
  from: { mac: Uint8Array; ip: number },
  to: { mac: Uint8Array; ip: number },
  identifier: number,
  sequence: number,
  data: Uint8Array,
): Uint8Array {
  const length = 8 + data.length;
  const frame = new Uint8Array(Math.max(ETH_ZLEN, ETH_HLEN + 20 + length));
  putEthernet(frame, to.mac, from.mac, EtherType.ipv4);
  putIpv4(frame, from.ip, to.ip, IpProtocol.icmp, length, sequence);
  const icmp = ETH_HLEN + 20;
  frame[icmp] = 8;
  putBe16(frame, icmp + 4, identifier);
  putBe16(frame, icmp + 6, sequence);
  frame.set(data, icmp + 8);
  putBe16(frame, icmp + 2, checksum(frame, icmp, icmp + length));
  return frame;
}
