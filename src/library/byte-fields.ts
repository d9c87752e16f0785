/** Bytes of a frame or a trace record as fields, so that a byte leads to its meaning and back. */
import { be16, be32, formatIpv4, formatMac } from '../net/frame.ts';

/** A field: its bytes, and what they say. */
export interface ByteField {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  readonly text: string;
}

const hex = (value: number, digits = 0): string => `0x${value.toString(16).padStart(digits, '0')}`;

class Fields {
  readonly list: ByteField[] = [];
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** A field that the bytes hold whole. */
  add(name: string, offset: number, length: number, text: (at: number) => string): void {
    if (length > 0 && offset + length <= this.bytes.length) this.list.push({ name, offset, length, text: text(offset) });
  }

  byte(name: string, offset: number, text: (value: number) => string = String): void {
    this.add(name, offset, 1, (at) => text(this.bytes[at]!));
  }

  word(name: string, offset: number, text: (value: number) => string = String): void {
    this.add(name, offset, 2, (at) => text(be16(this.bytes, at)));
  }

  ip(name: string, offset: number): void {
    this.add(name, offset, 4, (at) => formatIpv4(be32(this.bytes, at)));
  }

  mac(name: string, offset: number): void {
    this.add(name, offset, 6, (at) => formatMac(this.bytes.subarray(at, at + 6)));
  }
}

const ETHERTYPES: Readonly<Record<number, string>> = { 2048: 'IPv4', 2054: 'ARP', 34525: 'IPv6', 33024: 'VLAN' };
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6' };
const named =
  (names: Readonly<Record<number, string>>, digits: number) =>
  (value: number): string =>
    names[value] === undefined ? hex(value, digits) : `${hex(value, digits)} (${names[value]})`;

/** Fields of an Ethernet frame, as far as its bytes go. Sources: IEEE 802.3, RFC 826, 791, 792, 8200, 4443, 768, 9293. */
export function frameFields(bytes: Uint8Array): ByteField[] {
  const f = new Fields(bytes);
  f.mac('destination', 0);
  f.mac('source', 6);
  f.word('type', 12, named(ETHERTYPES, 4));
  let at = 14;
  let type = bytes.length >= 14 ? be16(bytes, 12) : 0;
  if (type === 0x8100 && bytes.length >= 18) {
    f.word('VLAN', 14, (value) => String(value & 0xfff));
    f.word('type', 16, named(ETHERTYPES, 4));
    type = be16(bytes, 16);
    at = 18;
  }
  if (type === 0x0806) {
    f.word('hardware type', at);
    f.word('protocol type', at + 2, named(ETHERTYPES, 4));
    f.byte('hardware length', at + 4);
    f.byte('protocol length', at + 5);
    f.word('operation', at + 6, named({ 1: 'request', 2: 'reply' }, 4));
    f.mac('sender MAC', at + 8);
    f.ip('sender IP', at + 14);
    f.mac('target MAC', at + 18);
    f.ip('target IP', at + 24);
    f.add('padding', at + 28, bytes.length - at - 28, () => 'up to the shortest frame');
  } else if (type === 0x0800 && bytes.length >= at + 20) {
    const header = (bytes[at]! & 0x0f) * 4;
    f.byte('version, header length', at, (value) => `${value >>> 4}, ${(value & 0x0f) * 4} bytes`);
    f.byte('type of service', at + 1, (value) => hex(value, 2));
    f.word('total length', at + 2);
    f.word('identification', at + 4);
    f.word(
      'flags, fragment offset',
      at + 6,
      (value) => `${value & 0x4000 ? "don't fragment" : 'may fragment'}, ${(value & 0x1fff) * 8}`,
    );
    f.byte('time to live', at + 8);
    f.byte('protocol', at + 9, named(PROTOCOLS, 2));
    f.word('header checksum', at + 10, (value) => hex(value, 4));
    f.ip('source IP', at + 12);
    f.ip('destination IP', at + 16);
    if (header >= 20) {
      f.add('options', at + 20, header - 20, () => `${header - 20} bytes`);
      const isFirst = (be16(bytes, at + 6) & 0x1fff) === 0;
      if (isFirst) transportFields(f, bytes, bytes[at + 9]!, at + header);
    }
  } else if (type === 0x86dd && bytes.length >= at + 40) {
    f.add('version, class, flow', at, 4, (o) => hex(be32(bytes, o), 8));
    f.word('payload length', at + 4);
    f.byte('next header', at + 6, named({ ...PROTOCOLS, 0: 'hop-by-hop options' }, 2));
    f.byte('hop limit', at + 7);
    for (const [name, offset] of [
      ['source IP', 8],
      ['destination IP', 24],
    ] as const)
      f.add(name, at + offset, 16, (o) => Array.from({ length: 8 }, (_, i) => be16(bytes, o + i * 2).toString(16)).join(':'));
    let next = bytes[at + 6]!;
    let from = at + 40;
    if (next === 0 && bytes.length >= from + 8) {
      const length = 8 + bytes[from + 1]! * 8;
      f.add('hop-by-hop options', from, length, () => `${length} bytes`);
      next = bytes[from]!;
      from += length;
    }
    transportFields(f, bytes, next, from);
  } else if (bytes.length > at) f.add('payload', at, bytes.length - at, () => `${bytes.length - at} bytes`);
  return f.list;
}

