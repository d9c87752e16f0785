/**
 * What a statement rests on. Every figure and sentence of an analysis carries where it was read and how far
 * that carries it; what no file shows is `unknown`, never a guess.
 */

/** Which of the input files a reference points into. */
type SourceFile = 'trace' | 'text' | 'dm-log' | 'pcap' | 'console' | 'option';

/** One place in an input file: byte offset of a trace record, line of a text (from 1), frame of a capture (from 1). */
export interface Ref {
  readonly file: SourceFile;
  readonly unit: 'offset' | 'line' | 'frame' | 'argument';
  readonly at: number;
}

/**
 * proven: a record or line says it. strong: follows from records by a rule of Xen, of the chip or of the format.
 * inferred: the likeliest reading of order and time; another is possible. unknown: the files do not show it.
 */
export type Strength = 'proven' | 'strong' | 'inferred' | 'unknown';

/** A value with its evidence. `value` is undefined exactly when `strength` is `unknown`. */
export interface Claim<T> {
  readonly value: T | undefined;
  readonly strength: Strength;
  /** One clause: why the value follows, or what is missing. */
  readonly why: string;
  readonly refs: readonly Ref[];
}

export const claim = <T>(value: T, strength: Exclude<Strength, 'unknown'>, why: string, refs: readonly Ref[]): Claim<T> => ({
  value,
  strength,
  why,
  refs,
});

export const unknown = <T>(why: string, refs: readonly Ref[] = []): Claim<T> => ({
  value: undefined,
  strength: 'unknown',
  why,
  refs,
});

export const traceOffset = (at: number): Ref => ({ file: 'trace', unit: 'offset', at });
export const textLine = (at: number): Ref => ({ file: 'text', unit: 'line', at });
/** A line of the device-model log, or of a text that holds its lines among others. */
export const logLine = (at: number, file: 'dm-log' | 'text' = 'dm-log'): Ref => ({ file, unit: 'line', at });
export const pcapFrame = (at: number): Ref => ({ file: 'pcap', unit: 'frame', at });
export const consoleLine = (at: number): Ref => ({ file: 'console', unit: 'line', at });
export const optionRef: Ref = { file: 'option', unit: 'argument', at: 0 };

/** `trace+0x2a4c`, `log:9640`, `pcap#16`: short enough to stand behind a sentence. */
export function formatRef(ref: Ref): string {
  switch (ref.unit) {
    case 'offset':
      return `${ref.file}+0x${ref.at.toString(16)}`;
    case 'line':
      return `${ref.file === 'dm-log' ? 'log' : ref.file}:${ref.at}`;
    case 'frame':
      return `${ref.file}#${ref.at}`;
    case 'argument':
      return 'option';
  }
}

/** References joined by commas, each once, neighbouring lines of one file folded to a range. */
export function formatRefs(all: readonly Ref[]): string {
  const refs = all.filter((ref, i) => all.findIndex((other) => other.file === ref.file && other.at === ref.at) === i);
  const parts: string[] = [];
  for (let i = 0; i < refs.length; i++) {
    const first = refs[i]!;
    let last = first;
    while (
      first.unit === 'line' &&
      i + 1 < refs.length &&
      refs[i + 1]!.file === first.file &&
      refs[i + 1]!.unit === 'line' &&
      refs[i + 1]!.at === last.at + 1
    ) {
      last = refs[++i]!;
    }
    parts.push(last === first ? formatRef(first) : `${formatRef(first)}-${last.at}`);
  }
  return parts.join(', ');
}
