/**
 * The ioreq pages: what the hypervisor and a device model share to serve a guest's I/O.
 * Source: xen/include/public/hvm/ioreq.h.
 */

/** `struct ioreq`, 32 bytes; slot n of the synchronous page belongs to vCPU n. Offsets in bytes. */
export const IOREQ_SIZE = 32;
export const IOREQ_ADDR = 0; // u64
export const IOREQ_DATA = 8; // u64; a guest-physical address when data_is_ptr
export const IOREQ_COUNT = 16; // u32
export const IOREQ_SIZE_FIELD = 20; // u32, bytes of one access
export const IOREQ_VP_EPORT = 24; // u32, event channel port for notifications to/from the device model

/** Values of `dir`. */
export const IOREQ_WRITE = 0;
export const IOREQ_READ = 1;

/** Bits of the flags byte. */
const IOREQ_STATE_MASK = 0x0f;
export const IOREQ_DATA_IS_PTR = 0x10;
export const IOREQ_DIR_SHIFT = 5;
export const IOREQ_DF = 0x40;

/**
 * u16 padding, u8 flags (state 3:0, data_is_ptr 4, dir 5, df 6) and u8 type as one aligned 32-bit word, so that a state
 * change is one atomic operation.
 */
export const IOREQ_STATE_WORD = 28;
export const IOREQ_STATE_SHIFT = 16;

export const IoreqState = { none: 0, ready: 1, inProcess: 2, respReady: 3 } as const;
export const IoreqType = { pio: 0, copy: 1, pciConfig: 2, timeOffset: 7, invalidate: 8 } as const;

/** Slots in one synchronous page. */
export const IOREQS_PER_PAGE = 128;

/** Buffered page: u32 read_pointer, u32 write_pointer, then 511 slots of 8 bytes. */
export const BUFIOREQ_READ_POINTER = 0;
export const BUFIOREQ_WRITE_POINTER = 4;
export const BUFIOREQ_SLOTS = 8;
const BUFIOREQ_SLOT_SIZE = 8;
export const BUFIOREQ_SLOT_NUM = 511;
/** Only addresses up to this may be buffered: a slot has 20 address bits. */
export const BUFIOREQ_MAX_ADDR = 0xfffff;

/** HVM_IOREQSRV_BUFIOREQ_*: how a server wants buffered requests. */
export const BufioreqHandling = { off: 0, legacy: 1, atomic: 2 } as const;

/** A request: `struct ioreq` without its state and port. One object is filled again and again, so that no request allocates. */
export interface Ioreq {
  /** IoreqType. */
  type: number;
  /** Guest-physical address, port, or SBDF << 32 | register; exact up to 2^53, and no x86 address has more than 52 bits. */
  addr: number;
  /** The data, or with `dataIsPtr` its guest-physical address, in unsigned halves. */
  dataLo: number;
  dataHi: number;
  count: number;
  /** Bytes of one repetition. */
  size: number;
  /** IOREQ_READ or IOREQ_WRITE, as the guest sees it. */
  dir: number;
  /** The direction flag: repetitions go down. */
  df: boolean;
  dataIsPtr: boolean;
}

export const newIoreq = (): Ioreq => ({
  type: 0,
  addr: 0,
  dataLo: 0,
  dataHi: 0,
  count: 0,
  size: 0,
  dir: IOREQ_WRITE,
  df: false,
  dataIsPtr: false,
});

/** Where a vCPU's slot begins: index of a 32-bit word, of a page at machine address `page`. */
export const slotAt = (page: number, vcpu: number): number => (page + vcpu * IOREQ_SIZE) >>> 2;
/** Index of a slot's state word. */
export const stateAt = (slot: number): number => slot + IOREQ_STATE_WORD / 4;
/** The state in a state word, and the word with another state. */
export const ioreqState = (word: number): number => (word >>> IOREQ_STATE_SHIFT) & IOREQ_STATE_MASK;
export const withState = (word: number, state: number): number =>
  (word & ~(IOREQ_STATE_MASK << IOREQ_STATE_SHIFT)) | (state << IOREQ_STATE_SHIFT);

/** Fill a slot with a request and make it READY, which is the last, atomic step. The port stays as it is. */
export function writeSlot(words: Int32Array, slot: number, p: Ioreq): void {
  words[slot + IOREQ_ADDR / 4] = p.addr;
  words[slot + IOREQ_ADDR / 4 + 1] = p.addr / 2 ** 32;
  writeData(words, slot, p);
  words[slot + IOREQ_COUNT / 4] = p.count;
  words[slot + IOREQ_SIZE_FIELD / 4] = p.size;
  const flags = (p.dataIsPtr ? IOREQ_DATA_IS_PTR : 0) | (p.dir << IOREQ_DIR_SHIFT) | (p.df ? IOREQ_DF : 0);
  Atomics.store(words, stateAt(slot), withState((p.type << 24) | (flags << IOREQ_STATE_SHIFT), IoreqState.ready));
}

