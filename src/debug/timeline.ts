/**
 * A run under the virtual clock as something to go to and fro in: forwards by running it, backwards by an earlier state and running from
 * there. It is the same run every time.
 */
import { gpa as toGpa, gpaToGfn, PAGE_SIZE } from '../base/address.ts';
import { IOREQ_WRITE, IoreqType } from '../abi/ioreq.ts';
import { UserError } from '../base/errors.ts';
import type { LoopEnd, PauseAt } from '../hypervisor/sched/schedule.ts';
import type { EngineFactory, MachineOptions, MachineSinks } from '../machine/guest-side.ts';
import { InlineMachine } from '../machine/machine.ts';
import { type MachineState, optionsOf, type Position } from '../machine/state/machine-state.ts';
import type { RecordedInput } from '../machine/state/inputs.ts';
import { TRC_ALL } from '../trace/events.ts';
import { History, positionBefore } from './history.ts';
import { type OutputCounts, OutputCounter } from './outputs.ts';
import { type RegisterWrite, registerWrite } from './registers.ts';

/** Something that happens to a machine and that one can step to. */
export type Happening =
  | { readonly kind: 'exit'; readonly reason: number }
  | { readonly kind: 'doorbell'; readonly write: RegisterWrite }
  | { readonly kind: 'interrupt'; readonly vector: number }
  | { readonly kind: 'dma'; readonly gpa: number; readonly length: number };

export type HappeningKind = Happening['kind'];

/** A read of or a write to memory that is watched. */
export interface WatchedAccess {
  readonly gpa: number;
  readonly length: number;
  readonly isWrite: boolean;
  /** `guest`: an instruction. `device`: DMA of the device model. */
  readonly by: 'guest' | 'device';
}

export type WatchKind = 'write' | 'read' | 'access';

export interface WatchedRange {
  readonly gpa: number;
  readonly length: number;
  readonly kind: WatchKind;
}

/** Bytes of guest memory that are watched; `hit` says whether the run is to stop. */
export interface Watch {
  readonly ranges: readonly WatchedRange[];
  readonly hit: (access: WatchedAccess) => boolean;
}

/** Does this access touch the range in the way that is watched? */
export const touches = ({ gpa, length, isWrite }: Omit<WatchedAccess, 'by'>, range: WatchedRange): boolean =>
  gpa < range.gpa + range.length && range.gpa < gpa + length && (range.kind === 'access' || (range.kind === 'write') === isWrite);

export interface TimelineOptions {
  readonly engine: EngineFactory;
  readonly sinks?: MachineSinks;
  readonly inputs?: readonly RecordedInput[];
}

/** Between two kept states: instructions, nanoseconds, and how much dearer running must have been than keeping. */
const SLICE_INSTRUCTIONS = 4_000_000;
const SLICE_NS = 250_000_000;
const KEEP_FACTOR = 10;
/** A block of code is no longer: a stop behind a watched write lies at most so far behind it. */
const BLOCK = 64;

/** Lines of the device model's log that are remembered. */
const LOG_LINES = 200;

export class Timeline {
  readonly machine: InlineMachine;
  /** The last lines of the device model's log, and how many there were in all. */
  logTail: string[] = [];
  consoleTail = '';
  private readonly history: History;
  readonly outputs = new OutputCounter();
  /** The run writes a trace. */
  private readonly isTraced: boolean;
  private readonly listeners = new Set<(happening: Happening) => void>();
  private watch: Watch | undefined;
  private readonly stops = new Set<number>();
  private readonly looks = new Set<() => void>();
  private keepCostMs = 0;
  private lastKeep = 0;
  private ended: LoopEnd | undefined;

  private constructor(
    history: History,
    make: (hooks: Partial<MachineOptions>, sinks: MachineSinks) => InlineMachine,
    sinks: MachineSinks,
    isTraced: boolean,
  ) {
    this.isTraced = isTraced;
    this.history = history;
    this.machine = make(
      { onDma: (gpa, length, isWrite) => this.dma({ gpa, length, isWrite }) },
      this.outputs.counted({
        ...sinks,
        log: (text) => {
          sinks.log?.(text);
          this.logTail = [...this.logTail, ...text.split('\n').filter(Boolean)].slice(-LOG_LINES);
        },
        console: (bytes) => {
          sinks.console?.(bytes);
          this.consoleTail = (this.consoleTail + String.fromCharCode(...bytes)).slice(-4096);
        },
      }),
    );
    const { hvm, deviceModel } = this.machine;
    hvm.vmx.exitTaken.add((reason) => this.tell({ kind: 'exit', reason }));
    hvm.interrupts.injections.add((vector) => this.tell({ kind: 'interrupt', vector }));
    deviceModel.server.served.add((request) => {
      if (this.listeners.size === 0 || request.dir !== IOREQ_WRITE) return;
      if (request.type !== IoreqType.copy && request.type !== IoreqType.pio) return;
      const write = registerWrite(deviceModel, request);
      if (write !== undefined) this.tell({ kind: 'doorbell', write });
    });
    this.keep();
  }

