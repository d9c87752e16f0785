/** A real guest's NIC under load against passt, in little: `npm run load` is the long form. Needs built files in dist/. */
import { describe, expect, it } from 'vitest';
import { loadDisagreements, runLoad } from '../bench/net/load.ts';
import { guestDrivers } from '../src/machine/guest.ts';
import { guestImages, lackOf, PATIENCE_MS } from './needs.ts';

const lack = await lackOf('built', 'passt', 'guest');
const BYTES = 2 << 20;

describe.skipIf(lack.skip)(lack.title('a guest under load, its device model in a Worker, passt behind the socket'), () => {
  it.each(guestDrivers)(
    '%s takes an address by DHCP, floods, moves bytes both ways, and every counter agrees',
    async (driver) => {
      const report = await runLoad({
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
      // While its interface is down the e1000 drops what comes without counting it, and its driver counts large sends its own way.
      const lostUncounted = driver === 'e1000' ? /^(rx frames|tx frames|pings): / : /^$/;
      expect(report.wire!.tx).toBe(report.chip!.tx_packets);
      expect(loadDisagreements(report).filter((line) => !lostUncounted.test(line))).toEqual([]);
      expect(report.driver.rx_packets).toBe(report.chip!.rx_packets);
      for (const [name, count] of Object.entries(report.chip!))
        if (/^rx_(no_room|missed)/.test(name)) expect([name, count]).toEqual([name, 0]);
      expect(report.driver).toMatchObject({ rx_dropped: 0, tx_errors: 0, tx_dropped: 0 });
      for (const direction of ['rx_bytes', 'tx_bytes']) expect(report.chip![direction]).toBeGreaterThan(BYTES);
    },
  );
});
