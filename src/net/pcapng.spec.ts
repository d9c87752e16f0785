import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lackOf } from '../../test/needs.ts';
import type { Clock } from '../base/clock.ts';
import { arpFrame, echoRequestFrame, parseIpv4, parseMac } from './frame.ts';
import { PcapngWriter } from './pcapng.ts';

const guest = { mac: parseMac('00:16:3e:00:00:01'), ip: parseIpv4('10.0.2.15') };
const host = { mac: parseMac('fe:ff:ff:ff:ff:ff'), ip: parseIpv4('10.0.2.2') };

function setUp(bufferSize?: number, interfaces: readonly [string, ...string[]] = ['vif1.0']) {
  const time = { ns: 1_744_702_725 };
  const clock: Clock = {
    kind: 'virtual',
    tscHz: 1e9,
    nowNs: () => time.ns,
    tsc: () => time.ns,
    epochUs: 1_700_000_000_000_000,
    charge() {},
  };
  const chunks: Uint8Array[] = [];
  const writer = new PcapngWriter({
    clock,
    interfaces,
    sink: (bytes) => chunks.push(bytes),
    ...(bufferSize ? { bufferSize } : {}),
  });
  return { time, chunks, writer, bytes: () => Buffer.concat(chunks) };
}

const tshark = await lackOf('tshark');

describe('pcapng', () => {
  it('writes blocks whose two lengths agree, and the time in nanoseconds', () => {
    const { writer, bytes } = setUp();
    writer.write(arpFrame('request', guest, host, host.mac), 'outbound', 'ioreq 1');
    writer.flush();
    const file = bytes();
    const types: number[] = [];
    for (let at = 0; at < file.length; ) {
      const length = file.readUInt32LE(at + 4);
      expect(length % 4).toBe(0);
      expect(file.readUInt32LE(at + length - 4)).toBe(length);
      types.push(file.readUInt32LE(at));
      if (types.at(-1) === 6) {
        const ns = (BigInt(file.readUInt32LE(at + 12)) << 32n) | BigInt(file.readUInt32LE(at + 16));
        expect(ns).toBe(1_700_000_000n * 1_000_000_000n + 1_744_702_725n);
      }
      at += length;
    }
    expect(types).toEqual([0x0a0d0d0a, 1, 6]);
  });

  it('has an interface for each of several NICs, and each frame names its own', () => {
    const { bytes, writer } = setUp(undefined, ['vif1.0', 'vif1.1']);
    writer.write(new Uint8Array(60), 'outbound', undefined, 1000, { interfaceId: 1 });
    writer.write(new Uint8Array(60), 'inbound', undefined, 2000);
    writer.flush();
    const file = bytes();
    const names: string[] = [];
    const faces: number[] = [];
    for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) {
      const type = file.readUInt32LE(at);
      if (type === 1) names.push(file.subarray(at + 20, at + 20 + file.readUInt16LE(at + 18)).toString());
      if (type === 6) faces.push(file.readUInt32LE(at + 8));
    }
    expect([names, faces]).toEqual([
      ['vif1.0', 'vif1.1'],
      [1, 0],
    ]);
  });

  it('gathers blocks and never cuts one across sink calls needlessly', () => {
    const { writer, chunks, bytes } = setUp(256);
    for (let i = 0; i < 20; i++) writer.write(new Uint8Array(60 + i), 'inbound');
    writer.write(new Uint8Array(1514), 'outbound');
    writer.flush();
    expect(chunks.length).toBeGreaterThan(5);
    expect(bytes().readUInt32LE(0)).toBe(0x0a0d0d0a);
    expect(writer.packets).toBe(21);
  });

  it.skipIf(tshark.skip)(tshark.title('tshark reads frames, comments, directions and times'), () => {
    const { writer, time, bytes } = setUp();
    writer.write(
      arpFrame('request', guest, { ...host, mac: new Uint8Array(6) }, new Uint8Array(6).fill(255)),
      'outbound',
      'ioreq 41: vCPU 0 wrote 0x40 to gpa 0xf10000d9',
    );
    time.ns += 11_002;
    writer.write(echoRequestFrame(host, guest, 1, 1, new Uint8Array(56)), 'inbound');
    writer.flush();
    const dir = mkdtempSync(join(tmpdir(), 'pcapng-'));
    try {
      const file = join(dir, 'x.pcapng');
      writeFileSync(file, bytes());
      const out = execFileSync(
        'tshark',
        [
          '-r',
          file,
          '-o',
          'ip.check_checksum:TRUE',
          '-T',
          'fields',
          '-E',
          'separator=|',
          ...[
            'frame.time_epoch',
            'frame.interface_name',
            'frame.packet_flags_direction',
            'frame.comment',
            '_ws.col.Protocol',
            'ip.checksum.status',
            'icmp.checksum.status',
          ].flatMap((f) => ['-e', f]),
        ],
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
      )
        .trim()
        .replace(/0x0+/g, '')
        .split('\n'); // some versions print flags in hex
      expect(out).toEqual([
        '1700000001.744702725|vif1.0|2|ioreq 41: vCPU 0 wrote 0x40 to gpa 0xf10000d9|ARP||',
        '1700000001.744713727|vif1.0|1||ICMP|1|1',
      ]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
