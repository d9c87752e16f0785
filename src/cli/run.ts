/** `xenolith run`: boot a guest as an HVM domain and record every hop of its I/O. */
import { constants } from 'node:os';
import type { Command } from 'commander';
import { openAnalysis } from '../analyze/files-node.ts';
import { describeFrame } from '../analyze/sources/ethernet.ts';
import { analyze, renderStory, theGuest, tellStory as tellPacket } from '../analyze/index.ts';
import { gvaOf } from '../machine/linear-claim.ts';
import { UserError } from '../base/errors.ts';
import { nicModels } from '../devices/nic/models.ts';
import { guestDrivers } from '../machine/guest.ts';
import { driversFor, nicOptions } from '../machine/guest-config.ts';
import { RUN_OUTCOMES, type RunOutcome } from '../machine/exit-status.ts';
import type { DeviceModelPlacement, JobOutput, JobResult, MachineJob, SaveAt } from '../machine/job.ts';
import type { Position } from '../machine/state/machine-state.ts';
import type { Divergence } from '../machine/state/recording.ts';
import { saveSnapshotFile } from '../machine/state/snapshot-file-node.ts';
import { checkPlacement, Interrupted, type MachineRun } from '../machine/launch.ts';
import { launchMachine } from '../machine/launch-node.ts';
import { MEMORY_MIB } from '../machine/xl-cfg.ts';
import { createFrameRing, FrameRingProducer } from '../net/frame-ring.ts';
import { TRC_ALL } from '../trace/events.ts';
import { parseStreamAddress, type StreamAddress, StreamNetdev } from '../net/stream-node.ts';
import { chooseGuest, type GuestChoice, guestText, readConfig } from './choose-guest.ts';
import { Inputs } from './inputs.ts';
import { Intake } from './intake.ts';
import {
  collect,
  DUMP_ENDS,
  type MaxSize,
  oneOf,
  parseDumpOn,
  parseEventMask,
  parseMaxSize,
  parseSavePoint,
  savePoint,
  whole,
} from './option-values.ts';
import { drained, WHEN_FULL, type WhenFull } from './output-file.ts';
import { type OutputName, type OutputPaths, OUTPUT_OPTIONS, Outputs } from './outputs.ts';
import { oneLine, printable, printableData } from './printable.ts';
import { standardOutputLost } from './standard-output.ts';
import { attachTerminal } from './terminal.ts';
import { announcement, farewell, nextPacket } from './tour.ts';

interface RunOptions extends GuestChoice {
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
  wallTimeout?: number;
  maxSize: readonly MaxSize[];
  whenFull: WhenFull;
  dumpOn: readonly RunOutcome[];
  testDevices?: boolean;
  save?: string;
  saveAt?: SaveAt;
  record?: string;
  fep?: boolean;
  story?: boolean;
  json?: boolean;
}

