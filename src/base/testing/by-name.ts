/** Registers by name for specs: a test then reads like the data sheet. */
import type { BitField, RegisterDef } from '../registers.ts';

/** A whole register's value, or its fields by name: a number, or a word that the table gives for a number. */
export type RegisterValue = number | Readonly<Record<string, number | string>>;

/** How a test reaches the block: offset from its start, bytes. */
interface BlockAccess {
  read(offset: number, width: number): number;
  write(offset: number, width: number, value: number): void;
}

interface Named {
  readonly offset: number;
  readonly width: number;
  readonly fields: readonly BitField[];
}

function fieldOf(register: string, fields: readonly BitField[], name: string): BitField {
  const field = fields.find((one) => one.name === name);
  if (field === undefined) throw new Error(`register ${register} has no field '${name}'`);
  return field;
}

function numberOf(register: string, field: BitField, value: number | string): number {
  if (typeof value === 'number') return value;
  const found = Object.entries(field.values ?? {}).find(([, word]) => word === value);
  if (found === undefined) throw new Error(`field ${register}.${field.name} has no value '${value}'`);
  return Number(found[0]);
}

/** Masks of fields by name, as one object: `const ICR = masks('ICR', fields, 'TXDW', 'RXT0')`, then `ICR.TXDW`. */
export function masks<const N extends string>(
  register: string,
  fields: readonly BitField[] | undefined,
  ...names: readonly N[]
): Readonly<Record<N, number>> {
  const mask = (name: N): number => {
    const { lsb, bits = 1 } = fieldOf(register, fields ?? [], name);
    return (2 ** bits - 1) * 2 ** lsb;
  };
  return Object.fromEntries(names.map((name) => [name, mask(name)])) as Record<N, number>;
}

const lowestBit = (mask: number): number => (mask & -mask) >>> 0;
/** A value at its field's place, by the field's mask: `toField(RCTL.BSIZE, 1)`; and a field's value in a register's. */
export const toField = (mask: number, value: number): number => value * lowestBit(mask);
export const fromField = (mask: number, value: number): number => ((value & mask) >>> 0) / lowestBit(mask);

/** The number that a register's fields make; fields not named are 0. */
export function valueOf(
  register: string,
  fields: readonly BitField[] | undefined,
  given: Readonly<Record<string, number | string>>,
): number {
  let number = 0;
  for (const [key, value] of Object.entries(given)) {
    const field = fieldOf(register, fields ?? [], key);
    number += numberOf(register, field, value) * 2 ** field.lsb;
  }
  return number;
}

/**
 * Whole registers of a table, read and written by name at their own width: those of other operating modes, those that are only
 * written, and those of arrays (`MTA[5]`) included. `N` is the type of the names that compile.
 */
export function byName<N extends string = string>(table: readonly RegisterDef[], access: BlockAccess) {
  const all = new Map<string, Named>();
  for (const { name, offset, width, count, stride = width, fields = [], otherwise, written } of table) {
    all.set(name, { offset, width, fields });
    for (let i = 0; i < (count ?? 0); i++) all.set(`${name}[${i}]`, { offset: offset + i * stride, width, fields });
    for (const other of [otherwise, written])
      if (other !== undefined) all.set(other.name, { offset, width, fields: other.fields ?? [] });
  }
  const named = (name: N): Named => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`no register is called '${name}'`);
    return found;
  };
  const value = (name: N, fields: Readonly<Record<string, number | string>>): number => valueOf(name, named(name).fields, fields);
  const read = (name: N): number => access.read(named(name).offset, named(name).width);
  return {
    /** Where a register lies in its block. */
    offset: (name: N): number => named(name).offset,
    /** The number that fields make; fields not named are 0. */
    value,
    read,
    write: (name: N, given: RegisterValue): void =>
      access.write(named(name).offset, named(name).width, typeof given === 'number' ? given : value(name, given)),
    /** One field of a register, as it reads now. */
    field: (name: N, key: string): number => {
      const { lsb, bits = 1 } = fieldOf(name, named(name).fields, key);
      return Math.floor(read(name) / 2 ** lsb) % 2 ** bits;
    },
  };
}
