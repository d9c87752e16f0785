/**
 * The operand notation of the instruction tables, parsed once: everything that the decoder, the forms and the interpreter ask of an
 * operand is a field here.
 *
 * Notation, as in Intel's opcode map (SDM vol. 2, appendix A.2.1), separated by spaces:
 *   E r/m · G ModRM.reg general register · Z opcode register · M memory only · R register-only r/m
 *   I immediate · J relative target · O moffs · S segment register in ModRM.reg (its number)
 *   V/W XMM register / r/m · U register-only XMM · P/Q MMX register / r/m · N register-only MMX
 *   C/D control or debug register in ModRM.reg (its number) · A far pointer
 *   AL, CL, rAX (operand-sized), aCX (address-sized rCX), 1 (constant one), st (x87 rm register number)
 *   $v no operand in the encoding: only carries the operand size; $a the address size
 * Size letters: b 1, w 2, d 4, q 8, x 16, t 10, v operand size, z min(operand size, 4), y 4 or 8, c 8 or 16 (CMPXCHG8B), p far
 *   pointer, bs an immediate byte sign-extended to the operand size, b2 a second immediate byte, sv operand size as a register and
 *   2 in memory, m 8 and ModRM.mod does not count, e x87 environment (14 or 28), s x87 state (94 or 108), - none. For W and Q: size
 *   of the memory form.
 */

/** Operand or address size of an instruction, in bytes. */
export type WordSize = 2 | 4 | 8;
/** Bytes for operand sizes 2, 4 and 8; see `bytesOf`. */
export type BytesBySize = readonly [number, number, number];

export type OperandKind =
  /** A general register that the opcode implies. */
  | 'implied'
  /** The number one. */
  | 'one'
  /** Nothing in the encoding: carries the operand or address size. */
  | 'size'
  /** Register by ModRM.reg. */
  | 'reg'
  /** ModRM.reg as a number: a segment, control or debug register. */
  | 'number'
  /** Register in the opcode's low three bits. */
  | 'opcode'
  /** Register or memory by ModRM.rm; memory alone; a register alone. */
  | 'rm'
  | 'memory'
  | 'rmRegister'
  /** Number of an x87 register in ModRM.rm. */
  | 'st'
  /** Memory at an absolute address behind the opcode. */
  | 'moffs'
  | 'immediate'
  /** Distance of a branch target from the next instruction. */
  | 'relative'
  /** Selector and offset behind the opcode. */
  | 'far';

/** Registers that an operand may be. */
export type RegisterFile = 'general' | 'xmm' | 'mmx' | 'segment' | 'none';

export interface OperandSpec {
  readonly notation: string;
  readonly kind: OperandKind;
  readonly file: RegisterFile;
  /** Number of an implied register. */
  readonly register: number;
  /** What its size depends on. */
  readonly scales: 'operand' | 'address' | 'none';
  /** Bytes of the value: as a register or immediate, and in memory. Where the address size decides, that is what to ask with. */
  readonly bytes: BytesBySize;
  readonly memoryBytes: BytesBySize;
  /** Bytes of an immediate, distance or far offset in the code. */
  readonly encoded: BytesBySize;
  /** An immediate that the record keeps in REC_AUX, zero-extended. */
  readonly second: boolean;
  /** The register is taken from ModRM.rm whatever ModRM.mod says. */
  readonly ignoresMod: boolean;
}

const fixed = (bytes: number): BytesBySize => [bytes, bytes, bytes];
const WORD: BytesBySize = [2, 4, 8];
const UP_TO_DWORD: BytesBySize = [2, 4, 4];

/** Bytes by size letters. */
const SIZES: { readonly [letters: string]: BytesBySize } = {
  b: fixed(1),
  b2: fixed(1),
  w: fixed(2),
  d: fixed(4),
  q: fixed(8),
  t: fixed(10),
  x: fixed(16),
  m: fixed(8),
  v: WORD,
  sv: WORD,
  bs: WORD,
  z: UP_TO_DWORD,
  p: UP_TO_DWORD,
  y: [4, 4, 8],
  c: [8, 8, 16],
  e: [14, 28, 28],
  s: [94, 108, 108],
  '-': fixed(0),
};

