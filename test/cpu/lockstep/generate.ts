/**
 * Random user-level snippets: one to eight instructions over every form of instructions.ts, with registers that
 * point into the data pages, borders of pages and of values, branches forward, unaligned and forbidden accesses.
 */
import {
  CodeSize,
  Decoder,
  DecoderOptions,
  type Instruction,
  InstructionInfoFactory,
  Mnemonic,
  OpAccess,
  type Register,
  RegisterExt,
  RflagsBits,
} from 'iced-x86';
import {
  type Boundary,
  type Case,
  CODE,
  CODE_SIZE,
  DATA,
  DATA_SIZE,
  MAX_CODE,
  type Mode,
  REQUEST_SIZE,
  WRITABLE,
  fx,
  request,
} from './case.ts';
import { environmentStores, type Form, forms, reciprocals, transcendentals } from './instructions.ts';
import { Random } from './random.ts';
import { BCD_OFFSET, binary32, binary64, extended80, integer64 } from './values.ts';

/** RFLAGS bits of iced's flag sets. */
const flagBits: [number, number][] = [
  [RflagsBits.CF, 1],
  [RflagsBits.PF, 4],
  [RflagsBits.AF, 0x10],
  [RflagsBits.ZF, 0x40],
  [RflagsBits.SF, 0x80],
  [RflagsBits.OF, 0x800],
];
/** FSW bits. */
const statusBits: [number, number][] = [
  [RflagsBits.C0, 0x100],
  [RflagsBits.C1, 0x200],
  [RflagsBits.C2, 0x400],
  [RflagsBits.C3, 0x4000],
];
const translate = (set: number, bits: [number, number][]): number =>
  bits.reduce((sum, [from, to]) => (set & from ? sum | to : sum), 0);

const countByCl = new Set(
  ['Shl', 'Shr', 'Sal', 'Sar', 'Rol', 'Ror', 'Rcl', 'Rcr', 'Shld', 'Shrd'].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);
const repeatedCompare = new Set(
  ['Cmpsb', 'Cmpsw', 'Cmpsd', 'Cmpsq', 'Scasb', 'Scasw', 'Scasd', 'Scasq'].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);
const storesFlags = new Set(['Pushf', 'Pushfd', 'Pushfq', 'Lahf'].map((name) => Mnemonic[name as keyof typeof Mnemonic]));
const statusReaders = new Set(
  ['Fnstsw', 'Fnstenv', 'Fnsave', 'Fxsave', 'Fxsave64', 'Fldenv', 'Frstor'].map(
    (name) => Mnemonic[name as keyof typeof Mnemonic],
  ),
);
const loadsState = new Set(
  ['Fldenv', 'Frstor', 'Fxrstor', 'Fxrstor64', 'Fldcw', 'Ldmxcsr'].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);

export interface Options {
  modes: readonly Mode[];
  /** CPUID features beyond the base. */
  features?: readonly string[];
  /** Only forms this accepts. */
  only?: (form: Form) => boolean;
}

/** Instructions that leave some of their work done when they fault; how much differs between processors. */
const partial = new Set(
  [
    'Pusha',
    'Pushaw',
    'Pushad',
    'Popa',
    'Popaw',
    'Popad',
    'Enter',
    'Call',
    'Fxsave',
    'Fxsave64',
    'Fxrstor',
    'Fxrstor64',
    'Fnsave',
    'Frstor',
    'Fnstenv',
    'Fldenv',
    'Movntq',
    'Fbstp',
  ].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);

interface Piece {
  partial: boolean;
  bytes: number[];
  form: Form;
  undefinedFlags: number;
  definedFlags: number;
  undefinedStatus: number;
  definedStatus: number;
  /** Reads flags: must not be undefined before it. */
  readsFlags: number;
  readsStatus: boolean;
  /** Last of its case. */
  ends: boolean;
  tolerance: Case['tolerance'];
  memory: boolean;
  x87: boolean;
  mmx: boolean;
  sse: boolean;
}

