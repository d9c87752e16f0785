/** `xenolith run`: boot a guest as an HVM domain and record every hop of its I/O. */
import { constants } from 'node:os';
import { InvalidArgumentError, type Command } from 'commander';
import { openAnalysis } from '../analyze/files-node.ts';
import { describeFrame } from '../analyze/sources/ethernet.ts';
import { analyze, renderStory, theGuest, tellStory as tellPacket } from '../analyze/index.ts';
import { gvaOf } from '../machine/linear-claim.ts';
import { UserError } from '../base/errors.ts';
import { nicModels } from '../devices/nic/models.ts';
import { buildLinuxGuest } from '../machine/guest-node.ts';
import { guestCommandLine, guestDrivers } from '../machine/guest.ts';
import { driversFor, nicOptions, vifsFor } from '../machine/guest-config.ts';
import { loadKernelImage } from '../machine/kernel.ts';
import { RUN_OUTCOMES, type RunOutcome } from '../machine/exit-status.ts';
import type { DeviceModelPlacement, JobOutput, JobResult, MachineJob } from '../machine/job.ts';
import { checkPlacement, Interrupted, type MachineRun } from '../machine/launch.ts';
import { launchMachine } from '../machine/launch-node.ts';
import { MEMORY_MIB, parseXlConfig, type XlConfig } from '../machine/xl-cfg.ts';
import { createFrameRing, FrameRingProducer } from '../net/frame-ring.ts';
import { TRC_ALL, TRC_DOM0OP, TRC_GEN, TRC_HVM, TRC_HW, TRC_MEM, TRC_PV, TRC_SCHED, TRC_SHADOW } from '../trace/events.ts';
import { parseStreamAddress, type StreamAddress, StreamNetdev } from '../net/stream-node.ts';
import { oneLine } from './failure.ts';
import { Inputs } from './inputs.ts';
import { Outputs } from './outputs.ts';
import { withProgress } from './progress.ts';
import { standardOutputLost } from './standard-output.ts';
import { attachTerminal } from './terminal.ts';
import { announcement, farewell, nextPacket } from './tour.ts';

interface RunOptions {
  kernel?: string;
  initrd?: string;
  append?: string;
  memory?: number;
  driver: string[];
  shell?: boolean;
  trace?: string;
  e?: number;
  dmLog?: string;
  dmLogForm: string;
  pcap?: string;
  console: string[];
  clock?: 'virtual' | 'host';
  deviceModel?: DeviceModelPlacement;
  netdev?: string;
  seed: number;
  timeout: number;
  testDevices?: boolean;
  fep?: boolean;
  story?: boolean;
  json?: boolean;
}

/** Bytes of frames on their way to the guest: what lies here waits, and a peer that counts seconds counts it, so it is short. */
const RECEIVE_RING = 1 << 18;

const collect = (value: string, before: string[]): string[] => [...before, value];
export const whole =
  (min: number, max: number) =>
  (value: string): number => {
    const n = Number(value);
    if (value.trim() === '' || !Number.isInteger(n) || n < min || n > max)
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    return n;
  };
const oneOf =
  (...names: readonly string[]) =>
  (value: string): string => {
    if (!names.includes(value)) throw new InvalidArgumentError(`expected ${names.join(' or ')}`);
    return value;
  };

/** `8139cp or 8139too (rtl8139), e1000 (e1000)`. */
const driverHelp = nicModels.map(({ name, drivers }) => `${drivers.map((d) => d.name).join(' or ')} (${name})`).join(', ');

const statuses = Object.values(RUN_OUTCOMES)
  .map(({ status, text }) => `  ${String(status).padStart(2)}  ${text}`)
  .join('\n');

