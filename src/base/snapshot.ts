/**
 * State that can be taken out of an object and put back, into the same one or into one built alike in another process. A state is
 * plain data: numbers, strings, booleans, null, typed arrays, and arrays and objects of these.
 */
import { UserError } from './errors.ts';

/** An object whose state can be saved and restored. */
export interface Snapshot<T> {
  /** What the state is of, as errors and comparisons name it. */
  readonly kind: string;
  /** Layout of T; a state of another version is refused. */
  readonly version: number;
  /** A copy of the state: nothing in it changes afterwards. */
  save(): T;
  /** Takes a state that save() gave. It must have passed checkShape. */
  restore(state: T): void;
}

/** A saved state with the name of what wrote it. */
export interface Saved<T = unknown> {
  readonly kind: string;
  readonly version: number;
  readonly state: T;
}

export const saved = <T>(of: Snapshot<T>): Saved<T> => ({ kind: of.kind, version: of.version, state: of.save() });

/** Puts a state back. Throws UserError when it is of another kind, of another version or of another shape. */
export function restoreSaved<T>(into: Snapshot<T>, from: Saved | undefined): void {
  if (from === undefined) throw new UserError(`saved state: no '${into.kind}' in it; restore it into the same machine`);
  if (from.kind !== into.kind || from.version !== into.version)
    throw new UserError(
      `saved state of '${from.kind}' version ${from.version}: expected '${into.kind}' version ${into.version}; save it again with this version`,
    );
  checkShape(from.state, into.save(), into.kind);
  into.restore(from.state as T);
}

/**
 * Compares the form of a state that came from outside with that of a state of the same object: the same names, and behind each the same
 * kind of value. Arrays may be of any length; their elements must be like the first element of `like`, where it has one.
 * Throws UserError that names the first place that differs.
 */
export function checkShape(state: unknown, like: unknown, path: string): void {
  const found = shapeOf(state);
  const expected = shapeOf(like);
  if (found !== expected && !(expected === 'null' || found === 'null'))
    throw new UserError(`saved state: ${path} is ${found}; expected ${expected}`);
  if (Array.isArray(like)) {
    if (like.length > 0 && Array.isArray(state)) state.forEach((item, i) => checkShape(item, like[0], `${path}[${i}]`));
    return;
  }
  if (found !== 'an object' || expected !== 'an object') return;
  const fields = state as Record<string, unknown>;
  for (const [name, value] of Object.entries(like as Record<string, unknown>)) {
    if (!Object.hasOwn(fields, name)) throw new UserError(`saved state: ${path}.${name} is missing`);
    checkShape(fields[name], value, `${path}.${name}`);
  }
  for (const name of Object.keys(fields))
    if (!Object.hasOwn(like as object, name)) throw new UserError(`saved state: ${path}.${name} is unknown here`);
}

function shapeOf(value: unknown): string {
  if (value === null) return 'null';
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** The first place at which two states differ, with both values there; undefined: they are equal. */
export function firstDifference(a: unknown, b: unknown, path: string): { path: string; a: unknown; b: unknown } | undefined {
  if (Object.is(a, b)) return undefined;
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
    const x = a as unknown as ArrayLike<unknown>;
    const y = b as unknown as ArrayLike<unknown>;
    for (let i = 0; i < Math.max(x.length, y.length); i++) if (x[i] !== y[i]) return { path: `${path}[${i}]`, a: x[i], b: y[i] };
    return undefined;
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return { path, a, b };
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  for (const name of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const found = firstDifference(left[name], right[name], Array.isArray(a) ? `${path}[${name}]` : `${path}.${name}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