export class Generator {
  private readonly random: Random;
  private readonly forms = new Map<Mode, Form[]>();
  private readonly byKind = new Map<Mode, { integer: Form[]; x87: Form[]; vector: Form[] }>();
  private readonly info = new InstructionInfoFactory();
  private readonly modes: readonly Mode[];

  constructor(seed: number, options: Options = { modes: [64] }) {
    this.random = new Random(seed);
    this.modes = options.modes;
    for (const mode of options.modes) {
      const all = forms(mode, options.features ?? []).filter(options.only ?? (() => true));
      this.forms.set(mode, all);
      const x87 = all.filter((form) => isX87(form));
      const vector = all.filter((form) => !isX87(form) && isVector(form));
      const rest = new Set([...x87, ...vector]);
      this.byKind.set(mode, { integer: all.filter((form) => !rest.has(form)), x87, vector });
    }
  }

  formCount(mode: Mode): number {
    return this.forms.get(mode)?.length ?? 0;
  }

  /** The next case; its memory is that of `memorySeed`. */
  next(memorySeed: number): Case {
    const random = this.random;
    const mode = random.pick(this.modes);
    const record = new Uint8Array(REQUEST_SIZE);
    const view = new DataView(record.buffer);
    const registers = mode === 64 ? 16 : 8;

    // Registers: some point into the data pages, one or two are small indices, the rest hold anything.
    const pointers = new Set([4]);
    while (pointers.size < (mode === 64 ? 8 : 5)) pointers.add(random.below(registers));
    pointers.delete(1); // CL counts and loops
    const small = new Set<number>();
    for (let i = 0; i < 2; i++) small.add(random.below(registers));
    if (random.chance(0.7)) small.add(1);
    for (let i = 0; i < registers; i++) {
      let value = pointers.has(i)
        ? BigInt(this.dataAddress())
        : small.has(i) && i !== 4
          ? BigInt(random.below(random.chance(0.8) ? 40 : 300))
          : integer64(random);
      if (mode === 32) value &= 0xffffffffn;
      view.setBigUint64(request.gpr + i * 8, value, true);
    }
    for (const i of small) pointers.delete(i);
    pointers.add(4);

    let rflags = 0x202 | (random.u32() & 0x8d5);
    if (random.chance(0.1)) rflags |= 0x400;
    if (random.chance(0.01)) rflags |= 0x100;
    view.setUint32(request.rflags, rflags, true);
    if (mode === 64) {
      view.setBigUint64(request.fsBase, BigInt(this.dataAddress() - 16 * random.below(4)), true);
      view.setBigUint64(request.gsBase, BigInt(this.dataAddress() - 16 * random.below(4)), true);
    }
    this.floatingPoint(view);

    const kinds = this.byKind.get(mode);
    if (!kinds) throw new Error(`no forms for mode ${mode}`);
    const flavour = random.below(10);
    const pool =
      flavour < 5 ? kinds.integer : flavour < 7 ? kinds.x87 : flavour < 9 ? kinds.vector : (this.forms.get(mode) ?? []);
    const usable = pool.length ? pool : (this.forms.get(mode) ?? []);
    const wanted = 1 + random.below(random.chance(0.3) ? 8 : 4);
    const pieces: Piece[] = [];
    let size = 0;
    let undefinedFlags = 0;
    let undefinedStatus = 0;
    let touchedX87 = false;
    while (pieces.length < wanted) {
      const from = random.chance(0.85) ? usable : (this.forms.get(mode) ?? usable);
      const piece = this.instruction(mode, random.pick(from), pointers, touchedX87);
      if (!piece) continue;
      if (piece.readsStatus && undefinedStatus) continue;
      if (piece.readsFlags & undefinedFlags) {
        pieces.push(compareBytes(random));
        size += pieces[pieces.length - 1]?.bytes.length ?? 0;
        undefinedFlags = 0;
      }
      if (size + piece.bytes.length > MAX_CODE - 4) break;
      pieces.push(piece);
      size += piece.bytes.length;
      undefinedFlags = (undefinedFlags & ~piece.definedFlags) | piece.undefinedFlags;
      undefinedStatus = (undefinedStatus & ~piece.definedStatus) | piece.undefinedStatus;
      touchedX87 ||= piece.x87 || piece.mmx;
      if (piece.ends) break;
    }

    return this.assemble(mode, record, view, pieces, memorySeed);
  }

