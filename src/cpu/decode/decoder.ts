/**
 * The decoder: machine code to records, for every mode. It knows encodings only; what an instruction does is in the
 * tables. Source: SDM vol. 2, chapter 2.
 */
import { PAGE_SIZE } from '../../base/address.ts';
import { CodeBytes, MAX_LENGTH } from './code-bytes.ts';
import { CB_XMM, CB_X87, CB_ZERO } from '../memory/control-block.ts';
import type { FlagsFrom } from '../emit/context.ts';
import type { Form, InstructionForms } from './forms.ts';
import { SPECIAL } from '../records/handler-numbers.ts';
import { InstructionMap } from './instruction-map.ts';
import { Seg } from '../interface.ts';
import type { MemoryViews } from '../memory/memory-views.ts';
import { bytesOf, type OperandSpec, type WordSize } from '../tables/operands.ts';
import {
  BEFORE_SEGMENT,
  EXTRA_ASIZE_SHIFT,
  EXTRA_REP,
  EXTRA_REPNE,
  EXTRA_STACK,
  REC_A,
  REC_AUX,
  REC_B,
  REC_DISP,
  REC_EXTRA,
  REC_HANDLER,
  REC_IMM,
  REC_INDEX,
  REC_INDEX_REG,
  REC_LENGTH,
  REC_RIP,
  REC_SCALE,
  RECORD_SIZE,
} from '../records/record.ts';

const MAX_BLOCK_INSTRUCTIONS = 32;
/** Records a block can take: an address record and a record each, and the end. */
export const MAX_BLOCK_RECORDS = 2 * MAX_BLOCK_INSTRUCTIONS + 2;

export interface BlockRequest {
  /** Code bytes and the index of the first; bytes at `limit` and beyond cannot be read now. */
  source: Uint8Array;
  start: number;
  limit: number;
  /** RIP (offset in CS) of the first instruction, as halves, and its offset in the page. */
  ripLo: number;
  ripHi: number;
  pageOffset: number;
  /** Code segment: 64-bit, or its default size. */
  bits: 16 | 32 | 64;
  /** One instruction only, then leave. */
  single: boolean;
  /** No chaining and no run past the first instruction: it crosses into another page. */
  crossing: boolean;
}

export class Decoder extends CodeBytes {
  readonly map = new InstructionMap();
  private readonly views: MemoryViews;
  /** Free place for records; moves on with each block. */
  out = 0;

  /** Bytes of code the last block covers. */
  byteLength = 0;

  constructor(views: MemoryViews) {
    super(views.u8);
    this.views = views;
  }

  /**
   * Decode a block into records at `out`. Gives its first record, or 0 when already the first instruction needs bytes
   * past the limit.
   */
  decode(request: BlockRequest): number {
    const first = this.out;
    this.source = request.source;
    this.at = request.start;
    this.limit = request.limit;
    let flagsFrom: FlagsFrom = 'any';
    let count = 0;
    const most = request.single || request.crossing ? 1 : MAX_BLOCK_INSTRUCTIONS;
    for (;;) {
      const start = this.at;
      const before = this.out;
      this.overrun = false;
      const rip = request.ripLo + (start - request.start);
      const outcome = this.instruction(request, rip, count, flagsFrom);
      if (this.overrun || this.at - start > MAX_LENGTH) {
        this.out = before;
        if (this.at - start >= MAX_LENGTH) {
          this.at = start;
          this.special(SPECIAL.tooLong, request, rip, count, 0);
          this.at = start + MAX_LENGTH; // the bytes this depends on
          count++;
          break;
        }
        this.at = start;
        if (count === 0) return 0;
        this.endBlock(request, count);
        break;
      }
      count++;
      if (outcome === 'end' && !request.single) break;
      if (request.single) {
        this.special(SPECIAL.stepEnd, request, request.ripLo + (this.at - request.start), 1, 0);
        break;
      }
      if (outcome) flagsFrom = outcome as FlagsFrom;
      if (count === most || this.at >= this.limit) {
        this.endBlock(request, count);
        break;
      }
    }
    this.byteLength = this.at - request.start;
    return first;
  }

  /** The block runs into the next one. */
  private endBlock(request: BlockRequest, count: number): void {
    const length = this.at - request.start;
    const samePage = !request.crossing && request.pageOffset + length < PAGE_SIZE;
    this.special(samePage ? SPECIAL.fallThroughChained : SPECIAL.fallThrough, request, request.ripLo + length, count - 1, 0);
  }

