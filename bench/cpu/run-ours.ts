/**
 * Runs a kernel image on the vCPU; prints each kernel's time and retired instructions. A first pass, not counted, lasts until
 * V8 has optimised the interpreter: its compiler runs on threads of the same process.
 */
import { readFileSync } from 'node:fs';
import { bareMachine, loadMultiboot, runBare } from '../../test/cpu/bare.ts';

const [image] = process.argv.slice(2);
if (image === undefined) throw new Error('usage: run-ours.ts IMAGE');
/** Instructions of the pass that is not counted. */
const WARM_UP = 400_000_000;
const machine = bareMachine(64);
/** Processor time of this process, all threads, in milliseconds. */
const processorTime = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
let line = '';
let startedAt = 0;
let startedInstructions = 0;
const file = readFileSync(image);
loadMultiboot(machine, file);
runBare(machine, { limit: WARM_UP });
machine.vcpu.reset();
loadMultiboot(machine, file);
machine.vcpu.invalidateNested();
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
