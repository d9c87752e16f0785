/** A machine, for whoever embeds one: started, stopped, looked at and talked to through one object. */
import type { Analysis, Story } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import type { RegisterReading } from '../base/registers.ts';
import { placeDevice } from '../machine/custom-device.ts';
import { RUN_OUTCOMES } from '../machine/exit-status.ts';
import type { AddressSpace, CpuRegisters } from '../machine/inspect.ts';
import type { JobOutput, JobResult, MachineJob } from '../machine/job.ts';
import { Interrupted, MachineRun } from '../machine/launch.ts';
import type { ChipName, NicState } from '../machine/requests.ts';
import { TRC_ALL } from '../trace/index.ts';
import { ConsoleText, type ExecResult } from './console.ts';
import type { Travel } from './travel.ts';
import { Emitter, type EventName, type MachineEnd, type MachineEvents } from './events.ts';
import type { HubCable } from './hub.ts';
import { loadBytes } from './images.ts';
import { type MachineOptions, type NicConfig, nicOptionsOf, type Placement, placementOf } from './options.ts';
import { type Platform, startHere } from './platform.ts';
import { analyzeRecords, type RecordFiles, Records, storiesOf } from './records.ts';

export type MachineState = 'new' | 'running' | 'paused' | 'ended' | 'destroyed';

/** One NIC of a machine. */
export interface Nic {
  /** The chip's registers with names and fields, as they are now; nothing changes by looking. */
  registers(): Promise<readonly RegisterReading[]>;
  /** Model, MAC, registers and the chip's own counters. */
  state(): Promise<NicState>;
  /** Pull the cable out (false) or plug it in. */
  setLink(up: boolean): Promise<void>;
}

const MIB_MAX = 4096;
const BOOT_MEMORY_MIB = 128;

export class BaseMachine {
  private readonly options: MachineOptions;
  private readonly platform: Platform;
  private readonly emitter = new Emitter();
  private readonly placement: Placement;
  private text = new ConsoleText();
  private kept = new Records();
  private current: MachineState = 'new';
  private run_: MachineRun | undefined;
  private starting: Promise<void> | undefined;
  private linear: JobResult['linear'] | undefined;
  private cables: HubCable[] = [];
  private outcome: { promise: Promise<MachineEnd>; resolve(end: MachineEnd): void; reject(error: Error): void } = deferred();

  /** @throws UserError for options that cannot be */
  protected constructor(options: MachineOptions, platform: Platform) {
    this.options = options;
    this.platform = platform;
    const { memory = BOOT_MEMORY_MIB, clock = 'virtual', nics = DEFAULT_NICS, speed = Infinity } = options;
    if (!Number.isInteger(memory) || memory < 1 || memory > MIB_MAX)
      throw new UserError(`memory: ${memory}: expected whole MiB from 1 to ${MIB_MAX}`);
    if (!(speed > 0)) throw new UserError(`speed: ${speed}: expected a number above 0`);
    if (clock === 'host' && speed !== Infinity)
      throw new UserError("speed: it goes with the virtual clock; leave it out, or set clock: 'virtual'");
    if (clock === 'virtual' && nics.some(({ network }) => typeof network === 'object'))
      throw new UserError("network: a hub lives in real time; set clock: 'host' too");
    nicOptionsOf(nics);
    this.placement = placementOf(options, platform);
  }

  /** Listen to an event. `exit` and `interrupt` are asked for before the machine runs, or with `records: { trace: true }`. */
  on<Name extends EventName>(name: Name, listener: (event: MachineEvents[Name]) => void): this {
    this.emitter.on(name, listener);
    this.updateWatch(name);
    return this;
  }

  off<Name extends EventName>(name: Name, listener: (event: MachineEvents[Name]) => void): this {
    this.emitter.off(name, listener);
    this.updateWatch(name);
    return this;
  }

  /** Listen to an event once. */
  once<Name extends EventName>(name: Name, listener: (event: MachineEvents[Name]) => void): this {
    const once = (event: MachineEvents[Name]): void => {
      this.off(name, once);
      listener(event);
    };
    return this.on(name, once);
  }

  get state(): MachineState {
    return this.current;
  }

  /** Resolves when the run is over; rejects when it broke or the machine was destroyed. */
  get ended(): Promise<MachineEnd> {
    return this.outcome.promise;
  }

  /** Start the machine, or let it go on after a pause. Resolves when it runs. */
  async run(): Promise<void> {
    if (this.current === 'destroyed' || this.current === 'ended')
      throw new UserError(`the machine is ${this.current === 'ended' ? 'over' : 'destroyed'}; make a new one, or reset it`);
    this.starting ??= this.start(false);
    await this.starting;
    if (this.current !== 'paused') return;
    await this.machine.request({ to: 'guest', request: { kind: 'resume' } });
    this.current = 'running';
  }

