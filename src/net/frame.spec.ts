import { describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import {
  checksum,
  echoRequestFrame,
  formatIpv4,
  formatMac,
  ipv4Layout,
  parseIpv4,
  parseMac,
  putBe16,
  withoutPadding,
} from './frame.ts';

const a = { mac: parseMac('00:16:3e:00:00:01'), ip: parseIpv4('10.0.2.15') };
const b = { mac: parseMac('fe:ff:ff:ff:ff:ff'), ip: parseIpv4('10.0.2.2') };

describe('frame', () => {
  it('parses and prints addresses', () => {
    expect(formatMac(a.mac)).toBe('00:16:3e:00:00:01');
    expect(formatIpv4(parseIpv4('255.0.128.1'))).toBe('255.0.128.1');
    expect(() => parseMac('00:16:3e:00:00')).toThrow(UserError);
    expect(() => parseIpv4('10.0.2.256')).toThrow(UserError);
  });

  it('computes the checksum of RFC 1071, odd lengths too', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(checksum(bytes, 0, 8)).toBe(0x220d);
    expect(checksum(Uint8Array.of(0x12), 0, 1)).toBe(0xedff);
  });

  it('takes padding off IPv4 frames of the least length, and nothing else', () => {
    const frame = (length: number, type: number, ipLength: number): Uint8Array => {
      const bytes = new Uint8Array(length);
      putBe16(bytes, 12, type);
      putBe16(bytes, 16, ipLength);
      return bytes;
    };
    const length = (...of: Parameters<typeof frame>): number => withoutPadding(frame(...of)).length;
    expect([length(60, 0x0800, 40), length(60, 0x0800, 46), length(60, 0x0800, 20)]).toEqual([54, 60, 34]);
    // Lengths that lie, longer frames, other protocols.
    expect([
      length(60, 0x0800, 0xffff),
      length(60, 0x0800, 19),
      length(61, 0x0800, 40),
      length(60, 0x0806, 40),
      length(33, 0x0800, 20),
      length(3, 0x0800, 40),
    ]).toEqual([60, 60, 61, 60, 33, 3]);
  });

  it('finds the parts of an IPv4 packet and refuses lengths that lie', () => {
    const frame = echoRequestFrame(a, b, 7, 1, new Uint8Array(56));
    expect(ipv4Layout(frame)).toMatchObject({
      header: 14,
      payload: 34,
      end: 98,
      protocol: 1,
      source: a.ip,
      destination: b.ip,
      fragmented: false,
    });
    const tooLong = frame.slice();
    putBe16(tooLong, 16, 2000);
    expect(ipv4Layout(tooLong)).toBeUndefined();
    const shortHeader = frame.slice();
    shortHeader[14] = 0x44;
    expect(ipv4Layout(shortHeader)).toBeUndefined();
  });
});