  /** Lays the pieces out, points branches at later boundaries, and works out what each boundary leaves undefined. */
  private assemble(mode: Mode, record: Uint8Array, view: DataView, pieces: Piece[], memorySeed: number): Case {
    const random = this.random;
    const starts: number[] = [];
    let at = 0;
    for (const piece of pieces) {
      starts.push(at);
      at += piece.bytes.length;
    }
    starts.push(at);
    const flags = new Array<number>(pieces.length + 1).fill(0);
    const status = new Array<number>(pieces.length + 1).fill(0);
    for (let i = 0; i < pieces.length; i++) {
      const piece = pieces[i] as Piece;
      const after = ((flags[i] ?? 0) & ~piece.definedFlags) | piece.undefinedFlags;
      const afterStatus = ((status[i] ?? 0) & ~piece.definedStatus) | piece.undefinedStatus;
      const targets = [i + 1];
      if (piece.form.branch) {
        // Not over an instruction that makes flags defined which are not: some later one may read them.
        const target = after || afterStatus ? i + 1 : i + 1 + random.below(pieces.length - i);
        targets.push(target);
        const distance = (starts[target] ?? at) - (starts[i + 1] ?? at);
        let place = piece.bytes.length - piece.form.branch;
        for (let k = 0; k < piece.form.branch; k++) piece.bytes[place++] = (distance >> (8 * k)) & 0xff;
      }
      for (const target of targets) {
        flags[target] = (flags[target] ?? 0) | after;
        status[target] = (status[target] ?? 0) | afterStatus;
      }
    }
    const boundaries: Boundary[] = starts.map((offset, i) => ({
      offset,
      undefinedFlags: flags[i] ?? 0,
      undefinedStatus: status[i] ?? 0,
      ...(pieces[i]?.partial ? { partial: true } : {}),
    }));

    const code = pieces.flatMap((piece) => piece.bytes);
    code.push(0xcc);
    const codeOffset = random.chance(0.25)
      ? 0x1000 - random.below(code.length + 1)
      : random.chance(0.03)
        ? CODE_SIZE - code.length
        : random.below(0x1f00);
    view.setUint32(request.mode, mode, true);
    view.setUint32(request.codeOffset, codeOffset, true);
    view.setUint32(request.codeLength, code.length, true);
    record.set(code, request.code);
    this.fixRipRelative(mode, record, pieces, starts, codeOffset);
    const last = pieces[pieces.length - 1];
    return {
      record,
      memorySeed,
      boundaries,
      tolerance: last?.tolerance ?? 'none',
      memory: pieces.some((piece) => piece.memory),
      x87: pieces.some((piece) => piece.x87),
      mmx: pieces.some((piece) => piece.mmx),
      sse: pieces.some((piece) => piece.sse),
    };
  }

  /** RIP-relative displacements were drawn as data addresses; they become distances here. */
  private fixRipRelative(mode: Mode, record: Uint8Array, pieces: Piece[], starts: number[], codeOffset: number): void {
    if (mode !== 64) return;
    const view = new DataView(record.buffer);
    pieces.forEach((piece, i) => {
      const decoder = new Decoder(64, Uint8Array.from(piece.bytes), DecoderOptions.None);
      const instruction = decoder.decode();
      const relative = instruction.isIpRelMemoryOperand;
      const offsets = decoder.getConstantOffsets(instruction);
      if (relative && offsets.displacementSize === 4) {
        const place = request.code + (starts[i] ?? 0) + offsets.displacementOffset;
        view.setInt32(place, (view.getUint32(place, true) - (CODE + codeOffset + (starts[i + 1] ?? 0))) | 0, true);
      }
      offsets.free();
      instruction.free();
      decoder.free();
    });
  }

