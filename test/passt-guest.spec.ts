/** `xenolith run --netdev`: a stock Linux guest, its device model in a Worker, takes its address from passt. Needs built files in dist/. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { guestCommandLine } from '../src/machine/guest.ts';
import { entry, guestImages, lackOf, PATIENCE_MS, until } from './needs.ts';

const lack = await lackOf('built', 'passt', 'guest');

describe.skipIf(lack.skip)(lack.title('a guest behind a socket'), () => {
  it('gets its address from passt by DHCP and powers off', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'passt-'));
    const path = join(folder, 'passt.sock');
    const identity = process.getuid?.() === 0 ? ['--runas', '0:0'] : [];
    const peer = spawn(
      'passt',
      ['-f', '-1', '-q', '-4', '-s', path, '-a', '10.0.2.15', '-n', '24', '-g', '10.0.2.2', ...identity],
      { stdio: 'ignore' },
    );
    try {
      await until('the socket of passt', () => existsSync(path));
      const file = join(folder, 'console');
      const { status, stderr } = spawnSync(
        process.execPath,
        [
          entry,
          'run',
          '--kernel',
          guestImages().vmlinux,
          '--initrd',
          guestImages().initrd,
          '--append',
          guestCommandLine({ address: 'dhcp' }),
          '--memory',
          '256',
          '--netdev',
          `unix:${path}`,
          '--console',
          file,
        ],
        { encoding: 'utf8', timeout: PATIENCE_MS },
      );
      expect(readFileSync(file, 'latin1')).toContain('guest: eth0 has 10.0.2.15/24 from 10.0.2.2');
      expect([status, stderr]).toEqual([0, expect.stringContaining('the guest powered off')]);
    } finally {
      peer.kill();
      rmSync(folder, { recursive: true });
    }
  });
});
