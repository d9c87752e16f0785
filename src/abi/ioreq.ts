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

export const IOREQ_STATE_MASK = 0x0f;
export const IOREQ_DATA_IS_PTR = 0x10;
export const IOREQ_DIR_READ = 0x20;
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
export const BUFIOREQ_SLOT_SIZE = 8;
export const BUFIOREQ_SLOT_NUM = 511;
/** Only addresses up to this may be buffered: a slot has 20 address bits. */
export const BUFIOREQ_MAX_ADDR = 0xfffff;

/** HVM_IOREQSRV_BUFIOREQ_*: how a server wants buffered requests. */
export const BufioreqHandling = { off: 0, legacy: 1, atomic: 2 } as const;
