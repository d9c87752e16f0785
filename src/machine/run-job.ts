/** Runs one part of a job on the calling thread, in turns, and answers requests between them. What happens is told through `post`. */
import { UserError } from '../base/errors.ts';
import type { PlacedDevice } from '../device-model/device-model.ts';
import { type Device, placeDevice } from './custom-device.ts';
import { engineFactory } from './engine-factory.ts';
import type { Disassemble, MachineOptions, MachineSinks } from './guest-side.ts';
import { InlinePart } from './inline-part.ts';
import { isKept, KeptPart, loadRecording } from './kept-part.ts';
import type { DeviceModelJob, Failure, JobPart, MachineJob, NumberedRequest, PostJobMessage, StreamedOutput } from './job.ts';
import { isHeldUp, OutputProducer } from './output-ring.ts';
import type { Part } from './part.ts';
import { DeviceModelPart, GuestPart } from './split-machine.ts';

/** What the platform or the caller adds to a job. */
export interface JobExtras {
  readonly disassemble?: Disassemble;
  /** Devices beside the machine's own, where they are on this thread. */
  readonly devices?: readonly PlacedDevice[];
}

/** Length of a turn, in milliseconds, on a thread that cannot be woken from outside. */
const UNWOKEN_TURN_MS = 8;
/** Looks at the machine between two looks at the clock. */
const LOOKS = 16;
/** The longest that a timer of the platform takes. */
const LONGEST_TIMER_MS = 0x7fff_ffff;

export class JobRunner {
  private readonly o: JobPart;
  private readonly extras: JobExtras;
  private readonly post: PostJobMessage;
  private readonly onEnd: () => void;
  private readonly control: Int32Array | undefined;
  private readonly channel = new MessageChannel();
  private readonly waiting: NumberedRequest[] = [];
  private part: Part | undefined;
  private handled = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private turnEnd = 0;
  private looks = 0;
  private ended = false;
  private scheduled = false;
  private readonly mustYield = (): boolean => {
    if (this.control !== undefined && Atomics.load(this.control, 0) !== this.handled) return true;
    return ++this.looks % LOOKS === 0 && performance.now() >= this.turnEnd;
  };

  /** @param onEnd called once, when nothing more comes */
  constructor(part: JobPart, extras: JobExtras, post: PostJobMessage, onEnd: () => void) {
    this.o = part;
    this.extras = extras;
    this.post = post;
    this.onEnd = onEnd;
    if (part.control !== undefined) this.control = new Int32Array(part.control);
    this.channel.port1.onmessage = () => {
      this.scheduled = false;
      this.run();
    };
  }

  /** Build the part and let it run. */
  async start(): Promise<void> {
    try {
      const { o } = this;
      const { deviceModule } = o.job;
      const recording = o.part === 'machine' ? await loadRecording(o.job) : undefined;
      const devices =
        this.extras.devices ??
        (deviceModule === undefined || o.part === 'guest'
          ? undefined
          : ((await import(/* @vite-ignore */ deviceModule)) as { default: readonly Device[] }).default.flatMap(placeDevice));
      if (this.ended) return;
      this.part = this.build(devices, recording);
      for (const request of this.waiting.splice(0)) this.answer(request);
      this.later();
    } catch (error) {
      this.fail(error);
    }
  }

  /** A request from the thread that launched the job. */
  receive(request: NumberedRequest): void {
    if (this.ended) return;
    if (this.part === undefined) {
      this.waiting.push(request);
      return;
    }
    this.answer(request);
    clearTimeout(this.timer);
    this.later();
  }

  /** Give the part up where it is. */
  terminate(): void {
    this.end();
  }

