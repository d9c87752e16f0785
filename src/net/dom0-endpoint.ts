/**
 * The host's end of the wire: a small IPv4 node that answers ARP and ICMP echo and serves DHCP, so that a guest
 * can be pinged and can ping without anything outside the machine. It starts no traffic of its own.
 * Sources: RFC 826 (ARP), RFC 792 (ICMP), RFC 2131 and 2132 (DHCP).
 */
import type { Snapshot } from '../base/snapshot.ts';
import type { HubPort, NetPort } from './hub.ts';
import {
  EtherType,
  ETH_ALEN,
  ETH_HLEN,
  ETH_SOURCE,
  ETH_TYPE,
  IpProtocol,
  arpFrame,
  be16,
  be32,
  checksum,
  formatMac,
  ipv4Layout,
  isBroadcast,
  parseIpv4,
  parseMac,
  pseudoHeaderSum,
  putBe16,
  putBe32,
  putEthernet,
  putIpv4,
  type Ipv4Layout,
} from './frame.ts';
import { Ipv4Reassembler, type Ipv4ReassemblerState, ipv4Frames } from './ipv4-fragments.ts';

export interface Dom0EndpointOptions {
  readonly mac: Uint8Array;
  readonly ip: number;
  readonly netmask: number;
  /** First address that DHCP hands out; further clients get the ones after it. */
  readonly dhcpFirst: number;
  readonly dhcpCount: number;
  readonly leaseSeconds: number;
}

/** 10.0.2.2/24 with addresses from 10.0.2.15 on; the MAC is the one Xen's tools give a vif's backend. */
const dom0EndpointDefaults: Dom0EndpointOptions = {
  mac: parseMac('fe:ff:ff:ff:ff:ff'),
  ip: parseIpv4('10.0.2.2'),
  netmask: parseIpv4('255.255.255.0'),
  dhcpFirst: parseIpv4('10.0.2.15'),
  dhcpCount: 16,
  leaseSeconds: 86_400,
};

const ICMP_ECHO_REPLY = 0;
const ICMP_ECHO_REQUEST = 8;
const UDP_DHCP_SERVER = 67;
const UDP_DHCP_CLIENT = 68;
const BOOTP_LENGTH = 236;
const DHCP_MAGIC = 0x63825363;
/** DHCP message types (RFC 2132, 9.6). */
const Dhcp = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7, inform: 8 } as const;
/** DHCP options (RFC 2132). */
const Option = {
  pad: 0,
  netmask: 1,
  router: 3,
  requestedIp: 50,
  leaseTime: 51,
  messageType: 53,
  serverId: 54,
  end: 255,
} as const;

export interface Dom0EndpointState {
  /** MACs of clients, and the number of the address of each. */
  readonly clients: readonly string[];
  readonly addresses: Float64Array;
  /** The IP identification used last. */
  readonly ipId: number;
  readonly fragments: Ipv4ReassemblerState;
}

interface DhcpRequest {
  readonly type: number;
  readonly requestedIp: number;
  readonly serverId: number;
}

export class Dom0Endpoint implements NetPort, Snapshot<Dom0EndpointState> {
  readonly kind = 'dom0 endpoint';
  readonly version = 1;
  readonly name = 'dom0';
  private readonly options: Dom0EndpointOptions;
  private readonly port: Pick<HubPort, 'send'>;
  /** Address index by client MAC; hands out dhcpCount addresses and no more, so that a guest cannot grow it. */
  private readonly leases = new Map<string, number>();
  private readonly fragments = new Ipv4Reassembler();
  private ipId = 0;

  /** Attaches itself to the wire. */
  constructor(wire: { attach(party: NetPort): Pick<HubPort, 'send'> }, options: Partial<Dom0EndpointOptions> = {}) {
    this.options = { ...dom0EndpointDefaults, ...options };
    this.port = wire.attach(this);
  }

  get ip(): number {
    return this.options.ip;
  }

  get mac(): Uint8Array {
    return this.options.mac;
  }

  save(): Dom0EndpointState {
    return {
      clients: [...this.leases.keys()],
      addresses: Float64Array.from(this.leases.values()),
      ipId: this.ipId,
      fragments: this.fragments.save(),
    };
  }

