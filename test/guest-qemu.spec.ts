import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { nicModels } from '../src/devices/nic/models.ts';
import { guestCommandLine } from '../src/machine/guest.ts';
import { guestImages, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('qemu', 'guest');

/** The same kernel and initramfs in a machine that is known to work. */
describe.skipIf(lack.skip)(lack.title('the Linux guest under QEMU'), () => {
  /** The NICs on one hub, behind which QEMU's user network stands. */
  const boot = (models: readonly string[], append: string): string =>
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
        '-nodefaults',
        '-netdev',
        'user,id=user',
        '-netdev',
        'hubport,hubid=0,id=port,netdev=user',
        ...models.flatMap((model, i) => ['-netdev', `hubport,hubid=0,id=port${i}`, '-device', `${model},netdev=port${i}`]),
        '-kernel',
        guestImages().vmlinuz,
        '-initrd',
        guestImages().initrd,
        '-append',
        append,
      ],
      { encoding: 'utf8', timeout: PATIENCE_MS },
    ).stdout;

  it('loads the driver of every model, and each takes an address by DHCP and pings', () => {
    const console = boot(
      nicModels.map(({ name }) => name),
      guestCommandLine({ driver: nicModels.map(({ drivers }) => drivers[0].name), address: 'dhcp' }),
    );
    const addresses = [...console.matchAll(/guest: eth\d has (10\.0\.2\.\d+)\//g)].map(([, address]) => address);
    expect(new Set(addresses).size).toBe(nicModels.length);
    expect(console.match(/3 packets transmitted, 3 packets received/g)).toHaveLength(nicModels.length);
    expect(console).toContain('reboot: Power down');
  });

  it('8139too says that it finds no NIC', () => {
    // QEMU's chip has PCI revision 0x20: an 8139C+, which 8139too leaves to 8139cp.
    const console = boot(['rtl8139'], guestCommandLine({ driver: '8139too' }));
    expect(console).toContain('8139too found no NIC');
    expect(console).toContain('reboot: Power down');
  });
});
