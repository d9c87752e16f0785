/**
 * A small assembler: Intel syntax in, machine code out, encoded by iced-x86. It knows registers, immediates, memory
 * operands and labels; which encoding fits is looked up among iced's instruction names (`Mov_r32_rm32` …).
 */
import iced from 'iced-x86';

const { BlockEncoder, BlockEncoderOptions, Code, CodeExt, Instruction, MemoryOperand, Register } = iced;
type IcedInstruction = InstanceType<typeof Instruction>;
type IcedMemory = InstanceType<typeof MemoryOperand>;

type Operand =
  | { kind: 'reg'; name: string; size: number }
  | { kind: 'imm'; value: bigint }
  | { kind: 'mem'; size: number; make(): IcedMemory }
  | { kind: 'label'; name: string };

const codes = Code as unknown as Record<string, number>;
const registers = Register as unknown as Record<string, number>;

/**
 * Assemble `source` for `bitness` 32 or 64, to lie at `origin`. One instruction a line, behind `label:` or not; `;` starts a comment.
 * Throws an Error naming the line when an instruction has no encoding or a label no place.
 */
export function assemble(bitness: 32 | 64, origin: number, source: string): Uint8Array {
  const encoder = new BlockEncoder(bitness, BlockEncoderOptions.None);
  const labels = new Map<string, bigint>();
  const placed = new Set<string>();
  const idOf = (name: string): bigint => {
    // Before encoding, a label is a made-up address that its instruction carries too.
    if (!labels.has(name)) labels.set(name, BigInt(labels.size + 1));
    return labels.get(name)!;
  };
  let pending: string | undefined;
  for (const [index, raw] of source.split('\n').entries()) {
    let line = raw.replace(/;.*$/, '').trim();
    const where = `line ${index + 1}: '${line}'`;
    const label = /^([A-Za-z_]\w*):\s*/.exec(line);
    if (label) {
      if (pending !== undefined || placed.has(label[1]!)) throw new Error(`${where}: a second label here, or a label twice`);
      pending = label[1]!;
      line = line.slice(label[0].length);
    }
    if (line === '') continue;
    const instruction = encode(line, bitness, idOf, where);
    if (pending !== undefined) {
      instruction.ip = idOf(pending);
      placed.add(pending);
      pending = undefined;
    }
    encoder.add(instruction);
  }
  const lost = [...labels.keys()].filter((name) => !placed.has(name));
  if (lost.length > 0 || pending !== undefined) throw new Error(`labels without a place: ${[...lost, pending].join(' ')}`);
  return encoder.encode(BigInt(origin));
}

/** String instructions have no operands to choose an encoding by: opcode of the byte form, the next one is that of the wider ones. */
const STRING_OPCODES: Readonly<Record<string, number>> = {
  ins: 0x6c,
  outs: 0x6e,
  movs: 0xa4,
  cmps: 0xa6,
  stos: 0xaa,
  lods: 0xac,
  scas: 0xae,
};
const STRING_PREFIX: Readonly<Record<string, number[]>> = { b: [], w: [0x66], d: [], q: [0x48] };
const REP_PREFIX: Readonly<Record<string, number>> = { rep: 0xf3, repe: 0xf3, repne: 0xf2 };

/** `rep movsb`, `scasd`, `repne cmpsw` …, and `db 1, 2`: code as bytes. */
function literal(line: string): IcedInstruction | undefined {
  const string = /^(?:(rep|repe|repne)\s+)?(ins|outs|movs|cmps|stos|lods|scas)([bwdq])$/.exec(line);
  if (string) {
    const [, rep, name, width] = string;
    return declare([
      ...(rep === undefined ? [] : [REP_PREFIX[rep]!]),
      ...STRING_PREFIX[width!]!,
      STRING_OPCODES[name!]! + (width === 'b' ? 0 : 1),
    ]);
  }
  const bytes = /^db\s+(.+)$/.exec(line);
  return bytes ? declare(bytes[1]!.split(',').map(Number)) : undefined;
}

/** Up to 16 bytes. */
function declare(bytes: readonly number[]): IcedInstruction {
  const instruction = new Instruction();
  instruction.code = Code.DeclareByte;
  instruction.declareDataLength = bytes.length;
  bytes.forEach((byte, i) => instruction.setDeclareByteValue(i, byte));
  return instruction;
}

