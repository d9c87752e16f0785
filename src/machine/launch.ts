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
import type { Failure, JobMessage, JobPart, JobResult, MachineJob, NumberedRequest } from './job.ts';
import { createOutputRing, OutputConsumer, type TakeOutput } from './output-ring.ts';
import type { Answers, PartRequest } from './requests.ts';
import type { DeviceModelReport, GuestReport } from './report.ts';
import type { MachineState } from './state/machine-state.ts';
import type { Divergence, RecordedRun } from './state/recording.ts';
import { createSplitMemory } from './split-machine.ts';

/** The run was interrupted before there was a guest to stop, or a second time. */
export class Interrupted extends UserError {
  override name = 'Interrupted';
}

/** What a thread's platform tells of it. After `exit` nothing more comes. */
export interface ThreadEvents {
  message(message: JobMessage): void;
  error(error: Error): void;
  exit(): void;
}

export interface Thread {
  send(request: NumberedRequest): void;
  terminate(): void;
}

/** Starts a thread with its part of a job. */
export type StartThread = (part: JobPart, events: ThreadEvents) => Thread;

/** A thread with the requests that it has not answered yet. */
interface RunningThread {
  readonly part: JobPart['part'];
  readonly thread: Thread;
  readonly control: Int32Array | undefined;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

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

const MACHINE_IS_OVER = 'the machine is over; make a new one, or reset it';

export class MachineRun {
  /** How the run ended; rejects when it could not be made or broke. All threads are gone by then, and all output is handed out. */
  readonly result: Promise<JobResult>;
  private readonly output: TakeOutput;
  /** By thread; none where memory is not shared. */
  private readonly consumers: (OutputConsumer | undefined)[] = [];
  private readonly threads: RunningThread[] = [];
  private readonly pending = new Map<number, Pending>();
  private nextId = 0;
  private isOver = false;
  private running: number;
  private memory: MachineMemory | undefined;
  private dom0: VcpuState | undefined;
  private vcpu: VcpuState | undefined;
  private started = false;
  private readonly job: Pick<MachineJob, 'clock'>;
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
    this.job = { clock: job.clock };
    const parts: JobPart[] = [];
    /** What a thread is given where memory is shared. */
    const shared = (): { control?: SharedArrayBuffer; output?: SharedArrayBuffer } => {
      if (job.shared === false) return {};
      const ring = createOutputRing();
      this.consumers.push(new OutputConsumer(ring, output));
      return { control: new SharedArrayBuffer(4), output: ring };
    };
    if (job.deviceModel === 'inline') parts.push({ part: 'machine', job, ...shared() });
    else {
      const split = createSplitMemory(job.domain, engineFactory());
      const guest = shared();
      const deviceModel = shared();
      parts.push(
        { part: 'guest', job, split, ...guest, ...(deviceModel.output && { deviceModelOutput: deviceModel.output }) },
        { part: 'device-model', job: { ...job, domain: { hpet: job.domain.hpet } }, split, ...deviceModel },
      );
    }
    this.running = parts.length;
    this.result = new Promise((resolve, reject) => {
      const exit = (): void => {
        this.running--;
        if (this.running > 0) {
          this.checkOthers();
          return;
        }
        Promise.all(this.consumers.map((consumer) => consumer?.drain()))
          .catch((error: Error) => this.fail(error))
          .finally(() => {
            this.isOver = true;
            for (const { reject: refuse } of this.pending.values()) refuse(new UserError(MACHINE_IS_OVER));
            this.pending.clear();
            if (this.failure !== undefined) reject(this.failure);
            else if (this.ended !== undefined && this.served !== undefined) resolve({ ...this.ended, ...this.served });
            else reject(new Error('the machine stopped without a word'));
          });
      };
      parts.forEach((part, i) => {
        const message = (said: JobMessage): void => {
          // What was put out before an answer is handed on before it.
          if (said.kind === 'output' || said.kind === 'answer') this.drain(i);
          if (said.kind !== 'output') this.take(said);
        };
        const words = part.control && new Int32Array(part.control);
        const thread = start(part, { message, error: (error) => this.fail(error), exit });
        this.threads.push({ part: part.part, thread, control: words });
      });
    });
  }

