import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lackOf } from '../../test/needs.ts';
import { arpFrame, be16, be32, echoRequestFrame, formatIpv4, parseIpv4, parseMac } from '../net/frame.ts';
import { PcapngWriter } from '../net/pcapng.ts';
import { DeviceModel } from './device-model.ts';
import { CplusDriver } from './testing/cplus-driver.ts';
import { HandClock } from './testing/fake-hypervisor.ts';
import { GUEST_MAC, NIC_MMIO, setUp } from './testing/set-up.ts';

const guest = { mac: parseMac(GUEST_MAC), ip: parseIpv4('10.0.2.15') };
const host = parseIpv4('10.0.2.2');
const tshark = await lackOf('tshark');

/** ARP, then one echo request, by the driver through the ioreq page; gives what came back. */
function ping(options: Parameters<typeof setUp>[0] = {}) {
  const captured: Uint8Array[] = [];
  const pcapClock = new HandClock();
  const pcap = new PcapngWriter({ clock: pcapClock, interfaces: ['vif1.0'], sink: (bytes) => captured.push(bytes) });
  const machine = setUp({ logForm: 'trace', pcap, ...options });
  pcapClock.nowNs = () => machine.clock.ns;
  const driver = new CplusDriver(machine.hv, NIC_MMIO);
  driver.start();
  const waitFor = (): Uint8Array => {
    while (machine.dm.inFlight > 0) {
      machine.clock.ns = machine.dm.nextDeadlineNs;
      machine.dm.runUntilIdle();
    }
    return driver.receive()!;
  };
  driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: host }, new Uint8Array(6).fill(0xff)));
  const arp = waitFor();
  const hostMac = arp.slice(22, 28);
  driver.send(
    echoRequestFrame(
      guest,
      { mac: hostMac, ip: host },
      0x77,
      1,
      Uint8Array.from({ length: 56 }, (_, i) => i),
    ),
  );
  const reply = waitFor();
  machine.dm.flush();
  return { ...machine, driver, arp, reply, file: () => Buffer.concat(captured) };
}