/** Copy a slot's request: type and flags out of `word`, the state word by which it was taken, every other field by one read. */
export function readSlot(words: Int32Array, slot: number, word: number, p: Ioreq): void {
  const flags = word >>> IOREQ_STATE_SHIFT;
  p.type = word >>> 24;
  p.dir = (flags >>> IOREQ_DIR_SHIFT) & 1;
  p.dataIsPtr = (flags & IOREQ_DATA_IS_PTR) !== 0;
  p.df = (flags & IOREQ_DF) !== 0;
  p.addr = (words[slot + IOREQ_ADDR / 4 + 1]! >>> 0) * 2 ** 32 + (words[slot + IOREQ_ADDR / 4]! >>> 0);
  readData(words, slot, p);
  p.count = words[slot + IOREQ_COUNT / 4]! >>> 0;
  p.size = words[slot + IOREQ_SIZE_FIELD / 4]! >>> 0;
}

/** A slot's data alone: the answer of a read. */
export function writeData(words: Int32Array, slot: number, p: Ioreq): void {
  words[slot + IOREQ_DATA / 4] = p.dataLo;
  words[slot + IOREQ_DATA / 4 + 1] = p.dataHi;
}

export function readData(words: Int32Array, slot: number, p: Ioreq): void {
  p.dataLo = words[slot + IOREQ_DATA / 4]! >>> 0;
  p.dataHi = words[slot + IOREQ_DATA / 4 + 1]! >>> 0;
}

/** `buf_ioreq_t`, two words: type 7:0, dir 9, logarithm of the size 11:10, addr 31:12; then 32 bits of data. */
const BUF_DIR_SHIFT = 9;
const BUF_SIZE_SHIFT = 10;
const BUF_ADDR_SHIFT = 12;

/** Slots of the buffered ring that a request takes: two with 8 bytes of data; 0 when it cannot be buffered. */
export function bufferedSlots(p: Ioreq): 0 | 1 | 2 {
  if (p.addr > BUFIOREQ_MAX_ADDR || p.dataIsPtr || p.count !== 1) return 0;
  return p.size === 8 ? 2 : p.size === 1 || p.size === 2 || p.size === 4 ? 1 : 0;
}

/** Index of a ring slot's first word. `pointer` counts slots and may have gone round; `page` is the buffered page's machine address. */
const bufferedAt = (page: number, pointer: number): number =>
  (page + BUFIOREQ_SLOTS + ((pointer >>> 0) % BUFIOREQ_SLOT_NUM) * BUFIOREQ_SLOT_SIZE) >>> 2;

/** Fill the slots from `pointer` on with a request for which bufferedSlots() found room. The pointers stay as they are. */
export function writeBuffered(words: Int32Array, page: number, pointer: number, p: Ioreq): void {
  const log2 = 31 - Math.clz32(p.size);
  const header = p.type | (p.dir << BUF_DIR_SHIFT) | (log2 << BUF_SIZE_SHIFT) | (p.addr << BUF_ADDR_SHIFT);
  const at = bufferedAt(page, pointer);
  words[at] = header;
  words[at + 1] = p.dataLo;
  if (p.size !== 8) return;
  const second = bufferedAt(page, pointer + 1);
  words[second] = header;
  words[second + 1] = p.dataHi;
}

/**
 * Copy the request that begins in the slot at `pointer`, each of its words by one read.
 * @returns how many slots it takes: 1, or 2 with 8 bytes of data; the caller says whether the ring holds so many
 */
export function readBuffered(words: Int32Array, page: number, pointer: number, p: Ioreq): 1 | 2 {
  const at = bufferedAt(page, pointer);
  const header = Atomics.load(words, at);
  p.type = header & 0xff;
  p.dir = (header >>> BUF_DIR_SHIFT) & 1;
  p.size = 1 << ((header >>> BUF_SIZE_SHIFT) & 3);
  p.addr = header >>> BUF_ADDR_SHIFT;
  p.count = 1;
  p.df = p.dataIsPtr = false;
  p.dataLo = words[at + 1]! >>> 0;
  p.dataHi = 0;
  if (p.size !== 8) return 1;
  p.dataHi = words[bufferedAt(page, pointer + 1) + 1]! >>> 0;
  return 2;
}
