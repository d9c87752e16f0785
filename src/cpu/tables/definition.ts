/**
 * A row of the instruction tables: encoding, operands, meaning. The decoder, the interpreter and constant code are all
 * derived from these rows; adding an instruction is adding a row.
 *
 * Encoding: an optional mandatory prefix (NP, 66, F3, F2), the opcode bytes, then optionally `+r` (register in the low
 * three opcode bits), `/0`..`/7` (ModRM.reg), `=C1` (whole ModRM byte), `mem` or `reg` (ModRM.mod).
 *
 * Operands, as in Intel's opcode map (SDM vol. 2, appendix A.2.1), separated by spaces:
 *   E r/m · G ModRM.reg general register · Z opcode register · M memory only · R register-only r/m
 *   I immediate · J relative target · O moffs · S segment register in ModRM.reg (its number)
 *   V/W XMM register / r/m · U register-only XMM · P/Q MMX register / r/m · N register-only MMX
 *   C/D control or debug register in ModRM.reg (its number) · A far pointer
 *   AL, CL, rAX (operand-sized), aCX (address-sized rCX), DX, 1 (constant one), st (x87 rm register number)
 *   $ no operand in the encoding: only carries the operand size; $a the address size
 * Size letters: b 1, w 2, d 4, q 8, x 16, t 10, v operand size, z min(operand size, 4), y 4 or 8, p far pointer,
 *   bs an immediate byte sign-extended to the operand size, e x87 environment (14 or 28),
 *   s x87 state (94 or 108), - none. For W and Q: size of the memory form.
 */
import type { Emit } from '../emit/integer.ts';

export interface InstructionAttributes {
  /** A frequent instruction: memory operands get their address computed inside the handler. */
  hot?: boolean;
  /** Seldom run: its handlers are functions of their own, outside the interpreter's loop. */
  rare?: boolean;
  /** In 64-bit mode the operand size is 8 unless prefixed (default) or always (forced). */
  size64?: 'default' | 'forced';
  only?: 'long' | 'legacy';
  /** LOCK is allowed on a memory destination. implied: XCHG. */
  lock?: 'allowed' | 'implied';
  /** What the flags come from afterwards, in every case. Left out: some other operation, or it depends. */
  flags?: 'sub' | 'logic' | 'add' | 'result' | 'kept';
  /** Has emitters for known sources of the flags. */
  usesFlags?: boolean;
  /** Ends a block: jump (emitter goes on itself) or system (its helper always leaves). */
  ends?: 'jump' | 'system';
  /** A relative branch: `emit` is called with whether both ways stay in the code page. */
  chains?: boolean;
  /** A string instruction: REP is no mandatory prefix, and the record carries address size and segment. */
  string?: boolean;
  /** Memory operand must be 16-byte aligned (legacy SSE). */
  aligned?: boolean;
  /** The offset only, no base, limit or rights of the segment (LEA); INVLPG adds the base itself. */
  addressOnly?: boolean;
  /** Does nothing: its memory operand is not even worked out. */
  hint?: boolean;
  /** Only without REX.B. */
  noRexB?: boolean;
  /** Writes to its memory operand (legacy segment check); read-only operands leave it out. */
  writes?: boolean;
}

export interface Instruction extends InstructionAttributes {
  name: string;
  opcode: string;
  operands: readonly string[];
  emit: Emit;
  /** For `chains`: the emitter when the targets chain. */
  emitChained?: Emit;
}

/** A row without ceremony. */
export function row(
  opcode: string,
  name: string,
  operands: string,
  emit: Emit,
  attributes: InstructionAttributes & { emitChained?: Emit } = {},
): Instruction {
  return { name, opcode, operands: operands ? operands.split(' ') : [], emit, ...attributes };
}

export interface Encoding {
  prefix: 'any' | 'NP' | '66' | 'F3' | 'F2';
  /** 0 one-byte map, 1 0F, 2 0F38, 3 0F3A. */
  map: number;
  opcode: number;
  /** Eight opcodes that differ in a register number. */
  plusRegister: boolean;
  digit: number; // -1: none
  modrm: number; // -1: none
  mod: 'any' | 'mem' | 'reg';
  hasModrm: boolean;
}

const USES_MODRM = /^[EGMRSVWUPQNCD]/;
const MEMORY_ONLY = /^M/;
const REGISTER_ONLY = /^[RUN]/;

export function parseEncoding(instruction: Instruction): Encoding {
  const tokens = instruction.opcode.split(' ');
  const encoding: Encoding = {
    prefix: 'any',
    map: 0,
    opcode: 0,
    plusRegister: false,
    digit: -1,
    modrm: -1,
    mod: 'any',
    hasModrm: false,
  };
  const bytes: number[] = [];
  if (/^(NP|66|F3|F2)$/.test(tokens[0]!) && tokens.length > 1 && /^[0-9A-F]{2}/.test(tokens[1]!)) {
    encoding.prefix = tokens.shift() as Encoding['prefix'];
  }
  for (const token of tokens) {
    if (/^[0-9A-F]{2}$/.test(token)) bytes.push(parseInt(token, 16));
    else if (/^[0-9A-F]{2}\+r$/.test(token)) {
      bytes.push(parseInt(token, 16));
      encoding.plusRegister = true;
    } else if (/^\/[0-7]$/.test(token)) encoding.digit = Number(token[1]);
    else if (/^=[0-9A-F]{2}$/.test(token)) encoding.modrm = parseInt(token.slice(1), 16);
    else if (token === 'mem' || token === 'reg') encoding.mod = token;
    else throw new Error(`instruction ${instruction.name}: encoding token '${token}'`);
  }
  if (bytes[0] === 0x0f && bytes.length > 1) {
    bytes.shift();
    const escape: number = bytes[0]!;
    encoding.map = bytes.length === 1 ? 1 : escape === 0x38 ? 2 : 3;
    if (encoding.map > 1) bytes.shift();
  }
  if (bytes.length !== 1) throw new Error(`instruction ${instruction.name}: opcode '${instruction.opcode}'`);
  encoding.opcode = bytes[0]!;
  for (const operand of instruction.operands) {
    // $, 1, AL, CL, DX, aCX, rAX are not ModRM operands, though CL and DX start like some.
    if (/^(AL|CL|DX|rAX|aCX|\$|1)/.test(operand)) continue;
    if (operand === 'st' || USES_MODRM.test(operand)) encoding.hasModrm = true;
    if (MEMORY_ONLY.test(operand)) encoding.mod = 'mem';
    if (REGISTER_ONLY.test(operand) || operand === 'st') encoding.mod = 'reg';
  }
  if (encoding.digit >= 0 || encoding.modrm >= 0 || encoding.mod !== 'any') encoding.hasModrm = true;
  return encoding;
}