describe('a ping through ioreq page, RTL8139, map cache and wire', () => {
  it('brings the ARP and echo replies back by DMA and interrupts', () => {
    const { arp, reply, driver, hv, dm } = ping();
    expect(be16(arp, 12)).toBe(0x0806);
    expect(be16(arp, 20)).toBe(2);
    expect(formatIpv4(be32(arp, 28))).toBe('10.0.2.2');
    expect(reply[34]).toBe(0);
    expect(be16(reply, 38)).toBe(0x77);
    expect(be16(reply, 40)).toBe(1);
    expect([...reply.subarray(42, 98)]).toEqual(Array.from({ length: 56 }, (_, i) => i));
    expect(driver.transmitPending).toBe(false);
    expect(hv.calls.filter((call) => call.startsWith('intx')).at(-1)).toBe('intx 0:0:3.0=1');
    expect(driver.acknowledge() & 5).toBe(5);
    expect(hv.calls.at(-1)).toBe('intx 0:0:3.0=0');
    expect(dm.nics[0]!.port.counters).toMatchObject({ sent: 2, received: 2, dropped: 0 });
  });

  it('shows one and the same guest-physical address in ioreq and descriptor fetch, and one remap a bucket', () => {
    const { logged } = ping();
    const lines = logged();
    expect(lines).toContain(
      'handle_ioreq I/O=0x7ffe5a000000 type=1 dir=0 df=0 ptr=0 port=0xf0000020 data=0x100000 count=1 size=4',
    );
    expect(lines).toContain('xen_map_cache want 0x100000');
    expect(lines.filter((line) => line.startsWith('xen_remap_bucket')).sort()).toEqual([
      'xen_remap_bucket index 0x1',
      'xen_remap_bucket index 0x2',
      'xen_remap_bucket index 0x3',
    ]);
    expect(lines).toContain('RTL8139: +++ C+ mode reading TX descriptor 0 from host memory at 00000000 00100000 = 0x00100000');
    const doorbell = lines.findIndex(
      (line) => line.startsWith('memory_region_ops_write') && line.includes('addr 0xc0d9 value 0x40 size 1'),
    );
    expect(lines.slice(doorbell - 3, doorbell).map((line) => line.split(' ')[0])).toEqual([
      'handle_ioreq',
      'handle_ioreq_write',
      'cpu_ioreq_move',
    ]);
    expect(lines.slice(doorbell + 1).indexOf('xen_map_cache want 0x200802')).toBeGreaterThan(0);
  });

  it('is the same to the byte in a second run, with and without latency on the wire', () => {
    const a = ping();
    const b = ping();
    expect(b.lines).toEqual(a.lines);
    expect(b.file().equals(a.file())).toBe(true);
    expect(ping({ wireLatencyNs: 50_000 }).reply).toEqual(a.reply);
  });

  it('with latency the frame is in flight until its deadline', () => {
    const { hv, dm, clock } = setUp({ wireLatencyNs: 50_000 });
    const driver = new CplusDriver(hv, NIC_MMIO);
    driver.start();
    driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: host }, new Uint8Array(6).fill(0xff)));
    expect(dm.inFlight).toBe(1);
    expect(driver.receive()).toBeUndefined();
    clock.ns = dm.nextDeadlineNs;
    dm.runUntilIdle();
    expect(dm.inFlight).toBe(1);
    clock.ns = dm.nextDeadlineNs;
    dm.runUntilIdle();
    expect(dm.inFlight).toBe(0);
    expect(driver.receive()).toBeDefined();
  });

  it('goes on from a state saved with a frame on the wire', () => {
    const a = setUp({ wireLatencyNs: 50_000 });
    const driver = new CplusDriver(a.hv, NIC_MMIO);
    driver.start();
    driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: host }, new Uint8Array(6).fill(0xff)));
    const b = setUp({ wireLatencyNs: 50_000 });
    b.dm.restore(structuredClone(a.dm.save()));
    b.hv.bytes.set(a.hv.bytes);
    for (const m of [a, b]) {
      m.clock.ns = 1e6;
      m.dm.runUntilIdle();
      m.clock.ns = 2e6;
      m.dm.runUntilIdle();
    }
    expect(b.hv.peek(0x300000, 64)).toEqual(a.hv.peek(0x300000, 64));
    expect(b.hv.peek(0x300000, 6)).toEqual(guest.mac);
  });

  it('gives the same result when the device model is saved and replaced by a new one after any number of accesses', () => {
    /** Guest RAM, received frames and interrupt levels after the ping; `every`: accesses between two replacements. */
    const run = (every: number) => {
      const received: string[] = [];
      const machine = setUp({ wireLatencyNs: 3000 });
      const { hv, clock } = machine;
      let { dm } = machine;
      let accesses = 0;
      const replace = (): void => {
        if (++accesses % every !== 0) return;
        const state = structuredClone(dm.save());
        dm.stop();
        dm = new DeviceModel({
          memory: hv.memory,
          hypercalls: hv,
          clock,
          nics: [{ model: 'rtl8139', mac: guest.mac }],
          wireLatencyNs: 3000,
        });
        dm.restore(state);
        dm.start();
        hv.deviceModel = dm;
      };
      const access = hv.access.bind(hv);
      hv.access = (request) => {
        const answer = access(request);
        replace();
        return answer;
      };
      const driver = new CplusDriver(hv, NIC_MMIO);
      driver.start();
      const finish = (): void => {
        while (dm.inFlight > 0) {
          clock.ns = Math.max(clock.ns, dm.nextDeadlineNs);
          dm.runUntilIdle();
          replace();
        }
        for (let frame = driver.receive(); frame; frame = driver.receive()) received.push(Buffer.from(frame).toString('hex'));
        driver.acknowledge();
      };
      driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: host }, new Uint8Array(6).fill(0xff)));
      finish();
      for (let i = 1; i <= 3; i++) {
        driver.send(echoRequestFrame(guest, { mac: parseMac('fe:ff:ff:ff:ff:ff'), ip: host }, 0x77, i, new Uint8Array(40 * i)));
        finish();
      }
      const levels = hv.calls.filter((call) => call.startsWith('intx')).filter((call, i, all) => call !== all[i - 1]);
      return {
        received,
        levels,
        ram: Buffer.from(hv.peek(0x100000, 0x400)).toString('hex'),
        statistics: dm.nics[0]!.statistics(),
      };
    };
    const whole = run(1e9);
    expect(whole.received).toHaveLength(4);
    expect(whole.levels.length).toBeGreaterThan(4);
    for (const every of [1, 2, 3, 5, 7]) expect(run(every), `every ${every}`).toEqual(whole);
  });

  it.skipIf(tshark.skip)(
    tshark.title('tshark reads four frames with good checksums, the sent ones with the ioreq that sent them'),
    () => {
      const { file } = ping();
      const dir = mkdtempSync(join(tmpdir(), 'echo-'));
      try {
        const path = join(dir, 'net.pcapng');
        writeFileSync(path, file());
        const rows = execFileSync(
          'tshark',
          [
            '-r',
            path,
            '-o',
            'ip.check_checksum:TRUE',
            '-T',
            'fields',
            '-E',
            'separator=|',
            ...[
              '_ws.col.Protocol',
              'arp.opcode',
              'icmp.type',
              'icmp.checksum.status',
              'ip.checksum.status',
              'frame.comment',
            ].flatMap((field) => ['-e', field]),
          ],
          { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
        )
          .trim()
          .split('\n')
          .map((row) => row.split('|'));
        expect(rows.map((row) => row.slice(0, 5).join(' ').trim())).toEqual(['ARP 1', 'ARP 2', 'ICMP  8 1 1', 'ICMP  0 1 1']);
        expect(rows[2]![5]).toMatch(/^ioreq \d+: vCPU 0 write of gpa 0xf00000d9, data 0x40, size 1$/);
        expect(rows[3]![5]).toBe('');
      } finally {
        rmSync(dir, { recursive: true });
      }
    },
  );
});
