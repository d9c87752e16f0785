/** `n` in lower-case hexadecimal, at least `digits` wide, without a prefix. */
export const hex = (n: number | bigint, digits = 1): string => n.toString(16).padStart(digits, '0');

/** A 64-bit value in two unsigned halves in lower-case hexadecimal, without leading zeros. */
export const hex64 = (low: number, high: number): string => (high === 0 ? hex(low) : hex(high) + hex(low, 8));

/** A 64-bit value in two unsigned halves as one: a number where it has 32 bits. */
export const whole64 = (low: number, high: number): number | bigint => (high === 0 ? low : (BigInt(high) << 32n) | BigInt(low));