export function registerRun(program: Command): void {
  program
    .command('run')
    .description('boot a guest and record every hop of its I/O')
    .argument('[guest.cfg]', "the guest's configuration, as xl takes it; without one, a Debian guest that pings the host")
    .option('--kernel <file>', 'bzImage, vmlinux, 32-bit ELF or Multiboot image to boot (default: a Debian kernel, fetched once)')
    .option('--initrd <file>', 'initial ramdisk')
    .option('--append <line>', "more for the kernel's command line (a Linux of your own: console=ttyS0 brings its console here)")
    .option('--memory <MiB>', 'memory of the guest', whole(MEMORY_MIB.min, MEMORY_MIB.max))
    .option(
      '--driver <name>',
      `NIC driver of the Debian guest, in place of the first for its NIC's model: ${driverHelp}; may be repeated for NICs of other models (without guest.cfg it chooses the model too)`,
      (value: string, before: string[]) => [...before, oneOf(...guestDrivers)(value)],
      [],
    )
    .option('--shell', 'the Debian guest gives a shell on the console instead of pinging')
    .option('--trace <file>', 'write an xentrace file')
    .option(
      '-e <mask>',
      'event mask of the trace, as xentrace takes it (a number, or all, gen, sched, dom0op, hvm, mem, pv, shadow, hw; needs --trace)',
      parseEventMask,
    )
    .option('--dm-log <file>', "write the device model's log")
    .option(
      '--dm-log-form <form>',
      'form of the log: trace (QEMU trace events) or classic (I/O request lines)',
      oneOf('trace', 'classic'),
      'trace',
    )
    .option('--pcap <file>', 'write what crosses the wire, as pcapng')
    .option('--console <file>', "the guest's console goes there, - for here; may be repeated (default: -)", collect, [])
    .option(
      '--clock <kind>',
      'virtual: instructions and declared costs, runs repeat to the byte; host: real time (default: virtual; host with --device-model worker, --netdev or --shell)',
      oneOf('virtual', 'host'),
    )
    .option(
      '--device-model <where>',
      "worker: in a Worker of its own, beside the guest; inline: on the guest's thread (default: worker with --clock host, inline with --clock virtual)",
      oneOf('worker', 'inline'),
    )
    .option(
      '--netdev <address>',
      "the other end of the wire, in place of dom0: unix:PATH or tcp:HOST:PORT, as QEMU's -netdev stream (passt, another emulator); with ,server wait for the peer",
    )
    .option('--seed <n>', 'seed of the order in which machine frames are handed out', whole(0, 0xffff_ffff), 1)
    .option('--timeout <seconds>', "give up after this time of the guest's clock", whole(1, 1_000_000), 600)
    .option(
      '--test-devices',
      "devices that test programs expect of QEMU: isa-debug-exit (a write of v to port 0xf4 ends the run with exit status 2v + 1), fw_cfg with memory and processors, pc-testdev's ports",
    )
    .option('--fep', "honour the forced-emulation prefix (ud2 and the letters xen), as hvm_fep on Xen's command line")
    .option('--story', 'at the end, tell the story of the first echo request (needs --trace, --dm-log and --pcap)')
    .option('--json', 'print the outcome as JSON on the last line')
    .addHelpText(
      'after',
      `\nExample:\n  npx xenolith run guest.cfg --trace out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng\n\nExit status:\n   1  the run could not be made, or an output could not be written\n${statuses}\n      (by SIGINT or Ctrl-]; by SIGHUP 129, by SIGTERM 143, by the reader of standard output leaving 141)\n`,
    )
    .action(async (file: string | undefined, options: RunOptions) => {
      process.exitCode = await run(file, options);
    });
}

const TRACE_CLASSES: Readonly<Record<string, number>> = {
  all: TRC_ALL,
  gen: TRC_GEN,
  sched: TRC_SCHED,
  dom0op: TRC_DOM0OP,
  hvm: TRC_HVM,
  mem: TRC_MEM,
  pv: TRC_PV,
  shadow: TRC_SHADOW,
  hw: TRC_HW,
};

