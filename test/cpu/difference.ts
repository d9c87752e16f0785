/**
 * npm run cpu:difference -- [--guest linux|tiny] [--compile warm|early|regions|all] [--step MS]
 *
 * Runs a guest with the compiler on and with it off under the virtual clock, and compares registers, retired instructions, console,
 * trace, log and capture after every step of modelled time. Where they differ it finds the first instruction that compiled code
 * runs otherwise, and shows it with the registers before it. Exit status: 0 the runs are equal, 1 they differ.
 */
import { parseArgs } from 'node:util';
import { WARM_CODE } from '../../src/cpu/compiled/hot-code.ts';
import { disassemble } from '../../src/machine/disassemble-node.ts';
import { buildLinuxGuest } from '../../src/machine/guest-node.ts';
import { COMPILE } from './engine.ts';
import { firstDifference, stateAt, type Subject } from './first-difference.ts';
import { linuxGuest, tinyGuest, WholeMachine } from './whole-machine.ts';

const { values } = parseArgs({
  options: {
    guest: { type: 'string', default: 'linux' },
    compile: { type: 'string', default: 'warm' },
    step: { type: 'string', default: '100' },
  },
});
const policies = { warm: WARM_CODE, early: COMPILE.early, regions: COMPILE.regions, all: COMPILE.all };
const policy = policies[values.compile as keyof typeof policies];
const step = Number(values.step) * 1e6;
if (policy === undefined || !['linux', 'tiny'].includes(values.guest) || !(step > 0)) {
  console.error('usage: npm run cpu:difference -- [--guest linux|tiny] [--compile warm|early|regions|all] [--step MS]');
  process.exit(2);
}
const guest = values.guest === 'tiny' ? tinyGuest() : await linuxGuest(await buildLinuxGuest());

const interpreted = new WholeMachine(guest, COMPILE.never);
const compiled = new WholeMachine(guest, policy);
for (let until = step; ; until += step) {
  const ends = [interpreted, compiled].map(({ machine }) => machine.run(until));
  const [one, two] = [interpreted.state(), compiled.state()];
  const different = Object.keys(one).filter((name) => one[name] !== two[name]);
  if (different.length || ends[0] !== ends[1]) {
    console.log(`at ${until / 1e6} ms of modelled time these differ: ${different.join(', ')}`);
    show(until);
    process.exit(1);
  }
  if (ends[0] === 'until') continue;
  const { engine } = compiled;
  console.log(`equal to the end (${ends[0]}): ${engine.instructions} instructions, ${engine.compiled} regions compiled`);
  process.exit(0);
}

function show(untilNs: number): void {
  const make = (until: number): Subject => {
    const whole = new WholeMachine(guest, { ...policy!, until });
    return {
      engine: whole.engine,
      run() {
        whole.machine.run(untilNs);
        return JSON.stringify(whole.state());
      },
    };
  };
  const number = firstDifference(make);
  const found = number === undefined ? undefined : stateAt(make(0), number);
  if (!found) {
    console.log('the difference is gone when compiled code can end at every instruction');
    return;
  }
  console.log(`instruction ${number} is the first that compiled code runs otherwise. Before it:`);
  console.log(disassemble(found.code, found.rip, found.rip, found.bits)[0]);
  console.log(found.registers);
}