  private special(handler: number, request: BlockRequest, ripLow: number, index: number, length: number): void {
    this.open(handler, request, ripLow, index, length);
    this.out += RECORD_SIZE;
  }

  /** Clear the record at `out` and fill in what every one has. ripLow may have run over 32 bits. */
  private open(handler: number, request: BlockRequest, ripLow: number, index: number, length: number): void {
    const { i32 } = this.views;
    const word = this.out >> 2;
    i32[word + (REC_HANDLER >> 2)] = handler | (length << (REC_LENGTH * 8)) | (index << (REC_INDEX * 8));
    i32[word + (REC_A >> 2)] = CB_ZERO | (CB_ZERO << ((REC_B - REC_A) * 8));
    i32[word + (REC_INDEX_REG >> 2)] = CB_ZERO; // scale and extra: 0
    i32[word + (REC_DISP >> 2)] = 0;
    i32[word + (REC_IMM >> 2)] = 0;
    i32[word + (REC_AUX >> 2)] = 0;
    i32[word + (REC_RIP >> 2)] = ripLow;
    // In legacy modes IP wraps at 32 bits.
    i32[word + (REC_RIP >> 2) + 1] = request.bits === 64 ? request.ripHi + (ripLow > 0xffffffff ? 1 : 0) : 0;
  }

  /** One instruction into records at `out`. Gives the new flagsFrom, 'end', or '' for flags kept. */
  private instruction(request: BlockRequest, rip: number, index: number, flagsFrom: FlagsFrom): FlagsFrom | 'end' | '' {
    const { bits } = request;
    const start = this.at;
    let opcode = this.prefixes(bits);
    let map = 0;
    if (opcode === 0x0f) {
      opcode = this.u8();
      map = 1;
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.u8();
      }
    }
    const forms = this.select(map, opcode, bits);
    if (!forms) return this.undefinedOpcode(request, rip, index, start);
    const { instruction, encoding } = forms;

    const long = bits === 64;
    const rexW = (this.rex & 8) !== 0;
    let operandSize: WordSize = long ? (rexW ? 8 : this.operandPrefix ? 2 : 4) : (bits === 32) !== this.operandPrefix ? 4 : 2;
    if (encoding.prefix === '66' && !rexW) operandSize = long || bits === 32 ? 4 : operandSize;
    if (long && instruction.size64) operandSize = instruction.size64 === 'forced' || !this.operandPrefix || rexW ? 8 : 2;
    const addressSize: WordSize = long ? (this.addressPrefix ? 4 : 8) : (bits === 32) !== this.addressPrefix ? 4 : 2;

    let modrm = 0;
    let isMemory = false;
    if (encoding.hasModrm) {
      modrm = this.u8();
      isMemory = modrm < 0xc0;
      // Control and debug register moves take ModRM.mod as 11 whatever it says.
      if (encoding.mod === 'ignored') isMemory = false;
      if (isMemory) this.memoryOperand(modrm, addressSize);
    }
    const reg = (modrm >> 3) & 7;
    const rm = modrm & 7;
    const rexR = (this.rex & 4) << 1;
    const rexB = (this.rex & 1) << 3;

    let fieldA = CB_ZERO;
    let fieldB = CB_ZERO;
    let moffs = false;
    for (const operand of instruction.operands) {
      switch (operand.kind) {
        case 'reg':
          fieldA = this.registerOffset(operand, operandSize, reg, rexR);
          break;
        case 'opcode':
          fieldA = this.registerOffset(operand, operandSize, opcode & 7, rexB);
          break;
        case 'number':
          // CS can be stored, not loaded.
          if (operand.file === 'segment' && (reg > 5 || (reg === Seg.cs && instruction.operands[0] === operand)))
            return this.undefinedOpcode(request, rip, index, start);
          fieldA = operand.file === 'segment' ? reg : reg | rexR;
          break;
        case 'rm':
        case 'rmRegister':
          if (!isMemory) fieldB = this.registerOffset(operand, operandSize, rm, rexB);
          break;
        case 'st':
          fieldB = rm;
          break;
        case 'moffs':
          moffs = true;
          break;
      }
    }
    if (moffs) {
      this.base = CB_ZERO;
      this.index = CB_ZERO;
      this.scale = 0;
      this.ripRelative = false;
      this.defaultSegment = Seg.ds;
    }
    let absoluteHigh = 0;
    let absolute = false;
    if (moffs) {
      if (addressSize === 8) {
        this.disp = this.i32();
        absoluteHigh = this.i32();
        absolute = true;
      } else this.disp = addressSize === 4 ? this.i32() : this.u16();
    }

