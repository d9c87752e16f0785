import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { guestCommandLine, guestDrivers } from '../src/machine/guest.ts';
import { vifsFor } from '../src/machine/guest-config.ts';
import { guestImages, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('qemu', 'guest');

/** The same kernel and initramfs in a machine that is known to work. */
describe.skipIf(lack.skip)(lack.title('the Linux guest under QEMU'), () => {
  const boot = (model: string, append: string): string =>
    spawnSync(
      'qemu-system-x86_64',
      [
        '-accel',
        'tcg',
        '-m',
        '256',
        '-display',
        'none',
        '-serial',
        'stdio',
        '-monitor',
        'none',
        '-no-reboot',
        '-nic',
        `user,model=${model}`,
        '-kernel',
        guestImages().vmlinuz,
        '-initrd',
        guestImages().initrd,
        '-append',
        append,
      ],
      { encoding: 'utf8', timeout: PATIENCE_MS },
    ).stdout;

  it.each(guestDrivers)('loads %s, or says that it finds no NIC', (driver) => {
    const console = boot(
      vifsFor([driver])[0]!.model,
      guestCommandLine({ driver, address: driver === '8139too' ? '10.0.2.15/24' : 'dhcp' }),
    );
    // QEMU's chip has PCI revision 0x20: an 8139C+, which 8139too leaves to 8139cp.
    if (driver !== '8139too') {
      expect(console).toContain('has 10.0.2.15/');
      expect(console).toContain('3 packets transmitted, 3 packets received');
    } else expect(console).toContain('8139too found no NIC');
    expect(console).toContain('reboot: Power down');
  });
});
