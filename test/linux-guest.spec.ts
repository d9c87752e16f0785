import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { UserError } from '../src/base/errors.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine, type GuestImages } from '../src/machine/guest.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine, type MachineSinks } from '../src/machine/machine.ts';
import { parseMac } from '../src/net/frame.ts';

let images: GuestImages | undefined;
try {
  images = await buildLinuxGuest();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.warn(`left out: ${error.message}`);
}

/** A stock Debian kernel, its own drivers, this machine. */
describe.runIf(images)('Linux on this machine', () => {
  const boot = async (commandLine: string, options: { type?: 'hvm' | 'pvh'; revision?: number; untilMs?: number; sinks?: MachineSinks } = {}) => {
    let text = '';
    const machine = new InlineMachine({
      name: 'linux', clock: 'virtual', engine: engineFactory(),
      nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01'), ...(options.revision === undefined ? {} : { revision: options.revision }) }],
      domain: {
        memoryMiB: 256, vcpus: 1, type: options.type ?? 'hvm', commandLine, hpet: true,
        kernel: await loadKernelImage(readFileSync(images!.vmlinux), 'vmlinux'), ramdisk: readFileSync(images!.initrd),
      },
    }, { ...options.sinks, console: (bytes) => (text += Buffer.from(bytes).toString('latin1')) });
    const end = machine.run((options.untilMs ?? 30_000) * 1e6);
    return { end, machine, console: text };
  };

  it('finds its NIC, loads 8139cp, pings the host and powers off', async () => {
    const log: string[] = [];
    const { end, machine, console } = await boot(guestCommandLine({ driver: '8139cp' }), { sinks: { log: (text) => log.push(text) } });
    expect(console).toContain('Booting paravirtualized kernel on Xen HVM');
    expect(console).toContain('RTL-8139C+');
    expect(console).toContain('00:16:3e:00:00:01, IRQ 28');
    expect(console).toContain('link up');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).not.toMatch(/Call Trace|unchecked MSR|BUG:|WARNING:/);
    expect([end, machine.domain.shutdownReason]).toEqual(['shutdown', 0]);
    // The doorbell's address and the descriptor's are guest-physical, both.
    expect(log.join('')).toMatch(/memory_region_ops_write .* addr 0xc0d9 value 0x40 size 1/);
  });

  it('does the same with 8139too, by DHCP, without anything of Xen, timers calibrated against the PIT, the HPET and the PM timer', async () => {
    const { end, console } = await boot(`${guestCommandLine({ driver: '8139too', address: 'dhcp' })} nopv lapic=notscdeadline clocksource=acpi_pm tsc=unstable`, { revision: 0x10 });
    expect(console).toMatch(/tsc: Fast TSC calibration using PIT|tsc: PIT calibration matches/);
    expect(console).toMatch(/tsc: Detected (999|1000)\.\d+ MHz processor/);
    expect(console).toContain('Switched to clocksource acpi_pm');
    expect(console).toContain('RealTek RTL8139');
    expect(console).toContain('guest: eth0 has 10.0.2.15/24 from 10.0.2.2');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).not.toMatch(/Call Trace|unchecked MSR|BUG:|WARNING:/);
    expect(end).toBe('shutdown');
  });

  it('says PVH when it is entered by its PVH note', async () => {
    const { console } = await boot('console=ttyS0', { type: 'pvh', untilMs: 400 });
    expect(console).toContain('kernel on Xen PVH');
  });
});