  private build(devices: readonly PlacedDevice[] | undefined, recording: Awaited<ReturnType<typeof loadRecording>>): Part {
    const { o, post } = this;
    const producer = o.output === undefined ? undefined : new OutputProducer(o.output, () => post({ kind: 'output' }));
    const put = producer === undefined ? post : (output: StreamedOutput) => producer.put(output);
    const sinks = { ...sinksOf(o.job, put), ...(this.extras.disassemble && { disassemble: this.extras.disassemble }) };
    switch (o.part) {
      case 'machine':
        return isKept(o.job)
          ? new KeptPart(machineOptions(o.job, devices), sinks, o.job, recording, post)
          : new InlinePart(machineOptions(o.job, devices), sinks, o.job, post);
      case 'guest':
        return new GuestPart(
          o.split,
          machineOptions(o.job, devices),
          sinks,
          { ...o.job, isDeviceModelHeldUp: () => o.deviceModelOutput !== undefined && isHeldUp(o.deviceModelOutput) },
          post,
        );
      case 'device-model':
        return new DeviceModelPart(o.split, machineOptions(o.job, devices), sinks, post);
    }
  }

  private answer({ id, request }: NumberedRequest): void {
    this.handled = (this.handled + 1) | 0;
    try {
      this.part!.answer(request, (value) => this.post({ kind: 'answer', id, value }));
    } catch (error) {
      this.post({ kind: 'answer', id, value: undefined, error: failureOf(error) });
    }
  }

  private later(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.channel.port2.postMessage(0);
  }

  private run(): void {
    if (this.ended) return;
    clearTimeout(this.timer);
    const { part, control } = this;
    try {
      for (;;) {
        this.turnEnd = performance.now() + (control === undefined ? Math.min(UNWOKEN_TURN_MS, part!.turnMs) : part!.turnMs);
        const result = part!.turn(this.mustYield);
        if (result === 'ended') {
          part!.finish();
          return this.end();
        }
        part!.flush();
        if (control === undefined || Atomics.load(control, 0) !== this.handled) {
          if (result === 0 || control !== undefined) this.later();
          else if (result !== 'paused' && result < LONGEST_TIMER_MS) this.timer = setTimeout(() => this.run(), result);
          return;
        }
        if (result === 'paused') Atomics.wait(control, 0, this.handled);
        else if (result > 0) {
          // Under the virtual clock nothing but a request, or real time, ends the wait. In real time another thread may.
          if (this.o.job.clock === 'virtual') Atomics.wait(control, 0, this.handled, result);
          else part!.sleep(result);
        }
      }
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    if (this.ended) return;
    this.post({ kind: 'failed', ...failureOf(error) });
    this.end();
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    this.channel.port1.close();
    this.onEnd();
  }
}

function failureOf(error: unknown): Failure {
  const { message, stack } = error as Error;
  return { message, isUser: error instanceof UserError, stack: stack ?? message };
}

function machineOptions<Job extends MachineJob | DeviceModelJob>(
  job: Job,
  devices: readonly PlacedDevice[] | undefined,
): Omit<MachineOptions, 'domain'> & Pick<Job, 'domain'> {
  const { name, domain, nics, clock, seed, epochUs, wireLatencyNs, traceMask, logForm } = job;
  const { consoleInput, socket, testDevices, fep, exactBudgets, dumpOn, shared } = job;
  return {
    name,
    domain,
    nics,
    clock,
    seed,
    engine: engineFactory(),
    ...(shared === undefined ? {} : { shared }),
    ...(devices === undefined ? {} : { devices }),
    ...(epochUs === undefined ? {} : { epochUs }),
    ...(wireLatencyNs === undefined ? {} : { wireLatencyNs }),
    ...(traceMask === undefined ? {} : { traceMask }),
    ...(logForm === undefined ? {} : { logForm }),
    ...(consoleInput === undefined ? {} : { consoleInput }),
    ...(socket === undefined ? {} : { socket }),
    ...(testDevices === undefined ? {} : { testDevices }),
    ...(fep === undefined ? {} : { fep }),
    ...(exactBudgets === undefined ? {} : { exactBudgets }),
    ...(dumpOn === undefined ? {} : { dumpOn }),
  };
}

/** Sinks are handed the machine's own buffers: what crosses a thread is a copy. */
function sinksOf(job: DeviceModelJob, post: (output: StreamedOutput) => void): MachineSinks {
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