/** Event mask as `xentrace -e` takes it. Throws UserError for anything else. */
function parseEventMask(text: string): number {
  const known = TRACE_CLASSES[text.toLowerCase()];
  if (known !== undefined) return known;
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0 || value > 0xffffffff)
    throw new UserError(`-e ${text}: expected a 32-bit number or one of ${Object.keys(TRACE_CLASSES).join(', ')}`);
  return value;
}

async function run(file: string | undefined, options: RunOptions): Promise<number> {
  const inputs = new Inputs();
  const config = readConfig(inputs, file, options);
  for (const warning of config.warnings) console.error(`xenolith: ${oneLine(warning)}`);
  if (options.e !== undefined && options.trace === undefined)
    throw new UserError('-e: it is the mask of a trace; give --trace FILE too');
  if (options.story && !(options.trace && options.dmLog && options.pcap))
    throw new UserError('--story needs --trace, --dm-log and --pcap, since it is told from these files; give them too');
  if (options.shell && process.stdin.isTTY !== true)
    throw new UserError('--shell needs a terminal on standard input; leave --shell out, or start it from a terminal');
  const socket =
    options.netdev === undefined
      ? undefined
      : { address: parseStreamAddress(options.netdev), fromMachine: createFrameRing(), toMachine: createFrameRing(RECEIVE_RING) };
  const clock = options.clock ?? (options.deviceModel === 'worker' || socket !== undefined || options.shell ? 'host' : 'virtual');
  const deviceModel = options.deviceModel ?? (clock === 'host' ? 'worker' : 'inline');
  checkPlacement({ clock, deviceModel, ...(socket === undefined ? {} : { socket }) });
  const drivers = [...driversFor(config.vif, options.driver).values()].map(({ name }) => name);
  if (options.story) {
    const guest = { name: config.name, text: guestText(options, config), memoryMiB: config.memory };
    const nics = config.vif.map(({ model }) => model);
    for (const line of announcement({ ...guest, nics, clock }, options)) console.error(line);
  }
  const domain = await chooseGuest(inputs, config, file, options, drivers);
  const interactive = process.stdin.isTTY === true && (options.console.length === 0 || options.console.includes('-'));
  const input = interactive ? createFrameRing(1 << 17) : undefined;
  const job: MachineJob = {
    name: config.name,
    domain,
    nics: nicOptions(config.vif, options.driver),
    clock,
    deviceModel,
    seed: options.seed,
    capture: options.pcap !== undefined,
    untilNs: options.timeout * 1e9,
    ...(options.trace === undefined ? {} : { traceMask: options.e ?? TRC_ALL }),
    ...(options.dmLog === undefined ? {} : { logForm: options.dmLogForm as 'trace' | 'classic' }),
    ...(input === undefined ? {} : { consoleInput: input }),
    ...(options.testDevices ? { testDevices: { vcpus: domain.vcpus, memoryBytes: domain.memoryMiB * 0x100000 } } : {}),
    ...(options.fep ? { fep: true } : {}),
    ...(socket === undefined ? {} : { socket: { fromMachine: socket.fromMachine, toMachine: socket.toMachine } }),
  };
  const outputs = new Outputs(options, inputs);
  process.stdout.off('error', standardOutputLost);
  const stop: Stop = {};
  let result: JobResult | undefined;
  try {
    result = await runMachine(job, outputs, stop, socket?.address);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  } finally {
    await outputs.close();
    process.stdout.on('error', standardOutputLost);
  }
  if (result === undefined) {
    console.error(`xenolith: ${RUN_OUTCOMES.interrupted.text}`);
    return statusOf('interrupted', stop);
  }
  let status = result.exitStatus ?? statusOf(result.outcome, stop);
  const ended = result.exitStatus === undefined ? RUN_OUTCOMES[result.outcome].text : `the guest asked for exit status ${status}`;
  console.error(
    `xenolith: ${ended} (${(result.instructions / 1e6).toFixed(0)} million instructions, ${(result.ns / 1e9).toFixed(3)} s of ${clock === 'virtual' ? 'modelled' : 'real'} time, map cache: ${result.mapCache.hits} hits, ${result.mapCache.remaps} remaps)`,
  );
  if (options.story) {
    try {
      await tellStory(options, result);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      console.error(`xenolith: no story: ${oneLine(error.message)}`);
      status ||= 1;
    }
  }
  if (options.json) console.log(JSON.stringify({ ...result, linear: undefined, status }));
  return status;
}

