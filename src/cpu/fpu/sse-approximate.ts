/**
 * RCPPS and RSQRTPS. Architecturally only the relative error is bounded (1.5 × 2^-12); Intel's processors give the
 * value at the middle of each of 2,048 pieces of the operand's range, rounded to 13 bits after the point, and so does
 * this. Denormals count as zeros; no flags.
 */
const SIGN = 0x80000000;
const INFINITY = 0x7f800000;
const QUIET = 0x00400000;
const INDEFINITE = 0xffc00000;
const STEPS = 8192;

const scratch = new DataView(new ArrayBuffer(4));
const bitsOf = (value: number): number => {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
};

/** Zero, infinity and NaN operands of both; undefined for a normal number. */
function special(bits: number): number | undefined {
  const sign = bits & SIGN;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > INFINITY) return (bits | QUIET) >>> 0;
  if (magnitude < 0x800000) return (sign | INFINITY) >>> 0;
  return magnitude === INFINITY ? sign >>> 0 : undefined;
}

/** binary32 encoding in and out, unsigned. */
export function approximateReciprocal(bits: number): number {
  const known = special(bits);
  if (known !== undefined) return known;
  const exponent = ((bits >>> 23) & 0xff) - 127;
  const middle = 1 + (((bits >>> 12) & 0x7ff) + 0.5) / 2048;
  const value = (Math.round(STEPS / middle) / STEPS) * 2 ** -exponent;
  return ((bits & SIGN) | (value < 2 ** -126 ? 0 : bitsOf(value))) >>> 0;
}

export function approximateReciprocalRoot(bits: number): number {
  const known = special(bits);
  const negative = bits >>> 31 === 1;
  if (known !== undefined) return negative && (bits & 0x7fffffff) === INFINITY ? INDEFINITE : known;
  if (negative) return INDEFINITE;
  const exponent = ((bits >>> 23) & 0xff) - 127;
  const odd = exponent & 1;
  const middle = (1 + (((bits >>> 13) & 0x3ff) + 0.5) / 1024) * (odd ? 2 : 1);
  return bitsOf((Math.round(STEPS / Math.sqrt(middle)) / STEPS) * 2 ** (-(exponent - odd) / 2));
}
