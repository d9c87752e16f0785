/**
 * Starts a job on its threads from a thread that has an event loop, gathers what they tell, and can stop them. How a thread
 * is made is the platform's business (launch-node.ts; a browser's Worker).
 */
import { ShutdownReason } from '../abi/sched.ts';
import { UserError } from '../base/errors.ts';
import { shutdownDomain, VcpuState } from '../hypervisor/domain/domain.ts';
import { MachineMemory } from '../hypervisor/mm/memory.ts';
import { engineFactory } from './engine-factory.ts';
import { GUEST_DOMID } from './guest-side.ts';
import type { JobMessage, JobPart, JobResult, MachineJob } from './job.ts';
import { createOutputRing, OutputConsumer, type TakeOutput } from './output-ring.ts';
import type { DeviceModelReport, GuestReport } from './report.ts';
import type { MachineState } from './state/machine-state.ts';
import type { Divergence, RecordedRun } from './state/recording.ts';
import { createSplitMemory } from './split-machine.ts';

/** The run was interrupted before there was a guest to stop, or a second time. */
export class Interrupted extends UserError {
  override name = 'Interrupted';
}

/** What a thread's platform tells of it. After `exit` nothing more comes. */
interface ThreadEvents {
  message(message: JobMessage): void;
  error(error: Error): void;
  exit(): void;
}

/** Starts a thread with its part of a job. */
type StartThread = (part: JobPart, events: ThreadEvents) => { terminate(): void };

/** Throws UserError for parts that only work in real time under a virtual clock. */
export function checkPlacement({
  clock,
  deviceModel,
  socket,
  saveAt,
  record,
}: Pick<MachineJob, 'clock' | 'deviceModel' | 'socket' | 'saveAt' | 'record'>): void {
  if (clock === 'host' && record !== undefined)
    throw new UserError('--record: a machine that runs by real time cannot be recorded; add --clock virtual');
  if (clock === 'host' && saveAt !== undefined)
    throw new UserError('--save: a machine that runs by real time cannot be saved; add --clock virtual');
  if (clock === 'host') return;
  if (deviceModel === 'worker')
    throw new UserError(
      '--device-model worker: threads of their own need real time; add --clock host, or leave the device model inline',
    );
  if (socket !== undefined && record === undefined)
    throw new UserError('--netdev: the other end of a socket lives in real time; add --clock host, or --record FILE');
}

export class MachineRun {
  /** How the run ended; rejects when it could not be made or broke. All threads are gone by then, and all output is handed out. */
  readonly result: Promise<JobResult>;
  private readonly output: TakeOutput;
  private readonly consumers: OutputConsumer[] = [];
  private readonly threads: { terminate(): void }[] = [];
  private running: number;
  private memory: MachineMemory | undefined;
  private dom0: VcpuState | undefined;
  private isWakeDue = false;
  private ended: GuestReport | undefined;
  private served: DeviceModelReport | undefined;
  private failure: Error | undefined;
  private interrupted = false;
  private savedState: MachineState | undefined;
  private recordedRun: RecordedRun | undefined;
  private foundDivergence: Divergence | null | undefined;
  private readonly bell: Int32Array | undefined;