/** Why the run was stopped from outside, if it was. */
interface Stop {
  signal?: NodeJS.Signals;
}

/** An interrupted run ends as the shell shows a program that its signal ended. */
const statusOf = (outcome: RunOutcome, { signal }: Stop): number =>
  outcome === 'interrupted' && signal !== undefined ? 128 + constants.signals[signal] : RUN_OUTCOMES[outcome].status;

function readConfig(inputs: Inputs, file: string | undefined, { memory, driver }: RunOptions): XlConfig {
  if (file === undefined)
    return { ...parseXlConfig("name = 'guest'\ntype = 'hvm'\n", 'default', { memory }), vif: vifsFor(driver) };
  return parseXlConfig(
    new TextDecoder().decode(inputs.read(file, 'a guest configuration, for example guest.cfg of this project')),
    file,
    { memory },
  );
}

/** One line that says what runs in place of the guest of the configuration, where xl would boot that from what is not here. */
function standIn({ name, bootsFrom }: XlConfig, file: string | undefined, guest: string): string | undefined {
  if (bootsFrom.length === 0) return undefined;
  const disks = bootsFrom.includes('disk')
    ? 'disks cannot be booted here'
    : `${bootsFrom.join(', ')}: there is no such thing here`;
  return `${file ?? name}: no kernel is named and ${disks}: ${guest} runs in place of '${name}'; name a kernel with kernel = 'FILE' or --kernel`;
}

/** The domain to build: the kernel named, else the Debian guest, else (saying so) the tiny guest. */
async function chooseGuest(
  inputs: Inputs,
  config: XlConfig,
  file: string | undefined,
  options: RunOptions,
  drivers: readonly string[],
): Promise<MachineJob['domain']> {
  const { type, vcpus, hpet } = config;
  const memoryMiB = config.memory;
  const append = [config.extra, options.append ?? ''].filter(Boolean).join(' ');
  const kernel = options.kernel ?? config.kernel;
  if (kernel === undefined && options.initrd !== undefined)
    throw new UserError('--initrd: it goes with a kernel of your own; give --kernel too');
  if (kernel === undefined && config.ramdisk !== undefined)
    throw new UserError(
      `ramdisk = '${config.ramdisk}': it goes with a kernel of your own; add kernel = 'FILE' to the configuration`,
    );
  if (kernel !== undefined) {
    if (config.bootsFrom.length > 0)
      console.error(
        `xenolith: ${oneLine(file ?? config.name)}: ${config.bootsFrom.join(', ')}: no effect, as --kernel is booted`,
      );
    const ramdisk = options.initrd ?? config.ramdisk;
    return {
      memoryMiB,
      vcpus,
      type,
      hpet,
      commandLine: append,
      kernel: await loadKernelImage(inputs.read(kernel, "the guest's kernel"), kernel),
      ...(ramdisk === undefined ? {} : { ramdisk: inputs.read(ramdisk, "the guest's ramdisk") }),
    };
  }
  const say = (guest: string): void => {
    const line = standIn(config, file, guest);
    if (line !== undefined) console.error(`xenolith: ${oneLine(line)}`);
  };
  try {
    say('a Debian guest');
    const images = await withProgress((progress) => buildLinuxGuest({ progress }));
    const base = guestCommandLine({ driver: drivers, mode: options.shell ? 'shell' : 'ping' });
    return {
      memoryMiB,
      vcpus,
      type,
      hpet,
      commandLine: [base, append].filter(Boolean).join(' '),
      kernel: await loadKernelImage(inputs.read(images.vmlinux, "the guest's kernel"), images.vmlinux),
      ramdisk: inputs.read(images.initrd, "the guest's ramdisk"),
    };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(`xenolith: ${oneLine(error.message)}; running the tiny guest instead of Debian`);
    // Its assembler is a large library.
    const { assembleTinyGuest, tinyGuestCommandLine } = await import('../machine/tiny-guest/image.ts');
    const image = assembleTinyGuest();
    return {
      memoryMiB,
      vcpus,
      type: 'hvm',
      hpet,
      commandLine: tinyGuestCommandLine({ mode: 'ping', count: 3 }),
      kernel: await loadKernelImage(image, 'tiny guest'),
    };
  }
}

