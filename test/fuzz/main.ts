/** Runs one target: corpus first, then mutations for a while. Called by scripts/fuzz.mjs with its options. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Fuzzer, type FuzzResult, type Target } from './engine.ts';

export interface FuzzOptions {
  readonly seconds: number;
  /** Mutations at most: with these instead of seconds, a run is the same on every machine. */
  readonly executions: number;
  readonly seed: number;
  /** Write the distilled corpus back. */
  readonly keep: boolean;
  readonly folder: string;
  readonly progress: (line: string) => void;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function fuzz(target: Target, options: FuzzOptions): FuzzResult {
  const started = Date.now();
  const fuzzer = new Fuzzer(target, options.seed);
  const file = `${options.folder}/${target.name}.txt`;
  const stored = existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => /^[0-9a-f]+$/.test(line))
    : [];
  for (const input of [...target.seeds, ...stored.map((line) => Uint8Array.from(Buffer.from(line, 'hex')))]) fuzzer.try(input);
  let told = 0;
  const tell = (): void => {
    for (; told < fuzzer.findings.length; told++) {
      options.progress(`${target.name}: FINDING ${fuzzer.findings[told]!.error}\n  input ${hex(fuzzer.findings[told]!.input)}`);
    }
    options.progress(
      `${target.name}: ${Math.round((Date.now() - started) / 1000)} s, ${fuzzer.executions} executions, ${fuzzer.edges} edges, ${fuzzer.corpus.length} inputs, ${fuzzer.findings.length} findings`,
    );
  };
  tell();
  fuzzer.run(options.seconds * 1000, options.executions, tell);
  const { executions, edges, findings } = fuzzer;
  const seconds = (Date.now() - started) / 1000;
  const corpus = options.keep ? fuzzer.distilled() : fuzzer.corpus;
  if (options.keep) writeFileSync(file, `${corpus.map(hex).join('\n')}\n`);
  return { executions, edges, seconds, corpus, findings };
}
