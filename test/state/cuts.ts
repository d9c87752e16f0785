/**
 * npm run state:cuts -- [--guest NAME ...] [--pairs N] [--seed N]
 *
 * Stops a run at N, saves it, restores it in a new process and runs it to M; N and M are drawn at random, N by instruction, exit or
 * nanosecond. State hash, trace, log, capture and console at M have to be those of the run that was never stopped.
 * Exit status: 0 all are equal, 1 some differ.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { PauseAt } from '../../src/hypervisor/sched/schedule.ts';
import { buildLinuxGuest } from '../../src/machine/guest-node.ts';
import type { MachineOptions } from '../../src/machine/guest-side.ts';
import { guestCommandLine } from '../../src/machine/guest.ts';
import { prepareHash, stateHash } from '../../src/machine/state/hash.ts';
import { saveSnapshotFile } from '../../src/machine/state/snapshot-file-node.ts';
import { linuxGuest } from '../cpu/whole-machine.ts';
import { digests, start, tinyOptions } from './machines.ts';

const debian =
  (driver: string, model: 'rtl8139' | 'e1000' = 'rtl8139') =>
  async (): Promise<MachineOptions> => {
    const options = tinyOptions();
    const domain = await linuxGuest(await buildLinuxGuest());
    return {
      ...options,
      name: `debian-${driver}`,
      nics: options.nics.map((nic) => ({ ...nic, model })),
      domain: { ...domain, commandLine: guestCommandLine({ driver: [driver] }) },
    };
  };
const guests: Readonly<Record<string, () => MachineOptions | Promise<MachineOptions>>> = {
  'debian-8139cp': debian('8139cp'),
  'debian-8139too': debian('8139too'),
  'debian-e1000': debian('e1000', 'e1000'),
  tiny: () => tinyOptions(),
  /** Frames without a pause between them. */
  bulk: () => tinyOptions({ mode: 'ping', count: 3000 }),
};

const { values } = parseArgs({
  options: {
    guest: { type: 'string', multiple: true, default: Object.keys(guests) },
    pairs: { type: 'string', default: '40' },
    seed: { type: 'string', default: '1' },
  },
});
const wrong = values.guest.find((name) => !Object.hasOwn(guests, name));
if (wrong !== undefined || !(Number(values.pairs) > 0)) {
  console.error(
    `usage: npm run state:cuts -- [--guest ${Object.keys(guests).join('|')} ...] [--pairs N of each guest] [--seed N]`,
  );
  process.exit(2);
}

/** The same numbers for the same seed (Park and Miller's generator). */
let state = Number(values.seed) % 2147483647 || 1;
const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;

const folder = mkdtempSync(join(tmpdir(), 'cuts-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
await prepareHash();

interface Result {
  readonly hash: string;
  readonly output: Record<string, string>;
}

/** A child's answer; a child that fails ends the whole. */
function child(file: string, instructions: number): Promise<Result> {
  const run = spawn(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'cut-child.ts'), file, String(instructions)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let text = '';
  run.stdout.on('data', (bytes: Buffer) => (text += String(bytes)));
  return new Promise((done, fail) =>
    run.on('close', (status) => {
      rmSync(file, { force: true });
      if (status === 0) done(JSON.parse(text) as Result);
      else fail(new Error(`the child ended with status ${status}`));
    }),
  );
}

let failed = 0;
for (const name of values.guest) {
  const options = await guests[name]!();
  const whole = start(options);
  whole.machine.runTo({});
  const total = whole.machine.position;

  const pairs = Array.from({ length: Number(values.pairs) }, (_, number) => {
    const kind = (['instructions', 'exits', 'ns'] as const)[number % 3]!;
    const [a, b] = [random(), random()].sort((x, y) => x - y) as [number, number];
    return { kind, n: Math.floor(a * total[kind]), to: b };
  });

  // A second run, which stops at all the places in their order; children go on from copies meanwhile.
  const { machine, output } = start(options);
  const length = (): Record<string, number> =>
    Object.fromEntries(Object.entries(output.files()).map(([kind, bytes]) => [kind, bytes.length]));
  type Stop = { readonly at: PauseAt; readonly take: () => Promise<void> | void };
  const stops: Stop[] = [];
  const children: Promise<Result>[] = [];
  const checks: (() => Promise<void>)[] = [];
  for (const { kind, n, to } of pairs) {
    const m = Math.floor(to * total.instructions);
    let from: Record<string, number> = {};
    let expected: { hash: string; length: Record<string, number> } | undefined;
    let answer: Promise<Result> | undefined;
    let where = { instructions: 0, exits: 0, ns: 0 };
    stops.push({
      at: { [kind]: n },
      take: async () => {
        where = machine.position;
        from = length();
        const file = join(folder, `${children.length}.xen`);
        await saveSnapshotFile(file, machine.save());
        const target = Math.max(m, where.instructions);
        answer = child(file, target);
        children.push(answer);
        stops.push({
          at: { instructions: target },
          take: () => void (expected = { hash: stateHash(machine), length: length() }),
        });
        if (children.length % availableParallelism() === 0) await Promise.all(children);
      },
    });
    checks.push(async () => {
      const { hash, output: their } = await answer!;
      const ours = digests(
        Object.fromEntries(Object.entries(output.files()).map(([k, bytes]) => [k, bytes.subarray(from[k], expected!.length[k])])),
      );
      const differ = Object.keys(ours).filter((k) => ours[k] !== their[k]);
      if (hash !== expected!.hash) differ.push('state');
      if (differ.length === 0) return;
      failed++;
      console.log(`${name}: from ${JSON.stringify(where)} (${kind}) to instruction ${m}: ${differ.join(', ')} differ`);
    });
  }
  while (stops.length > 0) {
    // Places by exit and time are reached in an order that only the run knows: the next is the one that the run comes to first.
    const next = { instructions: Infinity, exits: Infinity, ns: Infinity };
    for (const { at } of stops)
      for (const kind of ['instructions', 'exits', 'ns'] as const) next[kind] = Math.min(next[kind], at[kind] ?? Infinity);
    const end = machine.runTo({ ...next });
    const { position } = machine;
    for (const stop of [...stops]) {
      const here = (['instructions', 'exits', 'ns'] as const).some((kind) => position[kind] >= (stop.at[kind] ?? Infinity));
      if (!here && end === 'paused') continue;
      stops.splice(stops.indexOf(stop), 1);
      await stop.take();
    }
  }
  for (const check of checks) await check();
  machine.runTo({});
  const same = stateHash(machine) === stateHash(whole.machine);
  if (!same) console.log(`${name}: the run that was stopped ends otherwise than the one that was not`);
  failed += Number(!same);
  console.log(
    `${name}: ${pairs.length} pairs over ${total.instructions} instructions, ${total.exits} exits; ${failed} differ so far; load ${loadavg()[0]!.toFixed(1)}`,
  );
}
process.exit(failed > 0 ? 1 : 0);
