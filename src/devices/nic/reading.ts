/**
 * How a chip's own story is read from the outside: what each access of a driver means, how a descriptor reads, what the chip's
 * debug lines say. Each chip gives one `NicReading`, made from its register table (`nic/<chip>/reading.ts`), and stands in the
 * list of `readings.ts`. Whoever tells stories asks this interface and knows no chip.
 */
import type { Explained, RegisterDef } from '../registers.ts';

/** One BAR's registers. */
export interface RegisterBlock {
  /** Configuration register of the BAR: 0x10, 0x14 … */
  readonly bar: number;
  readonly space: 'mmio' | 'pio';
  /** Bytes of the BAR. */
  readonly size: number;
  /** Names of its handler in the device model's `memory_region_ops_*` lines (QEMU's memory region names), lower case. */
  readonly regions: readonly string[];
}

/** One access of the guest to a block, as records or log lines show it. */
export interface NicAccess {
  readonly block: RegisterBlock;
  readonly dir: 'read' | 'write';
  /** Byte offset in the block. */
  readonly offset: number;
  /** Bytes; undefined where no file tells. */
  readonly width: number | undefined;
  /** Data written, or the answer to a read; undefined where no file tells. */
  readonly data: bigint | undefined;
}

/** A mode that an access shows the driver to use, where a chip has several (`C`, `C+`). */
export interface ModeSign {
  readonly mode: string;
  /** proven: the access sets the mode. strong: only that mode has the register. */
  readonly strength: 'proven' | 'strong';
  /** One clause: `the driver set CPlusTxEnb or CPlusRxEnb in CpCmd`. */
  readonly why: string;
}

/** Where the driver put descriptors or buffers. */
export interface Place {
  /** `transmit ring`, `receive ring`, `receive buffer`, `transmit buffer 2`: one place of a device. */
  readonly key: string;
  readonly direction: 'transmit' | 'receive';
  /** Register that holds the address, or its low half: `TxRingAddr`, `TDBAL`; `TDRA of the initialization block` where it is no register. */
  readonly register: string;
  /** Guest-physical address, of both halves together. */
  readonly base: number;
  /** A ring of descriptors of so many bytes; undefined: a plain buffer. */
  readonly descriptorBytes: number | undefined;
  /** Descriptors of the ring, or the most it can have where the driver does not say. Of a buffer: its bytes, where known. */
  readonly count: number | undefined;
}

/** A write that starts transmission. */
export interface Doorbell {
  /** `TxPoll`, `TxStatus2`, `TDT`, `CSR0`. */
  readonly register: string;
  /**
   * What the chip does then. `ring`: it walks a descriptor ring. `buffer`: it sends one buffer that registers name.
   * `chip memory`: it sends what the driver put into its memory before, without DMA.
   */
  readonly kind: 'ring' | 'buffer' | 'chip memory';
  /** `ring`, `buffer`: where that lies; undefined where the files do not hold its write. */
  readonly place: Place | undefined;
  /** `buffer`: which of several. */
  readonly index: number | undefined;
  /** `buffer`, `chip memory`: bytes of the frame as the driver gave them. */
  readonly length: number | undefined;
  /** `ring`: the first descriptor it hands over and the one behind the last, where the registers tell. */
  readonly from: number | undefined;
  readonly until: number | undefined;
}

/** A read of the interrupt cause, or a write that clears it. */
export interface InterruptCause {
  /** `IntrStatus`, `ICR`, `CSR0`. */
  readonly register: string;
  /** What the value says. */
  readonly transmitted: boolean;
  readonly received: boolean;
}

/** What an access means. */
export interface Meaning {
  /** Registers touched, with decoded fields, in the mode known so far; the register meant where it is reached by an index. */
  readonly registers: readonly Explained[];
  readonly mode?: ModeSign | undefined;
  /** The write resets the chip: the driver may choose another mode now. */
  readonly reset?: boolean | undefined;
  /** The place that a write changed. */
  readonly place?: Place | undefined;
  readonly doorbell?: Doorbell | undefined;
  /** No doorbell, but the chip looks at its transmit ring at this access and sends what it finds. */
  readonly poll?: Doorbell | undefined;
  readonly cause?: InterruptCause | undefined;
}

/** Follows one device through the accesses of its driver, in the order of time: indexes, pages and places are its state. */
export interface NicFollower {
  /** The mode that accesses are read in; a sign among them changes it. */
  mode: string | undefined;
  /** Takes an access and tells what it means. */
  take(access: NicAccess): Meaning;
  /** As far as the accesses taken show. */
  place(key: string): Place | undefined;
  /** Accesses may be missing here: what an index register points at is unknown until it is written again. */
  lost(): void;
}

