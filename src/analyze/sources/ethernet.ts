/** One line about an Ethernet frame, as far as its bytes go. Sources: RFC 826, 791, 792, 4443, 768, 9293. */

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_IPV6 = 0x86dd;

const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, '0');
const mac = (f: Uint8Array, at: number): string => Array.from(f.subarray(at, at + 6), (b) => hex(b, 2)).join(':');
const ipv4 = (f: Uint8Array, at: number): string => f.subarray(at, at + 4).join('.');

function ipv6(f: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((f[at + 2 * i]! << 8) | f[at + 2 * i + 1]!).toString(16));
  const runs = groups.join(':').match(/(?:^|:)0(?::0)+(?=:|$)/g) ?? [];
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '');
  if (longest === '') return groups.join(':');
  const [head = '', tail = ''] = groups.join(':').split(longest, 2);
  return `${head}::${tail.replace(/^:/, '')}`;
}

const ICMPV6: Readonly<Record<number, string>> = {
  128: 'echo request',
  129: 'echo reply',
  133: 'router solicitation',
  134: 'router advertisement',
  135: 'neighbor solicitation',
  136: 'neighbor advertisement',
  143: 'multicast listener report v2',
};

/** What the frame carries: `ARP who has 10.0.2.2 tell 10.0.2.15`, `ICMP echo request 10.0.2.15 > 10.0.2.2 id 118 seq 0`. */
export function describeFrame(f: Uint8Array): string {
  if (f.length < 14) return `${f.length} bytes, too short for an Ethernet header`;
  let type = (f[12]! << 8) | f[13]!;
  let at = 14;
  let tag = '';
  if (type === ETHERTYPE_VLAN && f.length >= 18) {
    tag = `VLAN ${((f[14]! & 0x0f) << 8) | f[15]!} `;
    type = (f[16]! << 8) | f[17]!;
    at = 18;
  }
  return tag + payload(f, at, type);
}

function payload(f: Uint8Array, at: number, type: number): string {
  const left = f.length - at;
  if (type === ETHERTYPE_ARP && left >= 28) {
    const reply = f[at + 7] === 2;
    return reply ? `ARP ${ipv4(f, at + 14)} is at ${mac(f, at + 8)}` : `ARP who has ${ipv4(f, at + 24)} tell ${ipv4(f, at + 14)}`;
  }
  if (type === ETHERTYPE_IPV4 && left >= 20) {
    const header = (f[at]! & 0x0f) * 4;
    return transport(f, at + header, f[at + 9]!, ipv4(f, at + 12), ipv4(f, at + 16));
  }
  if (type === ETHERTYPE_IPV6 && left >= 40) {
    let next = f[at + 6]!;
    let l4 = at + 40;
    if (next === 0 && left >= 48) {
      next = f[l4]!;
      l4 += 8 + f[l4 + 1]! * 8;
    }
    return transport(f, l4, next, ipv6(f, at + 8), ipv6(f, at + 24));
  }
  return `ethertype 0x${hex(type, 4)} ${mac(f, 6)} > ${mac(f, 0)}`;
}

function transport(f: Uint8Array, at: number, protocol: number, from: string, to: string): string {
  const has = (n: number): boolean => at + n <= f.length;
  const port = (o: number): number => (f[at + o]! << 8) | f[at + o + 1]!;
  if (protocol === 1 && has(8)) {
    const kind = f[at] === 8 ? 'echo request' : f[at] === 0 ? 'echo reply' : `type ${f[at]}`;
    return `ICMP ${kind} ${from} > ${to} id ${port(4)} seq ${port(6)}`;
  }
  if (protocol === 58 && has(1)) return `ICMPv6 ${ICMPV6[f[at]!] ?? `type ${f[at]}`} ${from} > ${to}`;
  if ((protocol === 6 || protocol === 17) && has(4))
    return `${protocol === 6 ? 'TCP' : 'UDP'} ${from}:${port(0)} > ${to}:${port(2)}`;
  return `IP protocol ${protocol} ${from} > ${to}`;
}
