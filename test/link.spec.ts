/** The cable is pulled and put back while a Linux guest runs: its driver notices, and its NIC works on. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine, guestDrivers } from '../src/machine/guest.ts';
import { nicOptions } from '../src/machine/guest-config.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { guestImages, lackOf } from './needs.ts';

const lack = await lackOf('guest');
const SLICE_NS = 20e6;

describe.skipIf(lack.skip)(lack.title('the cable'), () => {
  it.each(guestDrivers)('goes and comes under %s', async (driver) => {
    let console = '';
    const machine = new InlineMachine(
      {
        name: 'link',
        clock: 'virtual',
        engine: engineFactory(),
        nics: nicOptions([{ model: 'rtl8139' }], driver),
        domain: {
          memoryMiB: 256,
          vcpus: 1,
          type: 'hvm',
          hpet: true,
          commandLine: guestCommandLine({ driver, mode: 'link' }),
          kernel: await loadKernelImage(readFileSync(guestImages().vmlinux), 'vmlinux'),
          ramdisk: readFileSync(guestImages().initrd),
        },
      },
      { console: (bytes) => (console += Buffer.from(bytes).toString('latin1')) },
    );
    const nic = machine.deviceModel.nics[0]!;
    const runUntil = (text: string): void => {
      const limit = machine.clock.nowNs() + 60e9;
      while (!console.includes(text) && machine.clock.nowNs() < limit)
        if (machine.run(machine.clock.nowNs() + SLICE_NS) === 'shutdown') break;
      expect(console).toContain(text);
    };
    runUntil('link up');
    const seen = console.length;
    nic.setLink(false);
    runUntil('guest: carrier 0');
    expect(console.slice(seen)).toContain('link down');
    const sent = nic.port.counters.sent;
    nic.setLink(true);
    runUntil('guest: carrier 1');
    runUntil('guest: done');
    expect(console.slice(seen)).toMatch(/link down[^]*link up/);
    expect(console).toContain('1 packets transmitted, 1 packets received');
    expect(nic.port.counters.sent).toBeGreaterThan(sent);
    const { rx_packets, tx_packets } = nic.statistics();
    expect([rx_packets, tx_packets]).toEqual([nic.port.counters.received, nic.port.counters.sent]);
  });
});
