/** A stock Debian kernel with NICs of every model at once, each under its own driver, on one wire. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeFrame } from '../src/analyze/sources/ethernet.ts';
import { analyze, ioPaths, renderStory, tellStory, type Analysis } from '../src/analyze/index.ts';
import { readCapture } from '../src/analyze/sources/pcap.ts';
import { nicModels } from '../src/devices/nic/models.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine } from '../src/machine/guest.ts';
import { driversFor, nicOptions } from '../src/machine/guest-config.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { parseXlConfig } from '../src/machine/xl-cfg.ts';
import { openTrace } from '../src/trace/index.ts';
import { guestImages, lackOf } from './needs.ts';

const lack = await lackOf('guest');
const PINGS = 3;
/** What a driver prints of a chip that it took. */
const found: Readonly<Record<string, RegExp>> = {
  rtl8139: /8139cp .*RTL-8139C\+/,
  e1000: /e1000 .*Intel\(R\) PRO\/1000 Network Connection/,
  ne2k_pci: /ne2k-pci .*RealTek RTL-8029/,
  pcnet: /pcnet32: PCnet\/PCI II? ?.*79C970A?/,
};

/** What each story says of what made the chip send. pcnet32 writes RAP before it rings, and the chip polls its ring at that. */
const sentBy: Readonly<Record<string, string>> = {
  rtl8139: 'to TxPoll of its RTL8139',
  e1000: 'to TDT of its e1000',
  ne2k_pci: 'to E8390_CMD of its RTL8029',
  pcnet: 'its Am79C970A looked at the transmit ring at a write of RAP',
};

/** A story without the numbers that another kernel would change. */
const shape = (story: string): string =>
  story
    .replace(/\b10\.0\.2\.\d+\b|0x[0-9a-f]+|\b[0-9a-f]{8}\b|(?<![\w.])\d+(?:\.\d+)*/g, (number) =>
      number.startsWith('10.0.2.') ? number : number.startsWith('0x') ? '0x…' : '…',
    )
    .replace(/^ +(?=…\.)/gm, '  ')
    .replace(/(?<=\S) {2,}/g, '  ');

