/** How a pairing was made, behind its numbers. */
export const pairedHow = ({ byPlace }: { readonly byPlace: number }): string =>
  byPlace === 0
    ? 'one to one, in order, with equal data'
    : `one to one, in order, with equal data, but for ${byPlace} whose data is a pointer: the pairs around them and equal addresses pair those`;

/** `a, b and c`. */
export const list = (names: readonly string[]): string =>
  names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
