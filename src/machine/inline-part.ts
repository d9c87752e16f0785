/** A whole machine as one thread's part. */
import type { MachineOptions, MachineSinks } from './guest-side.ts';
import type { MachineJob, PostJobMessage } from './job.ts';
import { InlineMachine } from './machine.ts';
import { answerDeviceModel, GuestRunner, type Part, type Respond, type TurnResult } from './part.ts';
import { deviceModelReport, guestReport } from './report.ts';
import type { PartRequest } from './requests.ts';
import { DeviceModelWatch, EventBatch, ownWires } from './watch.ts';

export class InlinePart implements Part {
  private readonly machine: InlineMachine;
  private readonly runner: GuestRunner;
  private readonly watch: DeviceModelWatch;
  private readonly batch: EventBatch;
  private readonly post: PostJobMessage;

  constructor(
    options: MachineOptions,
    sinks: MachineSinks,
    job: Pick<MachineJob, 'untilNs' | 'awaitsInput' | 'state'>,
    post: PostJobMessage,
  ) {
    const { state } = job;
    // A restored machine goes on to the instruction as the saved one would have.
    const machine = new InlineMachine(state === undefined ? options : { ...options, exactBudgets: true }, sinks, state, 'new');
    this.machine = machine;
    this.post = post;
    this.batch = new EventBatch(post);
    this.runner = new GuestRunner(machine.loop, job, machine, this.batch, () => machine.flush());
    this.watch = new DeviceModelWatch(machine.deviceModel, machine.clock, this.batch, post, ownWires(options.nics));
    const { memory, layout, isShared } = machine.memory;
    post({ kind: 'started', split: isShared ? { memory, layout } : undefined });
  }

  get turnMs(): number {
    return this.runner.turnMs;
  }

  turn(mustYield: () => boolean): TurnResult {
    const { machine } = this;
    const result = this.runner.turn(mustYield);
    if (result === 'paused' || typeof result === 'number') return result;
    machine.flush();
    this.batch.flush();
    this.post({ kind: 'ended', report: guestReport(result, machine) });
    this.post({ kind: 'served', report: deviceModelReport(machine.deviceModel) });
    return 'ended';
  }

  sleep(timeoutMs: number): void {
    this.machine.loop.sleep(timeoutMs);
  }

  answer(request: PartRequest, respond: Respond): void {
    const { machine } = this;
    if (request.to === 'guest') this.runner.answer(request.request, respond);
    else respond(answerDeviceModel(machine.deviceModel, this.watch, request.request, () => machine.hvm.state.kickFromOutside()));
  }

  flush(): void {
    this.batch.flush();
    this.machine.deviceModel.flush();
  }

  finish(): void {}
}
