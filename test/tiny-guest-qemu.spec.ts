import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { assembleTinyGuest, tinyGuestCommandLine, type TinyGuestMode } from '../src/machine/tiny-guest/image.ts';
import { lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('qemu');

describe.skipIf(lack.skip)(lack.title('the tiny guest under QEMU'), () => {
  const directory = mkdtempSync(join(tmpdir(), 'tiny-guest-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  /** Boot by the PVH note; gives what it said on COM1 and on port 0xe9. The guest powers the machine off itself. */
  const boot = (mode: TinyGuestMode, nic = 'user,model=rtl8139'): { serial: string; debug: string } => {
    const image = join(directory, 'tiny.elf');
    const debug = join(directory, 'debug');
    writeFileSync(image, assembleTinyGuest());
    const run = spawnSync(
      'qemu-system-x86_64',
      [
        '-accel',
        'tcg',
        '-m',
        '64',
        '-display',
        'none',
        '-serial',
        'stdio',
        '-monitor',
        'none',
        '-no-reboot',
        '-debugcon',
        `file:${debug}`,
        '-nic',
        nic,
        '-kernel',
        image,
        '-append',
        tinyGuestCommandLine(mode),
      ],
      { encoding: 'utf8', input: '', timeout: PATIENCE_MS },
    );
    expect(run.status).toBe(0);
    return { serial: run.stdout.replaceAll('\r', ''), debug: readFileSync(debug, 'utf8') };
  };

  it('pings the host over its rings, by interrupts', () => {
    const { serial } = boot({ mode: 'ping', count: 5 });
    expect(serial).toContain('RTL8139 at 00:03.0');
    expect(serial).toMatch(/seq=0\n.*seq=1\n.*seq=2\n.*seq=3\n.*seq=4\n5 packets transmitted, 5 packets received\n$/);
  });

  it('writes to the VGA hole and to the NIC, silent on COM1', () => {
    const { serial, debug } = boot({ mode: 'buffered', writes: 600 });
    expect(serial).toBe('');
    expect(debug).toContain('writes to 0xb8000 done\ntiny guest: write to the NIC done\n');
  });

  it('reads a register of the NIC many times', () => {
    expect(boot({ mode: 'exits', reads: 10_000 }).serial).toContain('reads of the NIC done');
  });

  it('says so when there is no NIC', () => {
    expect(boot({ mode: 'ping' }, 'none').serial).toContain('no RTL8139 on bus 0');
  });
});