/** Bytes of frames on their way to the guest: what lies here waits, and a peer that counts seconds counts it, so it is short. */
const RECEIVE_RING = 1 << 18;

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
    .option('--pcap <file>', 'write the frames on the wire, as pcapng')
    .option('--console <file>', "the guest's console goes there, - for here; may be repeated (default: -)", collect, [])
    .option(
      '--clock <kind>',
      'virtual: instructions and declared costs, runs repeat to the byte; host: real time (default: virtual; host with --device-model worker, --netdev or --shell)',
      oneOf('virtual', 'host'),
    )
    .option(
      '--device-model <where>',
      "worker: in its own Worker, beside the guest; inline: on the guest's thread (default: worker with --clock host, inline with --clock virtual)",
      oneOf('worker', 'inline'),
    )
    .option(
      '--netdev <address>',
      "the other end of the wire, in place of dom0: unix:PATH or tcp:HOST:PORT, as QEMU's -netdev stream (passt, another emulator); with ,server wait for the peer",
    )
    .option('--seed <n>', 'seed of the order in which machine frames are handed out', whole(0, 0xffff_ffff), 1)
    .option('--timeout <seconds>', "give up after this time of the guest's clock", whole(1, 1_000_000), 600)
    .option('--wall-timeout <seconds>', 'give up after this time of the world, whatever the clock', whole(1, 1_000_000))
    .option(
      '--max-size <size>',
      'most that a file may have, as 500M or 2G; trace=2G is for one of trace, dm-log, pcap, console; may be repeated (default: no limit, and a word at 1G)',
      parseMaxSize,
      [],
    )
    .option(
      '--when-full <what>',
      'stop: a file that reaches its size ends the run; ring: the run goes on and FILE.1 keeps the earlier part (at least the newest half is kept)',
      oneOf(...WHEN_FULL),
      'stop',
    )
    .option(
      '--dump-on <ends>',
      `show the vCPU where the run ends so: none, or some of ${DUMP_ENDS.slice(0, -1).join(', ')}; SIGQUIT and Ctrl-] always do`,
      parseDumpOn,
      ['timeout'],
    )
    .option('--cache <dir>', 'where the Debian guest is kept (default: xenolith/guest in $XDG_CACHE_HOME or ~/.cache)')
    .option(
      '--test-devices',
      "devices that test programs expect of QEMU: isa-debug-exit (a write of v to port 0xf4 ends the run with exit status 2v + 1), fw_cfg with memory and processors, pc-testdev's ports",
    )
    .option(
      '--save <file>',
      'save the machine, and end: at the point of --save-at, or where Ctrl-] or a signal stops it (virtual clock; go on with xenolith resume)',
    )
    .option(
      '--save-at <point>',
      'where to save: time:SECONDS, exit:NUMBER, instruction:NUMBER or console:TEXT (needs --save)',
      parseSavePoint,
    )
    .option(
      '--record <file>',
      'record typed input, frames from --netdev and hashes of the state, so that xenolith replay and debug can run it again (virtual clock)',
    )
    .option('--fep', "honour the forced-emulation prefix (ud2 and the letters xen), as hvm_fep on Xen's command line")
    .option('--story', 'at the end, tell the story of the first echo request (needs --trace, --dm-log and --pcap)')
    .option('--json', 'print the outcome as JSON on the last line')
    .addHelpText(
      'after',
      `\nExample:\n  xenolith run guest.cfg --trace out/trace.trc --dm-log out/qemu-dm.log --pcap out/net.pcapng\n\nExit status:\n   1  the run could not be made, or an output could not be written\n${statuses}\n      (by SIGINT or Ctrl-]; by SIGHUP 129, by SIGQUIT 131, by SIGTERM 143, by the reader of standard output leaving 141)\n`,
    )
    .action(async (file: string | undefined, options: RunOptions) => {
      process.exitCode = await run(file, options);
    });
}

