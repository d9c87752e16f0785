/**
 * A row of the instruction tables: encoding, operands, meaning. The decoder, the interpreter and constant code are all
 * derived from these rows; adding an instruction is adding a row.
 *
 * Encoding: an optional mandatory prefix (NP, 66, F3, F2), the opcode bytes, then optionally `+r` (register in the low
 * three opcode bits), `/0`..`/7` (ModRM.reg), `=C1` (whole ModRM byte), `mem` or `reg` (ModRM.mod).
 * Operands: the notation of operands.ts.
 */
import type { Emit } from '../emit/integer.ts';
import { parseOperand, usesModrm, type OperandSpec } from './operands.ts';

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
  /**
   * What can fail before the memory operand's segment is looked at: a POP's read of the stack, or that the unit may not be used (the
   * SDM's table of priorities, vol. 3A 6.9, has #NM before the faults of operands). x87Control: does not wait for exceptions.
   */
  before?: 'pop' | 'x87' | 'x87Control' | 'mmx' | 'sse';
  /** Writes to its memory operand (legacy segment check); read-only operands leave it out. */
  writes?: boolean;
}

export interface Instruction extends InstructionAttributes {
  name: string;
  opcode: string;
  encoding: Encoding;
  operands: readonly OperandSpec[];
  emit: Emit;
  /** For `chains`: the emitter when the targets chain. */
  emitChained?: Emit;
}

/** A byte of an encoding, as rows have it. */
export const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0');

/** A row without ceremony. */
export function row(
  opcode: string,
  name: string,
  operands: string,
  emit: Emit,
  attributes: InstructionAttributes & { emitChained?: Emit } = {},
): Instruction {
  const specs = operands ? operands.split(' ').map(parseOperand) : [];
  return { name, opcode, encoding: parseEncoding(name, opcode, specs), operands: specs, emit, ...attributes };
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
  /** Forms by ModRM.mod; ignored: always a register, whatever it says. */
  mod: 'any' | 'mem' | 'reg' | 'ignored';
  hasModrm: boolean;
}

function parseEncoding(name: string, opcode: string, operands: readonly OperandSpec[]): Encoding {
  const tokens = opcode.split(' ');
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
    else throw new Error(`instruction ${name}: encoding token '${token}'`);
  }
  if (bytes[0] === 0x0f && bytes.length > 1) {
    bytes.shift();
    const escape: number = bytes[0]!;
    encoding.map = bytes.length === 1 ? 1 : escape === 0x38 ? 2 : 3;
    if (encoding.map > 1) bytes.shift();
  }
  if (bytes.length !== 1) throw new Error(`instruction ${name}: opcode '${opcode}'`);
  encoding.opcode = bytes[0]!;
  for (const operand of operands) {
    if (usesModrm(operand)) encoding.hasModrm = true;
    if (operand.kind === 'memory') encoding.mod = 'mem';
    if (operand.kind === 'rmRegister') encoding.mod = operand.ignoresMod ? 'ignored' : 'reg';
    if (operand.kind === 'st') encoding.mod = 'reg';
  }
  if (encoding.digit >= 0 || encoding.modrm >= 0 || encoding.mod !== 'any') encoding.hasModrm = true;
  return encoding;
}
