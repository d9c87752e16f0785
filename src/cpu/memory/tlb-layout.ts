/**
 * The TLB in machine memory: four sets of 4,096 direct-mapped entries of 32 bytes. A tag is the page's linear address,
 * or 1, which no page address equals. The fast path adds the addend (i32) to the low half of a linear
 * address and has the machine address. Offsets in bytes.
 */
export const TLB_READ = 0; // i64 tag
export const TLB_WRITE = 8; // i64 tag
export const TLB_EXECUTE = 16; // i64 tag
export const TLB_ADDEND = 24; // i32
export const TLB_FLAGS = 28; // i32: TLB_* bits below
export const TLB_ENTRY_SIZE = 32;
export const TLB_ENTRIES = 4096;
export const TLB_SET_SIZE = TLB_ENTRIES * TLB_ENTRY_SIZE;
/** entry = set + ((address >> SHIFT) & MASK): page number times the entry size, in one shift. */
export const TLB_INDEX_SHIFT = 7;
export const TLB_INDEX_MASK = TLB_SET_SIZE - TLB_ENTRY_SIZE;

export const TLB_GLOBAL = 1;
/** Part of a page larger than 4 KiB. */
export const TLB_LARGE = 2;
/** Stands in the list of entries of pages that are not global, or are. */
export const TLB_LISTED = 4;
export const TLB_LISTED_GLOBAL = 8;

/** Sets: by who asks. The last stays empty, so that every access takes the slow path (data breakpoints, #AC). */
export const TlbSet = { user: 0, supervisorSmap: 1, supervisor: 2, none: 3 } as const;
export const TLB_SETS = 4;

/**
 * Jump cache: 65,536 entries of {u64 tag, u32 record, u32 local}, one cache for user and one for supervisor code. `local`: found
 * through a page that is not global. A tag is
 * RIP XOR the epoch (CB_JUMP_EPOCH, in bits 63:48, where no canonical address needs them apart): a new epoch empties both.
 */
const JUMP_ENTRIES = 65536;
export const JUMP_ENTRY_SIZE = 16;
export const JUMP_CACHE_SIZE = JUMP_ENTRIES * JUMP_ENTRY_SIZE;
export const JUMP_TAG = 0;
export const JUMP_RECORD = 8;
export const JUMP_LOCAL = 12;
/**
 * entry = cache + ((low half of RIP × HASH >> SHIFT) & MASK): the upper bits of a product, since functions begin at multiples of 16
 * and would share a sixteenth of the entries by their lower ones. The multiplier is 2^32 over the golden ratio.
 */
export const JUMP_HASH = 0x9e3779b1 | 0;
export const JUMP_HASH_SHIFT = 32 - Math.log2(JUMP_CACHE_SIZE);
export const JUMP_INDEX_MASK = JUMP_CACHE_SIZE - JUMP_ENTRY_SIZE;
/** Offset of the entry for an address whose low half this is. */
export const jumpOffset = (ripLo: number): number => (Math.imul(ripLo, JUMP_HASH) >>> JUMP_HASH_SHIFT) & JUMP_INDEX_MASK;