async function run(file: string | undefined, options: RunOptions): Promise<number> {
  const inputs = new Inputs();
  const config = readConfig(inputs, file, options);
  if (options.e !== undefined && options.trace === undefined)
    throw new UserError('-e: it is the mask of a trace; give --trace FILE too');
  if (options.story && !(options.trace && options.dmLog && options.pcap))
    throw new UserError('--story needs --trace, --dm-log and --pcap: it is made from these files; give them too');
  if (options.shell && process.stdin.isTTY !== true)
    throw new UserError('--shell needs a terminal on standard input; leave --shell out, or start it from a terminal');
  const socket =
    options.netdev === undefined
      ? undefined
      : { address: parseStreamAddress(options.netdev), fromMachine: createFrameRing(), toMachine: createFrameRing(RECEIVE_RING) };
  const clock =
    options.clock ??
    (options.deviceModel === 'worker' || ((socket !== undefined || options.shell) && !options.save && !options.record)
      ? 'host'
      : 'virtual');
  const deviceModel = options.deviceModel ?? (clock === 'host' ? 'worker' : 'inline');
  const save = { ...savePoint(options), ...(options.record === undefined ? {} : { record: new SharedArrayBuffer(8) }) };
  checkPlacement({ clock, deviceModel, ...(socket === undefined ? {} : { socket }), ...save });
  const drivers = [...driversFor(config.vif, options.driver).values()].map(({ name }) => name);
  if (options.story) {
    const guest = { name: config.name, text: guestText(options, config, drivers), memoryMiB: config.memory };
    const nics = config.vif.map(({ model }) => model);
    for (const line of announcement({ ...guest, nics, clock }, options)) console.error(line);
  }
  const domain = await chooseGuest(inputs, config, file, options, drivers);
  for (const warning of config.warnings) console.error(`xenolith: ${oneLine(warning)}`);
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
    dumpOn: options.dumpOn,
    ...(options.trace === undefined ? {} : { traceMask: options.e ?? TRC_ALL }),
    ...(options.dmLog === undefined ? {} : { logForm: options.dmLogForm as 'trace' | 'classic' }),
    ...(input === undefined ? {} : { consoleInput: input }),
    ...(options.testDevices ? { testDevices: { vcpus: domain.vcpus, memoryBytes: domain.memoryMiB * 0x100000 } } : {}),
    ...(options.fep ? { fep: true } : {}),
    ...save,
    ...(socket === undefined ? {} : { socket: { fromMachine: socket.fromMachine, toMachine: socket.toMachine } }),
  };
  return runToEnd(job, options, inputs, { peer: socket?.address, isInteractive: interactive });
}

function divergenceText({ after, at, parts }: Divergence): string {
  const where = ({ instructions, exits, ns }: Position): string =>
    `instruction ${instructions}, exit ${exits}, ${(ns / 1e9).toFixed(9)} s`;
  return `the replay differs from the recording: the same at ${after === null ? 'the beginning' : where(after)}, not at ${where(at)}: ${parts.join(', ')}`;
}

/** What runToEnd asks of a command's options. */
type EndOptions = OutputPaths &
  Partial<Pick<RunOptions, 'save' | 'record' | 'story' | 'json' | 'maxSize' | 'whenFull' | 'wallTimeout'>>;

