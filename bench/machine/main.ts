/**
 * npm run bench:machine -- [--rounds N] [--out FILE] [--json]
 *
 * The whole machine: boot to the end of the ping beside QEMU (same vmlinux, same initramfs, every round runs every
 * machine once, medians over the rounds), exits a second, kick latency, the cost of the records, an idle guest,
 * resident memory. Measured over dist/ (npm run build), from outside the process.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { guestCommandLine } from '../../src/machine/guest.ts';
import { buildLinuxGuest } from '../../src/machine/guest-node.ts';
import { assembleTinyGuest, tinyGuestCommandLine } from '../../src/machine/tiny-guest/image.ts';
import { commandLine, count } from '../command-line.ts';
import { kickLatency } from './kick.ts';
import { measure, median, processorSeconds, startUntil, type Usage } from './measure.ts';

const values = commandLine('npm run bench:machine -- [--rounds N] [--out FILE] [--json]', {
  rounds: { type: 'string', default: '3' },
  out: { type: 'string', default: 'out/bench-machine.json' },
  json: { type: 'boolean', default: false },
});
const rounds = count('rounds', values.rounds);
const MEMORY_MIB = 256;
const READS = [50_000, 250_000] as const;
const IDLE_SECONDS = 10;

const dist = resolve(import.meta.dirname, '../../dist');
const cli = join(dist, 'cli/main.js');
if (!existsSync(cli)) throw new Error(`${cli}: no such file; run \`npm run build\` first`);
const xenolith = (...args: string[]): string[] => [process.execPath, cli, 'run', '--memory', String(MEMORY_MIB), ...args];
const placements = ['inline', 'worker'] as const;
const place = (placement: string): string[] => ['--device-model', placement];

const images = await buildLinuxGuest();
const directory = mkdtempSync(join(tmpdir(), 'xenolith-bench-'));
try {
  const linux = ['--kernel', images.vmlinux, '--initrd', images.initrd, '--append', guestCommandLine()];
  const file = (name: string): string => join(directory, name);
  const qemu = (...args: string[]): string[] => [
    'qemu-system-x86_64',
    '-accel',
    'tcg',
    '-m',
    String(MEMORY_MIB),
    '-display',
    'none',
    '-serial',
    'stdio',
    '-monitor',
    'none',
    '-no-reboot',
    '-nic',
    'user,model=rtl8139',
    '-kernel',
    images.vmlinux,
    '-initrd',
    images.initrd,
    '-append',
    guestCommandLine(),
    ...args,
  ];
  const contenders = new Map<string, string[]>([
    ['xenolith, virtual clock, inline', xenolith(...linux, '--clock', 'virtual', ...place('inline'))],
    ['qemu tcg -icount shift=3,sleep=off', qemu('-icount', 'shift=3,sleep=off')],
    ...placements.map((placement): [string, string[]] => [
      `xenolith, host clock, ${placement}`,
      xenolith(...linux, '--clock', 'host', ...place(placement)),
    ]),
    ['qemu tcg', qemu()],
    [
      'xenolith, virtual clock, inline, --trace',
      xenolith(...linux, '--clock', 'virtual', ...place('inline'), '--trace', file('t')),
    ],
    [
      'xenolith, virtual clock, inline, --dm-log',
      xenolith(...linux, '--clock', 'virtual', ...place('inline'), '--dm-log', file('l')),
    ],
    [
      'xenolith, virtual clock, inline, --trace --dm-log --pcap',
      xenolith(
        ...linux,
        '--clock',
        'virtual',
        ...place('inline'),
        '--trace',
        file('t'),
        '--dm-log',
        file('l'),
        '--pcap',
        file('p'),
      ),
    ],
  ]);
  if (spawnSync('qemu-system-x86_64', ['--version']).status !== 0) {
    console.error('qemu left out: qemu-system-x86_64 is not installed');
    for (const name of [...contenders.keys()]) if (name.startsWith('qemu')) contenders.delete(name);
  }
  const runs = new Map<string, Usage[]>([...contenders.keys()].map((name) => [name, []]));
  const rates = new Map<string, number[]>(placements.map((placement) => [placement, []]));
  writeFileSync(file('tiny'), assembleTinyGuest());
  for (let round = 1; round <= rounds; round++) {
    for (const [name, command] of contenders) {
      console.error(`round ${round}: ${name}`);
      const usage = await measure(command);
      if (!usage.stdout.includes('3 packets transmitted, 3 packets received'))
        throw new Error(`${name}: the guest did not ping\n${usage.stdout.slice(-2000)}`);
      runs.get(name)!.push(usage);
    }
    for (const placement of placements) {
      console.error(`round ${round}: exits, ${placement}`);
      const [few, many] = [await exitsNs(placement, READS[0]), await exitsNs(placement, READS[1])];
      rates.get(placement)!.push((READS[1] - READS[0]) / ((many - few) / 1e9));
    }
  }
  async function exitsNs(placement: string, reads: number): Promise<number> {
    const { stdout } = await measure([
      ...xenolith(
        '--kernel',
        file('tiny'),
        '--append',
        tinyGuestCommandLine({ mode: 'exits', reads }),
        '--clock',
        'host',
        '--json',
      ),
      ...place(placement),
    ]);
    return (JSON.parse(stdout.trim().split('\n').at(-1)!) as { ns: number }).ns;
  }
  console.error('kick latency');
  const kick = await kickLatency(dist);
  const idle = new Map<string, number>();
  for (const placement of placements) {
    console.error(`idle guest, ${placement}`);
    const shell = await startUntil(
      xenolith(
        '--kernel',
        images.vmlinux,
        '--initrd',
        images.initrd,
        '--append',
        guestCommandLine({ mode: 'shell' }),
        '--clock',
        'host',
        ...place(placement),
      ),
      'guest: a shell',
    );
    await sleep(3000);
    const [before, begin] = [processorSeconds(shell.pid!), performance.now()];
    await sleep(IDLE_SECONDS * 1000);
    idle.set(placement, ((processorSeconds(shell.pid!) - before) / ((performance.now() - begin) / 1000)) * 100);
    shell.kill('SIGKILL');
  }

  const boots = [...runs].map(([name, usages]) => ({
    name,
    wall: median(usages.map((u) => u.wall)),
    cpu: median(usages.map((u) => u.cpu)),
    residentMiB: median(usages.map((u) => u.residentMiB)),
    runs: usages.map(({ wall, cpu, residentMiB }) => ({ wall, cpu, residentMiB })),
  }));
  const of = (name: string): (typeof boots)[number] | undefined => boots.find((boot) => boot.name === name);
  const plain = of('xenolith, virtual clock, inline')!;
  const ratio = (a: string, b: string): number | undefined => {
    const [x, y] = [of(a), of(b)];
    return x && y && x.cpu / y.cpu;
  };
  const virtualRatio = ratio(plain.name, 'qemu tcg -icount shift=3,sleep=off');
  const hostRatio = ratio(`xenolith, host clock, ${placements.at(-1)}`, 'qemu tcg');
  const beyond =
    Math.max(...boots.filter((boot) => boot.name.startsWith('xenolith')).map((boot) => boot.residentMiB)) - MEMORY_MIB;
  const report = {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? '',
    cores: cpus().length,
    loadAverage: readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).map(Number),
    node: process.version,
    kernel: images.version,
    guestMiB: MEMORY_MIB,
    rounds,
    boots,
    cpuRatio: { virtual: virtualRatio, host: hostRatio },
    exitsPerSecond: Object.fromEntries([...rates].map(([placement, list]) => [placement, median(list)])),
    kickMicroseconds: kick,
    idlePercentOfACore: Object.fromEntries(idle),
    residentBeyondGuestMiB: beyond,
  };
  mkdirSync(dirname(values.out), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(report, undefined, 1)}\n`);
  if (values.json) console.log(JSON.stringify(report));
  else {
    const say = (name: string, ...cells: string[]): void =>
      console.log([name.padEnd(58), ...cells.map((cell) => cell.padStart(12))].join(''));
    const verdict = (reached: boolean): string => (reached ? 'reached' : 'missed');
    console.log(
      `${report.cpu}, ${report.cores} cores, load ${report.loadAverage.join(' ')}; Node ${report.node}; Debian ${report.kernel}, ${MEMORY_MIB} MiB; medians of ${rounds}`,
    );
    say('boot to end of ping', 'wall s', 'CPU s', 'MiB');
    for (const boot of boots) say(boot.name, boot.wall.toFixed(2), boot.cpu.toFixed(2), boot.residentMiB.toFixed(0));
    if (virtualRatio !== undefined)
      say("CPU time over QEMU's, virtual clock (target 3)", virtualRatio.toFixed(2), verdict(virtualRatio <= 3));
    if (hostRatio !== undefined)
      say("CPU time over QEMU's, host clock (target 3)", hostRatio.toFixed(2), verdict(hostRatio <= 3));
    say('boot to end of ping, s (target 20)', plain.wall.toFixed(2), verdict(plain.wall <= 20));
    for (const [placement, list] of rates)
      say(`MMIO exits a second, ${placement}`, Math.round(median(list)).toLocaleString('en'));
    say('kick of a running vCPU, us', kick.running.toFixed(1));
    say('wake of a sleeping thread, us', kick.sleeping.toFixed(1));
    for (const [placement, percent] of idle)
      say(`idle guest, % of a core, ${placement} (target 3)`, percent.toFixed(1), verdict(percent <= 3));
    say('resident beyond guest memory, MiB (target 300)', beyond.toFixed(0), verdict(beyond <= 300));
    console.log(`also in ${values.out}`);
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
