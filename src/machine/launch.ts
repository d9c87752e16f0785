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
export function checkPlacement({ clock, deviceModel, socket }: Pick<MachineJob, 'clock' | 'deviceModel' | 'socket'>): void {
  if (clock === 'host') return;
  if (deviceModel === 'worker')
    throw new UserError(
      '--device-model worker: threads of their own need real time; add --clock host, or leave the device model inline',
    );
  if (socket !== undefined) throw new UserError('--netdev: the other end of a socket lives in real time; add --clock host');
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
  private ended: GuestReport | undefined;
  private served: DeviceModelReport | undefined;
  private failure: Error | undefined;
  private interrupted = false;

  /** Throws UserError when the job asks for what cannot be. */
  constructor(job: MachineJob, start: StartThread, output: TakeOutput) {
    checkPlacement(job);
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

  /** Stop the guest where it is, and let everything gathered come out; a second time, or before the guest runs: at once. */
  interrupt(): void {
    if (this.memory === undefined || this.interrupted) this.fail(new Interrupted('interrupted'));
    else shutdownDomain(this.memory, GUEST_DOMID, [new VcpuState(this.memory, GUEST_DOMID, 0)], ShutdownReason.interrupted);
    this.interrupted = true;
  }

  /** Something for the device model lies in one of its rings. */
  wakeDeviceModel(): void {
    // Before the guest runs the device model looks by itself.
    if (this.memory === undefined) return;
    this.dom0 ??= new VcpuState(this.memory, 0, 0);
    this.dom0.kick();
  }

  private take(message: JobMessage): void {
    switch (message.kind) {
      case 'started':
        this.memory = new MachineMemory(message.split.memory, message.split.layout);
        break;
      case 'ended':
        this.ended = message.report;
        break;
      case 'served':
        this.served = message.report;
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
