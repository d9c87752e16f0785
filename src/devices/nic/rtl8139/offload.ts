/**
 * Transmit offload of C+ mode: IPv4 header, TCP and UDP checksums, and large send (TCP segmentation), on a frame
 * that the guest wrote and that may lie about every length. A frame that does not hold what its headers promise
 * leaves as it is.
 */
import { be16, ETH_HLEN, ETH_P_IP, foldChecksum, putBe16, sum16 } from '../ethernet.ts';

/** First word of a C+ transmit descriptor. */
const CP_TX_LARGE_SEND = 0x08000000;
const CP_TX_IP_CHECKSUM = 0x00040000;
const CP_TX_UDP_CHECKSUM = 0x00020000;
const CP_TX_TCP_CHECKSUM = 0x00010000;
export const CP_TX_OFFLOAD = CP_TX_LARGE_SEND | CP_TX_IP_CHECKSUM | CP_TX_UDP_CHECKSUM | CP_TX_TCP_CHECKSUM;
const LARGE_SEND_MSS_SHIFT = 16;
const LARGE_SEND_MSS_MASK = 0x7ff;

const IP_HEADER_MIN = 20;
const TCP_HEADER_MIN = 20;
const UDP_HEADER = 8;
const IP_LENGTH = 2;
const IP_ID = 4;
const IP_PROTOCOL = 9;
const IP_CHECKSUM = 10;
const IP_SOURCE = 12;
const TCP_SEQUENCE = 4;
const TCP_OFFSET = 12;
const TCP_FLAGS = 13;
const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;
const TCP = 6;
const UDP = 17;
const TCP_FIN = 0x01;
const TCP_PUSH = 0x08;

/** Sum of the pseudo header: addresses, protocol, length of the transport segment. */
const pseudoHeader = (frame: Uint8Array, protocol: number, length: number): number =>
  sum16(frame, ETH_HLEN + IP_SOURCE, 8) + protocol + length;

const checksumIp = (frame: Uint8Array, headerLength: number): void => {
  putBe16(frame, ETH_HLEN + IP_CHECKSUM, 0);
  putBe16(frame, ETH_HLEN + IP_CHECKSUM, foldChecksum(sum16(frame, ETH_HLEN, headerLength)));
};

const checksumTransport = (frame: Uint8Array, at: number, length: number, protocol: number, field: number): void => {
  putBe16(frame, at + field, 0);
  putBe16(frame, at + field, foldChecksum(pseudoHeader(frame, protocol, length) + sum16(frame, at, length)));
};

/**
 * Does what the descriptor asks for, in the frame's own buffer.
 * @param command first word of the last descriptor
 * @param frame assembled frame; changed in place
 * @param size its bytes
 * @param send takes each segment of a large send: bytes 0 … length-1 of `frame`
 * @returns bytes of `frame` still to be sent; 0 when the segments have left
 */
export function offload(command: number, frame: Uint8Array, size: number, send: (length: number) => void): number {
  if (be16(frame, 12) !== ETH_P_IP) return size;
  const ip = ETH_HLEN;
  if (frame[ip]! >>> 4 !== 4) return size;
  // 20 ≤ header ≤ total ≤ what the frame holds: so the frame holds the header, and has at least 34 bytes.
  const headerLength = (frame[ip]! & 0xf) * 4;
  if (headerLength < IP_HEADER_MIN) return size;
  const total = be16(frame, ip + IP_LENGTH);
  if (total < headerLength || total > size - ETH_HLEN) return size;
  const dataLength = total - headerLength;
  const protocol = frame[ip + IP_PROTOCOL]!;
  const transport = ip + headerLength;

  if (command & CP_TX_LARGE_SEND) {
    if (protocol !== TCP) return size;
    const mss = (command >>> LARGE_SEND_MSS_SHIFT) & LARGE_SEND_MSS_MASK;
    return largeSend(frame, size, headerLength, dataLength, mss, send);
  }
  const tcp = (command & CP_TX_TCP_CHECKSUM) !== 0 && protocol === TCP;
  const udp = (command & CP_TX_UDP_CHECKSUM) !== 0 && protocol === UDP;
  const field = tcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  const inFrame = (tcp || udp) && transport + field + 2 <= size;
  // The datagram ends inside its transport header, the frame does not: what lies in the checksum's place is none of its bytes.
  if (inFrame && dataLength > 0 && dataLength < (tcp ? TCP_HEADER_MIN : UDP_HEADER)) return size;
  if (command & CP_TX_IP_CHECKSUM) checksumIp(frame, headerLength);
  if (inFrame) checksumTransport(frame, transport, dataLength, protocol, field);
  return size;
}

function largeSend(
  frame: Uint8Array,
  size: number,
  headerLength: number,
  dataLength: number,
  mss: number,
  send: (length: number) => void,
): number {
  const transport = ETH_HLEN + headerLength;
  if (mss === 0) return size;
  // 20 ≤ header ≤ data: so there is a TCP header.
  const tcpHeader = (frame[transport + TCP_OFFSET]! >>> 4) * 4;
  if (tcpHeader < TCP_HEADER_MIN || tcpHeader > dataLength) return size;
  const payload = dataLength - tcpHeader;
  const data = transport + tcpHeader;
  const id = be16(frame, ETH_HLEN + IP_ID);
  let segment = 0;
  for (let offset = 0; offset < payload; offset += mss) {
    const last = offset + mss >= payload;
    const chunk = last ? payload - offset : mss;
    if (offset) frame.copyWithin(data, data + offset, data + offset + chunk);
    // As in QEMU the flags stay off: the last of several segments leaves without them too.
    if (!last) frame[transport + TCP_FLAGS]! &= ~(TCP_FIN | TCP_PUSH);
    checksumTransport(frame, transport, tcpHeader + chunk, TCP, TCP_CHECKSUM);
    putBe16(frame, ETH_HLEN + IP_LENGTH, headerLength + tcpHeader + chunk);
    putBe16(frame, ETH_HLEN + IP_ID, (id + segment++) & 0xffff);
    checksumIp(frame, headerLength);
    send(data + chunk);
    const sequence = ((be16(frame, transport + TCP_SEQUENCE) << 16) | be16(frame, transport + TCP_SEQUENCE + 2)) + chunk;
    putBe16(frame, transport + TCP_SEQUENCE, (sequence >>> 16) & 0xffff);
    putBe16(frame, transport + TCP_SEQUENCE + 2, sequence & 0xffff);
  }
  return 0;
}
