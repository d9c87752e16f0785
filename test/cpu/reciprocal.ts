/**
 * What the manuals leave open of RCPPS and RSQRTPS: a relative error below 1.5 × 2^-12, and where tiny results begin to
 * count as zeros. Some operands have one result: zeros, denormals, infinities, NaNs, roots of negative numbers
 * (SDM vol. 2, RCPPS and RSQRTPS; AMD APM vol. 4, the same).
 */
const RECIPROCAL_BOUND = 1.5 * 2 ** -12;

const SIGN = 0x80000000;
const INFINITY = 0x7f800000;
const QUIET = 0x00400000;
const INDEFINITE = 0xffc00000;
/** Below and from here on, 1/x is certainly not tiny and certainly tiny (SDM vol. 2, RCPPS). */
const [NOT_TINY, TINY] = [0x7e7fe800, 0x7e800c01];

export type Reciprocal = 'rcp' | 'rsqrt';

const scratch = new DataView(new ArrayBuffer(4));
const toNumber = (bits: number): number => {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
};

/** The one result of an operand that has only one, or undefined. Operand and result are binary32 encodings. */
export function exactResult(operation: Reciprocal, operand: number): number | undefined {
  const sign = (operand & SIGN) >>> 0;
  const magnitude = operand & 0x7fffffff;
  if (magnitude > INFINITY) return (operand | QUIET) >>> 0;
  if (magnitude < 0x800000) return (sign | INFINITY) >>> 0;
  if (operation === 'rsqrt' && sign !== 0) return INDEFINITE;
  if (magnitude === INFINITY) return sign;
  return operation === 'rcp' && magnitude >= TINY ? sign : undefined;
}

/** Do the manuals allow this result of this operand? */
export function isAllowed(operation: Reciprocal, operand: number, result: number): boolean {
  const exact = exactResult(operation, operand);
  if (exact !== undefined) return result >>> 0 === exact;
  const magnitude = operand & 0x7fffffff;
  if (operation === 'rcp' && magnitude > NOT_TINY && result >>> 0 === (operand & SIGN) >>> 0) return true;
  const x = toNumber(operand);
  const truth = operation === 'rcp' ? 1 / x : 1 / Math.sqrt(x);
  return Math.abs(toNumber(result) - truth) <= Math.abs(truth) * RECIPROCAL_BOUND;
}

/** Can both be results of one operand, which is not known? binary32 encodings. */
export function areClose(left: number, right: number): boolean {
  if (left >>> 0 === right >>> 0) return true;
  const [a, b] = [toNumber(left), toNumber(right)];
  if (!Number.isFinite(a) || !Number.isFinite(b)) return false;
  const smallest = 2 ** -126;
  // Either may have been flushed to zero at the border of the tiny.
  if (a === 0 || b === 0) return Math.abs(a + b) <= smallest * (1 + 2 * RECIPROCAL_BOUND) && left >>> 31 === right >>> 31;
  return Math.abs(a - b) <= Math.max(Math.abs(a), Math.abs(b)) * 2 * RECIPROCAL_BOUND;
}