  /** The run that a saved or recorded machine goes on with. */
  static async ofState(state: MachineState, { engine, sinks = {}, inputs }: TimelineOptions): Promise<Timeline> {
    const options = {
      ...optionsOf(state.config),
      engine,
      logForm: state.config.logForm ?? ('trace' as const),
      ...(inputs === undefined ? {} : { input: inputs }),
    };
    return new Timeline(
      await History.create(),
      (hooks, taps) => new InlineMachine({ ...options, ...hooks }, taps, state),
      sinks,
      state.config.traceMask !== 0,
    );
  }

  /** A run from a machine's beginning. */
  static async ofMachine(options: MachineOptions, sinks: MachineSinks = {}): Promise<Timeline> {
    const traced = { traceMask: TRC_ALL, logForm: 'trace' as const, ...options };
    return new Timeline(
      await History.create(),
      (hooks, taps) => new InlineMachine({ ...traced, exactBudgets: true, ...hooks }, taps),
      sinks,
      traced.traceMask !== 0,
    );
  }

  get position(): Position {
    return this.machine.position;
  }

  /** How the run ended, where it has come to its end. */
  get end(): LoopEnd | undefined {
    return this.ended;
  }

  /** Bytes of the states kept, and where they stand. */
  get kept(): { readonly bytes: number; readonly positions: readonly Position[] } {
    return { bytes: this.history.bytes, positions: this.history.positions };
  }

  /** Go on until the pause, keeping states on the way. */
  forward(pauseAt: PauseAt): LoopEnd | 'paused' {
    const wanted = { ...pauseAt };
    for (;;) {
      if (this.ended !== undefined) return this.ended;
      const { instructions, ns } = this.position;
      const slice = { instructions: instructions + SLICE_INSTRUCTIONS, ns: ns + SLICE_NS };
      const end = this.machine.runTo({
        ...wanted,
        instructions: Math.min(slice.instructions, wanted.instructions ?? Infinity),
        ns: Math.min(slice.ns, wanted.ns ?? Infinity),
      });
      if (end !== 'paused') {
        this.ended = end;
        return end;
      }
      const { position } = this;
      if (this.lastKeep + this.keepCostMs * KEEP_FACTOR <= performance.now()) {
        const begin = performance.now();
        this.keep();
        this.lastKeep = performance.now();
        this.keepCostMs = this.lastKeep - begin;
      }
      const isSlice = position.instructions >= slice.instructions || position.ns >= slice.ns;
      const isWanted =
        position.instructions >= (wanted.instructions ?? Infinity) ||
        position.ns >= (wanted.ns ?? Infinity) ||
        position.exits >= (wanted.exits ?? Infinity) ||
        (wanted.when !== undefined && wanted.when());
      if (isWanted || !isSlice) return 'paused';
    }
  }

  /** To the first place of the run that has come to all that is named, wherever that lies. */
  goTo(target: { readonly instructions?: number; readonly exits?: number; readonly ns?: number }): LoopEnd | 'paused' {
    const { instructions = 0, exits = 0, ns = 0 } = target;
    const reached = (at: Position): boolean => at.instructions >= instructions && at.exits >= exits && at.ns >= ns;
    const { position } = this;
    const isHere = position.instructions === instructions && position.exits === exits && position.ns === ns;
    if (isHere) return 'paused';
    // A place that is named in full may be one of which the state is kept.
    if (target.instructions !== undefined && target.exits !== undefined && target.ns !== undefined) {
      if (reached(position)) this.restore(this.history.notBehind({ instructions, exits, ns }));
    } else if (reached(position)) this.restore(this.history.before(reached));
    for (const pauseAt of [{ instructions }, { exits }, { ns }]) {
      const end = this.forward(pauseAt);
      if (end !== 'paused') return end;
    }
    return 'paused';
  }

