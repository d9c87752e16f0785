import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { guestCommandLine } from '../src/machine/guest.ts';
import { guestImages, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('qemu', 'guest');

/** The same kernel and initramfs in a machine that is known to work. */
describe.skipIf(lack.skip)(lack.title('the Linux guest under QEMU'), () => {
  const boot = (append: string, input = ''): string =>
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
        'user,model=rtl8139',
        '-kernel',
        guestImages().vmlinuz,
        '-initrd',
        guestImages().initrd,
        '-append',
        append,
      ],
      { encoding: 'utf8', input, timeout: PATIENCE_MS },
    ).stdout;

  it.each(['8139cp', '8139too'] as const)('loads %s, or says that it finds no NIC', (driver) => {
    const console = boot(guestCommandLine({ driver, address: driver === '8139cp' ? 'dhcp' : '10.0.2.15/24' }));
    // QEMU's chip has PCI revision 0x20: an 8139C+, which 8139too leaves to 8139cp.
    if (driver === '8139cp') {
      expect(console).toContain('has 10.0.2.15/');
      expect(console).toContain('3 packets transmitted, 3 packets received');
    } else expect(console).toContain('8139too found no NIC');
    expect(console).toContain('reboot: Power down');
  });
});
