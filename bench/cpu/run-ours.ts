/** Runs a kernel image on the vCPU; prints each kernel's time and retired instructions. */
import { readFileSync } from 'node:fs';
import { bareMachine, loadMultiboot, runBare } from '../../test/cpu/bare.ts';

const [image] = process.argv.slice(2);
if (image === undefined) throw new Error('usage: run-ours.ts IMAGE');
const machine = bareMachine(64);
loadMultiboot(machine, readFileSync(image));
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
      startedAt = performance.now();
      startedInstructions = machine.vcpu.instructions;
    } else console.log(`${line} ${(performance.now() - startedAt).toFixed(3)} ${machine.vcpu.instructions - startedInstructions}`);
    line = '';
  },
});
if (result.end.kind !== 'exit') {
  console.error(JSON.stringify(result.end));
  process.exit(1);
}