/** A transmit or receive descriptor, read. */
export interface DescriptorReading {
  /** Guest-physical address of the buffer; undefined where the descriptor has none (a context descriptor). */
  readonly buffer: number | undefined;
  /** Bytes of the buffer. */
  readonly length: number | undefined;
  /** Last descriptor of its frame. */
  readonly last: boolean;
  /** What is set, for one line: `OWN, first, last, 90 bytes`. */
  readonly text: string;
  /** Ordinal of the word that holds the buffer's address: `third`. */
  readonly bufferWord: string;
}

/** A descriptor that the chip printed while it walked a ring. Lines are given by their place in the list asked about. */
export interface PrintedDescriptor {
  readonly index: number;
  readonly gpa: number;
  /** Line that names index and address. */
  readonly line: number;
  readonly words: { readonly values: readonly number[]; readonly line: number } | undefined;
  readonly buffer: { readonly gpa: number; readonly bytes: number; readonly line: number } | undefined;
  /** Bytes of the whole frame, where it ended with this descriptor. */
  readonly sent: { readonly bytes: number; readonly line: number } | undefined;
}

/** What the chip's own debug lines say (QEMU's DEBUG_* output). Texts come without the chip's name before them. */
export interface NicLines {
  /** Name before the lines: `RTL8139` in `RTL8139: +++ …`, lower case. */
  readonly prefix: string;
  /** Offsets of the registers that a line can be about. */
  registers(text: string): readonly number[];
  /** The mode that a line names. */
  mode(text: string): ModeSign | undefined;
  /** Value of a doorbell of the kind `ring` that a line tells. */
  doorbell(text: string): { readonly register: string; readonly data: bigint } | undefined;
  /** Places that a line prints: where the chip found them in memory that no access shows. */
  places(text: string): readonly Place[];
  /** Transmit descriptors that lines print, in order. */
  descriptors(texts: readonly string[]): readonly PrintedDescriptor[];
  /** Where a line says that a buffer was fetched. */
  fetch(text: string): { readonly gpa: number; readonly bytes: number } | undefined;
  /** Interrupt status and mask of a line that says that the interrupt line is raised. */
  raised(text: string): { readonly status: number; readonly mask: number } | undefined;
}

/** All that a story needs of one chip. */
export interface NicReading {
  /** Device model's name of it, in configuration lines and on the command line: `rtl8139`, `e1000`, `ne2k_pci`, `pcnet`. */
  readonly name: string;
  /** As data sheets and people write it: `RTL8139`. */
  readonly title: string;
  readonly vendorId: number;
  readonly deviceIds: readonly number[];
  readonly blocks: readonly RegisterBlock[];
  /** Linux drivers that claim its BARs in /proc/iomem and /proc/ioports. */
  readonly drivers: readonly string[];
  /** All registers, for tables of names; places reached by an index included. */
  readonly registers: readonly RegisterDef[];
  /** Other tables, of what stands in another BAR or behind a register, by what they are of: `PHY behind MDIC`. */
  readonly others?: Readonly<Record<string, readonly RegisterDef[]>> | undefined;
  /** Modes a driver chooses between; none where the chip has one. */
  readonly modes: readonly string[];
  /** A follower for one device. */
  follow(): NicFollower;
  /** Keys of the places that a doorbell of the kind `ring` may walk and a reception may fill, in each direction; the best known first. */
  places(direction: 'transmit' | 'receive', mode: string | undefined): readonly string[];
  /** Registers for one line of text, where only the address counts: `TxPoll`, `TxRingAddr` in C+ mode. */
  registerAt(block: RegisterBlock, offset: number, mode: string | undefined): string | undefined;
  /** Registers that an access touches, with decoded fields, where no more than the access itself is known. */
  explain(
    block: RegisterBlock,
    access: {
      readonly offset: number;
      readonly width: number;
      readonly value: number;
      readonly mode: string | undefined;
      readonly dir: 'read' | 'write';
    },
  ): readonly Explained[];
  /** Reads a descriptor's 32-bit words. */
  descriptor(direction: 'transmit' | 'receive', words: readonly number[], mode: string | undefined): DescriptorReading;
  /** Decoded fields of an interrupt cause, for one line of text: `IntrStatus (TxOK)`. */
  causeText(status: number): string;
  readonly lines: NicLines | undefined;
}
