/** ACPI machine language, as much as a DSDT of ours needs. Each function gives the bytes of one term. Source: ACPI 6.4, chapter 20 (AML) and 6.4 (resources). */

export type Aml = readonly number[];

/** Four-character segments, `_`-padded; `\\` for the root, `.` between segments. */
export function nameString(path: string): Aml {
  const root = path.startsWith('\\') ? [0x5c] : [];
  const segments = path
    .replace(/^\\/, '')
    .split('.')
    .filter((s) => s !== '');
  const bytes = segments.flatMap((s) => [...s.padEnd(4, '_')].map((c) => c.charCodeAt(0)));
  if (segments.some((s) => !/^[A-Z_][A-Z0-9_]{0,3}$/.test(s)))
    throw new Error(`AML name '${path}' is not of segments of one to four characters`);
  if (segments.length === 0) return [...root, 0x00];
  if (segments.length === 1) return [...root, ...bytes];
  return segments.length === 2 ? [...root, 0x2e, ...bytes] : [...root, 0x2f, segments.length, ...bytes];
}

/** PkgLength counts itself: one byte up to 63, else two to four with 4 bits in the first. */
function withLength(body: Aml): Aml {
  if (body.length + 1 <= 0x3f) return [body.length + 1, ...body];
  for (let extra = 1; extra <= 3; extra++) {
    const total = body.length + 1 + extra;
    if (total < 1 << (4 + extra * 8))
      return [(extra << 6) | (total & 0xf), ...Array.from({ length: extra }, (_, i) => (total >> (4 + i * 8)) & 0xff), ...body];
  }
  throw new Error(`AML package of ${body.length} bytes`);
}

const le = (value: number, bytes: number): Aml =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);

/** Smallest encoding of a non-negative integer up to 32 bits. */
export function integer(value: number): Aml {
  if (value === 0) return [0x00];
  if (value === 1) return [0x01];
  if (value <= 0xff) return [0x0a, value];
  return value <= 0xffff ? [0x0b, ...le(value, 2)] : [0x0c, ...le(value, 4)];
}

export const name = (path: string, value: Aml): Aml => [0x08, ...nameString(path), ...value];
export const scope = (path: string, ...terms: Aml[]): Aml => [0x10, ...withLength([...nameString(path), ...terms.flat()])];
export const device = (path: string, ...terms: Aml[]): Aml => [0x5b, 0x82, ...withLength([...nameString(path), ...terms.flat()])];
export const method = (path: string, args: number, ...terms: Aml[]): Aml => [
  0x14,
  ...withLength([...nameString(path), args, ...terms.flat()]),
];
export const pkg = (...elements: Aml[]): Aml => [0x12, ...withLength([elements.length, ...elements.flat()])];
const buffer = (bytes: Aml): Aml => [0x11, ...withLength([...integer(bytes.length), ...bytes])];
export const iff = (condition: Aml, ...terms: Aml[]): Aml => [0xa0, ...withLength([...condition, ...terms.flat()])];
export const ret = (value: Aml): Aml => [0xa4, ...value];
export const store = (value: Aml, target: Aml): Aml => [0x70, ...value, ...target];
export const arg0: Aml = [0x68];

/** A compressed EISA identifier, three letters and four hexadecimal digits. */
export function eisaId(id: string): Aml {
  const letter = (i: number): number => id.charCodeAt(i) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = parseInt(id.slice(3), 16);
  return [0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
}

/** Resource template: the descriptors, an end tag, in a buffer. */
export const resourceTemplate = (...descriptors: Aml[]): Aml => buffer([...descriptors.flat(), 0x79, 0x00]);

const MIN_MAX_FIXED = 0x0c;
const wordRange = (type: number, flags: number, min: number, max: number): Aml => [
  0x88,
  ...le(13, 2),
  type,
  MIN_MAX_FIXED,
  flags,
  ...[0, min, max, 0, max - min + 1].flatMap((v) => le(v, 2)),
];

export const wordBusNumber = (min: number, max: number): Aml => wordRange(2, 0, min, max);
/** Ports the bridge passes on (entire range, ISA and others). */
export const wordIo = (min: number, max: number): Aml => wordRange(1, 3, min, max);
/** Memory the bridge passes on; read-write, cacheable or not. */
export const dwordMemory = (min: number, max: number, cacheable: boolean): Aml => [
  0x87,
  ...le(23, 2),
  0,
  MIN_MAX_FIXED,
  cacheable ? 3 : 1,
  ...[0, min, max, 0, max - min + 1].flatMap((v) => le(v, 4)),
];
/** Ports a device decodes (16-bit). */
export const io = (first: number, count: number): Aml => [0x47, 1, ...le(first, 2), ...le(first, 2), 1, count];
export const irqNoFlags = (irq: number): Aml => [0x22, ...le(1 << irq, 2)];
