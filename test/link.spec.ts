/** The cable is pulled and put back while a Linux guest runs: its driver notices, and its NIC works on. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine, guestDrivers } from '../src/machine/guest.ts';
import { nicOptions, vifsFor } from '../src/machine/guest-config.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { guestImages, lackOf } from './needs.ts';

const lack = await lackOf('guest');
const SLICE_NS = 20e6;
/** Drivers of chips whose registers say nothing of the cable. */
const TELLS_NOTHING = ['ne2k-pci'];

describe.skipIf(lack.skip)(lack.title('the cable'), () => {
  it.each(guestDrivers)('goes and comes under %s', async (driver) => {
    let console = '';
    const machine = new InlineMachine(
      {
        name: 'link',
        clock: 'virtual',
        engine: engineFactory(),
        nics: nicOptions(vifsFor([driver]), [driver]),
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
    runUntil('guest: carrier 1');
    const seen = console.length;
    nic.setLink(false);
    if (TELLS_NOTHING.includes(driver)) {
      // It has no way to know: what it sends is lost until the cable is back.
      runUntil('1 packets transmitted, 0 packets received');
      expect(console.slice(seen)).not.toMatch(/link down|guest: carrier 0/);
    } else {
      runUntil('guest: carrier 0');
      expect(console.slice(seen)).toMatch(/link (is )?down/i);
    }
    const sent = nic.port.counters.sent;
    nic.setLink(true);
    runUntil('guest: done');
    if (!TELLS_NOTHING.includes(driver)) {
      expect(console.slice(seen)).toMatch(/link (is )?down[^]*link (is )?up/i);
      expect(console.slice(seen)).toContain('guest: carrier 1');
    }
    expect(console.slice(seen)).toContain('1 packets transmitted, 1 packets received');
    expect(nic.port.counters.sent).toBeGreaterThan(sent);
    const { rx_packets, tx_packets } = nic.statistics();
    expect([rx_packets, tx_packets]).toEqual([nic.port.counters.received, nic.port.counters.sent]);
  });
});