/** Run the job with its outputs, say how it ended, give the exit status. */
export async function runToEnd(
  job: MachineJob,
  options: EndOptions,
  inputs: Inputs,
  { peer, isInteractive = false }: { peer?: StreamAddress | undefined; isInteractive?: boolean } = {},
): Promise<number> {
  const sizes = options.maxSize ?? [];
  const sizeOf = (name: OutputName): number | undefined =>
    (sizes.findLast((size) => size.name === name) ?? sizes.findLast((size) => size.name === undefined))?.bytes;
  const limits: Partial<Record<OutputName, number>> = {};
  for (const name of Object.keys(OUTPUT_OPTIONS) as OutputName[]) {
    const bytes = sizeOf(name);
    if (bytes !== undefined) limits[name] = bytes;
  }
  const outputs = new Outputs(options, inputs, { limits, whenFull: options.whenFull ?? 'stop', isInteractive });
  process.stdout.off('error', standardOutputLost);
  const stop: Stop = {};
  let result: JobResult | undefined;
  try {
    result = await runMachine(job, outputs, stop, options, peer);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  } finally {
    await outputs.close();
    process.stdout.on('error', standardOutputLost);
  }
  const outcome = outcomeOf(result, stop, outputs);
  // Whoever holds standard output without taking from it would hold the process too.
  if (outputs.isStdoutStuck) setImmediate(() => process.exit());
  if (result === undefined) {
    console.error(`xenolith: ${RUN_OUTCOMES[outcome].text}`);
    return statusOf(outcome, stop);
  }
  let status = result.exitStatus ?? statusOf(outcome, stop);
  const full = outputs.loss !== undefined && 'full' in outputs.loss ? `: ${oneLine(outputs.loss.path)}` : '';
  const panic = panicLines(outputs.consoleTail);
  if (panic.length > 0 && outcome !== 'poweroff')
    console.error(
      `xenolith: the guest's kernel has panicked; its last lines:\n${panic.map((line) => `  ${oneLine(line)}`).join('\n')}`,
    );
  if (outputs.consoleBytes === 0 && (outcome === 'timeout' || outcome === 'halted' || outcome === 'reboot'))
    console.error(
      `xenolith: the guest has written nothing to its console${'commandLine' in job.domain && job.domain.commandLine.includes('console=') ? '' : '; a Linux writes there with --append "console=ttyS0 earlyprintk=serial"'}`,
    );
  const ended =
    result.exitStatus === undefined
      ? `${RUN_OUTCOMES[outcome].text}${outcome === 'full' ? full : ''}${panic.length > 0 && outcome === 'reboot' ? ' after a panic' : ''}`
      : `the guest asked for exit status ${status}`;
  console.error(
    `xenolith: ${ended} (${(result.instructions / 1e6).toFixed(0)} million instructions, ${(result.ns / 1e9).toFixed(3)} s of ${job.clock === 'virtual' ? 'modelled' : 'real'} time, map cache: ${result.mapCache.hits} hits, ${result.mapCache.remaps} remaps)`,
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
  if (options.json) console.log(JSON.stringify({ ...result, outcome, linear: undefined, status }));
  return status;
}

/** Why the run was stopped from outside, if it was. */
interface Stop {
  signal?: NodeJS.Signals;
  outcome?: RunOutcome;
}

function outcomeOf(result: JobResult | undefined, stop: Stop, { loss }: Outputs): RunOutcome {
  // A guest may have ended before it could be stopped.
  if (loss !== undefined && 'full' in loss) return 'full';
  return result === undefined || result.outcome === 'interrupted' ? (stop.outcome ?? 'interrupted') : result.outcome;
}

const PANIC_LINES = 12;

/** The last lines of a console that shows a kernel's panic: from the panic on, and what led to it. */
function panicLines(tail: string): string[] {
  const lines = tail.split(/\r*\n/).filter((line) => line.trim() !== '');
  const at = lines.findLastIndex((line) => /Kernel panic - not syncing|^panic[:(]|\*\*\* STOP: /.test(line));
  if (at < 0) return [];
  const last = Math.min(lines.length, at + PANIC_LINES / 2);
  return lines.slice(Math.max(0, last - PANIC_LINES), last);
}

/** An interrupted run ends as the shell shows a program that its signal ended. */
const statusOf = (outcome: RunOutcome, { signal }: Stop): number =>
  outcome === 'interrupted' && signal !== undefined ? 128 + constants.signals[signal] : RUN_OUTCOMES[outcome].status;

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
/** A run that is stopped waits so long for whoever takes its console slowly. */
const SLOW_READER_MS = 2000;

/** Run the job on its threads with the terminal and the network at hand, to its end. A signal or a lost output stops the guest where it is. */
async function runMachine(
  job: MachineJob,
  outputs: Outputs,
  stop: Stop,
  { save, record, wallTimeout }: EndOptions,
  peer: StreamAddress | undefined,
): Promise<JobResult> {
  let run: MachineRun | undefined;
  const wakeMachine = (): void => run?.wakeDeviceModel();
  const logger = { debug() {}, info() {}, warn: (text: string) => console.error(`xenolith: ${oneLine(text)}`) };
  const netdev = job.socket && peer ? new StreamNetdev({ address: peer, ...job.socket, wakeMachine, logger }) : undefined;
  await netdev?.open();
  const timers: NodeJS.Timeout[] = [];
  let isStopping = false;
  const end = (isShown: boolean): void => {
    // A second time: at once.
    if (isStopping) outputs.stopWaiting();
    else timers.push(setTimeout(() => outputs.stopWaiting(), SLOW_READER_MS));
    isStopping = true;
    run?.interrupt(isShown);
  };
  const interrupt = (signal: NodeJS.Signals, isShown = signal === 'SIGQUIT'): void => {
    const asked = job.saveAt?.asked;
    // Once for the machine to be saved; once more to have it stopped.
    if (asked !== undefined && signal !== 'SIGPIPE' && Atomics.exchange(new Int32Array(asked), 0, 1) === 0) return wakeMachine();
    stop.signal ??= signal;
    stop.outcome ??= 'interrupted';
    end(isShown || job.dumpOn?.includes('interrupted') === true);
  };
  const onSignal = (signal: NodeJS.Signals): void => interrupt(signal);
  let restore = (): void => {};
  try {
    run = launchMachine(job, (message) => takeOutput(message, outputs));
    outputs.losses.add((loss) => {
      if ('error' in loss) return interrupt('SIGPIPE', false);
      stop.outcome ??= 'full';
      end(false);
    });
    for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
    if (wallTimeout !== undefined)
      timers.push(
        setTimeout(() => {
          stop.outcome ??= 'timeout';
          end(job.dumpOn?.includes('timeout') === true);
        }, wallTimeout * 1000),
      );
    if (job.consoleInput !== undefined)
      restore = attachTerminal(new FrameRingProducer(job.consoleInput, wakeMachine), () => interrupt('SIGINT', true));
    const result = await run.result;
    if (run.saved !== undefined && save !== undefined) {
      const { bytes } = await saveSnapshotFile(save, run.saved);
      console.error(`xenolith: ${save}: ${(bytes / 2 ** 20).toFixed(1)} MiB; go on with: xenolith resume ${save}`);
    }
    if (run.recorded !== undefined && record !== undefined) {
      const { state, recording } = run.recorded;
      const { bytes } = await saveSnapshotFile(record, state, recording);
      console.error(
        `xenolith: ${record}: ${(bytes / 2 ** 20).toFixed(1)} MiB, ${recording.inputs.length} inputs, ${recording.marks.length} marks; run it again with: xenolith replay ${record}`,
      );
    }
    if (run.divergence) throw new UserError(divergenceText(run.divergence));
    return result;
  } finally {
    restore();
    netdev?.close();
    for (const signal of STOP_SIGNALS) process.off(signal, onSignal);
    for (const timer of timers) clearTimeout(timer);
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
      if (output.level !== 'warn') return undefined;
      console.error(`(xen) ${printable(output.text)}`);
      return process.stderr.writableNeedDrain ? drained(process.stderr) : undefined;
  }
}

/** The story of the first echo request that left the guest, from the files just written. */
async function tellStory(options: OutputPaths, result: JobResult): Promise<void> {
  const intake = new Intake();
  let close: (() => Promise<void>) | undefined;
  const plain = async (path: string): Promise<string> => (await intake.one(path, 'what the run has written')).path;
  try {
    const files = { files: [await plain(options.trace!)], dmLog: await plain(options.dmLog!), pcap: await plain(options.pcap!) };
    const opened = await openAnalysis(files);
    close = opened.close;
    const analysis = await analyze({ ...opened.input, gvaOf: (gpa) => gvaOf(result.linear, gpa, 'at the end of the run') });
    const echo = analysis.frames.find((frame) => describeFrame(frame.data).startsWith('ICMP echo request'));
    const story = tellPacket(analysis, echo === undefined ? {} : { packet: echo.number });
    console.log(`\n${renderStory(printableData(story), { width: Math.min(process.stdout.columns ?? 100, 110) })}`);
    const register = theGuest(analysis).transmissions.find((t) => t.doorbell !== undefined)?.doorbell;
    for (const line of farewell(options, nextPacket(analysis.frames, echo?.number), register)) console.log(line);
  } finally {
    await close?.();
    intake.close();
  }
}
