import { describe, expect, it } from 'vitest';
import { explainFiles, ioPaths, analyze, renderStory, type Story } from '../src/analyze/index.ts';
import { arpFrame, parseIpv4, parseMac } from '../src/net/frame.ts';
import { PcapngWriter } from '../src/net/pcapng.ts';
import { CplusDriver } from '../src/device-model/testing/cplus-driver.ts';
import { HandClock } from '../src/device-model/testing/fake-hypervisor.ts';
import { GUEST_MAC, NIC_MMIO, setUp } from '../src/device-model/testing/set-up.ts';

/** One ARP request sent through our own device model: its log and its capture. */
function run(logForm: 'trace' | 'classic'): { log: string[]; pcap: Uint8Array } {
  const captured: Uint8Array[] = [];
  const clock = new HandClock();
  const pcap = new PcapngWriter({ clock, interfaceName: 'vif1.0', sink: (bytes) => captured.push(bytes) });
  const machine = setUp({ logForm, pcap });
  clock.nowNs = () => machine.clock.ns;
  const driver = new CplusDriver(machine.hv, NIC_MMIO);
  driver.start();
  const guest = { mac: parseMac(GUEST_MAC), ip: parseIpv4('10.0.2.15') };
  driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') }, new Uint8Array(6).fill(0xff)));
  while (machine.dm.inFlight > 0) {
    machine.clock.ns = machine.dm.nextDeadlineNs;
    machine.dm.runUntilIdle();
  }
  machine.dm.flush();
  return { log: [...machine.lines], pcap: Buffer.concat(captured) };
}

const tell = (files: { log: string[]; pcap: Uint8Array }, packet?: number): Promise<Story> =>
  explainFiles({ dmLog: files.log, pcap: files.pcap, clock: 'modelled', packet });

describe('files that our own device model writes', () => {
  it('give the story of the packet sent, with descriptor, frame, interrupt and remaps', async () => {
    const story = await tell(run('trace'), 1);
    expect(story.clock.value).toBe('modelled');
    expect(story.hops.every((h) => h.atNs === undefined || h.clock === 'modelled')).toBe(true);
    const text = renderStory(story, { width: 10_000 });
    expect(text).toContain('Packet 1 of the capture: ARP who has 10.0.2.2 tell 10.0.2.15');
    expect(text).toContain("The frame that left is number 1 of the capture: the capture's comment names the request that sent it");
    expect(text).toContain('reads descriptor 0 at guest-physical 0x100000 (b000003c 00000000 00200802 00000000: OWN, first, last, 60 bytes)');
    expect(text).toContain('fetches the frame, 60 bytes, from guest-physical 0x200802');
    expect(text).toContain('raises the interrupt line: IntrStatus (TxOK), mask 0x5');
    expect(text).toContain('0x200802 was not in the map cache: the device model logs a remap of bucket 0x2');
    expect(text).toContain('it wrote 0x100000 into the register at offset 0x20, and the device model looked for descriptor 0 at 0x100000, unchanged');
  });

  it('tell a received frame apart', async () => {
    const story = await tell(run('trace'), 2);
    expect(story.title).toContain('not sent by a doorbell');
    const text = renderStory(story, { width: 10_000 });
    expect(text).toContain('looks at receive descriptor 0, guest-physical 0x100100');
    expect(text).toContain('writes the frame to guest-physical 0x300000');
  });

  it('in the older log form: no times, the same addresses', async () => {
    const story = await tell(run('classic'));
    expect(story.hops.every((h) => h.atNs === undefined)).toBe(true);
    const text = renderStory(story, { width: 10_000 });
    expect(text).toContain('fetches the frame, 60 bytes, from guest-physical 0x200802');
    expect(text).toContain('The frame on the wire: the doorbell has no wall-clock time to find the frame by.');
  });

  it('a log alone has no accesses of a trace to pair', async () => {
    const a = await analyze({ dmLog: run('trace').log });
    expect([...ioPaths(a)]).toEqual([]);
    expect(a.windows).toContainEqual(expect.objectContaining({ space: 'mmio', base: NIC_MMIO, found: expect.objectContaining({ strength: 'proven' }) }));
  });
});
