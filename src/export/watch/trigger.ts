import { UserError } from '../../base/errors.ts';

/**
 * Conditions on what happens: `io.latency > 5ms`, `exit.latency > 1ms and exit.domid = 3`, `lost.records > 0`. All terms of a
 * condition are about one kind of event and hold for the same one.
 */

/** What a condition can be about, and the fields of each. Times are nanoseconds. */
const FIELDS = {
  io: ['latency', 'domid', 'vcpu', 'pcpu', 'address', 'write', 'port'],
  exit: ['latency', 'domid', 'vcpu', 'pcpu', 'reason'],
  wake: ['latency', 'domid', 'vcpu', 'pcpu'],
  interrupt: ['latency', 'domid', 'vcpu', 'pcpu', 'vector'],
  lost: ['records', 'latency', 'pcpu'],
} as const;

export type EventKind = keyof typeof FIELDS;
export type EventValues = Readonly<Record<string, number>>;

const UNITS: Readonly<Record<string, number>> = { '': 1, ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9 };
const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '>': (a, b) => a > b,
  '>=': (a, b) => a >= b,
  '<': (a, b) => a < b,
  '<=': (a, b) => a <= b,
  '=': (a, b) => a === b,
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
};

export interface Trigger {
  readonly kind: EventKind;
  readonly text: string;
  holds(values: EventValues): boolean;
}

const TERM = /^\s*(\w+)\.(\w+)\s*(>=|<=|==|!=|>|<|=)\s*(0x[0-9a-f]+|\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|)\s*$/i;

/** @throws UserError where the text is no condition */
export function parseTrigger(text: string): Trigger {
  const all = Object.entries(FIELDS).flatMap(([kind, fields]) => fields.map((f) => `${kind}.${f}`));
  let kind: EventKind | undefined;
  const terms = text.split(/\s+and\s+|&&/i).map((part) => {
    const m = TERM.exec(part);
    if (m === null)
      throw new UserError(
        `'${part.trim()}' is not a condition: expected a figure, a comparison and a value, for example io.latency > 5ms`,
      );
    const [, event, field, operator, number, unit] = m as unknown as [string, string, string, string, string, string];
    if (!(event in FIELDS) || !(FIELDS[event as EventKind] as readonly string[]).includes(field))
      throw new UserError(`unknown figure '${event}.${field}'; expected one of ${all.join(', ')}`);
    if (kind !== undefined && kind !== event)
      throw new UserError(`a condition is about one event: ${kind} and ${event} do not go together`);
    kind = event as EventKind;
    if (unit !== '' && field !== 'latency') throw new UserError(`${event}.${field} is not a time: leave out '${unit}'`);
    if (unit === '' && field === 'latency' && Number(number) !== 0)
      throw new UserError(`'${part.trim()}' lacks a unit: write ${number}ms, ${number}us or ${number}ns`);
    const value = Number(number) * UNITS[unit.toLowerCase()]!;
    const compare = COMPARE[operator]!;
    return (values: EventValues): boolean => compare(values[field]!, value);
  });
  return { kind: kind!, text: text.trim(), holds: (values) => terms.every((t) => t(values)) };
}
