/** Runs one part of a job to its end on the calling thread, telling what happens through `post`. */
import { UserError } from '../base/errors.ts';
import { engineFactory } from './engine-factory.ts';
import type { Disassemble, MachineOptions, MachineSinks } from './guest-side.ts';
import type { PauseAt } from '../hypervisor/sched/schedule.ts';
import type { DeviceModelJob, JobMessage, JobOutput, JobPart, MachineJob, SaveAt } from './job.ts';
import { InlineMachine } from './machine.ts';
import { FrameRingConsumer } from '../net/frame-ring.ts';
import { isHeldUp, OutputProducer } from './output-ring.ts';
import type { Recorder } from './state/recording.ts';
import { deviceModelReport, guestReport } from './report.ts';
import { runDeviceModelThread, runGuestThread } from './split-machine.ts';

/** `transfer`: buffers that the receiver takes over. */
type Post = (message: JobMessage, transfer?: ArrayBuffer[]) => void;

export async function runJob(part: JobPart, post: Post, disassemble?: Disassemble): Promise<void> {
  const { output } = part;
  const producer = output === undefined ? undefined : new OutputProducer(output, () => post({ kind: 'output' }));
  const put = producer === undefined ? post : (one: JobOutput) => producer.put(one);
  try {
    const recording =
      part.part === 'machine' && (part.job.record ?? part.job.replay) !== undefined ? await loadRecording() : undefined;
    const sinks = { ...sinksOf(part.job, put), ...(disassemble === undefined ? {} : { disassemble }) };
    switch (part.part) {
      case 'machine':
        runInline(part.job, sinks, post, recording);
        break;
      case 'guest': {
        const { job, split, deviceModelOutput } = part;
        const isDeviceModelHeldUp = (): boolean => deviceModelOutput !== undefined && isHeldUp(deviceModelOutput);
        const report = runGuestThread(split, machineOptions(job), sinks, job.untilNs, {
          onStarted: () => post({ kind: 'started', split }),
          isDeviceModelHeldUp,
        });
        post({ kind: 'ended', report });
        break;
      }
      case 'device-model':
        post({ kind: 'served', report: runDeviceModelThread(part.split, machineOptions(part.job), sinks) });
        break;
    }
  } catch (error) {
    const { message, stack } = error as Error;
    post({ kind: 'failed', message, isUser: error instanceof UserError, stack: stack ?? message });
  }
}

type Recording = typeof import('./state/recording.ts');

/** Apart, because it needs packages, which a browser that takes these files as they are does not find. */
async function loadRecording(): Promise<Recording> {
  await (await import('./state/hash.ts')).prepareHash();
  return import('./state/recording.ts');
}

function runInline(job: MachineJob, sinks: MachineSinks, post: Post, recording: Recording | undefined): void {
  const watch = new ConsoleWatch(job.saveAt?.console, sinks.console);
  const recorder = job.record === undefined || recording === undefined ? undefined : new recording.Recorder();
  const isKept = [job.saveAt, job.state, job.replay, recorder].some((part) => part !== undefined);
  const options = { ...inlineOptions(job, recorder), ...(isKept ? { exactBudgets: true } : {}) };
  const machine = new InlineMachine(options, { ...sinks, console: watch.sink }, job.state, 'new');
  const { memory, layout } = machine.memory;
  const beginning = recorder === undefined ? undefined : machine.save();
  post({ kind: 'started', split: { memory, layout } });
  if (job.replay !== undefined && recording !== undefined) {
    const divergence = recording.replay(machine, job.replay, job.untilNs) ?? null;
    machine.flush();
    post({ kind: 'replayed', divergence });
    post({ kind: 'ended', report: guestReport(job.replay.end.how === 'paused' ? 'paused' : 'shutdown', machine) });
    post({ kind: 'served', report: deviceModelReport(machine.deviceModel) });
    return;
  }
  const pause = job.saveAt === undefined ? {} : pauseAt(job.saveAt, watch);
  const end =
    recorder !== undefined
      ? recorder.run(machine, pause, job.untilNs)
      : job.saveAt === undefined
        ? machine.run(job.untilNs)
        : machine.runTo(pause, job.untilNs);
  if (recorder !== undefined && beginning !== undefined)
    post({ kind: 'recorded', run: { state: beginning, recording: recorder.finish(machine, end) } }, [
      beginning.image.data.buffer as ArrayBuffer,
    ]);
  if (end === 'paused') {
    const state = machine.save();
    post({ kind: 'saved', state }, [state.image.data.buffer as ArrayBuffer]);
    machine.flush();
  }
  post({ kind: 'ended', report: guestReport(end, machine) });
  post({ kind: 'served', report: deviceModelReport(machine.deviceModel) });
}