    let imm = 0;
    let aux = 0;
    let imm64High = 0;
    let farOffset = 0;
    let hasFar = false;
    let wideImmediate = false;
    for (const operand of instruction.operands) {
      switch (operand.kind) {
        case 'immediate':
          switch (bytesOf(operand.encoded, operandSize)) {
            case 1:
              if (operand.second) aux = this.u8();
              else imm = this.i8();
              break;
            case 2:
              imm = this.i16();
              break;
            case 4:
              imm = this.i32();
              break;
            case 8:
              imm = this.i32();
              imm64High = this.i32();
              wideImmediate = true;
              break;
          }
          break;
        case 'relative': {
          const bytes = bytesOf(operand.encoded, operandSize);
          aux = bytes === 1 ? this.i8() : bytes === 2 ? this.i16() : this.i32();
          break;
        }
        case 'far':
          farOffset = operandSize === 2 ? this.u16() : this.i32();
          imm = this.u16();
          hasFar = true;
          break;
      }
    }
    // The x87 keeps its last opcode.
    if (map === 0 && (opcode & 0xf8) === 0xd8) aux = modrm;
    if (this.overrun) return '';
    const length = this.at - start;
    const nextRip = rip + length;

    const usesMemory = (isMemory && !instruction.hint) || moffs;
    if (this.lock && (!instruction.lock || !usesMemory)) return this.undefinedOpcode(request, rip, index, start);
    if (instruction.name === 'pop' && usesMemory && this.base === 4 * 8) this.disp += operandSize;

    // The address: in the record where that is possible, else by a record of its own.
    const segment = this.segment >= 0 ? this.segment : this.defaultSegment;
    const segmentMatters = long && (segment === 4 || segment === 5) && !instruction.addressOnly;
    let disp = this.disp;
    if (usesMemory && this.ripRelative) {
      // Low and high half of the address. The sum of the low halves runs over 32 bits either way.
      const low = nextRip + this.disp;
      const high = (request.ripHi + Math.floor(low / 2 ** 32)) | 0;
      disp = low | 0;
      if (addressSize === 8 && high !== disp >> 31) {
        absolute = true;
        absoluteHigh = high;
      }
    }
    const canInline =
      usesMemory &&
      instruction.hot &&
      long &&
      addressSize === 8 &&
      !segmentMatters &&
      !absolute &&
      !this.lock &&
      instruction.lock !== 'implied';
    if (usesMemory && !canInline) {
      let handler: number;
      if (long) {
        handler = absolute
          ? segmentMatters
            ? SPECIAL.eaAbsoluteSegment
            : SPECIAL.eaAbsolute
          : addressSize === 8
            ? segmentMatters
              ? SPECIAL.eaLongSegment
              : SPECIAL.eaLong
            : segmentMatters
              ? SPECIAL.eaLong32Segment
              : SPECIAL.eaLong32;
      } else if (instruction.addressOnly) handler = addressSize === 4 ? SPECIAL.eaUnchecked32 : SPECIAL.eaUnchecked16;
      else handler = addressSize === 4 ? SPECIAL.eaLegacy32 : SPECIAL.eaLegacy16;
      this.open(handler, request, rip, index, length);
      this.putAddress(segment, disp);
      const imms = this.views.i32;
      if (absolute) imms[(this.out + REC_IMM) >> 2] = absoluteHigh;
      else if (!long) {
        const bytes = bytesOf(forms.addressed!.memoryBytes, operandSize) || 1;
        imms[(this.out + REC_IMM) >> 2] = bytes | (instruction.writes ? 0x100 : 0);
        imms[(this.out + REC_AUX) >> 2] = BEFORE_SEGMENT[instruction.before ?? 'nothing'];
      }
      this.out += RECORD_SIZE;
    }

