/**
 * A chip is its folder and one line in the list of models: the toy chip of test/toy-chip stands in that list here, and everything that
 * takes a NIC takes it. Nothing else of the project knows a chip.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { explainFiles, renderStory } from '../src/analyze/index.ts';
import { QtestMachine, qtestDevices } from '../src/cli/qtest-machine.ts';
import { HandClock } from '../src/device-model/testing/fake-hypervisor.ts';
import { setUp } from '../src/device-model/testing/set-up.ts';
import { Replay } from '../src/devices/conformance/replay.ts';
import { guestCommandLine, guestDrivers } from '../src/machine/guest.ts';
import { driversFor, nicOptions, vifsFor } from '../src/machine/guest-config.ts';
import { parseXlConfig } from '../src/machine/xl-cfg.ts';
import { PcapngWriter } from '../src/net/pcapng.ts';

vi.mock('../src/devices/nic/models.ts', async (original) => {
  const { nicModels } = await original<typeof import('../src/devices/nic/models.ts')>();
  const { toy } = await import('./toy-chip/model.ts');
  return { nicModels: [...nicModels, toy] };
});

const source = join(import.meta.dirname, '../src');

describe('a chip in the list of models', () => {
  it("is a guest's NIC by model= and by --driver, and its driver is one of the guest's", () => {
    const { vif } = parseXlConfig("vif = ['model=toy,mac=00:16:3e:00:00:07', 'model=e1000']", 'toy.cfg');
    expect(nicOptions(vif).map(({ model }) => model)).toEqual(['toy', 'e1000']);
    expect([...driversFor(vif, []).values()].map(({ name }) => name)).toEqual(['toynet', 'e1000']);
    expect(vifsFor(['toynet'])).toEqual([{ model: 'toy' }]);
    expect(guestDrivers).toContain('toynet');
    expect(guestCommandLine({ driver: ['toynet', 'e1000'] })).toContain('xenolith.driver=toynet,e1000');
    expect(() => parseXlConfig("vif = ['model=tuy']", 'g.cfg')).toThrow(/expected .* or toy$/);
  });

  it('is a device of the qtest machine', () => {
    expect(qtestDevices).toContain('toy');
    const machine = new QtestMachine(1 << 20, [{ model: 'toy' }]);
    machine.ports.write(0xcf8, 4, 0x80001000);
    expect(machine.ports.read(0xcfc, 4)).toBe(0x70701b36);
  });

  it('is a device that transcripts may name', () => {
    const run = new Replay('toy.jsonl');
    for (const line of [
      '{"v":1,"name":"toy/1","device":"toy","category":"t","mac":"525400123456","ramBase":16777216,"ramSize":4096,"bars":[{"index":0,"kind":"mem","size":16,"base":3758096384}]}',
      '{"op":"writel","bar":0,"addr":0,"val":16777216}',
      '{"op":"writel","bar":0,"addr":4,"val":4}',
      '{"op":"tx","bytes":"00000001"}',
    ])
      run.line(line);
    run.end();
    // The last line lies, so that the difference shows the register's name.
    expect(run.results[0]!.difference).toMatchObject({ register: 'Send', expected: '00000001', got: '00000000' });
  });

  it('sends in a device model beside another, and its story is told from log and capture', async () => {
    const captured: Uint8Array[] = [];
    const clock = new HandClock();
    const pcap = new PcapngWriter({ clock, interfaces: ['vif1.0', 'vif1.1'], sink: (bytes) => captured.push(bytes) });
    const mac = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 7);
    const { dm, hv, clock: time, lines } = setUp({ logForm: 'trace', pcap, nics: nicOptions(vifsFor(['toynet', '8139cp'])) });
    clock.nowNs = () => time.ns;
    expect(dm.nics.map(({ name }) => name)).toEqual(['toy.0', 'rtl8139.1']);
    const frame = new Uint8Array(60);
    frame.set([255, 255, 255, 255, 255, 255, ...mac, 8, 6]);
    hv.poke(0x1000, frame);
    const { config } = dm.pci.functions.find(([, device]) => device.name === 'toy')![1];
    const base = config.barBase(config.bars[0]!);
    hv.write(base, 4, 0x1000);
    hv.write(base + 4, 4, frame.length);
    dm.flush();
    expect(dm.nics[0]!.statistics()).toEqual({ tx_packets: 1, rx_packets: 0 });
    expect(lines.some((line) => line === 'TOY: sends 60 bytes from 0x00001000')).toBe(true);
    expect(lines.some((line) => line.endsWith("name 'toy-mmio'"))).toBe(true);
    const text = renderStory(await explainFiles({ dmLog: lines, pcap: Buffer.concat(captured), packet: 1 }), { width: 10_000 });
    expect(text).toContain('sent through an emulated Toy');
    expect(text).toContain('Send');
  });

  it('nothing but its folder, the list and specs imports a file of a chip', () => {
    const folders = readdirSync(join(source, 'devices/nic'), { withFileTypes: true }).filter((e) => e.isDirectory());
    const chips = folders.map((e) => e.name);
    expect(chips.length).toBeGreaterThanOrEqual(4);
    const strange: string[] = [];
    for (const file of readdirSync(source, { recursive: true }).map(String)) {
      if (!file.endsWith('.ts') || file.endsWith('.spec.ts') || file.includes('testing/') || file === 'devices/nic/models.ts')
        continue;
      const own = chips.find((chip) => file.startsWith(`devices/nic/${chip}/`));
      for (const [, target] of readFileSync(join(source, file), 'utf8').matchAll(/(?:from|import)\s*\(?'([^']+)'/g)) {
        const path = join(file, '..', target!);
        const chip = chips.find((name) => path.startsWith(`devices/nic/${name}/`));
        if (chip !== undefined && chip !== own) strange.push(`${file} imports ${target}`);
      }
    }
    expect(strange).toEqual([]);
  });
});