/** What boots, for a reader. */
function guestText(options: RunOptions, config: XlConfig): string {
  const kernel = options.kernel ?? config.kernel;
  if (kernel !== undefined) return `the kernel ${oneLine(kernel)}`;
  return options.shell
    ? `a Debian kernel with the driver ${options.driver}, and a shell`
    : `a Debian kernel whose own driver ${options.driver} pings the host`;
}

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Run the job on its threads with the terminal and the network at hand, to its end. A signal or a lost output stops the guest where it is. */
async function runMachine(job: MachineJob, outputs: Outputs, stop: Stop, peer: StreamAddress | undefined): Promise<JobResult> {
  let run: MachineRun | undefined;
  const wakeMachine = (): void => run?.wakeDeviceModel();
  const logger = { debug() {}, info() {}, warn: (text: string) => console.error(`xenolith: ${text}`) };
  const netdev = job.socket && peer ? new StreamNetdev({ address: peer, ...job.socket, wakeMachine, logger }) : undefined;
  await netdev?.open();
  const interrupt = (signal: NodeJS.Signals): void => {
    stop.signal ??= signal;
    run?.interrupt();
  };
  let restore = (): void => {};
  try {
    run = launchMachine(job, (message) => takeOutput(message, outputs));
    outputs.losses.add(() => interrupt('SIGPIPE'));
    for (const signal of STOP_SIGNALS) process.on(signal, interrupt);
    if (job.consoleInput !== undefined)
      restore = attachTerminal(new FrameRingProducer(job.consoleInput, wakeMachine), () => interrupt('SIGINT'));
    return await run.result;
  } finally {
    restore();
    netdev?.close();
    for (const signal of STOP_SIGNALS) process.off(signal, interrupt);
  }
}

function takeOutput(output: JobOutput, outputs: Outputs): void | Promise<void> {
  switch (output.kind) {
    case 'console':
      return outputs.console(output.bytes);
    case 'trace':
    case 'pcap':
      return outputs.write(output.kind, output.bytes);
    case 'log':
      return outputs.write('dmLog', output.text);
    case 'say':
      if (output.level === 'warn') console.error(`(xen) ${oneLine(output.text)}`);
  }
}

/** The story of the first echo request that left the guest, from the files just written. */
async function tellStory(options: RunOptions, result: JobResult): Promise<void> {
  const { input, close } = await openAnalysis({ files: [options.trace!], dmLog: options.dmLog, pcap: options.pcap });
  try {
    const analysis = await analyze({ ...input, gvaOf: (gpa) => gvaOf(result.linear, gpa, 'at the end of the run') });
    const echo = analysis.frames.find((frame) => describeFrame(frame.data).startsWith('ICMP echo request'));
    const story = tellPacket(analysis, echo === undefined ? {} : { packet: echo.number });
    console.log(`\n${renderStory(story, { width: Math.min(process.stdout.columns ?? 100, 110) })}`);
    const register = theGuest(analysis).transmissions.find((t) => t.doorbell !== undefined)?.doorbell;
    for (const line of farewell(options, nextPacket(analysis.frames, echo?.number), register)) console.log(line);
  } finally {
    await close();
  }
}
