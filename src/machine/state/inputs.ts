/**
 * What comes into a machine from outside: characters typed, frames from a socket, the order to stop. It comes in at the beginning of a
 * round of the run loop and at no other moment, so that a recording that names rounds brings it again at the same instruction.
 */
import type { Snapshot } from '../../base/snapshot.ts';
import type { FrameSource } from '../../net/frame-ring.ts';

export type InputKind = 'console' | 'frame' | 'stop';

export interface RecordedInput {
  readonly round: number;
  readonly kind: InputKind;
  /** Time of the clock at which it came, for whoever reads a recording; in idle time it is when the idle time ended. */
  readonly ns: number;
  readonly bytes: Uint8Array;
}

/** Frames that wait for the device model, from which on no more are taken in. */
const WAITING_LIMIT = 256;

/** Bytes on their way to the device model. */
class InputQueue implements FrameSource {
  items: Uint8Array[] = [];

  get empty(): boolean {
    return this.items.length === 0;
  }

  peek(): Uint8Array | undefined {
    return this.items[0];
  }

  advance(): void {
    this.items.shift();
  }
}

/** Where live input comes from. */
export interface LiveInput {
  readonly console?: FrameSource;
  readonly socket?: FrameSource;
  /** Two i32: the first rises with every input and is notified then; the second becomes 1 when the machine is to stop. */
  readonly bell: Int32Array;
  /** Called with everything that comes in. */
  readonly record: (input: RecordedInput) => void;
}

interface InputGateState {
  readonly console: readonly Uint8Array[];
  readonly frames: readonly Uint8Array[];
}

export class InputGate implements Snapshot<InputGateState> {
  readonly kind = 'input';
  readonly version = 1;
  readonly console = new InputQueue();
  readonly socket = new InputQueue();
  private readonly now: () => number;
  private readonly stop: () => void;
  private readonly live: LiveInput | undefined;
  private readonly inputs: readonly RecordedInput[];
  private next = 0;

  /** `from`: a live source, or what a recording holds. `stop` shuts the domain down as an interrupted run does. */
  constructor(from: LiveInput | readonly RecordedInput[], now: () => number, stop: () => void) {
    this.live = 'bell' in from ? from : undefined;
    this.inputs = 'bell' in from ? [] : from;
    this.now = now;
    this.stop = stop;
  }

  save(): InputGateState {
    return { console: [...this.console.items], frames: [...this.socket.items] };
  }

  restore({ console, frames }: InputGateState): void {
    this.console.items = [...console];
    this.socket.items = [...frames];
  }

  /** A restored machine has come to this round. */
  goTo(round: number): void {
    this.next = this.inputs.findIndex((input) => input.round > round);
    if (this.next < 0) this.next = this.inputs.length;
  }

  takeInput(round: number): boolean {
    return this.live === undefined ? this.takeRecorded(round) : this.takeLive(this.live, round);
  }

  awaitInput(round: number, nowNs: number, untilNs: number): number {
    const { live } = this;
    if (live === undefined) {
      const input = this.inputs[this.next];
      return input?.round === round ? input.ns : untilNs;
    }
    const seen = Atomics.load(live.bell, 0);
    if (!this.isEmpty(live)) return nowNs;
    const begin = performance.now();
    // Idle time passes as real time does: who types or answers lives in that.
    Atomics.wait(live.bell, 0, seen, Math.min((untilNs - nowNs) / 1e6, LONGEST_WAIT_MS));
    const waited = Math.floor((performance.now() - begin) * 1e6);
    return this.isEmpty(live) ? untilNs : Math.min(untilNs, nowNs + waited);
  }

  private isEmpty({ console, socket, bell }: LiveInput): boolean {
    return (console?.empty ?? true) && (socket?.empty ?? true) && Atomics.load(bell, 1) === 0;
  }

  private takeRecorded(round: number): boolean {
    const first = this.next;
    for (let input = this.inputs[this.next]; input?.round === round; input = this.inputs[++this.next]) this.deliver(input);
    return this.next > first;
  }

  private takeLive(live: LiveInput, round: number): boolean {
    let came = false;
    const take = (kind: InputKind, bytes: Uint8Array): void => {
      const input = { round, kind, ns: this.now(), bytes };
      live.record(input);
      this.deliver(input);
      came = true;
    };
    for (const [kind, source, queue] of [
      ['console', live.console, this.console],
      ['frame', live.socket, this.socket],
    ] as const) {
      if (source === undefined || source.empty) continue;
      for (let bytes = source.peek(); bytes !== undefined && queue.items.length < WAITING_LIMIT; bytes = source.peek()) {
        take(kind, bytes.slice());
        source.advance();
      }
    }
    if (Atomics.load(live.bell, 1) !== 0) take('stop', new Uint8Array());
    return came;
  }

  private deliver({ kind, bytes }: RecordedInput): void {
    if (kind === 'stop') this.stop();
    else (kind === 'console' ? this.console : this.socket).items.push(bytes);
  }
}

/** A wait ends after this, in case a bell was lost. */
const LONGEST_WAIT_MS = 1000;
