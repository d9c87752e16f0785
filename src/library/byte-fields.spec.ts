import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { echoRequestFrame, parseMac } from '../net/frame.ts';
import { frameFields, recordFields } from './byte-fields.ts';

const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(' ', '').match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const told = (fields: ReturnType<typeof frameFields>): Record<string, string> =>
  Object.fromEntries(fields.map(({ name, text }) => [name, text]));

describe('fields of a frame', () => {
  it('say what an echo request holds, and where', () => {
    const frame = echoRequestFrame(
      { mac: parseMac('00:16:3e:00:00:01'), ip: 0x0a00020f },
      { mac: parseMac('fe:ff:ff:ff:ff:ff'), ip: 0x0a000202 },
      118,
      3,
      new Uint8Array(56),
    );
    const fields = frameFields(frame);
    expect(told(fields)).toMatchObject({
      destination: 'fe:ff:ff:ff:ff:ff',
      type: '0x0800 (IPv4)',
      'source IP': '10.0.2.15',
      'ICMP type': '0x08 (echo request)',
      identifier: '118',
      'sequence number': '3',
    });
    expect(fields.find(({ name }) => name === 'sequence number')).toMatchObject({ offset: 40, length: 2 });
  });

  it('cover ARP, IPv6, TCP and tagged frames', () => {
    const arp = bytes('ffffffffffff 00163e000001 0806 0001 0800 06 04 0001 00163e000001 0a00020f 000000000000 0a000202 0000');
    expect(told(frameFields(arp))).toMatchObject({
      operation: '0x0001 (request)',
      'target IP': '10.0.2.2',
      padding: expect.any(String),
    });
    const v6 = bytes(
      `333300000016 00163e000001 86dd 60000000 0020 3a ff ${'00'.repeat(16)} ff02${'00'.repeat(13)}16 87 00 1234 00000000`,
    );
    expect(told(frameFields(v6))).toMatchObject({ 'next header': '0x3a (ICMPv6)', 'hop limit': '255', 'ICMP type': '0x87' });
    const tcp = bytes(
      'ffffffffffff 00163e000001 8100 0005 0800 45000028 00004000 4006 0000 0a00020f 0a000202 0016 1000 00000001 00000002 5002 0400 0000 0000',
    );
    expect(told(frameFields(tcp))).toMatchObject({
      VLAN: '5',
      'source port': '22',
      'destination port': '4096',
      'sequence number': '1',
    });
  });

  it('lie within the bytes and do not overlap, whatever the bytes are', () => {
    const check = (data: Uint8Array, fields: ReturnType<typeof frameFields>): void => {
      let end = 0;
      for (const { offset, length } of fields) {
        expect(offset).toBeGreaterThanOrEqual(end);
        end = offset + length;
        expect(end).toBeLessThanOrEqual(data.length);
      }
    };
    const prefixes = [
      '',
      `${'ff'.repeat(12)}0800`,
      `${'ff'.repeat(12)}0806`,
      `${'ff'.repeat(12)}86dd`,
      `${'ff'.repeat(12)}81000001`,
    ];
    fc.assert(
      fc.property(fc.constantFrom(...prefixes), fc.uint8Array({ maxLength: 120 }), (prefix, rest) => {
        const data = Uint8Array.from([...bytes(prefix), ...rest]);
        check(data, frameFields(data));
        check(data, recordFields(data));
      }),
    );
  });
});

it('fields of a record are its header, its time and its words', () => {
  const record = bytes('01800292 0100000000000000 05000000 ff000000'.replace('01800292', '01800AA0'));
  const [header, tsc, first, second] = recordFields(record);
  expect(header?.text).toBe('event 0x000a8001, 2 data words, with a time');
  expect([tsc?.text, first?.text, second?.text]).toEqual(['1', '0x00000005', '0x000000ff']);
  expect(recordFields(Uint8Array.of(1, 2))).toEqual([]);
});
