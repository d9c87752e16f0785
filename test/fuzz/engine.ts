/**
 * A small coverage-guided fuzzer: inputs that reach an edge, or an edge a new number of times, stay in the corpus and are
 * mutated further. Edges are pairs of consecutive counters (instrument.mjs), as in AFL.
 */

/** What is fuzzed. */
export interface Target {
  readonly name: string;
  /** Runs one input; throws when something is wrong. Must depend on the input alone. */
  run(input: Uint8Array): void;
  /** Runs an input that just entered the corpus in some dearer way; throws when something is wrong. */
  runThoroughly?(input: Uint8Array): void;
  readonly seeds: readonly Uint8Array[];
}

export interface Finding {
  readonly input: Uint8Array;
  readonly error: string;
}

export interface FuzzResult {
  readonly executions: number;
  readonly edges: number;
  readonly seconds: number;
  readonly corpus: readonly Uint8Array[];
  readonly findings: readonly Finding[];
}

const MAP_SIZE = 0x10000;
const MAX_INPUT = 400;
/** Different findings kept; one is enough to fail, more help to see whether they are the same. */
const MAX_FINDINGS = 10;

const counts = new Uint8Array(MAP_SIZE);
const touched = new Uint16Array(MAP_SIZE);
let touchedCount = 0;
let previous = 0;

declare global {
  var fuzzEdge: (id: number) => void;
}

/** What instrumented code calls; must be in place before that code is loaded. */
globalThis.fuzzEdge = (id) => {
  const edge = id ^ previous;
  if (counts[edge] === 0) touched[touchedCount++] = edge;
  if (counts[edge] !== 255) counts[edge]!++;
  previous = id >> 1;
};

/** Classes of how often an edge was taken, one bit each. */
const classes = Uint8Array.from({ length: 256 }, (_, n) =>
  n === 0 ? 0 : n < 4 ? 1 << (n - 1) : n < 8 ? 8 : n < 16 ? 16 : n < 32 ? 32 : n < 128 ? 64 : 128,
);

/** xorshift32. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0 || 1;
  }

  /** A whole number below `n`. */
  below(n: number): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return this.state % n;
  }
}

const interesting = [0, 1, 2, 3, 4, 7, 8, 0x0c, 0x10, 0x1f, 0x20, 0x40, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/** A changed copy of `input`; `other` lends bytes. */
export function mutate(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let bytes = Array.from(input);
  for (let n = 1 + random.below(1 << random.below(4)); n > 0; n--) {
    const at = random.below(bytes.length + 1);
    switch (random.below(9)) {
      case 0:
        if (at < bytes.length) bytes[at]! ^= 1 << random.below(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = random.below(256);
        break;
      case 2:
        if (at < bytes.length) bytes[at] = interesting[random.below(interesting.length)]!;
        break;
      case 3:
        if (at < bytes.length) bytes[at] = (bytes[at]! + random.below(33) - 16) & 0xff;
        break;
      case 4:
        bytes.splice(at, 0, ...Array.from({ length: 1 + random.below(8) }, () => random.below(256)));
        break;
      case 5:
        bytes.splice(at, 1 + random.below(12));
        break;
      case 6:
        bytes.splice(random.below(bytes.length + 1), 0, ...bytes.slice(at, at + 1 + random.below(24)));
        break;
      case 7: {
        const from = random.below(other.length + 1);
        bytes.splice(at, random.below(2) ? 0 : bytes.length, ...other.subarray(from, from + 1 + random.below(64)));
        break;
      }
      case 8:
        bytes = bytes.concat(Array.from(other.subarray(random.below(other.length + 1))));
        break;
    }
  }
  return Uint8Array.from(bytes.slice(0, MAX_INPUT));
}

export class Fuzzer {
  readonly findings: Finding[] = [];
  readonly corpus: Uint8Array[] = [];
  executions = 0;
  edges = 0;
  private readonly target: Target;
  private readonly seen = new Uint8Array(MAP_SIZE);
  private readonly random: Random;
  private readonly errors = new Set<string>();
  private readonly countOften: boolean;

  /** @param countOften does an edge taken a new number of times count as new? */
  constructor(target: Target, seed: number, countOften = true) {
    this.target = target;
    this.random = new Random(seed);
    this.countOften = countOften;
  }

  /** Runs one input; true when it reached something new (and is in the corpus now). */
  try(input: Uint8Array): boolean {
    touchedCount = 0;
    previous = 0;
    this.executions++;
    this.guard(input, () => this.target.run(input));
    let fresh = false;
    for (let i = 0; i < touchedCount; i++) {
      const edge = touched[i]!;
      const bit = this.countOften ? classes[counts[edge]!]! : 1;
      counts[edge] = 0;
      if (this.seen[edge]! & bit) continue;
      if (this.seen[edge] === 0) this.edges++;
      this.seen[edge]! |= bit;
      fresh = true;
    }
    if (fresh) {
      this.corpus.push(input);
      this.guard(input, () => this.target.runThoroughly?.(input));
      for (let i = 0; i < touchedCount; i++) counts[touched[i]!] = 0;
    }
    return fresh;
  }

  /** Mutates the corpus for a while. */
  run(milliseconds: number, maxExecutions = Infinity, progress: (fuzzer: Fuzzer) => void = () => {}): void {
    const random = this.random;
    if (this.corpus.length === 0) this.corpus.push(new Uint8Array(1));
    const end = Date.now() + milliseconds;
    let nextReport = Date.now() + 10_000;
    for (let n = 0; n < maxExecutions && this.findings.length < MAX_FINDINGS; n++) {
      if ((n & 63) === 0) {
        const now = Date.now();
        if (now >= end) break;
        if (now >= nextReport) {
          nextReport = now + 10_000;
          progress(this);
        }
      }
      const size = this.corpus.length;
      // Half of the time among the latest: they have been tried least.
      const pick = random.below(2) ? random.below(size) : Math.max(0, size - 1 - random.below(24));
      this.try(mutate(this.corpus[pick]!, this.corpus[random.below(size)]!, random));
    }
  }

  /** Few and short inputs that still reach every edge the corpus reaches. */
  distilled(): Uint8Array[] {
    const target: Target = { ...this.target, run: (input) => this.target.run(input), runThoroughly: () => {} };
    const forward = new Fuzzer(target, 1, false);
    for (const input of [...this.corpus].sort((a, b) => a.length - b.length)) forward.try(input);
    // Once more from the last: what a later input reached too may be superfluous now.
    const backward = new Fuzzer(target, 1, false);
    for (const input of forward.corpus.reverse()) backward.try(input);
    return backward.corpus;
  }

  private guard(input: Uint8Array, work: () => void): void {
    try {
      work();
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const kind = text.split('\n').slice(0, 3).join('\n');
      if (this.errors.has(kind)) return;
      this.errors.add(kind);
      this.findings.push({ input, error: text });
    }
  }
}
