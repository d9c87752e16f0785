/**
 * `npm run load -- [--mib N] [--pings N] [--driver NAME] [--device-model worker|inline] [--no-qemu] [--capture] [--stages]
 * [--console]`: each NIC driver under load on this machine, then on QEMU (TCG) with the same chip, kernel, initramfs and peer,
 * and the ratios. QEMU's RTL8139 has the revision that 8139too refuses, so that driver has no counterpart. `--driver` may be
 * repeated. `--capture` also compares the capture with the counters, `--stages` also tells where the threads' time goes.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism, loadavg } from 'node:os';
import { nicModels } from '../../src/devices/nic/models.ts';
import { guestDrivers } from '../../src/machine/guest.ts';
import { buildLinuxGuest } from '../../src/machine/guest-node.ts';
import { commandLine, count, refuse } from '../command-line.ts';
import { loadDisagreements, type LoadReport, runLoad } from './load.ts';

const values = commandLine(
  `npm run load -- [--mib N] [--pings N] [--driver ${guestDrivers.join('|')}]… [--device-model worker|inline] [--no-qemu] [--capture] [--stages] [--console]`,
  {
    mib: { type: 'string', default: '100' },
    pings: { type: 'string', default: '1000' },
    driver: { type: 'string', multiple: true, default: [...guestDrivers] },
    'device-model': { type: 'string' },
    'no-qemu': { type: 'boolean', default: false },
    capture: { type: 'boolean', default: false },
    stages: { type: 'boolean', default: false },
    console: { type: 'boolean', default: false },
  },
);
const { driver: drivers } = values;
for (const driver of drivers)
  if (!guestDrivers.includes(driver)) refuse(`--driver ${driver}: expected ${guestDrivers.join(', ')}`);
const bytes = count('mib', values.mib) * 2 ** 20;
const pings = count('pings', values.pings);
const images = await buildLinuxGuest();
const rate = (seconds: number): number => bytes / 1e6 / seconds;

function show(name: string, report: LoadReport): void {
  const { seconds, processor, pings: echo, sha256 } = report;
  if (values.console) console.log(report.console);
  console.log(
    `${name}: to the guest ${rate(seconds.download).toFixed(2)} MB/s, from it ${rate(seconds.upload).toFixed(2)} MB/s (processor seconds ${processor.download.toFixed(2)} and ${processor.upload.toFixed(2)}); ping ${echo.received} of ${echo.sent}, min/avg/max ${echo.minMs}/${echo.avgMs}/${echo.maxMs} ms`,
  );
  console.log(
    `  SHA-256 sent ${sha256.sent.slice(0, 12)}, guest ${sha256.guest.slice(0, 12)}, returned ${sha256.returned.slice(0, 12)}`,
  );
  console.log(`  driver ${JSON.stringify(report.driver)}`);
  if (report.chip)
    console.log(
      `  chip rx ${report.chip.rx_packets} tx ${report.chip.tx_packets} no room ${report.chip.rx_no_room}; pauses ${report.pauses!.begun}, run out ${report.pauses!.expired}; wire rx ${report.wire!.rx} tx ${report.wire!.tx}${report.capture ? `; capture rx ${report.capture.rx} tx ${report.capture.tx}` : ''}; lost before the socket ${report.socketDrops}`,
    );
  for (const [direction, threads] of Object.entries(report.stages ?? {})) {
    for (const [thread, stages] of Object.entries(threads)) {
      console.log(
        `  ${direction}, ${thread}: ${Object.entries(stages)
          .map(([stage, share]) => `${stage} ${(100 * share).toFixed(1)} %`)
          .join(', ')}`,
      );
    }
  }
}

console.log(
  `${values.mib} MiB each way, ${pings} pings; ${new Date().toISOString()}, load average ${loadavg()[0]!.toFixed(1)} on ${availableParallelism()} cores`,
);
const haveQemu = !values['no-qemu'] && spawnSync('qemu-system-x86_64', ['--version']).error === undefined;
const ratio = (mine: number, other: number): string => (mine / other).toFixed(2);
for (const driver of drivers) {
  const ours = await runLoad({
    machine: 'xenolith',
    driver,
    images,
    bytes,
    pings,
    capture: values.capture,
    stages: values.stages,
    ...(values['device-model'] === undefined ? {} : { deviceModel: values['device-model'] }),
  });
  show(`xenolith ${driver}`, ours);
  for (const line of loadDisagreements(driver, ours)) {
    console.log(`  WRONG: ${line}`);
    process.exitCode = 1;
  }
  // The first driver of a chip is for the revision that QEMU's has.
  if (!haveQemu || !nicModels.some(({ drivers: [first] }) => first.name === driver)) continue;
  const theirs = await runLoad({ machine: 'qemu', driver, images, bytes, pings });
  show(`qemu tcg ${driver}`, theirs);
  console.log(
    `${driver}, ratios to qemu: to the guest ${ratio(rate(ours.seconds.download), rate(theirs.seconds.download))}, from it ${ratio(rate(ours.seconds.upload), rate(theirs.seconds.upload))} (by processor time ${ratio(theirs.processor.download, ours.processor.download)} and ${ratio(theirs.processor.upload, ours.processor.upload)}), average round trip ${ratio(ours.pings.avgMs, theirs.pings.avgMs)}`,
  );
}