function encode(line: string, bitness: number, idOf: (name: string) => bigint, where: string): IcedInstruction {
  const bytes = literal(line);
  if (bytes) return bytes;
  const far = /^(jmp|call) far (\w+):(\w+)$/.exec(line);
  if (far)
    return Instruction.createFarBranch(
      far[1] === 'jmp' ? codes.Jmp_ptr1632! : codes.Call_ptr1632!,
      Number(far[2]),
      Number(far[3]),
    );
  const locked = /^lock\s+/.exec(line);
  if (locked) {
    const instruction = encode(line.slice(locked[0].length), bitness, idOf, where);
    instruction.hasLockPrefix = true;
    return instruction;
  }
  const [, mnemonic, rest] = /^(\w+)\s*(.*)$/.exec(line)!;
  const operands = rest === '' ? [] : rest!.split(',').map((text) => parseOperand(text.trim(), bitness, where));
  for (const name of codeNames(mnemonic!, operands, bitness)) {
    const code = codes[name];
    if (code === undefined || !encodable(code, bitness)) continue;
    const made = create(code, name, operands, idOf);
    if (made) return made;
  }
  throw new Error(`${where}: no such instruction`);
}

/** INC r32 and the like have a one-byte form that 64-bit mode lacks. */
function encodable(code: number, bitness: number): boolean {
  const info = CodeExt.opCode(code);
  const yes = bitness === 64 ? info.mode64 : info.mode32;
  info.free();
  return yes;
}

function parseOperand(text: string, bitness: number, where: string): Operand {
  const memory = /^(?:(byte|word|dword|qword|oword)\s+)?\[(.+)\]$/.exec(text);
  if (memory) {
    const size = { byte: 8, word: 16, dword: 32, qword: 64, oword: 128 }[memory[1] ?? ''] ?? 0;
    return { kind: 'mem', size, make: parseMemory(memory[2]!, bitness, where) };
  }
  if (isRegister(text)) return { kind: 'reg', name: text.toUpperCase(), size: registerSize(text) };
  if (/^-?(0x[0-9a-f]+|\d+)$/i.test(text)) {
    const negative = text.startsWith('-');
    const value = BigInt(negative ? text.slice(1) : text);
    return { kind: 'imm', value: negative ? -value : value };
  }
  if (/^[A-Za-z_]\w*$/.test(text)) return { kind: 'label', name: text };
  throw new Error(`${where}: operand '${text}' is neither register, number, memory nor label`);
}

function parseMemory(text: string, bitness: number, where: string): () => IcedMemory {
  let base = 'NONE';
  let index = 'NONE';
  let scale = 1;
  let displacement = 0n;
  for (const term of text.split('+').map((t) => t.trim())) {
    const scaled = /^(\w+)\*([1248])$/.exec(term);
    if (scaled) {
      index = scaled[1]!.toUpperCase();
      scale = Number(scaled[2]);
    } else if (isRegister(term)) {
      if (base === 'NONE') base = term.toUpperCase();
      else index = term.toUpperCase();
    } else if (/^(0x[0-9a-f]+|\d+)$/i.test(term)) displacement += BigInt(term);
    else throw new Error(`${where}: '${term}' does not belong in an address`);
  }
  const size =
    displacement === 0n && base !== 'NONE'
      ? 0
      : displacement <= 127n && base !== 'NONE'
        ? 1
        : base.startsWith('R') || (base === 'NONE' && bitness === 64 && displacement < 0x80000000n)
          ? 8
          : 4;
  return () => MemoryOperand.new64(registers[base]!, registers[index]!, scale, displacement, size, false, registers.None!);
}

/** Enumerations map numbers back to names too, so a number must not pass for a register. */
const isRegister = (text: string): boolean =>
  /^[a-z]/.test(text) && text !== 'none' && typeof registers[text.toUpperCase()] === 'number';

function registerSize(name: string): number {
  if (/^(cr|dr)\d/.test(name)) return 0;
  if (name.startsWith('xmm')) return 128;
  if (/^([a-d][lh]|(si|di|sp|bp|r\d+)[lb]?[lb])$/.test(name)) return 8;
  if (/^(r\w[\w]?|r\d+)$/.test(name) && !/[dw]$/.test(name)) return 64;
  if (/^(e\w\w|r\d+d)$/.test(name)) return 32;
  return 16;
}