  /** Throws UserError when the job asks for what cannot be. */
  constructor(job: MachineJob, start: StartThread, output: TakeOutput) {
    checkPlacement(job);
    if (job.record !== undefined) this.bell = new Int32Array(job.record);
    this.output = output;
    const parts: JobPart[] = [];
    const ring = (): SharedArrayBuffer => {
      const buffer = createOutputRing();
      this.consumers.push(new OutputConsumer(buffer, output));
      return buffer;
    };
    if (job.deviceModel === 'inline') parts.push({ part: 'machine', job, output: ring() });
    else {
      const split = createSplitMemory(job.domain, engineFactory());
      const guest = ring();
      const deviceModel = ring();
      parts.push(
        { part: 'guest', job, split, output: guest, deviceModelOutput: deviceModel },
        { part: 'device-model', job: { ...job, domain: { hpet: job.domain.hpet } }, split, output: deviceModel },
      );
    }
    this.running = parts.length;
    this.result = new Promise((resolve, reject) => {
      const exit = (): void => {
        this.running--;
        if (this.running > 0) return this.checkOthers();
        Promise.all(this.consumers.map((consumer) => consumer.drain()))
          .catch((error: Error) => this.fail(error))
          .finally(() => {
            if (this.failure !== undefined) reject(this.failure);
            else if (this.ended !== undefined && this.served !== undefined) resolve({ ...this.ended, ...this.served });
            else reject(new Error('the machine stopped without a word'));
          });
      };
      parts.forEach((part, i) => {
        const message = (message: JobMessage): void => (message.kind === 'output' ? this.drain(i) : this.take(message));
        this.threads.push(start(part, { message, error: (error) => this.fail(error), exit }));
      });
    });
  }

  /** Hands out what lies in a thread's ring. */
  private drain(thread: number): void {
    this.consumers[thread]!.drain().catch((error: Error) => this.fail(error));
  }

  /**
   * Stop the guest where it is, and let everything gathered come out; a second time, or before the guest runs: at once.
   * @param isShown the log gets its vCPU: registers, code, stack, what it waits for
   */
  interrupt(isShown = false): void {
    if (this.memory === undefined || this.interrupted) this.fail(new Interrupted('interrupted'));
    else if (this.bell !== undefined) {
      // In a recording the order to stop is input like any other.
      Atomics.store(this.bell, 1, 1);
      this.wakeDeviceModel();
    } else {
      const reason = isShown ? ShutdownReason.inspected : ShutdownReason.interrupted;
      shutdownDomain(this.memory, GUEST_DOMID, [new VcpuState(this.memory, GUEST_DOMID, 0)], reason);
    }
    this.interrupted = true;
  }

  /** The machine's state, once the run has ended where it was to be saved. */
  get saved(): MachineState | undefined {
    return this.savedState;
  }

  /** The recording, once a recorded run has ended. */
  get recorded(): RecordedRun | undefined {
    return this.recordedRun;
  }

  /** Once a replay has ended: where it left the recording, or null. */
  get divergence(): Divergence | null | undefined {
    return this.foundDivergence;
  }

  /** Something for the device model lies in one of its rings. */
  wakeDeviceModel(): void {
    if (this.bell !== undefined) {
      Atomics.add(this.bell, 0, 1);
      Atomics.notify(this.bell, 0);
      return;
    }
    // Before the guest runs nobody waits; when it does, the device model is woken once.
    if (this.memory === undefined) {
      this.isWakeDue = true;
      return;
    }
    this.dom0 ??= new VcpuState(this.memory, 0, 0);
    this.dom0.kick();
  }

  private take(message: JobMessage): void {
    switch (message.kind) {
      case 'started':
        this.memory = new MachineMemory(message.split.memory, message.split.layout);
        // Only if something was put into a ring while nobody could be woken: a wake shows in the trace.
        if (this.isWakeDue) this.wakeDeviceModel();
        break;
      case 'ended':
        this.ended = message.report;
        break;
      case 'served':
        this.served = message.report;
        break;
      case 'saved':
        this.savedState = message.state;
        break;
      case 'recorded':
        this.recordedRun = message.run;
        break;
      case 'replayed':
        this.foundDivergence = message.divergence;
        break;
      case 'failed': {
        const error = message.isUser ? new UserError(message.message) : new Error(message.message);
        error.stack = message.stack;
        this.fail(error);
        break;
      }
      case 'output':
        break;
      default:
        void this.output(message);
    }
  }

  /** The first failure counts; the threads that are left are of no use to anybody. */
  private fail(error: Error): void {
    this.failure ??= error;
    for (const thread of this.threads) thread.terminate();
  }

  /** A thread has ended before the others. When it went without a word, they would wait for ever. */
  private checkOthers(): void {
    if (this.ended === undefined && this.served === undefined)
      this.fail(new Error('a thread of the machine stopped without a word'));
  }
}