  /** An address in or near the data pages. */
  private dataAddress(): number {
    const random = this.random;
    const where = random.below(20);
    const aligned = random.chance(0.75) ? ~15 : ~0;
    if (where < 14) return DATA + ((64 + random.below(WRITABLE - 512)) & aligned);
    if (where < 16) return DATA + 0x1000 - random.below(24);
    if (where < 17) return DATA + WRITABLE - random.below(24); // the border to the read-only page
    if (where < 18) return DATA + WRITABLE + (random.below(0x1000 - 64) & aligned);
    if (where < 19) return DATA + DATA_SIZE - random.below(24);
    return DATA + random.below(24);
  }

  private floatingPoint(view: DataView): void {
    const random = this.random;
    const base = request.fx;
    // Exceptions masked in most cases; rounding and precision at random (precision 01 is reserved).
    let fcw = 0x40 | (random.chance(0.85) ? 0x3f : random.u32() & 0x3f);
    fcw |= random.pick([0, 2, 3, 3, 3]) << 8;
    fcw |= random.below(4) << 10;
    view.setUint16(base + fx.fcw, fcw, true);
    let fsw = (random.below(8) << 11) | (random.u32() & 0x4700);
    if (random.chance(0.3)) fsw |= random.u32() & 0x7f;
    if (random.chance(0.9)) fsw &= ~(~fcw & 0x3f); // seldom a pending unmasked exception
    if (fsw & ~fcw & 0x3f) fsw |= 0x8080;
    view.setUint16(base + fx.fsw, fsw, true);
    view.setUint8(base + fx.ftw, random.chance(0.5) ? 0xff : random.u32() & 0xff);
    let mxcsr = (random.chance(0.85) ? 0x1f80 : (random.u32() & 0x3f) << 7) | (random.below(4) << 13) | (random.u32() & 0x3f);
    if (random.chance(0.2)) mxcsr |= 0x8000;
    if (random.chance(0.2)) mxcsr |= 0x40;
    view.setUint32(base + fx.mxcsr, mxcsr, true);
    view.setUint32(base + 28, 0xffff, true);
    for (let i = 0; i < 8; i++) {
      const { exponent, significand } = extended80(random);
      view.setBigUint64(base + fx.st + i * 16, BigInt.asUintN(64, significand), true);
      view.setUint16(base + fx.st + i * 16 + 8, exponent, true);
    }
    for (let i = 0; i < 16; i++) {
      const at = base + fx.xmm + i * 16;
      const kind = random.below(4);
      for (let k = 0; k < 16; k += 8) {
        if (kind === 0) view.setBigUint64(at + k, binary64(random), true);
        else if (kind === 1) {
          view.setUint32(at + k, binary32(random), true);
          view.setUint32(at + k + 4, binary32(random), true);
        } else view.setBigUint64(at + k, kind === 2 ? integer64(random) : random.u64(), true);
      }
    }
  }

