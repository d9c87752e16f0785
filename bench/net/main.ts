/**
 * `npm run load -- [--mib N] [--pings N] [--driver 8139cp|8139too|both] [--device-model worker|inline] [--no-qemu] [--capture] [--stages] [--console]`: both
 * drivers under load on this machine, then 8139cp on QEMU (TCG, `-device rtl8139`) with the same kernel, initramfs and peer, and
 * the ratios. QEMU's chip has the revision that 8139too refuses, so that driver has no counterpart. `--capture` also compares
 * the capture with the counters, `--stages` also tells where the threads' time goes.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism, loadavg } from 'node:os';
import { guestDrivers } from '../../src/machine/guest.ts';
import { buildLinuxGuest } from '../../src/machine/guest-node.ts';
import { commandLine, count, refuse } from '../command-line.ts';
import { loadDisagreements, type LoadReport, runLoad } from './load.ts';

const values = commandLine(
  'npm run load -- [--mib N] [--pings N] [--driver 8139cp|8139too|both] [--device-model worker|inline] [--no-qemu] [--capture] [--stages] [--console]',
  {
    mib: { type: 'string', default: '100' },
    pings: { type: 'string', default: '1000' },
    driver: { type: 'string', default: 'both' },
    'device-model': { type: 'string' },
    'no-qemu': { type: 'boolean', default: false },
    capture: { type: 'boolean', default: false },
    stages: { type: 'boolean', default: false },
    console: { type: 'boolean', default: false },
  },
);
const drivers = guestDrivers.filter((driver) => values.driver === 'both' || values.driver === driver);
if (!drivers.length) refuse(`--driver ${values.driver}: expected ${guestDrivers.join(', ')} or both`);
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
const reports = new Map<string, LoadReport>();
for (const driver of drivers) {
  const report = await runLoad({
    machine: 'xenolith',
    driver,
    images,
    bytes,
    pings,
    capture: values.capture,
    stages: values.stages,
    ...(values['device-model'] === undefined ? {} : { deviceModel: values['device-model'] }),
  });
  reports.set(driver, report);
  show(`xenolith ${driver}`, report);
  for (const line of loadDisagreements(report)) {
    console.log(`  WRONG: ${line}`);
    process.exitCode = 1;
  }
}
const ours = reports.get('8139cp');
if (ours && !values['no-qemu'] && spawnSync('qemu-system-x86_64', ['--version']).error === undefined) {
  const theirs = await runLoad({ machine: 'qemu', driver: '8139cp', images, bytes, pings });
  show('qemu tcg 8139cp', theirs);
  const ratio = (mine: number, other: number): string => (mine / other).toFixed(2);
  console.log(
    `ratios to qemu: to the guest ${ratio(rate(ours.seconds.download), rate(theirs.seconds.download))}, from it ${ratio(rate(ours.seconds.upload), rate(theirs.seconds.upload))} (by processor time ${ratio(theirs.processor.download, ours.processor.download)} and ${ratio(theirs.processor.upload, ours.processor.upload)}), average round trip ${ratio(ours.pings.avgMs, theirs.pings.avgMs)}`,
  );
}