  /** Let the guest stand still where it is. */
  async pause(): Promise<void> {
    await this.live();
    await this.machine.request({ to: 'guest', request: { kind: 'pause' } });
    this.current = 'paused';
  }

  /** Run until so many VM exits more have been made, then pause. Starts a machine that was not started. */
  async step(exits = 1): Promise<void> {
    if (this.current === 'new') this.starting ??= this.start(true);
    await this.live();
    this.current = 'paused';
    await this.machine.request({ to: 'guest', request: { kind: 'step', exits } });
  }

  /** Shut the domain down where it is, as a toolstack does, and take what it has recorded. */
  async stop(): Promise<MachineEnd> {
    if (this.current === 'new') throw new UserError('the machine was not started; call run() first');
    await this.starting;
    if (this.current !== 'ended' && this.current !== 'destroyed') this.machine.interrupt();
    return this.ended;
  }

  /** Power cycle: the machine as it was made, running. Records and console begin anew; listeners stay. */
  async reset(): Promise<void> {
    await this.giveUp();
    this.text = new ConsoleText();
    this.kept = new Records();
    this.linear = undefined;
    this.outcome = deferred();
    this.current = 'new';
    this.starting = undefined;
    await this.run();
  }

  /** Give up the machine at once, with its threads and memory. */
  async destroy(): Promise<void> {
    await this.giveUp();
    this.current = 'destroyed';
  }

  /** Type on the guest's console (COM1). */
  async send(data: string | Uint8Array): Promise<void> {
    await this.input('console', typeof data === 'string' ? new TextEncoder().encode(data) : data);
  }

  /** Put a frame (destination address first, no FCS) on the wire of a NIC. */
  async injectFrame(frame: Uint8Array, nic = 0): Promise<void> {
    await this.input(nic, frame);
  }

  /**
   * Resolves with the console's text up to and with what is waited for; the next wait begins behind it. Rejects when the machine
   * ends first.
   * @param timeoutMs milliseconds of real time; default: without limit
   */
  waitFor(text: string | RegExp, timeoutMs?: number): Promise<string> {
    return this.text.waitFor(text, timeoutMs);
  }

  /** Run a command in a guest whose shell waits on the console. */
  async exec(command: string, timeoutMs?: number): Promise<ExecResult> {
    const { input, end, result } = this.text.command(command);
    const [text] = await Promise.all([this.text.waitFor(end, timeoutMs), this.send(input)]);
    return result(text);
  }

  /** Everything on the console so far, at most its last million characters. */
  get console(): string {
    return this.text.all;
  }

  /** Bytes of memory: guest-physical, guest-virtual by the page tables of the moment, or of the host's memory (`mfn`, in bytes). */
  async readMemory(space: AddressSpace, address: number | bigint, length: number): Promise<Uint8Array> {
    await this.live();
    return this.machine.request({ to: 'guest', request: { kind: 'memory', space, address: BigInt(address), length } });
  }

  /** Write guest-physical memory. */
  async writeMemory(gpa: number, bytes: Uint8Array): Promise<void> {
    await this.live();
    await this.machine.request({ to: 'guest', request: { kind: 'write', address: gpa, bytes } });
  }

  /** The vCPU's registers. */
  async registers(): Promise<CpuRegisters> {
    await this.live();
    return this.machine.request({ to: 'guest', request: { kind: 'registers' } });
  }

  /** Registers of a chip inside the hypervisor: `lapic` or `ioapic`. */
  async chip(name: ChipName): Promise<readonly RegisterReading[]> {
    await this.live();
    return this.machine.request({ to: 'guest', request: { kind: 'chip', name } });
  }

  /** A NIC, by its number from 0 or by the name of its model. */
  nic(which: number | string = 0): Nic {
    const index = typeof which === 'number' ? which : this.nics.findIndex(({ model }) => model === which);
    if (this.nics[index] === undefined)
      throw new UserError(`NIC '${which}': the machine has ${this.nics.map(({ model }) => model).join(', ') || 'none'}`);
    const state = async (): Promise<NicState> => {
      await this.live();
      return this.machine.request({ to: 'device-model', request: { kind: 'nic', nic: index } });
    };
    return {
      state,
      registers: async () => (await state()).registers,
      setLink: async (up) => {
        await this.live();
        await this.machine.request({ to: 'device-model', request: { kind: 'link', nic: index, up } });
      },
    };
  }

