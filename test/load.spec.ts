/** A real guest's NIC under load against passt, in little: `npm run load` is the long form. Needs built files in dist/. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadDisagreements, runLoad } from '../bench/net/load.ts';
import { UserError } from '../src/base/errors.ts';
import type { GuestImages } from '../src/machine/guest.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';

const root = join(import.meta.dirname, '..');
const entry = join(root, 'dist/cli/main.js');
const builtAt = existsSync(entry) ? statSync(entry).mtimeMs : 0;
const built = ['machine', 'hypervisor', 'device-model', 'net', 'cli'].every((room) =>
  readdirSync(join(root, 'src', room)).every((file) => statSync(join(root, 'src', room, file)).mtimeMs <= builtAt));
let images: GuestImages | undefined;
let missing = built ? '' : 'dist/ is missing or older than src/ (npm run build)';
if (spawnSync('passt', ['--version']).error !== undefined) missing = 'passt is not installed';
try {
  images = await buildLinuxGuest();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  missing = error.message;
}
if (missing) console.warn(`left out: ${missing}`);

describe.skipIf(missing !== '')('a guest under load, its device model in a Worker, passt behind the socket', () => {
  it('takes an address by DHCP, floods, moves bytes both ways, and every counter agrees', { timeout: 300_000 }, async () => {
    const report = await runLoad({ machine: 'xenolith', driver: '8139cp', images: images!, bytes: 1 << 20, pings: 20, capture: true, timeoutMs: 280_000 });
    expect(report.console).toContain('guest: eth0 has 10.0.2.15/24 from 10.0.2.2');
    expect(report.console).toContain('1 packets transmitted, 1 packets received');
    expect(loadDisagreements(report)).toEqual([]);
    expect(report.chip!.rx_packets).toBeGreaterThan((1 << 20) / 1514);
  });
});