  /** One instruction of the form, or undefined when this draw is not wanted. */
  private instruction(mode: Mode, form: Form, pointers: Set<number>, touchedX87: boolean): Piece | undefined {
    const random = this.random;
    const prefixes: number[] = [];
    if (form.operandPrefix) prefixes.push(0x66);
    if (random.chance(0.04))
      prefixes.push(
        random.pick(
          mode === 32 && (isX87(form) || isVector(form))
            ? [0x36, 0x3e, 0x26] /* a bad segment or a pending x87 fault: which comes first differs */
            : [0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26],
        ),
      );
    const bitString = form.group < 0 && /^Bt[scr]?$/.test(form.name);
    const shortAddress = random.chance(mode === 64 ? 0.06 : bitString ? 0 : 0.02);
    if (shortAddress) prefixes.push(0x67);
    let memoryForm = form.wantsMemory || (form.modrm && !form.wantsRegister && random.chance(0.45));
    if (form.name === 'Fbld') memoryForm = true;
    if (form.lock && memoryForm && random.chance(0.25)) prefixes.push(0xf0);
    else if (random.chance(0.003)) prefixes.push(0xf0);
    if (form.rep && random.chance(0.5)) prefixes.push(0xf3);
    else if (form.repne && random.chance(0.5)) prefixes.push(0xf2);
    if (form.mandatoryPrefix) prefixes.push(form.mandatoryPrefix);
    let rex = form.rexW ? 0x48 : 0;
    const extend = (bit: number): boolean => {
      if (mode !== 64 || !random.chance(0.35)) return false;
      rex |= 0x40 | bit;
      return true;
    };
    if (mode === 64 && random.chance(0.1)) rex |= 0x40;

    const opcode = [...form.opcode];
    if (form.opcodeRegister) {
      const x87 = isX87(form);
      opcode[opcode.length - 1] = (opcode[opcode.length - 1] ?? 0) | random.below(8);
      if (!x87) extend(1);
    }
    const tail: number[] = [];
    if (form.modrm) {
      const reg = form.group >= 0 ? form.group : random.below(8);
      if (form.group < 0) extend(4);
      if (!memoryForm) {
        tail.push(0xc0 | (reg << 3) | random.below(8));
        extend(1);
      } else if (
        !this.memoryOperand(mode, form, reg, pointers, shortAddress, tail, (bit) => {
          rex |= 0x40 | bit;
        })
      )
        return undefined;
    }
    if (form.moffs) {
      const address = BigInt(this.dataAddress());
      const bytes = mode === 64 ? (shortAddress ? 4 : 8) : shortAddress ? 2 : 4;
      for (let i = 0; i < bytes; i++) tail.push(Number((address >> BigInt(8 * i)) & 0xffn));
    }
    for (let i = 0; i < form.immediate; i++)
      tail.push(
        i === 0 && random.chance(0.3)
          ? random.below(64)
          : random.chance(0.3)
            ? random.pick([0, 0xff, 0x80, 1])
            : random.u32() & 0xff,
      );
    if (form.name.startsWith('Enter')) {
      // imm16, imm8: a small frame mostly, and few levels
      tail[tail.length - 3] = random.below(64);
      tail[tail.length - 2] = random.chance(0.9) ? 0 : random.below(16);
      tail[tail.length - 1] = random.chance(0.7) ? random.below(4) : random.u32() & 0xff;
    }
    if ((form.name === 'Shld' || form.name === 'Shrd') && form.operandPrefix)
      tail[tail.length - 1] = random.below(17) | (random.u32() & 0xe0);
    if (form.name === 'Retn' || form.name === 'Ret')
      for (let i = 0; i < form.immediate; i++) tail[tail.length - 1 - i] = i === 0 ? 0 : random.below(64);
    for (let i = 0; i < form.branch; i++) tail.push(0);
    const bytes = [...prefixes, ...(rex ? [rex] : []), ...opcode, ...tail];
    if (bytes.length > 15) return undefined;

    const decoder = new Decoder(mode, Uint8Array.from(bytes), DecoderOptions.None);
    const instruction = decoder.decode();
    try {
      if (instruction.code !== form.code || instruction.length !== bytes.length) {
        // A LOCK where it is not allowed is worth a few cases: #UD.
        if (!(prefixes.includes(0xf0) && instruction.isInvalid)) return undefined;
        return { ...plain(form, bytes), ends: true };
      }
      return this.describe(form, bytes, instruction, pointers, touchedX87);
    } finally {
      instruction.free();
      decoder.free();
    }
  }