/** The options of a machine on one thread, with its input by way of a recording where there is one. */
function inlineOptions(job: MachineJob, recorder: Recorder | undefined): MachineOptions {
  const options = machineOptions(job);
  if (recorder === undefined && job.replay === undefined) return options;
  const { consoleInput, socket, ...rest } = options;
  const ring = (buffer: SharedArrayBuffer): FrameRingConsumer => new FrameRingConsumer(buffer);
  const input =
    recorder === undefined || job.record === undefined
      ? job.replay!.inputs
      : {
          bell: new Int32Array(job.record),
          record: recorder.record,
          ...(job.consoleInput === undefined ? {} : { console: ring(job.consoleInput) }),
          ...(job.socket === undefined ? {} : { socket: ring(job.socket.toMachine) }),
        };
  const isOnSocket = job.socket !== undefined || job.state?.config.socket === true;
  return { ...rest, input, ...(isOnSocket ? { socketOut: job.socket?.fromMachine ?? null } : {}) };
}

/** Looks for a text in what the console says. */
class ConsoleWatch {
  seen = false;
  readonly sink: (bytes: Uint8Array) => void;
  private tail = '';

  constructor(text: string | undefined, sink: MachineSinks['console']) {
    this.sink = (bytes) => {
      sink?.(bytes);
      if (text === undefined || this.seen) return;
      const all = this.tail + String.fromCharCode(...bytes);
      this.seen = all.includes(text);
      this.tail = all.slice(-text.length);
    };
  }
}

function pauseAt({ seconds, exit, instruction, asked }: SaveAt, watch: ConsoleWatch): PauseAt {
  const flag = asked === undefined ? undefined : new Int32Array(asked);
  return {
    ...(seconds === undefined ? {} : { ns: seconds * 1e9 }),
    ...(exit === undefined ? {} : { exits: exit }),
    ...(instruction === undefined ? {} : { instructions: instruction }),
    when: () => watch.seen || (flag !== undefined && Atomics.load(flag, 0) !== 0),
  };
}

function machineOptions<Job extends MachineJob | DeviceModelJob>(job: Job): Omit<MachineOptions, 'domain'> & Pick<Job, 'domain'> {
  const { name, domain, nics, clock, seed, epochUs, wireLatencyNs, traceMask, logForm } = job;
  const { consoleInput, socket, testDevices, fep, dumpOn } = job;
  return {
    name,
    domain,
    nics,
    clock,
    seed,
    engine: engineFactory(),
    ...(epochUs === undefined ? {} : { epochUs }),
    ...(wireLatencyNs === undefined ? {} : { wireLatencyNs }),
    ...(traceMask === undefined ? {} : { traceMask }),
    ...(logForm === undefined ? {} : { logForm }),
    ...(consoleInput === undefined ? {} : { consoleInput }),
    ...(socket === undefined ? {} : { socket }),
    ...(testDevices === undefined ? {} : { testDevices }),
    ...(fep === undefined ? {} : { fep }),
    ...(dumpOn === undefined ? {} : { dumpOn }),
  };
}

/** Sinks are handed the machine's own buffers: what crosses a thread is a copy. */
function sinksOf(job: DeviceModelJob, post: (output: JobOutput) => void): MachineSinks {
  const say = (level: 'debug' | 'info' | 'warn') => (text: string) => post({ kind: 'say', level, text });
  const bytes = (kind: 'console' | 'trace' | 'pcap') => (data: Uint8Array) => post({ kind, bytes: data.slice() });
  return {
    logger: { debug: say('debug'), info: say('info'), warn: say('warn') },
    console: bytes('console'),
    ...(job.traceMask === undefined ? {} : { trace: bytes('trace') }),
    ...(job.logForm === undefined ? {} : { log: (text: string) => post({ kind: 'log', text }) }),
    ...(job.capture ? { pcap: bytes('pcap') } : {}),
  };
}
