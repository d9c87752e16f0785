/**
 * What a machine with a state costs: size and time of a saved Debian guest, and how long it takes to go anywhere in its boot.
 * Times are of this process, without its start. Usage: npx tsx bench/state.ts [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { whoWroteMemory, whoWroteRegister, type Writer } from '../src/debug/who.ts';
import { Timeline } from '../src/debug/timeline.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';
import { guestCommandLine } from '../src/machine/guest.ts';
import { InlineMachine, type MachineOptions } from '../src/machine/machine.ts';
import { optionsOf } from '../src/machine/state/machine-state.ts';
import { loadSnapshotFile, saveSnapshotFile } from '../src/machine/state/snapshot-file-node.ts';
import { parseMac } from '../src/net/frame.ts';
import { linuxGuest } from '../test/cpu/whole-machine.ts';

const ROUNDS = 20;
const results: Record<string, number | string> = { load: loadavg()[0]!, cores: availableParallelism() };
const say = (name: string, value: number | string, unit = ''): void => {
  results[name] = value;
  if (!process.argv.includes('--json'))
    console.log(`${name.padEnd(44)} ${typeof value === 'number' ? value.toFixed(1) : value} ${unit}`);
};
async function timed<T>(act: () => T | Promise<T>): Promise<[ms: number, value: T]> {
  const begin = performance.now();
  const value = await act();
  return [performance.now() - begin, value];
}
const median = (of: readonly number[]): number => of.toSorted((a, b) => a - b)[of.length >> 1]!;

const images = await buildLinuxGuest();
const domain = await linuxGuest(images);
const options: MachineOptions = {
  name: 'debian',
  clock: 'virtual',
  nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
  domain,
  engine: engineFactory(),
};

// A guest that waits at its shell: saved, loaded, and asked something.
const folder = mkdtempSync(join(tmpdir(), 'bench-state-'));
try {
  let shown = '';
  const shell = new InlineMachine(
    {
      ...options,
      exactBudgets: true,
      domain: { ...domain, commandLine: guestCommandLine({ mode: 'shell' }) },
      input: [],
      socketOut: null,
    },
    { console: (bytes) => (shown += Buffer.from(bytes).toString('latin1')) },
  );
  shell.runTo({ when: () => / # $/.test(shown) });
  const { ns } = shell.position;
  const file = join(folder, 'shell.xen');
  const [saveMs, { bytes }] = await timed(() => saveSnapshotFile(file, shell.save()));
  say('saved machine', bytes / 2 ** 20, 'MiB');
  say('saving', saveMs, 'ms');
  let answer = '';
  const [resumeMs] = await timed(async () => {
    const { state } = await loadSnapshotFile(file);
    const { rounds } = state.parts['run loop']!.state as { rounds: number };
    const typed = { kind: 'console' as const, round: rounds + 1, ns: ns + 1e6, bytes: Buffer.from('echo answer $((6*7))\n') };
    const machine = new InlineMachine(
      { ...optionsOf(state.config), engine: engineFactory(), input: [typed] },
      { console: (part) => (answer += Buffer.from(part).toString('latin1')) },
      state,
    );
    machine.runTo({ ns: ns + 1e9, when: () => answer.includes('answer 42') });
  });
  say('restored until the shell answers', resumeMs, answer.includes('answer 42') ? 'ms' : 'ms, and no answer came');
} finally {
  rmSync(folder, { recursive: true });
}

const timeline = await Timeline.ofMachine(options);
const [bootMs] = await timed(() => timeline.forward({}));
say('boot, ping and power off, with kept states', bootMs / 1000, 's');
say('kept states', timeline.kept.positions.length);
say('pages of kept states', timeline.kept.bytes / 2 ** 20, 'MiB');
const total = timeline.position.instructions;
let seed = 7;
const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
const gotos: number[] = [];
const backs: number[] = [];
for (let i = 0; i < ROUNDS; i++) {
  const instructions = Math.floor(random() * total);
  gotos.push((await timed(() => timeline.goTo({ instructions })))[0]);
  backs.push((await timed(() => timeline.goTo({ instructions: instructions - 1 })))[0]);
}
say('goto, median', median(gotos), 'ms');
say('goto, longest', Math.max(...gotos), 'ms');
say('back by an instruction, median', median(backs), 'ms');
say('back by an instruction, longest', Math.max(...backs), 'ms');

// The driver's last doorbell, and from there: who wrote the descriptor that it announces, the chip's status, a page table entry?
timeline.goTo({ instructions: total - 1 });
const bell = timeline.previous((h) => h.kind === 'doorbell' && h.write.register === 'TxPoll');
if (bell === undefined) throw new Error('the driver rang no doorbell');
// The chip serves the doorbell within its exit, and writes the descriptor's status back. Before the exit stands what the driver wrote.
const { instructions: ringing } = bell.position;
timeline.goTo({ instructions: ringing });
const back = timeline.next((h) => h.kind === 'dma');
if (back?.kind !== 'dma') throw new Error('the chip wrote no descriptor back');
timeline.goTo({ instructions: ringing });
const searches: [string, () => Writer | undefined][] = [
  [`descriptor at gpa 0x${back.gpa.toString(16)}`, () => whoWroteMemory(timeline, back.gpa, 4)],
  ['IntrStatus', () => whoWroteRegister(timeline, 0, 'IntrStatus')],
  [
    'a page table entry',
    () => whoWroteMemory(timeline, Number(timeline.machine.hvm.engine.registers.cr3 & 0xf_ffff_ffff_f000n) + 2048, 8),
  ],
];
for (const [name, search] of searches) {
  const [ms, writer] = await timed(search);
  say(`last writer of ${name}`, ms, `ms (${writer?.by}: ${writer?.text})`);
}
if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 1));
