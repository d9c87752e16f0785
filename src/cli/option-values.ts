/** Values of options: what a word of the command line says, or in one line why it says nothing. */
import { InvalidArgumentError } from 'commander';
import { UserError } from '../base/errors.ts';
import type { RunOutcome } from '../machine/exit-status.ts';
import type { SaveAt } from '../machine/job.ts';
import { TRC_ALL, TRC_DOM0OP, TRC_GEN, TRC_HVM, TRC_HW, TRC_MEM, TRC_PV, TRC_SCHED, TRC_SHADOW } from '../trace/events.ts';
import { type OutputName, OUTPUT_OPTIONS } from './outputs.ts';

/** `--save` and `--save-at`. */
interface SavePoint {
  readonly save?: string;
  readonly saveAt?: SaveAt;
}

/** `--max-size`: of every file, or of one. */
export interface MaxSize {
  readonly name: OutputName | undefined;
  readonly bytes: number;
}
const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
const SMALLEST_SIZE = 2 ** 20;

export function parseMaxSize(value: string, before: readonly MaxSize[]): MaxSize[] {
  const found = /^(?:([\w-]+)=)?(\d{1,12}(?:\.\d{1,3})?)([kmgt]?)(?:i?b)?$/i.exec(value.trim());
  const names = Object.entries(OUTPUT_OPTIONS).map(([name, option]) => [option.slice(2), name as OutputName] as const);
  const name = names.find(([option]) => option === found?.[1])?.[1];
  const bytes = found === null ? 0 : Math.floor(Number(found[2]) * SIZE_UNITS[found[3]!.toLowerCase()]!);
  if (found === null || (found[1] !== undefined && name === undefined) || bytes < SMALLEST_SIZE)
    throw new InvalidArgumentError(
      `expected a size of 1M or more, such as 500M or 2G, or one output's, such as trace=2G (${names.map(([option]) => option).join(', ')})`,
    );
  return [...before, { name, bytes }];
}

export const DUMP_ENDS = ['timeout', 'halted', 'reboot', 'poweroff', 'interrupted', 'none'] as const;

/** `--dump-on`: ends of the run, with commas between. */
export function parseDumpOn(value: string): RunOutcome[] {
  const words = value.split(',').map((word) => word.trim());
  const unknown = words.find((word) => !(DUMP_ENDS as readonly string[]).includes(word));
  if (unknown !== undefined || (words.includes('none') && words.length > 1))
    throw new InvalidArgumentError(`expected none, or some of ${DUMP_ENDS.slice(0, -1).join(', ')} with commas between`);
  return words.filter((word) => word !== 'none') as RunOutcome[];
}

export const collect = (value: string, before: string[]): string[] => [...before, value];
export const whole =
  (min: number, max: number) =>
  (value: string): number => {
    const n = Number(value);
    if (!/^\d+$/.test(value.trim()) || n < min || n > max)
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    return n;
  };
export const oneOf =
  (...names: readonly string[]) =>
  (value: string): string => {
    if (!names.includes(value)) throw new InvalidArgumentError(`expected ${names.join(' or ')}`);
    return value;
  };

/** Job.saveAt for --save and --save-at. Throws UserError for one without the other. */
export function savePoint({ save, saveAt }: SavePoint): { readonly saveAt?: SaveAt } {
  if (save === undefined && saveAt === undefined) return {};
  if (save === undefined) throw new UserError('--save-at: it says where to save; give --save FILE too');
  return { saveAt: { ...saveAt, asked: new SharedArrayBuffer(4) } };
}

/** A point of --save-at. Throws UserError for anything else. */
export function parseSavePoint(text: string): SaveAt {
  const [, kind, value = ''] = /^(time|exit|instruction|console):(.+)$/s.exec(text) ?? [];
  if (kind === 'console') return { console: value };
  const number = Number(value);
  if (kind === undefined || value.trim() === '' || !(number >= 0) || (kind !== 'time' && !Number.isSafeInteger(number)))
    throw new UserError(`--save-at ${text}: expected time:SECONDS, exit:NUMBER, instruction:NUMBER or console:TEXT`);
  return kind === 'time' ? { seconds: number } : kind === 'exit' ? { exit: number } : { instruction: number };
}

const TRACE_CLASSES: Readonly<Record<string, number>> = {
  all: TRC_ALL,
  gen: TRC_GEN,
  sched: TRC_SCHED,
  dom0op: TRC_DOM0OP,
  hvm: TRC_HVM,
  mem: TRC_MEM,
  pv: TRC_PV,
  shadow: TRC_SHADOW,
  hw: TRC_HW,
};

/** Event mask as `xentrace -e` takes it. Throws UserError for anything else. */
export function parseEventMask(text: string): number {
  const known = TRACE_CLASSES[text.toLowerCase()];
  if (known !== undefined) return known;
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0 || value > 0xffffffff)
    throw new UserError(`-e ${text}: expected a 32-bit number or one of ${Object.keys(TRACE_CLASSES).join(', ')}`);
  return value;
}
