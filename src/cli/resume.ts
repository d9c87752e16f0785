/** `xenolith resume`: go on with a saved machine; `xenolith replay`: run a recorded one again. */
import type { Command } from 'commander';
import { UserError } from '../base/errors.ts';
import type { MachineJob, SaveAt } from '../machine/job.ts';
import { commonOptions } from '../machine/state/machine-state.ts';
import { loadSnapshotFile } from '../machine/state/snapshot-file-node.ts';
import { createFrameRing } from '../net/frame-ring.ts';
import { TRC_ALL } from '../trace/events.ts';
import { Inputs } from './inputs.ts';
import { collect, parseSavePoint, savePoint, whole } from './option-values.ts';
import { runToEnd } from './run.ts';

interface ResumeOptions {
  trace?: string;
  dmLog?: string;
  pcap?: string;
  console: string[];
  timeout: number;
  save?: string;
  saveAt?: SaveAt;
  json?: boolean;
}

export function registerResume(program: Command): void {
  program
    .command('resume')
    .description('go on with a machine that run --save left')
    .argument('<file>', 'the saved machine')
    .option('--trace <file>', 'write an xentrace file from here on')
    .option('--dm-log <file>', "write the device model's log from here on")
    .option('--pcap <file>', 'write the frames on the wire from here on, as pcapng')
    .option('--console <file>', "the guest's console goes there, - for here; may be repeated (default: -)", collect, [])
    .option('--timeout <seconds>', "give up after this time of the guest's clock, counted from here", whole(1, 1_000_000), 600)
    .option('--save <file>', 'save the machine again, and end: at the point of --save-at, or where Ctrl-] or a signal stops it')
    .option(
      '--save-at <point>',
      'where to save: time:SECONDS, exit:NUMBER, instruction:NUMBER or console:TEXT (needs --save)',
      parseSavePoint,
    )
    .option('--json', 'print the outcome as JSON on the last line')
    .addHelpText(
      'after',
      `
Points of --save-at count from the machine's beginning, as in run.

Examples:
  xenolith run guest.cfg --save out/booted.xen --save-at 'console:Run /init'
  xenolith resume out/booted.xen --trace out/rest.trc`,
    )
    .action(async (file: string, options: ResumeOptions) => {
      process.exitCode = await resume(file, options);
    });
}

export function registerReplay(program: Command): void {
  program
    .command('replay')
    .description('run a recording again and compare the two runs')
    .argument('<file>', 'a recording of run --record')
    .option('--trace <file>', 'write an xentrace file')
    .option('--dm-log <file>', "write the device model's log")
    .option('--pcap <file>', 'write the frames on the wire, as pcapng')
    .option('--console <file>', "the guest's console goes there, - for here; may be repeated (default: -)", collect, [])
    .option('--json', 'print the outcome as JSON on the last line')
    .addHelpText('after', '\nExample:\n  xenolith replay out/run.rec --trace out/again.trc')
    .action(async (file: string, options: Omit<ResumeOptions, 'timeout'>) => {
      process.exitCode = await replay(file, options);
    });
}

async function replay(file: string, options: Omit<ResumeOptions, 'timeout'>): Promise<number> {
  const { state, recording } = await loadSnapshotFile(file);
  if (recording === null)
    throw new UserError(`${file}: a saved machine without a recording; go on with it by xenolith resume ${file}`);
  const { config } = state;
  const { traceMask: _mask, logForm: _form, ...machine } = commonOptions(config);
  const job: MachineJob = {
    ...machine,
    deviceModel: 'inline',
    capture: options.pcap !== undefined,
    untilNs: Infinity,
    state,
    replay: recording,
    ...(options.trace === undefined ? {} : { traceMask: config.traceMask || TRC_ALL }),
    ...(options.dmLog === undefined ? {} : { logForm: config.logForm ?? 'trace' }),
  };
  const status = await runToEnd(job, options, new Inputs());
  console.error(`xenolith: the same as recorded at ${recording.marks.length + 1} places`);
  return status;
}

async function resume(file: string, options: ResumeOptions): Promise<number> {
  const { state } = await loadSnapshotFile(file);
  const { config } = state;
  const { traceMask: _mask, logForm: _form, ...machine } = commonOptions(config);
  const interactive = process.stdin.isTTY === true && (options.console.length === 0 || options.console.includes('-'));
  const job: MachineJob = {
    ...machine,
    deviceModel: 'inline',
    capture: options.pcap !== undefined,
    untilNs: state.position.ns + options.timeout * 1e9,
    state,
    ...(options.trace === undefined ? {} : { traceMask: config.traceMask || TRC_ALL }),
    ...(options.dmLog === undefined ? {} : { logForm: config.logForm ?? 'trace' }),
    ...(interactive ? { consoleInput: createFrameRing(1 << 17) } : {}),
    ...savePoint(options),
  };
  return runToEnd(job, options, new Inputs());
}