  /**
   * To the first place of the run by which its log has so many lines, or its capture so many frames. False, and the run stands at its
   * end, where it never has.
   */
  goToOutput(kind: Exclude<keyof OutputCounts, 'traceBytes'>, count: number): boolean {
    const done = (): boolean => {
      this.machine.deviceModel.flush();
      return this.outputs.counts[kind] >= count;
    };
    if (done()) this.restore(this.history.beforeOutput(kind, count) ?? 0);
    if (!done()) this.forward({ when: done });
    return done();
  }

  /**
   * To the time of the record at a byte offset of the trace that this run writes. Throws UserError where no record begins there, and
   * where the run ends before.
   */
  goToTrace(offset: number): void {
    const { outputs } = this;
    const at = (place: number): string => `trace+0x${place.toString(16)}`;
    if (!this.isTraced)
      throw new UserError(
        `${at(offset)}: this run writes no trace; record one that does: xenolith run --trace FILE --record FILE`,
      );
    if (outputs.counts.traceBytes > offset) this.restore(this.history.beforeOutput('traceBytes', offset + 1) ?? 0);
    const begin = outputs.counts.traceBytes;
    if (offset < begin)
      throw new UserError(`${at(offset)}: the trace of this run begins at ${at(begin)} where the debugger does`);
    outputs.want(offset);
    // A record goes out some time after it was made: the run goes on until it has.
    this.forward({ when: () => outputs.record !== undefined });
    const { record } = outputs;
    outputs.want(-1);
    if (record === undefined)
      throw new UserError(`${at(offset)}: the trace of this run ends at ${at(outputs.counts.traceBytes)}`);
    if ('near' in record) throw new UserError(`${at(offset)}: no record begins there; one begins at ${at(record.near)}`);
    // A tick of the virtual clock's TSC is a nanosecond.
    this.goTo({ ns: record.tsc });
  }

  /** On to the next happening that `wanted` accepts; undefined: the run ended before. The machine stands behind the exit it came in. */
  next(wanted: (happening: Happening) => boolean): Happening | undefined {
    let found: Happening | undefined;
    const listener = (happening: Happening): void => {
      if (found === undefined && wanted(happening)) found = happening;
    };
    this.listeners.add(listener);
    try {
      this.forward({ when: () => found !== undefined });
    } finally {
      this.listeners.delete(listener);
    }
    return found;
  }

  /** Back to where the last happening before here came that `wanted` accepts; undefined, and the machine stays, where there is none. */
  previous(
    wanted: (happening: Happening) => boolean,
  ): { readonly happening: Happening; readonly position: Position } | undefined {
    const here = this.position;
    const found = this.search(here, () => {
      let last: { happening: Happening; position: Position } | undefined;
      const listener = (happening: Happening): void => {
        const { position } = this;
        // What came in the exit that the run has just come out of is where it stands already.
        if (wanted(happening) && (position.exits < here.exits || position.instructions < here.instructions))
          last = { happening, position };
      };
      this.listeners.add(listener);
      return () => {
        this.listeners.delete(listener);
        return last;
      };
    });
    this.goTo(found?.position ?? here);
    return found;
  }

  /**
   * Search backwards from a place, from one kept state to the one before: `begin` starts to look, what it gives ends that and says
   * what was found. The machine is left anywhere.
   */
  search<T>(until: Position, begin: () => () => T | undefined): T | undefined {
    let end = until;
    for (let index = this.history.before((at) => !positionBefore(at, until)); index >= 0; index--) {
      this.restore(index);
      const start = this.position;
      const finish = begin();
      this.quietly(end);
      const found = finish();
      if (found !== undefined) return found;
      end = start;
    }
    return undefined;
  }

  /** Call `look` between any two runs of the vCPU while a search goes on, and once more at its end. Gives how to end that. */
  observe(look: () => void): () => void {
    this.looks.add(look);
    return () => {
      look();
      this.looks.delete(look);
    };
  }

  /** Addresses of instructions (linear, signed) before which forwardToStop() stops. */
  setStops(addresses: Iterable<number>): void {
    this.stops.clear();
    for (const address of addresses) this.stops.add(address);
    this.machine.hvm.engine.stopAt(this.stops);
  }

