/** Runs one part of a job to its end on the calling thread, telling what happens through `post`. */
import { UserError } from '../base/errors.ts';
import { engineFactory } from './engine-factory.ts';
import type { Disassemble, MachineOptions, MachineSinks } from './guest-side.ts';
import type { DeviceModelJob, JobMessage, JobOutput, JobPart, MachineJob } from './job.ts';
import { InlineMachine } from './machine.ts';
import { isHeldUp, OutputProducer } from './output-ring.ts';
import { deviceModelReport, guestReport } from './report.ts';
import { runDeviceModelThread, runGuestThread } from './split-machine.ts';

type Post = (message: JobMessage) => void;

export function runJob(part: JobPart, post: Post, disassemble?: Disassemble): void {
  const { output } = part;
  const producer = output === undefined ? undefined : new OutputProducer(output, () => post({ kind: 'output' }));
  const put = producer === undefined ? post : (one: JobOutput) => producer.put(one);
  try {
    const sinks = { ...sinksOf(part.job, put), ...(disassemble === undefined ? {} : { disassemble }) };
    switch (part.part) {
      case 'machine':
        runInline(part.job, sinks, post);
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

function runInline(job: MachineJob, sinks: MachineSinks, post: Post): void {
  const machine = new InlineMachine(machineOptions(job), sinks);
  const { memory, layout } = machine.memory;
  post({ kind: 'started', split: { memory, layout } });
  post({ kind: 'ended', report: guestReport(machine.run(job.untilNs), machine) });
  post({ kind: 'served', report: deviceModelReport(machine.deviceModel) });
}

function machineOptions<Job extends MachineJob | DeviceModelJob>(job: Job): Omit<MachineOptions, 'domain'> & Pick<Job, 'domain'> {
  const { name, domain, nics, clock, seed, traceMask, logForm, consoleInput, socket, testDevices, fep } = job;
  return {
    name,
    domain,
    nics,
    clock,
    seed,
    engine: engineFactory(),
    ...(traceMask === undefined ? {} : { traceMask }),
    ...(logForm === undefined ? {} : { logForm }),
    ...(consoleInput === undefined ? {} : { consoleInput }),
    ...(socket === undefined ? {} : { socket }),
    ...(testDevices === undefined ? {} : { testDevices }),
    ...(fep === undefined ? {} : { fep }),
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