  /** Nanoseconds of the virtual clock for a nanosecond of real time; Infinity: as fast as it goes. */
  async setSpeed(factor: number): Promise<void> {
    if (!(factor > 0)) throw new UserError(`speed: ${factor}: expected a number above 0`);
    await this.live();
    await this.machine.request({ to: 'guest', request: { kind: 'speed', factor } });
  }

  /** What was recorded so far, as the files it would make. */
  async records(): Promise<RecordFiles> {
    if (this.current === 'running' || this.current === 'paused')
      await this.machine.request({ to: 'guest', request: { kind: 'flush' } });
    return this.kept.files();
  }

  /** Guest-virtual addresses that no record holds: of device pages as VM exits told, of the rest as the kernel's page tables map it. */
  async linearAddresses(): Promise<JobResult['linear']> {
    const alive = this.current === 'running' || this.current === 'paused';
    const linear = alive ? await this.machine.request({ to: 'guest', request: { kind: 'linear' } }) : this.linear;
    return linear ?? { mmio: [], kernel: [] };
  }

  /** Everything the records show, joined. */
  async analysis(): Promise<Analysis> {
    const alive = this.current === 'running' || this.current === 'paused';
    const linear = await this.linearAddresses();
    return analyzeRecords(await this.records(), linear, this.options.clock ?? 'virtual', alive ? 'now' : 'at the end of the run');
  }

  /** The stories of the packets that were captured: of one, by its number from 1, or of all. */
  async stories(packet?: number): Promise<Story[]> {
    return storiesOf(await this.analysis(), packet);
  }

  /**
   * The run of a machine with these options once more, on the calling thread, to go to and fro in. Nothing that came from outside (typed
   * text, injected frames, a cable that was pulled) is in it. It is the same run as this machine's where `exact` is set.
   * @throws UserError for a machine that lives in real time
   */
  async travel(): Promise<Travel> {
    const [job, { Travel: Runs }] = await Promise.all([this.job(), import('./travel.ts')]);
    return Runs.of(job);
  }

  private get nics() {
    return this.options.nics ?? DEFAULT_NICS;
  }

  private get machine(): MachineRun {
    return this.run_!;
  }

  private async live(): Promise<void> {
    if (this.starting === undefined) throw new UserError('the machine was not started; call run() first');
    await this.starting;
    if (this.current === 'ended' || this.current === 'destroyed')
      throw new UserError(`the machine is ${this.current === 'ended' ? 'over' : 'destroyed'}; make a new one, or reset it`);
  }

  private async input(to: number | 'console', bytes: Uint8Array): Promise<void> {
    await this.live();
    await this.machine.request({ to: 'device-model', request: { kind: 'input', to, bytes } });
  }

  private async start(paused: boolean): Promise<void> {
    const { options, platform, placement, outcome } = this;
    const job = await this.job();
    const start = placement === 'here' ? startHere(platform, this.placedDevices()) : platform.startWorker;
    const run = new MachineRun(job, start, (output) => {
      if (this.run_ === run) this.take(output);
    });
    this.run_ = run;
    this.current = paused ? 'paused' : 'running';
    run.result.then(
      (result) => this.run_ === run && this.end(result),
      (error: Error) => this.run_ === run && this.break(error),
    );
    this.plugCables();
    const requests: Promise<unknown>[] = [];
    if (paused) requests.push(run.request({ to: 'guest', request: { kind: 'pause' } }));
    if (options.speed !== undefined && options.speed !== Infinity)
      requests.push(run.request({ to: 'guest', request: { kind: 'speed', factor: options.speed } }));
    requests.push(...this.watchRequests());
    // The first answer says that the machine is built; where it cannot be, the run's own error is the one to tell.
    await Promise.all(requests).catch(() => outcome.promise);
  }

  private placedDevices() {
    const { devices } = this.options;
    return devices === undefined || typeof devices === 'string' || devices instanceof URL
      ? undefined
      : devices.flatMap(placeDevice);
  }