  private describe(
    form: Form,
    bytes: number[],
    instruction: Instruction,
    pointers: Set<number>,
    touchedX87: boolean,
  ): Piece | undefined {
    const random = this.random;
    const mnemonic = instruction.mnemonic;
    const info = this.info.info(instruction);
    const used = info.usedRegisters();
    const memories = info.usedMemory();
    let writesPointer = false;
    let mmx = false;
    let sse = false;
    for (const one of used) {
      const register: Register = one.register;
      const write =
        one.access !== OpAccess.Read &&
        one.access !== OpAccess.CondRead &&
        one.access !== OpAccess.None &&
        one.access !== OpAccess.NoMemAccess;
      if (RegisterExt.isGPR(register) && write) {
        const index = RegisterExt.number(RegisterExt.fullRegister(register));
        if (pointers.has(index) && mnemonic !== Mnemonic.Push && !(index === 4 && form.name.startsWith('Pop')))
          writesPointer = true;
      }
      if (RegisterExt.isMM(register)) mmx = true;
      if (RegisterExt.isXMM(register)) sse = true;
      one.free();
    }
    for (const one of memories) one.free();
    info.free();
    const x87 = isX87(form);
    if (writesPointer && !random.chance(0.12)) return undefined;
    if (environmentStores.has(mnemonic) && touchedX87) return undefined;
    if (loadsState.has(mnemonic) && !random.chance(0.5)) return undefined;
    if (
      (form.name === 'Ud2' ||
        form.name === 'Int3' ||
        form.name === 'Cli' ||
        form.name === 'Sti' ||
        form.name.startsWith('Popf')) &&
      !random.chance(0.15)
    )
      return undefined;
    // Results that only the last instruction may leave.
    const tolerance: Case['tolerance'] = reciprocals.has(mnemonic)
      ? 'reciprocal'
      : transcendentals.has(mnemonic)
        ? 'transcendental'
        : 'none';
    // REP with 32-bit addresses in 64-bit mode: what becomes of the upper halves differs between instructions and ends.
    const halves =
      bytes.includes(0x67) &&
      (bytes.includes(0xf3) || bytes.includes(0xf2)) &&
      (repeatedCompare.has(mnemonic) || /^(Movs|Stos|Lods)[bwdq]$/.test(form.name)) &&
      instruction.codeSize === CodeSize.Code64;
    // What a processor's choices leave open in memory (../choices.ts) must not be read again.
    const leavesOpen =
      environmentStores.has(mnemonic) || (form.name === 'Push' && RegisterExt.isSegmentRegister(instruction.op0Register));
    const conditional =
      (countByCl.has(mnemonic) && form.immediate === 0 && !form.name.endsWith('1')) ||
      repeatedCompare.has(mnemonic) ||
      (countByCl.has(mnemonic) && form.immediate > 0);
    const written = instruction.rflagsWritten | instruction.rflagsCleared | instruction.rflagsSet;
    return {
      bytes,
      form,
      partial: partial.has(mnemonic) || (mmx && memories.length > 0), // MMX stores that fault have entered MMX state already, or not
      undefinedFlags:
        translate(instruction.rflagsUndefined, flagBits) |
        (form.immediate > 0 && (form.name === 'Rcl' || form.name === 'Rcr') ? 0x800 : 0), // a whole turn: OF too
      definedFlags: conditional ? 0 : translate(written, flagBits),
      undefinedStatus: x87 ? translate(instruction.rflagsUndefined, statusBits) : 0,
      definedStatus: translate(written, statusBits) | (mnemonic === Mnemonic.Fninit || mnemonic === Mnemonic.Fnsave ? 0x4700 : 0),
      readsFlags:
        (conditional || storesFlags.has(mnemonic) ? 0x8d5 : 0) |
        translate(instruction.rflagsRead, flagBits) |
        (x87 && form.name.startsWith('Fcmov') ? 0x45 : 0),
      readsStatus: statusReaders.has(mnemonic),
      ends: tolerance !== 'none' || halves || leavesOpen,
      tolerance: halves ? 'halves' : tolerance,
      memory: memories.length > 0,
      x87,
      mmx,
      sse: sse || /mxcsr/i.test(form.name),
    };
  }

