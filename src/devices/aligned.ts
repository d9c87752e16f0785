/**
 * Bytes of the widest aligned access (1, 2 or 4) at `offset` of at most `rest` bytes: a bus splits an unaligned access into these,
 * ascending, before a device sees them.
 */
export const alignedStep = (offset: number, rest: number): number =>
  rest >= 4 && (offset & 3) === 0 ? 4 : rest >= 2 && (offset & 1) === 0 ? 2 : 1;