describe.skipIf(lack.skip)(lack.title('a guest with a NIC of every model'), () => {
  const { vif } = parseXlConfig(
    `name = 'all'\nvif = [${nicModels.map(({ name }) => `'model=${name}'`).join(', ')}]\n`,
    'all.cfg',
  );
  let console = '';
  let log = '';
  const pcap: Uint8Array[] = [];
  const trace: Uint8Array[] = [];
  let machine: InlineMachine;
  let end: string;
  let analysis: Analysis;

  beforeAll(async () => {
    machine = new InlineMachine(
      {
        name: 'all',
        clock: 'virtual',
        engine: engineFactory(),
        nics: nicOptions(vif),
        domain: {
          memoryMiB: 256,
          vcpus: 1,
          type: 'hvm',
          commandLine: guestCommandLine({ driver: [...driversFor(vif, []).values()].map(({ name }) => name) }),
          hpet: true,
          kernel: await loadKernelImage(readFileSync(guestImages().vmlinux), 'vmlinux'),
          ramdisk: readFileSync(guestImages().initrd),
        },
      },
      {
        console: (bytes) => (console += Buffer.from(bytes).toString('latin1')),
        log: (text) => (log += text),
        pcap: (bytes) => pcap.push(Uint8Array.from(bytes)),
        trace: (bytes) => trace.push(Uint8Array.from(bytes)),
      },
    );
    end = machine.run(120e9);
    analysis = await analyze({
      trace: await openTrace(Buffer.concat(trace), { cpuHz: machine.clock.tscHz }),
      dmLog: log.split('\n'),
      pcap: Buffer.concat(pcap),
      console: console.split('\n'),
    });
  });

  it('runs to its poweroff without a fault', () => {
    expect([end, /Call Trace|unchecked MSR|BUG:|WARNING:|timed out/.exec(console)]).toEqual(['shutdown', null]);
  });

  it.each(nicModels.map(({ name }, i) => [name, i] as const))('%s: its driver takes it and pings by it', (name, i) => {
    expect(console).toMatch(found[name]!);
    const nic = machine.deviceModel.nics[i]!;
    expect(nic.name).toBe(`${name}.${i}`);
    const { rx_packets, tx_packets } = nic.statistics();
    expect(tx_packets).toBe(nic.port.counters.sent);
    expect(rx_packets).toBeLessThanOrEqual(nic.port.counters.received);
    // Each interface of the capture has its own NIC's echo requests going out, and their replies coming in.
    const mine = readCapture(Buffer.concat(pcap), 'pcap').frames.filter((f) => f.interfaceName === `vif1.${i}`);
    const sent = mine.filter((f) => f.direction === 'outbound').map((f) => describeFrame(f.data));
    expect(sent.filter((text) => text.startsWith(`ICMP echo request`) && text.includes(`10.0.2.${15 + i}`))).toHaveLength(PINGS);
    const got = mine.filter((f) => f.direction === 'inbound').map((f) => describeFrame(f.data));
    expect(got.filter((text) => text.startsWith('ICMP echo reply') && text.includes(`10.0.2.${15 + i}`))).toHaveLength(PINGS);
    expect(mine.filter((f) => f.direction === 'outbound')).toHaveLength(nic.port.counters.sent);
    expect(mine.filter((f) => f.direction === 'inbound')).toHaveLength(nic.port.counters.received);
  });

  it('each answers, by its own name, in the log', () => {
    expect(console.match(/3 packets transmitted, 3 packets received/g)).toHaveLength(nicModels.length);
    for (const { reading } of nicModels)
      expect(log).toMatch(
        new RegExp(`memory_region_ops_write .* name '(${reading.blocks.flatMap((b) => b.regions).join('|')})'`, 'i'),
      );
  });

  it.each(nicModels.map(({ name, reading }, i) => [name, reading.title, i] as const))(
    "%s: its echo requests are told as the %s's, with its own registers",
    (name, title, i) => {
      const own = analysis.frames.filter(
        (f) =>
          f.interfaceName === `vif1.${i}` &&
          f.direction === 'outbound' &&
          describeFrame(f.data).startsWith(`ICMP echo request 10.0.2.${15 + i} `),
      );
      expect(own).toHaveLength(PINGS);
      for (const { number } of own) {
        const story = tellStory(analysis, { packet: number });
        expect(story.title).toContain(`sent through an emulated ${title}`);
        expect(renderStory(story, { width: 10_000 })).toContain(sentBy[name]!);
      }
    },
  );

  it('the first echo request of each is told as in the golden stories', async () => {
    const stories = nicModels.map((_, i) => {
      const first = analysis.frames.find(
        (f) =>
          f.interfaceName === `vif1.${i}` && describeFrame(f.data).startsWith(`ICMP echo request 10.0.2.${15 + i} > 10.0.2.2 `),
      );
      return shape(renderStory(tellStory(analysis, { packet: first!.number }), { width: 10_000, evidence: 'none' }));
    });
    await expect(stories.join('\n')).toMatchFileSnapshot('../src/analyze/testing/golden/nic-of-every-model.txt');
  });

  it("every access to a NIC is named by its own chip's registers and paired with the log's request", () => {
    const counts = new Map<string, number>();
    for (const { access, window, registers, request } of ioPaths(analysis)) {
      if (window === undefined) continue;
      const { chip, base } = window;
      expect(registers.length, `${chip.name} +0x${(access.addr - base).toString(16)}`).toBeGreaterThan(0);
      expect(request?.request.addr).toBe(access.addr);
      counts.set(chip.name, (counts.get(chip.name) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(nicModels.map(({ name }) => name).sort());
    for (const count of counts.values()) expect(count).toBeGreaterThan(50);
  });
});
