/**
 * Registers as data. A chip declares each register once: name, place, width, access, reset value, bit fields.
 * Dispatch (register-file.ts), the chip's log, the trace reader's explanations, the documentation and the
 * sweep test are all made from that declaration.
 */
import { widthMask } from './width.ts';

/** Bytes in one register or one access. */
type Width = 1 | 2 | 4;

/** A bit field of a register: `bits` wide, lowest bit `lsb`. */
export interface BitField {
  readonly name: string;
  readonly lsb: number;
  /** 1 when left out. */
  readonly bits?: number;
  readonly doc?: string;
  /** Names of particular values. */
  readonly values?: Readonly<Record<number, string>>;
}

/**
 * What software can do with a register: `rw` read and write, `ro` writes are lost, `wo` reads give zero,
 * `w1c` writing a one clears the bit, `wc` any write clears it all, `cmd` a write is a command and reads give
 * zero, `rc` a read clears it and writes are lost, `none` decoded by the data sheet but not by this model (reads zero, writes lost).
 */
type Access = 'rw' | 'ro' | 'wo' | 'w1c' | 'wc' | 'cmd' | 'rc' | 'none';

/**
 * Accesses narrower than the register that the chip decodes, as masks of byte offsets within the register
 * (bit n = an access of that width at byte n). A narrower access that is not listed here falls apart into
 * bytes; bytes that no register takes read zero and are lost.
 */
interface PartialAccess {
  readonly readb?: number;
  readonly readw?: number;
  readonly writeb?: number;
  readonly writew?: number;
}

/** What the same place means in another operating mode of the chip. */
interface OtherMeaning {
  /** Mode in which this meaning holds, for example `C+`. */
  readonly mode: string;
  readonly name: string;
  readonly doc: string;
  readonly fields?: readonly BitField[];
}

/** How the chip's debug log names an access: `LABEL write(b) val=0x40`. */
interface LogForm {
  /** The register's name when left out. */
  readonly label?: string;
  /** `(b)`, `(w)` or nothing, after read or write. */
  readonly suffix?: string;
  /** Hexadecimal digits of a value written; two per byte of the register when left out. */
  readonly write?: number;
  /** Hexadecimal digits of a value read; as for `write` when left out. */
  readonly read?: number;
}

export interface RegisterDef<Name extends string = string> {
  /** As Linux drivers spell it. */
  readonly name: Name;
  /** As the data sheet spells it, where that differs. */
  readonly dataSheet?: string;
  /** Byte offset in the register block. */
  readonly offset: number;
  readonly width: Width;
  /** An array of equal registers, `NAME[0]` on: how many; one when left out. */
  readonly count?: number;
  /** Bytes from one register of the array to the next; `width` when left out. */
  readonly stride?: number;
  readonly access: Access;
  /** Value after the chip's own reset; left out when a reset leaves the register as it is. */
  readonly reset?: number;
  /** Value at power-on, where it differs from `reset` or a reset does not touch it; else `reset` or 0. */
  readonly powerOn?: number;
  /** Bits that a write changes; all of them when left out (access `rw`), none otherwise. */
  readonly writable?: number;
  /** Name of the lock that must be open for a write to have effect. */
  readonly lock?: string;
  readonly partial?: PartialAccess;
  readonly fields?: readonly BitField[];
  /** Operating mode to which name and meaning belong, where the place has several. */
  readonly mode?: string;
  readonly otherwise?: OtherMeaning;
  /** What a write at the place means, where that is another register than the one read there. */
  readonly written?: Omit<OtherMeaning, 'mode'>;
  readonly log?: LogForm;
  readonly doc: string;
}

/** `count` equal registers side by side: TxStatus0, TxStatus1 …; `otherwise` by index. */
export function repeat<const N extends string, const I extends readonly number[]>(
  base: N,
  indices: I,
  def: Omit<RegisterDef, 'name' | 'dataSheet' | 'otherwise'> & { readonly dataSheet?: string },
  otherwise?: (index: number) => OtherMeaning | undefined,
): RegisterDef<`${N}${I[number]}`>[] {
  return indices.map((index) => {
    const other = otherwise?.(index);
    return {
      ...def,
      name: `${base}${index}` as `${N}${I[number]}`,
      ...(def.dataSheet === undefined ? {} : { dataSheet: `${def.dataSheet}${index}` }),
      offset: def.offset + index * def.width,
      ...(other ? { otherwise: other } : {}),
    };
  });
}

/** The value of a field within a register's value. */
const fieldValue = (field: BitField, value: number): number =>
  ((value >>> field.lsb) & (field.bits === 32 ? 0xffffffff : (1 << (field.bits ?? 1)) - 1)) >>> 0;