/** Names iced could have for this mnemonic and these operands, the shortest encoding first. */
function codeNames(mnemonic: string, operands: readonly Operand[], bitness: number): string[] {
  const capital = mnemonic[0]!.toUpperCase() + mnemonic.slice(1);
  const word = bitness === 64 ? 'q' : 'd';
  if (mnemonic === 'ret') return [`Retn${word}`];
  if (mnemonic === 'nop') return ['Nopd'];
  if (mnemonic === 'pushf' || mnemonic === 'popf') return [`${capital}${word}`];
  if (mnemonic === 'push' && operands[0]?.kind === 'imm')
    return [`Push${word}_imm8`, `Push${word}_imm32`].slice(fits(operands[0].value, 8) ? 0 : 1);
  if (operands.length === 0) return [capital];
  const implied =
    operands.find((o) => o.kind === 'reg' && o.size > 0)?.kind === 'reg'
      ? (operands.find((o) => o.kind === 'reg' && o.size > 0) as { size: number }).size
      : 0;
  const kinds = operands.map((operand, at): string[] => {
    switch (operand.kind) {
      case 'reg':
        if (/^CR\d/.test(operand.name)) return ['cr'];
        if (/^[DEFGS]S$|^CS$/.test(operand.name)) return ['Sreg'];
        if (operand.name.startsWith('XMM')) return ['xmm', 'xmmm128', 'xmmm64', 'xmmm32'];
        return [`r${operand.size}`, `rm${operand.size}`, operand.name, 'r32m16'];
      case 'mem': {
        const size = operand.size || implied;
        return [
          'r32m16',
          `rm${size}`,
          'm',
          `m${size}`,
          `m${size}fp`,
          `m${size}int`,
          'xmmm128',
          'xmmm64',
          'xmmm32',
          bitness === 64 ? 'm1664' : 'm1632',
        ];
      }
      case 'label':
        return [`rel32_${bitness}`];
      case 'imm': {
        const size = at > 0 ? sizeOf(operands[0]!, implied) : 0;
        if (size === 8 || size === 0) return ['imm8'];
        const names = fits(operand.value, 8) ? ['imm8'] : [];
        if (size === 16) return [...names, 'imm16'];
        if (size === 64) return fits(operand.value, 32) ? [...names, 'imm32'] : ['imm64'];
        return [...names, 'imm32'];
      }
    }
  });
  return kinds.reduce((heads, tails) => tails.flatMap((tail) => heads.map((head) => `${head}_${tail}`)), [capital]);
}

const sizeOf = (operand: Operand, implied: number): number =>
  operand.kind === 'reg' ? operand.size : operand.kind === 'mem' ? operand.size || implied : 0;
const fits = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

/** The instruction, or undefined when this encoding takes other operands (an immediate too big, a register not its own). */
function create(
  code: number,
  name: string,
  operands: readonly Operand[],
  idOf: (label: string) => bigint,
): IcedInstruction | undefined {
  const shape = operands.map((o) => o.kind).join(' ');
  const reg = (i: number): number => registers[(operands[i] as { name: string }).name]!;
  const mem = (i: number): IcedMemory => (operands[i] as { make(): IcedMemory }).make();
  const imm = (i: number): number => Number(BigInt.asIntN(32, (operands[i] as { value: bigint }).value));
  switch (shape) {
    case '':
      return Instruction.create(code);
    case 'label':
      return Instruction.createBranch(code, idOf((operands[0] as { name: string }).name));
    case 'reg':
      return Instruction.createReg(code, reg(0));
    case 'mem':
      return Instruction.createMem(code, mem(0));
    case 'imm':
      return Instruction.createI32(code, imm(0));
    case 'reg reg':
      return Instruction.createRegReg(code, reg(0), reg(1));
    case 'reg imm':
      if (name.endsWith('imm64')) return Instruction.createRegI64(code, reg(0), (operands[1] as { value: bigint }).value);
      return Instruction.createRegI32(code, reg(0), imm(1));
    case 'imm reg':
      return Instruction.createI32Reg(code, imm(0), reg(1));
    case 'reg mem':
      return Instruction.createRegMem(code, reg(0), mem(1));
    case 'mem reg':
      return Instruction.createMemReg(code, mem(0), reg(1));
    case 'mem imm':
      return Instruction.createMemI32(code, mem(0), imm(1));
    default:
      return undefined;
  }
}