function transportFields(f: Fields, bytes: Uint8Array, protocol: number, at: number): void {
  const rest = (from: number): void => f.add('data', from, bytes.length - from, () => `${bytes.length - from} bytes`);
  if (protocol === 1 || protocol === 58) {
    const names: Readonly<Record<number, string>> =
      protocol === 1 ? { 0: 'echo reply', 8: 'echo request' } : { 128: 'echo request', 129: 'echo reply' };
    const kind = bytes[at] ?? -1;
    f.byte('ICMP type', at, named(names, 2));
    f.byte('code', at + 1);
    f.word('checksum', at + 2, (value) => hex(value, 4));
    if (kind in names) {
      f.word('identifier', at + 4);
      f.word('sequence number', at + 6);
      rest(at + 8);
    } else rest(at + 4);
  } else if (protocol === 6 || protocol === 17) {
    f.word('source port', at);
    f.word('destination port', at + 2);
    if (protocol === 17) {
      f.word('length', at + 4);
      f.word('checksum', at + 6, (value) => hex(value, 4));
      rest(at + 8);
    } else {
      f.add('sequence number', at + 4, 4, (o) => String(be32(bytes, o)));
      f.add('acknowledgement', at + 8, 4, (o) => String(be32(bytes, o)));
      f.word('offset, flags', at + 12, (value) => hex(value, 4));
      f.word('window', at + 14);
      f.word('checksum', at + 16, (value) => hex(value, 4));
      f.word('urgent pointer', at + 18);
      rest(at + Math.max(20, ((bytes[at + 12] ?? 0x50) >>> 4) * 4));
    }
  } else rest(at);
}

/** Fields of a trace record (struct t_rec of xentrace): its header, its time where it has one, its data words. */
export function recordFields(bytes: Uint8Array): ByteField[] {
  if (bytes.length < 4) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = view.getUint32(0, true);
  const hasTsc = header >>> 31 !== 0;
  const fields: ByteField[] = [
    {
      name: 'header',
      offset: 0,
      length: 4,
      text: `event ${hex(header & 0x0fff_ffff, 8)}, ${(header >>> 28) & 7} data words, ${hasTsc ? 'with a time' : 'no time'}`,
    },
  ];
  if (hasTsc && bytes.length >= 12) fields.push({ name: 'TSC', offset: 4, length: 8, text: String(view.getBigUint64(4, true)) });
  const first = hasTsc ? 12 : 4;
  for (let at = first; at + 4 <= bytes.length; at += 4)
    fields.push({ name: `data word ${(at - first) / 4}`, offset: at, length: 4, text: hex(view.getUint32(at, true), 8) });
  return fields;
}
