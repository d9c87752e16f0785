/** A real guest's NIC under load against passt, in little: `npm run load` is the long form. Needs built files in dist/. */
import { describe, expect, it } from 'vitest';
import { loadDisagreements, type LoadOptions, type LoadReport, PeerLost, runLoad } from '../bench/net/load.ts';
import { guestDrivers } from '../src/machine/guest.ts';
import { guestImages, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('built', 'passt', 'guest');
const BYTES = 2 << 20;

/** passt has come to grief under load (a system call that its own filter forbids): such a run shows nothing, and is made again. */
async function loaded(options: LoadOptions): Promise<LoadReport> {
  for (let attempts = 3; ; attempts--) {
    try {
      return await runLoad(options);
    } catch (error) {
      if (!(error instanceof PeerLost) || attempts === 1) throw error;
    }
  }
}

describe.skipIf(lack.skip)(lack.title('a guest under load, its device model in a Worker, passt behind the socket'), () => {
  it.each(guestDrivers)(
    '%s takes an address by DHCP, floods, moves bytes both ways, and every counter agrees',
    async (driver) => {
      const report = await loaded({
        machine: 'xenolith',
        driver,
        images: guestImages(),
        bytes: BYTES,
        pings: 50,
        capture: true,
        timeoutMs: PATIENCE_MS,
      });
      expect(report.console).toContain('guest: eth0 has 10.0.2.15/24 from 10.0.2.2');
      // After the interface went down and came up again.
      expect(report.console).toContain('1 packets transmitted, 1 packets received');
      expect(loadDisagreements(driver, report)).toEqual([]);
      expect(report.pauses!.expired).toBe(0);
      for (const [name, count] of Object.entries(report.chip!))
        if (/^rx_(no_room|missed)/.test(name)) expect([name, count]).toEqual([name, 0]);
      expect(report.driver).toMatchObject({ rx_dropped: 0, tx_errors: 0, tx_dropped: 0 });
      for (const direction of ['rx_bytes', 'tx_bytes']) expect(report.chip![direction]).toBeGreaterThan(BYTES);
    },
  );
});
