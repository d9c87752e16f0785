/** The hole in a PC's RAM where legacy VGA memory lies: guest-physical addresses from its base to below its end. */
export const VGA_HOLE_BASE = 0xa0000;
export const VGA_HOLE_END = 0xc0000;
