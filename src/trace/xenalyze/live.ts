import { DamageList } from '../format/damage.ts';
import { LiveFeed, WindowCutter } from '../format/live-feed.ts';
import type { LiveWindow } from '../format/live-feed.ts';
import type { Transitions } from '../follow/transitions.ts';
import { InferenceBuilder } from '../records/infer.ts';
import type { Inference } from '../records/infer.ts';
import { engineOptions } from './dump.ts';
import { Follower } from './follower.ts';
import type { TracedPcpu } from './domains.ts';

const CHUNK_RECORDS = 16_384;
/** Records looked at for vendor and release. */
const INFERENCE_RECORDS = 50_000;

/** Follows a trace while it arrives. Memory does not grow with the stream. */
export class LiveFollower {
  readonly damage = new DamageList();
  private readonly cutter = new WindowCutter();
  private readonly engine: Follower;
  private feed!: LiveFeed<TracedPcpu>;
  private readonly inferring = new InferenceBuilder();
  private left = INFERENCE_RECORDS;

  constructor(cpuHz: number, transitions: Transitions) {
    const options = { ...engineOptions({ cpuHz, svm: false, exact: false }, false), summary: false };
    this.engine = new Follower((makePcpu, observer) => (this.feed = new LiveFeed(makePcpu, observer)), options);
    this.engine.transitions = transitions;
    this.engine.onDamage = (one) => this.damage.add(one);
  }

  /** Bytes of the stream that were no window. */
  get skipped(): number {
    return this.cutter.skipped;
  }

  get records(): number {
    return this.engine.records;
  }

  get inference(): Inference {
    return this.inferring.result();
  }

  /** Nanoseconds since the first TSC, of what has been followed. */
  get nowNs(): number {
    return this.engine.firstTsc === 0 ? 0 : this.engine.scale.ns(this.engine.now - this.engine.firstTsc);
  }

  /** The same of what has arrived. */
  get arrivedNs(): number {
    return this.engine.firstTsc === 0 ? 0 : this.engine.scale.ns(this.feed.latestTsc - this.engine.firstTsc);
  }

  /** Take the next bytes of the stream. @param window is told of every window that is whole */
  push(bytes: Uint8Array, window: (window: LiveWindow) => void): void {
    this.take(this.cutter.push(bytes), window);
  }

  /** There is no more. @param window is told of the last window, where the stream ended inside it */
  end(window: (window: LiveWindow) => void): void {
    this.take(this.cutter.end(), window);
    this.feed.end();
    while (this.engine.run(CHUNK_RECORDS) === 0);
  }

  private take(windows: Iterable<LiveWindow>, told: (window: LiveWindow) => void): void {
    for (const one of windows) {
      told(one);
      if (this.left > 0) this.infer(one);
      this.feed.push(one);
      while (this.engine.run(CHUNK_RECORDS) === 0);
    }
  }

  private infer({ words, bytes, offset }: LiveWindow): void {
    for (let i = 0; i < bytes >> 2 && this.left > 0; this.left--) {
      const header = words[i]!;
      const extra = (header >>> 28) & 7;
      const data = i + (header < 0 ? 3 : 1);
      this.inferring.record(offset + 12 + i * 4, header & 0x0fffffff, extra, words[data]! >>> 0);
      i = data + extra;
    }
  }
}