  /** ModRM, SIB and displacement of a memory operand. */
  private memoryOperand(
    mode: Mode,
    form: Form,
    reg: number,
    pointers: Set<number>,
    shortAddress: boolean,
    tail: number[],
    extend: (bit: number) => void,
  ): boolean {
    const random = this.random;
    const displace = (size: number, value: number): void => {
      for (let i = 0; i < size; i++) tail.push((value >> (8 * i)) & 0xff);
    };
    if (form.name === 'Fbld') {
      const address = DATA + BCD_OFFSET + 16 * random.below(16);
      if (mode === 32 && shortAddress) return false;
      if (mode === 64)
        tail.push(4 | (reg << 3), 0x25); // absolute
      else tail.push(5 | (reg << 3));
      displace(4, address);
      return true;
    }
    if (mode === 32 && shortAddress) {
      // 16-bit addressing reaches no data page: a fault, except for LEA and NOP
      tail.push((random.below(3) << 6) | (reg << 3) | random.below(8));
      const modrm = tail[tail.length - 1] ?? 0;
      const size = modrm >> 6 === 1 ? 1 : modrm >> 6 === 2 || (modrm & 7) === 6 ? 2 : 0;
      displace(size, random.u32());
      return true;
    }
    const way = random.below(20);
    if (way < 2) {
      // absolute, or RIP-relative in 64-bit mode (made relative later)
      if (mode === 64 && way === 0) tail.push(4 | (reg << 3), 0x25);
      else tail.push(5 | (reg << 3));
      displace(4, this.dataAddress());
      return true;
    }
    const bases = [...pointers];
    const base = random.chance(0.97) ? random.pick(bases) : random.below(mode === 64 ? 16 : 8);
    if (base >= 8) extend(1);
    const wide = random.below(4);
    const displacement = wide === 0 ? 0 : random.chance(0.5) ? random.below(256) - 128 : 16 * (random.below(16) - 8);
    const mod = wide === 0 && (base & 7) !== 5 ? 0 : wide === 3 ? 2 : 1;
    const indexed = way < 6;
    if (indexed || (base & 7) === 4) {
      let index = indexed ? random.below(mode === 64 ? 16 : 8) : 4;
      if (indexed && pointers.has(index) && index !== 4) index = 4;
      if (index >= 8) extend(2);
      tail.push((mod << 6) | (reg << 3) | 4, (random.below(4) << 6) | ((index & 7) << 3) | (base & 7));
    } else {
      tail.push((mod << 6) | (reg << 3) | (base & 7));
    }
    if (mod === 1) displace(1, displacement);
    else if (mod === 2) displace(4, displacement);
    return true;
  }
}

const plain = (form: Form, bytes: number[]): Piece => ({
  bytes,
  form,
  partial: false,
  undefinedFlags: 0,
  definedFlags: 0,
  undefinedStatus: 0,
  definedStatus: 0,
  readsFlags: 0,
  readsStatus: false,
  ends: false,
  tolerance: 'none',
  memory: false,
  x87: false,
  mmx: false,
  sse: false,
});

/** CMP r8, r8: makes every arithmetic flag defined. */
function compareBytes(random: Random): Piece {
  const bytes = [0x38, 0xc0 | random.below(64)];
  return {
    ...plain(
      {
        code: 0,
        name: 'Cmp',
        opcode: [0x38],
        mandatoryPrefix: 0,
        operandPrefix: false,
        rexW: false,
        modrm: true,
        group: -1,
        wantsMemory: false,
        wantsRegister: true,
        opcodeRegister: false,
        immediate: 0,
        branch: 0,
        moffs: false,
        lock: false,
        rep: false,
        repne: false,
        cpl0: false,
      },
      bytes,
    ),
    definedFlags: 0x8d5,
  };
}

function isX87(form: Form): boolean {
  const first = form.opcode[0] ?? 0;
  return (first >= 0xd8 && first <= 0xdf) || form.name === 'Wait' || form.name.startsWith('Fx');
}

function isVector(form: Form): boolean {
  if (form.opcode[0] !== 0x0f) return false;
  const second = form.opcode[1] ?? 0;
  return (
    (second >= 0x10 && second <= 0x17) ||
    (second >= 0x28 && second <= 0x2f) ||
    (second >= 0x50 && second <= 0x7f) ||
    second === 0xc2 ||
    (second >= 0xc4 && second <= 0xc6) ||
    second >= 0xd0 ||
    second === 0x38 ||
    second === 0x3a ||
    form.name.endsWith('mxcsr')
  );
}
