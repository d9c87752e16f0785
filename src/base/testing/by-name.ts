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

/** Whole registers of a table, those of other operating modes included, read and written by name at their own width. */
export function byName(table: readonly RegisterDef[], access: BlockAccess) {
  const all = new Map<string, Named>();
  for (const { name, offset, width, fields = [], otherwise } of table) {
    all.set(name, { offset, width, fields });
    if (otherwise !== undefined) all.set(otherwise.name, { offset, width, fields: otherwise.fields ?? [] });
  }
  const named = (name: string): Named => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`no register is called '${name}'`);
    return found;
  };
  /** The number that a register's fields make; fields not named are 0. */
  const value = (name: string, fields: Readonly<Record<string, number | string>>): number => {
    let number = 0;
    for (const [key, given] of Object.entries(fields)) {
      const field = fieldOf(name, named(name).fields, key);
      number += numberOf(name, field, given) * 2 ** field.lsb;
    }
    return number;
  };
  const read = (name: string): number => access.read(named(name).offset, named(name).width);
  return {
    /** Where a register lies in its block. */
    offset: (name: string): number => named(name).offset,
    value,
    read,
    write: (name: string, given: RegisterValue): void =>
      access.write(named(name).offset, named(name).width, typeof given === 'number' ? given : value(name, given)),
    /** One field of a register, as it reads now. */
    field: (name: string, key: string): number => {
      const { lsb, bits = 1 } = fieldOf(name, named(name).fields, key);
      return Math.floor(read(name) / 2 ** lsb) % 2 ** bits;
    },
  };
}
