import { describe, expect, it } from 'vitest';
import { Dom0Endpoint } from './dom0-endpoint.ts';
import {
  arpFrame,
  be16,
  be32,
  checksum,
  echoRequestFrame,
  formatIpv4,
  ipv4Layout,
  parseIpv4,
  parseMac,
  pseudoHeaderSum,
  putBe16,
  putBe32,
  putEthernet,
  putIpv4,
} from './frame.ts';

const guest = { mac: parseMac('00:16:3e:00:00:01'), ip: parseIpv4('10.0.2.15') };
const broadcast = new Uint8Array(6).fill(0xff);

function setUp() {
  const sent: Uint8Array[] = [];
  const endpoint = new Dom0Endpoint({ attach: () => ({ send: (frame) => void sent.push(frame) }) });
  return { endpoint, sent };
}

function dhcp(type: number, options: number[] = [], mac = guest.mac): Uint8Array {
  const length = 8 + 300;
  const frame = new Uint8Array(14 + 20 + length);
  putEthernet(frame, broadcast, mac, 0x0800);
  putIpv4(frame, 0, 0xffffffff, 17, length, 1);
  putBe16(frame, 34, 68);
  putBe16(frame, 36, 67);
  putBe16(frame, 38, length);
  const bootp = frame.subarray(42);
  bootp.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
  bootp.set(mac, 28);
  putBe32(bootp, 236, 0x63825363);
  bootp.set([53, 1, type, ...options, 255], 240);
  return frame;
}

describe('dom0 endpoint', () => {
  it('answers ARP for its own address only', () => {
    const { endpoint, sent } = setUp();
    endpoint.receive(arpFrame('request', guest, { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.3') }, broadcast));
    expect(sent).toHaveLength(0);
    endpoint.receive(arpFrame('request', guest, { mac: new Uint8Array(6), ip: endpoint.ip }, broadcast));
    expect(sent).toHaveLength(1);
    expect(be16(sent[0]!, 20)).toBe(2);
    expect(Array.from(sent[0]!.subarray(0, 6))).toEqual(Array.from(guest.mac));
    expect(be32(sent[0]!, 28)).toBe(endpoint.ip);
  });

  it('answers an echo request with the same data and good checksums', () => {
    const { endpoint, sent } = setUp();
    const data = Uint8Array.from({ length: 57 }, (_, i) => i);
    endpoint.receive(echoRequestFrame(guest, endpoint, 0x1234, 9, data));
    const reply = sent[0]!;
    const ip = ipv4Layout(reply)!;
    expect(ip).toMatchObject({ source: endpoint.ip, destination: guest.ip, protocol: 1 });
    expect(reply[ip.payload]).toBe(0);
    expect(be16(reply, ip.payload + 4)).toBe(0x1234);
    expect(be16(reply, ip.payload + 6)).toBe(9);
    expect(reply.subarray(ip.payload + 8, ip.end)).toEqual(data);
    expect(checksum(reply, ip.header, ip.payload)).toBe(0);
    expect(checksum(reply, ip.payload, ip.end)).toBe(0);
  });

  it("drops an echo request whose checksum is wrong, another host's frames, and runts", () => {
    const { endpoint, sent } = setUp();
    const bad = echoRequestFrame(guest, endpoint, 1, 1, new Uint8Array(8));
    bad[45] = 0x55;
    expect(endpoint.receive(bad)).toBe(true);
    endpoint.receive(echoRequestFrame(guest, { mac: parseMac('00:00:00:00:00:09'), ip: endpoint.ip }, 1, 1, new Uint8Array(8)));
    endpoint.receive(new Uint8Array(5));
    expect(sent).toHaveLength(0);
  });

  it('leases 10.0.2.15 by DISCOVER, OFFER, REQUEST, ACK', () => {
    const { endpoint, sent } = setUp();
    endpoint.receive(dhcp(1));
    expect(sent).toHaveLength(1);
    const offer = sent[0]!;
    const ip = ipv4Layout(offer)!;
    expect(checksum(offer, ip.payload, ip.end, pseudoHeaderSum(ip.source, ip.destination, 17, ip.end - ip.payload))).toBe(0);
    const bootp = offer.subarray(42);
    expect(be32(bootp, 4)).toBe(0xdeadbeef);
    expect(formatIpv4(be32(bootp, 16))).toBe('10.0.2.15');
    expect(Array.from(bootp.subarray(240, 243))).toEqual([53, 1, 2]);
    endpoint.receive(dhcp(3, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]));
    expect(Array.from(sent[1]!.subarray(42 + 240, 42 + 243))).toEqual([53, 1, 5]);
    endpoint.receive(dhcp(3, [50, 4, 10, 0, 2, 99]));
    expect(Array.from(sent[2]!.subarray(42 + 240, 42 + 243))).toEqual([53, 1, 6]);
  });

  it('hands out no more addresses than it has, and survives damaged options', () => {
    const { endpoint, sent } = setUp();
    for (let i = 0; i < 40; i++) endpoint.receive(dhcp(1, [], Uint8Array.of(2, 0, 0, 0, 1, i)));
    expect(sent).toHaveLength(16);
    endpoint.receive(dhcp(1, [50, 255, 1]));
    expect(sent).toHaveLength(16);
  });
});