/**
 * Names what is set in a value: single-bit fields by name, wider ones as NAME=value, those with named values
 * as NAME=name; bits of no field as one hexadecimal rest. `TxOK RxOK`, `RxBufLen=32K`; empty for zero.
 */
export function describeFields(fields: readonly BitField[], value: number): string {
  const words: string[] = [];
  let rest = value >>> 0;
  for (const field of fields) {
    const bits = field.bits ?? 1;
    const v = fieldValue(field, value);
    rest = (rest & ~(((bits === 32 ? 0xffffffff : (1 << bits) - 1) << field.lsb) >>> 0)) >>> 0;
    const named = field.values?.[v];
    if (named !== undefined) words.push(`${field.name}=${named}`);
    else if (bits === 1) {
      if (v) words.push(field.name);
    } else if (v) words.push(`${field.name}=0x${v.toString(16)}`);
  }
  if (rest) words.push(`0x${rest.toString(16)}`);
  return words.join(' ');
}

/** What one register holds now, as plain data. */
export interface RegisterReading {
  /** In the mode that the chip is in; `NAME[3]` in an array. */
  readonly name: string;
  readonly dataSheet: string;
  /** Byte offset in the register block. */
  readonly offset: number;
  readonly width: Width;
  /** Unsigned. */
  readonly value: number;
  /** From bit 0 up; `text` is the name of a value that has one. */
  readonly fields: readonly {
    readonly name: string;
    readonly lsb: number;
    readonly bits: number;
    readonly value: number;
    readonly text?: string;
    readonly doc?: string;
  }[];
  /** Names of what is set. */
  readonly summary: string;
  readonly doc: string;
}

/**
 * A register with its value.
 * @param index which of an array of registers
 * @param mode operating mode of the chip (`C+`), where it has several
 */
export function registerReading(register: RegisterDef, value: number, index = 0, mode?: string): RegisterReading {
  const other = mode !== undefined && register.otherwise?.mode === mode ? register.otherwise : undefined;
  const name = other?.name ?? register.name;
  const fields = (other ? other.fields : register.fields) ?? [];
  return {
    name: register.count === undefined ? name : `${name}[${index}]`,
    dataSheet: register.dataSheet ?? name,
    offset: register.offset + index * (register.stride ?? register.width),
    width: register.width,
    value: value >>> 0,
    fields: fields.map((field) => {
      const v = fieldValue(field, value);
      const text = field.values?.[v];
      return {
        name: field.name,
        lsb: field.lsb,
        bits: field.bits ?? 1,
        value: v,
        ...(text === undefined ? {} : { text }),
        ...(field.doc === undefined ? {} : { doc: field.doc }),
      };
    }),
    summary: describeFields(fields, value),
    doc: other?.doc ?? register.doc,
  };
}

/** One register touched by an access. */
export interface Explained {
  /** Name in the given mode; `TxConfig+1` when the access begins inside the register. */
  readonly name: string;
  readonly register: RegisterDef;
  /** The register's bits that the access carried, shifted to the register's bit 0 position. */
  readonly value: number;
  /** Names of what is set in `value`; empty for a register without fields. */
  readonly fields: string;
  readonly doc: string;
}

/**
 * Explains an access to a register block.
 * @param table registers, ascending offset
 * @param offset byte offset of the access in the block
 * @param size bytes of the access
 * @param value data written or read, little-endian; at most 32 bits
 * @param mode operating mode (`C+`), if known; else each register's first meaning
 * @returns the registers touched, ascending; none where the block has no register
 */
export function explainAccess(
  table: readonly RegisterDef[],
  offset: number,
  size: number,
  value: number,
  mode?: string,
  dir?: 'read' | 'write',
): Explained[] {
  const found: Explained[] = [];
  for (const register of table) {
    const { count = 1, stride = register.width } = register;
    for (let i = Math.max(0, Math.floor((offset - register.offset) / stride)); i < count; i++) {
      const start = register.offset + i * stride;
      if (start >= offset + size) break;
      if (start + register.width <= offset) continue;
      const shift = (offset - start) * 8;
      const bits = shift >= 0 ? value << shift : value >>> -shift;
      const v = (bits & widthMask(register.width)) >>> 0;
      const other =
        mode !== undefined && register.otherwise?.mode === mode
          ? register.otherwise
          : dir === 'write'
            ? register.written
            : undefined;
      const name = other?.name ?? (register.count === undefined ? register.name : `${register.name}[${i}]`);
      found.push({
        name: shift > 0 ? `${name}+${offset - start}` : name,
        register,
        value: v,
        fields: describeFields(other ? (other.fields ?? []) : (register.fields ?? []), v),
        doc: other?.doc ?? register.doc,
      });
    }
  }
  return found;
}
