/**
 * A register block driven by its table (registers.ts): finds the register an access means, splits accesses
 * that mean none, keeps values, applies masks and locks, and leaves to the chip only what is not storage.
 *
 * Rules, those of QEMU's memory core and of its older NIC models alike:
 * - an unaligned access falls apart into aligned ones, ascending, each as wide as alignment and rest allow;
 * - an aligned access as wide as the register at that place, or listed as a partial access, is one access;
 * - any other falls apart into bytes; bytes of no register read zero and take nothing.
 */
import { registerReading, widthMask, type RegisterDef, type RegisterReading } from './registers.ts';

/** What a chip does with a register that is not mere storage. Values are the register's whole width. */
export interface RegisterHook {
  /** The value read; replaces the stored one. */
  readonly read?: () => number;
  /** The value that `read` would give, where reading changes something. */
  readonly peek?: () => number;
  /** Takes a write; replaces masked storage. A partial write comes merged with the value before. */
  readonly write?: (value: number) => void;
}

/** Sees each access after it was decoded; `register` is undefined where nothing decodes. */
type AccessLog = (write: boolean, register: RegisterDef | undefined, offset: number, size: number, value: number) => void;

/** slot = register index × 4 + byte offset in it; -1: falls apart. */
const compile = (table: readonly RegisterDef[], blockSize: number, size: 1 | 2 | 4, write: boolean): Int16Array => {
  const slots = new Int16Array(blockSize).fill(-1);
  table.forEach((register, index) => {
    if (register.width === size) slots[register.offset] = index * 4;
    const partial = register.partial;
    const mask =
      size === 1 ? (write ? partial?.writeb : partial?.readb) : size === 2 ? (write ? partial?.writew : partial?.readw) : 0;
    for (let at = 0; at < register.width; at++) {
      if ((mask ?? 0) & (1 << at)) slots[register.offset + at] = index * 4 + at;
    }
  });
  return slots;
};

/** Slots by access size (1, 2, 4) for reads and writes; made once a table. */
interface Slots {
  readonly read: readonly Int16Array[];
  readonly write: readonly Int16Array[];
}

const compiled = new WeakMap<readonly RegisterDef[], Slots>();

function slotsOf(table: readonly RegisterDef[], blockSize: number): Slots {
  let slots = compiled.get(table);
  if (slots === undefined) {
    const bySize = (write: boolean) => ([1, 2, 4] as const).map((size) => compile(table, blockSize, size, write));
    slots = { read: bySize(false), write: bySize(true) };
    compiled.set(table, slots);
  }
  return slots;
}

/** Bytes of the widest aligned access at `offset` that does not go past `rest` bytes. */
const alignedStep = (offset: number, rest: number): number => ((offset & 1) !== 0 || rest < 2 ? 1 : 2);

export class RegisterFile<Name extends string> {
  /** Stored values, by register index. */
  readonly values: Uint32Array;
  readonly table: readonly RegisterDef<Name>[];
  /** Register indices by name. */
  readonly index: Readonly<Record<Name, number>>;
  /** Set while somebody wants the accesses logged. */
  log: AccessLog | undefined;
  private readonly blockSize: number;
  private readonly readSlots: readonly Int16Array[];
  private readonly writeSlots: readonly Int16Array[];
  private readonly readers: ((() => number) | undefined)[];
  private readonly peeks: ((() => number) | undefined)[];
  private readonly writers: (((value: number) => void) | undefined)[];
  private readonly writable: Uint32Array;
  private readonly locks: (string | undefined)[];
  private readonly unlocked: (lock: string) => boolean;

  /**
   * @param table the chip's registers
   * @param blockSize bytes of the block, a power of two
   * @param hooks registers that are more than storage
   * @param unlocked tells whether a lock named in the table is open
   */
  constructor(
    table: readonly RegisterDef<Name>[],
    blockSize: number,
    hooks: Partial<Record<Name, RegisterHook>>,
    unlocked: (lock: string) => boolean = () => true,
  ) {
    this.table = table;
    this.blockSize = blockSize;
    this.values = new Uint32Array(table.length);
    this.index = Object.fromEntries(table.map((r, i) => [r.name, i])) as Record<Name, number>;
    const slots = slotsOf(table, blockSize);
    this.readSlots = slots.read;
    this.writeSlots = slots.write;
    this.readers = table.map((r) => hooks[r.name]?.read);
    this.peeks = table.map((r) => hooks[r.name]?.peek ?? hooks[r.name]?.read);
    this.writers = table.map((r) => hooks[r.name]?.write);
    this.writable = Uint32Array.from(table, (r) =>
      r.access === 'rw' || r.access === 'wo' ? (r.writable ?? widthMask(r.width)) : 0,
    );
    this.locks = table.map((r) => r.lock);
    this.unlocked = unlocked;
    for (const [i, r] of table.entries()) this.values[i] = r.powerOn ?? r.reset ?? 0;
  }

