/** The built executable as QEMU's qtest library starts it: by `sh -c exec`, ended by SIGTERM. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { QtestClient, timerTest } from '../src/cli/testing/qtest-client.ts';
import { lackOf } from './needs.ts';

const built = join(import.meta.dirname, '../dist/cli/qtest.js');
const lack = await lackOf('built');

describe('xenolith-system-x86_64', () => {
  it.skipIf(lack.skip)(lack.title("takes QEMU's place for the timer test and ends by SIGTERM with status 0"), async () => {
    const folder = mkdtempSync(join(tmpdir(), 'qtest-'));
    try {
      chmodSync(built, 0o755); // as npm does when it installs the package
      const binary = join(folder, 'xenolith-system-x86_64');
      symlinkSync(built, binary);
      const client = new QtestClient(folder, ['-device', 'rtl8139']);
      const child = spawn('sh', ['-c', `exec ${binary} ${client.args.join(' ')}`], { stdio: ['ignore', 'ignore', 'inherit'] });
      const status = new Promise<number | null>((resolve) => child.on('exit', resolve));
      await client.ready();
      await timerTest(client);
      child.kill('SIGTERM');
      expect(await status).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