  restore(state: Dom0EndpointState): void {
    this.leases.clear();
    state.clients.forEach((mac, i) => this.leases.set(mac, state.addresses[i] ?? 0));
    this.ipId = state.ipId;
    this.fragments.restore(state.fragments);
  }

  /** Always takes the frame; what it does not understand it drops. */
  receive(frame: Uint8Array): boolean {
    if (frame.length < ETH_HLEN) return true;
    if (!isBroadcast(frame) && !this.isMine(frame)) return true;
    const type = be16(frame, ETH_TYPE);
    if (type === EtherType.arp) this.arp(frame);
    else if (type === EtherType.ipv4) this.ipv4(frame);
    return true;
  }

  private isMine(frame: Uint8Array): boolean {
    for (let i = 0; i < ETH_ALEN; i++) if (frame[i] !== this.options.mac[i]) return false;
    return true;
  }

  private send(frame: Uint8Array): void {
    this.port.send(frame);
  }

  private arp(frame: Uint8Array): void {
    if (
      frame.length < 42 ||
      be16(frame, 14) !== 1 ||
      be16(frame, 16) !== EtherType.ipv4 ||
      frame[18] !== ETH_ALEN ||
      frame[19] !== 4
    )
      return;
    if (be16(frame, 20) !== 1 || be32(frame, 38) !== this.options.ip) return;
    const asker = { mac: frame.slice(22, 28), ip: be32(frame, 28) };
    this.send(arpFrame('reply', this.options, asker, asker.mac));
  }

  private ipv4(frame: Uint8Array): void {
    const ip = ipv4Layout(frame);
    if (!ip || checksum(frame, ip.header, ip.payload) !== 0) return;
    if (ip.protocol === IpProtocol.udp && !ip.fragmented) this.udp(frame, ip);
    if (ip.protocol !== IpProtocol.icmp || ip.destination !== this.options.ip) return;
    const message = ip.fragmented ? this.fragments.add(frame, ip) : frame.subarray(ip.payload, ip.end);
    if (message !== undefined) this.icmp(frame, ip.source, message);
  }

  /** Answer an echo request. `frame` is the one that brought the message or its last piece. */
  private icmp(frame: Uint8Array, source: number, message: Uint8Array): void {
    if (message.length < 8 || message[0] !== ICMP_ECHO_REQUEST || message[1] !== 0 || checksum(message, 0, message.length) !== 0)
      return;
    const reply = message.slice();
    reply[0] = ICMP_ECHO_REPLY;
    putBe16(reply, 2, 0);
    putBe16(reply, 2, checksum(reply, 0, reply.length));
    const ethernet = new Uint8Array(ETH_HLEN);
    putEthernet(ethernet, frame.subarray(ETH_SOURCE, ETH_SOURCE + ETH_ALEN), this.options.mac, EtherType.ipv4);
    for (const out of ipv4Frames(ethernet, this.options.ip, source, IpProtocol.icmp, reply, this.nextId())) this.send(out);
  }

  private nextId(): number {
    this.ipId = (this.ipId + 1) & 0xffff;
    return this.ipId;
  }

  private udp(frame: Uint8Array, ip: Ipv4Layout): void {
    const length = ip.end - ip.payload;
    if (length < 8 || be16(frame, ip.payload + 2) !== UDP_DHCP_SERVER) return;
    const udpLength = be16(frame, ip.payload + 4);
    if (udpLength < 8 || udpLength > length) return;
    const message = frame.subarray(ip.payload + 8, ip.payload + udpLength);
    if (message.length < BOOTP_LENGTH + 4 || message[0] !== 1 || message[1] !== 1 || message[2] !== ETH_ALEN) return;
    if (be32(message, BOOTP_LENGTH) !== DHCP_MAGIC) return;
    this.dhcp(message, parseDhcpOptions(message.subarray(BOOTP_LENGTH + 4)));
  }

