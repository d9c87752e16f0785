/**
 * Prints how the dumps of the test images differ between the vCPU and QEMU: `tsx test/cpu/privileged/main.ts [long|legacy]`, or
 * `tsx test/cpu/privileged/main.ts segments SEED COUNT` for random snippets on segments of all sizes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bareMachine, loadMultiboot, runBare } from '../bare.ts';
import { type ImageName, buildImage, buildSegmentImage, runUnderQemu } from './build.ts';
import { cases, differences } from './compare.ts';
import { deviations } from './deviations.ts';

const directory = mkdtempSync(join(tmpdir(), 'xenolith-privileged-'));
try {
  const [first, seed = '1', count = '1500'] = process.argv.slice(2);
  const names = first === 'segments' ? ['segments'] : process.argv.length > 2 ? process.argv.slice(2) : ['long', 'legacy'];
  for (const name of names as ImageName[]) {
    const { image, texts } =
      name === 'segments'
        ? buildSegmentImage(directory, Number(seed), Number(count))
        : { image: buildImage(directory, name), texts: [] };
    const qemu = runUnderQemu(image);
    const machine = bareMachine(32);
    loadMultiboot(machine, readFileSync(image));
    const ours = runBare(machine, name === 'segments' ? { limit: 1e10, openBus: 0 } : {});
    const found = differences(qemu.output, ours.output, deviations);
    console.log(
      `${name}: ${cases(qemu.output).length} cases under QEMU (status ${qemu.status}), ${cases(ours.output).length} on ours (${JSON.stringify(ours.end)}); ${found.length} differ, ${found.filter((one) => one.known >= 0).length} of them known`,
    );
    for (const one of found) if (one.known < 0) console.log(`${texts[one.line] ?? ''}\n- ${one.qemu}\n+ ${one.ours}`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
