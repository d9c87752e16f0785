/** All ones of `width` bytes (1, 2, 4 or more), as an unsigned number. */
export const widthMask = (width: number): number => (width >= 4 ? 0xffffffff : (1 << (width * 8)) - 1);

/** The low `size` bytes of a word, unsigned. */
export const lowBytes = (word: number, size: number): number => (word & widthMask(size)) >>> 0;