    const target = request.pageOffset + (this.at - request.start) + aux;
    const nextOffset = request.pageOffset + (this.at - request.start);
    const chained =
      long &&
      !!instruction.chains &&
      !request.single &&
      !request.crossing &&
      target >= 0 &&
      target < PAGE_SIZE &&
      nextOffset < PAGE_SIZE;
    const form: Form = {
      mode: long ? 'long' : 'legacy',
      operandSize: forms.usesOperandSize ? operandSize : 4,
      addressSize: forms.usesAddressSize ? addressSize : 4,
      address: usesMemory ? (canInline ? 'inline' : 'computed') : 'register',
      locked: (this.lock || instruction.lock === 'implied') && usesMemory,
      flagsFrom: long && instruction.usesFlags ? flagsFrom : 'any',
      chained,
    };
    const handler = forms.handler(form);
    if (handler < 0) return this.undefinedOpcode(request, rip, index, start);
    this.open(handler, request, rip, index, length);
    const { i32, u16, u8 } = this.views;
    if (canInline) this.putAddress(segment, disp);
    u16[(this.out + REC_A) >> 1] = fieldA;
    if (!canInline) u16[(this.out + REC_B) >> 1] = fieldB;
    if (!chained || !instruction.chains) i32[(this.out + REC_IMM) >> 2] = imm;
    i32[(this.out + REC_AUX) >> 2] = aux;
    if (wideImmediate) {
      i32[(this.out + REC_DISP) >> 2] = imm;
      i32[(this.out + REC_IMM) >> 2] = imm64High;
    }
    if (hasFar) i32[(this.out + REC_DISP) >> 2] = farOffset;
    let extra = usesMemory ? (segment & 7) | (segment === Seg.ss ? EXTRA_STACK : 0) : 0;
    if (instruction.string) {
      const asize = addressSize === 8 ? 2 : addressSize === 4 ? 1 : 0;
      extra =
        (this.segment >= 0 ? this.segment : Seg.ds) |
        (this.rep === 0xf3 ? EXTRA_REP : this.rep === 0xf2 ? EXTRA_REPNE : 0) |
        (asize << EXTRA_ASIZE_SHIFT);
    }
    u8[this.out + REC_EXTRA] = extra;
    this.out += RECORD_SIZE;
    if (instruction.ends) return 'end';
    return instruction.flags === 'kept' ? '' : knownFlags(instruction.flags);
  }

  private undefinedOpcode(request: BlockRequest, rip: number, index: number, start: number): 'end' {
    this.special(SPECIAL.undefinedOpcode, request, rip, index, this.at - start);
    return 'end';
  }

  private putAddress(segment: number, disp: number): void {
    const { u8, u16, i32 } = this.views;
    u16[(this.out + REC_B) >> 1] = this.base;
    u16[(this.out + REC_INDEX_REG) >> 1] = this.index;
    u8[this.out + REC_SCALE] = this.scale;
    u8[this.out + REC_EXTRA] = (segment & 7) | (segment === Seg.ss ? EXTRA_STACK : 0);
    i32[(this.out + REC_DISP) >> 2] = disp;
  }

  private select(map: number, opcode: number, bits: number): InstructionForms | undefined {
    const list = this.map.candidates(map, opcode);
    // ModRM is looked at, not taken.
    const modrm = this.at < this.limit ? this.source[this.at]! : 0;
    for (const forms of list) {
      const { instruction, encoding } = forms;
      if (encoding.hasModrm && this.at >= this.limit) {
        this.overrun = true;
        return forms;
      }
      if (instruction.only && (instruction.only === 'long') !== (bits === 64)) continue;
      if (instruction.noRexB && this.rex & 1) continue;
      switch (encoding.prefix) {
        case 'F3':
          if (this.rep !== 0xf3) continue;
          break;
        case 'F2':
          if (this.rep !== 0xf2) continue;
          break;
        case '66':
          if (!this.operandPrefix || this.rep) continue;
          break;
        case 'NP':
          if (this.operandPrefix || this.rep) continue;
          break;
      }
      if (encoding.modrm >= 0 && encoding.modrm !== modrm) continue;
      if (encoding.digit >= 0 && encoding.digit !== ((modrm >> 3) & 7)) continue;
      if (modrm < 0xc0 ? encoding.mod === 'reg' : encoding.mod === 'mem') continue;
      return forms;
    }
    return undefined;
  }

  /**
   * Control-block offset of a register operand: `low`, the three bits in the code, with `high` from REX. Without REX, byte registers
   * 4..7 are AH, CH, DH, BH. MMX registers have no high half.
   */
  private registerOffset(operand: OperandSpec, operandSize: WordSize, low: number, high: number): number {
    if (operand.file === 'xmm') return CB_XMM + (low | high) * 16;
    if (operand.file === 'mmx') return CB_X87 + low * 16;
    if (low >= 4 && !this.hasRex && bytesOf(operand.bytes, operandSize) === 1) return (low - 4) * 8 + 1;
    return (low | high) * 8;
  }
}

/** The sources of flags that the interpreter's forms tell apart. */
const knownFlags = (flags: FlagsFrom | undefined): FlagsFrom => (flags === 'sub' || flags === 'logic' ? flags : 'any');
