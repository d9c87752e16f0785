/**
 * A block of 32-bit registers driven by its table: storage, masks, arrays of registers; the chip keeps what is more than storage.
 *
 * Rules, those of QEMU's memory core for a device that takes 32-bit accesses alone:
 * - an unaligned access falls apart into aligned ones, ascending, each as wide as alignment and rest allow;
 * - an aligned access means its whole register, however narrow it is: a read gives the register's lowest bytes, whichever of its
 *   bytes was addressed, and a write writes the register with the data zero-extended;
 * - where there is no register reads give zero and writes are lost.
 */
import { registerReading, widthMask, type RegisterDef, type RegisterReading } from '../../registers.ts';

/** What a chip does with a register that is not mere storage. `index` is the register's offset in units of 4 bytes. */
export interface BlockHook {
  /** The value read; replaces the stored one. */
  readonly read?: (index: number) => number;
  /** The value that `read` would give, where reading changes something. */
  readonly peek?: (index: number) => number;
  /** Takes a write; replaces masked storage. */
  readonly write?: (value: number, index: number) => void;
}

/** Sees each aligned access after it was decoded; `register` is undefined where nothing decodes. */
type BlockLog = (write: boolean, register: RegisterDef | undefined, offset: number, value: number) => void;

/** Bytes of the widest aligned access at `offset` that does not go past `rest` bytes. */
const alignedStep = (offset: number, rest: number): number => ((offset & 1) !== 0 || rest < 2 ? 1 : 2);

/** For each 4 bytes of the block: place of the register in the table + 1, or 0; made once a table. */
const compiled = new WeakMap<readonly RegisterDef[], Uint16Array>();

function slotsOf(table: readonly RegisterDef[], blockSize: number): Uint16Array {
  let slots = compiled.get(table);
  if (slots === undefined) {
    slots = new Uint16Array(blockSize / 4);
    for (const [place, r] of table.entries()) {
      for (let i = 0; i < (r.count ?? 1); i++) slots[(r.offset + i * (r.stride ?? 4)) >> 2] = place + 1;
    }
    compiled.set(table, slots);
  }
  return slots;
}

export class RegisterBlock<Name extends string> {
  /** Stored values, by offset in units of 4 bytes. */
  readonly values: Uint32Array;
  readonly table: readonly RegisterDef<Name>[];
  /** Set while somebody wants the accesses logged. */
  log: BlockLog | undefined;
  private readonly blockSize: number;
  private readonly slots: Uint16Array;
  private readonly readers: (((index: number) => number) | undefined)[];
  private readonly peeks: (((index: number) => number) | undefined)[];
  private readonly writers: (((value: number, index: number) => void) | undefined)[];
  private readonly writable: Uint32Array;

  /**
   * @param table the chip's registers, each 4 bytes wide
   * @param blockSize bytes of the block
   * @param hooks registers that are more than storage
   */
  constructor(table: readonly RegisterDef<Name>[], blockSize: number, hooks: Partial<Record<Name, BlockHook>>) {
    this.table = table;
    this.blockSize = blockSize;
    this.values = new Uint32Array(blockSize / 4);
    this.slots = slotsOf(table, blockSize);
    const clearing = (index: number): number => {
      const value = this.values[index]!;
      this.values[index] = 0;
      return value;
    };
    this.readers = table.map((r) => {
      if (r.access === 'none' || r.access === 'cmd' || r.access === 'wo') return () => 0;
      return hooks[r.name]?.read ?? (r.access === 'rc' ? clearing : undefined);
    });
    this.peeks = table.map((r, i) => hooks[r.name]?.peek ?? (r.access === 'rc' ? undefined : this.readers[i]));
    this.writers = table.map((r) => hooks[r.name]?.write);
    this.writable = Uint32Array.from(table, (r) => (r.access === 'rw' || r.access === 'wo' ? (r.writable ?? 0xffffffff) : 0));
    this.reset();
  }

  /** Gives every register its reset value. */
  reset(): void {
    this.values.fill(0);
    for (const r of this.table) if (r.reset) this.values[r.offset >> 2] = r.reset;
  }

  /** What every register holds, seen from outside: nothing changes by it. */
  readings(): RegisterReading[] {
    return this.table.flatMap((register, place) =>
      Array.from({ length: register.count ?? 1 }, (_, i) => {
        const index = (register.offset + i * (register.stride ?? 4)) >> 2;
        return registerReading(register, this.peeks[place]?.(index) ?? this.values[index]!, i);
      }),
    );
  }

  /** Software reads 1, 2 or 4 bytes; places outside the block, and accesses of another size, read as ones. */
  read(offset: number, size: number): number {
    if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;
    if (offset < 0 || offset + size > this.blockSize) return widthMask(size);
    if (offset & (size - 1)) {
      let value = 0;
      for (let done = 0, step = 0; done < size; done += step) {
        step = alignedStep(offset + done, size - done);
        value |= this.readAligned(offset + done, step) << (done * 8);
      }
      return value >>> 0;
    }
    return this.readAligned(offset, size);
  }

  /** Software writes; parameters as for read. Places outside the block, and accesses of another size, take nothing. */
  write(offset: number, size: number, value: number): void {
    if (size !== 1 && size !== 2 && size !== 4) return;
    if (offset < 0 || offset + size > this.blockSize) return;
    if (offset & (size - 1)) {
      for (let done = 0, step = 0; done < size; done += step) {
        step = alignedStep(offset + done, size - done);
        this.writeAligned(offset + done, (value >>> (done * 8)) & widthMask(step));
      }
      return;
    }
    this.writeAligned(offset, (value & widthMask(size)) >>> 0);
  }

  private readAligned(offset: number, size: number): number {
    const index = offset >> 2;
    const place = this.slots[index]! - 1;
    let value = 0;
    if (place >= 0) {
      const reader = this.readers[place];
      value = reader === undefined ? this.values[index]! : reader(index);
    }
    value = (value & widthMask(size)) >>> 0;
    if (this.log !== undefined) this.log(false, this.table[place], offset, value);
    return value;
  }

  private writeAligned(offset: number, value: number): void {
    const index = offset >> 2;
    const place = this.slots[index]! - 1;
    if (this.log !== undefined) this.log(true, this.table[place], offset, value);
    if (place < 0) return;
    const writer = this.writers[place];
    if (writer !== undefined) writer(value, index);
    else this.store(place, index, value);
  }

  private store(place: number, index: number, value: number): void {
    const mask = this.writable[place]!;
    this.values[index] = (this.values[index]! & ~mask) | (value & mask);
  }
}