  private dhcp(message: Uint8Array, request: DhcpRequest): void {
    const clientMac = message.slice(28, 28 + ETH_ALEN);
    const key = formatMac(clientMac);
    switch (request.type) {
      case Dhcp.discover: {
        const address = this.lease(key);
        if (address !== undefined) this.dhcpReply(message, clientMac, Dhcp.offer, address);
        break;
      }
      case Dhcp.request: {
        if (request.serverId !== 0 && request.serverId !== this.options.ip) break;
        const wanted = request.requestedIp || be32(message, 12);
        const address = this.lease(key);
        const granted = address !== undefined && address === wanted;
        this.dhcpReply(message, clientMac, granted ? Dhcp.ack : Dhcp.nak, granted ? address : 0);
        break;
      }
      case Dhcp.inform:
        this.dhcpReply(message, clientMac, Dhcp.ack, 0);
        break;
      case Dhcp.release:
        this.leases.delete(key);
        break;
      default:
        break;
    }
  }

  private lease(key: string): number | undefined {
    let index = this.leases.get(key);
    if (index === undefined) {
      const taken = new Set(this.leases.values());
      for (index = 0; taken.has(index); index++);
      if (index >= this.options.dhcpCount) return undefined;
      this.leases.set(key, index);
    }
    return this.options.dhcpFirst + index;
  }

  private dhcpReply(request: Uint8Array, clientMac: Uint8Array, type: number, address: number): void {
    const options = new Uint8Array(64);
    let at = 0;
    const put = (code: number, size: 1 | 4, value: number): void => {
      options[at] = code;
      options[at + 1] = size;
      if (size === 1) options[at + 2] = value;
      else putBe32(options, at + 2, value);
      at += 2 + size;
    };
    put(Option.messageType, 1, type);
    put(Option.serverId, 4, this.options.ip);
    if (type !== Dhcp.nak) {
      if (address !== 0) put(Option.leaseTime, 4, this.options.leaseSeconds);
      put(Option.netmask, 4, this.options.netmask);
      put(Option.router, 4, this.options.ip);
    }
    options[at] = Option.end;

    const length = 8 + BOOTP_LENGTH + 4 + options.length;
    const frame = new Uint8Array(ETH_HLEN + 20 + length);
    const broadcast = new Uint8Array(ETH_ALEN).fill(0xff);
    const toBroadcast = type === Dhcp.nak || (be16(request, 10) & 0x8000) !== 0;
    const ciaddr = be32(request, 12);
    putEthernet(frame, toBroadcast ? broadcast : clientMac, this.options.mac, EtherType.ipv4);
    const destination = toBroadcast ? 0xffffffff : ciaddr || address;
    putIpv4(frame, this.options.ip, destination, IpProtocol.udp, length, this.nextId());
    const udp = ETH_HLEN + 20;
    putBe16(frame, udp, UDP_DHCP_SERVER);
    putBe16(frame, udp + 2, UDP_DHCP_CLIENT);
    putBe16(frame, udp + 4, length);
    const bootp = frame.subarray(udp + 8);
    bootp[0] = 2;
    bootp[1] = 1;
    bootp[2] = ETH_ALEN;
    bootp.set(request.subarray(4, 8), 4); // xid
    bootp.set(request.subarray(10, 12), 10); // flags
    putBe32(bootp, 12, type === Dhcp.nak ? 0 : ciaddr);
    putBe32(bootp, 16, address);
    putBe32(bootp, 20, this.options.ip);
    bootp.set(clientMac, 28);
    putBe32(bootp, BOOTP_LENGTH, DHCP_MAGIC);
    bootp.set(options, BOOTP_LENGTH + 4);
    const sum = checksum(frame, udp, udp + length, pseudoHeaderSum(this.options.ip, destination, IpProtocol.udp, length));
    putBe16(frame, udp + 6, sum === 0 ? 0xffff : sum);
    this.send(frame);
  }
}

/** The options this server looks at. A damaged list ends where it is damaged. */
function parseDhcpOptions(options: Uint8Array): DhcpRequest {
  const request = { type: 0, requestedIp: 0, serverId: 0 };
  let at = 0;
  while (at < options.length && options[at] !== Option.end) {
    if (options[at] === Option.pad) {
      at++;
      continue;
    }
    const size = options[at + 1];
    if (size === undefined || at + 2 + size > options.length) break;
    if (options[at] === Option.messageType && size === 1) request.type = options[at + 2]!;
    if (options[at] === Option.requestedIp && size === 4) request.requestedIp = be32(options, at + 2);
    if (options[at] === Option.serverId && size === 4) request.serverId = be32(options, at + 2);
    at += 2 + size;
  }
  return request;
}