  /** Gives every register that a reset touches its reset value. */
  reset(): void {
    for (let i = 0; i < this.table.length; i++) {
      const value = this.table[i]!.reset;
      if (value !== undefined) this.values[i] = value;
    }
  }

  /** What every register holds, seen from outside: nothing changes by it. @param mode operating mode of the chip */
  readings(mode?: string): RegisterReading[] {
    return this.table.map((register, i) => registerReading(register, this.peeks[i]?.() ?? this.values[i]!, 0, mode));
  }

  /** Masked, locked storage of a write: what a register without a hook does. */
  store(index: number, value: number): void {
    const lock = this.locks[index];
    if (lock !== undefined && !this.unlocked(lock)) return;
    const mask = this.writable[index]!;
    this.values[index] = (this.values[index]! & ~mask) | (value & mask);
  }

  /**
   * Software reads.
   * @param offset bytes into the block
   * @param size 1, 2 or 4
   * @returns the data, zero-extended; places outside the block, and accesses of another size, read as ones
   */
  read(offset: number, size: number): number {
    if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;
    if (offset & (size - 1)) return this.readUnaligned(offset, size);
    if (offset + size > this.blockSize) return widthMask(size);
    const slot = this.readSlots[size >> 1]![offset]!;
    if (slot >= 0) {
      const index = slot >> 2;
      const reader = this.readers[index];
      const whole = reader === undefined ? this.values[index]! : reader();
      const value = size === 4 ? whole >>> 0 : (whole >>> ((slot & 3) * 8)) & (size === 1 ? 0xff : 0xffff);
      if (this.log !== undefined) this.log(false, this.table[index], offset, size, value);
      return value;
    }
    if (size > 1) return this.readBytes(offset, size);
    if (this.log !== undefined) this.log(false, undefined, offset, size, 0);
    return 0;
  }

  /** Software writes; parameters as for read. Places outside the block, and accesses of another size, take nothing. */
  write(offset: number, size: number, value: number): void {
    if (size !== 1 && size !== 2 && size !== 4) return;
    if (offset & (size - 1)) return this.writeUnaligned(offset, size, value);
    if (offset + size > this.blockSize) return;
    const slot = this.writeSlots[size >> 1]![offset]!;
    if (slot >= 0) {
      const index = slot >> 2;
      const shift = (slot & 3) * 8;
      const mask = size === 4 ? 0xffffffff : (size === 1 ? 0xff : 0xffff) << shift;
      const whole = size === this.table[index]!.width ? value : (this.values[index]! & ~mask) | ((value << shift) & mask);
      if (this.log !== undefined) this.log(true, this.table[index], offset, size, value);
      const writer = this.writers[index];
      if (writer === undefined) this.store(index, whole);
      else writer(whole >>> 0);
      return;
    }
    if (size > 1) return this.writeBytes(offset, size, value);
    if (this.log !== undefined) this.log(true, undefined, offset, size, value);
  }

  private readBytes(offset: number, size: number): number {
    let value = 0;
    for (let done = 0; done < size; done++) value |= this.read(offset + done, 1) << (done * 8);
    return value >>> 0;
  }

  private writeBytes(offset: number, size: number, value: number): void {
    for (let done = 0; done < size; done++) this.write(offset + done, 1, (value >>> (done * 8)) & 0xff);
  }

  private readUnaligned(offset: number, size: number): number {
    let value = 0;
    for (let done = 0, step = 0; done < size; done += step) {
      step = alignedStep(offset + done, size - done);
      value |= this.read(offset + done, step) << (done * 8);
    }
    return value >>> 0;
  }

  private writeUnaligned(offset: number, size: number, value: number): void {
    for (let done = 0, step = 0; done < size; done += step) {
      step = alignedStep(offset + done, size - done);
      this.write(offset + done, step, (value >>> (done * 8)) & (step === 1 ? 0xff : 0xffff));
    }
  }
}