  /** Hands out what lies in a thread's ring. */
  private drain(thread: number): void {
    this.consumers[thread]?.drain().catch((error: Error) => this.fail(error));
  }

  /** Asks a thread of the machine for something. Rejects with a UserError when the machine is over. */
  request<Kind extends PartRequest['request']['kind']>(
    request: PartRequest & { readonly request: { readonly kind: Kind } },
  ): Promise<Kind extends keyof Answers ? Answers[Kind] : undefined> {
    return new Promise((resolve, reject) => {
      const target = this.threads.find(({ part }) => part === 'machine' || part === request.to);
      if (this.isOver || target === undefined) {
        reject(new UserError(MACHINE_IS_OVER));
        return;
      }
      const id = this.nextId++;
      this.pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      target.thread.send({ id, request });
      if (target.control === undefined) return;
      Atomics.add(target.control, 0, 1);
      Atomics.notify(target.control, 0);
      // In real time a thread that has nothing to do sleeps on its vCPU's word.
      if (this.job.clock === 'host' && this.memory !== undefined) this.kick(target.part === 'device-model' ? 0 : GUEST_DOMID);
    });
  }

  /**
   * Stop the guest where it is, and let everything gathered come out; a second time, or before the guest runs: at once.
   * @param isShown the log gets its vCPU: registers, code, stack, what it waits for
   */
  interrupt(isShown = false): void {
    if (!this.started || this.interrupted) this.fail(new Interrupted('interrupted'));
    else if (this.bell !== undefined) {
      // In a recording the order to stop is input like any other.
      Atomics.store(this.bell, 1, 1);
      this.wakeDeviceModel();
    } else {
      const reason = isShown ? ShutdownReason.inspected : ShutdownReason.interrupted;
      if (this.memory !== undefined)
        shutdownDomain(this.memory, GUEST_DOMID, [new VcpuState(this.memory, GUEST_DOMID, 0)], reason);
      // A guest that is paused, or whose memory is not to be reached from here, is told.
      this.request({ to: 'guest', request: { kind: 'stop', isShown } }).catch(() => {});
    }
    this.interrupted = true;
  }

  /** Give the machine up at once; what it has gathered is lost. */
  destroy(): void {
    this.fail(new Interrupted('destroyed'));
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

  private kick(domid: number): void {
    if (domid === 0) (this.dom0 ??= new VcpuState(this.memory!, 0, 0)).kick();
    else (this.vcpu ??= new VcpuState(this.memory!, domid, 0)).kick();
  }

  /** Something for the device model lies in one of its rings. */
  wakeDeviceModel(): void {
    if (this.bell !== undefined) {
      Atomics.add(this.bell, 0, 1);
      Atomics.notify(this.bell, 0);
      return;
    }
    // Before the guest runs nobody waits; when it does, the device model is woken once.
    if (this.memory === undefined) this.isWakeDue = true;
    else this.kick(0);
  }

  private take(message: JobMessage): void {
    switch (message.kind) {
      case 'started':
        this.started = true;
        if (message.split !== undefined) this.memory = new MachineMemory(message.split.memory, message.split.layout);
        // Only if something was put into a ring while nobody could be woken: a wake shows in the trace.
        if (this.isWakeDue) this.wakeDeviceModel();
        break;
      case 'answer': {
        const waiting = this.pending.get(message.id);
        this.pending.delete(message.id);
        if (message.error === undefined) waiting?.resolve(message.value);
        else waiting?.reject(errorOf(message.error));
        break;
      }
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
      case 'failed':
        this.fail(errorOf(message));
        break;
      case 'output':
        break;
      default:
        void this.output(message);
    }
  }

  /** The first failure counts; the threads that are left are of no use to anybody. */
  private fail(error: Error): void {
    this.failure ??= error;
    for (const { thread } of this.threads) thread.terminate();
  }

  /** A thread has ended before the others. When it went without a word, they would wait for ever. */
  private checkOthers(): void {
    if (this.ended === undefined && this.served === undefined)
      this.fail(new Error('a thread of the machine stopped without a word'));
  }
}

function errorOf({ message, isUser, stack }: Failure): Error {
  const error = isUser ? new UserError(message) : new Error(message);
  error.stack = stack;
  return error;
}