const LETTERS: { readonly [letter: string]: { kind: OperandKind; file: RegisterFile } } = {
  E: { kind: 'rm', file: 'general' },
  G: { kind: 'reg', file: 'general' },
  Z: { kind: 'opcode', file: 'general' },
  M: { kind: 'memory', file: 'none' },
  R: { kind: 'rmRegister', file: 'general' },
  I: { kind: 'immediate', file: 'none' },
  J: { kind: 'relative', file: 'none' },
  O: { kind: 'moffs', file: 'none' },
  S: { kind: 'number', file: 'segment' },
  C: { kind: 'number', file: 'none' },
  D: { kind: 'number', file: 'none' },
  V: { kind: 'reg', file: 'xmm' },
  W: { kind: 'rm', file: 'xmm' },
  U: { kind: 'rmRegister', file: 'xmm' },
  P: { kind: 'reg', file: 'mmx' },
  Q: { kind: 'rm', file: 'mmx' },
  N: { kind: 'rmRegister', file: 'mmx' },
  A: { kind: 'far', file: 'none' },
};

type Fields = Pick<OperandSpec, 'kind' | 'bytes'> & Partial<OperandSpec>;

/** Operands that are written as a word of their own. */
const WORDS: { readonly [notation: string]: Fields } = {
  AL: { kind: 'implied', file: 'general', register: 0, bytes: fixed(1) },
  CL: { kind: 'implied', file: 'general', register: 1, bytes: fixed(1) },
  rAX: { kind: 'implied', file: 'general', register: 0, bytes: WORD, scales: 'operand' },
  aCX: { kind: 'implied', file: 'general', register: 1, bytes: WORD, scales: 'address' },
  '1': { kind: 'one', bytes: fixed(1) },
  st: { kind: 'st', bytes: fixed(1) },
  $v: { kind: 'size', bytes: WORD, scales: 'operand' },
  $a: { kind: 'size', bytes: WORD, scales: 'address' },
};

function byLetters(notation: string): Fields | undefined {
  const letter = LETTERS[notation[0]!];
  const letters = notation.slice(1);
  const bytes = SIZES[letters];
  if (!letter || !bytes) return undefined;
  return {
    ...letter,
    bytes,
    memoryBytes: letters === 'sv' ? fixed(2) : bytes,
    encoded: letters === 'bs' ? fixed(1) : bytes,
    scales: bytes[0] === bytes[2] ? 'none' : 'operand',
    second: letters === 'b2',
    ignoresMod: letters === 'm' && letter.kind === 'rmRegister',
  };
}

const parsed = new Map<string, OperandSpec>();

/** The specification of one operand; the same object for the same notation. Throws where the notation is not one. */
export function parseOperand(notation: string): OperandSpec {
  let spec = parsed.get(notation);
  if (!spec) {
    const fields = WORDS[notation] ?? byLetters(notation);
    if (!fields) throw new Error(`operand notation '${notation}': not among those of src/cpu/tables/operands.ts`);
    const { kind, bytes, file = 'none', register = 0, scales = 'none', second = false, ignoresMod = false } = fields;
    const { memoryBytes = bytes, encoded = bytes } = fields;
    spec = { notation, kind, file, register, scales, bytes, memoryBytes, encoded, second, ignoresMod };
    parsed.set(notation, spec);
  }
  return spec;
}

/** Of a field by size, the entry for this operand or address size. */
export const bytesOf = (field: BytesBySize, size: WordSize): number => field[(size >> 2) as 0 | 1 | 2];

/** Does the encoding have a ModRM byte for it? */
export const usesModrm = ({ kind }: OperandSpec): boolean =>
  kind === 'reg' || kind === 'number' || kind === 'rm' || kind === 'memory' || kind === 'rmRegister' || kind === 'st';
/** Can it lie in memory? */
export const hasAddress = ({ kind }: OperandSpec): boolean => kind === 'rm' || kind === 'memory' || kind === 'moffs';
