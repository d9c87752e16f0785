/** Bits of a machine frame's byte of code flags. With any of them writes are noticed; with WATCHED_READS reads are, too. */
export const HOLDS_CODE = 1;
/** A debugger watches writes, or reads. */
export const WATCHED_WRITES = 2;
export const WATCHED_READS = 4;
