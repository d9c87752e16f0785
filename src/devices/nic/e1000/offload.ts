/**
 * Transmit offload: checksums and segmentation, on a frame and by a context that the guest wrote and that may lie about every offset
 * and length. Nothing outside the frame is written, and a field that is not whole inside it is left alone; what docs/e1000.md calls a
 * lie leaves the frame's bytes as they are.
 */
import { be16, ETH_HLEN, ETH_P_8021Q, ETH_P_IP, foldChecksum, putBe16, sum16, VLAN_HLEN } from '../ethernet.ts';
import { POPTS_IXSM, POPTS_TXSM } from './descriptors.ts';
import type { TxContext } from './state.ts';

const ETH_P_IPV6 = 0x86dd;
const IP_LENGTH = 2;
const IP_ID = 4;
const IP_PROTOCOL = 9;
const IP_HEADER_MIN = 20;
const IPV6_LENGTH = 4;
const IPV6_NEXT_HEADER = 6;
const IPV6_HEADER = 40;
const TCP_SEQUENCE = 4;
const TCP_FLAGS = 13;
const TCP_FIN_PUSH = 0x09;
const TCP_HEADER_MIN = 20;
const UDP_LENGTH = 4;
const UDP_HEADER = 8;

/** Bytes of the smallest header of a protocol that has a checksum; 0 for others. */
const headerBytes = (protocol: number): number => (protocol === 6 ? TCP_HEADER_MIN : protocol === 17 ? UDP_HEADER : 0);

/**
 * Puts in the checksum of bytes `start` … `end` (0 or past the frame: to its end) at `field`, unless one of them is not there.
 * @param size bytes of the frame
 */
export function insertChecksum(frame: Uint8Array, size: number, start: number, field: number, end: number): void {
  const limit = end !== 0 && end < size ? end + 1 : size;
  if (start >= limit || field + 2 > limit) return;
  const sum = foldChecksum(sum16(frame, start, limit - start));
  // Zero says that there is no checksum.
  putBe16(frame, field, sum === 0 ? 0xffff : sum);
}

/**
 * Does the packet whose TCP or UDP header is said to be at `transport` end, by its IP length, before that header does, or before the IP
 * header? Then what the driver calls a checksum field is none of the packet's bytes.
 */
function endsInHeader(frame: Uint8Array, size: number, transport: number): boolean {
  const tagged = size >= ETH_HLEN + VLAN_HLEN && be16(frame, 12) === ETH_P_8021Q;
  const ip = tagged ? ETH_HLEN + VLAN_HLEN : ETH_HLEN;
  const type = be16(frame, ip - 2);
  if (type === ETH_P_IP && size >= ip + IP_HEADER_MIN) {
    const header = (frame[ip]! & 0xf) * 4;
    if (frame[ip]! >>> 4 !== 4 || header < IP_HEADER_MIN || ip + header !== transport) return false;
    return be16(frame, ip + IP_LENGTH) - header < headerBytes(frame[ip + IP_PROTOCOL]!);
  }
  if (type === ETH_P_IPV6 && size >= ip + IPV6_HEADER) {
    if (frame[ip]! >>> 4 !== 6 || ip + IPV6_HEADER !== transport) return false;
    return be16(frame, ip + IPV6_LENGTH) < headerBytes(frame[ip + IPV6_NEXT_HEADER]!);
  }
  return false;
}

/**
 * The checksums a frame asks for, transport first: the IP checksum may cover it.
 * @param options POPTS of the frame's first descriptor
 * @param segment the frame is a segment of a large send, its lengths written by the chip
 */
export function insertChecksums(frame: Uint8Array, size: number, options: number, context: TxContext, segment: boolean): void {
  if (options & POPTS_TXSM) {
    if (!segment && size >= ETH_HLEN && endsInHeader(frame, size, context.tucss)) return;
    insertChecksum(frame, size, context.tucss, context.tucso, context.tucse);
  }
  if (options & POPTS_IXSM) insertChecksum(frame, size, context.ipcss, context.ipcso, context.ipcse);
}

/** Adds to a 16-bit field, if the frame holds it. */
function add16(frame: Uint8Array, size: number, at: number, value: number): void {
  if (at + 2 <= size) putBe16(frame, at, (be16(frame, at) + value) & 0xffff);
}

function put16(frame: Uint8Array, size: number, at: number, value: number): void {
  if (at + 2 <= size) putBe16(frame, at, value & 0xffff);
}

/**
 * Makes a copy of a large send's headers, with its part of the payload behind, the `segment`-th segment (from 0): lengths, IP
 * identification, TCP sequence number and flags, and the length in the pseudo header's sum.
 * @returns is it the last segment of several?
 */
export function adaptHeaders(frame: Uint8Array, size: number, options: number, context: TxContext, segment: number): boolean {
  const { ipcss, tucss, tucso, mss, paylen } = context;
  const transportLength = (size - tucss) & 0xffff;
  if (context.ip) {
    put16(frame, size, ipcss + IP_LENGTH, size - ipcss);
    add16(frame, size, ipcss + IP_ID, segment);
  } else put16(frame, size, ipcss + IPV6_LENGTH, size - ipcss);
  let last = false;
  if (context.tcp) {
    const sofar = Math.imul(segment, mss) >>> 0;
    const at = tucss + TCP_SEQUENCE;
    if (at + 4 <= size) {
      const sequence = (((be16(frame, at) << 16) | be16(frame, at + 2)) + sofar) >>> 0;
      putBe16(frame, at, sequence >>> 16);
      putBe16(frame, at + 2, sequence & 0xffff);
    }
    if ((paylen - sofar) >>> 0 > mss) {
      if (tucss + TCP_FLAGS < size) frame[tucss + TCP_FLAGS]! &= ~TCP_FIN_PUSH;
    } else last = segment > 0;
  } else put16(frame, size, tucss + UDP_LENGTH, transportLength);
  if (options & POPTS_TXSM && tucso + 2 <= size) {
    const sum = be16(frame, tucso) + transportLength;
    putBe16(frame, tucso, ((sum >>> 16) + (sum & 0xffff)) & 0xffff);
  }
  return last;
}