  /** The machine was changed from outside: its run begins here. */
  beginHere(): void {
    this.history.clear();
    this.keep();
  }

  setWatch(watch: Watch | undefined): void {
    this.watch = watch;
    this.arm();
  }

  /** Go on to the next stop, watched access or pause. */
  forwardToStop(pauseAt: PauseAt = {}): LoopEnd | 'paused' {
    const { instructions } = this.position;
    const { engine } = this.machine.hvm;
    return this.forward({
      ...pauseAt,
      when: () => (engine.instructions !== instructions && engine.stopped) || this.dmaHit || (pauseAt.when?.() ?? false),
    });
  }

  /** A device touched what is watched, and the run is to stop. */
  private dmaHit = false;

  /** Run to a place that lies ahead, keeping nothing. */
  private quietly({ instructions, exits, ns }: Position): void {
    for (const pauseAt of [{ instructions }, { exits }, { ns }]) if (this.ended === undefined) this.runOnly(pauseAt);
  }

  private runOnly(pauseAt: PauseAt): void {
    const { looks } = this;
    const when = (): boolean => {
      for (const look of looks) look();
      return pauseAt.when?.() ?? false;
    };
    const end = this.machine.runTo(looks.size === 0 ? pauseAt : { ...pauseAt, when });
    if (end !== 'paused') this.ended = end;
  }

  private restore(index: number): void {
    this.machine.restore(this.history.stateAt(index));
    this.outputs.counts = this.history.countsAt(index);
    this.ended = undefined;
    this.machine.hvm.engine.stopAt(this.stops);
    this.arm();
  }

  /** The instruction that made the last access which a watch saw, exactly: run there again and count. Gives its number. */
  pinpoint(hits: number, from: Position, ranges: Watch['ranges']): number {
    // Behind the block of the write, the run is near enough to go on by single instructions.
    this.goTo(from);
    let seen = 0;
    this.setWatch({ ranges, hit: ({ by }) => by === 'guest' && ++seen >= hits });
    this.forwardToStop();
    const stopped = this.position.instructions;
    this.setWatch(undefined);
    this.goTo(from);
    seen = 0;
    this.setWatch({ ranges, hit: ({ by }) => (by === 'guest' && seen++, false) });
    const near = Math.max(from.instructions, stopped - BLOCK);
    if (near > from.instructions) this.quietly({ ...from, instructions: near });
    let instruction = this.position.instructions;
    while (seen < hits && this.ended === undefined && instruction <= stopped + BLOCK) {
      instruction = this.position.instructions;
      this.runOnly({ instructions: instruction + 1 });
    }
    this.setWatch(undefined);
    return instruction;
  }

  private keep(): void {
    // What was put out is counted after the state was taken, which flushes it.
    this.history.keep(this.machine, () => this.outputs.counts);
  }

  private tell(happening: Happening): void {
    for (const listener of this.listeners) listener(happening);
  }

  private dma(access: Omit<WatchedAccess, 'by'>): void {
    const { gpa, length, isWrite } = access;
    if (isWrite && this.listeners.size > 0) this.tell({ kind: 'dma', gpa, length });
    if (this.isWatched(access) && this.watch!.hit({ ...access, by: 'device' })) this.dmaHit = true;
  }

  /** Tell the engine which machine frames lie behind what is watched. */
  private arm(): void {
    const { watch, machine } = this;
    const { engine } = machine.hvm;
    this.dmaHit = false;
    const frames = new Map<number, { readonly gpa: number; readonly reads: boolean }>();
    for (const range of watch?.ranges ?? []) {
      for (let gpa = range.gpa - (range.gpa % PAGE_SIZE); gpa < range.gpa + range.length; gpa += PAGE_SIZE) {
        const frame = machine.p2m.getMfn(gpaToGfn(toGpa(gpa)));
        const reads = range.kind !== 'write' || (frames.get(frame)?.reads ?? false);
        if (frame >= 0) frames.set(frame, { gpa, reads });
      }
    }
    engine.watchFrames(frames, (frame, offset, length, isWrite) => {
      const access = { gpa: (frames.get(frame)?.gpa ?? 0) + offset, length, isWrite };
      return this.isWatched(access) && watch!.hit({ ...access, by: 'guest' });
    });
  }

  private isWatched(access: Omit<WatchedAccess, 'by'>): boolean {
    return this.watch?.ranges.some((range) => touches(access, range)) ?? false;
  }
}
