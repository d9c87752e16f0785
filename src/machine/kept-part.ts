/** A whole machine as one thread's part, when its run is saved, recorded or repeated: one turn from beginning to end. */
import type { PauseAt } from '../hypervisor/sched/schedule.ts';
import { FrameRingConsumer } from '../net/frame-ring.ts';
import type { MachineOptions, MachineSinks } from './guest-side.ts';
import type { MachineJob, PostJobMessage, SaveAt } from './job.ts';
import { InlineMachine } from './machine.ts';
import type { Part, TurnResult } from './part.ts';
import { deviceModelReport, guestReport } from './report.ts';
import type { Recorder } from './state/recording.ts';

type Recording = typeof import('./state/recording.ts');

/** Whether a job needs a KeptPart. */
export const isKept = ({ saveAt, record, replay }: Pick<MachineJob, 'saveAt' | 'record' | 'replay'>): boolean =>
  [saveAt, record, replay].some((part) => part !== undefined);

/**
 * What such a job needs beside; undefined: nothing. Apart, because it needs packages, which a browser that takes these files as they are
 * does not find.
 */
export async function loadRecording({ record, replay }: Pick<MachineJob, 'record' | 'replay'>): Promise<Recording | undefined> {
  if ((record ?? replay) === undefined) return undefined;
  await (await import('./state/hash.ts')).prepareHash();
  return import('./state/recording.ts');
}

export class KeptPart implements Part {
  readonly turnMs = Infinity;
  private readonly job: MachineJob;
  private readonly machine: InlineMachine;
  private readonly recording: Recording | undefined;
  private readonly recorder: Recorder | undefined;
  private readonly watch: ConsoleWatch;
  private readonly post: PostJobMessage;

  constructor(
    options: MachineOptions,
    sinks: MachineSinks,
    job: MachineJob,
    recording: Recording | undefined,
    post: PostJobMessage,
  ) {
    const recorder = job.record === undefined || recording === undefined ? undefined : new recording.Recorder();
    this.job = job;
    this.recording = recording;
    this.recorder = recorder;
    this.post = post;
    this.watch = new ConsoleWatch(job.saveAt?.console, sinks.console);
    const kept = { ...inputsOf(options, job, recorder), exactBudgets: true };
    this.machine = new InlineMachine(kept, { ...sinks, console: this.watch.sink }, job.state, 'new');
  }

  /** Nothing is asked of the part while it runs: the bell and the flag of its job are all that it hears. */
  turn(): TurnResult {
    const { machine, job, post, recording, recorder } = this;
    const { memory, layout } = machine.memory;
    const beginning = recorder === undefined ? undefined : machine.save();
    post({ kind: 'started', split: { memory, layout } });
    if (job.replay !== undefined && recording !== undefined) {
      const divergence = recording.replay(machine, job.replay, job.untilNs) ?? null;
      machine.flush();
      post({ kind: 'replayed', divergence });
      this.report(job.replay.end.how === 'paused' ? 'paused' : 'shutdown');
      return 'ended';
    }
    const pause = job.saveAt === undefined ? {} : pauseAt(job.saveAt, this.watch);
    const end = recorder === undefined ? machine.runTo(pause, job.untilNs) : recorder.run(machine, pause, job.untilNs);
    if (recorder !== undefined && beginning !== undefined)
      post({ kind: 'recorded', run: { state: beginning, recording: recorder.finish(machine, end) } }, [
        beginning.image.data.buffer as ArrayBuffer,
      ]);
    if (end === 'paused') {
      const state = machine.save();
      post({ kind: 'saved', state }, [state.image.data.buffer as ArrayBuffer]);
      machine.flush();
    }
    this.report(end);
    return 'ended';
  }

  private report(end: Parameters<typeof guestReport>[0]): void {
    this.post({ kind: 'ended', report: guestReport(end, this.machine) });
    this.post({ kind: 'served', report: deviceModelReport(this.machine.deviceModel) });
  }

  sleep(): void {}

  answer(): void {
    throw new Error('a machine that is saved, recorded or repeated answers nothing');
  }

  flush(): void {}

  finish(): void {}
}

/** The options of a machine with its input by way of a recording where there is one. */
function inputsOf(options: MachineOptions, job: MachineJob, recorder: Recorder | undefined): MachineOptions {
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