  private async job(): Promise<MachineJob> {
    const { options, placement, platform } = this;
    const { kernel, initrd, commandLine = '', memory = BOOT_MEMORY_MIB, type = 'hvm', records = {}, clock = 'virtual' } = options;
    const [image, ramdisk] = await Promise.all([
      loadBytes(kernel, platform.load),
      initrd === undefined ? undefined : loadBytes(initrd, platform.load),
    ]);
    const name = typeof kernel === 'string' ? kernel : 'kernel';
    const { loadKernelImage } = await import('../machine/kernel.ts');
    const wantsTrace = records.trace || this.emitter.has('exit') || this.emitter.has('interrupt') || this.emitter.has('trace');
    const { devices } = options;
    return {
      name: options.name ?? 'guest',
      domain: {
        memoryMiB: memory,
        vcpus: 1,
        type,
        hpet: true,
        commandLine,
        kernel: await loadKernelImage(image, name),
        ...(ramdisk === undefined ? {} : { ramdisk }),
      },
      nics: nicOptionsOf(this.nics),
      clock,
      deviceModel: placement === 'threads' ? 'worker' : 'inline',
      shared: placement !== 'here' && platform.isShared,
      seed: options.seed ?? 1,
      ...(wantsTrace ? { traceMask: typeof records.trace === 'number' ? records.trace : TRC_ALL } : {}),
      ...(records.log || this.emitter.has('log') ? { logForm: records.log === 'classic' ? 'classic' : 'trace' } : {}),
      capture: records.capture === true || this.emitter.has('capture'),
      awaitsInput: true,
      ...(options.exact ? { exactBudgets: true } : {}),
      untilNs: (options.timeLimit ?? Infinity) * 1e9,
      ...(typeof devices === 'string' || devices instanceof URL ? { deviceModule: String(devices) } : {}),
    };
  }

  private take(output: JobOutput): void {
    const { emitter, options } = this;
    const keep = options.records?.keep ?? true;
    switch (output.kind) {
      case 'console':
        if (keep && options.records !== undefined) this.kept.add('console', output.bytes);
        emitter.emit('console', output.bytes);
        this.text.add(output.bytes);
        break;
      case 'trace':
        if (keep && options.records?.trace) this.kept.add('trace', output.bytes);
        emitter.emit('trace', output.bytes);
        break;
      case 'pcap':
        if (keep && options.records?.capture) this.kept.add('capture', output.bytes);
        emitter.emit('capture', output.bytes);
        break;
      case 'log':
        if (keep && options.records?.log) this.kept.addLog(output.text);
        emitter.emit('log', output.text);
        break;
      case 'say':
        if (output.level === 'warn') emitter.emit('warning', output.text);
        break;
      case 'events':
        for (const event of output.events) emitter.emit(event.kind, event as never);
        break;
      case 'frame': {
        const { nic, ns, bytes } = output;
        const direction = output.direction === 'outbound' ? 'out' : 'in';
        emitter.emit('frame', { nic, direction, ns, bytes });
        if (direction === 'out') this.cables[nic]?.send(bytes);
        break;
      }
    }
  }

  private end(result: JobResult): void {
    const { outcome, instructions, ns, mapCache, nics } = result;
    this.linear = result.linear;
    this.current = 'ended';
    this.unplugCables();
    const end: MachineEnd = { outcome, text: RUN_OUTCOMES[outcome].text, instructions, ns, mapCache, nics };
    this.text.end(new UserError(`the machine ended: ${end.text}`));
    this.outcome.resolve(end);
    this.emitter.emit('end', end);
  }

  private break(error: Error): void {
    this.current = error instanceof Interrupted ? 'destroyed' : 'ended';
    this.unplugCables();
    this.text.end(error);
    this.outcome.reject(error);
  }

  private async giveUp(): Promise<void> {
    if (this.starting !== undefined) await this.starting.catch(() => {});
    const run = this.run_;
    if (run === undefined || this.current === 'ended' || this.current === 'destroyed') return;
    run.destroy();
    await run.result.catch(() => {});
  }

  private plugCables(): void {
    this.cables = [];
    this.nics.forEach(({ network }, i) => {
      if (typeof network !== 'object') return;
      this.cables[i] = network.attach((frame) => {
        this.injectFrame(frame.slice(), i).catch(() => {});
      });
    });
  }

  private unplugCables(): void {
    for (const cable of this.cables) cable?.detach();
    this.cables = [];
  }

  private updateWatch(name: EventName): void {
    if (this.current !== 'running' && this.current !== 'paused') return;
    if (name === 'exit' || name === 'interrupt' || name === 'ioreq' || name === 'frame')
      for (const request of this.watchRequests()) request.catch(() => {});
  }

  private watchRequests(): Promise<unknown>[] {
    const has = (name: EventName): boolean => this.emitter.has(name);
    return [
      this.machine.request({ to: 'guest', request: { kind: 'watch', exits: has('exit'), interrupts: has('interrupt') } }),
      this.machine.request({ to: 'device-model', request: { kind: 'watch', ioreqs: has('ioreq'), frames: has('frame') } }),
    ];
  }
}

const DEFAULT_NICS: readonly NicConfig[] = [{ model: 'rtl8139' }];

function deferred(): { promise: Promise<MachineEnd>; resolve(end: MachineEnd): void; reject(error: Error): void } {
  let resolve!: (end: MachineEnd) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<MachineEnd>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  // Whoever wants to know of a failure awaits it; nobody has to.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
