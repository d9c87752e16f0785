/** passt at the other end of the wire: QEMU's stream framing against a real peer, through rings, hub and NIC. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CplusDriver } from '../src/device-model/testing/cplus-driver.ts';
import { GUEST_MAC, NIC_MMIO, setUp } from '../src/device-model/testing/set-up.ts';
import {
  arpFrame,
  be16,
  be32,
  formatIpv4,
  parseIpv4,
  parseMac,
  putBe16,
  putBe32,
  putEthernet,
  putIpv4,
} from '../src/net/frame.ts';
import { createFrameRing } from '../src/net/frame-ring.ts';
import { StreamNetdev } from '../src/net/stream-node.ts';
import { lackOf, until } from './needs.ts';

const lack = await lackOf('passt');
const broadcast = new Uint8Array(6).fill(0xff);
const mac = parseMac(GUEST_MAC);

/** DHCPDISCOVER. */
function discover(): Uint8Array {
  const frame = new Uint8Array(14 + 20 + 8 + 300);
  putEthernet(frame, broadcast, mac, 0x0800);
  putIpv4(frame, 0, 0xffffffff, 17, 308, 1);
  putBe16(frame, 34, 68);
  putBe16(frame, 36, 67);
  putBe16(frame, 38, 308);
  const bootp = frame.subarray(42);
  bootp.set([1, 1, 6, 0, 1, 2, 3, 4]);
  bootp.set(mac, 28);
  putBe32(bootp, 236, 0x63825363);
  bootp.set([53, 1, 1, 255], 240);
  return frame;
}

describe('passt', () => {
  it.skipIf(lack.skip)(lack.title("answers ARP and DHCP from the guest's NIC"), async () => {
    const folder = mkdtempSync(join(tmpdir(), 'passt-'));
    const path = join(folder, 'passt.sock');
    const identity = process.getuid?.() === 0 ? ['--runas', '0:0'] : [];
    const peer = spawn(
      'passt',
      ['-f', '-1', '-q', '-4', '-s', path, '-a', '10.0.2.15', '-n', '24', '-g', '10.0.2.2', ...identity],
      { stdio: 'ignore' },
    );
    try {
      await until('the socket of passt', () => existsSync(path));
      const socket = { fromMachine: createFrameRing(), toMachine: createFrameRing() };
      const netdev = new StreamNetdev({ address: { path }, ...socket, wakeMachine() {} });
      await netdev.open();
      const { hv, dm } = setUp({ endpoint: null, socket });
      const driver = new CplusDriver(hv, NIC_MMIO);
      driver.start();
      /** The first frame for which `wanted` holds. */
      const receive = (wanted: (frame: Uint8Array) => boolean): Promise<Uint8Array> =>
        until('an answer of passt', () => {
          dm.runUntilIdle();
          for (let frame = driver.receive(); frame; frame = driver.receive()) if (wanted(frame)) return frame;
          return undefined;
        });
      driver.send(
        arpFrame(
          'request',
          { mac, ip: parseIpv4('10.0.2.15') },
          { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') },
          broadcast,
        ),
      );
      const reply = await receive((frame) => be16(frame, 12) === 0x0806 && be16(frame, 20) === 2);
      expect(formatIpv4(be32(reply, 28))).toBe('10.0.2.2');
      expect(reply.subarray(0, 6)).toEqual(mac);
      driver.send(discover());
      const offer = await receive((frame) => be16(frame, 12) === 0x0800 && frame[23] === 17 && be16(frame, 36) === 68);
      expect(formatIpv4(be32(offer, 42 + 16))).toBe('10.0.2.15');
      netdev.close();
    } finally {
      peer.kill();
      rmSync(folder, { recursive: true });
    }
  });
});
