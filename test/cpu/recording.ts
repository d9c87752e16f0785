/**
 * Answers of a real processor in a file: JSON lines, gzipped where the name ends in .gz. The first line says which
 * processor it was and which choices it makes otherwise than the vCPU, each other line is a case with its answer.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { type Choices, choicesOf } from './choices.ts';
import type { SavedCase } from './lockstep/case.ts';
import type { Processor } from './processor.ts';

export interface Recording<C> {
  readonly processor: string;
  readonly choices: Choices;
  readonly cases: readonly C[];
}

interface Header {
  readonly processor: string;
  readonly choices: readonly string[];
}

export function readRecording<C = SavedCase>(path: string): Recording<C> {
  const bytes = readFileSync(path);
  const lines = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes)
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '');
  const header = JSON.parse(lines[0] ?? '{}') as Partial<Header>;
  if (header.processor === undefined || header.choices === undefined)
    throw new Error(`${path}:1: expected the processor and its choices`);
  return {
    processor: header.processor,
    choices: choicesOf(header.choices),
    cases: lines.slice(1).map((line) => JSON.parse(line) as C),
  };
}

/** Adds cases to a file, or makes it. A file holds one processor's answers. */
export function addToRecording(path: string, processor: Processor, cases: readonly SavedCase[]): void {
  const choices = [...processor.choices];
  const before = existsSync(path) ? readRecording(path) : { processor: processor.name, choices: processor.choices, cases: [] };
  if (before.processor !== processor.name || choices.join() !== [...before.choices].join())
    throw new Error(`${path}: holds answers of another processor (${before.processor}); give another file`);
  const header: Header = { processor: processor.name, choices };
  const text = [header, ...before.cases, ...cases].map((line) => `${JSON.stringify(line)}\n`).join('');
  writeFileSync(path, path.endsWith('.gz') ? gzipSync(text, { level: 9 }) : text);
}
