/** Runs a kernel image on the vCPU; prints each kernel's time and retired instructions. */
import { readFileSync } from 'node:fs';
import { bareMachine, loadMultiboot, runBare } from '../../test/cpu/bare.ts';

const [image] = process.argv.slice(2);
if (image === undefined) throw new Error('usage: run-ours.ts IMAGE');
const machine = bareMachine(64);
loadMultiboot(machine, readFileSync(image));
/** Processor time of this process, all threads, in milliseconds. */
const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let line = '';
let startedAt = 0;
let startedInstructions = 0;
const result = runBare(machine, {
  limit: 1e12,
  onByte: (byte) => {
    if (byte !== 10) {
      line += String.fromCharCode(byte);
      return;
    }
    if (line.startsWith('S')) {
      startedAt = processorTime();
      startedInstructions = machine.vcpu.instructions;
    } else console.log(`${line} ${(processorTime() - startedAt).toFixed(3)} ${machine.vcpu.instructions - startedInstructions}`);
    line = '';
  },
});
if (result.end.kind !== 'exit') {
  console.error(JSON.stringify(result.end));
  process.exit(1);
}
