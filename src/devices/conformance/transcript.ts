/**
 * Reference transcripts: JSON lines of what software did to a NIC and what a reference model answered. A line with
 * `"v":1` starts a sequence on a fresh machine; inputs and, after each, its effects follow.
 */
import { UserError } from '../../base/errors.ts';
import type { BarDef } from '../pci/config-space.ts';

export interface SequenceHeader {
  readonly name: string;
  readonly device: string;
  readonly category: string;
  readonly mac: Uint8Array;
  readonly ramBase: number;
  readonly ramSize: number;
  /** Where the sequence found the BARs, Command being 7. */
  readonly bars: readonly (BarDef & { readonly base: number })[];
}

/** Something software, the wire or time did. Register addresses are relative to the BAR, memory ones to RAM. */
export type Input =
  | {
      readonly kind: 'read' | 'write';
      readonly bar: number;
      readonly addr: number;
      readonly size: number;
      readonly value: number;
    }
  | { readonly kind: 'configRead' | 'configWrite'; readonly addr: number; readonly size: number; readonly value: number }
  | { readonly kind: 'mem'; readonly addr: number; readonly bytes: Uint8Array }
  | { readonly kind: 'fill'; readonly addr: number; readonly len: number; readonly byte: number }
  | { readonly kind: 'rx'; readonly bytes: Uint8Array }
  | { readonly kind: 'clock'; readonly now: number }
  | { readonly kind: 'link'; readonly up: boolean }
  | { readonly kind: 'sysreset' };

/** What an input brought about. */
export type Effect =
  | { readonly kind: 'tx'; readonly bytes: Uint8Array }
  | { readonly kind: 'dma'; readonly addr: number; readonly bytes: Uint8Array }
  | { readonly kind: 'irq'; readonly level: boolean };

type TranscriptLine = { readonly header: SequenceHeader } | { readonly input: Input } | { readonly effect: Effect };

const access = /^(?:(cfg)?(read|write)|(in|out))([bwl])$/;
const sizes: Readonly<Record<string, number>> = { b: 1, w: 2, l: 4 };
/** Bytes of RAM a sequence may ask for. */
const MAX_RAM = 256 << 20;

export const fromHex = (text: string): Uint8Array =>
  Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');

/**
 * Reads one line.
 * @param where file and line, for errors
 */
export function parseLine(text: string, where: string): TranscriptLine {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new UserError(`${where}: not JSON; expected one object a line (a transcript, perhaps gzip-compressed)`);
  }
  if (line === null || typeof line !== 'object') throw new UserError(`${where}: expected a JSON object`);
  const number = (field: string, max = Number.MAX_SAFE_INTEGER): number => {
    const value = line[field];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
      throw new UserError(`${where}: '${field}' is ${JSON.stringify(value)}, expected a whole number from 0 to ${max}`);
    }
    return value;
  };
  const text1 = (field: string): string => {
    const value = line[field];
    if (typeof value !== 'string') throw new UserError(`${where}: '${field}' is ${JSON.stringify(value)}, expected text`);
    return value;
  };
  const bytes = (field: string): Uint8Array => {
    const value = text1(field);
    if (!/^(?:[0-9a-f]{2})*$/i.test(value)) throw new UserError(`${where}: '${field}' is not a hexadecimal byte string`);
    return fromHex(value);
  };

  if ('v' in line) {
    if (line['v'] !== 1) throw new UserError(`${where}: transcript version ${JSON.stringify(line['v'])}, expected 1`);
    const bars = line['bars'];
    if (!Array.isArray(bars)) throw new UserError(`${where}: 'bars' is missing`);
    return {
      header: {
        name: text1('name'),
        device: text1('device'),
        category: text1('category'),
        mac: bytes('mac'),
        ramBase: number('ramBase'),
        ramSize: number('ramSize', MAX_RAM),
        bars: bars.map((bar: Partial<SequenceHeader['bars'][number]> | null) => {
          const { index, kind, size, base } = bar ?? {};
          const whole = [index, size, base].every((n) => Number.isSafeInteger(n) && n! >= 0);
          if (!whole || index! > 5 || (kind !== 'io' && kind !== 'mem'))
            throw new UserError(
              `${where}: 'bars' has ${JSON.stringify(bar)}, expected {"index","kind":"io"|"mem","size","base"}`,
            );
          return { index: index!, kind, size: size!, base: base! };
        }),
      },
    };
  }
  const op = text1('op');
  const match = access.exec(op);
  if (match) {
    const [, config, readOrWrite, inOrOut, letter] = match;
    const size = sizes[letter!]!;
    const read = readOrWrite === 'read' || inOrOut === 'in';
    const value = number(read ? 'got' : 'val', 2 ** (8 * size) - 1);
    if (config) return { input: { kind: read ? 'configRead' : 'configWrite', addr: number('addr', 255), size, value } };
    return { input: { kind: read ? 'read' : 'write', bar: number('bar', 5), addr: number('addr'), size, value } };
  }
  switch (op) {
    case 'mem':
      return { input: { kind: 'mem', addr: number('addr'), bytes: bytes('bytes') } };
    case 'fill':
      return { input: { kind: 'fill', addr: number('addr'), len: number('len'), byte: number('byte', 255) } };
    case 'rx':
      return { input: { kind: 'rx', bytes: bytes('bytes') } };
    case 'clock':
      return { input: { kind: 'clock', now: number('now') } };
    case 'link':
      return { input: { kind: 'link', up: Boolean(line['up']) } };
    case 'sysreset':
      return { input: { kind: 'sysreset' } };
    case 'tx':
      return { effect: { kind: 'tx', bytes: bytes('bytes') } };
    case 'dma':
      return { effect: { kind: 'dma', addr: number('addr'), bytes: bytes('bytes') } };
    case 'irq':
      return { effect: { kind: 'irq', level: Boolean(line['level']) } };
    default:
      throw new UserError(`${where}: unknown operation '${op}'`);
  }
}
